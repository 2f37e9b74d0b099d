"""Back up a database: write one snapshot to an archive, and read it back before it gets its name."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from taskdb_cli.backup.archive import Archive, ArchiveWriter
from taskdb_cli.backup.atomic import open_partial, publish
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Proof
from taskdb_cli.backup.layout import ArchivedColumn, Manifest, Origin
from taskdb_cli.database import Database
from taskdb_cli.database.content import Content
from taskdb_cli.errors import ArchiveCorrupt

Progress = Callable[[int], None]
"""Is called again and again with the number of bytes of rows that are done."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Backup:
    """An archive that was read from its first byte to its last; the size is in bytes."""

    path: Path
    manifest: Manifest
    seal: str
    size: int

    def proof(self, now: datetime) -> Proof:
        """Return the proof that the archive was verified at this time, for the history."""
        origin = self.manifest.origin
        return Proof(
            archive=self.path.name,
            seal=self.seal,
            size=self.size,
            taken_at=origin.created_at,
            verified_at=now,
            revision=origin.revision,
            rows=self.manifest.counts(),
            bytes=sum(table.bytes for table in self.manifest.tables),
            identity=origin.identity,
            place=origin.place,
        )


def silent(_: int) -> None:
    """Ignore the progress."""


def take(
    source: Database | Content,
    directory: BackupDirectory,
    *,
    label: str,
    now: datetime,
    guarded: bool = False,
    progress: Progress = silent,
) -> Backup:
    """Back a database up into a directory, and return the archive, verified and recorded.

    `guarded` says that the caller already keeps migrations and restores out. If anything fails, no archive
    appears and the other files stay as they were. Raises BackupRunning, DatabaseUnavailable, StorageFailed,
    SchemaError, and Incomplete if the archive is there and good, but could not be recorded.
    """
    snapshot = source.snapshot(guarded=guarded) if isinstance(source, Database) else nullcontext(source)
    with snapshot as content:
        directory.create()
        with directory.lock(label):
            directory.sweep(label)
            backup = save(content, directory.new_path(label, now), label=label, now=now, progress=progress)
            directory.note(label, backup.proof(now))
    return backup


def save(content: Content, path: Path, *, label: str, now: datetime, progress: Progress = silent) -> Backup:
    """Write an archive to a new path, and verify it before it gets that name.

    Raises Conflict if the path exists, StorageFailed, and ArchiveCorrupt if the archive does not hold what
    was written to it. Then there is no archive.
    """
    with open_partial(path) as stream:
        partial = Path(stream.name)
        written = write(content, stream, label=label, now=now, progress=progress)
        stream.flush()
        found = read_back(partial, expected=written)
        publish(partial, path)
    _log.info("backed up %d rows to %s", written.rows, path, extra={"rows": written.rows})
    return Backup(path, written, found.seal, found.size)


def write(
    content: Content, stream: BinaryIO, *, label: str, now: datetime, progress: Progress = silent
) -> Manifest:
    """Write an archive to a stream and seal it, but do not read it back; return its manifest."""
    writer, done = ArchiveWriter(stream), 0
    for layout in content.layouts:
        columns = [ArchivedColumn(column.name, column.type) for column in layout.columns]
        with content.chunks(layout) as chunks:
            done += writer.add_table(layout.table, columns, reported(chunks, progress, done)).bytes
    return writer.close(
        Origin(
            label=label,
            engine=content.connection.dialect.name,
            server_version=content.server_version,
            revision=content.revision,
            created_at=now,
            identity=content.identity,
            # A path may hold characters that a manifest may not, such as a newline.
            place="".join(each if each.isprintable() else ascii(each)[1:-1] for each in content.place),
        )
    )


def reported(chunks: Iterable[bytes], progress: Progress, done: int) -> Iterator[bytes]:
    """Yield chunks, and report the number of bytes that are done, of which so many were done before."""
    for chunk in chunks:
        done += len(chunk)
        yield chunk
        progress(done)


def read_back(path: Path, *, expected: Manifest | None = None) -> Backup:
    """Read all of an archive; raise as `Archive` does, and ArchiveCorrupt if it is not the `expected` one."""
    with Archive.open(path) as archive:
        archive.verify()
        if expected is not None and archive.manifest != expected:
            raise ArchiveCorrupt(path, "it does not hold what was written to it")
        return Backup(path, archive.manifest, archive.seal, archive.size)
