"""taskdb restore --only-user and --only-task: bring back just what was lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

from taskdb_cli.cli.changes import Written
from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.options import optional, parse_ids, parse_users
from taskdb_cli.cli.output import CsvSafe, Output, format_option, show_records
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.output.formats import RESTORED_ROWS, Format
from taskdb_cli.text.amounts import in_words, without_zeros

if TYPE_CHECKING:
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.partial_restore import Report
    from taskdb_cli.cli.restore import Replacing
    from taskdb_cli.database import Database


@dataclass(frozen=True)
class Only:
    """The options that say which users and tasks of an archive are brought back, if not all."""

    only_user: Annotated[
        list[Any] | None,
        optional(
            "Restore only this user and all their tasks: an e-mail address, or ids: 7, 1,2,7 or 3-9.",
            metavar="USER",
            parser=parse_users,
            autocompletion=complete_users,
        ),
    ] = None
    only_task: Annotated[
        list[Any] | None,
        optional("Restore only these tasks: 7, 1,2,7 or 3-9.", metavar="ID", parser=parse_ids),
    ] = None

    def __bool__(self) -> bool:
        return bool(self.only_user or self.only_task)


@dataclass(frozen=True)
class RowsOutput(Output):
    """The options for the format of the report about each row."""

    format: Annotated[
        Format | None, format_option("Report each row of --only-user and --only-task in this format.")
    ] = None
    csv_safe: CsvSafe = False


def bring_back(
    run: Invocation,
    target: Database,
    archive: Archive,
    only: Only,
    *,
    options: Replacing,
    output: Output,
    save: Callable[[Any], None],
) -> None:
    """Bring rows of an archive back, after asking whether others may be replaced; say what was done.

    `save` backs a database up.
    """
    from taskdb_cli.backup.partial_restore import open_selection

    place, file = target.backend.place, archive.place
    users, tasks = ([*chain.from_iterable(words or [])] for words in (only.only_user, only.only_task))
    whole = output.format is not None
    written = Written(run, whole=whole, secret=archive.encrypted)
    with ExitStack() as opened:
        with run.progress() as show:
            progress = in_bytes(show, "reading")
            selecting = open_selection(target, archive, users=users, tasks=tasks, progress=progress)
            selection = opened.enter_context(selecting)
        work = partial(selection.bring_back, now=run.now, note=written.take)
        if options.dry_run:
            report = work(replace=options.replace, dry_run=True)
        else:
            replaced = work(replace=True, dry_run=True).replaced if options.replace else {}
            if loss := in_words(without_zeros(replaced)):
                run.confirm(f"replace {loss} of {place}", yes=options.yes, database=target)
            safety = None if options.no_safety_backup else partial(save, target)
            # Nobody was asked about rows that differ since then.
            report = work(replace=bool(loss), safety=safety)
        _say(run, report, file, place, dry_run=options.dry_run)
        if whole:
            show_records(run.counting(written.records()), RESTORED_ROWS, output)


def _say(run: Invocation, report: Report, file: object, place: str, *, dry_run: bool) -> None:
    """Say how many rows came back, were replaced, were left and got a new id."""
    back, replaced = (in_words(without_zeros(rows)) for rows in (report.restored, report.replaced))
    parts = []
    if back or not replaced:
        parts.append(f"{'would bring' if dry_run else 'brought'} back {back or 'nothing'}")
    if replaced:
        parts.append(f"{'would replace' if dry_run else 'replaced'} {replaced}")
    parts[-1] += f" from {file} into {place}"
    if left := in_words(without_zeros(report.left)):
        parts.append(f"{'would leave' if dry_run else 'left'} {left} that the database has already")
    if differing := in_words(without_zeros(report.differing)):
        way = "--replace restores the archived values"
        if report.obstacle:
            way = f"the archived values cannot be restored: {report.obstacle}"
        parts.append(f"of these, {differing} differ{_s(report.differing)} from the archive; {way}")
    if renumbered := in_words(without_zeros(report.new_ids)):
        gets = "would get" if dry_run else "got"
        parts.append(f"{renumbered} {gets} a new id, because the archived one is taken (-o json shows both)")
    said = "; ".join(parts)
    run.say(said)
    if not dry_run and (any(report.restored.values()) or any(report.replaced.values())):
        run.did(said, look="taskdb task list")


def _s(counts: dict[str, int]) -> str:
    """Return the ending of a verb behind these counts."""
    return "s" if sum(counts.values()) == 1 else ""
