"""What the rest of taskdb asks of an engine, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.sql.schema import Table

from taskdb_cli.database.content import Content
from taskdb_cli.database.options import Options
from taskdb_cli.database.plan import Plan
from taskdb_cli.errors import TaskdbError

MIGRATED = "taskdb_migrated"
"""The key in a connection's `info` that says whether taskdb's version table exists."""


class Transaction(NamedTuple):
    """What the outcome of a transaction can be looked up by, when the answer to its commit was lost."""

    id: str
    recovered: str
    """When the server last came back from a crash, since which it may have given out the id again."""


class Backend(Protocol):
    """Everything that only one engine knows."""

    options: Options
    """How it is reached, and for how long anything may take."""

    place: str
    """The database as a person would name it, without a password."""

    name: str
    """What the database is called where it is."""

    schema: str | None
    """The chosen schema, or None for the one that the search path finds."""

    distinction: str
    """What the default label adds to the name, so that databases of one name elsewhere have other labels."""

    dialect: str
    """SQLAlchemy's name of the engine."""

    migrates_in_one_transaction: ClassVar[bool]
    """Whether all revisions of a migration are one transaction; otherwise each one commits by itself."""

    read_options: ClassVar[Mapping[str, Any]]
    """Execution options of a transaction that only reads."""

    write_options: ClassVar[Mapping[str, Any]]
    """Execution options of a transaction that may write."""

    error_types: tuple[type[Exception], ...]
    """What the driver raises, wrapped by SQLAlchemy or bare."""

    def create_engine(self) -> Engine:
        """Return an engine that begins transactions as `read_options` or `write_options` say.

        Beginning notes MIGRATED. It raises EncodingUnsupported, and SchemaMissing where a schema was chosen.
        """

    def require(self) -> None:
        """Raise DatabaseMissing when there is no database to connect to, without connecting."""

    def create(self) -> bool:
        """Make an empty database when it is missing and this engine can; return whether it did."""

    def fingerprint(self, connect: Callable[[], AbstractContextManager[Connection]]) -> object:
        """Return a value that only this database has, whatever its name; None if it is missing."""

    def file(self) -> Path | None:
        """Return the path of the database file, which may be missing; None for a database on a server."""

    def missing_file(self) -> Path | None:
        """Return the file that the database is, where that may be put whole because there is none."""

    def damage(self) -> str:
        """Return what is wrong with that file, or nothing; change nothing."""

    def translate_connecting(self, error: Exception) -> TaskdbError:
        """Return ours for an error of the driver while a connection was being opened."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait until it is this thread's turn to write, for a while."""

    def transaction(self, connection: Connection) -> Transaction | None:
        """Return the running transaction, begun with `write_options`; None if it cannot be looked up."""

    def is_committed(self, connection: Connection, transaction: Transaction) -> bool:
        """Return whether a transaction took effect.

        Raises DatabaseUnavailable if nobody knows yet, and OutcomeUnknown if nobody ever will.
        """

    def how_to_ask(self, transaction: Transaction) -> str:
        """Say how a person finds out whether a transaction took effect."""

    def translate(self, error: Exception) -> TaskdbError:
        """Return ours for an error of the driver: a Violation, or TableMissing, or what else it means."""

    def bulk_insert(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert rows by the engine's fastest way, at constant memory, in the connection's transaction."""

    def lock_table(self, connection: Connection, table: Table) -> None:
        """Keep other transactions from changing the table until the connection's one ends."""

    def explain(self, connection: Connection, query: Select[Any]) -> Plan:
        """Run a query and return how the engine did it."""

    def content(self, connection: Connection) -> Content:
        """Return what reads and replaces all rows over that connection."""

    def migration(
        self, connect: Callable[[], Connection]
    ) -> AbstractContextManager[tuple[Connection, Connection]]:
        """Open a connection that migrates alone; nobody else migrates while it is open.

        The second connection is for looking around before: the first must be left for Alembic to
        begin its transactions on. On leaving without an error all is committed.
        """

    def run_revisions(self, connection: Connection, work: Callable[[], None]) -> None:
        """Run revisions on the first connection of `migration`; go on when another's lock has gone."""

    def facts(self, connection: Connection, tables: Collection[str]) -> dict[str, str]:
        """Name each thing that those of the tables have which are there, and describe what must not drift."""
