"""Connections: how many there are, what becomes of them, and what happens when there are no more."""

from __future__ import annotations

import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Barrier, Event

import pytest
from sqlalchemy import event, text
from sqlalchemy.pool import Pool as EnginePool

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.postgresql import connection as postgresql_connection
from taskdb_cli.errors import DatabaseUnavailable, TransactionConflict
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import task, token
from tests.conftest import NOW, SERVERS, connect, sqlalchemy_url
from tests.forked import start_on_terminal
from tests.proxy import Proxy
from tests.samples import add_task, add_token, add_user, emails
from tests.schemas import execute
from tests.sessions import CLIENTS, settle

POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)
NEON_SUSPENDS = 300
"""Seconds after which Neon suspends a compute that nobody uses."""


@pytest.fixture
def pooled(database):
    """The database with a pool of two connections, for which nobody waits long."""
    pooled = Database(database.url, Options(pool=Pool(size=1, overflow=1, timeout=1)))
    yield pooled
    pooled.engine.dispose()


@pytest.fixture
def opened():
    """The connections that are opened during the test, by anybody."""
    connections = []

    def note(connection, record):
        connections.append(connection)

    event.listen(EnginePool, "connect", note)
    yield connections
    event.remove(EnginePool, "connect", note)


def sessions(url) -> list[int]:
    """The server's processes that serve the database, the one that asks apart."""
    with connect(url) as observer:
        return [pid for (pid,) in observer.execute(f"SELECT pid FROM {CLIENTS} AND pid <> pg_backend_pid()")]


def test_exhausted_pool(pooled):
    """Who gets no connection in time is told so with exit code 5; when one is free again, all is well."""
    held, done = Barrier(3), Event()

    def hold(session):
        session.execute(text("SELECT 1"))
        held.wait()
        done.wait()

    with ThreadPoolExecutor(2) as threads:
        holders = [threads.submit(pooled.read, hold) for _ in range(2)]
        held.wait()
        try:
            with pytest.raises(DatabaseUnavailable) as caught:
                emails(pooled)
        finally:
            done.set()
        for holder in holders:
            holder.result()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    place = pooled.backend.place
    assert caught.value.message == f"all 2 connections to {place} stayed in use for 1 s"
    assert "TASKDB_POOL_SIZE" in caught.value.hint
    add_user(pooled)
    assert emails(pooled) == ["ann@example.com"]


def test_pool_keeps_connections(pooled, opened):
    """Units of work one after the other share one connection."""
    add_user(pooled)
    add_task(pooled)
    assert emails(pooled) == ["ann@example.com"]
    assert len(opened) == 1


def test_pool_after_a_failure(pooled, opened):
    """A unit that fails gives its connection back clean."""

    def fail(session):
        session.execute(text("DELETE FROM users"))
        raise RuntimeError("stop")

    add_user(pooled)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="stop"):
            pooled.write(fail)
    assert emails(pooled) == ["ann@example.com"]
    assert len(opened) == 1


@POSTGRESQL_ONLY
def test_dead_connection(url, pooled, opened, caplog):
    """A connection that the server ended while it lay in the pool is replaced, before it is used."""
    caplog.set_level(logging.INFO, "taskdb.retry")
    add_user(pooled)
    [pid] = sessions(url)
    with connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    add_user(pooled, "bob@example.com")
    assert emails(pooled) == ["ann@example.com", "bob@example.com"]
    assert len(opened) == 2
    assert caplog.messages == []


@POSTGRESQL_ONLY
def test_connection_that_dies_in_use(url, pooled, opened):
    """A connection that the server ends in the middle of a write is replaced; the write is made again."""

    def work(session):
        if len(opened) == 1:
            pid = session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with connect(url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        return task.change(session, [1], TaskUpdate(status=TaskStatus.DONE), now=NOW)

    add_user(pooled)
    add_task(pooled)
    [record] = pooled.write(work)
    assert (record["version"], len(opened)) == (2, 2)


@POSTGRESQL_ONLY
def test_recycling(pooled):
    """A pooled connection is replaced before Neon could have suspended what it leads to."""
    assert 0 < pooled.engine.pool._recycle < NEON_SUSPENDS


@POSTGRESQL_ONLY
def test_cut_connection(url, opened, caplog):
    """A connection that broke while it lay in the pool is replaced, before it is used."""
    caplog.set_level(logging.INFO, "taskdb.retry")
    with Proxy(url) as proxy:
        pooled = Database(sqlalchemy_url(proxy.url), Options(pool=Pool()))
        add_user(pooled)
        proxy.cut()
        assert emails(pooled) == ["ann@example.com"]
        pooled.engine.dispose()
    assert len(opened) == 2
    assert caplog.messages == []


@POSTGRESQL_ONLY
def test_idle_connection(url, monkeypatch):
    """Only a connection that was idle for long costs a round trip before it is used."""
    with Proxy(url) as proxy:
        pooled = Database(sqlalchemy_url(proxy.url), Options(pool=Pool()))

        def exchanged(limit: float) -> int:
            monkeypatch.setattr(postgresql_connection, "IDLE_LIMIT", limit)
            before = proxy.passed
            emails(pooled)
            return proxy.passed - before

        add_user(pooled)
        assert exchanged(0) > exchanged(60)
        pooled.engine.dispose()


def test_no_pool(database, opened):
    """Without a pool each unit of work opens one connection and closes it."""
    add_user(database)
    assert emails(database) == ["ann@example.com"]
    assert len(opened) == 2
    assert [connection for connection in opened if not is_closed(connection)] == []


def is_closed(connection) -> bool:
    """Whether a driver's connection, of either engine, is closed."""
    try:
        connection.cursor()
    except Exception as error:  # noqa: BLE001 (each driver has its own)
        return "closed" in str(error)
    return False


@POSTGRESQL_ONLY
def test_no_session_is_left(url, database):
    """Between two units of work the server has no session of ours."""
    add_user(database)
    settle(url)


@pytest.mark.parametrize(
    "words",
    ["user list", "task list --user 1", "task show 1", "task done 1", "task update 1 --title x", "stats"],
)
def test_a_command_opens_one_connection(taskdb, database, opened, words):
    """A command needs one connection."""
    add_user(database)
    add_task(database)
    opened.clear()
    taskdb(*words.split())
    assert len(opened) == 1


def test_a_command_without_data_opens_none(taskdb, opened):
    """A command line that is wrong, or only asks for help, never connects."""
    taskdb("--help")
    taskdb("task", "list", "--help")
    taskdb("task", "create", "--user", "ann@example.com", "x", "--due", "never-ever", expect=2)
    assert opened == []


@POSTGRESQL_ONLY
def test_no_connection_while_asking(url, taskdb, database):
    """While a command waits for an answer it holds no connection; then it goes on."""
    add_user(database)
    child = start_on_terminal("user", "delete", "1")
    child.expect_exact("[y/N] ")
    settle(url)
    assert emails(database) == ["ann@example.com"]
    child.sendline("y")
    child.expect_exact("deleted ann@example.com")
    child.read()
    child.close()
    assert child.exitstatus == 0
    assert emails(database) == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_commit_that_a_reader_keeps_waiting(pooled, url):
    """In a file without WAL a commit waits for readers; one that fails leaves no transaction in the pool."""
    add_user(pooled)
    add_task(pooled)
    pooled.engine.dispose()
    execute(url, "PRAGMA journal_mode = DELETE")
    impatient = Database(url, replace(pooled.options, retry_budget=0))
    with closing(sqlite3.connect(url.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        for change in (by_driver, by_sqlalchemy):
            with pytest.raises(TransactionConflict):
                impatient.write(change)
    for change in (by_driver, by_sqlalchemy):
        impatient.write(change)
    impatient.engine.dispose()


def by_driver(session):
    task.change(session, [1], TaskUpdate(title="Changed"), now=NOW)


def by_sqlalchemy(session):
    session.connection().execute(text("UPDATE users SET name = name || '!'"))


@POSTGRESQL_ONLY
def test_plans_of_writes_are_kept(pooled):
    """A session that stays open keeps the plan of a change of one row, and of nothing else."""
    add_user(pooled)
    for number in range(3):
        made = add_task(pooled, title=f"Task {number}")
        pooled.write(lambda session, ids=(made,): task.remove(session, ids))
    kept = "SELECT statement FROM pg_prepared_statements ORDER BY prepare_time"
    statements = pooled.read(lambda session: session.execute(text(kept)).scalars().all())
    changed = [
        name
        for each in statements
        for name in ("INTO users", "INTO tasks", "FROM tasks WHERE")
        if name in each
    ]
    assert changed == ["INTO users", "INTO tasks", "FROM tasks WHERE"]


@POSTGRESQL_ONLY
def test_plans_of_reads_are_kept(pooled):
    """A session that stays open keeps the plan of a token's look-up from one transaction to the next."""
    secret = add_token(pooled, "test")
    for options in (None, pooled.backend.single_options, None):
        pooled.read(lambda session: token.recognize(session, secret, now=NOW), options=options)
    uses = "SELECT generic_plans + custom_plans FROM pg_prepared_statements"
    uses += " WHERE statement LIKE '%FROM access_tokens%'"
    assert pooled.read(lambda session: session.execute(text(uses)).scalars().all()) == [3]
