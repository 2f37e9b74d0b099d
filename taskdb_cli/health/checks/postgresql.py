"""The checks of a PostgreSQL database, and what it answers the checks of both engines."""

from datetime import UTC, date, datetime
from functools import cached_property
from ipaddress import ip_address

from taskdb_cli.database.postgresql.connection import shut
from taskdb_cli.database.postgresql.errors import sqlstate
from taskdb_cli.database.schema import HISTORY_TABLES, OUR_TABLES
from taskdb_cli.errors import TaskdbError
from taskdb_cli.health.checks.standby import (
    check_replica,
    check_replica_backlog,
    check_replica_conflicts,
    check_replica_lag,
)
from taskdb_cli.health.examination import Examination, Identity
from taskdb_cli.health.report import Result, Status, Unmeasured, none_of
from taskdb_cli.models import metadata
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.text.amounts import in_one_size, in_one_unit, in_words

LAST_RELEASES = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""The day of the last release of each major version: https://www.postgresql.org/support/versioning/."""

__all__ = ["check_replica", "check_replica_backlog", "check_replica_conflicts", "check_replica_lag"]

COUNTED_BYTES = 8 * 1024 * 1024
"""The rows of a table up to this size are counted. For a larger one the planner's estimate is taken."""

_TABLES = ", ".join(f"to_regclass('{table}')" for table in sorted(OUR_TABLES))

# A replica is a role, a database, or a role in a database, with a setting that turns foreign keys off.
_CATALOG = f"""
WITH ours AS (SELECT oid, relname FROM pg_class WHERE oid IN ({_TABLES})),
triggers AS (
    SELECT DISTINCT conname, tgrelid::regclass::text AS relname
    FROM pg_trigger JOIN pg_constraint ON pg_constraint.oid = tgconstraint
    WHERE tgrelid IN (SELECT oid FROM ours) AND tgenabled NOT IN ('O', 'A')
),
replicas AS (
    SELECT concat_ws(
        ' IN ',
        CASE WHEN setrole <> 0 THEN 'ROLE ' || quote_ident(pg_get_userbyid(setrole))
             WHEN setdatabase = 0 THEN 'ROLE ALL' END,
        CASE WHEN setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END
    ) AS replica
    FROM pg_db_role_setting
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND EXISTS (SELECT FROM unnest(setconfig) AS line WHERE lower(line) = 'session_replication_role=replica')
)
SELECT 'hidden', relname, 'use a role with BYPASSRLS, or ALTER TABLE ... DISABLE ROW LEVEL SECURITY'
FROM ours WHERE row_security_active(oid)
UNION ALL
SELECT 'unvalidated', conname, 'ALTER TABLE ' || relname || ' VALIDATE CONSTRAINT ' || quote_ident(conname)
FROM pg_constraint JOIN ours ON ours.oid = conrelid WHERE NOT convalidated
UNION ALL
SELECT 'invalid', relname, 'REINDEX INDEX CONCURRENTLY ' || quote_ident(relname)
       || ', or DROP INDEX ' || quote_ident(relname) || ' if it is not taskdb''s'
FROM pg_index JOIN pg_class ON oid = indexrelid
WHERE indrelid IN (SELECT oid FROM ours) AND NOT (indisvalid AND indisready AND indislive)
AND relname NOT IN ('tasks_title_search', 'tasks_description_search')
UNION ALL
SELECT 'unenforced', 'the triggers of ' || conname || ' on ' || relname || ' are disabled',
       'ALTER TABLE ' || relname || ' ENABLE TRIGGER ALL'
FROM triggers
UNION ALL
SELECT 'unenforced', 'session_replication_role is replica for ' || replica,
       'ALTER ' || replica || ' RESET session_replication_role'
FROM replicas
UNION ALL
SELECT 'unenforced', 'session_replication_role is replica in this session',
       'reset session_replication_role in the server''s configuration or the database URL'
WHERE current_setting('session_replication_role') = 'replica' AND NOT EXISTS (SELECT FROM replicas)
ORDER BY 1, 2
"""

# A role sees <insufficient privilege> as the query of a session that it may not look at.
_TRANSACTIONS = """
SELECT coalesce(array_agg(pid ORDER BY {since}) FILTER (WHERE wanted), '{{}}'),
       coalesce(max(extract(epoch FROM clock_timestamp() - {since})) FILTER (WHERE wanted), 0)::float,
       count(*) FILTER (WHERE query = '<insufficient privilege>'), count(*) FILTER (WHERE state = 'disabled')
FROM (
    SELECT *, xact_start IS NOT NULL AND backend_type = 'client backend'
              AND starts_with(state, 'idle in transaction') = {idle} AS wanted
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
) AS sessions
"""


class PostgresqlExamination(Examination, on="postgresql"):
    """The look at a database on a server."""

    absent = "the server looks after its files"
    explain = "EXPLAIN"
    full_scan = "Seq Scan on tasks"
    vouches = True

    def set_time(self, seconds: float) -> None:
        """Limit the statements and their waits for locks until the end of the transaction.

        The server's own limits for transactions do not count: reading an archive may take longer.
        """
        limit = f"{max(1, round(seconds * 1000))}ms"
        self.ask(
            f"SELECT set_config('statement_timeout', '{limit}', true),"
            f" set_config('lock_timeout', '{limit}', true),"
            " (SELECT count(set_config(name, '0', true)) FROM pg_settings"
            " WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout'))"
        )

    def sever(self) -> None:
        """Shut the socket, which works even when nobody answers at its other end."""
        shut(self.raw)

    @cached_property
    def catalog(self) -> list[tuple[str, str, str]]:
        """What the server's catalog says against our tables."""
        return self.ask(_CATALOG)

    def identity(self, table: str) -> Identity:
        """Read the sequence itself, because the statistics do not know a sequence that was only set."""
        # The name with its schema is for people; in a statement the search path finds the sequence.
        sql = f"SELECT name, name::regclass::text FROM pg_get_serial_sequence('{table}', 'id') AS name"
        [(named, sequence)] = self.ask(sql)
        largest = f"SELECT coalesce(max(id), 0) FROM {table}"
        if sequence is None:
            [(highest,)] = self.ask(largest)
            remedy = f"ALTER TABLE {table} ALTER id ADD GENERATED ALWAYS AS IDENTITY (START {highest + 1})"
            return Identity(table, None, highest, MAX_ID, remedy)
        following = "last_value::numeric + CASE WHEN is_called THEN seqincrement ELSE 0 END"
        try:
            [(next, most, highest)] = self.ask(
                f"SELECT {following}, seqmax, ({largest}) FROM {sequence}, pg_sequence"
                f" WHERE seqrelid = '{sequence}'::regclass"
            )
        except TaskdbError as exc:
            if sqlstate(exc.__cause__) != "42501":
                raise
            raise Unmeasured("the role may not read it", f"GRANT SELECT ON SEQUENCE {named}") from exc
        escaped = named.replace("'", "''")
        remedy = f"SELECT setval('{escaped}', (SELECT max(id) FROM {table}))"
        return Identity(table, int(next), highest, most, remedy)

    def count_tasks(self) -> int:
        """Count the tasks of a small table, and take the planner's estimate for a large one."""
        sql = "SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = 'tasks'::regclass"
        [(size, tasks)] = self.ask(sql)
        if size <= COUNTED_BYTES:
            return super().count_tasks()
        if tasks < 0:
            raise Unmeasured("the server has no statistics of tasks", "ANALYZE tasks")
        return int(tasks)

    def history_bytes(self) -> int:
        """Ask for both tables with their indexes."""
        sizes = (f"pg_total_relation_size('{table}')" for table in HISTORY_TABLES)
        [(size,)] = self.ask(f"SELECT {' + '.join(sizes)}")
        return int(size)


def check_version(exam: Examination) -> Result:
    """Judge how long the version of the server will be supported. An unknown end is no alarm."""
    info = exam.raw.info
    name, major = f"PostgreSQL {info.parameter_status('server_version')}", info.server_version // 10_000
    # The support of versions that are older than the table ended before its first date.
    end = LAST_RELEASES.get(max(major, min(LAST_RELEASES)))
    if end is None:
        return Result(Status.OK, f"{name}; this version of taskdb does not know the end of its support")
    left = datetime(end.year, end.month, end.day, tzinfo=UTC) - exam.now
    words = "will be supported until" if left.days >= 0 else "has not been supported since"
    message = f"{name} {words} {end:%Y-%m-%d}"
    return exam.judged(left.total_seconds(), message, "upgrade the server to a newer major version")


def check_tls(exam: Examination) -> Result:
    """Demand that a connection to another machine is encrypted.

    The client's library knows: behind a pooler the server knows only the pooler's connection.
    """
    if exam.raw.pgconn.ssl_in_use:
        return Result(Status.OK, "the connection is encrypted", 1)
    # A socket of this machine has no address.
    address = exam.raw.info.hostaddr
    if not address or ip_address(address).is_loopback:
        return Result(Status.OK, "the connection is not encrypted, and stays on this machine", 0)
    message = "the connection to another machine is not encrypted"
    return Result(Status.WARNING, message, 0, remedy="write sslmode=require or verify-full into the URL")


def check_access(exam: Examination) -> Result:
    """Demand that the role sees every row, and that it may change all tables or none."""
    [(role,)] = exam.ask("SELECT current_user")
    if hidden := exam.faults("hidden"):
        return none_of(hidden, "", f"row level security hides rows from the role {role}")
    rights = exam.ask(
        "SELECT relname, has_table_privilege(oid, 'SELECT'), has_table_privilege(oid, 'INSERT')"
        " AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')"
        f" FROM pg_class WHERE oid IN ({_TABLES}) ORDER BY relname"
    )
    if unreadable := [name for name, readable, _ in rights if not readable]:
        faults = dict.fromkeys(unreadable, "GRANT SELECT on them to the role")
        return none_of(faults, "", f"the role {role} may not read")
    read_only = [name for name, _, writable in rights if not writable]
    found = [] if len(read_only) == len(OUR_TABLES) else read_only
    fine, bad = f"the role {role} sees every row", f"the role {role} may change some tables, but not"
    remedy = "GRANT INSERT, UPDATE, DELETE on them to the role, or revoke these on all tables"
    return none_of(dict.fromkeys(found, remedy), fine, bad, status=Status.WARNING)


def check_size(exam: Examination) -> Result:
    """Tell the size of the database and its tables; there is no limit unless one is set."""
    tables = [table.name for table in metadata().sorted_tables]
    parts = "".join(f", pg_total_relation_size('{table}')" for table in tables)
    [(whole, *sizes)] = exam.ask(f"SELECT pg_database_size(current_database()){parts}")
    named = zip(["the database has", *tables], [whole, *sizes], strict=True)
    message = "; ".join(f"{name} {in_one_size(bytes)}" for name, bytes in named)
    return exam.judged(whole, message, "archive or delete old tasks")


def check_connections(exam: Examination) -> Result:
    """Judge how many of the server's connections are in use, of all databases, in per cent."""
    # taskdb cannot use the slots that are reserved for superusers.
    [(used, most)] = exam.ask(
        "SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int, current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true)::int, 0)"
    )
    message = f"{used:,} of {most:,} connections are in use"
    return exam.judged(
        100 * used / most, message, "use a pooler, close idle sessions, or raise max_connections"
    )


def check_long_transactions(exam: Examination) -> Result:
    """Judge the age of the longest transaction at work. Vacuum can remove nothing newer."""
    return _judge_sessions(exam, "in a transaction", "xact_start")


def check_idle_in_transaction(exam: Examination) -> Result:
    """Judge for how long a session has left its transaction open without working."""
    return _judge_sessions(exam, "idle in a transaction", "state_change")


def _judge_sessions(exam: Examination, state: str, since: str) -> Result:
    """Judge the sessions of this database in a state; some roles do not see the sessions of others."""
    sql = _TRANSACTIONS.format(since=since, idle=state.startswith("idle"))
    [(pids, longest, hidden, untracked)] = exam.ask(sql)
    if exam.check.limits.judge(longest) is Status.OK:
        if hidden:
            remedy = "GRANT pg_read_all_stats TO the role of the database URL"
            raise Unmeasured(f"the role may not look at {in_words({'sessions': hidden})} of others", remedy)
        if untracked:
            sessions, they = in_words({"sessions": untracked}), "it does" if untracked == 1 else "they do"
            reason = f"track_activities is off in {sessions}: what {they} is not known"
            raise Unmeasured(reason, "turn track_activities on")
    if not pids:
        return exam.judged(longest, f"no session is {state}")
    sessions = f"{in_words({'sessions': len(pids)})} {'is' if len(pids) == 1 else 'are'}"
    message = f"{sessions} {state}, process {pids[0]} for {in_one_unit(longest)}"
    return exam.judged(longest, message, f"SELECT pg_terminate_backend({pids[0]})")


def check_blocked(exam: Examination) -> Result:
    """Judge for how long a session has been waiting for another one's lock."""
    # pg_locks knows row locks only by a transaction id, without a database: that comes from the session.
    [(number, longest, holders)] = exam.ask(
        "SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float,"
        " coalesce(array_agg((pg_blocking_pids(pid))[1]), '{}')"
        " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
    )
    if not number:
        return exam.judged(0, "no session waits for a lock")
    # There is no holder if the lock was released just now.
    holder = next((pid for pid in holders if pid), None)
    remedy = f"SELECT pg_terminate_backend({holder})" if holder else ""
    wait = f"{in_words({'sessions': number})} {'waits' if number == 1 else 'wait'} for a lock"
    return exam.judged(longest, f"{wait}, the longest for {in_one_unit(longest)}", remedy)
