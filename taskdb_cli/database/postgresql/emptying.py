"""How PostgreSQL's tables are emptied beside other applications that depend on them."""

from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import Connection

from taskdb_cli.database.content import Content, keys_and_indexes
from taskdb_cli.database.postgresql.connection import driver_connection
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.errors import Conflict, TaskdbError

_ANOTHER_WAY = "nothing was changed; remove that, or restore into another database"

# The SQLSTATEs of errors that do not depend on the statement: no connection, a full disk, a cancel, a lock.
_TROUBLE = ("08", "40", "53", "57", "58", "XX", "55P03")

# Each query is about one table, of whichever schema the search path finds it in.

# An index that its definition describes completely. If it were dropped and made again, it would lose
# anything else: a comment, a tablespace, storage parameters, CLUSTER, REPLICA IDENTITY, an extension.
_IS_PLAIN = """
indisvalid AND NOT indisclustered AND NOT indisreplident
AND relkind = 'i' AND reltablespace = 0 AND reloptions IS NULL
AND obj_description(indexrelid, 'pg_class') IS NULL AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND deptype = 'x'
)
"""
_CONSTRAINTS = f"""
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname),
    format('ALTER TABLE %%s ADD CONSTRAINT %%I ', conrelid::regclass, conname)
        || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint
LEFT JOIN pg_index ON contype IN ('p', 'u') AND indexrelid = conindid
LEFT JOIN pg_class ON pg_class.oid = indexrelid
WHERE conrelid = %s::regclass AND conname = ANY (%s) AND contype::text = ANY (%s) AND convalidated
  AND obj_description(pg_constraint.oid, 'pg_constraint') IS NULL AND (indexrelid IS NULL OR {_IS_PLAIN})
ORDER BY contype
"""  # noqa: S608 (a condition of ours)
_INDEXES = f"""
SELECT format('DROP INDEX %%s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = %s::regclass AND relname = ANY (%s) AND {_IS_PLAIN}
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""  # noqa: S608 (a condition of ours)
_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass"

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

# What may prevent the rows of a table from being deleted.
_KEEPERS = """
SELECT 'trigger ' || tgname FROM pg_trigger
WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 > 0
UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = %(table)s::regclass AND ev_type = '4'
UNION ALL SELECT 'publication ' || pubname FROM pg_publication_tables
JOIN pg_namespace ON nspname = schemaname
JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = tablename
WHERE pg_class.oid = %(table)s::regclass
ORDER BY 1
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


class Emptying(Content):
    """Empties tables, and drops the keys and indexes that make loading slow.

    Only those keys, unique constraints and indexes of taskdb are dropped that come back exactly as they
    were. What others added or depend on stays: a view, a foreign key or a publication may need it.
    """

    def __init__(self, connection: Connection, place: str) -> None:
        super().__init__(connection, place)
        self._truncated: set[str] = set()
        """The tables that were emptied by TRUNCATE in this transaction, so COPY may FREEZE their rows."""
        self._definitions: list[str] = []
        """The statements that make again what was dropped, which are to run in the opposite order."""

    def _require_privileges(self, tables: list[str]) -> None:
        """Raise TaskdbError, which says what to grant, if the role may not replace the rows of tables."""
        found = self.connection.exec_driver_sql(_MISSING_PRIVILEGES, {"tables": tables}).scalars().all()
        if found:
            [(role,)] = self._query("SELECT quote_ident(current_user)")
            raise TaskdbError(
                f"the role {role} may not replace the rows of {self.place}: it lacks {', '.join(found)}",
                "; ".join(f"GRANT {privilege} TO {role}" for privilege in found),
            )

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
            reason = exc.diag.message_primary
            raise Conflict(f"the rows of {self.place} cannot be replaced: {reason}", _ANOTHER_WAY) from exc

    def clear(self) -> None:
        """Also drop the keys, unique constraints and indexes that come back as they were."""
        self._truncated.clear()
        self._definitions.clear()
        # Children go first: a foreign key holds on to what it refers to.
        tables = [layout.table for layout in reversed(self.layouts)]
        for table in tables:
            self._drop(_CONSTRAINTS, table, ["f"])
        # A publication may need the primary key for each row that is deleted.
        for table in tables:
            self._empty(table)
        for table in tables:
            self._drop(_CONSTRAINTS, table, ["p", "u"])
            self._drop(_INDEXES, table)

    def _drop(self, query: str, table: str, *kinds: list[str]) -> None:
        for drop, definition in self._query(query, table, keys_and_indexes(table), *kinds):
            if self._attempt(drop) is None:
                self._definitions.append(definition)

    def _empty(self, table: str) -> None:
        """Delete the rows of a table; raise Conflict if something prevents that."""
        if self._attempt(f"TRUNCATE {table}") is None:
            [(partitioned,)] = self._query(_IS_PARTITIONED, table)
            if not partitioned:
                self._truncated.add(table)
            return
        # TRUNCATE refuses a table that another table refers to, even if that has no rows. DELETE does not.
        if not self._any(table):
            return
        refusal = self._attempt(f"DELETE FROM {table}")  # noqa: S608 (our own table)
        if refusal or self._any(table):
            keepers = ", ".join(self.connection.exec_driver_sql(_KEEPERS, {"table": table}).scalars())
            reason = (refusal and refusal.diag.message_primary) or "they are still there after DELETE"
            raise Conflict(
                f"the rows of {table} cannot be deleted: {reason}{f' ({keepers})' if keepers else ''}",
                _ANOTHER_WAY,
            ) from refusal

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
    def _raw(self) -> psycopg.Connection:
        return driver_connection(self.connection)


def _is_trouble(error: psycopg.Error) -> bool:
    """Return whether the error does not depend on the statement, such as a lost connection."""
    return error.sqlstate is None or error.sqlstate.startswith(_TROUBLE)
