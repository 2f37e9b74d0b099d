"""Archives: one sealed ZIP file that holds the rows of every table, and proves that it holds them.

An archive knows no database. Each member is one zstd frame of PostgreSQL's COPY text; the last one,
`manifest.json`, says what the others hold; the ZIP comment is a SHA-256 of every byte before it.
"""

from taskdb_cli.backup.archive.manifest import ArchivedColumn, Digest, Manifest, Origin
from taskdb_cli.backup.archive.reader import Archive, manifest_of, reseal, seal_of
from taskdb_cli.backup.archive.writer import ArchiveWriter

__all__ = [
    "Archive",
    "ArchiveWriter",
    "ArchivedColumn",
    "Digest",
    "Manifest",
    "Origin",
    "manifest_of",
    "reseal",
    "seal_of",
]
