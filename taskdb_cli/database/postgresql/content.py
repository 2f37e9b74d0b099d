"""The content of a PostgreSQL database as COPY text, which the server reads and writes itself."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import Boolean, DateTime, Integer, Text

from taskdb_cli.database.backend import closed_after_failure
from taskdb_cli.database.content import Content, Layout, joined, keys_and_indexes, present_tables
from taskdb_cli.database.postgresql.connection import driver_connection, identifier
from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK, lock_taken
from taskdb_cli.database.postgresql.schema import SEARCH_INDEXES
from taskdb_cli.database.schema import OUR_TABLES, VERSION_TABLE
from taskdb_cli.errors import Conflict, DataCorrupt, NotPermitted, TaskdbError

_TYPES = {Boolean: "boolean", Integer: "integer", Text: "text", DateTime: "timestamp"}
_ANOTHER_WAY = "nothing was changed; remove the cause, or restore into another database"

# The SQLSTATEs of errors that do not depend on the statement: no connection, a full disk, a cancel, a lock.
_TROUBLE = ("08", "40", "53", "57", "58", "XX", "55P03")

# Each query looks at the tables of whichever schema the search path finds them in.

# Keys, unique constraints and indexes, in the order in which they can be dropped. Those are left out that
# their definition does not describe completely: dropped and made again, they would lose a comment, a
# tablespace, storage parameters, CLUSTER, REPLICA IDENTITY or an extension.
_PARTS = """
SELECT kind, dropping, making FROM (
    SELECT contype::text AS kind, CASE WHEN contype <> 'f' THEN conindid END AS index,
        format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname) AS dropping,
        format('ALTER TABLE %%s ADD CONSTRAINT %%I ', conrelid::regclass, conname)
            || pg_get_constraintdef(oid) AS making
    FROM pg_constraint
    WHERE conrelid = ANY (%(tables)s::regclass[]) AND conname = ANY (%(names)s)
      AND contype IN ('f', 'p', 'u') AND convalidated AND obj_description(oid, 'pg_constraint') IS NULL
    UNION ALL
    SELECT 'x', indexrelid, format('DROP INDEX %%s', indexrelid::regclass), concat(
        pg_get_indexdef(indexrelid),
        (
            SELECT string_agg(format(
                '; ALTER INDEX %%s ALTER %%s SET STATISTICS %%s', attrelid::regclass, attnum, attstattarget
            ), '')
            FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget >= 0
        )
    )
    FROM pg_index WHERE indrelid = ANY (%(tables)s::regclass[])
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
) AS part LEFT JOIN pg_index ON indexrelid = index LEFT JOIN pg_class ON pg_class.oid = index
WHERE kind = 'f' OR relname = ANY (%(names)s)
  AND indisvalid AND NOT indisclustered AND NOT indisreplident
  AND relkind = 'i' AND reltablespace = 0 AND reloptions IS NULL
  AND obj_description(index, 'pg_class') IS NULL AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = index AND deptype = 'x'
  )
ORDER BY kind
"""

# Tables of others that refer to ours, with the columns that do, and tables that inherit from ours.
_DEPENDENTS = """
WITH RECURSIVE ours AS (SELECT to_regclass(name)::oid AS id FROM unnest(%s::text[]) AS name), heirs AS (
    SELECT inhrelid AS id FROM pg_inherits WHERE inhparent IN (SELECT id FROM ours)
    UNION SELECT inhrelid FROM pg_inherits JOIN heirs ON inhparent = heirs.id
), dependents AS (
    SELECT conrelid AS id, conkey AS key FROM pg_constraint
    WHERE contype = 'f' AND confrelid IN (SELECT id FROM ours) AND conrelid NOT IN (SELECT id FROM ours)
    UNION SELECT id, '{}' FROM heirs
)
SELECT format('%%I.%%I', nspname, relname),
    ARRAY (
        SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = dependents.id AND attnum = ANY (key)
    ),
    has_table_privilege(dependents.id, 'SELECT') AND has_schema_privilege(relnamespace, 'USAGE')
        AND NOT row_security_active(dependents.id)
FROM dependents
JOIN pg_class ON pg_class.oid = dependents.id JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND NOT (relispartition AND cardinality(key) = 0)
"""

_TRIGGERS = """
SELECT format('trigger %%s on %%s', tgname, tgrelid::regclass) FROM pg_trigger
WHERE tgrelid = ANY (%(tables)s::regclass[]) AND NOT tgisinternal AND tgenabled <> 'D'
UNION ALL
SELECT format('rule %%s on %%s', rulename, ev_class::regclass) FROM pg_rewrite
WHERE ev_class = ANY (%(tables)s::regclass[]) AND ev_enabled <> 'D' AND rulename <> '_RETURN'
ORDER BY 1
"""
_PUBLICATIONS = """
SELECT format('publication %%s', pubname) FROM pg_publication, pg_get_publication_tables(pubname)
WHERE relid = %s::regclass ORDER BY 1
"""

_MISSING_PRIVILEGES = """
SELECT format('%%s ON %%s', privilege, name)
FROM unnest(%(tables)s::text[]) AS name, unnest('{SELECT,INSERT,DELETE}'::text[]) AS privilege
WHERE NOT has_table_privilege(name, privilege)
UNION ALL SELECT format('%%s ON SEQUENCE %%s', privilege, sequence)
FROM unnest(%(tables)s::text[]) AS name, pg_get_serial_sequence(name, 'id') AS sequence,
    unnest('{SELECT,UPDATE}'::text[]) AS privilege
WHERE NOT has_sequence_privilege(sequence, privilege)
"""
_ROLE_AND_OWNER = """
SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(relowner))
FROM pg_class WHERE oid = 'users'::regclass
"""
_FEW = 5
"""The most rights that an error names with a GRANT for each."""


class PostgreSQLContent(Content):
    """Take the locks before the snapshot, so that no table can change between the two.

    Before rows are loaded, only those keys, unique constraints and indexes of taskdb are dropped that come
    back exactly as they were. What others added or depend on stays: a view, a foreign key or a publication
    may need it.
    """

    def begin_snapshot(self, options: Mapping[str, Any], *, guarded: bool) -> None:
        """Lock the tables before the first query, whose snapshot is that of the whole transaction.

        A snapshot alone would read an empty table if TRUNCATE, or an ALTER TABLE that rewrites it,
        committed in between: neither keeps the rows that an older snapshot should see.
        """
        tables = [*present_tables(self.connection), VERSION_TABLE]
        self.connection.rollback()
        self.connection.execution_options(**options)
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
        # Settings of a role or a database must not hide rows. An index that is made again goes into the
        # tablespace of the database, where it was before. SET begins no snapshot, because it reads no table.
        self.connection.exec_driver_sql("SET LOCAL row_security = off; SET LOCAL default_tablespace = ''")

    def _take(self, function: str) -> None:
        if not self.connection.exec_driver_sql(f"SELECT {function}(%s)", (MIGRATION_LOCK,)).scalar():
            raise lock_taken(self.connection, self.place)

    def _require_privileges(self, tables: list[str]) -> None:
        """Raise TaskdbError, which says what to grant, if the role may not replace the rows of tables."""
        found = self.connection.exec_driver_sql(_MISSING_PRIVILEGES, {"tables": tables}).scalars().all()
        if found:
            [(role, owner)] = self._query(_ROLE_AND_OWNER)
            raise TaskdbError(
                f"the role {role} may not replace the rows of {self.place}: it lacks {', '.join(found)}",
                "; ".join(f"GRANT {privilege} TO {role}" for privilege in found)
                if len(found) <= _FEW
                else f"run it as {owner}, which owns the tables",
            )

    @contextmanager
    def chunks(self, layout: Layout) -> Iterator[Iterator[bytes]]:
        """Let the server write the lines."""
        statement = f"COPY (SELECT {_names(layout)} FROM {layout.table} ORDER BY id) TO STDOUT"  # noqa: S608 (quoted)
        with (
            self._raw.cursor() as cursor,
            cursor.copy(statement.encode()) as copy,
            # psycopg would wait for the end of the COPY. The server ends a session without a client.
            closed_after_failure(self.connection),
        ):
            yield joined(copy)

    def referring_tables(self) -> list[str]:
        """Look at foreign keys of every schema, and at tables that inherit from ours."""
        found = set()
        for table, columns, readable in self._query(_DEPENDENTS, sorted(OUR_TABLES)):
            refers = " AND ".join(["true", *(f"{column} IS NOT NULL" for column in columns)])
            if not readable or self._any(f"ONLY {table} WHERE {refers}"):
                found.add(table)
        return sorted(found)

    def rehearse(self) -> None:
        """Also report what the server refuses, in its own words."""
        try:
            super().rehearse()
        except psycopg.Error as exc:
            if _is_trouble(exc):
                raise
            message = f"the rows of {self.place} cannot be replaced: {exc.diag.message_primary}"
            if isinstance(exc, psycopg.errors.InsufficientPrivilege):
                hint = "nothing was changed; run it as the owner of the tables, with CREATE on the schema"
                raise NotPermitted(message, hint) from exc
            raise Conflict(message, _ANOTHER_WAY) from exc

    def clear(self) -> None:
        """Also drop the keys, unique constraints and indexes that come back as they were."""
        self._truncated = set()
        # The statements that make again what was dropped, which are to run in the opposite order.
        self._definitions: list[str] = []
        # Children go first: a foreign key holds on to what it refers to.
        tables = [layout.table for layout in reversed(self.layouts)]
        names = [*SEARCH_INDEXES, *(name for table in tables for name in keys_and_indexes(table))]
        parts = self.connection.exec_driver_sql(_PARTS, {"tables": tables, "names": names}).all()
        self._drop((drop, definition) for kind, drop, definition in parts if kind == "f")
        # A publication may need the primary key for each row that is deleted.
        for table in tables:
            self._empty(table)
        self._drop((drop, definition) for kind, drop, definition in parts if kind != "f")

    def _drop(self, parts: Iterable[tuple[str, str]]) -> None:
        for drop, definition in parts:
            if self._attempt(drop) is None:
                self._definitions.append(definition)

    def _empty(self, table: str) -> None:
        """Delete the rows of a table; raise Conflict if something prevents that."""
        if self._attempt(f"TRUNCATE {table}") is None:
            if not self._any(f"pg_class WHERE oid = '{table}'::regclass AND relkind = 'p'"):
                self._truncated.add(table)
            return
        # TRUNCATE refuses a table that another table refers to, even if that has no rows. DELETE does not.
        if not self._any(table):
            return
        refusal = self._attempt(f"DELETE FROM {table}")  # noqa: S608 (our own table)
        if refusal or self._any(table):
            keepers = [trigger for trigger in self.triggers() if trigger.endswith(f" on {table}")]
            keepers += [publication for (publication,) in self._query(_PUBLICATIONS, table)]
            reason = (refusal and refusal.diag.message_primary) or "they are still there after DELETE"
            because = f" (because of {', '.join(keepers)})" if keepers else ""
            message = f"the rows of {table} cannot be deleted: {reason}{because}"
            raise Conflict(message, _ANOTHER_WAY) from refusal

    def load(self, layout: Layout, chunks: Iterable[bytes]) -> None:
        """Let the server read the lines; rows of a table made empty just now are frozen at once."""
        frozen = " WITH (FREEZE)" if layout.table in self._truncated else ""
        statement = f"COPY {layout.table} ({_names(layout)}) FROM STDIN{frozen}".encode()
        with _refusing(layout.table), self._raw.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in chunks:
                copy.write(chunk)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Build what was dropped, set the identities, and gather statistics, all before rows are read."""
        with _refusing("the tables"):
            for definition in reversed(self._definitions):
                self._execute(definition)
        for layout in self.layouts:
            self._continue_identity(layout.table)
            self._execute(f"ANALYZE {layout.table}")
        yield

    def _continue_identity(self, table: str) -> None:
        # An id that was given out before is not given out again, even if its row is gone.
        recorded = "SELECT max(row_id) FROM taskdb_changes WHERE table_name = %s"
        [(sequence, highest)] = self._query(
            f"SELECT sequence, greatest((SELECT max(id) FROM {table}),"  # noqa: S608 (our own table)
            f" ({recorded if self.keeps_history else 'SELECT %s::bigint WHERE false'}),"
            " pg_sequence_last_value(sequence::regclass)) FROM pg_get_serial_sequence(%s, 'id') AS sequence",
            table,
            table,
        )
        # A row that was numbered by hand may be below the first id of an identity.
        if highest is not None and highest > 0:
            # setval() outlives a rollback, but only the owner may alter the table.
            if self._attempt(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {highest}"):
                if not self.trial:
                    self._query("SELECT setval(%s, %s)", sequence, highest)
            else:
                self._query("SELECT nextval(%s)", sequence)

    def triggers(self) -> list[str]:
        """Return those that are not disabled."""
        tables = {"tables": [layout.table for layout in self.layouts]}
        return list(self.connection.exec_driver_sql(_TRIGGERS, tables).scalars())

    def _type_of(self, table: str, column: ReflectedColumn) -> str:
        return next((word for type, word in _TYPES.items() if isinstance(column["type"], type)), "")

    def _attempt(self, statement: str) -> psycopg.Error | None:
        """Execute a statement, or undo it and return the error if the server refuses it."""
        try:
            self._execute(f"SAVEPOINT attempt; {statement}; RELEASE attempt")
        except psycopg.Error as exc:
            if _is_trouble(exc):
                raise
            self._execute("ROLLBACK TO attempt; RELEASE attempt")
            return exc
        return None

    def _any(self, rows: str) -> bool:
        [(found,)] = self._query(f"SELECT EXISTS (SELECT FROM {rows})".replace("%", "%%"))  # noqa: S608 (quoted)
        return bool(found)

    def _execute(self, statement: str) -> None:
        """Execute a statement whose errors are those of the driver."""
        self._raw.execute(statement.encode())

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.exec_driver_sql(statement, values).all()  # type: ignore[return-value]

    @cached_property
    def _truncated(self) -> set[str]:
        """The tables that were emptied by TRUNCATE in this transaction: COPY may FREEZE their rows."""
        return set()

    @cached_property
    def _raw(self) -> psycopg.Connection:
        return driver_connection(self.connection)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Raise DataCorrupt for rows that the server refuses, or Conflict if a rule of others refuses one."""
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
            "nothing was changed; correct them in their database, or use another archive",
        ) from exc


def _is_trouble(error: psycopg.Error) -> bool:
    """Return whether the error does not depend on the statement, such as a lost connection."""
    return error.sqlstate is None or error.sqlstate.startswith(_TROUBLE)


def _names(layout: Layout) -> str:
    return ", ".join(map(identifier, layout.names))
