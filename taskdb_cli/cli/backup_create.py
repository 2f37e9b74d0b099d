"""Take a backup for `taskdb backup`, and do what its options ask for after that."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from taskdb_cli import errors
from taskdb_cli.cli.backup_options import Shelf
from taskdb_cli.cli.output import Output, show_record
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.models.vocabulary import in_words
from taskdb_cli.output.formats import BACKUPS

if TYPE_CHECKING:
    from taskdb_cli.backup.create import Backup
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.backup.stores import StoredFile


def back_up(
    shelf: Shelf, policy: Policy | None, metrics_file: Path | None, *, drill: bool, output: Output
) -> None:
    """Take a backup, then do what the options ask for. Raise Incomplete at the end for all that failed then.

    But a failed test restore is DataCorrupt at once, because the backup is not good.
    """
    from taskdb_cli.backup import create, history, retention
    from taskdb_cli.backup.ownership import Holdings

    run, began = shelf.run, time.monotonic()
    with run.progress() as show:
        advance = in_bytes(show, "backing up")
        backup = create.take(
            run.maintained, shelf.directory, label=shelf.label, now=run.now, progress=advance
        )
    seconds = time.monotonic() - began
    report(shelf, backup, output)
    owner = shelf.owner(backup.manifest.origin.identity)
    failures: list[errors.TaskdbError] = []
    if drill:
        with _going_on(failures):
            drill_archive(shelf, backup)
            if sys.stderr.isatty():
                run.say(f"{backup.file}: test restore passed")
    if policy:
        with _going_on(failures):
            decisions = retention.prune(shelf.directory, owner, policy, now=run.now, say=run.say)
            if suspect := [decision for decision in decisions if decision.suspect]:
                example = f"{suspect[-1].entry.name} is {'; '.join(suspect[-1].reasons)}"
                run.say(f"kept {in_words({'archives': len(suspect)})} that no rule counts: {example}")
    if metrics_file:
        with _going_on(failures):
            record = Holdings(shelf.directory, owner).record
            history.write_metrics(metrics_file.absolute(), shelf.label, record, seconds=seconds)
    if failures:
        reasons = "; ".join(failure.message for failure in failures)
        raise errors.Incomplete(f"the backup is good, but {reasons}", failures[0].hint)


@contextmanager
def _going_on(failures: list[errors.TaskdbError]) -> Iterator[None]:
    try:
        yield
    except (errors.DataCorrupt, errors.Interrupted):
        raise
    except errors.TaskdbError as exc:
        failures.append(exc)
    except OSError as exc:
        failures.append(errors.StorageFailed(f"{exc.filename or 'a file'}: {exc.strerror}"))


def report(shelf: Shelf, backup: Backup, output: Output) -> None:
    """Say where a backup is."""
    run, place, origin = shelf.run, shelf.run.maintained.backend.place, backup.manifest.origin
    run.rows = backup.manifest.rows
    run.did(f"backed up {place} to {backup.file}", look=f"taskdb backup show {quote(str(backup.file))}")
    # Cron sends a mail with everything that a job prints.
    if sys.stderr.isatty():
        from rich.filesize import decimal

        size, rows = decimal(backup.size), in_words({"rows": backup.manifest.rows})
        run.say(f"backed up {rows} of {place} to {backup.file}: {size}, verified")
    if output.format is not None:
        archive = {"archive": str(backup.file), "label": origin.label, "taken_at": origin.created_at}
        show_record({**archive, "size": backup.size, "rows": backup.manifest.rows}, BACKUPS, output)


def drill_archive(shelf: Shelf, backup: Backup, url: str | None = None) -> None:
    """Restore an archive as a test, in a file or in the database at `url`, and record that it passed."""
    from taskdb_cli.backup import history, restore

    file, identity = backup.file, backup.manifest.origin.identity
    directory = shelf.directory_of(file)
    target = shelf.run.settings.other_database(url, "--drill-url") if url else None
    with shelf.run.progress() as show, recording_damage(shelf, file):
        restore.drill(file, target=target, progress=in_bytes(show, "test restore"))
    directory.note_archive(file, history.Drill(file.name, shelf.run.now, identity))


@contextmanager
def recording_damage(shelf: Shelf, file: StoredFile) -> Iterator[None]:
    """Record the damage that is found, so that pruning does not take the archive for good."""
    try:
        yield
    except errors.DataCorrupt as exc:
        with suppress(errors.TaskdbError):
            shelf.directory_of(file).note_damage(file, exc.message, shelf.run.now)
        raise
