"""The checks of a PostgreSQL database, which count rows only where they must."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, date, datetime
from ipaddress import ip_address
from typing import Any

import psycopg
from sqlalchemy import Connection, Select
from sqlalchemy.exc import DBAPIError

from taskdb_cli.database.plan import literal_sql
from taskdb_cli.database.postgresql.engine import steps
from taskdb_cli.database.postgresql.errors import sqlstate
from taskdb_cli.database.postgresql.session import identifier
from taskdb_cli.health.checks import common
from taskdb_cli.health.checks.common import (
    MB,
    Identity,
    broken_rules,
    judge_constraints,
    judge_identities,
    judge_ids_left,
    judge_indexes,
    judge_plans,
    judge_rules,
    lost_constraints,
    numbered_tables,
)
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import ENGINES, POSTGRESQL, Engine, check
from taskdb_cli.health.report import Limits, Result, Status, Unit, Unmeasured, judged, none_of
from taskdb_cli.models import metadata
from taskdb_cli.models.types import MAX_ID

LAST_RELEASES = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""The day of the final release of each major version of PostgreSQL, as of November 2026.

They stand at https://www.postgresql.org/support/versioning/; a major version is supported for five years.
"""

COUNTED_BYTES = 8 * 1024 * 1024
"""The rows of a table up to this size are counted. For a larger one the planner's estimate is taken."""

_NEVER_TOO_LONG = """
SELECT count(set_config(name, '0', true)) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
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
SELECT relname, has_table_privilege(oid, 'SELECT'),
       has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')
       AND has_table_privilege(oid, 'DELETE')
FROM pg_class WHERE {ours} ORDER BY relname
"""

# The slots that are reserved for superusers and the like are of no use to us.
_SLOTS = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)
"""

_HIDDEN = "<insufficient privilege>"
"""What pg_stat_activity shows as the query of a session that the role may not look at."""

_TRANSACTIONS = f"""
SELECT coalesce(array_agg(pid ORDER BY {{since}}) FILTER (WHERE wanted), '{{{{}}}}'),
       coalesce(max(extract(epoch FROM clock_timestamp() - {{since}})) FILTER (WHERE wanted), 0)::float,
       count(*) FILTER (WHERE query = '{_HIDDEN}'), count(*) FILTER (WHERE state = 'disabled')
FROM (
    SELECT *, xact_start IS NOT NULL AND backend_type = 'client backend'
              AND starts_with(state, 'idle in transaction') = {{idle}} AS wanted
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
) AS sessions
"""

# pg_locks knows row locks only by a transaction id, without a database: that comes from the session.
_BLOCKED = """
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float,
       coalesce(array_agg((pg_blocking_pids(pid))[1]), '{}')
FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()
"""


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def _set_time(connection: Connection, seconds: float) -> None:
    """Limit the statements and their waits for locks until the end of the transaction.

    The server's own limits for transactions do not count: reading an archive may take longer.
    """
    limit = f"{max(1, round(seconds * 1000))}ms"
    calls = (f"set_config('{name}_timeout', '{limit}', true)" for name in ("statement", "lock"))
    connection.exec_driver_sql(f"SELECT {', '.join(calls)}, ({_NEVER_TOO_LONG})")


def _sever(connection: Connection) -> None:
    """Shut the socket, which works even when nobody answers at its other end."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(_raw(connection).fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


ENGINES[POSTGRESQL] = Engine(absent="the server looks after its files", set_time=_set_time, sever=_sever)


def _one(exam: Examination, sql: str) -> tuple[Any, ...]:
    return tuple(exam.connection.exec_driver_sql(sql).one())


def _tables() -> list[str]:
    return [table.name for table in metadata().sorted_tables]


def _is_ours(column: str) -> str:
    tables = ", ".join(f"to_regclass('{table}')" for table in _tables())
    return f"{column} IN ({tables})"


@check("version", on=POSTGRESQL)
def version(exam: Examination) -> Result:
    """Judge how long the version of the server will be supported. An unknown end is no alarm."""
    info = _raw(exam.connection).info
    name, major = f"PostgreSQL {info.parameter_status('server_version')}", info.server_version // 10_000
    # The support of versions that are older than the table ended before its first date.
    end = LAST_RELEASES.get(max(major, min(LAST_RELEASES)))
    if end is None:
        return Result(Status.OK, f"{name}; this taskdb does not know until when it will be supported")
    left = datetime(end.year, end.month, end.day, tzinfo=UTC) - exam.now
    words = "will be supported until" if left.days >= 0 else "has not been supported since"
    return judged(
        left.total_seconds(),
        exam.thresholds.version,
        f"{name} {words} {end:%Y-%m-%d}",
        remedy="upgrade the server to a newer major version",
        unit=Unit.SECONDS,
    )


@check("tls", on=POSTGRESQL)
def tls(exam: Examination) -> Result:
    """Demand that a connection to another machine is encrypted.

    The client's library knows: behind a pooler the server knows only the pooler's connection.
    """
    raw = _raw(exam.connection)
    if raw.pgconn.ssl_in_use:
        return Result(Status.OK, "the connection is encrypted", 1)
    address = raw.info.hostaddr
    # A socket of this machine has no address.
    if not address or ip_address(address).is_loopback:
        return Result(Status.OK, "the connection is not encrypted, and stays on this machine", 0)
    message = "the connection to another machine is not encrypted"
    remedy = "write sslmode=require or verify-full into the URL"
    return Result(Status.WARNING, message, 0, remedy=remedy)


def _invalid_indexes(exam: Examination) -> list[str]:
    """Return what concurrent builds that failed have left behind."""
    found = exam.connection.exec_driver_sql(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE"
        f" {_is_ours('indrelid')} AND NOT (indisvalid AND indisready AND indislive) ORDER BY relname"
    )
    return list(found.scalars())


@check("drift", on=POSTGRESQL)
def drift(exam: Examination) -> Result:
    """Find other differences from the models; the check indexes names the invalid ones."""
    invalid = exam.once(_invalid_indexes)
    return common.drift(exam, [f"index {name} is not of taskdb" for name in invalid])


@check("indexes", on=POSTGRESQL)
def indexes(exam: Examination) -> Result:
    """Demand that every index is there, as the models say, and answers queries."""
    remedies = {}
    for name in exam.once(_invalid_indexes):
        quoted = identifier(name)
        remedies[name] = f"REINDEX INDEX CONCURRENTLY {quoted}, or DROP INDEX {quoted} if it is not taskdb's"
    return judge_indexes(exam, remedies)


def _hidden_tables(exam: Examination) -> list[str]:
    """Return the tables in which row level security may hide rows from the role."""
    sql = (
        f"SELECT relname FROM pg_class WHERE {_is_ours('oid')} AND row_security_active(oid) ORDER BY relname"
    )
    return list(exam.connection.exec_driver_sql(sql).scalars())


def _require_all_rows(exam: Examination) -> None:
    """Raise Unmeasured where row level security may hide rows: counting them would be wrong."""
    if tables := exam.once(_hidden_tables):
        raise Unmeasured(
            f"row level security hides rows of {' and '.join(tables)} from this role",
            "use a role with BYPASSRLS",
        )


@check("access", on=POSTGRESQL)
def access(exam: Examination) -> Result:
    """Demand that the role sees every row, and that it may change all tables or none."""
    [role] = _one(exam, "SELECT current_user")
    if hidden := exam.once(_hidden_tables):
        return none_of(
            hidden,
            "",
            f"row level security hides rows from the role {role}",
            remedy="use a role with BYPASSRLS, or ALTER TABLE … DISABLE ROW LEVEL SECURITY",
        )
    rights = exam.connection.exec_driver_sql(_ACCESS.format(ours=_is_ours("oid"))).all()
    if unreadable := [name for name, readable, _ in rights if not readable]:
        message = f"the role {role} may not read"
        return none_of(unreadable, "", message, remedy="GRANT SELECT on them to it")
    read_only = [name for name, _, writable in rights if not writable]
    return none_of(
        [] if len(read_only) == len(_tables()) else read_only,
        f"the role {role} sees every row",
        f"the role {role} may change some tables, but not",
        remedy="GRANT INSERT, UPDATE, DELETE on them to it, or on none",
        status=Status.WARNING,
    )


def _unvalidated(exam: Examination) -> dict[str, str]:
    """Return the constraints that were added as NOT VALID, and the table of each."""
    found = exam.connection.exec_driver_sql(
        "SELECT conname, relname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
        f" WHERE {_is_ours('conrelid')} AND NOT convalidated ORDER BY conname"
    )
    return {row[0]: row[1] for row in found}


def _unenforced(exam: Examination) -> dict[str, str]:
    """Return each reason why foreign keys are not checked when rows are written, with its remedy."""
    triggers = exam.connection.exec_driver_sql(_DISABLED_TRIGGERS.format(ours=_is_ours("tgrelid")))
    found = {
        f"the triggers of {constraint} on {table} are disabled": f"ALTER TABLE {table} ENABLE TRIGGER ALL"
        for constraint, table in triggers
    }
    replicas = list(exam.connection.exec_driver_sql(_REPLICAS).scalars())
    for who in replicas:
        remedy = f"ALTER {who} RESET session_replication_role"
        found[f"session_replication_role is replica for {who}"] = remedy
    [role] = _one(exam, "SELECT current_setting('session_replication_role')")
    if role == "replica" and not replicas:
        remedy = "reset session_replication_role in the server's configuration or the database URL"
        found["session_replication_role is replica in this session"] = remedy
    return found


@check("constraints", on=POSTGRESQL)
def constraints(exam: Examination) -> Result:
    """Demand that every constraint is there, is enforced, and was checked for older rows too."""
    unvalidated, unenforced = exam.once(_unvalidated), _unenforced(exam)
    lost = lost_constraints(exam)
    if unenforced:
        # The reasons already name constraints with disabled triggers.
        lost = [line for line in lost if "with disabled triggers, not" not in line]
    if unenforced or lost or not unvalidated:
        return judge_constraints([*unenforced, *lost], "; ".join(dict.fromkeys(unenforced.values())))
    return none_of(
        list(unvalidated),
        "",
        "older rows were never checked against these constraints",
        remedy="; ".join(
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {identifier(name)}"
            for name, table in unvalidated.items()
        ),
        status=Status.WARNING,
    )


@check("orphans", on=POSTGRESQL)
def orphans(exam: Examination) -> Result:
    """Count rows without their parent: triggers keep them out, and triggers can be turned off."""
    _require_all_rows(exam)
    return common.orphans(exam)


def _identities(exam: Examination) -> list[Identity]:
    _require_all_rows(exam)
    return [_identity(exam, table) for table in numbered_tables()]


def _identity(exam: Examination, table: str) -> Identity:
    """Read the sequence itself, because the statistics do not know a sequence that was only set."""
    # The name with its schema is for people; in a statement the search path finds the sequence.
    named, sequence = _one(
        exam, f"SELECT name, name::regclass::text FROM pg_get_serial_sequence('{table}', 'id') AS name"
    )
    if sequence is None:
        [highest] = _one(exam, f"SELECT coalesce(max(id), 0) FROM {table}")
        remedy = f"ALTER TABLE {table} ALTER id ADD GENERATED ALWAYS AS IDENTITY (START {highest + 1})"
        return Identity(table, None, highest, MAX_ID, remedy)
    try:
        following, most, highest = _one(
            exam,
            "SELECT last_value::numeric + CASE WHEN is_called THEN seqincrement ELSE 0 END, seqmax,"
            f" (SELECT coalesce(max(id), 0) FROM {table})"
            f" FROM {sequence}, pg_sequence WHERE seqrelid = '{sequence}'::regclass",
        )
    except DBAPIError as exc:
        if sqlstate(exc) != "42501":
            raise
        raise Unmeasured("the role may not read it", f"GRANT SELECT ON SEQUENCE {named}") from exc
    escaped = named.replace("'", "''")
    remedy = f"SELECT setval('{escaped}', (SELECT max(id) FROM {table}))"
    return Identity(table, int(following), highest, most, remedy)


@check("identity", on=POSTGRESQL)
def identity(exam: Examination) -> Result:
    """Demand that each table has a next id, and that it is above the highest id in the table."""
    return judge_identities(exam.once(_identities))


@check("identity_left", on=POSTGRESQL)
def identity_left(exam: Examination) -> Result:
    """Judge how many of the possible ids are left, in per cent."""
    return judge_ids_left(exam.once(_identities), exam.thresholds.identity_left)


@check("rules", on=POSTGRESQL)
def rules(exam: Examination) -> Result:
    """Look for rows that break a rule for which the server does not vouch."""
    _require_all_rows(exam)
    return judge_rules(list(broken_rules(exam, unvalidated=exam.once(_unvalidated), vouches=True)))


@check("connections", on=POSTGRESQL)
def connections(exam: Examination) -> Result:
    """Judge how many of the server's connections are in use, of all databases, in per cent."""
    used, most = _one(exam, _SLOTS)
    return judged(
        100 * used / most,
        exam.thresholds.connections,
        f"{used} of {most} connections are in use",
        remedy="use a pooler, close what idles, or raise max_connections",
        unit=Unit.PERCENT,
    )


@check("long_transactions", on=POSTGRESQL)
def long_transactions(exam: Examination) -> Result:
    """Judge the age of the longest transaction at work. Vacuum can remove nothing newer."""
    return _judge_sessions(exam, "in a transaction", "xact_start", exam.thresholds.long_transactions)


@check("idle_in_transaction", on=POSTGRESQL)
def idle_in_transaction(exam: Examination) -> Result:
    """Judge for how long a session has left its transaction open without working."""
    return _judge_sessions(exam, "idle in a transaction", "state_change", exam.thresholds.idle_in_transaction)


def _judge_sessions(exam: Examination, state: str, since: str, limits: Limits) -> Result:
    """Judge the sessions of this database in a state; some roles do not see the sessions of others."""
    idle = state.startswith("idle")
    pids, longest, hidden, untracked = _one(exam, _TRANSACTIONS.format(since=since, idle=idle))
    if limits.judge(longest) is Status.OK:
        if hidden:
            raise Unmeasured(
                f"the role may not look at {hidden} sessions of others",
                "GRANT pg_read_all_stats TO the role of the database URL",
            )
        if untracked:
            raise Unmeasured(
                f"track_activities is off in {untracked} sessions: nobody knows what they do",
                "turn track_activities on",
            )
    if not pids:
        return judged(longest, limits, f"no session is {state}", unit=Unit.SECONDS)
    message = f"{len(pids)} sessions are {state}, process {pids[0]} for {longest:.0f} s"
    remedy = f"SELECT pg_terminate_backend({pids[0]})"
    return judged(longest, limits, message, remedy=remedy, unit=Unit.SECONDS)


@check("blocked", on=POSTGRESQL)
def blocked(exam: Examination) -> Result:
    """Judge for how long a session has been waiting for another one's lock."""
    number, longest, holders = _one(exam, _BLOCKED)
    # There is none if the lock was released just now.
    holder = next((pid for pid in holders if pid), None)
    return judged(
        longest,
        exam.thresholds.blocked,
        f"{number} sessions wait for a lock, one for {longest:.0f} s"
        if number
        else "no session waits for a lock",
        remedy=f"SELECT pg_terminate_backend({holder})" if holder else "",
        unit=Unit.SECONDS,
    )


@check("size", on=POSTGRESQL)
def size(exam: Examination) -> Result:
    """Tell the size of the database and of its tables; there is no limit unless one is set."""
    tables = _tables()
    parts = "".join(f", pg_total_relation_size('{table}')" for table in tables)
    whole, *sizes = _one(exam, f"SELECT pg_database_size(current_database()){parts}")
    words = [f"{table} {bytes / MB:,.1f} MB" for table, bytes in zip(tables, sizes, strict=True)]
    message = "; ".join([f"the database has {whole / MB:,.1f} MB", *words])
    remedy = "archive or delete old tasks"
    return judged(whole, exam.thresholds.size, message, remedy=remedy, unit=Unit.BYTES)


@check("plans", on=POSTGRESQL)
def plans(exam: Examination) -> Result:
    """Look for a sequential scan in the plans of the usual lists."""
    _require_all_rows(exam)
    size, tasks = _one(
        exam,
        "SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = 'tasks'::regclass",
    )
    if size <= COUNTED_BYTES:
        [tasks] = _one(exam, "SELECT count(*) FROM tasks")
    elif tasks < 0:
        raise Unmeasured("the server has no statistics of tasks", "ANALYZE tasks")

    def reads_all(query: Select[Any]) -> bool:
        [[plan]] = _one(exam, f"EXPLAIN (FORMAT JSON) {literal_sql(exam.connection, query)}")
        return any(
            step["Node Type"] == "Seq Scan" and step["Relation Name"] == "tasks"
            for step in steps(plan["Plan"])
        )

    return judge_plans(exam, tasks, reads_all)
