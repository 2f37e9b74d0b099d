"""A SQLite file that is missing appears with all its rows, or not at all."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL

from taskdb_cli.backup import restore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.errors import Conflict, DataCorrupt
from taskdb_cli.services import migrate
from tests.backup.test_restore_faults import TASK, forge
from tests.conftest import open_database
from tests.contents import fill, get_rows
from tests.schemas import execute

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def missing(tmp_path: Path) -> URL:
    """The URL of a file that is not there, in a directory that is not there either."""
    return URL.create("sqlite", database=str(tmp_path / "new" / "target.sqlite3"))


def beside(missing) -> list[str]:
    return sorted(path.name for path in Path(missing.database).parent.iterdir())


def test_it_is_as_migrate_makes_it(database, url, missing):
    """The file has every row, is its owner's alone, writes by WAL, and leaves nothing else behind."""
    fill(url)
    target = open_database(missing)
    restore.restore(target, database)
    assert get_rows(missing) == get_rows(url)
    assert execute(missing, "PRAGMA journal_mode") == [("wal",)]
    assert execute(missing, "PRAGMA integrity_check") == [("ok",)]
    assert stat.S_IMODE(Path(missing.database).stat().st_mode) == 0o600
    assert beside(missing) == ["target.sqlite3"]
    migrate.check(target)


@pytest.mark.parametrize(
    "tasks", [TASK + TASK, TASK.replace(b"todo", b"lost"), TASK.replace(b"1\t1\t", b"1\t2\t"), b"x\n"]
)
def test_rows_that_are_refused_leave_no_file(database, missing, tmp_path, tasks):
    """A restore that fails does not even leave an empty database."""
    with pytest.raises(DataCorrupt):
        restore.restore(open_database(missing), file_at(forge(tmp_path / "a.zip", tasks=tasks)))
    assert beside(missing) == []


def test_a_trial_leaves_no_file(database, missing, tmp_path):
    """A drill into a database that is missing does not make it."""
    restore.drill(file_at(forge(tmp_path / "a.zip")), target=open_database(missing))
    assert beside(missing) == []


def test_a_file_that_another_made_meanwhile_stays(database, missing, tmp_path):
    """Whoever comes first has the name; the other is told so, and leaves nothing."""
    target = open_database(missing)

    def make_it(done: int) -> None:
        if not Path(missing.database).exists():
            migrate.upgrade(open_database(missing))
            execute(missing, "INSERT INTO users VALUES (7, 'bob@example.com', 'Bob', 1, 1, "
                    "'2026-11-22T12:00:00.000000Z', '2026-11-22T12:00:00.000000Z')")  # fmt: skip

    with pytest.raises(Conflict, match="meanwhile"):
        restore.restore(target, file_at(forge(tmp_path / "a.zip")), progress=make_it)
    assert [row[0] for row in get_rows(missing)["users"]] == [7]
    assert beside(missing) == ["target.sqlite3"]


def test_a_journal_without_its_file_is_not_replayed(database, url, missing):
    """What is left of a file that somebody removed does not get into the one that takes its place."""
    target = open_database(missing)
    migrate.upgrade(target)
    with closing(sqlite3.connect(missing.database)) as connection:
        connection.execute("UPDATE taskdb_alembic_version SET version_num = 'old'")
        connection.commit()
        journal = Path(f"{missing.database}-wal")
        left = journal.read_bytes()
    assert left
    Path(missing.database).unlink()
    journal.write_bytes(left)
    fill(url)
    restore.restore(target, database)
    assert get_rows(missing) == get_rows(url)
    migrate.check(target)


def test_what_a_killed_run_left_is_swept(database, url, missing):
    """The unfinished file of a run that died is removed by the next one."""
    fill(url, users=1, tasks=1)
    left = Path(missing.database).with_name(".target.sqlite3.4194305-00000000.partial")
    left.parent.mkdir()
    left.write_bytes(b"half")
    restore.restore(open_database(missing), database)
    assert beside(missing) == ["target.sqlite3"]
