"""Everything that only PostgreSQL knows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Lock
from typing import Any, ClassVar
from weakref import WeakSet

import psycopg
from sqlalchemy import URL, Connection, Dialect, Engine, Select, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.schema import Table

from taskdb_cli import errors
from taskdb_cli.database.backend import BULK, Backend, LogState, Plan, Transaction
from taskdb_cli.database.content import Content
from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql import connection as sessions
from taskdb_cli.database.postgresql import errors as faults
from taskdb_cli.database.postgresql import plans, replication, rights, schema, search, transactions
from taskdb_cli.database.postgresql.locks import migration_lock
from taskdb_cli.database.postgresql.target import Host, Target, distinction
from taskdb_cli.database.postgresql.url import DRIVER
from taskdb_cli.database.retry import persist
from taskdb_cli.database.schema import require_utf8
from taskdb_cli.database.search_index import SearchIndex
from taskdb_cli.database.sql_log import logged

_FINGERPRINT = "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_catalog"

# The session that holds the lock of migrations is idle while the other one works. It must not be ended.
_NEVER_IDLE_TOO_LONG = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN
    ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""


class PostgreSQL(Backend):
    """A database on a server."""

    dialect = "postgresql"
    engine_name = "PostgreSQL"
    read_options: ClassVar[Mapping[str, Any]] = {"postgresql_begin": transactions.BEGIN_READING}
    single_options: ClassVar[Mapping[str, Any]] = {"postgresql_begin": None}
    write_options: ClassVar[Mapping[str, Any]] = {"postgresql_begin": transactions.BEGIN_WRITING}
    error_types: ClassVar[tuple[type[Exception], ...]] = (DBAPIError, psycopg.Error)
    keeps_plans: ClassVar[bool] = True
    overriding: ClassVar[str] = " OVERRIDING SYSTEM VALUE"

    def __init__(self, url: URL, options: Options) -> None:
        if options.schema is not None:
            sessions.require_schema_name(options.schema)
        super().__init__(options)
        self.target = Target.of(url)
        self.server = ",".join(map(str, self.target.hosts))
        self.name = self.target.database
        self.place = self._place(self.server)
        self.distinction = distinction(self.server, options.schema)
        self._connected_before = False
        self._connections: WeakSet[psycopg.Connection[Any]] = WeakSet()
        self._opening = Lock()

    def create_engine(self) -> Engine:
        """Return an engine whose sessions set everything themselves that changes what is read and written."""
        engine = create_engine(
            DRIVER + "://",
            hide_parameters=True,
            # The driver leaves it to us to begin, which takes one round trip for all that is needed then.
            isolation_level="AUTOCOMMIT",
            # Looking for the hstore extension would cost a query for each connection.
            use_native_hstore=False,
            connect_args=sessions.connect_arguments(self.target, self.options),
            **sessions.pooling(self.options),
        )
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "after_cursor_execute", transactions.skip_answer_to_begin)
        if self.options.pool:
            event.listen(engine, "do_execute", transactions.keep_plan)
        return engine

    def _connect(
        self, dialect: Dialect, record: ConnectionPoolEntry, args: list[Any], kwargs: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = dialect.connect(*args, **kwargs)  # type: ignore[assignment]
        self._connected_before = True
        with self._opening:
            self._connections.add(connection)
        if len(self.target.hosts) > 1:
            self.place = self._place(str(Host(connection.info.host, "", str(connection.info.port))))
        try:
            hint = "make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            require_utf8(self.place, connection.info.parameter_status("server_encoding"), hint)
            if not self.options.pooled:
                with logged(sessions.SET_SESSION, self.options.slow_query_ms):
                    sessions.set_session(connection.execute, record.info, self.options, self.place)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: Connection) -> None:
        """Send what the execution options say, in one round trip."""
        options = connection.get_execution_options()
        if replication.AFTER in options:
            position, patience = options[replication.AFTER]
            replication.begin_after(connection, position, patience, self.place)
        # Who names an isolation level leaves it to the driver.
        elif "isolation_level" not in options:
            transactions.begin(connection, options.get("postgresql_begin", transactions.BEGIN), self.place)
        if not connection.info.get(sessions.OWN):
            sessions.set_session(connection.exec_driver_sql, connection.info, self.options, self.place)
        if BULK in options:
            sessions.allow_bulk_work(connection, self.options)

    def _place(self, server: str) -> str:
        schema = "" if self.options.schema is None else f" (schema {self.options.schema})"
        return f"{server}/{self.name}{schema}"

    def fingerprint(self, connect: Callable[[], AbstractContextManager[Connection]]) -> object:
        """Return when the server was started and the number of the database in it.

        A branch or a restored server has the system identifier and the databases of its origin.
        """
        with connect() as connection:
            return tuple(connection.exec_driver_sql(_FINGERPRINT).one())

    def whereabouts(self) -> set[object]:
        """Return each server with the name of the database."""
        return {(*server, self.name) for server in self.target.servers}

    def translate(self, error: Exception) -> errors.TaskdbError:
        """Classify by SQLSTATE; an error without one comes from the connection itself."""
        return faults.translate(error, self.place, lock_timeout=self.options.lock_timeout)

    def translate_connecting(self, error: Exception) -> errors.TaskdbError:
        """Say why there is no connection, and whether there may be one soon."""
        if faults.sqlstate(error):
            # There is a connection, and the server refused what was asked first.
            return self.translate(error)
        # Nobody at a local address at all is a server that is not there, unless it was a moment ago.
        expected = self._connected_before or not all(host.is_local for host in self.target.hosts)
        place, several = f"{self.server}/{self.name}", len(self.target.hosts) > 1
        return faults.translate_connecting(error, place, self.options, expected=expected, several=several)

    def transaction(self, connection: Connection) -> Transaction | None:
        """Return the transaction by its id, which the server remembers for a long while."""
        id, recovered = connection.info[transactions.BEGIN_WRITING]
        ask = partial(transactions.is_committed, id, recovered, self.place)
        return Transaction(ask, f"SELECT pg_xact_status('{id}')")

    def bulk_insert(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert by COPY."""
        raw = sessions.driver_connection(connection)
        statement = f"COPY {table.name} ({', '.join(map(sessions.identifier, columns))}) FROM STDIN"
        with (
            logged(statement, self.options.slow_query_ms, long=True),
            raw.cursor() as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def give_ids(self, connection: Connection, table: str, rows: str) -> None:
        """Let the sequence count on from the highest id, which outlives a rollback, and take ids from it."""
        behind = (
            f"SELECT sequence, highest FROM (SELECT max(new_id) AS highest FROM {rows}) AS given,"  # noqa: S608 (our own tables)
            " pg_get_serial_sequence(%s, 'id') AS sequence"
            " WHERE highest > coalesce(pg_sequence_last_value(sequence::regclass), 0)"
        )
        if connection.exec_driver_sql(behind, (table,)).first():
            # While others may take ids, the sequence could be set back behind one that was just taken.
            self.lock_table(connection, table)
            connection.exec_driver_sql(f"SELECT setval(sequence, highest) FROM ({behind}) AS found", (table,))  # noqa: S608
        new = "nextval(pg_get_serial_sequence(%s, 'id'))"
        connection.exec_driver_sql(f"UPDATE {rows} SET new_id = {new} WHERE new_id IS NULL", (table,))  # noqa: S608

    def lock_table(self, connection: Connection, table: str) -> None:
        """Take the lock that writers wait for, but not those who only lock rows."""
        connection.exec_driver_sql(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    def size(self, connection: Connection) -> int:
        """Ask the server."""
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    @property
    def address(self) -> str:
        """The place with all hosts, in one order."""
        return self._place(",".join(sorted({*map(str, self.target.hosts)})))

    def is_standby(self, connection: Connection) -> bool:
        """Look at what the server has said of itself."""
        return transactions.is_standby(connection)

    def committed_position(self, connection: Connection) -> int:
        """Ask the server, after the commit."""
        return replication.read_committed(connection)

    def options_after(self, position: int, patience: float) -> Mapping[str, Any]:
        """Return options that `_begin` knows."""
        return {replication.AFTER: (position, patience)}

    def break_connections(self) -> None:
        """Shut their sockets down: a thread that waits for one gets an error."""
        with self._opening:
            found = list(self._connections)
        for connection in found:
            sessions.shut(connection)

    def log_state(self, connection: Connection) -> LogState:
        """Ask the server, which needs no privilege."""
        return replication.read_log_state(connection)

    def log_end(self, connection: Connection) -> int:
        """Ask the server. Raises NotWritable for a standby, which writes no log."""
        transactions.require_primary(connection, self.place)
        return replication.read_log_end(connection)

    def flush_log(self, connection: Connection) -> None:
        """Commit something, which a role that only reads may do too."""
        replication.flush(connection)

    def explain(self, connection: Connection, query: Select[Any]) -> Plan:
        """Run the query under EXPLAIN ANALYZE, which counts the rows of each step."""
        return plans.explain(connection, query)

    def content(self, connection: Connection) -> Content:
        """Return the content of the database, guarded by the lock that a migration holds too."""
        from taskdb_cli.database.postgresql.content import PostgreSQLContent

        return PostgreSQLContent(connection, self.place, self.address)

    @contextmanager
    def migration(self, connect: Callable[[], Connection]) -> Iterator[tuple[Connection, Connection]]:
        """Hold an advisory lock, by a session of its own, while each revision commits by itself.

        Only a statement that runs outside of a transaction waits long for a lock: an index that is built
        concurrently keeps nobody from working while it waits, and would have to be begun again.
        """
        with connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
            transactions.require_writable(guard, self.place)
            guard.exec_driver_sql(_NEVER_IDLE_TOO_LONG)
            with (
                migration_lock(guard, wait=self.options.migration_wait, place=self.place),
                connect().execution_options(isolation_level="READ COMMITTED") as connection,
            ):
                connection.exec_driver_sql(_NEVER_IDLE_TOO_LONG)
                connection.exec_driver_sql(
                    f"SET statement_timeout = '{self.options.migration_timeout}s';"
                    f" SET lock_timeout = '{max(1, self.options.migration_wait)}s'"
                )
                connection.commit()
                event.listen(connection, "begin", _wait_briefly)
                yield connection, guard
                connection.commit()

    def require_migratable(self, connection: Connection, statements: Callable[[], str]) -> None:
        """Compare them with the rights of the role."""
        rights.require_migratable(connection, self.place, statements())

    def run_revisions(self, connection: Connection, work: Callable[[], None]) -> None:
        """Run them again from where they stand while somebody's lock is in the way of one."""

        def attempt() -> None:
            try:
                work()
            except errors.TransactionConflict:
                connection.rollback()
                raise

        # A connection that breaks has taken the lock of the migration with it.
        persist(attempt, budget=self.options.migration_wait, on=errors.TransactionConflict)

    def facts(self, connection: Connection, tables: Collection[str]) -> dict[str, str]:
        """Describe the tables that the search path finds, as the catalogs do."""
        return schema.facts(connection, tables)

    def search_index(self, connection: Connection) -> SearchIndex:
        """Look at the two indexes of trigrams."""
        return search.find(connection)

    def build_search_index(self, connection: Connection) -> None:
        """Build the two indexes of trigrams concurrently; create the extension that they need."""
        search.build(connection, self.place, self.options.slow_query_ms)

    def drop_search_index(self, connection: Connection) -> None:
        """Drop the two indexes of trigrams concurrently. The extension stays, because others may use it."""
        search.drop(connection, self.place)

    def hides_search_index(self, connection: Connection, text: str, users: Collection[int]) -> bool:
        """Search without it where users have few tasks, or where many tasks of others match."""
        return search.hides(connection, text, users)


def _wait_briefly(connection: Connection) -> None:
    # All who come after a statement of a revision wait behind it while it waits for a lock.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
