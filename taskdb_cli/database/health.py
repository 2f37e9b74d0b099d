"""What the health of a database is judged by, whichever engine it has: facts, measured and not judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, Select, event
from sqlalchemy.sql.schema import Table

from taskdb_cli.database import Database
from taskdb_cli.models import metadata


class NotMeasured(Exception):
    """This engine has no such thing, or the role may not see it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Version:
    """The engine's version, and the number by which its end of life goes, if it has one."""

    name: str
    major: int | None = None


@dataclass(frozen=True)
class Encryption:
    """Whether the connection is encrypted, and whether it stays on this machine."""

    used: bool
    local: bool


@dataclass(frozen=True)
class Identity:
    """The next id of a table, the highest id in it, and the highest id that it can give out."""

    table: str
    next: int | None
    """None if nothing gives ids out."""
    highest: int
    most: int
    collides: bool
    """Whether an insert fails when the next id is taken; else an id is given out twice at worst."""
    remedy: str
    """What sets it right."""


@dataclass(frozen=True)
class Access:
    """What the role of the connection may do with our tables."""

    role: str
    filtered: Sequence[str]
    """Tables in which row level security may hide rows from the role."""
    unreadable: Sequence[str]
    read_only: Sequence[str]
    """Tables that the role may read but not change."""


@dataclass(frozen=True)
class Orphans:
    """How many rows of a table refer to a parent that is not there."""

    table: str
    column: str
    parent: str
    number: int


@dataclass(frozen=True)
class Slots:
    """How many connections a server has, and how many it takes of ordinary roles."""

    used: int
    most: int


@dataclass(frozen=True)
class Sessions:
    """Sessions in a certain state, for how many seconds the longest has been, and how many were hidden."""

    pids: Sequence[int]
    longest: float
    hidden: int = 0
    holders: Sequence[int] = ()
    """Those for whom they wait."""
    untracked: int = 0
    """How many have track_activities turned off: nobody knows what they do."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of the whole database, and of each table with its indexes as far as that is known."""

    database: int
    tables: dict[str, int]


@dataclass(frozen=True)
class Space:
    """Bytes of a file system."""

    free: int
    total: int


class Probe(Protocol):
    """Measures one database over one connection; every method may raise NotMeasured or the driver's errors.

    Nothing is ever committed.
    """

    vouches: bool
    """Whether rows must have kept a constraint that is in force and was validated."""

    def unvalidated(self) -> dict[str, str]:
        """Return the constraints that old rows were never held to, and the table of each."""

    def unenforced(self) -> dict[str, str]:
        """Return each reason why foreign keys are not checked when rows are written, with its remedy."""

    def access(self) -> Access:
        """Return what the role may do."""

    def require_all_rows(self) -> None:
        """Raise NotMeasured if row level security may hide rows: counting them would be wrong."""

    def invalid_indexes(self) -> list[str]:
        """Return the indexes of our tables that answer no query."""

    def how_to_validate(self, table: str, constraint: str) -> str:
        """Say what holds the old rows to a constraint."""

    def how_to_rebuild(self, index: str) -> str:
        """Say what makes an index answer again."""

    def version(self) -> Version:
        """Return the version of the server or the library."""

    def encryption(self) -> Encryption:
        """Say how the connection reaches the server."""

    def orphans(self) -> list[Orphans]:
        """Count, for each foreign key, the rows whose parent is missing."""

    def identities(self) -> list[Identity]:
        """Return the identity of each table."""

    def broken_rows(self) -> list[str]:
        """Return what the engine's own check says of rows, the constraints CHECK apart."""

    def slots(self) -> Slots:
        """Count the server's connections."""

    def transactions(self, *, idle: bool) -> Sessions:
        """Return the sessions of this database that are in a transaction: those that idle, or the others."""

    def how_to_end(self, pid: int) -> str:
        """Say what ends a session."""

    def blocked(self) -> Sessions:
        """Return the sessions of this database that wait for a lock."""

    def sizes(self) -> Sizes:
        """Return how large the database is."""

    def rows(self, table: str) -> int:
        """Return how many rows a table has: counted if it is small, else as the planner estimates."""

    def damage(self) -> list[str]:
        """Return what is wrong with the file's pages."""

    def journal_mode(self) -> str:
        """Return how the file is written to."""

    def writable_by_others(self) -> list[str]:
        """Return the files and directories of the database that anyone may write to."""

    def disk(self) -> Space:
        """Return how much room the file has to grow."""

    def reads_everything(self, query: Select[object], table: Table) -> bool:
        """Return whether the engine would read the whole table for a query; do not run it."""

    def set_time(self, seconds: float) -> None:
        """Let no statement from now on take longer than that."""

    def sever(self) -> None:
        """Make the running statement fail, from another thread."""


def our_tables() -> list[str]:
    """Return the names of our tables, those first that others refer to."""
    return [table.name for table in metadata().sorted_tables]


def numbered_tables() -> list[str]:
    """Return the names of our tables whose rows get an id from the database."""
    return [table.name for table in metadata().sorted_tables if table.c["id"].identity is not None]


def foreign_keys() -> list[tuple[str, str, str]]:
    """Return the table, the column and the parent table of each foreign key."""
    return [
        (table.name, key.parent.name, key.column.table.name)
        for table in metadata().sorted_tables
        for key in table.foreign_keys
    ]


class Visit:
    """One connection to a database that is looked at, and how long it took to open it."""

    def __init__(self, database: Database) -> None:
        # One that has never connected: only the first connection of an engine is noted as below.
        self._database = Database(database.url, database.options)
        self._engine = self._database.engine
        self._opened: list[float] = []
        # Before SQLAlchemy asks the new connection for its version and more.
        event.listen(self._engine, "first_connect", self._note, insert=True)
        self.seconds = 0.0
        self.connection, self.probe = self._open()

    def _note(self, *_: object) -> None:
        self._opened.append(time.perf_counter())

    def _open(self) -> tuple[Connection, Probe]:
        backend = self._database.backend
        backend.require()
        begun = time.perf_counter()
        try:
            connection = self._engine.connect()
        except backend.error_types as exc:
            raise backend.translate_connecting(exc) from exc
        self.seconds = self._opened[0] - begun
        try:
            with self._database.translating():
                probe = _probe(self._database, connection)
        except BaseException:
            connection.close()
            raise
        return connection, probe

    def connect_again(self) -> float:
        """Open a second connection and close it; return how many seconds that took."""
        begun = time.perf_counter()
        with self._database.translating():
            self._engine.raw_connection().close()
        return time.perf_counter() - begun

    def recover(self) -> None:
        """Forget a statement that failed."""
        with self._database.translating():
            self.connection.rollback()

    def close(self) -> None:
        """Close the connection, even one that is broken; nothing was changed."""
        with suppress(*self._database.backend.error_types):
            self.connection.close()


def _probe(database: Database, connection: Connection) -> Probe:
    if database.backend.dialect == "sqlite":
        from taskdb_cli.database.sqlite.health import SQLiteProbe

        return SQLiteProbe(connection, database.backend.place)
    from taskdb_cli.database.postgresql.health import PostgreSQLProbe

    return PostgreSQLProbe(connection)
