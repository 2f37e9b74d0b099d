"""What several commands share: each argument and option, declared once, and their kind of group."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import Invocation

UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="An id or an e-mail address.", autocompletion=complete_users)
]
UserArguments = Annotated[
    list[str],
    typer.Argument(metavar="USER...", help="Ids or e-mail addresses.", autocompletion=complete_users),
]
TaskArguments = Annotated[list[int], typer.Argument(metavar="ID...", help="The ids of tasks.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]
IfVersion = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Change it only if it is at this version.", show_default=False),
]
IfNotExists = Annotated[
    bool, typer.Option("--if-not-exists", help="Print the existing one instead of failing.")
]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each parameter that is a dataclass, such as `cli.output.Output`."""
    own = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            options = inspect.signature(groups[name], eval_str=True).parameters.values()
            parameters += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
        else:
            parameters.append(parameter)

    @wraps(command)
    def with_options(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in fields(group)})
        command(**given)

    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


class NotingGroup(TyperGroup):
    """A group of commands that lets the log know which of them runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command as ever."""
        found = super().resolve_command(ctx, args)
        if isinstance(ctx.obj, Invocation):
            ctx.obj.log.command = f"{ctx.command_path} {found[0]}"
        return found


class HelpfulGroup(NotingGroup):
    """A group of commands that shows its help when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take nothing at all for --help."""
        return super().parse_args(ctx, args or ["--help"])
