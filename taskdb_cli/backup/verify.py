"""Record that archives were verified, and restore them as a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.create import Backup, Progress, silent
from taskdb_cli.backup.directory import BackupDirectory, Entry, parse_name
from taskdb_cli.backup.history import Drill
from taskdb_cli.database import Database
from taskdb_cli.errors import Incomplete, StorageFailed


def note(backup: Backup, directory: BackupDirectory, *, now: datetime) -> None:
    """Record that an archive is good, if it is in the directory.

    Raises Incomplete if this cannot be recorded.
    """
    _record(
        backup.path,
        directory,
        lambda entry: directory.note_verified(
            entry.label, replace(backup.proof(now), archive=entry.path.name)
        ),
    )


def drill(
    path: Path,
    directory: BackupDirectory,
    *,
    now: datetime,
    target: Database | None = None,
    progress: Progress = silent,
) -> None:
    """Restore an archive as a test. If it is in the directory, record that it passed.

    Raises what `restore.drill` raises, and Incomplete if this cannot be recorded.
    """
    identity = manifest_of(path).origin.identity
    restore.drill(path, target=target, progress=progress)
    _record(
        path,
        directory,
        lambda entry: directory.note_drilled(entry.label, Drill(entry.path.name, now, identity)),
    )


def _record(path: Path, directory: BackupDirectory, write: Callable[[Entry], None]) -> None:
    named = parse_name(path.name)
    for entry in directory.entries(named[0]) if named else ():
        if entry.path.samefile(path):
            try:
                write(entry)
            except StorageFailed as exc:
                raise Incomplete(f"{path} is good, but {exc.message}", exc.hint) from exc
            return
