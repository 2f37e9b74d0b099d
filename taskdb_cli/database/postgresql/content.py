"""The content of a PostgreSQL database as COPY text, which the server reads and writes itself."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import Boolean, DateTime, Integer, Text

from taskdb_cli.database.content import Layout, joined, keys_and_indexes, present_tables
from taskdb_cli.database.postgresql.emptying import Emptying
from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK, lock_taken
from taskdb_cli.database.schema import VERSION_TABLE
from taskdb_cli.errors import Conflict, DataCorrupt

_MOST_FAULTS = 10
_TYPES = {Boolean: "boolean", Integer: "integer", Text: "text", DateTime: "timestamp"}

_FOREIGN_KEYS = """
SELECT attname, confrelid::regclass::text FROM pg_constraint
JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
WHERE contype = 'f' AND conrelid = %s::regclass
"""

_TRIGGERS = """
SELECT format('trigger %%s on %%s', tgname, tgrelid::regclass) FROM pg_trigger
WHERE tgrelid = ANY (%(tables)s::regclass[]) AND NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT format('rule %%s on %%s', rulename, ev_class::regclass) FROM pg_rewrite
WHERE ev_class = ANY (%(tables)s::regclass[]) AND ev_enabled <> 'D' AND rulename <> '_RETURN'
ORDER BY 1
"""


class PostgreSQLContent(Emptying):
    """Locks come before the snapshot: what is read is what was there when nobody could change the tables."""

    @property
    def server_version(self) -> str:
        """The version of the server."""
        return str(self._raw.info.parameter_status("server_version")).partition(" ")[0]

    def begin_snapshot(self, *, guarded: bool) -> None:
        """Lock the tables before the first query, whose snapshot is that of the whole transaction.

        A snapshot alone would read an empty table if TRUNCATE, or an ALTER TABLE that rewrites it,
        committed in between: neither keeps the rows that an older snapshot should see.
        """
        tables = [*present_tables(self.connection), VERSION_TABLE]
        self.connection.rollback()
        self.connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._set_locally()
        self.connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE")
        if not guarded:
            self._take("pg_try_advisory_xact_lock_shared")

    def begin_replacement(self) -> None:
        """Take the lock of maintenance work, and then the tables.

        Raises TaskdbError, which says what to grant, if the role may not replace rows.
        """
        self._set_locally()
        self._take("pg_try_advisory_xact_lock")
        tables = present_tables(self.connection)
        self._require_privileges(tables)
        self.connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        # A table cannot be altered while a check of its rows waits for the commit.
        self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def _set_locally(self) -> None:
        # Settings of a role or a database must not hide rows, or end the session while it waits for a disk.
        settings = ["row_security = off", "statement_timeout = 0", "idle_in_transaction_session_timeout = 0"]
        if self._raw.info.server_version >= 170_000:  # noqa: PLR2004
            settings.append("transaction_timeout = 0")
        # An index that is made again goes into the tablespace of the database, where it was before.
        settings.append("default_tablespace = ''")
        # SET reads no table, and so does not begin a snapshot.
        self.connection.exec_driver_sql("; ".join(f"SET LOCAL {each}" for each in settings))

    def _take(self, function: str) -> None:
        if not self.connection.exec_driver_sql(f"SELECT {function}(%s)", (MIGRATION_LOCK,)).scalar():
            raise lock_taken(self.connection, self.place)

    @contextmanager
    def chunks(self, layout: Layout) -> Iterator[Iterator[bytes]]:
        """Let the server write the lines."""
        statement = f"COPY (SELECT {_names(layout)} FROM {layout.table} ORDER BY id) TO STDOUT"  # noqa: S608 (quoted)
        with self._raw.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            try:
                yield joined(copy)
            except BaseException as exc:
                # psycopg would wait for the end of the COPY. The server ends a session without a client.
                self.connection.invalidate(exc)
                raise

    def load(self, layout: Layout, chunks: Iterable[bytes]) -> None:
        """Let the server read the lines; rows of a table made empty just now are frozen at once."""
        frozen = " WITH (FREEZE)" if layout.table in self._truncated else ""
        statement = f"COPY {layout.table} ({_names(layout)}) FROM STDIN{frozen}".encode()
        with _believing(layout.table), self._raw.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in chunks:
                copy.write(chunk)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Build what was dropped, set the identities, and gather statistics, all before rows are read."""
        with _believing("the tables"):
            for definition in reversed(self._definitions):
                self._execute(definition)
        for layout in self.layouts:
            self._continue_identity(layout.table)
            self._execute(f"ANALYZE {layout.table}")
        yield

    def _continue_identity(self, table: str) -> None:
        # An id that was given out before is not given out again, even if its row is gone.
        [(sequence,)] = self._query("SELECT pg_get_serial_sequence(%s, 'id')", table)
        [(highest,)] = self._query(
            f"SELECT greatest((SELECT max(id) FROM {table}),"  # noqa: S608 (our own table)
            " pg_sequence_last_value(%s::regclass))",
            sequence,
        )
        # A row that was numbered by hand may be below the first id of an identity.
        if highest is not None and int(highest) > 0:
            # setval() outlives a rollback, but only the owner may alter the table.
            if self._attempt(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {highest}"):
                self._query("SELECT setval(%s, %s)", sequence, highest)
            else:
                self._query("SELECT nextval(%s)", sequence)

    def triggers(self) -> list[str]:
        """Return those that are not disabled."""
        tables = {"tables": [layout.table for layout in self.layouts]}
        return list(self.connection.exec_driver_sql(_TRIGGERS, tables).scalars())

    def faults(self) -> list[str]:
        """Look for rows whose parent is missing; the server has no other check of its own."""
        return [
            f"row {id} of {layout.table} has no parent in {parent}"
            for layout in self.layouts
            for column, parent in self._query(_FOREIGN_KEYS, layout.table)
            for (id,) in self._query(
                f"SELECT id FROM {layout.table} child WHERE {column} IS NOT NULL"  # noqa: S608 (the catalog's names)
                f" AND NOT EXISTS (SELECT FROM {parent} WHERE {parent}.id = child.{column}) LIMIT %s",
                _MOST_FAULTS,
            )
        ]

    def _type_of(self, table: str, column: ReflectedColumn) -> str | None:
        return next((word for type, word in _TYPES.items() if isinstance(column["type"], type)), None)


@contextmanager
def _believing(what: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as exc:
        table, rule = exc.diag.table_name, exc.diag.constraint_name
        if table and rule and rule not in keys_and_indexes(table):
            raise Conflict(
                f"{rule} of {table}, which is not taskdb's, rejects a row: {exc.diag.message_primary}",
                "nothing was changed; drop it, or restore into another database",
            ) from exc
        raise DataCorrupt(
            f"the rows of {what} break a rule: {exc.diag.message_primary}",
            "nothing was changed; correct them where they come from, or use another archive",
        ) from exc


def _names(layout: Layout) -> str:
    return ", ".join(sql.Identifier(name).as_string() for name in layout.names)
