"""Archives and histories of format 2 that an earlier taskdb wrote: read, restored and written as they are."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import zstandard

from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import Archive, ArchiveWriter
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import from_json, to_json
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.backup.stores.places import file_at
from tests.archives import forged
from tests.contents import hashes

KEPT = Path(__file__).parents[1] / "data" / "format-2"
LABELS = ["sqlite", "postgresql"]

pytestmark = pytest.mark.parametrize("label", LABELS)


def kept(label):
    """Return the archive of a label."""
    [entry] = BackupDirectory(LocalStore(KEPT)).entries(label)
    return entry.file.path


def test_a_kept_archive_restores_on_every_engine(database, label):
    """Rows, Unicode, NULLs, external ids and every status come back byte for byte."""
    with Archive.open(file_at(kept(label))) as archive:
        expected = {table.name: (table.rows, table.sha256) for table in archive.manifest.counted}
    assert {name: rows for name, (rows, _) in expected.items()} == {"users": 3, "tasks": 7}
    restore.restore(database, file_at(kept(label)))
    assert hashes(database) == expected


def test_the_structure_and_the_manifest_are_written_the_same_way(label):
    """Only the frames depend on the version of zstd; everything around them is rebuilt byte for byte."""
    with zipfile.ZipFile(kept(label)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with Archive.open(file_at(kept(label))) as archive:
        assert archive.manifest.encode() == members["manifest.json"]
    assert forged(*members.items()) == kept(label).read_bytes()


@pytest.mark.skipif(zstandard.ZSTD_VERSION != (1, 5, 7), reason="another zstd compresses differently")
def test_the_same_rows_still_give_the_same_file(label, monkeypatch):
    """An archive that is written again from its own rows is the same file."""
    stream = io.BytesIO()
    with Archive.open(file_at(kept(label))) as archive:
        monkeypatch.setattr("taskdb_cli.backup.archive.__version__", archive.manifest.tool.split()[1])
        writer = ArchiveWriter(stream)
        for table in archive.manifest.tables:
            writer.add_table(table.name, table.columns, archive.chunks(table.name))
        writer.close(archive.manifest.origin)
    assert stream.getvalue() == kept(label).read_bytes()


def test_a_kept_history_is_read_and_written_the_same_way(label):
    """The file beside the archives names the archive, its drill and its database."""
    text = (KEPT / f"{label}.taskdb.json").read_text()
    record = from_json(text)
    assert to_json(record) == text
    assert record.verified.archive == record.drilled.archive == kept(label).name
    assert record.verified.rows == {"users": 3, "tasks": 7}
    assert record.verified.identity == json.loads(text)["drills"][0]["identity"]
