"""taskdb backup diff: what changed between two archives, or between an archive and the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.archive_argument import complete_archives
from taskdb_cli.cli.backup_location import LocationWithKeys
from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.errors import InvalidInput
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.output.formats import Format

if TYPE_CHECKING:
    from taskdb_cli.backup.difference import Comparison, Source

LIVE = "live"
"""The word for the database itself."""


def complete_sides(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the database as it is now, and what `complete_archives` offers."""
    return [(LIVE, "the database as it is now"), *complete_archives(ctx, incomplete)]


def _side(help: str) -> Any:
    return typer.Argument(help=help, autocompletion=complete_sides)


def diff(
    a: Annotated[str, _side("The older side: an archive as 'backup show' takes it, or 'live'.")],
    b: Annotated[str, _side("The newer side: an archive, or 'live' for the database as it is now.")],
    *,
    location: LocationWithKeys,
    details: Annotated[bool, typer.Option("--details", help="Show each row that differs, and how.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 4 if there is a difference.")] = False,
    output: Output,
) -> None:
    """Compare two archives, or an archive with the database.

    Counts the users and tasks that were added, removed or changed from A to B.
    """
    from taskdb_cli.backup.difference import comparing

    if a == b == LIVE:
        raise InvalidInput("both sides are the database", "compare it with an archive, such as 'latest'")
    run = location.run
    sides = _find(location, a), _find(location, b)
    # A bar between lines of details on the same terminal would be in the way.
    with run.progress() as show, comparing(*sides, location.identities) as comparison:
        sizes = comparison.old.size, comparison.new.size
        if not (details and sys.stdout.isatty()):
            total = None if None in sizes else sum(size or 0 for size in sizes)
            comparison.progress = in_bytes(show, "comparing", total=total)
        if comparison.is_same_database is False:
            places = f"{comparison.old.place} and {comparison.new.place}"
            run.say(f"{places} are two databases: rows with the same id may be unrelated")
        _show(comparison, details, output)
    run.rows = sum(counter.total() for counter in comparison.counts.values())
    if exit_code and not comparison.is_equal:
        run.outcome = "different"
        raise typer.Exit(ExitCode.CONFLICT)


def _find(location: LocationWithKeys, word: str) -> Source:
    run = location.run
    return (
        run.maintained if word == LIVE else location.find(word, run.database, offline=True, read_anyway=True)
    )


def _show(comparison: Comparison, details: bool, output: Output) -> None:
    from taskdb_cli.output import differences as written

    format = output.effective_format
    found = comparison.run(details=details)
    if not details:
        # Nothing is said before both sides are proven.
        for _ in found:
            pass
    if format is Format.JSON:
        written.write_comparison(comparison, found if details else None, sys.stdout)
    elif format is Format.TABLE:
        from taskdb_cli.output.pager import paged

        with paged(sys.stdout) as stream:
            if details:
                written.print_differences(found, stream)
            written.print_counts(comparison, stream)
    elif not details:
        show_records(written.count_records(comparison), written.COUNTS, output)
    elif format is Format.NDJSON:
        show_records(written.row_records(found), written.ROWS, output)
    else:
        show_records(written.field_records(found), written.FIELDS, output)
