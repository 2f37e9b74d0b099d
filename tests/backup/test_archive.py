"""Archives as they are written and read back; see test_archive_damage.py for what is refused."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import threading
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from taskdb_cli import __version__
from taskdb_cli.backup import layout
from taskdb_cli.backup.archive import Archive, ArchiveWriter, seal_of
from taskdb_cli.backup.layout import ArchivedColumn, Digest
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.errors import FileMissing, StorageFailed
from tests.archives import (
    COLUMNS,
    IDENTITY,
    ORIGIN,
    PLACE,
    ROWS,
    TASKS,
    USERS,
    archive_bytes,
    verify,
    write_archive,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "main.taskdb.zip"
    path.write_bytes(archive_bytes())
    return path


def text_of(path, table):
    with Archive.open(file_at(path)) as archive:
        return b"".join(archive.chunks(table))


def test_an_archive_gives_back_what_was_written(path):
    with Archive.open(file_at(path)) as archive:
        assert {name: b"".join(archive.chunks(name)) for name in ROWS} == ROWS
        assert archive.size == path.stat().st_size
        assert archive.manifest.origin == ORIGIN
        assert [(table.name, table.rows) for table in archive.manifest.tables] == [("users", 2), ("tasks", 3)]
        assert archive.manifest.rows == 5
        assert archive.manifest.table("users").sha256 == hashlib.sha256(ROWS["users"]).hexdigest()


def test_verify_returns_the_manifest_that_close_returned(tmp_path):
    path = tmp_path / "a.zip"
    with path.open("wb") as stream:
        manifest = write_archive(stream)
    assert verify(path) == manifest


@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(st.binary(max_size=200), max_size=20))
def test_chunks_may_begin_and_end_anywhere(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("archive") / "a.zip"
    with path.open("wb") as stream:
        writer = ArchiveWriter(stream)
        content = writer.add_table("tasks", TASKS, chunks)
        writer.close(ORIGIN)
    text = b"".join(chunks)
    assert (content.rows, content.bytes) == (text.count(b"\n"), len(text))
    assert content.sha256 == hashlib.sha256(text).hexdigest()
    assert text_of(path, "tasks") == text


@pytest.mark.parametrize("size", [0, 1, 65_536, 262_143, 262_144, 262_145, 3_000_000])
def test_tables_of_any_size_come_back(tmp_path, size):
    text = os.urandom(size)
    (tmp_path / "a.zip").write_bytes(archive_bytes({"tasks": text}))
    assert text_of(tmp_path / "a.zip", "tasks") == text


def test_an_archive_need_not_have_tables(tmp_path):
    (tmp_path / "a.zip").write_bytes(archive_bytes({}))
    assert verify(tmp_path / "a.zip").tables == ()


def test_the_same_rows_give_the_same_bytes_however_they_came():
    apart = io.BytesIO()
    writer = ArchiveWriter(apart)
    for name, text in ROWS.items():
        writer.add_table(name, COLUMNS[name], (text[i : i + 1] for i in range(len(text))))
    writer.close(ORIGIN)
    assert apart.getvalue() == archive_bytes()


def test_tables_can_be_read_at_the_same_time_and_again(path):
    with Archive.open(file_at(path)) as archive:
        pairs = zip(archive.chunks("users"), archive.chunks("tasks"), strict=True)
        assert list(pairs) == [tuple(ROWS.values())]
        archive.verify()
        archive.verify()


def test_a_table_that_is_not_there_is_a_mistake_of_the_caller(path):
    with Archive.open(file_at(path)) as archive, pytest.raises(KeyError):
        list(archive.chunks("secrets"))


def test_the_manifest_is_readable_json_with_the_promised_keys(path):
    with zipfile.ZipFile(path) as file:
        text = file.read("manifest.json").decode()
    record = json.loads(text)
    tables = record.pop("tables")
    assert record == {
        "format": 2,
        "tool": f"taskdb {__version__}",
        "created_at": "2026-11-22T12:30:00.000001Z",
        "label": "main",
        "engine": "sqlite",
        "server_version": "3.45.1",
        "revision": "0002",
        "identity": IDENTITY,
        "place": PLACE,
    }
    assert tables[1] == {
        "name": "tasks",
        "columns": [{"name": "id", "type": "integer"}, {"name": "is_done", "type": "boolean"}],
        "rows": 3,
        "bytes": len(ROWS["tasks"]),
        "sha256": hashlib.sha256(ROWS["tasks"]).hexdigest(),
    }
    assert text.startswith('{\n  "format": 2,\n')


def test_the_seal_is_the_comment_and_covers_every_byte_before_it(path):
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        comment = file.comment
    assert comment.decode() == f"sha256:{hashlib.sha256(data[:-71]).hexdigest()}" == seal_of(file_at(path))
    with Archive.open(file_at(path)) as archive:
        assert archive.seal == seal_of(file_at(path))


def test_the_standard_library_opens_it(path):
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["users.copy.zst", "tasks.copy.zst", "manifest.json"]
        assert file.testzip() is None
        for entry in file.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        for name, text in ROWS.items():
            frame = file.read(f"{name}.copy.zst")
            assert zstandard.get_frame_parameters(frame).has_checksum
            assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == text


@pytest.mark.skipif(not (shutil.which("unzip") and shutil.which("zstd")), reason="needs unzip and zstd")
def test_unzip_and_zstd_open_it(path, tmp_path):
    tested = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=True)
    assert "No errors detected" in tested.stdout
    assert not tested.stderr
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], check=True)
    for name, text in ROWS.items():
        member = tmp_path / "out" / f"{name}.copy.zst"
        assert subprocess.run(["zstd", "-dc", member], capture_output=True, check=True).stdout == text
        assert member.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("buffering", [0, -1])
def test_it_is_written_to_a_pipe_in_one_pass(tmp_path, buffering):
    text = os.urandom(300_000)
    reading, writing = os.pipe()
    received = []

    def receive():
        with os.fdopen(reading, "rb") as pipe:
            received.append(pipe.read())

    thread = threading.Thread(target=receive)
    thread.start()
    with os.fdopen(writing, "wb", buffering=buffering) as pipe:
        write_archive(pipe, {"tasks": text})
    thread.join()
    (tmp_path / "a.zip").write_bytes(received[0])
    assert text_of(tmp_path / "a.zip", "tasks") == text


def test_members_of_more_than_4_gib_have_room_in_the_structure(tmp_path):
    # The bytes are a hole in the file: what matters is where the readers look.
    members = [layout.Member("tasks.copy.zst", 0, 5 << 30), layout.Member("manifest.json", 0xED82CD11, 4)]
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.write(layout.local_header("tasks.copy.zst"))
        file.seek(5 << 30, os.SEEK_CUR)
        file.write(layout.descriptor(members[0]))
        file.write(layout.local_header("manifest.json") + b"abcd" + layout.descriptor(members[1]))
        file.write(layout.tail(members) + b"." * layout.SEAL_SIZE)
    with zipfile.ZipFile(path) as file:
        assert file.getinfo("tasks.copy.zst").file_size == 5 << 30
        assert file.read("manifest.json") == b"abcd"


@pytest.mark.parametrize("name", ["", "Users", "../users", "users.copy", "a\0", "a" * 64])
def test_a_table_with_an_impossible_name_is_not_written(name):
    stream = io.BytesIO()
    with pytest.raises(ValueError, match="TableContent"):
        ArchiveWriter(stream).add_table(name, TASKS, [b""])
    assert not stream.getvalue()


def test_a_table_is_written_once():
    writer = ArchiveWriter(io.BytesIO())
    writer.add_table("users", USERS, [b""])
    with pytest.raises(ValueError, match="twice"):
        writer.add_table("users", USERS, [b""])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ArchivedColumn("id", "blob"),
        lambda: ArchivedColumn("x y", "text"),
        lambda: Digest().content("users", ()),
        lambda: Digest().content("users", (*USERS, *USERS)),
        lambda: type(ORIGIN)(**{**vars(ORIGIN), "label": "two\nlines"}),
        lambda: type(ORIGIN)(**{**vars(ORIGIN), "created_at": ORIGIN.created_at.replace(tzinfo=None)}),
    ],
)
def test_what_no_manifest_may_say_is_refused_when_it_is_made(wrong):
    with pytest.raises(ValueError, match=r"."):
        wrong()


class FullDisk(io.RawIOBase):
    """A stream that takes some bytes, and then no more."""

    def __init__(self, room):
        self.room = room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(self.room, len(data))
        self.room -= taken
        return taken


def test_a_full_disk_passes_up_as_it_is_wherever_it_happens():
    whole = len(archive_bytes())
    for room in range(whole):
        with pytest.raises(OSError, match="No space left") as failure:
            write_archive(FullDisk(room))
        assert failure.value.errno == errno.ENOSPC
    write_archive(FullDisk(whole))


def test_a_failure_of_the_rows_passes_up_and_leaves_no_archive(tmp_path):
    def rows():
        yield b"1\tt\n"
        raise ConnectionError("cut")

    path = tmp_path / "a.zip"
    with path.open("wb") as stream, pytest.raises(ConnectionError, match="cut"):
        ArchiveWriter(stream).add_table("tasks", TASKS, rows())
    with pytest.raises(Exception, match="does not end in a seal"):
        verify(path)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    for read in (verify, seal_of):
        with pytest.raises(FileMissing, match=r"no file at .*a\.zip"):
            read(file_at(tmp_path / "a.zip"))


def test_what_is_no_regular_file_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(StorageFailed, match="not a regular file"):
            verify(path)


def test_a_path_that_the_system_refuses_is_a_failure_of_storage(tmp_path):
    with pytest.raises(StorageFailed, match="File name too long"):
        verify(tmp_path / ("x" * 300))
