"""Connections to SQLite files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from taskdb_cli.database.options import Options
from taskdb_cli.database.sqlite.errors import is_of_storage
from taskdb_cli.database.sqlite.files import at_rest, obstacle, uri
from taskdb_cli.database.sqlite.limits import LimitedConnection
from taskdb_cli.database.sqlite.locks import WITHOUT_LOCKS


def open_file(path: Path, options: Options, busy_timeout: float) -> LimitedConnection:
    """Return a connection that obeys foreign keys; raise sqlite3.Error for a file that cannot be opened.

    Where nothing can be written, a file to which nothing is left to add is opened for reading only.
    """
    # mode=rw: a file that vanished is an error here, never a new empty database.
    usual = f"mode=rw&{WITHOUT_LOCKS}" if options.disposable else "mode=rw"
    try:
        return _connect(path, usual, options, busy_timeout)
    except sqlite3.Error as exc:
        # In WAL mode even a reader makes files beside the database, except with immutable=1.
        # A pool keeps connections open for long, and would not notice later changes by others.
        if options.pool or not is_of_storage(exc) or not at_rest(path) or not obstacle(path):
            raise
        try:
            return _connect(path, "mode=ro&immutable=1", options, busy_timeout)
        except sqlite3.Error:
            raise exc from None


def keep_wal(path: Path) -> None:
    """Set the WAL mode of a file that was private until now; raise sqlite3.Error."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _connect(path: Path, parameters: str, options: Options, busy_timeout: float) -> LimitedConnection:
    connection = sqlite3.connect(
        uri(path, parameters),
        uri=True,
        timeout=busy_timeout,
        # Python would otherwise begin transactions by itself, late and only before some statements.
        isolation_level=None,
        check_same_thread=False,
        factory=LimitedConnection,
    )
    assert isinstance(connection, LimitedConnection)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if options.disposable:
            # If writing such a file fails, it is deleted, so it needs no journal.
            connection.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA secure_delete = OFF"
            )
        _read_something(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_something(connection: sqlite3.Connection) -> None:
    """Raise the library's error if the file cannot be opened. SQLite opens it at the first statement."""
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.Error as exc:
        # Any other error, such as a lock, is left to the first statement of the work, which says more.
        if is_of_storage(exc):
            raise
