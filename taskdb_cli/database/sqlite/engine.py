"""Everything that only SQLite knows."""

import hashlib
import logging
import math
import os
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.database.backend import BULK, MIGRATED, Backend, Plan, literal_sql
from taskdb_cli.database.content import Content
from taskdb_cli.database.options import Options
from taskdb_cli.database.retry import persist
from taskdb_cli.database.schema import VERSION_TABLE, require_utf8
from taskdb_cli.database.search_index import PATIENCE, SearchIndex
from taskdb_cli.database.sql_log import logged
from taskdb_cli.database.sqlite import errors as faults
from taskdb_cli.database.sqlite import schema, search
from taskdb_cli.database.sqlite.connection import open_file, raw_connection
from taskdb_cli.database.sqlite.files import make_file, require_file, sidecars
from taskdb_cli.database.sqlite.indexes import build_indexes, drop_indexes, more_memory
from taskdb_cli.database.sqlite.locks import lock_holder
from taskdb_cli.database.sqlite.url import FORM
from taskdb_cli.errors import InvalidConfiguration, TaskdbError
from taskdb_cli.text.amounts import in_words

_log = logging.getLogger("taskdb.migrate")

BUSY_TIMEOUT = 0.5
"""Seconds that SQLite waits for a lock by itself. That wait cannot be interrupted, so it is short, and the
retries of the unit of work wait longer."""

MANY = 10_000
OLD_FOR_EACH_NEW = 4
"""Indexes are built anew for at least so many new rows, and at most so many old ones for each of them."""

_LOOK = f"""
SELECT encoding, EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{VERSION_TABLE}')
FROM pragma_encoding
"""  # noqa: S608 (our own name)


class SQLite(Backend):
    """A database in a file of this machine."""

    dialect = "sqlite"
    engine_name = "SQLite"
    returns_into_queries = False
    write_options: ClassVar[Mapping[str, Any]] = {"sqlite_begin": "BEGIN IMMEDIATE"}
    # There is no server to wait for: more threads would wait for Python's lock, which costs a third of the
    # requests per second.
    reads_at_once = 3
    search_write_factor = 1.1
    error_types: ClassVar[tuple[type[Exception], ...]] = (DBAPIError, sqlite3.Error, UnicodeDecodeError)

    def __init__(self, url: URL, options: Options) -> None:
        """Raise InvalidConfiguration for a URL that names no file."""
        super().__init__(options)
        if url.database in (None, "", ":memory:") or url.query or url.host:
            raise InvalidConfiguration("a SQLite URL takes the path of a file and nothing else", FORM)
        if options.schema is not None:
            raise InvalidConfiguration("a SQLite file has no schemas", "leave out --schema and TASKDB_SCHEMA")
        # Symbolic links and ".." are kept: behind a link, ".." is the parent of the link's target.
        self.path = Path(url.database).absolute()
        # The names of the files beside it are longer by up to 8 bytes. SQLite follows links to it first.
        if any(
            len(os.fsencode(path.name)) > 255 - 8 or len(os.fsencode(path)) > 512 - 8
            for path in (self.path, self.file())
        ):
            hint = "SQLite takes 504 bytes in all, and 247 in the name of the file"
            raise InvalidConfiguration("the path of a SQLite file is too long", hint)
        self.place = str(self.path)
        self.name = self.path.stem
        self.distinction = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:6]
        self._turn = Lock()

    def create_engine(self) -> Engine:
        """Return an engine whose connections obey foreign keys and begin transactions explicitly."""
        pooling: dict[str, Any] = {}
        if pool := self.options.pool:
            pooling = {"pool_size": pool.size, "max_overflow": pool.overflow, "pool_timeout": pool.timeout}
        engine = create_engine(
            "sqlite://",
            creator=lambda: open_file(self.path, self.options, BUSY_TIMEOUT),
            hide_parameters=True,
            poolclass=QueuePool if pool else NullPool,
            **pooling,
        )
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "before_cursor_execute", _set_patience)
        return engine

    def _begin(self, connection: Connection) -> None:
        """Begin. A writer takes the lock now: nothing is lost yet if another process has it."""
        raw, options = raw_connection(connection), connection.get_execution_options()
        raw.limit(*self.options.statement_limit(bulk=BULK in options))
        connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN"))
        encoding, found = raw.execute(_LOOK).fetchone()
        require_utf8(self.place, encoding, "write its rows to a new file with 'sqlite3 … .dump'")
        connection.info[MIGRATED] = bool(found)

    def require(self) -> None:
        """Raise DatabaseMissing for a file that is absent or empty, InvalidConfiguration for no file."""
        require_file(self.path, self.options)

    def create(self) -> bool:
        """Make the file, for its owner alone; return False if it holds something already.

        The file stays empty, and counts as missing, until the migration that fills it commits. Another
        command that comes meanwhile begins the same migration, and waits for the first one.
        """
        try:
            self.require()
        except errors.DatabaseMissing:
            make_file(self.path, self.options)
            return True
        return False

    def fingerprint(self, connect: object) -> object:
        """Return the device and inode of the file."""
        with suppress(OSError):
            found = self.path.stat()
            return found.st_dev, found.st_ino
        return None

    def whereabouts(self) -> set[object]:
        """Return the device and inode of the file, or the path of one that is missing."""
        return {self.fingerprint(None) or self.file()}

    def size(self, connection: object) -> int:
        """Return the bytes of the file and of those beside it."""
        files = [self.file(), *sidecars(self.file())]
        return sum(path.stat().st_size for path in files if path.exists())

    def file(self) -> Path:
        """Return the path without symbolic links."""
        return Path(os.path.realpath(self.path))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the threads of this process write one after the other, instead of polling the file's lock.

        A thread that has waited for long goes on and tries to get that lock, whose error says why it waits.
        """
        taken = self._turn.acquire(timeout=BUSY_TIMEOUT)
        try:
            yield
        finally:
            if taken:
                self._turn.release()

    def translate(self, error: Exception) -> TaskdbError:
        """Classify by SQLite's result code."""
        of_index = search.explain_failure(faults.driver_error(error), self.place, self.path)
        return of_index or faults.translate(error, self.place, self.path, self.options.source)

    def bulk_insert(
        self, connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Insert by one prepared statement, fed from the iterator."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        processors = [
            table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
            for name in columns
        ]
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 (names of our own tables)
        values = (
            [process(value) if process else value for process, value in zip(processors, row, strict=True)]
            for row in rows
        )
        with logged(statement, self.options.slow_query_ms, long=True):
            raw_connection(connection).executemany(statement, values)

    def wipe(self, connection: Connection) -> None:
        """Write the file anew, and empty the log beside it.

        PRAGMA secure_delete is not enough: pages have copies of rows that were moved between them.
        """
        raw = raw_connection(connection)
        raw.limit(*self.options.statement_limit(bulk=True))
        search.forget(raw)
        raw.execute("VACUUM")
        [(busy, *_)] = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise errors.TransactionConflict(
                f"{self.place} is being read by {lock_holder(self.path)}",
                "close other programs that use it",
            )

    @contextmanager
    def many_inserted(self, connection: Connection, table: Table, rows: int) -> Iterator[None]:
        """Build the indexes of the table anew behind many rows. Row by row takes several times as long.

        It takes the longer, the larger the table is, because rows come to an index in no order.
        """
        raw = raw_connection(connection)
        [(highest,)] = raw.execute(f"SELECT max(id) FROM {table.name}")  # noqa: S608 (our own table)
        if rows < MANY or rows < (highest or 0) / OLD_FOR_EACH_NEW:
            yield
            return
        more_memory(raw)
        definitions = drop_indexes(raw, [table.name])
        yield
        build_indexes(raw, definitions)

    def give_ids(self, connection: Connection, table: str, rows: str) -> None:
        """Count on from the highest id that AUTOINCREMENT has noted. It will note the new ones by itself."""
        raw = raw_connection(connection)
        [(highest,)] = raw.execute(
            "SELECT max(coalesce(max(seq), 0), coalesce((SELECT max(new_id) FROM "  # noqa: S608 (our own tables)
            f"{rows}), 0)) FROM sqlite_sequence WHERE name = ?",
            (table,),
        )
        raw.execute(
            f"UPDATE {rows} SET new_id = ? + number FROM ("  # noqa: S608
            f" SELECT id AS numbered, row_number() OVER (ORDER BY id) AS number FROM {rows}"
            " WHERE new_id IS NULL) WHERE id = numbered",
            (highest,),
        )

    def explain(self, connection: Connection, query: Select[Any]) -> Plan:
        """Ask for the query plan. It shows that rows are sorted but not how many, so count them."""
        sql = literal_sql(connection, query)
        lines = tuple(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
        sorts = any("USE TEMP B-TREE FOR" in line and "ORDER BY" in line for line in lines)
        count = select(func.count()).select_from(query.order_by(None).limit(None).subquery())
        reached = tuple(_reached(line) for line in lines if line.startswith(("SEARCH", "SCAN")))
        return Plan(sql, lines, reached, connection.execute(count).scalar_one() if sorts else None)

    def content(self, connection: Connection) -> Content:
        """Return the content of the file."""
        from taskdb_cli.database.sqlite.content import SQLiteContent

        return SQLiteContent(connection, self.place, self.path if self.options.disposable else None)

    @contextmanager
    def migration(self, connect: Callable[[], Connection]) -> Iterator[tuple[Connection, Connection]]:
        """Hold the write lock for all revisions, so that they apply entirely or not at all.

        Foreign keys are off, because rebuilding a table drops it, and that would cascade; they are checked
        before the commit. WAL mode is stored in the file, and so is set last: a new database counts as
        missing while its file is empty.
        """
        with connect() as connection:
            raw = raw_connection(connection)
            raw.execute("PRAGMA foreign_keys = OFF")
            writing = connection.execution_options(**self.write_options)
            with persist(writing.begin, budget=self.options.migration_wait):
                raw.limit(self.options.migration_timeout, "TASKDB_MIGRATION_TIMEOUT")
                with search.kept(raw, self.place):
                    yield connection, connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    rows = in_words({"rows": len(broken)})
                    raise errors.DataCorrupt(f"the migration would leave {rows} without a parent")
            if self.options.disposable:
                return

            def keep_wal() -> None:
                with self.translating():
                    raw.execute("PRAGMA journal_mode = WAL")

            try:
                persist(keep_wal, budget=self.options.retry_budget)
            except errors.TransactionConflict as exc:
                _log.warning("%s stays in its journal mode, which is slower: %s", self.path, exc.message)

    def facts(self, connection: Connection, tables: Collection[str]) -> dict[str, str]:
        """Describe the tables as SQLite and SQLAlchemy describe them."""
        return schema.facts(connection, tables)

    def search_index(self, connection: Connection) -> SearchIndex:
        """Look at the table of trigrams and its triggers, and look for some tasks in it."""
        return search.find(raw_connection(connection))

    def build_search_index(self, connection: Connection) -> None:
        """Build it in the transaction of the migration, so that it is there entirely or not at all."""
        search.build(raw_connection(connection), self.place)

    def drop_search_index(self, connection: Connection) -> None:
        """Drop it in the transaction of the migration."""
        search.drop(raw_connection(connection), self.place)

    def search_patience(self, session: Session, text: str) -> int:
        """Return it if the index may help: without it a page of a frequent text is found at once."""
        return search.patience(raw_connection(session.connection()), text)

    def search_condition(
        self, session: Session, text: str, users: Collection[int], *, whole: bool
    ) -> ColumnElement[bool] | None:
        """Return the condition that a task is one of those that have the trigrams of the text."""
        return search.condition(raw_connection(session.connection()), text, users, whole=whole)


def _set_patience(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, *_: Any
) -> None:
    cursor.patience = context.execution_options.get(PATIENCE, math.inf)


def _reached(line: str) -> str:
    table = line.split()[1]
    if table == search.TABLE:
        return f"tasks: search index {table}"
    if match := re.search(r"USING (?:COVERING )?INDEX (\w+)", line):
        return f"{table}: index {match[1]}"
    return f"{table}: primary key" if "PRIMARY KEY" in line else f"{table}: every row"
