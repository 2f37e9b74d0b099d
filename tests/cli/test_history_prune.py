"""What the backup of every night and taskdb history prune forget, from the outside."""

import json
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa

from taskdb_cli.models.history import OPERATIONS
from tests.conftest import connect, open_database

TOO_OLD = timedelta(days=91)


@pytest.fixture
def aged(taskdb, url, shelf):
    """The command line on a database with an operation that is 91 days old and one that is new."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("task", "create", "Write", "-u", "ann@example.com")
    age(url, 1, TOO_OLD)
    return taskdb


def age(url, id, by):
    """Make an operation so much older."""

    def work(session):
        at = session.scalar(sa.select(OPERATIONS.c.at).where(OPERATIONS.c.id == id))
        session.execute(sa.update(OPERATIONS).where(OPERATIONS.c.id == id).values(at=at - by))

    open_database(url).write(work)


def operations(url):
    query = sa.select(OPERATIONS.c.id).order_by(OPERATIONS.c.id)
    return open_database(url).read(lambda session: [*session.scalars(query)])


def test_backup_prunes(aged, url):
    """A backup forgets what is older than 90 days, and says nothing of it to cron."""
    assert aged("backup").err == ""
    assert operations(url) == [2]


@pytest.mark.parametrize("keep", ["forever", "14w", "1y", "9999y", "2200h"])
def test_backup_keeps(aged, url, monkeypatch, keep):
    """TASKDB_HISTORY_KEEP says how much a backup keeps."""
    monkeypatch.setenv("TASKDB_HISTORY_KEEP", keep)
    aged("backup")
    assert operations(url) == [1, 2]


def test_a_backup_to_a_file_prunes_nothing(aged, url, tmp_path):
    """Only the backup into a directory, which cron takes, forgets anything."""
    aged("backup", "--file", tmp_path / "one.zip")
    aged("backup", "--check-config")
    assert operations(url) == [1, 2]


@pytest.mark.parametrize("keep", ["a while", "0d"])
def test_a_setting_that_is_none(aged, url, shelf, monkeypatch, keep):
    """A bad TASKDB_HISTORY_KEEP ends a backup before it begins, and so does one that keeps nothing."""
    monkeypatch.setenv("TASKDB_HISTORY_KEEP", keep)
    assert "TASKDB_HISTORY_KEEP" in aged("backup", expect=2).err
    assert not shelf.exists()
    assert "TASKDB_HISTORY_KEEP" in aged("config", "--check", expect=2).err


def make_unwritable(url):
    """Let nobody change the history of a database that can be backed up."""
    if url.drivername == "sqlite":
        statement = (
            "CREATE TRIGGER no_prune BEFORE DELETE ON taskdb_changes BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        open_database(url).write(lambda session: session.execute(sa.text(statement)))
    else:
        with connect(url) as connection:
            connection.execute(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
                "CREATE TRIGGER no_prune BEFORE DELETE ON taskdb_changes EXECUTE FUNCTION no()"
            )


def test_what_cannot_be_pruned(aged, url, shelf):
    """If pruning fails, the backup is good and the command exits 8."""
    make_unwritable(url)
    assert "is good, but" in aged("backup", expect=8).err
    assert len([*shelf.glob("*.zip")]) == 1
    assert operations(url) == [1, 2]


def test_prune(aged, url):
    """History prune deletes what is older than --keep or the setting, and says how much."""
    would = json.loads(aged("history", "prune", "--dry-run", "-o", "json").out)
    assert would == {"operations": 1, "changes": 1, "dry_run": True}
    assert "1 operation with 1 change" in aged("history", "prune", expect=9).err
    assert "TASKDB" not in aged("history", "prune", "--keep", "soon", expect=2).err
    assert operations(url) == [1, 2]
    assert "nothing is deleted" in aged("history", "prune", "--keep", "forever").err
    assert "nothing older than 100y" in aged("history", "prune", "--keep", "100y", "--dry-run").err
    done = json.loads(aged("history", "prune", "--yes", "-o", "json").out)
    assert done == {**would, "dry_run": False}
    assert operations(url) == [2]
    aged("history", "prune", "--keep", "0d", "--yes", expect=2)
    assert operations(url) == [2]


def use_direct(monkeypatch, url):
    """Let the command line reach a server past any pooler."""
    for name in ("TASKDB_POOLED", "TASKDB_DIRECT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TASKDB_DATABASE_URL", url.render_as_string(hide_password=False))


def test_a_role_that_may_only_read(aged, url, monkeypatch):
    """A role that may only read takes a backup, which warns that the history was not pruned."""
    if url.drivername == "sqlite":
        pytest.skip("files have no roles")
    with connect(url) as connection:
        for statement in (
            "DROP ROLE IF EXISTS only_reads",
            "CREATE ROLE only_reads LOGIN PASSWORD 'only_reads'",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads",
        ):
            try:
                connection.execute(statement)
            except psycopg.errors.DependentObjectsStillExist:
                connection.execute("DROP OWNED BY only_reads")
    reader = url.set(username="only_reads", password="only_reads")
    use_direct(monkeypatch, reader)
    assert "not pruned" in aged("backup").err
    assert operations(url) == [1, 2]


def test_a_database_that_is_read_only(aged, url, shelf, monkeypatch):
    """A server without changes takes a backup too, and is warned about only while something is too old."""
    if url.drivername == "sqlite":
        pytest.skip("a file that cannot be written holds no lock for a backup")
    with connect(url) as connection:
        connection.execute(f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')
    # A pooler keeps sessions that do not know it yet.
    use_direct(monkeypatch, url)
    assert "not pruned" in aged("backup").err
    monkeypatch.setenv("TASKDB_HISTORY_KEEP", "1y")
    assert aged("backup").err == ""
