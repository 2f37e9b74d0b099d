"""Questions to a person at a terminal, and the usage error for missing options and arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from typer._click.exceptions import MissingParameter, UsageError
from typer.core import TyperCommand

from taskdb_cli.cli.context import DECLINED, write_stderr
from taskdb_cli.errors import InvalidInput, NotFound, Refused, TaskdbError
from taskdb_cli.text.escaping import one_line

if TYPE_CHECKING:
    from taskdb_cli.models.fields import Given

T = TypeVar("T")

TRIES = 4
"""How often a question is asked before its last answer is the error of the command."""


def ask(question: str, check: Callable[[str], T]) -> T:
    """Ask a question until `check` accepts the answer, and return what `check` returns.

    `check` refuses an answer by InvalidInput or NotFound, which is raised after the last try. Raises Refused
    at the end of input.
    """
    for _ in range(TRIES - 1):
        try:
            return check(_read_answer(f"{question}: "))
        except (InvalidInput, NotFound) as exc:
            say_error(exc)
    return check(_read_answer(f"{question}: "))


def ask_for_missing(values: Mapping[str, str | None], schema: type[Given]) -> dict[str, str]:
    """Return the values, with an answer for each that is None. The schema checks what is given and answered.

    Raises InvalidInput, and Refused for the end of input.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) < len(values):
        # Nobody is asked if what was given is refused.
        schema.checked(given)

    def check(name: str, answer: str) -> str:
        schema.checked({name: answer})
        return answer

    return {
        name: ask(name.capitalize(), partial(check, name)) if value is None else value
        for name, value in values.items()
    }


def agree(question: str) -> bool:
    """Return whether the answer to a question is not no. Raises Refused for the end of input."""
    return _read_answer(f"{question} [Y/n] ").lower() not in ("n", "no")


def say_error(error: TaskdbError) -> None:
    """Say on the terminal what is wrong, also with --quiet, before it is asked for again."""
    write_stderr(one_line(f"{error.message} ({error.hint})" if error.hint else error.message))


def _read_answer(question: str) -> str:
    typer.echo(one_line(question), err=True, nl=False)
    line = b""
    try:
        line = sys.stdin.buffer.readline()
    finally:
        if not line.endswith(b"\n"):
            # The cursor is still behind the question.
            typer.echo(err=True)
    if not line:
        raise Refused(DECLINED)
    # The rules of the data refuse bytes that are not UTF-8, as they refuse those of an argument.
    return line.decode(errors="surrogateescape").strip()


def require(ctx: typer.Context, **values: object) -> None:
    """Raise the usage error that names each parameter of the command whose value is None."""
    missing = [each for each in ctx.command.params if values.get(each.name, "") is None]
    if missing:
        _fail(ctx, missing)


class CompleteCommand(TyperCommand):
    """A command whose usage error names every option and argument that is missing, not only the first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does, but look for everything that is missing."""
        try:
            return super().parse_args(ctx, [*args])
        except MissingParameter:
            given, *_ = self.make_parser(ctx).parse_args(args=[*args])
            required = [each for each in self.get_params(ctx) if each.required]
            _fail(
                ctx, [each for each in required if each.value_is_missing(each.consume_value(ctx, given)[0])]
            )


def _fail(ctx: Any, missing: Sequence[Any]) -> NoReturn:
    kinds = []
    for kind, group in groupby(missing, key=lambda each: each.param_type_name):
        # An option may have a short name too, which Typer would add.
        names = [
            f"'{max(each.opts, key=len)}'" if kind == "option" else each.get_error_hint() for each in group
        ]
        kinds.append(f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}")
    raise UsageError(f"Missing {' and '.join(kinds)}", ctx)
