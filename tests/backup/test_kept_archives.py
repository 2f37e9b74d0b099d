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
from tests.operations import changes, operations
from tests.samples import add_user

DATA = Path(__file__).parents[1] / "data"
LABELS = ["sqlite", "postgresql"]


@pytest.fixture(params=["format-2", "revision-0006"])
def shelf(request):
    """The directory with an archive of each label."""
    return DATA / request.param


@pytest.fixture(params=LABELS)
def label(request):
    """The engine that the archive was taken of."""
    return request.param


@pytest.fixture
def kept(shelf, label):
    """The archive of the label."""
    [entry] = BackupDirectory(LocalStore(shelf)).entries(label)
    return entry.file.path


def test_a_kept_archive_restores_on_every_engine(database, kept):
    """Rows, Unicode, NULLs, external ids and every status come back byte for byte."""
    with Archive.open(file_at(kept)) as archive:
        expected = {table.name: (table.rows, table.sha256) for table in archive.manifest.counted}
    assert {name: rows for name, (rows, _) in expected.items()} == {"users": 3, "tasks": 7}
    restore.restore(database, file_at(kept))
    assert hashes(database) == expected


def test_the_structure_and_the_manifest_are_written_the_same_way(kept):
    """Only the frames depend on the version of zstd; everything around them is rebuilt byte for byte."""
    with zipfile.ZipFile(kept) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with Archive.open(file_at(kept)) as archive:
        assert archive.manifest.encode() == members["manifest.json"]
    assert forged(*members.items()) == kept.read_bytes()


@pytest.mark.skipif(zstandard.ZSTD_VERSION != (1, 5, 7), reason="another zstd compresses differently")
def test_the_same_rows_still_give_the_same_file(kept, monkeypatch):
    """An archive that is written again from its own rows is the same file."""
    stream = io.BytesIO()
    with Archive.open(file_at(kept)) as archive:
        monkeypatch.setattr("taskdb_cli.backup.archive.__version__", archive.manifest.tool.split()[1])
        writer = ArchiveWriter(stream)
        for table in archive.manifest.tables:
            writer.add_table(table.name, table.columns, archive.chunks(table.name))
        writer.close(archive.manifest.origin)
    assert stream.getvalue() == kept.read_bytes()


def test_a_kept_history_is_read_and_written_the_same_way(shelf, label, kept):
    """The file beside the archives names the archive, its drill and its database."""
    text = (shelf / f"{label}.taskdb.json").read_text()
    record = from_json(text)
    assert to_json(record) == text
    assert record.verified.archive == record.drilled.archive == kept.name
    assert record.verified.rows == {"users": 3, "tasks": 7}
    assert record.verified.identity == json.loads(text)["drills"][0]["identity"]


@pytest.mark.parametrize("shelf", ["revision-0006"], indirect=True)
def test_the_history_in_a_kept_archive_is_the_same_on_every_engine(database, label, kept):
    """Who did what, and how each row changed, is there to be shown; the restore is one operation more."""
    restore.restore(database, file_at(kept))
    *found, last = operations(database)
    assert [(each.actor, each.command, each.rows_changed, each.undoes) for each in found] == [
        ("kim", "restore", 10, None),
        ("kim", "task update", 1, None),
        ("lee", "user create", 1, None),
        ("lee", "task create", 1, None),
        ("lee", "token create", 1, None),
        ("lee", "task update", 1, None),
        ("kim", "task update", 1, None),
        ("kim", "user delete", 3, None),
        ("lee", "task delete", 1, None),
        ("lee", "undo", 1, 9),
        ("kim", "user update", 1, None),
    ]
    [older] = (DATA / "format-2").glob(f"{label}-*.zip")
    assert (found[0].restored_from, last.restored_from) == (older.name, kept.name)
    [changed] = changes(database, 2)
    assert (changed["new_title"], changed["new_description"]) == (
        "Gr\u00fc\u00dfe \N{GRINNING FACE}",
        "Two\n\tlines \\N",
    )
    gone = {change["table_name"]: change for change in changes(database, 8)}
    assert gone["users"]["old_email"] == "dora@example.com"
    assert (gone["tasks"]["old_external_id"], gone["tasks"]["owner_id"]) == ("x-9", gone["users"]["row_id"])
    assert gone["access_tokens"]["old_name"] == "robot"
    [back] = changes(database, 10)
    assert (back["version_after"], back["same_as"]) == (3, 2)
    assert add_user(database, "eve@example.com").id == gone["users"]["row_id"] + 1
