"""Take a backup for `taskdb backup`, and do what its options ask for after that."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from taskdb_cli import errors
from taskdb_cli.cli.backup_location import BackupLocation, LocationWithKeys
from taskdb_cli.cli.history_prune import history_begin, prune_after_backup
from taskdb_cli.cli.output import Output, show_record, show_records
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.output.formats import BACKUPS
from taskdb_cli.system.paths import is_same, reserved
from taskdb_cli.text.amounts import in_one_size, in_words

if TYPE_CHECKING:
    from datetime import datetime

    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.create import Backup, Outcome
    from taskdb_cli.backup.directory import BackupDirectory
    from taskdb_cli.backup.keys import Recipients
    from taskdb_cli.backup.ownership import Owner
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.backup.stores import StoredFile
    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.database.content import Content


def back_up(
    location: LocationWithKeys,
    policy: Policy | None,
    metrics_file: Path | None,
    recipients: Recipients,
    *,
    replica: bool,
    drill: bool,
    output: Output,
) -> None:
    """Take a backup, then do what the options ask for. In the end, raise Incomplete for steps that failed.

    A failed test restore raises DataCorrupt at once, because the backup is not good.
    """
    from taskdb_cli.backup import create

    run, began = location.run, time.monotonic()
    kept_since = history_begin(run)
    directories = location.directories()
    with run.progress() as show, _snapshot(run, replica=replica) as content:
        outcomes = create.take_everywhere(
            content,
            directories,
            label=location.label,
            now=run.now,
            recipients=recipients,
            progress=in_bytes(show, "backing up"),
        )
    if len(outcomes) == 1:
        outcomes[0].result()
    seconds = time.monotonic() - began
    backups = [each.backup for each in outcomes if each.backup]
    report(location, backups, output)
    owner = location.owner(backups[0].manifest.origin.identity)
    several = len(outcomes) > 1
    failures = [
        _named(each.failure, each.directory if several else None) for each in outcomes if each.failure
    ]
    good = [each for each in outcomes if not each.failure]
    if drill:
        with _going_on(failures):
            holding = [each.directory for each in good or outcomes if each.backup]
            backup = next(each for each in backups if each.file.store == holding[0].store)
            drill_archive(location, backup, holding)
            if sys.stderr.isatty():
                run.say(f"{backup.file}: test restore passed")
    if policy:
        for each in good:
            with _going_on(failures, each.directory if several else None):
                _prune(run, each.directory, owner, policy)
    with _going_on(failures):
        prune_after_backup(run, kept_since)
    if metrics_file:
        with _going_on(failures):
            _write_metrics(metrics_file, location.label, outcomes, owner, seconds)
    if failures:
        reasons = "; ".join(failure.message.rpartition(" is good, but ")[2] for failure in failures)
        places = " and ".join(str(each.directory) for each in outcomes if each.backup)
        where = f" in {places}" if several else ""
        raise errors.Incomplete(f"the backup{where} is good, but {reasons}", failures[0].hint)


def _snapshot(run: Invocation, *, replica: bool) -> AbstractContextManager[Content]:
    """Open everything as it is at one moment, on the primary or on its replica."""
    if not replica:
        return run.maintained.snapshot()
    from taskdb_cli.backup.from_replica import snapshot_of_replica

    settings = run.settings
    source = settings.direct_replica_database()
    return snapshot_of_replica(run.maintained, source, most_lag=settings.read_lag)


def back_up_to_file(
    location: BackupLocation, file: str, recipients: Recipients, output: Output, *, replica: bool
) -> None:
    """Back up to a new file outside the directory of archives.

    Raises Conflict if it exists, and InvalidInput for an address and for what cannot be a file.
    """
    from taskdb_cli.backup import create
    from taskdb_cli.backup.stores.places import file_at, is_address, store_at

    if is_address(file):
        # The address may hold a secret.
        raise errors.InvalidInput("--file writes to a disk, and not to an address", "name a bucket by --dir")
    # This refuses what is nearly an address.
    store_at(file)
    path = Path(file).absolute()
    if not file or not path.name or path.is_dir():
        raise errors.InvalidInput(f"--file {file!r} names no file", "name a new file, or - for stdout")
    if os.path.lexists(path):
        raise errors.Conflict(f"{path} exists already", "choose another name, or - for stdout")
    if not path.parent.is_dir():
        missing = errors.NotFound if not os.path.lexists(path.parent) else errors.InvalidInput
        raise missing(f"there is no directory {path.parent}", "make it, or choose another place")
    if reason := reserved(path):
        raise errors.InvalidInput(f"{path} is refused: {reason}", "choose another name")
    run = location.run
    with run.progress() as show, _snapshot(run, replica=replica) as content:
        advance = in_bytes(show, "backing up")
        backup = create.save(
            content,
            file_at(str(path)),
            label=location.label,
            now=run.now,
            recipients=recipients,
            progress=advance,
        )
        report(location, [backup], output)


def write_to_stdout(
    location: BackupLocation, recipients: Recipients, output: Output, *, replica: bool
) -> None:
    """Write an archive to stdout. It cannot be read back, so it is not verified."""
    from taskdb_cli.backup import create

    run, stdout = location.run, sys.stdout
    if stdout.isatty():
        raise errors.InvalidInput("refusing to write a binary archive to a terminal", "redirect stdout")
    if output.format is not None:
        raise errors.InvalidInput("--output cannot be combined with an archive on stdout", "leave one out")
    if run.settings.log.file and is_same(run.settings.log.file, Path("/dev/stdout")):
        raise errors.InvalidInput("the archive and the log cannot both go to stdout", "name another log file")
    with run.progress() as show, _snapshot(run, replica=replica) as content:
        advance = in_bytes(show, "backing up")
        try:
            written = create.write(
                content,
                stdout.buffer,
                label=location.label,
                now=run.now,
                recipients=recipients,
                progress=advance,
            )
            stdout.buffer.flush()
        except OSError as exc:
            # Half an archive is a failure, even if the reader has closed the pipe.
            what = f"stdout cannot be written: {exc.strerror}"
            raise errors.StorageFailed(what, "the output is not a complete archive") from exc
        run.rows = written.manifest.rows


def _prune(run: Invocation, directory: BackupDirectory, owner: Owner, policy: Policy) -> None:
    """Delete the archives that the policy does not keep, and say which it could not judge."""
    from taskdb_cli.backup import retention

    decisions = retention.prune(directory, owner, policy, now=run.now, say=run.say)
    if suspect := [decision for decision in decisions if decision.suspect]:
        example = f"{suspect[-1].entry.name} is {'; '.join(suspect[-1].reasons)}"
        kept = in_words({"archives": len(suspect)})
        run.say(f"kept {kept} besides, to which no rule applies: {example}")


def _named(failure: errors.TaskdbError, directory: BackupDirectory | None) -> errors.TaskdbError:
    """Return an error that names the directory, if one is given."""
    if directory and str(directory) not in failure.message:
        failure.message = f"{directory}: {failure.message}"
    return failure


@contextmanager
def _going_on(failures: list[errors.TaskdbError], directory: BackupDirectory | None = None) -> Iterator[None]:
    """Add a failure of a step after the backup to the list. Damaged data and an interruption end the run."""
    try:
        yield
    except errors.DataCorrupt as exc:
        exc.message = "; ".join([exc.message, *(each.message for each in failures)])
        raise
    except errors.Interrupted:
        raise
    except errors.TaskdbError as exc:
        failures.append(_named(exc, directory))
    except OSError as exc:
        failures.append(errors.StorageFailed(f"{exc.filename or 'a file'}: {exc.strerror}"))


def _write_metrics(path: Path, label: str, outcomes: Sequence[Outcome], owner: Owner, seconds: float) -> None:
    from taskdb_cli.backup.history import Measured, Record, write_metrics
    from taskdb_cli.backup.ownership import Holdings

    measured = {}
    for outcome in outcomes:
        record = Record()
        # Another wait would not help, and the failure is reported already.
        if not isinstance(outcome.failure, errors.StoreUnavailable):
            with suppress(errors.TaskdbError) if outcome.failure else nullcontext():
                record = Holdings(outcome.directory, owner).record
        taken = seconds if outcome.backup and not outcome.failure else None
        measured[str(outcome.directory)] = Measured(record, taken)
    write_metrics(path.absolute(), label, measured)


def report(location: BackupLocation, backups: Sequence[Backup], output: Output) -> None:
    """Say where a backup is: one record, or a list of them if it is in several places."""
    run, place, manifest = location.run, location.run.maintained.backend.place, backups[0].manifest
    run.rows, files = manifest.rows, " and ".join(str(each.file) for each in backups)
    run.did(f"backed up {place} to {files}", look=f"taskdb backup show {quote(str(backups[0].file))}")
    # Cron sends a mail with everything that a job prints.
    if sys.stderr.isatty():
        size, rows = in_one_size(backups[0].size), in_words({"rows": manifest.rows})
        run.say(f"backed up {rows} of {place} to {files}: {size}, verified")
    if output.format is not None:
        origin = manifest.origin
        records = [
            {
                "archive": str(each.file),
                "label": origin.label,
                "taken_at": origin.created_at,
                "size": each.size,
                "rows": manifest.rows,
            }
            for each in backups
        ]
        if len(location.given_directory or ()) > 1:
            show_records(records, BACKUPS, output)
        else:
            show_record(records[0], BACKUPS, output)


def drill_archive(
    location: LocationWithKeys,
    backup: Backup,
    directories: Sequence[BackupDirectory],
    url: str | None = None,
    *,
    opened: Archive | None = None,
) -> None:
    """Restore an archive as a test, in a file or in the database at `url`, and record that it passed.

    It is recorded in each of the directories, which hold the same bytes. It may be `opened` already.
    """
    from taskdb_cli.backup import history, restore

    file, identity = backup.file, backup.manifest.origin.identity
    target = location.run.settings.other_database(url, "--drill-url") if url else None
    with location.run.progress() as show, recording_damage(directories, file, location.run.now):
        advance = in_bytes(show, "test restore")
        restore.drill(opened or file, target=target, identities=location.identities, progress=advance)
    drill = history.Drill(file.name, location.run.now, identity)
    directories[0].note_archive(file, drill)
    for directory in directories[1:]:
        directory.note_archive(directory.file(file.name), drill)


@contextmanager
def recording_damage(
    directories: Sequence[BackupDirectory], file: StoredFile, now: datetime
) -> Iterator[None]:
    """Record the damage that is found, so that pruning does not count the archive as a good one.

    The archive is in the first directory. The others hold the same bytes, which may be good there.
    """
    try:
        yield
    except errors.DataCorrupt as exc:
        with suppress(errors.TaskdbError):
            directories[0].note_damage(file, exc.message, now)
        raise
