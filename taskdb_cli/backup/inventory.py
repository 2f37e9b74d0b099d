"""What there is to say of archives: of all in a directory, or of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskdb_cli.backup.archive import Archive, Manifest, Origin, manifest_of
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.backup.history import Record
from taskdb_cli.errors import TaskdbError


@dataclass(frozen=True)
class Description:
    """An archive whose seal is whole; the size is in bytes."""

    path: Path
    manifest: Manifest
    seal: str
    size: int

    def record(self) -> dict[str, Any]:
        """Return everything that it says of itself."""
        return {"archive": str(self.path), "size": self.size, "seal": self.seal, **self.manifest.record()}

    def tables(self) -> list[dict[str, object]]:
        """Return a record of each table."""
        return [
            {"table": table.name, "rows": table.rows, "bytes": table.bytes, "sha256": table.sha256}
            for table in self.manifest.tables
        ]

    def summary(self) -> str:
        """Return where it comes from, in a line."""
        origin = self.manifest.origin
        return (
            f"{origin.label}, {origin.engine} {origin.server_version}, revision {origin.revision}, "
            f"taken at {origin.created_at:%Y-%m-%dT%H:%M:%SZ} by {self.manifest.tool}"
        )


def describe(path: Path) -> Description:
    """Look at an archive; raise ArchiveCorrupt, ArchiveTooNew, FileMissing or StorageFailed."""
    with Archive.open(path) as archive:
        return Description(path, archive.manifest, archive.seal, archive.size)


def archives(
    directory: BackupDirectory, label: str | None = None, *, say: Callable[[str], object]
) -> Iterator[dict[str, object]]:
    """Return a record of each archive, oldest first, with what is known of it.

    `say` gets a line for each archive whose manifest cannot be read; its database is not known.
    """
    records: dict[str, Record] = {}
    for entry in directory.entries(label):
        if entry.label not in records:
            records[entry.label] = directory.record(entry.label)
        proof = records[entry.label].proof_of(entry.path.name)
        drill = records[entry.label].drill_of(entry.path.name)
        origin = _origin(entry, say)
        yield {
            "archive": entry.path.name,
            "label": entry.label,
            "taken_at": entry.taken_at,
            "size": entry.size,
            "verified_at": proof and proof.verified_at,
            "drilled_at": drill and drill.at,
            "identity": origin and origin.identity,
            "place": origin and origin.place,
        }


def _origin(entry: Entry, say: Callable[[str], object]) -> Origin | None:
    try:
        return manifest_of(entry.path).origin
    except TaskdbError as exc:
        say(exc.message)
        return None
