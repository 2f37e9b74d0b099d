"""The sessions that a server has for a database of the tests, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import URL, event

from taskdb_cli.database import Database
from tests.conftest import connect
from tests.waiting import wait_until

CLIENTS = "pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
"""What to read the sessions of the database from: autovacuum, which comes and goes, is none of them."""

_OTHERS = f"SELECT pid, state, wait_event, query FROM {CLIENTS} AND pid <> pg_backend_pid()"
_WAITING = f"SELECT 1 FROM {CLIENTS} AND wait_event_type = 'Lock'"


def settle(url: URL) -> None:
    """Wait until the server has ended the sessions of a process that is gone; fail if it does not."""
    if url.drivername == "sqlite":
        return
    with connect(url) as connection:
        wait_until(lambda: not connection.execute(_OTHERS).fetchall())


def until_waiting(url: URL) -> None:
    """Return as soon as a session of the database waits for a lock; fail if none does in time."""
    with connect(url) as observer:
        wait_until(lambda: observer.execute(_WAITING).fetchall())


def before_statement(database: Database, words: str, action: Callable[[], None]) -> None:
    """Do something once, just before the database is asked the first statement with these words."""
    done = []

    def act(connection, cursor, statement, *_) -> None:
        if words in statement and not done:
            done.append(statement)
            action()

    event.listen(database.engine, "before_cursor_execute", act)
