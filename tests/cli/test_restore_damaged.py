"""taskdb restore over a SQLite file that is damaged: it is kept, and a new one takes its place."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.backups import break_call, is_directory
from tests.conftest import open_database
from tests.contents import fill, hashes
from tests.interruption import Places
from tests.schemas import execute

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

SOAK = os.environ.get("TASKDB_SOAK") == "1"
PLACES, PARTS = (30, 4) if SOAK else (3, 1)


def replaced(at, what):
    return lambda data: data[:at] + what(len(data)) + data[at + len(what(len(data))) :]


DAMAGE = {
    "a header": replaced(0, lambda _: os.urandom(100)),
    "the first page": replaced(0, lambda _: b"x" * 4096),
    "the schema": replaced(100, lambda _: b"\xff" * 3900),
    "the middle": lambda data: data[: len(data) // 2] + os.urandom(40_960) + data[len(data) // 2 + 40_960 :],
    "the end": lambda data: data[: len(data) // 2 + 77],
    "nearly all": lambda data: data[:50],
    "everything": lambda data: bytes(len(data)),
    "a file as if encrypted": lambda data: os.urandom(len(data)),
    "a format of the future": replaced(44, lambda _: b"\0\0\0\x63"),
}

LARGE = ("the middle",)
"""What the suite does to a file with many rows."""

OTHER_FILES = {
    "text": b"Dear diary\n" * 1000,
    "a dump": b"CREATE TABLE taskdb_alembic_version (version_num text);\n" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n\0\0" + b"abc\0" * 1001,
}


@pytest.fixture(scope="module")
def made() -> dict[int, tuple[bytes, dict[str, bytes]]]:
    """A file, and what a backup of it leaves in the directory, for each number of tasks."""
    return {}


@pytest.fixture
def path(url) -> Path:
    """The file of the test."""
    return Path(url.database)


@pytest.fixture
def archived(request, taskdb, url, path, shelf, made) -> dict[str, tuple[int, str]]:  # noqa: PLR0917
    """The hashes of the rows of a file of which there is an archive."""
    tasks = getattr(request, "param", 1000)
    if tasks in made:
        content, files = made[tasks]
        path.write_bytes(content)
        shelf.mkdir()
        for name, data in files.items():
            (shelf / name).write_bytes(data)
    else:
        fill(url, tasks=tasks)
        taskdb("backup")
        made[tasks] = path.read_bytes(), {file.name: file.read_bytes() for file in shelf.iterdir()}
    assert beside(path) == {}
    return hashes(open_database(url))


def beside(path: Path) -> dict[str, bytes]:
    """Return what is next to a file and named after it; the ends of the names, and the contents."""
    return {
        file.name.removeprefix(path.name): file.read_bytes()
        for file in path.parent.iterdir()
        if path.name in file.name and file != path and file.is_file()
    }


def kept(path: Path) -> Path:
    [found] = [
        file for file in path.parent.glob(f"{path.name}.damaged-*") if file.name.endswith("Z")
    ]  # fmt: skip
    return found


@pytest.mark.soak
@pytest.mark.parametrize(
    ("archived", "damage"),
    [(60_000 if SOAK or damage in LARGE else 1000, damage) for damage in DAMAGE],
    indirect=["archived"],
)
def test_a_damaged_file_is_kept_and_replaced(taskdb, archived, path, shelf, url, damage):  # noqa: PLR0917
    """Exit 4 without --replace; with it the file is moved aside, unchanged, and the rows are there again."""
    data = DAMAGE[damage](path.read_bytes())
    path.write_bytes(data)
    path.chmod(0o640)
    refused = taskdb("restore", "latest", expect=4)
    assert refused.err.count("\n") == 1
    assert "--replace" in refused.err
    assert ".damaged-" in taskdb("restore", "latest", "--replace", "--dry-run").err
    assert "move the damaged" in taskdb("restore", "latest", "--replace", expect=9).err
    assert path.read_bytes() == data
    assert not list(path.parent.glob("*.damaged-*"))
    done = taskdb("restore", "latest", "--replace", "--yes")
    assert f"kept as {kept(path)}" in done.err
    assert kept(path).read_bytes() == data
    assert hashes(open_database(url)) == archived
    assert execute(url, "PRAGMA integrity_check") == [("ok",)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert not [name for name in beside(path) if name in ("-wal", "-shm", "-journal")]
    assert not list(shelf.glob("*-before-restore-*"))
    taskdb("migrate", "check")


def test_the_files_beside_it_are_kept_with_it(taskdb, archived, path, url):
    """A -wal and a -shm go with their file under the same name, and nothing that is there is overwritten."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE tasks SET priority = 3 WHERE id < 500")
        connection.commit()
        wal = path.with_name(path.name + "-wal").read_bytes()
        data = path.read_bytes()
    path.write_bytes(os.urandom(100) + data[100:])
    path.with_name(path.name + "-wal").write_bytes(wal)
    path.with_name(path.name + "-shm").write_bytes(b"shared")
    taskdb("restore", "latest", "--replace", "--yes")
    saved = kept(path)
    assert saved.with_name(saved.name + "-wal").read_bytes() == wal
    assert saved.with_name(saved.name + "-shm").exists()
    assert hashes(open_database(url)) == archived


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_a_directory_in_place_of_a_journal(taskdb, archived, path, url, ending):
    """What SQLite cannot open beside its file is moved aside with it."""
    path.with_name(path.name + ending).mkdir()
    assert path.name + ending in taskdb("restore", "latest", expect=4).err
    taskdb("restore", "latest", "--replace", "--yes")
    assert kept(path).with_name(kept(path).name + ending).is_dir()
    assert hashes(open_database(url)) == archived


def test_a_wal_that_is_none(taskdb, archived, path, url):
    """SQLite would delete a -wal that it does not recognize: it is kept."""
    junk = os.urandom(5000)
    path.with_name(path.name + "-wal").write_bytes(junk)
    taskdb("restore", "latest", "--replace", "--yes")
    assert kept(path).with_name(kept(path).name + "-wal").read_bytes() == junk
    assert hashes(open_database(url)) == archived


@pytest.mark.parametrize("content", OTHER_FILES)
def test_another_file_stays(taskdb, archived, path, content):
    """What never was a database is not moved, whatever is asked: exit 6."""
    path.write_bytes(OTHER_FILES[content])
    refused = taskdb("restore", "latest", "--replace", "--yes", expect=6)
    assert "not a SQLite database" in refused.err
    assert path.read_bytes() == OTHER_FILES[content]
    assert beside(path) == {}


def test_a_locked_or_foreign_file_is_not_damaged(taskdb, archived, path, url):
    """A file that another process writes to is unavailable (5); one of another application is foreign (6)."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        taskdb("restore", "latest", "--replace", "--yes", expect=5)
    execute(url, "DROP TABLE taskdb_alembic_version")
    taskdb("restore", "latest", "--replace", "--yes", expect=6)
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_copy_goes_the_same_way(taskdb, archived, path, url, tmp_path):
    """`copy --to` keeps a damaged target too."""
    target = tmp_path / "target.sqlite3"
    target.write_bytes(DAMAGE["a header"](path.read_bytes()))
    words = ("copy", "--to", f"sqlite:///{target}")
    taskdb(*words, expect=4)
    taskdb(*words, "--replace", "--yes")
    assert kept(target).exists()
    assert hashes(open_database(make_url(f"sqlite:///{target}"))) == archived


def test_other_commands_say_what_to_do(taskdb, archived, path):
    """A backup of a damaged file fails, and names the way out."""
    path.write_bytes(DAMAGE["the end"](path.read_bytes()))
    assert "taskdb restore latest --replace" in taskdb("backup", expect=7).err
    path.write_bytes(DAMAGE["a header"](path.read_bytes()))
    assert "taskdb restore latest --replace" in taskdb("backup", expect=6).err


@pytest.mark.parametrize("call", ["link", "rename", "fsync"])
def test_a_disk_that_fails_at_the_end(taskdb, archived, path, url, monkeypatch, call):  # noqa: PLR0917
    """Whatever fails while the files change places, the damaged one is where it was, with its -wal."""
    data = DAMAGE["a header"](path.read_bytes())
    path.write_bytes(data)
    path.with_name(path.name + "-wal").write_bytes(b"wal")
    with monkeypatch.context() as patch:
        break_call(patch, call)
        failed = taskdb("restore", "latest", "--replace", "--yes", expect=1)
    assert failed.err.count("\n") == 1
    assert path.read_bytes() == data
    assert set(beside(path)) <= {"-wal", "-shm"}
    assert beside(path)["-wal"] == b"wal"
    taskdb("restore", "latest", "--replace", "--yes")
    assert hashes(open_database(url)) == archived


def test_a_disk_that_fails_after_the_end(taskdb, archived, path, url, monkeypatch):
    """When the new file has its place already, no journal comes back beside it."""
    path.write_bytes(DAMAGE["a header"](path.read_bytes()))
    path.with_name(path.name + "-wal").write_bytes(b"wal")
    with monkeypatch.context() as patch:
        break_call(patch, "fsync", when=is_directory)
        taskdb("restore", "latest", "--replace", "--yes", expect=1)
    assert hashes(open_database(url)) == archived
    assert b"wal" in beside(kept(path)).values()


def test_where_there_are_no_hard_links(taskdb, archived, path, url, monkeypatch):
    """A file system without hard links renames, with the same outcome."""
    data = DAMAGE["a header"](path.read_bytes())
    path.write_bytes(data)
    with monkeypatch.context() as patch:
        break_call(patch, "link", 1)
        taskdb("restore", "latest", "--replace", "--yes")
    assert kept(path).read_bytes() == data
    assert hashes(open_database(url)) == archived


def test_a_damaged_archive_moves_nothing(taskdb, archived, path, shelf):
    """An archive that does not verify is exit 7, and the damaged file stays where it is."""
    data = DAMAGE["a header"](path.read_bytes())
    path.write_bytes(data)
    [archive] = shelf.glob("*.zip")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    taskdb("restore", "latest", "--replace", "--yes", expect=7)
    assert path.read_bytes() == data
    assert beside(path) == {}


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_a_restore_that_is_killed(taskdb, archived, path, url, tmp_path, part):  # noqa: PLR0917
    """Killed anywhere: the damaged file or a whole new one is in its place, and the next run succeeds."""
    good = path.read_bytes()
    data = DAMAGE["a header"](good)
    places = Places(tmp_path, "restore", "latest", "--replace", "--yes")

    def begin() -> None:
        for file in path.parent.glob(f"*{path.name}*"):
            file.unlink()
        path.write_bytes(data)
        path.with_name(path.name + "-wal").write_bytes(b"wal")

    begin()
    assert places.run().code == 0
    # Files change places at the end.
    ends = range(places.count - 180, places.count, 180 // PLACES)
    for place in sorted({*places.spread(PLACES), *ends})[part::PARTS]:
        begin()
        if places.stop(place).code != -signal.SIGKILL:
            continue
        if path.read_bytes() != data:
            assert hashes(open_database(url)) == archived
        held = beside(path)
        assert b"wal" in held.values(), (place, held.keys())
        assert data in (path.read_bytes(), *held.values()), place
        taskdb("restore", "latest", "--replace", "--yes")
        assert hashes(open_database(url)) == archived
        held = beside(path)
        assert data in held.values()
        assert b"wal" in held.values()
        assert not [name for name in held if name.endswith(".partial")]
        taskdb("migrate", "check")
