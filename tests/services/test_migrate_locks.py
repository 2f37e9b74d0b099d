"""Migrations that meet others at work: they wait their turn, for a while, and keep nobody waiting."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK, lock_holders
from taskdb_cli.database.schema import revisions
from taskdb_cli.database.sqlite import locks as sqlite_locks
from taskdb_cli.errors import DatabaseUnavailable, TransactionConflict
from taskdb_cli.services import migrate
from tests.conftest import SERVERS, connect, open_database, sqlalchemy_url
from tests.schemas import execute, insert_rows, write_revision

HEAD = revisions().get_current_head()
POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)
ADD_COLUMN = 'op.add_column("tasks", sa.Column("note", sa.Text))'


def patient(url, **options) -> Database:
    """A database whose migrations have these limits."""
    return Database(url if url.drivername == "sqlite" else sqlalchemy_url(url), Options(**options))


class Listener(logging.Handler):
    """Does something the first time that an event is logged."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self.action = action
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        if len(self.heard) == 1:
            self.action()


@contextmanager
def hearing(name: str, action: Callable[[], object]) -> Iterator[Listener]:
    """Do something when a logger first says something."""
    logger, listener = logging.getLogger(name), Listener(action)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listener)
    try:
        yield listener
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


@POSTGRESQL_ONLY
@pytest.mark.parametrize("lock", ["pg_advisory_lock", "pg_advisory_lock_shared"])
def test_who_keeps_a_migration_waiting_is_named(url, lock):
    """The error names the session by process, application, address and start, and not what it runs."""
    with connect(url) as other:
        other.execute("SET application_name = 'nightly job'")
        other.execute(f"SELECT {lock}(%s), 'a secret'", (MIGRATION_LOCK,))
        with pytest.raises(DatabaseUnavailable) as caught:
            migrate.upgrade(patient(url, migration_wait=0))
        assert f"by session {other.info.backend_pid} (nightly job, from " in caught.value.message
        assert ", since 20" in caught.value.message
        assert "secret" not in caught.value.message
        assert "TASKDB_MIGRATION_WAIT" in caught.value.hint
        assert not caught.value.passing
    assert migrate.upgrade(patient(url, migration_wait=0)).current == HEAD


@POSTGRESQL_ONLY
def test_another_role_sees_of_a_session_what_it_may(url):
    """A role that may not look into other sessions still learns the process and the application."""
    role = f"taskdb_test_weak_{os.getpid()}"
    execute(url, f"CREATE ROLE {role}")
    with connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        with patient(url).connect() as connection:
            connection.exec_driver_sql(f"SET ROLE {role}")
            assert lock_holders(connection) == f"session {other.info.backend_pid} (no application name)"
    execute(url, f"DROP ROLE {role}")


@POSTGRESQL_ONLY
def test_a_free_lock_has_no_holder(url):
    """Who has gone meanwhile is not named, nor is the same lock of another database."""
    with connect(url.set(database="postgres")) as elsewhere:
        elsewhere.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        with patient(url).connect() as connection:
            assert lock_holders(connection) == "another session"
    assert migrate.upgrade(patient(url, migration_wait=0)).current == HEAD


@POSTGRESQL_ONLY
def test_a_migration_waits_for_a_backup(empty_url):
    """The lock that a backup shares in its transaction keeps a migration waiting until that ends."""
    with connect(empty_url) as backup:
        process = backup.info.backend_pid
        backup.execute("BEGIN")
        backup.execute("SELECT pg_advisory_xact_lock_shared(%s)", (MIGRATION_LOCK,))

        def end():
            assert migrate.status(patient(empty_url)).current is None
            backup.execute("COMMIT")

        with hearing("taskdb.migrate", end) as listener:
            assert migrate.upgrade(patient(empty_url, migration_wait=30)).current is None
    assert f"waiting up to 30 s for session {process}" in listener.heard[0]
    assert migrate.check(patient(empty_url)).current == HEAD


@POSTGRESQL_ONLY
def test_a_backup_waits_for_a_migration(database, url, chain):
    """While a migration runs, from its first to its last revision, a backup cannot share its lock."""
    taken = []

    def try_it(_: Database) -> None:
        with connect(url) as backup, backup.transaction():
            query = "SELECT pg_try_advisory_xact_lock_shared(%s)"
            taken.append(backup.execute(query, (MIGRATION_LOCK,)).fetchone())
            with patient(url).connect() as connection:
                taken.append("(taskdb maintenance, from" in lock_holders(connection))

    insert_rows(url)
    write_revision(chain, "9001", after=HEAD, upgrade="pass")
    migrate.upgrade(database, before=try_it)
    assert taken == [(False,), True]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_migration_waits_for_a_writer_of_a_file(url, mode, monkeypatch, tmp_path):
    """On SQLite it waits while somebody writes, names the process where the system does, and goes on."""
    execute(url, f"PRAGMA journal_mode = {mode}")
    with closing(sqlite3.connect(str(url.database), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match=f"is locked by process {os.getpid()} \\(") as caught:
            migrate.downgrade(patient(url, migration_wait=0))
        assert caught.value.exit_code == 5
        assert "TASKDB_MIGRATION_WAIT" in caught.value.hint
        monkeypatch.setattr(sqlite_locks, "LOCKS", tmp_path / "absent")
        with pytest.raises(DatabaseUnavailable, match="is locked by another process"):
            migrate.downgrade(patient(url, migration_wait=0))
        with hearing("taskdb.retry", lambda: writer.execute("ROLLBACK")) as listener:
            migrate.downgrade(patient(url, migration_wait=30))
    assert listener.heard
    assert migrate.status(patient(url)).current != HEAD


@POSTGRESQL_ONLY
def test_a_revision_waits_briefly_for_locks(database, url, chain):
    """In a transaction a second at most, outside of one as long as the whole migration may wait."""
    settings = "current_setting('lock_timeout') AS lock, current_setting('statement_timeout') AS statement"
    look = f"CREATE TABLE seen_{{}} AS SELECT {settings}"
    steps = f"""
        op.execute("{look.format("within")}")
        with op.get_context().autocommit_block():
            op.execute("{look.format("outside")}")
        op.execute("{look.format("after")}")
    """
    write_revision(chain, "9001", after=HEAD, upgrade=steps)
    migrate.upgrade(patient(url, migration_wait=7, migration_timeout=90))
    seen = [execute(url, f"TABLE seen_{when}") for when in ("within", "outside", "after")]
    assert seen == [[("1s", "90s")], [("7s", "90s")], [("1s", "90s")]]


@POSTGRESQL_ONLY
def test_a_revision_is_tried_again_until_its_locks_are_free(database, url, chain):
    """Only the revision that found a table locked is done again; what was done before it stays."""
    write_revision(chain, "9001", after=HEAD, upgrade='op.create_table("first", sa.Column("id", sa.Integer))')
    write_revision(
        chain,
        "9002",
        after="9001",
        upgrade=f'op.create_table("second", sa.Column("id", sa.Integer))\n{ADD_COLUMN}',
    )
    write_revision(chain, "9003", after="9002", upgrade="pass")
    with connect(url) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tasks")

        def end():
            assert migrate.status(database).current == "9001"
            reader.execute("COMMIT")

        with hearing("taskdb.retry", end) as listener:
            migrate.upgrade(patient(url, migration_wait=30), to="+2")
    assert "lock timeout" in listener.heard[0]
    assert migrate.status(database).current == "9002"
    assert execute(url, "SELECT note FROM tasks") == []


@POSTGRESQL_ONLY
def test_a_revision_is_not_tried_for_ever(database, url, chain):
    """When the budget is spent the locked revision is rolled back, and the earlier ones stay."""
    write_revision(chain, "9001", after=HEAD, upgrade="pass")
    write_revision(chain, "9002", after="9001", upgrade=ADD_COLUMN)
    with connect(url) as reader, reader.transaction():
        reader.execute("SELECT * FROM tasks")
        with pytest.raises(TransactionConflict, match="lock timeout"):
            migrate.upgrade(patient(url, migration_wait=0))
    assert migrate.status(database).current == "9001"
    assert [step.revision for step in migrate.upgrade(database).pending] == ["9002"]


@POSTGRESQL_ONLY
def test_a_statement_that_takes_too_long_names_its_setting(url, chain):
    """The limit of a migration's statements is its own, and is not tried again."""
    write_revision(chain, "9001", after=HEAD, upgrade='op.execute("SELECT pg_sleep(60)")')
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate.upgrade(patient(url, migration_timeout=1, statement_timeout=50))
    assert "TASKDB_MIGRATION_TIMEOUT" in caught.value.hint
    assert migrate.status(patient(url)).current == HEAD


@POSTGRESQL_ONLY
def test_a_connection_that_breaks_is_not_tried_again(url, chain):
    """What broke with the session ends the migration, which the next run takes up."""
    broken = 'op.execute("SELECT pg_terminate_backend(pg_backend_pid())")'
    write_revision(chain, "9001", after=HEAD, upgrade=broken)
    with hearing("taskdb.retry", lambda: None) as listener, pytest.raises(DatabaseUnavailable):
        migrate.upgrade(patient(url))
    assert listener.heard == []
    assert migrate.status(patient(url)).current == HEAD


def test_looking_ahead_is_no_migration(database):
    """What is only printed or previewed is not logged as done."""
    with hearing("taskdb.migrate", lambda: None) as listener:
        migrate.offline_sql("postgresql")
        migrate.preview_downgrade(database, to="base")
    assert listener.heard == []


@POSTGRESQL_ONLY
def test_the_lock_is_free_when_a_migration_has_ended(empty_url):
    """Whoever comes next need not wait until the server has noticed that the session is gone."""
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    with connect(empty_url) as observer:
        for _ in range(5):
            migrate.upgrade(open_database(empty_url))
            assert observer.execute(held).fetchone() == (0,)
            migrate.downgrade(open_database(empty_url), to="base")
            assert observer.execute(held).fetchone() == (0,)
