"""SQLite files in places where nothing can be written: read where that is safe, and told where it is not."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.contents import fill
from tests.disks import MEGABYTE, small_disk
from tests.processes import UNPRIVILEGED, run_lines
from tests.samples import add_user
from tests.schemas import execute

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("isolated"),
]

TASKS = 60_000
CREATE = ("task", "create", "--user", "1", "After")


@pytest.fixture
def locked(database, tmp_path):
    """A directory with a database of one user, to be closed to those without the rights of the superuser."""
    add_user(database)
    directory = tmp_path / "locked"
    directory.mkdir()
    shutil.copy(str(database.url.database), directory / "taskdb.sqlite3")
    yield directory
    directory.chmod(0o700)


def run(path, *lines):
    """Run command lines without the rights of the superuser."""
    return run_lines([on(path, line) for line in lines], enter=UNPRIVILEGED)


def on(path, line):
    """A command line on that file."""
    return ["--database-url", f"sqlite:///{path}", *line]


def reads(tmp_path):
    """Command lines that only read the database."""
    return [
        ("user", "list"),
        ("task", "list", "--count"),
        ("task", "export"),
        ("backup", "--dir", tmp_path / "archives"),
        ("copy", "--to", f"sqlite:///{tmp_path}/copy.sqlite3"),
        ("migrate", "check"),
        ("migrate",),
    ]


def test_every_row_is_read(locked, url, tmp_path):
    """A file with many rows is listed, exported, backed up, copied and checked, and nothing is left there."""
    path = locked / "taskdb.sqlite3"
    execute(url.set(database=str(path)), "DELETE FROM users")
    fill(url.set(database=str(path)), tasks=TASKS)
    locked.chmod(0o555)
    health = ("health", "--only", "connection", "--only", "journal_mode", "--only", "quick_check")
    done = run(path, *reads(tmp_path), health)
    assert [each.code for each in done] == [0] * len(done), done
    assert [each.out.count("\n") for each in done if each.out.startswith("{")] == [TASKS]
    assert [file.name for file in locked.iterdir()] == [path.name]


@pytest.mark.parametrize("what", ["directory", "file"])
def test_writing_is_told(locked, tmp_path, what):
    """What would write says that it cannot and why, in one line, and backs nothing up before."""
    path, archive = locked / "taskdb.sqlite3", tmp_path / "archive.zip"
    [done] = run(path, ("backup", "--file", archive))
    assert done.code == 0
    (locked if what == "directory" else path).chmod(0o555)
    archives = tmp_path / "archives"
    for done in run(
        path,
        CREATE,
        ("user", "update", "1", "--name", "B"),
        ("restore", archive, "--replace", "--yes", "--dir", archives),
    ):
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert done.err.startswith(f"error: {path} cannot be written: ")
        assert f"in {locked} " in done.err if what == "directory" else "read-only" in done.err
    assert not archives.exists()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_changes_beside_the_file(locked, mode):
    """Changes that are not in the file yet, or are to be taken out of it, are never passed over."""
    path, taken = locked / "taskdb.sqlite3", locked / "taken"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE users SET name = 'Changed'")
        connection.execute("CREATE TABLE large AS SELECT zeroblob(1000000)")
        if mode == "wal":
            connection.commit()
        taken.mkdir()
        for file in locked.glob("taskdb.sqlite3*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, taken)
        connection.rollback()
    path = taken / path.name
    [beside] = [file for file in taken.iterdir() if file != path]
    taken.chmod(0o555)
    for done in run(path, ("user", "list"), ("backup", "--file", locked / "archive"), CREATE):
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert str(beside) in done.err
    taken.chmod(0o755)
    [done] = run(path, ("user", "list"))
    assert ("Changed" in done.out) == (mode == "wal"), done


def test_a_file_that_is_in_use(locked):
    """While another process has the file open, its changes are read too."""
    path = locked / "taskdb.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE users SET name = 'Changed'")
        connection.commit()
        locked.chmod(0o555)
        [done] = run(path, ("user", "list"))
    assert "Changed" in done.out


def test_a_file_system_that_is_read_only(locked, tmp_path):
    """On a file system that is mounted for reading only even the superuser only reads."""
    with small_disk(tmp_path / "disk", 2 * MEGABYTE) as disk:
        shutil.copy(locked / "taskdb.sqlite3", disk.outside)
        assert disk.run("mount", "-o", "remount,ro", str(disk.place)).returncode == 0
        path = disk.place / "taskdb.sqlite3"
        *read, failed = run_lines([on(path, line) for line in (*reads(tmp_path), CREATE)], enter=disk.enter)
    assert [each.code for each in read] == [0] * len(read), read
    assert (failed.code, failed.err.count("\n")) == (1, 1)
    assert f"in {disk.place} " in failed.err
