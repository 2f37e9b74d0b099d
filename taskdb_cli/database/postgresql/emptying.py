"""How PostgreSQL's tables are emptied beside other applications that depend on them."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from taskdb_cli.database.content import keys_and_indexes
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.errors import Conflict, TaskdbError

ANOTHER_WAY = "nothing was changed; remove that, or restore into another database"

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
SELECT quote_ident(conname), pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint
LEFT JOIN pg_index ON contype IN ('p', 'u') AND indexrelid = conindid
LEFT JOIN pg_class ON pg_class.oid = indexrelid
WHERE conrelid = %s::regclass AND contype::text = ANY (%s) AND conname = ANY (%s) AND convalidated
  AND obj_description(pg_constraint.oid, 'pg_constraint') IS NULL AND (indexrelid IS NULL OR {_IS_PLAIN})
ORDER BY contype
"""  # noqa: S608 (a condition of ours)
_INDEXES = f"""
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
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


class Emptying:
    """Empties tables, drops the keys and indexes that make loading slow, and makes them again.

    Only those keys, unique constraints and indexes of taskdb are dropped that come back exactly as they
    were. What others added or depend on stays: a view, a foreign key or a publication may need it.
    """

    def __init__(self, connection: Connection) -> None:
        self.truncated: set[str] = set()
        """The tables that were emptied by TRUNCATE in this transaction, so COPY may FREEZE their rows."""
        self._connection = connection
        self._definitions: list[sql.SQL | sql.Composed] = []

    def require_privileges(self, tables: list[str], place: str) -> None:
        """Raise TaskdbError, which says what to grant, if the role may not replace the rows of tables."""
        found = self._connection.exec_driver_sql(_MISSING_PRIVILEGES, {"tables": tables}).scalars().all()
        if found:
            [(role,)] = self._query("SELECT quote_ident(current_user)")
            raise TaskdbError(
                f"the role {role} may not replace the rows of {place}: it lacks {', '.join(found)}",
                "; ".join(f"GRANT {privilege} TO {role}" for privilege in found),
            )

    def dependents(self) -> list[str]:
        """Return the tables of others that have rows which refer to ours, or that the role may not read."""
        found = self._query(_DEPENDENTS, sorted(OUR_TABLES))
        return sorted(
            {name for name, columns, readable in found if not (readable and not self._refers(name, columns))}
        )

    def _refers(self, table: str, columns: list[str]) -> bool:
        refers = " AND ".join(["true", *(f"{column} IS NOT NULL" for column in columns)])
        [(found,)] = self._query(f"SELECT EXISTS (SELECT FROM ONLY {table} WHERE {refers})")  # noqa: S608 (quoted)
        return bool(found)

    def empty(self, tables: list[str]) -> None:
        """Delete the rows of tables, children first; raise Conflict if something prevents that."""
        self.truncated.clear()
        self._definitions.clear()
        for table in tables:
            self._drop_constraints(table, ["f"])
        # A publication may need the primary key for each row that is deleted.
        for table in tables:
            self._empty(table)
        for table in tables:
            self._drop_constraints(table, ["p", "u"])
            self._drop_indexes(table)

    def put_back(self) -> None:
        """Make the dropped keys and indexes again, in the opposite order."""
        for definition in reversed(self._definitions):
            self._execute(definition)

    def _drop_constraints(self, table: str, kinds: list[str]) -> None:
        alter = sql.SQL("ALTER TABLE {} ").format(sql.Identifier(table))
        for name, definition in self._query(_CONSTRAINTS, table, kinds, keys_and_indexes(table)):
            if self.attempt(alter + sql.SQL(f"DROP CONSTRAINT {name}")) is None:
                self._definitions.append(alter + sql.SQL(f"ADD CONSTRAINT {name} {definition}"))

    def _drop_indexes(self, table: str) -> None:
        for name, definition in self._query(_INDEXES, table, keys_and_indexes(table)):
            if self.attempt(sql.SQL(f"DROP INDEX {name}")) is None:
                self._definitions.append(sql.SQL(definition))

    def _empty(self, table: str) -> None:
        if self.attempt(sql.SQL("TRUNCATE {}").format(sql.Identifier(table))) is None:
            [(partitioned,)] = self._query(_IS_PARTITIONED, table)
            if not partitioned:
                self.truncated.add(table)
            return
        # TRUNCATE refuses a table that another table refers to, even if that has no rows. DELETE does not.
        if self._is_empty(table):
            return
        refusal = self.attempt(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        if refusal or not self._is_empty(table):
            raise self._kept(table, refusal) from refusal

    def _is_empty(self, table: str) -> bool:
        [(found,)] = self._query(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608 (our own table)
        return not found

    def _kept(self, table: str, refusal: psycopg.Error | None) -> Conflict:
        found = self._connection.exec_driver_sql(_KEEPERS, {"table": table}).scalars()
        reason = (refusal.diag.message_primary if refusal else None) or "they are still there after DELETE"
        keepers = f" ({', '.join(found)})"
        return Conflict(
            f"the rows of {table} cannot be deleted: {reason}{keepers.replace(' ()', '')}", ANOTHER_WAY
        )

    def attempt(self, statement: sql.SQL | sql.Composed) -> psycopg.Error | None:
        """Execute a statement, or undo it and return the error if the server refuses it."""
        try:
            self._execute(sql.SQL("SAVEPOINT attempt; {}; RELEASE attempt").format(statement))
        except psycopg.Error as exc:
            if is_trouble(exc):
                raise
            self._execute(sql.SQL("ROLLBACK TO attempt; RELEASE attempt"))
            return exc
        return None

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        raw.execute(statement)

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.exec_driver_sql(statement, values).all()  # type: ignore[return-value]


def is_trouble(error: psycopg.Error) -> bool:
    """Return whether the error does not depend on the statement, such as a lost connection."""
    return error.sqlstate is None or error.sqlstate.startswith(_TROUBLE)
