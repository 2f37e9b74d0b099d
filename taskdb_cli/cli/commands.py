"""The kinds of commands and of their groups: what they add to Typer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import getdoc
from itertools import pairwise
from typing import Any

import typer
from typer._click.core import Command as ClickCommand
from typer._click.shell_completion import CompletionItem
from typer._coercion import bool_flag_type_descriptor
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.help import first_line, write_help
from taskdb_cli.cli.options import with_option_groups
from taskdb_cli.cli.prompts import CompleteCommand
from taskdb_cli.cli.topics import show_topic, show_topics, topic_names, topics
from taskdb_cli.cli.words import Words, close_matches
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

SHORT = {
    "--user": "-u",
    "--status": "-s",
    "--priority": "-p",
    "--due": "-d",
    "--limit": "-n",
    "--search": "-S",
}
"""The short form of an option, in every command that has the option."""

ALIASES: dict[str, dict[str, list[str]]] = {
    "": {"add": ["create"], "new": ["create"], "ls": ["list"], "rm": ["delete"], "modify": ["update"]},
    "user": {"activate": ["update", "--active"], "deactivate": ["update", "--inactive"]},
    "token": {"rm": ["revoke"], "delete": ["revoke"]},
    "migrate": {"upgrade": ["up"], "downgrade": ["down"]},
}
"""Words of other tools and what they mean: in any group that has the command, and in one group."""

OWN_NAMES = {"backup": "create", "history": "list"}
"""The names of what groups do when no command is named."""

_HELP = "taskdb help"
"""Marks a context whose words begin with `help`."""

_JSON = TyperOption(
    param_decls=["--json"],
    type_descriptor=bool_flag_type_descriptor(),
    default=False,
    is_flag=True,
    expose_value=False,
    help="The same as -o json.",
)


class _Readable(ClickCommand):
    """What commands and groups have in common."""

    text = ""
    """The argument that all words which are no options belong to, if they must stand together."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments of the command, and for completion the global options."""
        own = super().get_params(ctx)
        if ctx.parent is None or not ctx.resilient_parsing:
            return own
        names = {name for parameter in own for name in parameter.opts}
        return [*own, *(each for each in ctx.find_root().command.params if not names.intersection(each.opts))]

    def make_parser(self, ctx: Any) -> Words:
        """Return a parser of the options of the command and of the global ones."""
        parser = Words(ctx, self.text)
        for parameter in super().get_params(ctx):
            parameter.add_to_parser(parser, ctx)
        if ctx.parent:
            parser.add_global_options(ctx)
        return parser

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with examples first."""
        write_help(self, ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first line of the help, for completion."""
        return first_line(self)

    def invoke(self, ctx: Any) -> Any:
        """Open the log, then run the command. Raises InvalidConfiguration if the log cannot be opened."""
        if isinstance(ctx.obj, Invocation) and not ctx._protected_args:  # noqa: SLF001 (a subcommand)
            ctx.obj.open_log_early()
        return super().invoke(ctx)


class Command(_Readable, CompleteCommand):
    """A command. Its parameters are made when they are needed first, because few commands of many are."""

    @property
    def params(self) -> list[Any]:
        """The arguments and options."""
        if function := getattr(self.callback, "deferred", None):
            whole = typer.Typer(add_completion=False)
            whole.command()(with_option_groups(function))
            made: Any = get_command(whole)
            self.callback, self._params = made.callback, _with_more_names(made.params)
        return self._params

    @params.setter
    def params(self, params: list[Any]) -> None:
        self._params = params


class TitledCommand(Command):
    """A command with a title, whose words need no quotes."""

    text = "TITLE"


class Group(_Readable, TyperGroup):
    """A group of commands. It knows their aliases, and tells the log which command runs."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params = _with_more_names(self.params)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `help` before commands as --help after them."""
        super().parse_args(ctx, args)
        words = [*ctx._protected_args, *ctx.args]  # noqa: SLF001
        if words[:1] == ["help"]:
            named = self._named(ctx, words)
            if not ctx.resilient_parsing and self._answered(ctx, named):
                ctx.exit()
            ctx.meta[_HELP] = True
            ctx._protected_args = named[:1]  # noqa: SLF001
            ctx.args = [*named[1:], *([] if ctx.resilient_parsing else ["--help"])]
        return list(ctx.args)

    def _named(self, ctx: Any, words: list[str]) -> list[str]:
        """Return the words that name a command or a topic, without options and their values."""
        options = [each for each in ctx.find_root().command.params if not each.is_flag and not each.count]
        take_values = {"-o", "--output"}.union(*(option.opts for option in options))
        return [
            word
            for before, word in pairwise(["", *words])
            if word != "help" and not word.startswith("-") and before not in take_values
        ]

    def _answered(self, ctx: Any, named: list[str]) -> bool:
        """Answer `help` itself, or show a topic; return False if a command is named."""
        if ctx.parent:
            if not named:
                typer.echo(ctx.get_help())
            return not named
        if not named:
            show_topics(ctx)
            return True
        if self.get_command(ctx, self._meaning(named[0])[0]):
            return False
        if not show_topic(ctx, named):
            raise self._no_such_command(ctx, " ".join(named), topic_names(self.commands))
        return True

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Offer commands and options, the word `help`, and behind it topics too."""
        offered: list[CompletionItem] = super().shell_complete(ctx, incomplete)
        if ctx.parent is None:
            more = topics(self.commands) if ctx.meta.get(_HELP) else {"help": "Show a page of the manual."}
            offered += [
                CompletionItem(name, help=title)
                for name, title in more.items()
                if name.startswith(incomplete)
            ]
        return offered

    def get_command(self, ctx: Any, name: str) -> ClickCommand | None:
        """Find a command by its name. What the group does by itself may have a name too."""
        if name == OWN_NAMES.get(self.name or ""):
            parts = {part: getattr(self, part) for part in ("callback", "params", "epilog")}
            help = getdoc(self.callback)
            return Command(name, rich_markup_mode=self.rich_markup_mode, help=help, **parts)
        return super().get_command(ctx, name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, and `list` if the group itself lists."""
        # `backup create` is an alias.
        own = ["list"] if OWN_NAMES.get(self.name or "") == "list" else []
        return [*own, *super().list_commands(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, also by an alias. Raises InvalidInput if there is none of that name."""
        word, *rest = args
        meant = self._meaning(word)
        command = self.get_command(ctx, meant[0])
        if command is None and not ctx.resilient_parsing:
            raise self._no_such_command(ctx, word)
        for option in command.params if command and meant[1:] and not ctx.resilient_parsing else ():
            sides = [*option.opts, *option.secondary_opts]
            if meant[1] in sides and (other := ({*sides} - {*meant}) & {*rest}):
                problem = f"{ctx.command_path} {word} means {meant[1]}, not {other.pop()}"
                raise InvalidInput(problem, "leave that option out")
        if isinstance(ctx.obj, Invocation):
            itself = meant[0] not in self.commands
            ctx.obj.command = ctx.command_path if itself else f"{ctx.command_path} {meant[0]}"
        return command and meant[0], command, [*meant[1:], *rest]

    def _meaning(self, word: str) -> list[str]:
        if word not in self.commands:
            for aliases in (ALIASES.get(self.name or "", {}), ALIASES[""]):
                if word in aliases and aliases[word][0] in self.commands:
                    return aliases[word]
        return [word]

    def _no_such_command(self, ctx: Any, word: str, topics: Iterable[str] = ()) -> InvalidInput:
        visible = [name for name, command in self.commands.items() if not command.hidden]
        message, hint = (
            f"no such command: {brief(word)!r}",
            f"'{ctx.command_path} --help' shows what it takes",
        )
        if topics:
            message, hint = f"no such command or topic: {brief(word)!r}", "'taskdb help' lists both"
        if elsewhere := ctx.find_root().command.paths_to(word):
            *first, last = [repr(f"taskdb {path}") for path in elsewhere]
            hint = f"there are {', '.join(first)} and {last}" if first else f"there is {last}"
        elif close := close_matches(word, [*visible, *topics]):
            message += f", did you mean {close[0]!r}?"
        return InvalidInput(message, hint)

    def paths_to(self, word: str) -> list[str]:
        """Return the commands, here or in the groups below, that a word names."""
        meant = self._meaning(word)
        found = [" ".join(meant)] if meant[0] in self.commands and not self.commands[meant[0]].hidden else []
        for name, group in self.commands.items():
            if isinstance(group, Group):
                found += [f"{name} {path}" for path in group.paths_to(word)]
        return found


class HelpfulGroup(Group):
    """A group of commands that shows its help when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show the help if there are no arguments."""
        return super().parse_args(ctx, args or ["--help"])


class Commands(typer.Typer):
    """The commands of a group, which may have parameters that stand for several options."""

    def command(self, name: str | None = None, **more: Any) -> Callable[..., Any]:
        """Add a command as Typer does."""
        add = super().command(name, **{"cls": Command, **more})

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            def deferred() -> None:
                """Stand in for the function until its parameters are needed."""

            deferred.__name__, deferred.__doc__ = function.__name__, function.__doc__
            deferred.deferred = function  # type: ignore[attr-defined]
            add(deferred)
            return function

        return register


def _with_more_names(parameters: list[Any]) -> list[Any]:
    """Return parameters with their short names, and with --json behind --output if there is that."""
    every = list[Any]()
    for parameter in parameters:
        short = [SHORT[name] for name in parameter.opts if name in SHORT]
        parameter.opts += [name for name in short if name not in parameter.opts]
        every += [parameter, _JSON] if "--output" in parameter.opts else [parameter]
    return list(dict.fromkeys(every))
