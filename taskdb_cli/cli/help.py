"""How help is written: examples first, commands in groups, plain names of values, pages of the manual."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from taskdb_cli.cli.topics import topics_of

_GROUPS = {
    "taskdb": {
        "Users and tasks": ("user", "task", "history", "undo", "stats"),
        "Backups": ("backup", "restore", "copy"),
        "Database": ("migrate", "search", "health", "config"),
        "HTTP API": ("serve", "token"),
    },
    "taskdb task": {
        "Tasks": ("create", "list", "show", "update", "edit", "delete", "history"),
        "Status": ("start", "done", "reopen", "cancel"),
        "Files": ("import", "export"),
    },
}
"""The order of the commands that are too many for one list. A command that is missing here comes last."""


class Help(NamedTuple):
    """What there is to say about a command or a group. A row of it has a name and a text."""

    usage: str
    """What stands behind the words of the command."""
    examples: list[str]
    commands: list[tuple[str, list[tuple[str, str]]]]
    """The commands of a group, in groups with titles."""
    parameters: list[tuple[str, list[tuple[str, str]]]]
    """The arguments and options, in sections with titles."""
    topics: list[str]
    """The pages of the manual about it, as `taskdb help` calls them."""


def help_of(command: Any, context: Any) -> Help:
    """Return the help of a command or a group. The lines of its epilog are its examples."""
    sections: dict[str, list[Any]] = {"Arguments": []}
    for each in command.get_params(context):
        if not each.hidden:
            is_argument = each.param_type_name == "argument"
            title = "Arguments" if is_argument else each.rich_help_panel or "Options"
            sections.setdefault(title, []).append(each)
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    commands = {name: command.get_command(context, name) for name in names}
    words = ("[COMMAND …]" if command.invoke_without_command else "COMMAND …",) if commands else ()
    pieces = ["[OPTIONS]", *map(_usage_of, sections["Arguments"]), *words]
    visible = {name: each for name, each in commands.items() if not each.hidden}
    parameters = [
        (title, [(_name_of(each), _help_of(each, context)) for each in some])
        for title, some in sections.items()
        if some
    ]
    return Help(
        usage=" ".join(pieces),
        examples=(command.epilog or "").splitlines(),
        commands=[
            (title, [(name, first_line(visible[name])) for name in some])
            for title, some in _grouped(context.command_path, visible)
        ],
        parameters=parameters,
        topics=topics_of(
            context.command_path.removeprefix("taskdb").strip(),
            takes_times=any(name.endswith(" WHEN") for _, rows in parameters for name, _ in rows),
            commands=context.find_root().command.commands,
        ),
    )


def write_help(command: Any, context: Any, formatter: Any) -> None:
    """Write the help of a command or a group."""
    help = help_of(command, context)
    formatter.write_usage(context.command_path, help.usage)
    command.format_help_text(context, formatter)
    if help.examples:
        with formatter.section("Examples"):
            # A line that is broken could not be copied into a shell.
            formatter.write("".join(f"  {line}\n" for line in help.examples))
    width = max((len(name) for _, rows in help.commands for name, _ in rows), default=0)
    for title, rows in help.commands:
        with formatter.section(title):
            formatter.write_dl([(f"{name:<{width}}", line) for name, line in rows])
    for title, rows in help.parameters:
        with formatter.section(title):
            formatter.write_dl(rows)
    root = context.find_root()
    if context.parent:
        formatter.write(f"\nThe options of '{root.command_path} --help' may stand here too.\n")
        if help.topics:
            formatter.write(
                f"\nMore: {', '.join(f'{root.command_path} help {each}' for each in help.topics)}\n"
            )
    else:
        formatter.write("\nThe manual: 'taskdb help' lists its topics, and 'taskdb help TOPIC' shows one.\n")


def _grouped(path: str, commands: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    groups = _GROUPS.get(path, {})
    for title, names in groups.items():
        yield title, [name for name in names if name in commands]
    known = set(chain(*groups.values()))
    if rest := [name for name in commands if name not in known]:
        yield "Other commands" if groups else "Commands", rest


def first_line(command: Any) -> str:
    """Return what a command or a group does, in one line."""
    return (command.help or "").strip().partition("\n")[0]


def _value_of(parameter: Any) -> str:
    """Return the name of a value, by default the last word of its option."""
    longest = max(parameter.opts, key=len, default=parameter.name)
    return str(parameter.metavar or longest.replace("_", "-").rpartition("-")[2].upper())


def _usage_of(argument: Any) -> str:
    value = _value_of(argument)
    return value if argument.required or value.startswith("[") else f"[{value}]"


def _name_of(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _value_of(parameter).strip("[]")
    name = ", ".join(sorted(parameter.opts, key=len))
    if not (parameter.is_flag or parameter.count):
        return f"{name} {_value_of(parameter)}"
    # That --debug has a --no-debug need not be said.
    return " / ".join([name, *(each for each in parameter.secondary_opts if not each.startswith("--no-"))])


def _help_of(parameter: Any, context: Any) -> str:
    """Return what a parameter is for, the words that it takes, and its default."""
    help, environment, variable = (parameter.help or "").partition(" [env:")
    if parameter.type_descriptor.is_choice:
        *first, last = [str(getattr(each, "value", each)) for each in parameter.type_descriptor.choices]
        help = f"{help} One of {', '.join(first)} or {last}."
    help += environment + variable
    default = parameter.get_default(context, call=False)
    if parameter.required:
        return f"{help} [required]"
    if parameter.show_default and default not in (None, False, 0, ()):
        return f"{help} [default: {getattr(default, 'value', default)}]"
    return help
