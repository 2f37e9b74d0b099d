"""Messages about mistakes on the command line, in place of those of Typer and pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, get_args

from typer._click.exceptions import BadOptionUsage, BadParameter, MissingParameter, NoSuchOption
from typer.exceptions import TyperException

from taskdb_cli.cli.words import close_matches
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import LONGEST_ECHO, brief


def usage_error(error: TyperException) -> InvalidInput:
    """Translate an error of Typer: name the option, the mistake, and the command whose help says more."""
    context: Any = getattr(error, "ctx", None)
    if isinstance(error, BadOptionUsage) and error.option_name in _names(context.find_root()):
        context = context.find_root()
    command = context.command_path if context else "taskdb"
    hint = f"'{command} --help' shows what it takes"
    match error:
        case NoSuchOption():
            message = f"no such option: {brief(error.option_name)}"
            if meant := _meant(error, context):
                message += f", did you mean {meant}?"
            elif behind := _command_with(context.command, error.option_name, context.args):
                hint = f"it belongs after a command, as in '{command} {behind} {error.option_name}'"
        case BadOptionUsage():
            needed = "takes no value" if "does not take" in error.message else "needs a value"
            message = f"{brief(error.option_name)} {needed}"
        case BadParameter() if not isinstance(error, MissingParameter) and error.param is not None:
            message = _bad_value(error, error.param)
        case _:
            message = error.format_message().rstrip(".").replace("\n", " ")
            message = message[:1].lower() + message[1:]
    if len(message) > 2 * LONGEST_ECHO:
        # The explanation stands before and after the value that was given.
        message = f"{message[: LONGEST_ECHO // 2]}…{message[-LONGEST_ECHO // 2 :]}"
    return InvalidInput(message, hint)


def _meant(error: NoSuchOption, context: Any) -> str:
    """Return the option of the command, or the global one, that may have been meant."""
    if error.option_name[:2] != "--":
        return next(iter(error.possibilities or ()), "")
    root = context.find_root()
    # An option with a callback, such as --version, would end the run.
    names = [
        *_names(context),
        *(name for each in root.command.params if each.callback is None for name in each.opts),
    ]
    bare = [name[2:] for name in names if name.startswith("--")]
    word = error.option_name[2:]
    longer = [name for name in bare if name.startswith(f"{word}-")]
    return next((f"--{name}" for name in (*close_matches(word, bare), *longer)), "")


def _names(context: Any) -> list[str]:
    return [name for each in context.command.params for name in (*each.opts, *each.secondary_opts)]


def _command_with(group: Any, option: str, typed: Sequence[str]) -> str:
    """Return a command of a group that has the option, or nothing. One that was typed goes first."""
    commands = getattr(group, "commands", {}).items()
    for name, command in sorted(commands, key=lambda each: each[0] not in typed):
        if any(option in parameter.opts for parameter in command.params):
            return str(name)
        if below := _command_with(command, option, typed):
            return f"{name} {below}"
    return ""


def _bad_value(error: BadParameter, parameter: Any) -> str:
    name = (
        max(parameter.opts, key=len)
        if parameter.param_type_name == "option"
        else parameter.display_name_raw.rstrip(".…")
    )
    cause: Any = error.__cause__
    if not (takes := _takes(parameter)) or not hasattr(cause, "errors"):
        return f"{name}: {error.message.removeprefix('Value error, ')}"
    return f"{name} takes {takes}, not {brief(cause.errors()[0]['input'])!r}"


def _takes(parameter: Any) -> str:
    """Return what values a parameter takes, or nothing if every text is one."""
    kind = parameter.type_descriptor
    if kind.choices:
        *first, last = [str(each.value if isinstance(each, Enum) else each) for each in kind.choices]
        return f"{', '.join(first)} or {last}"
    types = {kind.annotation, *get_args(kind.annotation)}
    if not types & {int, float}:
        return ""
    number = "a whole number" if int in types else "a number"
    match parameter.min, parameter.max:
        case None, None:
            return number
        case least, None:
            return f"{number} from {least} on"
        case None, most:
            return f"{number} up to {most}"
        case least, most:
            return f"{number} from {least} to {most}"
