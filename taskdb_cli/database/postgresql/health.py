"""How the health of a PostgreSQL database is measured."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address
from typing import Any

import psycopg
from sqlalchemy import Connection, Select
from sqlalchemy.sql.schema import Table

from taskdb_cli.database.health import (
    Access,
    Encryption,
    Identity,
    NotMeasured,
    Orphans,
    Sessions,
    Sizes,
    Slots,
    Space,
    Version,
    foreign_keys,
    numbered_tables,
    our_tables,
)
from taskdb_cli.database.plan import literal_sql
from taskdb_cli.database.postgresql.engine import steps
from taskdb_cli.database.postgresql.session import identifier
from taskdb_cli.models.types import MAX_ID

COUNTED_BYTES = 8 * 1024 * 1024
"""The rows of a table up to this size are counted; of a larger one the planner's estimate must do."""

_ON_A_SERVER = "the server looks after its files"

_HIDDEN = "<insufficient privilege>"
"""What pg_stat_activity shows as the query of a session that the role may not look at."""

_TRANSACTIONS = f"""
SELECT coalesce(array_agg(pid ORDER BY {{since}}) FILTER (WHERE wanted), '{{{{}}}}'),
       coalesce(max(extract(epoch FROM clock_timestamp() - {{since}})) FILTER (WHERE wanted), 0),
       count(*) FILTER (WHERE query = '{_HIDDEN}'), count(*) FILTER (WHERE state = 'disabled')
FROM (
    SELECT *, xact_start IS NOT NULL AND backend_type = 'client backend'
              AND starts_with(state, 'idle in transaction') = {{idle}} AS wanted
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
) AS sessions
"""

_NEVER_TOO_LONG = """
SELECT count(set_config(name, '0', true)) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""

# pg_locks knows row locks only by a transaction id, without a database: that comes from the session.
_BLOCKED = """
SELECT coalesce(array_agg(pid), '{}'), coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0),
       coalesce(array_agg((pg_blocking_pids(pid))[1]), '{}')
FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()
"""

# Those kept back for superusers and the like are no use to us.
_SLOTS = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)
"""


_DISABLED_TRIGGERS = """
SELECT DISTINCT conname, tgrelid::regclass::text FROM pg_trigger JOIN pg_constraint
ON pg_constraint.oid = tgconstraint WHERE {ours} AND tgenabled NOT IN ('O', 'A') ORDER BY 1, 2
"""

# A setting of a role, of a database, or of a role in a database.
_REPLICAS = """
SELECT concat_ws(
    ' IN ',
    CASE WHEN setrole <> 0 THEN 'ROLE ' || quote_ident(pg_get_userbyid(setrole))
         WHEN setdatabase = 0 THEN 'ROLE ALL' END,
    CASE WHEN setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END
)
FROM pg_db_role_setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
AND EXISTS (SELECT FROM unnest(setconfig) AS line WHERE lower(line) = 'session_replication_role=replica')
"""

_ACCESS = """
SELECT relname, row_security_active(oid), has_table_privilege(oid, 'SELECT'),
       has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')
       AND has_table_privilege(oid, 'DELETE')
FROM pg_class WHERE {ours} ORDER BY relname
"""


class PostgreSQLProbe:
    """Asks the catalogs and the statistics of the server, and counts rows only where it must."""

    vouches = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        self._raw = raw

    def version(self) -> Version:
        """Return what the server says of itself."""
        number = self._raw.info.server_version
        return Version(f"PostgreSQL {self._raw.info.parameter_status('server_version')}", number // 10_000)

    def encryption(self) -> Encryption:
        """Ask the client's library: behind a pooler the server knows only of the pooler's connection."""
        address = self._raw.info.hostaddr
        # A socket of this machine has no address.
        return Encryption(bool(self._raw.pgconn.ssl_in_use), not address or ip_address(address).is_loopback)

    def unvalidated(self) -> dict[str, str]:
        """Return the constraints that were added as NOT VALID."""
        found = self._connection.exec_driver_sql(
            "SELECT conname, relname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
            f" WHERE {_is_ours('conrelid')} AND NOT convalidated ORDER BY conname"
        )
        return {row[0]: row[1] for row in found}

    def unenforced(self) -> dict[str, str]:
        """Look for triggers that are disabled, and for sessions in which they do not fire."""
        triggers = self._connection.exec_driver_sql(_DISABLED_TRIGGERS.format(ours=_is_ours("tgrelid")))
        found = {
            f"the triggers of {constraint} on {table} are disabled": f"ALTER TABLE {table} ENABLE TRIGGER ALL"
            for constraint, table in triggers
        }
        replicas = list(self._connection.exec_driver_sql(_REPLICAS).scalars())
        for who in replicas:
            remedy = f"ALTER {who} RESET session_replication_role"
            found[f"session_replication_role is replica for {who}"] = remedy
        [role] = self._one("SELECT current_setting('session_replication_role')")
        if role == "replica" and not replicas:
            remedy = "reset session_replication_role in the server's configuration or the database URL"
            found["session_replication_role is replica in this session"] = remedy
        return found

    def access(self) -> Access:
        """Ask for the rights of the role, and whether policies apply to it."""
        return self._access

    @cached_property
    def _access(self) -> Access:
        [role] = self._one("SELECT current_user")
        rows = self._connection.exec_driver_sql(_ACCESS.format(ours=_is_ours("oid"))).all()
        return Access(
            role,
            filtered=[name for name, filtered, _, _ in rows if filtered],
            unreadable=[name for name, _, readable, _ in rows if not readable],
            read_only=[name for name, _, readable, writable in rows if readable and not writable],
        )

    def require_all_rows(self) -> None:
        """Raise NotMeasured where row level security applies to the role."""
        if tables := self._access.filtered:
            raise NotMeasured(
                f"row level security hides rows of {' and '.join(tables)} from this role",
                "use a role with BYPASSRLS",
            )

    def how_to_validate(self, table: str, constraint: str) -> str:
        """Name the statement that also finds a row in the way."""
        return f"ALTER TABLE {table} VALIDATE CONSTRAINT {identifier(constraint)}"

    def invalid_indexes(self) -> list[str]:
        """Return what a concurrent build that failed has left behind."""
        found = self._connection.exec_driver_sql(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE"
            f" {_is_ours('indrelid')} AND NOT (indisvalid AND indisready AND indislive) ORDER BY relname"
        )
        return list(found.scalars())

    def how_to_rebuild(self, index: str) -> str:
        """Name the statement that lets others write meanwhile."""
        name = identifier(index)
        return f"REINDEX INDEX CONCURRENTLY {name}, or DROP INDEX {name} if it is not taskdb's"

    def orphans(self) -> list[Orphans]:
        """Count rows without their parent: triggers keep them out, and triggers can be turned off."""
        self.require_all_rows()
        return [
            Orphans(table, column, parent, self._one(_orphans(table, column, parent))[0])
            for table, column, parent in foreign_keys()
        ]

    def identities(self) -> list[Identity]:
        """Read the sequences themselves, because the statistics do not know one that was only set."""
        self.require_all_rows()
        return [self._identity(table) for table in numbered_tables()]

    def _identity(self, table: str) -> Identity:
        # The name with its schema is for people; in a statement the search path finds the sequence.
        named, sequence = self._one(
            f"SELECT name, name::regclass::text FROM pg_get_serial_sequence('{table}', 'id') AS name"
        )
        if sequence is None:
            [highest] = self._one(f"SELECT coalesce(max(id), 0) FROM {table}")
            remedy = f"ALTER TABLE {table} ALTER id ADD GENERATED ALWAYS AS IDENTITY (START {highest + 1})"
            return Identity(table, None, highest, MAX_ID, collides=True, remedy=remedy)
        try:
            found = self._one(
                "SELECT last_value::numeric + CASE WHEN is_called THEN seqincrement ELSE 0 END, seqmax,"
                f" (SELECT coalesce(max(id), 0) FROM {table})"
                f" FROM {sequence}, pg_sequence WHERE seqrelid = '{sequence}'::regclass"
            )
        except Exception as exc:
            raise _hidden_or(exc, f"GRANT SELECT ON SEQUENCE {named}") from exc
        escaped = named.replace("'", "''")
        remedy = f"SELECT setval('{escaped}', (SELECT max(id) FROM {table}))"
        return Identity(table, int(found[0]), found[2], found[1], collides=True, remedy=remedy)

    def broken_rows(self) -> list[str]:
        """Leave it to the constraints: a server has no other check of its own."""
        return []

    def slots(self) -> Slots:
        """Count the server's sessions, of all databases."""
        used, most = self._one(_SLOTS)
        return Slots(used, most)

    def transactions(self, *, idle: bool) -> Sessions:
        """Ask the server's activity, which shows the sessions of other roles to some only."""
        since = "state_change" if idle else "xact_start"
        pids, longest, hidden, untracked = self._one(_TRANSACTIONS.format(since=since, idle=idle))
        return Sessions(pids, float(longest), hidden, untracked=untracked)

    def how_to_end(self, pid: int) -> str:
        """Name the function that ends it."""
        return f"SELECT pg_terminate_backend({pid})"

    def blocked(self) -> Sessions:
        """Ask the lock table, which everybody may read."""
        pids, longest, holders = self._one(_BLOCKED)
        return Sessions(pids, float(longest), holders=holders)

    def sizes(self) -> Sizes:
        """Ask for the files' sizes."""
        tables = our_tables()
        parts = "".join(f", pg_total_relation_size('{table}')" for table in tables)
        database, *sizes = self._one(f"SELECT pg_database_size(current_database()){parts}")
        return Sizes(database, dict(zip(tables, sizes, strict=True)))

    def rows(self, table: str) -> int:
        """Count a small table; raise NotMeasured for a large one that has never been analysed."""
        self.require_all_rows()
        size, estimate = self._one(
            f"SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = '{table}'::regclass"
        )
        if size <= COUNTED_BYTES:
            return int(self._one(f"SELECT count(*) FROM {table}")[0])
        if estimate < 0:
            raise NotMeasured(f"the server has no statistics of {table}", f"ANALYZE {table}")
        return int(estimate)

    def damage(self) -> list[str]:
        """Not measured: amcheck needs an extension and a superuser."""
        raise NotMeasured(_ON_A_SERVER)

    def journal_mode(self) -> str:
        """Not measured."""
        raise NotMeasured(_ON_A_SERVER)

    def writable_by_others(self) -> list[str]:
        """Not measured."""
        raise NotMeasured(_ON_A_SERVER)

    def disk(self) -> Space:
        """Not measured: a server does not tell."""
        raise NotMeasured(_ON_A_SERVER)

    def reads_everything(self, query: Select[Any], table: Table) -> bool:
        """Look for a sequential scan in the plan."""
        [plan] = self._one(f"EXPLAIN (FORMAT JSON) {literal_sql(self._connection, query)}")[0]
        return any(
            step["Node Type"] == "Seq Scan" and step["Relation Name"] == table.name
            for step in steps(plan["Plan"])
        )

    def set_time(self, seconds: float) -> None:
        """Limit the statements and their waits for locks until the end of the transaction.

        The server's own limits for transactions do not count: reading an archive may take longer.
        """
        limit = f"{max(1, round(seconds * 1000))}ms"
        calls = (f"set_config('{name}_timeout', '{limit}', true)" for name in ("statement", "lock"))
        self._one(f"SELECT {', '.join(calls)}, ({_NEVER_TOO_LONG})")

    def sever(self) -> None:
        """Shut the socket, which works even when nobody answers at its other end."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._raw.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    def _one(self, sql: str) -> tuple[Any, ...]:
        return tuple(self._connection.exec_driver_sql(sql).one())


def _is_ours(column: str) -> str:
    tables = ", ".join(f"to_regclass('{table}')" for table in our_tables())
    return f"{column} IN ({tables})"


def _orphans(table: str, column: str, parent: str) -> str:
    return (
        f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL"
        f" AND NOT EXISTS (SELECT 1 FROM {parent} WHERE {parent}.id = {table}.{column})"
    )


def _hidden_or(error: Exception, remedy: str) -> Exception:
    denied = getattr(getattr(error, "orig", None), "sqlstate", None) == "42501"
    return NotMeasured("the role may not read it", remedy) if denied else error
