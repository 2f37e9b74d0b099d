"""Statements of a session: what comes back, what a failure costs, and what the log has."""

import logging
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import bindparam, insert, select, table, text
from sqlmodel import col

from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.database.statements import bulk_insert
from taskdb_cli.errors import ConnectionLost, SchemaError, UniqueViolation
from taskdb_cli.models import metadata
from taskdb_cli.models.task import Task
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.system import signals
from tests.conftest import NOW, SERVERS
from tests.samples import add_task, add_user, emails

COLUMNS = (col(Task.title), col(Task.status), col(Task.priority), col(Task.due_at), col(User.is_active))
LATER = select(*COLUMNS, col(Task.description)).join(User).where(
    col(Task.due_at) >= bindparam("since", type_=col(Task.due_at).type),
    col(Task.priority) == bindparam("priority", type_=col(Task.priority).type),
    col(Task.title).contains(bindparam("part"), escape="/"),
)  # fmt: skip
CHOSEN = select(*COLUMNS).join(User).where(col(Task.status).in_(bindparam("statuses", expanding=True)))


@pytest.fixture
def pooled(database):
    """The database with a pool of one connection, whose faults are told at once."""
    options = replace(database.options, pool=Pool(size=1, overflow=0, timeout=1), retry_budget=0)
    pooled = Database(database.url, options)
    yield pooled
    pooled.engine.dispose()


def test_rows_are_those_of_sqlalchemy(database):
    """Values go in and come out as the models have them, for lists of values too."""
    add_user(database)
    add_task(database, title="100% \u00e9", priority="urgent", due_at=NOW)
    add_task(database, title="100 %", priority="low", due_at=NOW)
    expected = ("100% \u00e9", TaskStatus.TODO, TaskPriority.URGENT, NOW, True)
    values = {"since": NOW, "priority": TaskPriority.URGENT, "part": "0/%", "unknown": 1}
    [row] = database.read(lambda session: session.execute(LATER, values).all())
    assert tuple(row) == (*expected, None)
    assert [type(value) for value in row[1:3]] == [TaskStatus, TaskPriority]
    chosen = {"statuses": [TaskStatus.TODO, TaskStatus.DONE]}
    rows = database.read(lambda session: session.execute(CHOSEN, chosen).all())
    assert expected in map(tuple, rows)
    assert len(rows) == 2


def test_a_query_that_fails_costs_its_connection_only(pooled):
    """The error is ours, and the next unit of work has a connection that works."""
    add_user(pooled)
    missing = select(text("x")).select_from(table("nowhere"))
    with pytest.raises(SchemaError):
        pooled.read(lambda session: session.execute(missing))
    assert emails(pooled) == ["ann@example.com"]


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_connection_that_broke_is_replaced(pooled):
    """A connection that ends in a query is told as lost, and is no longer in the pool."""
    ended = select(text("pg_terminate_backend(pg_backend_pid(), 0)"))
    add_user(pooled)
    with pytest.raises(ConnectionLost):
        pooled.read(lambda session: session.execute(ended))
    assert emails(pooled) == ["ann@example.com"]
    assert pooled.engine.pool.checkedout() == 0


def test_the_log_has_statements_in_their_order(database, caplog):
    """What begins a transaction is logged, and timed, before what is done in it."""
    caplog.set_level(logging.DEBUG, "taskdb.sql")
    add_user(database)
    caplog.clear()
    database.read(lambda session: session.execute(select(col(User.name))).all())
    assert [message.split()[0] for message in caplog.messages[-2:]] == ["BEGIN", "SELECT"]


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_an_interrupt_of_a_beginning(pooled):
    """Ctrl-C while a transaction is begun comes out as it is, and costs its connection only."""
    add_user(pooled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pooled.read(lambda session: session.execute(select(col(User.name))).all())
    assert emails(pooled) == ["ann@example.com"]


def interrupt(*_, **__):
    """Do what the handler of the signal does."""
    raise KeyboardInterrupt


TIMES = {"created_at": NOW, "updated_at": NOW}
ANN = {"email": "ann@example.com", "name": "Ann", "is_active": True, "version": 1, **TIMES}


def flush(session):
    session.add(User(**ANN))
    session.flush()


def execute(session):
    session.execute(insert(User).values(ANN))


def execute_on_connection(session):
    session.connection().execute(insert(User).values(ANN))


def copy(session):
    bulk_insert(session, metadata().tables["users"], [*ANN], [[*ANN.values()]])


@pytest.mark.parametrize("add", [flush, execute, execute_on_connection, copy])
def test_errors_are_ours_where_they_are_raised(pooled, add):
    """Work sees the constraint that a statement broke, however it was run, and goes on after a savepoint."""

    def work(session):
        with pytest.raises(UniqueViolation) as caught, session.begin_nested():
            add(session)
        session.execute(text("UPDATE users SET name = 'Bob'"))
        return caught.value.constraint

    add_user(pooled)
    assert pooled.write(work) == "users_email_key"
    assert pooled.read(lambda session: session.scalar(select(col(User.name)))) == "Bob"


@pytest.mark.parametrize("add", [flush, execute, execute_on_connection, copy])
def test_errors_that_work_lets_out(pooled, add):
    """They leave the unit as they are, and the connection goes back to the pool clean."""
    add_user(pooled)
    with pytest.raises(UniqueViolation) as caught:
        pooled.write(add)
    assert caught.value.constraint == "users_email_key"
    assert pooled.engine.pool.checkedout() == 0
    assert emails(pooled) == ["ann@example.com"]


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
@pytest.mark.parametrize(("place", "name"), [(psycopg.Cursor, "execute"), (psycopg.Connection, "commit")])
def test_an_interrupt_of_an_exchange(pooled, monkeypatch, place, name):
    """Ctrl-C while the server is asked, or told to commit, undoes the work and costs its connection only."""
    add_user(pooled)

    def work(session):
        session.execute(text("DELETE FROM users"))
        patch.setattr(place, name, interrupt)
        session.execute(text("SELECT 1"))

    # The outcome of a commit is looked up over another connection, which needs the method itself.
    with pytest.MonkeyPatch.context() as patch:
        monkeypatch.setattr(pooled, "_committed", lambda _: patch.undo() or False)
        with pytest.raises(KeyboardInterrupt):
            pooled.write(work)
    assert pooled.engine.pool.checkedout() == 0
    assert emails(pooled) == ["ann@example.com"]
    assert "not made" in signals.interrupted().message
