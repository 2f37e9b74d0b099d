"""The sessions that a server has for a database of the tests, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sqlalchemy import URL, event

from taskdb_cli.database import Database
from tests.conftest import connect

PATIENCE = 10
"""Seconds after which a session of a process that has ended is one that stays."""

_WAITING = """
SELECT pg_sleep(0.01)::text FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

_OTHERS = """
SELECT pid, state, wait_event, query, pg_sleep(0.02)::text FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def settle(url: URL) -> None:
    """Wait until the server has ended the sessions of a process that is gone; fail if it does not."""
    if url.drivername == "sqlite":
        return
    deadline = monotonic() + PATIENCE
    with connect(url) as connection:
        while left := connection.execute(_OTHERS).fetchall():
            assert monotonic() < deadline, left


def until_waiting(url: URL) -> None:
    """Return as soon as a session of the database waits for a lock; fail if none does in time."""
    deadline = monotonic() + PATIENCE
    with connect(url) as observer:
        while not observer.execute(_WAITING).fetchall():
            assert monotonic() < deadline, "no session waits for a lock"


def before_statement(database: Database, words: str, action: Callable[[], None]) -> None:
    """Do something once, just before the database is asked the first statement with these words."""
    done = []

    def act(connection, cursor, statement, *_) -> None:
        if words in statement and not done:
            done.append(statement)
            action()

    event.listen(database.engine, "before_cursor_execute", act)
