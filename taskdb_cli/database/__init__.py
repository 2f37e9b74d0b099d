"""The database: one engine, and one transaction for each unit of work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, ExceptionContext, event
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.database.backend import BULK, MIGRATED, Backend, Transaction, closed_after_failure
from taskdb_cli.database.content import Content
from taskdb_cli.database.options import Options, Origin
from taskdb_cli.database.recording import Recorder
from taskdb_cli.database.retry import persist
from taskdb_cli.database.schema import diagnose
from taskdb_cli.database.sql_log import LONG_WORK, log_statements
from taskdb_cli.errors import TaskdbError
from taskdb_cli.system import signals

T = TypeVar("T")

# A program that uses taskdb as a library and configures no logging hears nothing.
logging.getLogger("taskdb").addHandler(logging.NullHandler())
_log = logging.getLogger("taskdb.connect")

_BULK_WORK = {BULK: True, LONG_WORK: True}


class Database:
    """A database of users and tasks on either engine.

    It connects when it is first used. Unless its options name a pool, it holds no connection between
    two units of work.
    """

    def __init__(self, url: URL, options: Options | None = None) -> None:
        """Raise InvalidConfiguration for a URL of another engine, or one that names no database."""
        self.url = url
        self.options = options or Options()
        self.backend: Backend
        match url.get_backend_name():
            case "sqlite":
                from taskdb_cli.database.sqlite.engine import SQLite

                self.backend = SQLite(url, self.options)
            case "postgresql":
                from taskdb_cli.database.postgresql.engine import PostgreSQL

                self.backend = PostgreSQL(url, self.options)
            case other:
                raise errors.InvalidConfiguration(f"taskdb supports postgresql and sqlite, not {other}")

    def keeping_secrets(self) -> Database:
        """Return the same database, for rows that SQLite may put into no temporary file."""
        return Database(self.url, replace(self.options, secret=True))

    @cached_property
    def engine(self) -> Engine:
        """The engine, made on first use."""
        engine = self.backend.create_engine()
        event.listen(engine, "handle_error", self._translate, retval=True)
        log_statements(engine, self.options.slow_query_ms)
        return engine

    def read(
        self, work: Callable[[Session], T], *, bulk: bool = False, options: Mapping[str, Any] | None = None
    ) -> T:
        """Run `work` in one transaction that only reads, and return what it returns.

        After a passing fault it is run again, while the retry budget lasts. `bulk` work is about any number
        of rows: its statements have a limit of their own, and a slow one is no warning. `options` are
        execution options of the backend that begin the transaction in another way. Raises DatabaseMissing,
        DatabaseUnavailable and the other errors of `taskdb_cli.errors`.
        """

        def attempt() -> T:
            with self._session(options or self.backend.read_options, bulk=bulk) as session:
                found = work(session)
                if self.backend.keeps_plans:
                    session.commit()
                return found

        return persist(attempt, budget=self.options.retry_budget)

    def write(
        self,
        work: Callable[[Session], T],
        *,
        dry_run: bool = False,
        bulk: bool = False,
        over: Connection | None = None,
        origin: Origin | None = None,
    ) -> T:
        """Run `work` in one transaction and commit it; return what it returns.

        What it changes through `database.recording` is one operation of the history, with this `origin`, or
        else that of the options. A dry run records nothing.

        Any exception rolls everything back, and so does `dry_run` at the end. After a passing fault it is run
        again, so `work` must have no effect outside its session; but never after a commit that may have
        taken effect. `bulk` means the same as to `read`. Work that needs the temporary tables of a connection
        runs `over` it, and is run again only while that connection lasts. Raises as `read` does, and
        OutcomeUnknown.
        """
        options = self.backend.write_options

        def attempt() -> T:
            if not dry_run:
                signals.note_change(made=False)
            with self.backend.turn(), self._session(options, bulk=bulk, over=over) as session:
                if dry_run:
                    return work(session)
                recorder = session.info[Recorder] = Recorder(origin or self.options.origin)
                result = work(session)
                recorder.finish(session)
                self._commit(session)
                return result

        passing = errors.TransactionConflict if over else errors.DatabaseUnavailable
        return persist(attempt, budget=self.options.retry_budget, on=passing)

    @contextmanager
    def stream(
        self, work: Callable[[Session], Generator[T, None, None]], *, bulk: bool = False
    ) -> Iterator[Iterator[T]]:
        """Open one transaction that only reads, and yield an iterator of what `work` yields.

        Rows that were not taken are given up on leaving, before the transaction ends. After a passing fault
        only the connection is opened again. `bulk` means the same as to `read`.
        """
        with (
            self._session(self.backend.read_options, patient=True, bulk=bulk) as session,
            closing(work(session)) as rows,
        ):
            yield rows

    @contextmanager
    def snapshot(
        self, *, guarded: bool = False, options: Mapping[str, Any] | None = None
    ) -> Iterator[Content]:
        """Open everything as it is at one moment, to be read for as long as that takes.

        Migrations and restores are kept out until it is closed, unless the caller is `guarded` from them
        already. `options` mean the same as to `read`. Raises DatabaseUnavailable when one is running.
        """
        with self.connect(bulk=True) as connection, closed_after_failure(connection):
            content = self.backend.content(connection)
            content.begin_snapshot(options or self.backend.read_options, guarded=guarded)
            yield content
            try:
                connection.rollback()
            except TaskdbError as exc:
                # Everything has been read, so a connection that breaks now does no harm.
                connection.invalidate(exc)

    @contextmanager
    def replacement(self, *, dry_run: bool = False) -> Iterator[Content]:
        """Open everything for the caller alone, to be replaced in one transaction.

        It is committed on leaving without an error, unless it is a `dry_run`. Nothing is tried again.
        Raises DatabaseUnavailable when other maintenance is running, and what `write` raises.
        """
        if not dry_run and not self.options.disposable:
            signals.note_change(made=False)
        with self._session(self.backend.write_options, patient=True, bulk=True) as session:
            connection = session.connection()
            with closed_after_failure(connection):
                content = self.backend.content(connection)
                content.trial = dry_run
                content.begin_replacement()
                yield content
            if not dry_run:
                self._commit(session)

    @contextmanager
    def connect(self, *, bulk: bool = False) -> Iterator[Connection]:
        """Open a connection whose errors are ours; nothing is committed unless the caller does it.

        Opening it is tried again after a passing fault. `bulk` means the same as to `read`.
        """
        self.backend.require()
        limit = self.options.statement_limit(bulk=bulk)
        with _naming(*limit), self.translating(), self._open_patiently() as connection:
            if bulk:
                connection.execution_options(**_BULK_WORK)
            yield connection

    def is_same(self, other: Database) -> bool:
        """Return whether both are the same database, even under different names.

        Raises DatabaseUnavailable if a server cannot be asked.
        """
        if self.backend.dialect != other.backend.dialect:
            return False
        found = self.backend.fingerprint(self.connect)
        return found is not None and found == other.backend.fingerprint(other.connect)

    def _open(self) -> Connection:
        begun, outcome, pool = time.perf_counter(), "failed to connect", self.options.pool
        try:
            connection = self.engine.connect()
            outcome = "connected"
            return connection
        except PoolTimeoutError as exc:
            assert pool
            raise errors.DatabaseUnavailable(
                f"all {pool.size + pool.overflow} connections to {self.backend.place} stayed in use for "
                f"{pool.timeout} s",
                "raise TASKDB_POOL_SIZE, or try again later",
            ) from exc
        finally:
            place, elapsed = self.backend.place, (time.perf_counter() - begun) * 1000
            # With a pool most connections are open already, and taking one is no event.
            level = logging.DEBUG if pool else logging.INFO
            extra = {"place": place, "duration_ms": round(elapsed)}
            _log.log(level, "%s: %s in %.0f ms", place, outcome, elapsed, extra=extra)

    def _open_patiently(self) -> Connection:
        return persist(self._open, budget=self.options.retry_budget)

    @contextmanager
    def _session(
        self,
        options: Mapping[str, Any],
        *,
        patient: bool = False,
        bulk: bool = False,
        over: Connection | None = None,
    ) -> Iterator[Session]:
        self.backend.require()
        info, limit = {Backend: self.backend}, self.options.statement_limit(bulk=bulk)
        opening = self._open_patiently if patient else self._open
        with _naming(*limit), self.translating(), nullcontext(over) if over else opening() as connection:
            connection.execution_options(**options, **_BULK_WORK if bulk else {})
            with Session(connection, expire_on_commit=False, autoflush=False, info=info) as session:
                # Begin now: tables of our names may be another program's.
                session.connection()
                if not connection.info[MIGRATED]:
                    raise diagnose(connection)
                yield session

    def _commit(self, session: Session) -> None:
        # Write the rest first: if that fails, there is no commit to look up.
        session.flush()
        connection = session.connection()
        transaction = self.backend.transaction(connection)
        try:
            # Without a transaction that can be looked up later, a signal waits until the commit is over.
            with nullcontext() if transaction else signals.held():
                # A connection whose commit failed is in an unknown state, and must not go back to the pool.
                with closed_after_failure(connection):
                    session.commit()
                if not self.options.disposable:
                    signals.note_change(made=True)
        except errors.ConnectionLost:
            if not self._committed(transaction):
                raise
            signals.note_change(made=True)
        except KeyboardInterrupt as exc:
            if transaction:
                # If COMMIT was not sent, the server would go on waiting for it.
                connection.invalidate(exc)
                signals.note_change(made=self._committed(transaction))
            raise

    def _committed(self, transaction: Transaction | None) -> bool:
        """Return whether a transaction took effect although its answer was lost; raise OutcomeUnknown."""
        if transaction is None:
            return False

        def ask() -> bool:
            with self.translating(), self._open() as connection:
                return transaction.is_committed(connection)

        try:
            return persist(ask, budget=self.options.retry_budget)
        except errors.OutcomeUnknown:
            raise
        except (TaskdbError, KeyboardInterrupt) as exc:
            raise errors.OutcomeUnknown(
                f"the connection to {self.backend.place} broke while the change was being committed",
                f"check first whether it is there; ask the server with: {transaction.question}",
            ) from exc

    @contextmanager
    def migration(self, *, create: bool = False) -> Iterator[tuple[Connection, Connection]]:
        """Open the connections of `Backend.migration`, with errors of ours.

        With `create`, a missing database is made first where the engine can.
        """
        if create:
            self.backend.create()
        else:
            self.backend.require()
        # A migration that misses a table is at fault itself, so do not look up the revision.
        limit = self.options.migration_timeout, "TASKDB_MIGRATION_TIMEOUT"
        with (
            _naming(*limit),
            self.backend.translating(),
            self.backend.migration(self._open_patiently) as pair,
        ):
            for connection in pair:
                connection.execution_options(**{LONG_WORK: True})
            yield pair

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn errors that come straight from the driver into ours, and TableMissing into its reason."""
        try:
            with self.backend.translating():
                yield
        except errors.TableMissing as exc:
            # The failed transaction answers nothing more: ask over a connection of its own.
            with self.translating(), self.engine.connect() as connection:
                reason = diagnose(connection)
            raise reason from exc

    def _translate(self, context: ExceptionContext) -> TaskdbError | None:
        """Return ours for an error of the driver that SQLAlchemy meets; None leaves other errors alone."""
        if not isinstance(context.original_exception, self.backend.error_types):
            return None
        # Only SQLAlchemy's error knows the statement.
        error = context.sqlalchemy_exception or context.original_exception
        if context.connection is None:
            return self.backend.translate_connecting(error)
        return self.backend.translate(error)


@contextmanager
def _naming(seconds: float, setting: str) -> Iterator[None]:
    """Let the error of a statement that took too long name the setting, which a server does not know."""
    what = f"raise {setting} above {seconds:g} s, or" if seconds else "it was cancelled there:"
    hint = f"{what} try again later"
    try:
        yield
    except errors.TimedOut as exc:
        exc.hint = exc.hint or hint
        raise
