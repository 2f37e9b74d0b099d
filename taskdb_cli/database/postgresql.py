"""Everything that only PostgreSQL knows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar

import psycopg
from psycopg import sql
from sqlalchemy import URL, Connection, Engine, NullPool, Select, create_engine, event
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql.schema import Table

from taskdb_cli.database import postgresql_rules  # noqa: F401 (registers itself with SQLAlchemy)
from taskdb_cli.database.options import Options
from taskdb_cli.database.plan import Plan, literal_sql
from taskdb_cli.database.watch import watching
from taskdb_cli.errors import (
    Conflict,
    ConnectionFailed,
    ConnectionLost,
    DatabaseUnavailable,
    DataCorrupt,
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    StorageFailed,
    TaskdbError,
    TransactionConflict,
)

MIGRATION_LOCK = 0x7461736B6462
"""The advisory lock that whoever migrates holds: "taskdb" in ASCII."""

_LATER = "try again later"

POOL_RECYCLE = 240
"""Seconds after which a pooled connection is replaced: Neon suspends an idle compute after 300."""

FUTURE_TRANSACTION = "22023"
"""What the server answers about a transaction id that it has not given out, as far as it remembers."""

_PASSING_REFUSALS = (
    "starting up",
    "shutting down",
    "recovery",
    "too many clients",
    "remaining connection slots",
    "too many connections",
    "no more connections allowed",
)

MIGRATION_WAIT = 60.0
"""Seconds to wait for somebody else's migration."""

MIGRATION_POLL = 0.1
"""Seconds between two looks at whether it is over."""

# The classes and codes are those of PostgreSQL's documentation, appendix A.
_BY_SQLSTATE: dict[str, tuple[type[TaskdbError], str]] = {
    "08": (ConnectionLost, _LATER),
    "57P": (ConnectionLost, _LATER),
    "25P03": (ConnectionLost, _LATER),
    "57014": (
        DatabaseUnavailable,
        "the statement took too long: raise TASKDB_STATEMENT_TIMEOUT, or " + _LATER,
    ),
    "55P03": (TransactionConflict, "another session holds the lock: " + _LATER),
    "40": (TransactionConflict, "another transaction was in the way: " + _LATER),
    "53100": (StorageFailed, "make room on the server's disk"),
    "25006": (StorageFailed, "connect to the primary server, or to a role that may write"),
    "42501": (TaskdbError, "grant the role of the database URL what it needs"),
    "23505": (Conflict, ""),
    "23503": (NotFound, ""),
    "23": (InvalidInput, ""),
    "22": (InvalidInput, ""),
    "XX001": (DataCorrupt, "restore the database from a backup"),
    "XX002": (DataCorrupt, "rebuild the index, or restore the database from a backup"),
}


class PostgreSQL:
    """A database on a server."""

    dialect = "postgresql"
    # All statements of a listing see one snapshot; a transaction that only reads cannot fail for it.
    read_options: ClassVar[Mapping[str, Any]] = {
        "postgresql_readonly": True,
        "isolation_level": "REPEATABLE READ",
    }
    write_options: ClassVar[Mapping[str, Any]] = {}
    error_types: tuple[type[Exception], ...] = (DBAPIError, PoolTimeoutError, psycopg.Error)

    def __init__(self, url: URL, options: Options) -> None:
        self.url = url
        self.options = options
        host = url.query.get("host") or url.host or "the local socket"
        self.server = f"{host}:{url.query.get('port') or url.port or 5432}"
        self.place = f"{self.server}/{url.database or ''}"
        self._local = is_local(url)
        self._connected_before = False

    def create_engine(self) -> Engine:
        """Return an engine whose transactions are in UTC, as psycopg needs to read the year 1."""
        engine = create_engine(
            self.url, hide_parameters=True, connect_args=self._connect_arguments(), **self._pooling()
        )
        event.listen(engine, "connect", self._note_connected)
        if self.options.pooled:
            event.listen(engine, "begin", self._set_locally)
        return engine

    def _connect_arguments(self) -> dict[str, Any]:
        # What the URL itself says goes before the settings.
        arguments: dict[str, Any] = {
            "connect_timeout": self.url.query.get("connect_timeout", self.options.connect_timeout),
            "fallback_application_name": "taskdb",
            # A prepared statement may get a generic plan, which reads far more than its own would;
            # and a pooler would hand it to a session that does not know it.
            "prepare_threshold": None,
        }
        if not self._local and not self._says_how_to_encrypt():
            arguments["sslmode"] = "require"
        if not self.options.pooled:
            given = self.url.query.get("options", ())
            settings = [f"-c {name}={value}" for name, value in self._session_settings().items()]
            arguments["options"] = " ".join([*([given] if isinstance(given, str) else given), *settings])
        return arguments

    def _says_how_to_encrypt(self) -> bool:
        # With the system's roots libpq checks the host's name by itself, and refuses any weaker mode.
        roots = self.url.query.get("sslrootcert", os.environ.get("PGSSLROOTCERT"))
        return "sslmode" in self.url.query or "PGSSLMODE" in os.environ or roots == "system"

    def _pooling(self) -> dict[str, Any]:
        # Looking for the hstore extension would cost a query for each connection.
        arguments: dict[str, Any] = {"use_native_hstore": False}
        if (pool := self.options.pool) is None:
            return arguments | {"poolclass": NullPool}
        return arguments | {
            "pool_size": pool.size,
            "max_overflow": pool.overflow,
            "pool_timeout": pool.timeout,
            "pool_pre_ping": True,
            "pool_recycle": POOL_RECYCLE,
        }

    def _session_settings(self) -> dict[str, str]:
        return {
            "TimeZone": "UTC",
            "statement_timeout": f"{self.options.statement_timeout}s",
            "lock_timeout": f"{self.options.lock_timeout}s",
        }

    def _set_locally(self, connection: Connection) -> None:
        # In a pooler's session a setting lasts for the transaction only; one statement sets them all.
        settings = self._session_settings()
        calls = ", ".join("set_config(%s, %s, true)" for _ in settings)
        connection.exec_driver_sql(f"SELECT {calls}", tuple(chain(*settings.items())))

    def _note_connected(self, *_: Any) -> None:
        self._connected_before = True

    def require(self) -> None:
        """Leave it to the server to say that a database is missing."""

    def create(self) -> bool:
        """Leave it to the server's owner to make a database."""
        return False

    def translate(self, error: Exception) -> TaskdbError:
        """Classify by SQLSTATE; an error without one comes from the connection itself."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None)
        if state is None:
            return self._translate_lost(cause)
        family, hint = next(
            (_BY_SQLSTATE[key] for key in (state, state[:3], state[:2]) if key in _BY_SQLSTATE),
            (TaskdbError, ""),
        )
        diagnosis = getattr(cause, "diag", None)
        text = getattr(diagnosis, "message_primary", None) or str(cause)
        return family(f"PostgreSQL at {self.place}: {_first_line(text)}", hint)

    def _translate_lost(self, cause: BaseException | None) -> TaskdbError:
        if isinstance(cause, psycopg.ProgrammingError):
            return TaskdbError(f"PostgreSQL at {self.place}: {_first_line(str(cause))}")
        reason = _first_line(str(cause)).removesuffix(".")
        return ConnectionLost(f"the connection to PostgreSQL at {self.place} broke: {reason}", _LATER)

    def translate_connecting(self, error: Exception) -> TaskdbError:
        """Say why there is no connection, and whether there may be one soon.

        The server's own words decide, because libpq gives no SQLSTATE for a connection that failed.
        """
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, PoolTimeoutError) and self.options.pool:
            return self.options.pool.exhausted(self.place)
        reason = _first_line(str(cause)).removesuffix(".")
        if isinstance(cause, psycopg.ProgrammingError):
            return InvalidConfiguration(f"the database URL is not usable: {reason}", "check its parameters")
        # libpq repeats the address in front of the reason.
        reason = reason.rpartition(" failed: ")[2].removeprefix("connection failed: ")
        return ConnectionFailed(
            f"cannot connect to PostgreSQL at {self.place}: {reason}",
            "check that the server runs and that the database URL is right",
            passing=self._may_connect_soon(reason),
            cost=self.options.connect_timeout if "timeout" in reason else 0,
        )

    def _may_connect_soon(self, reason: str) -> bool:
        if "FATAL" in reason:
            return any(words in reason for words in _PASSING_REFUSALS)
        # Nobody at a local address at all is a server that is not there, unless it was a moment ago.
        return not self._local or self._connected_before

    def transaction_id(self, connection: Connection) -> str | None:
        """Return the transaction's id, which the server remembers for a long while."""
        return connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()::text").scalar()

    def is_committed(self, connection: Connection, transaction: str) -> bool:
        """Ask the server, which may not have noticed yet that the other session is gone."""
        try:
            status = connection.exec_driver_sql("SELECT pg_xact_status(%s::xid8)", (transaction,)).scalar()
        except DBAPIError as exc:
            if getattr(exc.orig, "sqlstate", None) != FUTURE_TRANSACTION:
                raise
            # It crashed before anything of the transaction was on its disk.
            return False
        if status in ("committed", "aborted"):
            return bool(status == "committed")
        if status is None:
            raise DatabaseUnavailable(f"{self.place} no longer knows transaction {transaction}")
        raise TransactionConflict(f"transaction {transaction} is still running on {self.place}", _LATER)

    def how_to_ask(self, transaction: str) -> str:
        """Name the query that the server answers."""
        return f"ask the server with: SELECT pg_xact_status('{transaction}')"

    def violated_constraint(self, error: BaseException | None) -> str:
        """Return the name that the server gives with the error."""
        return getattr(getattr(error, "diag", None), "constraint_name", None) or ""

    def is_schema_fault(self, error: Exception) -> bool:
        """Recognize an undefined table, column or schema."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return getattr(cause, "sqlstate", None) in ("42P01", "42703", "3F000")

    def bulk_insert(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert by COPY."""
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with (
            watching(statement.as_string(raw), self.options.slow_query_ms),
            raw.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def lock_table(self, connection: Connection, table: Table) -> None:
        """Take the lock that writers wait for, but not those who only lock rows."""
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")

    def explain(self, connection: Connection, query: Select[Any]) -> Plan:
        """Run the query under EXPLAIN ANALYZE, which counts the rows of each step."""
        sql = literal_sql(connection, query)
        [measured] = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"
        ).scalar_one()
        lines = tuple(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())
        steps = list(_steps(measured["Plan"]))
        sorts = [step for step in steps if step["Node Type"] in ("Sort", "Incremental Sort")]
        rows = sum(child["Actual Rows"] * child["Actual Loops"] for step in sorts for child in step["Plans"])
        reached = tuple(_reached(step) for step in steps if "Relation Name" in step or "Index Name" in step)
        return Plan(sql.replace("%%", "%"), lines, reached, round(rows) if sorts else None)

    @contextmanager
    def migration(self, connect: Callable[[], Connection]) -> Iterator[tuple[Connection, Connection]]:
        """Hold an advisory lock, by a session of its own, while each revision commits by itself.

        A statement may take as long as it needs: building an index of a large table does.
        """
        with connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
            self._lock_migrations(guard)
            with connect() as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.commit()
                yield connection, guard
                connection.commit()

    def _lock_migrations(self, guard: Connection) -> None:
        # Asked for again and again: a session that waits for the lock inside a statement holds a
        # snapshot, for which a concurrent index build of whoever has the lock would wait in turn.
        deadline = time.monotonic() + MIGRATION_WAIT
        while not guard.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (MIGRATION_LOCK,)).scalar():
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"somebody else is migrating {self.place}", _LATER)
            time.sleep(MIGRATION_POLL)

    @contextmanager
    def scratch(self, connection: Connection) -> Iterator[tuple[Connection, str | None]]:
        """Build in the session's temporary schema, in a transaction that is rolled back."""
        with connection.begin_nested() as nested:
            connection.exec_driver_sql("SET LOCAL search_path = pg_temp")
            connection.exec_driver_sql("CREATE TEMPORARY TABLE taskdb_scratch () ON COMMIT DROP")
            schema = connection.exec_driver_sql(
                "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()"
            ).scalar_one()
            yield connection, schema
            nested.rollback()

    def table_facts(self, connection: Connection, table: str) -> str:
        """Describe a table by nothing more: it has no options that matter."""
        return "there"

    def column_facts(self, column: ReflectedColumn) -> str:
        """Describe a column by its type, collation, nullability, default and identity."""
        collation = getattr(column["type"], "collation", None)
        identity = column.get("identity")
        return " ".join(
            [
                str(column["type"]),
                f"COLLATE {collation}" if collation else "",
                "" if column["nullable"] else "NOT NULL",
                f"DEFAULT {column['default']}" if column["default"] else "",
                f"IDENTITY {'ALWAYS' if identity['always'] else 'BY DEFAULT'}" if identity else "",
            ]
        )


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _steps(child)


def _reached(step: dict[str, Any]) -> str:
    if index := step.get("Index Name"):
        return f"{step.get('Relation Name', 'bitmap')}: index {index}"
    found = "rows of the bitmap" if step["Node Type"] == "Bitmap Heap Scan" else "every row"
    return f"{step['Relation Name']}: {found}"


def is_local(url: URL) -> bool:
    """Return whether all hosts of a URL, or those of libpq's default, are sockets or loopback addresses."""
    given = url.query.get("host") or url.host or os.environ.get("PGHOST", "")
    hosts = given.split(",") if isinstance(given, str) else given
    return all(not host or host.startswith(("/", "127.")) or host in ("localhost", "::1") for host in hosts)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
