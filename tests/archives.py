"""Archives to read, to damage and to forge."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from datetime import UTC, datetime

from taskdb_cli.backup import layout
from taskdb_cli.backup.archive import Archive, ArchiveWriter
from taskdb_cli.backup.layout import ArchivedColumn, Digest, Manifest, Origin
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.backup.stores.places import file_at

IDENTITY, PLACE = "0a1b2c3d-0000-4000-8000-0123456789ab", "db.example.com:5432/work"
ORIGIN = Origin(
    "main", "sqlite", "3.45.1", "0002", datetime(2026, 11, 22, 12, 30, 0, 1, UTC), IDENTITY, PLACE
)
USERS = (ArchivedColumn("id", "integer"), ArchivedColumn("email", "text"))
TASKS = (ArchivedColumn("id", "integer"), ArchivedColumn("is_done", "boolean"))
ROWS = {"users": b"1\tada@example.com\n2\t\\N\n", "tasks": b"1\tt\n2\tf\n3\tf\n"}
COLUMNS = {"users": USERS, "tasks": TASKS}


def verify(path):
    """Read a whole archive; return its manifest."""
    with Archive.open(path if isinstance(path, StoredFile) else file_at(path)) as archive:
        archive.verify()
        return archive.manifest


def write_archive(stream, rows=ROWS):
    """Write a small archive; return its manifest."""
    writer = ArchiveWriter(stream)
    for name, text in rows.items():
        writer.add_table(name, COLUMNS[name], [text])
    return writer.close(ORIGIN)


def archive_bytes(rows=ROWS):
    """Return a small archive."""
    stream = io.BytesIO()
    write_archive(stream, rows)
    return stream.getvalue()


def manifest_of(rows=ROWS):
    """Return the manifest of an archive of these rows."""
    return write_archive(io.BytesIO(), rows)


def frame(text):
    """Return a table's member, a zstd frame, as the writer makes it."""
    with zipfile.ZipFile(io.BytesIO(archive_bytes({"tasks": text}))) as file:
        return file.read("tasks.copy.zst")


def sealed(data):
    """Return bytes with a seal behind them that matches."""
    return data + b"sha256:" + hashlib.sha256(data).hexdigest().encode()


def unsealed(data):
    """Return an archive without its seal."""
    return data[: -layout.SEAL_SIZE]


def forged(*members):
    """Return an archive of given members, names and bytes, whose structure and seal are right."""
    listed = [layout.Member(name, zlib.crc32(body), len(body)) for name, body in members]
    parts = (
        layout.local_header(name) + body + layout.descriptor(member)
        for (name, body), member in zip(members, listed, strict=True)
    )
    return sealed(b"".join(parts) + layout.tail(listed))


def forged_tables(bodies, manifest=None):
    """Return an archive whose tables have these bytes as members, with the manifest of the true rows."""
    manifest = manifest_of().encode() if manifest is None else manifest
    return forged(*((f"{name}.copy.zst", body) for name, body in bodies.items()), ("manifest.json", manifest))


def claiming(**counts):
    """Return a manifest that says something else of the tasks."""
    true = manifest_of()
    digest = Digest()
    digest.update(ROWS["tasks"])
    content = digest.content("tasks", TASKS)
    tables = (true.tables[0], type(content)(**{**vars(content), **counts}))
    return Manifest(true.format, true.tool, true.origin, tables).encode()
