"""A SQLite file that is damaged at one page, whichever it is, and one whose disk is full."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from taskdb_cli.health.runner import run
from tests.conftest import NOW, open_database
from tests.contents import fill as fill_tables
from tests.disks import MEGABYTE, fill, small_disk

ON_FILES = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
ROOTS = "SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"
PAGE = 4096


@pytest.fixture
def pages(url, engine) -> dict[str, int]:
    """Where in a file with many rows, and with free pages, each kind of page begins."""
    fill_tables(url, tasks=3000)
    with closing(sqlite3.connect(url.database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM tasks WHERE id > 2000")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
        roots = dict(connection.execute(ROOTS))
        [free] = connection.execute("PRAGMA freelist_count").fetchone()
    assert free
    header = Path(url.database).read_bytes()[:100]
    trunk = int.from_bytes(header[32:36], "big")
    return {"header": 0, "freelist": (trunk - 1) * PAGE} | {
        name: (page - 1) * PAGE for name, page in roots.items()
    }


def damage(url, begin, data):
    with Path(url.database).open("r+b") as file:
        file.seek(begin)
        file.write(data)


PLACES = [
    "header",
    "freelist",
    "taskdb_alembic_version",
    "users",
    "tasks",
    "tasks_user_created",
    "sqlite_sequence",
    "sqlite_autoindex_users_1",
]


@ON_FILES
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("data", [b"\xff" * 100, bytes(PAGE), Random(1).randbytes(PAGE)])
def test_a_damaged_page(url, pages, place, data):
    """Any page that is no page any more is critical, and no check meets an error that it does not know."""
    damage(url, pages[place], data)
    report = run(open_database(url), now=NOW)
    assert report.exit_code == 2, report
    assert "check failed" not in str(report)


@ON_FILES
@pytest.mark.parametrize("check", ["connection", "quick_check", "orphans", "rules", "drift"])
def test_a_file_that_is_no_database_any_more(url, pages, check):
    """A header that is overwritten is critical for every check that needs the file."""
    damage(url, 0, b"\0" * 16)
    report = run(open_database(url), now=NOW, only=[check])
    assert report.exit_code == 2, report


@ON_FILES
def test_a_damaged_definition(url, pages):
    """Text of the schema that is no text any more is critical, and so is a schema that makes no sense."""
    content = Path(url.database).read_bytes()
    for data in (b"\x81\xfe", b"((", b"\0\0"):
        damage(url, content.index(b"CREATE INDEX tasks_user_due"), data)
        assert run(open_database(url), now=NOW).exit_code == 2


@ON_FILES
def test_an_index_that_disagrees_with_its_table(url, pages):
    """An entry of an index that is another one than its row's is critical, although the page is sound."""
    content = Path(url.database).read_bytes()
    index = pages["sqlite_autoindex_users_1"]
    damage(url, content.index(b"@", index), b"!")
    report = run(open_database(url), now=NOW, only=["quick_check"])
    assert report.exit_code == 2, report


@ON_FILES
@pytest.mark.parametrize("logged", [False, True])
@pytest.mark.usefixtures("isolated")
def test_a_full_disk_under_a_file(url, tmp_path, logged):
    """A file whose disk is full is critical by the name of the disk, also if its log has to be read first."""
    with (
        small_disk(tmp_path / "disk", 4 * MEGABYTE) as disk,
        closing(sqlite3.connect(url.database, isolation_level=None)) as writer,
    ):
        path = disk.place / "taskdb.sqlite3"
        writer.execute("CREATE TABLE others (id INTEGER)")
        if not logged:
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("", "-wal") if logged else ("",):
            shutil.copy(url.database + suffix, disk.outside / f"{path.name}{suffix}")
        fill(disk.outside)
        place = ("--database-url", f"sqlite:///{path}")
        told = disk.taskdb(*place, "health", "-o", "nagios", "--skip", "backup")
        written = disk.taskdb(*place, "user", "create", "--email", "ann@example.com", "--name", "Ann")
    assert told.returncode == 2
    assert ("is full" if logged else "disk critical: 0 bytes of 4.") in told.stdout
    assert written.returncode == 1
    assert "is full (make room" in written.stderr
    assert "damaged" not in told.stdout + written.stderr
