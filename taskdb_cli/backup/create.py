"""Back up a database: write one snapshot to an archive, and read it back before it gets its name."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from taskdb_cli.backup.archive import Archive, ArchiveWriter
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.encryption import Encryption, digest_of
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.history import Proof
from taskdb_cli.backup.keys import Identities, Recipients
from taskdb_cli.backup.layout import ArchivedColumn, Manifest, Origin
from taskdb_cli.backup.splitting import Branch, SplitFile, working
from taskdb_cli.backup.stores import ReadableFile, Sink, StoredFile
from taskdb_cli.database import Database
from taskdb_cli.database.content import Content
from taskdb_cli.errors import ArchiveCorrupt, TaskdbError

Progress = Callable[[int], None]
"""Is called again and again with the number of bytes of rows that are done."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Backup:
    """An archive that was read from its first byte to its last; the size is in bytes."""

    file: StoredFile
    manifest: Manifest
    seal: str
    size: int
    digest: str = ""
    """That of an encrypted archive, and empty for another one."""

    def proof(self, now: datetime) -> Proof:
        """Return the proof that the archive was verified at this time, for the history."""
        origin = self.manifest.origin
        return Proof(
            archive=self.file.name,
            seal=self.seal,
            size=self.size,
            taken_at=origin.created_at,
            verified_at=now,
            revision=origin.revision,
            rows=self.manifest.counts(),
            # A history that was pruned is no loss of rows, so its bytes are not compared with earlier ones.
            bytes=sum(table.bytes for table in self.manifest.counted),
            identity=origin.identity,
            place=origin.place,
            digest=self.digest,
        )


class WrittenArchive(NamedTuple):
    """What an archive holds that was written, its seal, and its digest if it was encrypted."""

    manifest: Manifest
    seal: str
    digest: str = ""


def silent(_: int) -> None:
    """Ignore the progress."""


def take(
    source: Database | Content,
    directory: BackupDirectory,
    *,
    label: str,
    now: datetime,
    recipients: Recipients = (),
    guarded: bool = False,
    progress: Progress = silent,
) -> Backup:
    """Back a database up into a directory, and return the archive, verified and recorded.

    It is encrypted for the `recipients`, if there are any. `guarded` says that the caller already keeps
    migrations and restores out. If anything fails, no archive appears and the other files stay as they were.
    Raises BackupRunning, DatabaseUnavailable, StorageFailed, SchemaError, and Incomplete if the archive is
    there and good, but could not be recorded.
    """
    [outcome] = take_everywhere(
        source, [directory], label=label, now=now, recipients=recipients, guarded=guarded, progress=progress
    )
    return outcome.result()


@dataclass(frozen=True)
class Outcome:
    """What a run has done in one of its places: a good archive, or the error that left the place out.

    Both are there if the archive is good, but could not be recorded.
    """

    directory: BackupDirectory
    backup: Backup | None
    failure: TaskdbError | None

    def result(self) -> Backup:
        """Return the archive; raise the error if there is one."""
        if self.failure or self.backup is None:
            raise self.failure or AssertionError
        return self.backup


def take_everywhere(
    source: Database | Content,
    directories: Sequence[BackupDirectory],
    *,
    label: str,
    now: datetime,
    recipients: Recipients = (),
    guarded: bool = False,
    progress: Progress = silent,
) -> list[Outcome]:
    """Back a database up into several directories at once: one snapshot, and the same bytes in each of them.

    Each archive is read back and recorded where it is. A directory that fails is left out, and no archive
    appears there. Returns an outcome for each directory; if there is no archive in any, it raises as `take`
    does: the error of the first directory, with the reasons of all.
    """
    snapshot = source.snapshot(guarded=guarded) if isinstance(source, Database) else nullcontext(source)
    with snapshot as content, ExitStack() as opened:
        name, proven = archive_name(label, now, encrypted=bool(recipients)), dict[Branch, Backup]()
        branches = [opened.enter_context(Branch(each, name, label)) for each in directories]
        for branch in branches:
            with branch.trying():
                branch.open()
        working(branches)
        written = write(
            content, SplitFile(branches), label=label, now=now, recipients=recipients, progress=progress
        )
        for branch in working(branches):
            with branch.trying():
                with branch.new.reopen() as stored:
                    backup = _proven(branch.file, stored, written)
                branch.publish()
                proven[branch] = backup
                branch.directory.note(label, backup.proof(now))
    for backup in proven.values():
        _note(backup)
    if not proven:
        working(branches)
    return [Outcome(each.directory, proven.get(each), each.failure) for each in branches]


def save(
    content: Content,
    file: StoredFile,
    *,
    label: str,
    now: datetime,
    recipients: Recipients = (),
    progress: Progress = silent,
) -> Backup:
    """Write an archive to a new file, and verify it before it gets its name.

    What is stored of an encrypted archive is compared with what was encrypted, which nobody here can decrypt.
    Raises Conflict if the name is taken, StorageFailed, and ArchiveCorrupt if the archive does not hold what
    was written to it. Then there is no archive.
    """
    with file.store.create(file.name) as new:
        written = write(content, new, label=label, now=now, recipients=recipients, progress=progress)
        with new.reopen() as stored:
            backup = _proven(file, stored, written)
    _note(backup)
    return backup


def _proven(file: StoredFile, stored: ReadableFile, written: WrittenArchive) -> Backup:
    if written.digest:
        backup = Backup(file, written.manifest, written.seal, stored.size, digest_of(stored))
    else:
        backup = verified(file, Archive(file, stored))
    if (backup.manifest, backup.seal, backup.digest) != written:
        raise ArchiveCorrupt(file, "it does not hold what was written to it")
    return backup


def _note(backup: Backup) -> None:
    rows = backup.manifest.rows
    _log.info("backed up %d rows to %s", rows, backup.file, extra={"rows": rows})


def write(
    content: Content,
    stream: Sink,
    *,
    label: str,
    now: datetime,
    recipients: Recipients = (),
    progress: Progress = silent,
) -> WrittenArchive:
    """Write an archive to a stream and seal it, but do not read it back; encrypt it for the recipients."""
    if recipients:
        with Encryption(stream, recipients) as encrypted:
            written = write(content, encrypted, label=label, now=now, progress=progress)
            return written._replace(digest=encrypted.finish())
    writer, done = ArchiveWriter(stream), 0
    for layout in content.layouts:
        columns = [ArchivedColumn(column.name, column.type) for column in layout.columns]
        with content.chunks(layout) as chunks:
            done += writer.add_table(layout.table, columns, reported(chunks, progress, done)).bytes
    manifest = writer.close(
        Origin(
            label=label,
            engine=content.connection.dialect.name,
            server_version=content.server_version,
            revision=content.revision,
            created_at=now,
            identity=content.identity,
            # A path may hold characters that a manifest may not, such as a newline.
            place="".join(each if each.isprintable() else ascii(each)[1:-1] for each in content.address),
        )
    )
    return WrittenArchive(manifest, writer.seal)


def reported(chunks: Iterable[bytes], progress: Progress, done: int) -> Iterator[bytes]:
    """Yield chunks, and report how many bytes are done, beginning with those that were done before."""
    for chunk in chunks:
        done += len(chunk)
        yield chunk
        progress(done)


def read_back(file: StoredFile, identities: Identities = ()) -> Backup:
    """Read all of an archive; raise as `Archive.open` does."""
    with Archive.open(file, identities, all_bytes=False) as archive:
        return verified(file, archive)


def verified(file: StoredFile, archive: Archive) -> Backup:
    """Read all of an archive that is open; raise as `Archive.verify` does."""
    archive.verify()
    return Backup(file, archive.manifest, archive.seal, archive.size, archive.digest)
