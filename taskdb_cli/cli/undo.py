"""taskdb undo: take back what a command has changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli import options
from taskdb_cli.cli.answers import answer, show_first
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.offers import complete_operations
from taskdb_cli.cli.output import FormatOption, show_json
from taskdb_cli.errors import NotUndone
from taskdb_cli.output.formats import UNDONE_ROWS, Format, timestamp
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from taskdb_cli.services.history.undo import Undoing


class Left:
    """The rows that cannot be undone, with the reason of each: in a temporary file if they are to be kept."""

    def __init__(self, run: Invocation, *, keep: bool) -> None:
        self._run, self._keep = run, keep
        self._file: IO[bytes] | None = None

    def take(self, rows: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Take all rows, in place of those of an earlier attempt; raise StorageFailed without room."""
        if not self._keep:
            return
        with temporary_storage("nothing was undone"):
            self._file = self._file or self._run.temporary_file()
            self._file.seek(0)
            self._file.truncate()
            for some in rows:
                self._file.writelines(json.dumps(row).encode() + b"\n" for row in some)
            self._file.flush()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        if self._file:
            self._file.seek(0)
            yield from map(json.loads, self._file)


def undo(
    ctx: typer.Context,
    operation: Annotated[
        int | None,
        typer.Argument(
            metavar="OPERATION",
            help="The id of an operation; by default your last one.",
            show_default=False,
            autocompletion=complete_operations,
        ),
    ] = None,
    *,
    skip_changed: Annotated[
        bool,
        typer.Option("--skip-changed", help="Skip rows that changed again later, and undo the others."),
    ] = False,
    yes: options.Yes = False,
    confirm: options.Confirm = None,
    dry_run: options.DryRun = False,
    output: FormatOption = None,
) -> None:
    """Undo all changes of one command, or nothing.

    It deletes created rows, gives changed rows their old values, and brings deleted rows back. An undo can
    be undone too.
    """
    from taskdb_cli.services.history import undo as service

    run = invocation(ctx)
    database, id = run.database, operation
    if id is None:
        id = database.read(partial(service.last, actor=database.options.origin.actor))
    left = Left(run, keep=output is Format.JSON)
    found = _undo(run, id, left, skip_changed=skip_changed, yes=yes, dry_run=dry_run)
    _tell(run, found, dry_run=dry_run)
    if output is Format.JSON:
        report = {
            "operation": found.undone_by,
            "undoes": id,
            "users": found.users,
            "tasks": found.tasks,
            "tokens_left": found.tokens,
            "left": [*left.rows()],
            "dry_run": dry_run,
        }
        show_json(report)


def _undo(run: Invocation, id: int, left: Left, *, skip_changed: bool, yes: bool, dry_run: bool) -> Undoing:
    """Undo an operation after asking, or find out what would be done."""
    from taskdb_cli.services.history import undo as service

    database = run.database
    given: dict[str, Any] = {"id": id, "skip_changed": skip_changed, "note": left.take}
    try:
        if dry_run or not run.agreed(yes=yes):
            found = database.write(partial(service.preview, **given), dry_run=True, bulk=True)
            if run.may_ask or dry_run:
                _show(run, found)
            if dry_run:
                return found
            changes = _describe(found, "would be ")
            if found.left:
                run.say(_left(found))
                changes += f", {in_words({'rows': found.left})} left"
            run.confirm(f"undo {_which(found, changes)}", yes=yes)
        found = database.write(partial(service.undo, now=run.now, **given), bulk=True)
    except NotUndone as exc:
        exc.details = left.rows()
        raise
    run.did(f"undid operation {id}", look="taskdb history")
    return found


def _describe(found: Undoing, tense: str = "") -> str:
    """Return how many rows an undo has changed and how, or would change (`would be`)."""
    parts = []
    for what, done in (("deleted", "deleted"), ("restored", "brought back"), ("changed", "changed back")):
        rows = {"users": found.users[what], "tasks": found.tasks[what]}
        if named := in_words({name: number for name, number in rows.items() if number}):
            parts.append(f"{named} {tense}{done}")
    return ", ".join(parts)


def _left(found: Undoing) -> str:
    """Return which rows are left, and why."""
    return f"{in_words({'rows': found.left})} left unchanged: {'; '.join(found.named)}"


def _undone(found: Undoing) -> str:
    """Return what an undo was the undo of: operation 14 (task update)."""
    return f"operation {found.operation.undoes}" + (f" ({found.redoes})" if found.redoes else "")


def _which(found: Undoing, changes: str = "") -> str:
    """Return which operation is undone, with what that changes; to undo an undo redoes another one."""
    operation = found.operation
    name = f"operation {operation.id}"
    if operation.undoes is None:
        return f"{name} ({operation.command}{changes and ': '}{changes})"
    return f"{name}, the undo of {_undone(found)}, which redoes it" + (f" ({changes})" if changes else "")


def _show(run: Invocation, found: Undoing) -> None:
    """Say on stderr what an operation was, and on a terminal which rows it is about."""
    operation = found.operation
    at = timestamp(operation.at.replace(microsecond=0))
    if sys.stderr.isatty():
        from taskdb_cli.system.clock import describe

        at = describe(operation.at, run.now)
        total = sum([*found.users.values(), *found.tasks.values()])
        show_first(run, found.first, UNDONE_ROWS, total)
    rows = in_words({"rows": operation.rows_changed})
    command = operation.command if operation.undoes is None else f"undo of {_undone(found)}"
    run.say(f"operation {operation.id}: {command} by {operation.actor}, {at}, {rows}")


def _tell(run: Invocation, found: Undoing, *, dry_run: bool) -> None:
    """Say what was undone, and what was left."""
    verb, tense = ("would undo", "would be ") if dry_run else ("undid", "")
    text = f"{verb} {_which(found)}: {_describe(found, tense)}"
    if found.left:
        text += f"; {_left(found)}"
    if found.tokens:
        text += f"; not undone: {in_words({'changes': found.tokens})} of access tokens"
    answer(run, text)
