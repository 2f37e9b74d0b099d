"""taskdb backup copy: copy archives to another directory or bucket."""

from __future__ import annotations

import sys
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli import errors
from taskdb_cli.cli.archive_argument import ARCHIVE_HELP, complete_archives
from taskdb_cli.cli.backup_location import LocationWithKeys
from taskdb_cli.cli.backup_options import EncryptTo, complete_directories
from taskdb_cli.cli.options import DryRun
from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.output.formats import COPIES, PLANNED_COPIES
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskdb_cli.backup.copying import Copy
    from taskdb_cli.backup.history import Record
    from taskdb_cli.backup.stores import StoredFile


def copy_archives(
    archives: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCHIVE…]", help=ARCHIVE_HELP, autocompletion=complete_archives, show_default=False
        ),
    ] = None,
    *,
    location: LocationWithKeys,
    to: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="The directory or bucket to copy to.",
            autocompletion=complete_directories,
            show_default=False,
        ),
    ],
    encrypt_to: EncryptTo = None,
    dry_run: DryRun = False,
    output: Output,
) -> None:
    """Copy archives to another directory or bucket, and verify them there.

    Without ARCHIVE it copies all archives of the database that are not there yet.
    """
    from taskdb_cli.backup.copying import Copy, Target
    from taskdb_cli.backup.stores.places import require_distinct

    run, directory = location.run, location.directory_at(to)
    if not archives:
        require_distinct([location.directory.store, directory.store])
    recipients, identities = location.recipients(encrypt_to), location.identities
    copies, failures, done = list[Copy](), list[errors.TaskdbError](), 0
    with run.progress() as show:
        advance = in_bytes(show, "copying")

        def count(size: int) -> None:
            nonlocal done
            done += size
            advance(done)

        target = Target(directory, now=run.now, recipients=recipients, identities=identities, progress=count)
        for named in _chosen(location, archives):
            try:
                file, known = named if isinstance(named, tuple) else _find(location, named)
                copies.append(target.copy(file, known, dry_run=dry_run))
            except (errors.StoreUnavailable, errors.BackupRunning, errors.Interrupted):
                # It would be the same with the next one.
                raise
            except errors.TaskdbError as exc:
                failures.append(exc)
    made = [each for each in copies if each.made]
    if made and not dry_run:
        run.did(
            f"copied {in_words({'archives': len(made)})} to {directory}",
            look=f"taskdb backup list --dir {quote(to)}",
        )
    for each in made:
        if not each.known:
            run.say(f"{each.target}: its content was not checked, because no identity was given to open it")
    if output.format is not None or dry_run:
        show_records(map(_record, copies), PLANNED_COPIES if dry_run else COPIES, output)
    elif sys.stderr.isatty():
        others = len(copies) - len(made)
        there = f"; {others} {'was' if others == 1 else 'were'} there already" if others else ""
        run.say(f"copied {in_words({'archives': len(made)})} to {directory}{there}")
    if failures:
        worst = next((each for each in failures if isinstance(each, errors.DataCorrupt)), failures[0])
        if len(copies) + len(failures) > 1:
            number = f"{len(failures)} of {len(copies) + len(failures)} archives were not copied"
            worst.message = "; ".join([number, *(each.message for each in failures[:5])])
        raise worst


def _record(copy: Copy) -> dict[str, object]:
    return {
        "archive": str(copy.source),
        "copy": str(copy.target),
        "size": copy.size,
        "copied": copy.made,
        "would_copy": copy.made,
    }


def _find(location: LocationWithKeys, archive: str) -> tuple[StoredFile, Record]:
    file = location.find(archive, location.run.database, offline=True, read_anyway=True)
    return file, location.directory_of(file).known_of(file)


def _chosen(
    location: LocationWithKeys, archives: list[str] | None
) -> Iterator[str | tuple[StoredFile, Record]]:
    """Yield what was named, or else all archives of the database with what is known of each."""
    if archives:
        yield from archives
        return
    holdings = location.holdings(location.run.database, offline=True)
    entries = sorted([*holdings.own, *holdings.unreadable], key=lambda entry: entry.taken_at)
    if not entries:
        location.run.say(f"there are no archives of {location.label} in {location.directory}")
    for entry in entries:
        yield entry.file, holdings.record.of(entry.name)
