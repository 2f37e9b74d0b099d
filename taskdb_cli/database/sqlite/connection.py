"""Connections to SQLite files, whose statements end when they take too long."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from taskdb_cli.database.options import Options
from taskdb_cli.database.search_index import NothingSoon
from taskdb_cli.database.sqlite.errors import LimitExceeded, is_of_storage
from taskdb_cli.database.sqlite.files import obstacle, unfinished, uri
from taskdb_cli.database.sqlite.locks import WITHOUT_LOCKS

T = TypeVar("T")

STEPS = 1_000
"""After so many steps of a statement SQLite lets Python look at the time and handle signals. Looking takes as
long as about 20 steps."""

SEARCH_STEPS = 250
"""The same for a statement that searches texts: one step searches one text, and can take milliseconds."""


class LimitedConnection(sqlite3.Connection):
    """A connection whose statements end when they take too long."""

    _seconds = _end = _deadline = _patience = math.inf
    _setting = ""
    _steps = 0
    _expired = False

    def limit(self, seconds: float, setting: str) -> None:
        """Set the limit of each statement from now on, and the setting that it comes from; 0 is no limit."""
        self._seconds, self._setting = seconds or math.inf, setting

    def end_within(self, seconds: float) -> None:
        """Set one limit for all statements together from now on, instead of that of each."""
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def look_every(self, steps: int) -> None:
        """Let SQLite look at the time after so many steps, from the next statement on."""
        if steps != self._steps:
            self._steps = steps
            self.set_progress_handler(self._is_over, steps)

    def _is_over(self) -> bool:
        # SQLite calls this. An exception of a signal handler, raised here, also ends the statement.
        self._patience -= self._steps
        self._expired = time.monotonic() > self._deadline
        return self._expired or self._patience < 0

    def within_limit(
        self, method: Callable[..., T], *args: Any, anew: bool = True, patience: float = math.inf
    ) -> T:
        """Call a method of a cursor, whose time counts `anew`; raise LimitExceeded if it takes too long.

        Raises NothingSoon if it takes more steps than there is patience.
        """
        self._patience = patience
        if anew:
            self._expired = False
            self._deadline = min(self._end, time.monotonic() + self._seconds)
        try:
            return method(*args)
        except sqlite3.OperationalError as exc:
            if self._expired:
                raise LimitExceeded(self._seconds, self._setting) from exc
            if self._patience < 0:
                raise NothingSoon from exc
            raise

    def close(self) -> None:
        """Close the connection, and end its transaction now.

        Otherwise a cursor that is still referred to, for example by a traceback, would keep the locks.
        """
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor whose statements have the limit."""
        return super().cursor(factory or _Cursor)

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        """Run a statement within the limit."""
        return _Cursor(self).execute(statement, *args)

    def executemany(self, statement: str, *args: Any) -> sqlite3.Cursor:
        """Run a statement for all its parameters together within the limit."""
        return _Cursor(self).executemany(statement, *args)


class _Cursor(sqlite3.Cursor):
    """A cursor whose statements have the limit, and so has each fetch: the time between is the caller's."""

    connection: LimitedConnection
    patience = math.inf
    """How many steps it may take until the first row, and then each fetch."""

    def execute(self, statement: str, *args: Any) -> _Cursor:
        self.connection.look_every(SEARCH_STEPS if " LIKE " in statement else STEPS)
        return self.connection.within_limit(super().execute, statement, *args, patience=self.patience)

    def executemany(self, statement: str, *args: Any) -> _Cursor:
        self.connection.look_every(STEPS)
        return self.connection.within_limit(super().executemany, statement, *args)

    def fetchone(self) -> Any:
        return self.connection.within_limit(super().fetchone)

    def fetchmany(self, *args: Any) -> list[Any]:
        return self.connection.within_limit(super().fetchmany, *args, patience=self.patience)

    def fetchall(self) -> list[Any]:
        # It is called right after execute() and finishes the same statement, so the limit goes on.
        return self.connection.within_limit(super().fetchall, anew=False)


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
        if options.pool or not is_of_storage(exc) or unfinished(path) or not obstacle(path):
            raise
        try:
            return _connect(path, "mode=ro&immutable=1", options, busy_timeout)
        except sqlite3.Error:
            raise exc from None


def raw_connection(connection: Connection) -> LimitedConnection:
    """Return the driver's connection."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, LimitedConnection)
    return raw


def keep_wal(path: Path) -> None:
    """Set the WAL mode of a file that was private until now; raise sqlite3.Error."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _connect(path: Path, parameters: str, options: Options, busy_timeout: float) -> LimitedConnection:
    connection = LimitedConnection(
        uri(path, parameters),
        uri=True,
        timeout=busy_timeout,
        # Python would otherwise begin transactions by itself, late and only before some statements.
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if options.disposable:
            # If writing such a file fails, it is deleted, so it needs no journal.
            connection.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA secure_delete = OFF"
            )
        if options.secret:
            connection.execute("PRAGMA temp_store = MEMORY")
        # SQLite opens the file at the first statement. Any other error than that it cannot be opened, such as
        # a lock, is left to the first statement of the work, which says more.
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.Error as exc:
            if is_of_storage(exc):
                raise
    except BaseException:
        connection.close()
        raise
    return connection
