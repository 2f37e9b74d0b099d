"""What there is to say of archives: of all in a directory, or of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taskdb_cli.archive import Archive, Manifest
from taskdb_cli.services.backup.directory import BackupDirectory
from taskdb_cli.services.backup.records import Record


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


def archives(directory: BackupDirectory, label: str | None = None) -> Iterator[dict[str, object]]:
    """Return a record of each archive, oldest first, with what is known of the newest of each label."""
    records: dict[str, Record] = {}
    for entry in directory.entries(label):
        known = records.setdefault(entry.label, directory.record(entry.label))
        yield {
            "archive": entry.path.name,
            "label": entry.label,
            "taken_at": entry.taken_at,
            "size": entry.size,
            "verified_at": _verified_at(known, entry.path.name),
            "drilled_at": known.drilled.at
            if known.drilled and known.drilled.archive == entry.path.name
            else None,
        }


def _verified_at(record: Record, archive: str) -> datetime | None:
    proofs = [record.verified, record.previous]
    return next((proof.verified_at for proof in proofs if proof and proof.archive == archive), None)
