r"""The rows of a database, table by table, as text that both engines read and write alike.

The text is that of PostgreSQL's COPY (text format): one row a line, in the order of the ids, tabs between
the fields, `\N` for NULL, times in UTC with their fraction trimmed, `t` and `f` for truth values.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Inspector, inspect, text
from sqlalchemy.engine.interfaces import ReflectedColumn

from taskdb_cli.database.schema import (
    ARCHIVED_TABLES,
    COUNTED_TABLES,
    HISTORY_TABLES,
    compare_revision,
    current_revision,
    read_identity,
)
from taskdb_cli.errors import DataCorrupt, SchemaDrift
from taskdb_cli.models import metadata

if TYPE_CHECKING:
    from psycopg.abc import Buffer

CHUNK = 256 * 1024
"""How many bytes each chunk of text has at least, except for the last one."""

_LAST_ID = b"%d" % (2**63 - 1)


class Column(NamedTuple):
    """A column and what it holds: `integer`, `text`, `boolean` or `timestamp`."""

    name: str
    type: str


class Layout(NamedTuple):
    """A table and its columns, in their order."""

    table: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def is_counted(self) -> bool:
        """Whether it has users or tasks, and not the history."""
        return self.table in COUNTED_TABLES


class Content(ABC):
    """What is in a database, seen and changed by one transaction over one connection."""

    trial = False
    """Whether everything is rolled back in the end."""

    def __init__(self, connection: Connection, place: str, address: str | None = None) -> None:
        self.connection = connection
        self.place = place
        self.address = address or place
        """The place as archives have it."""

    @property
    def server_version(self) -> str:
        """The version of the engine."""
        return ".".join(map(str, self.connection.dialect.server_version_info or ()))

    @abstractmethod
    def begin_snapshot(self, options: Mapping[str, Any], *, guarded: bool) -> None:
        """Begin a transaction that sees every table as it is at one moment, by these execution options.

        A migration and a restore are kept out until it ends, unless the caller is `guarded` from them
        already. Raises DatabaseUnavailable when one of them is running.
        """

    @abstractmethod
    def begin_replacement(self) -> None:
        """Begin a transaction in which nobody else reads or writes the tables.

        Raises DatabaseUnavailable when a migration, a backup or another restore is running.
        """

    @abstractmethod
    def chunks(self, layout: Layout) -> AbstractContextManager[Iterator[bytes]]:
        """Open a table to be read as text, in chunks of bounded size, until the context is left.

        An exception may close the connection, which ends its transaction and locks.
        """

    @abstractmethod
    def clear(self) -> None:
        """Delete every row, and put aside what would make loading slow.

        Raises Conflict if something in the database keeps rows from being deleted.
        """

    @abstractmethod
    def load(self, layout: Layout, chunks: Iterable[bytes]) -> None:
        """Insert the rows of a text, with the ids that they have; raise DataCorrupt for a malformed one."""

    @abstractmethod
    def finishing(self) -> AbstractContextManager[None]:
        """Put everything back that `clear` put aside, and let new ids follow the highest one.

        The highest id of a user or a task is that in the table or in the history, which knows deleted ones.

        Inside, all rows can be read; some of it may be done beside that, or behind it. Raises DataCorrupt
        for rows that break a rule, on leaving at the latest.
        """

    @abstractmethod
    def triggers(self) -> list[str]:
        """Return the kind and name of each trigger and rule of the tables, which may change loaded rows."""

    def faults(self) -> list[str]:
        """Return what is wrong with rows that were loaded; a server has checked that itself."""
        return []

    @abstractmethod
    def _type_of(self, table: str, column: ReflectedColumn) -> str:
        """Return what a column holds, or "" if it is nothing that taskdb keeps."""

    @cached_property
    def revision(self) -> str:
        """The revision of the schema; SchemaBehind or SchemaForeign if it has none of taskdb's."""
        if current := current_revision(self.connection):
            return current
        raise compare_revision(None) or AssertionError

    @cached_property
    def identity(self) -> str | None:
        """Which database this is; None at a revision that has no identity yet."""
        return read_identity(self.connection)

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """The tables that are archived, parents before their children."""
        return tuple(Layout(table, self._columns(table)) for table in present_tables(self.connection))

    def counts(self) -> dict[str, int]:
        """Count the users and the tasks."""
        tables = [layout.table for layout in self.layouts if layout.is_counted]
        counting = {table: f"SELECT count(*) FROM {table}" for table in tables}  # noqa: S608 (our own tables)
        return {table: self.connection.scalar(text(query)) or 0 for table, query in counting.items()}

    @property
    def keeps_history(self) -> bool:
        """Whether the tables of the history are there."""
        return any(layout.table in HISTORY_TABLES for layout in self.layouts)

    def is_empty(self) -> bool:
        """Return whether no archived table has a row."""
        queries = (f"SELECT EXISTS (SELECT 1 FROM {layout.table})" for layout in self.layouts)  # noqa: S608 (our own tables)
        return not any(self.connection.scalar(text(query)) for query in queries)

    @abstractmethod
    def referring_tables(self) -> list[str]:
        """Return the tables of other applications that hold rows which refer to taskdb's.

        Deleting taskdb's rows would delete or change those rows, or fail. The result includes tables that the
        role may not read, and tables with rows that inherit from one of taskdb's.
        """

    def rehearse(self) -> None:
        """Empty the tables and load no rows, to be undone by the caller; raise Conflict if that fails."""
        self.clear()
        for layout in self.layouts:
            self.load(layout, ())
        with self.finishing():
            pass

    @cached_property
    def _inspector(self) -> Inspector:
        return inspect(self.connection)

    def _columns(self, table: str) -> tuple[Column, ...]:
        found = self._inspector.get_columns(table)
        columns = tuple(Column(each["name"], self._type_of(table, each)) for each in found)
        if strange := [column.name for column in columns if not column.type]:
            raise SchemaDrift(
                f"{table} has columns that are not taskdb's: {', '.join(strange)}",
                "'taskdb migrate check' names the differences",
            )
        return columns


def present_tables(connection: Connection) -> list[str]:
    """Return the archived tables that a database has, parents before their children."""
    there = set(inspect(connection).get_table_names())
    return [table for table in ARCHIVED_TABLES if table in there]


def keys_and_indexes(table: str) -> list[str]:
    """Return the names of the keys, unique constraints and indexes that taskdb gives a table."""
    made = metadata().tables[table]
    names = [rule.name for rule in made.constraints] + [index.name for index in made.indexes]
    return [f"{table}_pkey", *(str(name) for name in names if name)]


def with_ids_left(table: str, columns: Sequence[str], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks. Raise DataCorrupt for a row with the highest possible id: none could follow."""
    before = rb"[^\t\n]*\t" * columns.index("id")
    row = re.compile(rb"\n" + before + _LAST_ID + rb"[\t\n]")
    line = b"\n"
    for chunk in chunks:
        seen = line + chunk
        if _LAST_ID in seen and row.search(seen):
            raise DataCorrupt(
                f"a row of {table} has the highest possible id, {_LAST_ID.decode()}",
                "give it a lower id in its own database, or use another archive",
            )
        line = seen[seen.rindex(b"\n") :]
        yield chunk


def joined(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """Join small pieces into chunks, because each chunk has its own cost later."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
