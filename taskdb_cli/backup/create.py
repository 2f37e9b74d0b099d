"""Take a backup: one snapshot into one archive, which has its name only when it was read back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from taskdb_cli.backup.archive import Archive, ArchiveWriter, Column, Manifest, Origin
from taskdb_cli.backup.atomic import discard, open_partial, publish, storage, sync
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Proof
from taskdb_cli.database import Database
from taskdb_cli.database.content import Content
from taskdb_cli.errors import ArchiveCorrupt, Incomplete, StorageFailed

Progress = Callable[[int], None]
"""Is told how many bytes of rows have passed, again and again."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Backup:
    """An archive that was read from its first byte to its last; the size is in bytes."""

    path: Path
    manifest: Manifest
    seal: str
    size: int

    def record(self) -> dict[str, object]:
        """Return it as a directory's list shows it."""
        origin = self.manifest.origin
        return {
            "archive": str(self.path),
            "label": origin.label,
            "taken_at": origin.created_at,
            "size": self.size,
            "rows": self.manifest.rows,
        }

    def proof(self, now: datetime) -> Proof:
        """Return what is recorded of it as verified at that time."""
        return Proof(
            archive=self.path.name,
            seal=self.seal,
            size=self.size,
            taken_at=self.manifest.origin.created_at,
            verified_at=now,
            revision=self.manifest.origin.revision,
            rows={table.name: table.rows for table in self.manifest.tables},
            bytes=sum(table.bytes for table in self.manifest.tables),
            identity=self.manifest.origin.identity,
            place=self.manifest.origin.place,
        )


def silent(_: int) -> None:
    """Tell nobody of progress."""


def take(
    database: Database,
    directory: BackupDirectory,
    *,
    label: str,
    now: datetime,
    guarded: bool = False,
    progress: Progress = silent,
) -> Backup:
    """Back a database up into a directory, and return the archive, verified and recorded.

    Whatever goes wrong, nothing is under the final name, and what was there is as it was. `guarded`
    says that the caller keeps migrations and restores out already. Raises BackupRunning, StorageFailed,
    DatabaseUnavailable, or a SchemaError for a database without taskdb's tables; and Incomplete for an
    archive that is good and there, but of which that could not be recorded.
    """
    with database.snapshot(guarded=guarded) as content:
        return keep(content, directory, label=label, now=now, progress=progress)


def keep(
    content: Content, directory: BackupDirectory, *, label: str, now: datetime, progress: Progress = silent
) -> Backup:
    """Do what `take` does, with what a transaction sees that is open already."""
    directory.create()
    with directory.lock(label):
        directory.sweep(label)
        backup = save(content, directory.new_path(label, now), label=label, now=now, progress=progress)
        try:
            directory.note_verified(label, backup.proof(now))
        except StorageFailed as exc:
            raise Incomplete(f"{backup.path} is good, but {exc.message}", exc.hint) from exc
    return backup


def save(content: Content, path: Path, *, label: str, now: datetime, progress: Progress = silent) -> Backup:
    """Write an archive to a path that nothing has yet, and verify it before it gets that name.

    Raises Conflict if the path is taken, or StorageFailed; then nothing is there.
    """
    # Closing a file on a full disk fails once more.
    with storage(f"{path} cannot be written"), open_partial(path) as stream:
        partial = Path(stream.name)
        try:
            written = write(content, stream, label=label, now=now, progress=progress)
            sync(stream)
            found = _proven(partial, written)
            publish(partial, path)
        except BaseException:
            discard(partial)
            raise
    _log.info("backed up %d rows to %s", written.rows, path, extra={"rows": written.rows})
    return Backup(path, written, found.seal, found.size)


def write(
    content: Content, stream: BinaryIO, *, label: str, now: datetime, progress: Progress = silent
) -> Manifest:
    """Write an archive to a stream, sealed but not read back; return what it says of itself."""
    writer, passed = ArchiveWriter(stream), 0
    for layout in content.layouts:
        columns = [Column(column.name, column.type) for column in layout.columns]
        with content.chunks(layout) as chunks:
            table = writer.add_table(layout.table, columns, _reporting(chunks, progress, passed))
        passed += table.bytes
    return writer.close(
        Origin(
            label=label,
            engine=content.connection.dialect.name,
            server_version=content.server_version,
            revision=content.revision,
            created_at=now,
            identity=content.identity,
            place=_printable(content.place),
        )
    )


def _printable(text: str) -> str:
    """Escape what a path may hold and a manifest may not, such as a newline."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def read_back(path: Path) -> Backup:
    """Read all of an archive, and return it; raise ArchiveCorrupt, or FileMissing."""
    with Archive.open(path) as archive:
        archive.verify()
        return Backup(path, archive.manifest, archive.seal, archive.size)


def _proven(partial: Path, written: Manifest) -> Backup:
    found = read_back(partial)
    if found.manifest != written:
        raise ArchiveCorrupt(partial, "it does not hold what was written to it")
    return found


def _reporting(chunks: Iterable[bytes], progress: Progress, passed: int) -> Iterator[bytes]:
    for chunk in chunks:
        passed += len(chunk)
        yield chunk
        progress(passed)
