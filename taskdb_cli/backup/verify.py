"""Find out whether archives are good, record it, and delete those that need not stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from taskdb_cli.backup import restore, retention
from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.create import Backup, Progress, read_back, silent
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.backup.history import Drill
from taskdb_cli.backup.names import parse_name
from taskdb_cli.backup.ownership import Owner, holdings
from taskdb_cli.backup.retention import Decision, Policy
from taskdb_cli.database import Database
from taskdb_cli.errors import Incomplete, StorageFailed, TaskdbError


def verify(path: Path) -> Backup:
    """Read all of an archive; raise ArchiveCorrupt, ArchiveTooNew, FileMissing or StorageFailed."""
    return read_back(path)


def note(backup: Backup, directory: BackupDirectory, *, now: datetime) -> None:
    """Record that an archive is good, if it is one of the directory's.

    Raises Incomplete when it cannot be recorded.
    """
    if entry := _entry(backup.path, directory):
        with _good_all_the_same(backup.path):
            directory.note_verified(entry.label, replace(backup.proof(now), archive=entry.path.name))


def drill(
    path: Path,
    directory: BackupDirectory,
    *,
    now: datetime,
    target: Database | None = None,
    progress: Progress = silent,
) -> None:
    """Restore an archive for trial; if it is one of the directory's, record that it passed.

    Raises what `restore.drill` raises.
    """
    manifest = restore.drill(path, target=target, progress=progress)
    if entry := _entry(path, directory):
        with _good_all_the_same(path):
            directory.note_drilled(entry.label, Drill(entry.path.name, now, manifest.origin.identity))


@contextmanager
def _good_all_the_same(path: Path) -> Iterator[None]:
    try:
        yield
    except StorageFailed as exc:
        raise Incomplete(f"{path} is good, but {exc.message}", exc.hint) from exc


def thin_out(
    directory: BackupDirectory, owner: Owner, policy: Policy, *, now: datetime, dry_run: bool = False
) -> Sequence[Decision]:
    """Delete the archives of a database that a policy does not keep; return the decision on each.

    What else is under its labels stays, and is in the answer. Each archive of the database is held against
    its seal, which covers every byte of it. Raises BackupRunning, and Incomplete when some could not be
    deleted.
    """
    if dry_run:
        return _decide(directory, owner, policy, now)
    used = {entry.label for entry in directory.entries()} & owner.labels
    with ExitStack() as locks:
        for label in sorted(used | {owner.label}):
            locks.enter_context(directory.lock(label))
        decisions = _decide(directory, owner, policy, now)
        retention.prune(directory, decisions)
    return decisions


def _decide(directory: BackupDirectory, owner: Owner, policy: Policy, now: datetime) -> list[Decision]:
    found = holdings(directory, owner)
    decisions = retention.decide(found.own, policy, now, _damage)
    decisions += [Decision(entry, True, (reason,), suspect=True) for entry, reason in found.not_own()]
    return sorted(decisions, key=lambda decision: (decision.entry.taken_at, decision.entry.label))


def _damage(entry: Entry) -> str | None:
    try:
        with Archive.open(entry.path):
            return None
    except TaskdbError as exc:
        return exc.message


def _entry(path: Path, directory: BackupDirectory) -> Entry | None:
    named = parse_name(path.name)
    if named is None:
        return None
    return next((entry for entry in directory.entries(named[0]) if entry.path.samefile(path)), None)
