"""One look at a database, which all checks of a run share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy import Connection, event

from taskdb_cli.database import Database
from taskdb_cli.database.schema import compare_revision, current_revision
from taskdb_cli.errors import DataCorrupt, SchemaError, SchemaForeign, TaskdbError
from taskdb_cli.health.registry import CHECKS, Check
from taskdb_cli.health.report import Result, Status, Unmeasured
from taskdb_cli.models import metadata
from taskdb_cli.services.migrate import differences

if TYPE_CHECKING:
    from taskdb_cli.health.archives import Backups

CLOSE_CALL = 0.05
"""A statement that fails when no more seconds than this are left was ended by the limit that we set."""

DAMAGED = (DataCorrupt, SchemaForeign)

EXAMINATIONS: dict[str, type[Examination]] = {}
"""The examination of each engine by SQLAlchemy's name for it, once its module is imported."""


class Identity(NamedTuple):
    """The next id of a table, the highest id in it, and the highest id that it can give out."""

    table: str
    next: int | None
    """None if nothing gives ids out."""
    highest: int
    most: int
    remedy: str
    """What sets the next id right."""
    collides: bool = True
    """Whether an insert fails if the next id is taken. Otherwise an id is given out twice at worst."""


def failed(exc: TaskdbError) -> Result:
    """Return the result of a check that an error ended."""
    status = Status.CRITICAL if isinstance(exc, DAMAGED) else Status.UNKNOWN
    return Result(status, exc.message, remedy=exc.hint)


@dataclass(eq=False)
class Examination(ABC):
    """The connection to one database, and what several checks need. Nothing is ever committed.

    An engine overrides what it does differently. The defaults suit an engine without such things.
    """

    absent: ClassVar[str]
    """Why a check that has no function for this engine is skipped."""
    explain: ClassVar[str]
    """Asks for the plan of the query that follows."""
    full_scan: ClassVar[str]
    """A pattern for a line of a plan that reads every task."""
    first_statement: ClassVar[str] = ""
    """What is run as soon as there is a connection, as a part of connecting."""
    vouches: ClassVar[bool] = False
    """Whether every row is sure to keep a constraint that is enforced and validated. Anyone who opens
    a file can turn its constraints off."""

    database: Database
    """A database that has never connected, so that the first connection can be timed."""
    now: datetime
    deadline: float
    """When all checks must have ended, on the clock of `time.monotonic`."""
    backups: Sequence[Backups] = ()
    """The archives in each place."""
    counted: dict[Backups, Backups] = field(default_factory=dict)
    """Those of them that count for the database, once that is known."""
    replica: Database | None = None
    """The replica that the settings name, if there is one."""
    check: Check = CHECKS["connection"]
    """The running check, with the limits that count."""
    connecting_seconds: float = 0.0
    """How long the connection took to open."""
    failure: TaskdbError | None = None
    """Why there is no connection, once one has been tried."""
    raw: Any = None
    """The driver's own connection."""
    _connection: Connection | None = None
    _replica_connection: Connection | None = None
    _replica_failed: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)

    def __init_subclass__(cls, *, on: str) -> None:
        EXAMINATIONS[on] = cls

    @abstractmethod
    def set_time(self, seconds: float) -> None:
        """Limit the statements from now on to so many seconds."""

    @abstractmethod
    def sever(self) -> None:
        """Make the running statement fail. This is called from another thread."""

    @abstractmethod
    def identity(self, table: str) -> Identity:
        """Return the identity of a table."""

    def count_tasks(self) -> int:
        """Count the tasks, or estimate their number."""
        [(tasks,)] = self.ask("SELECT count(*) FROM tasks")
        return int(tasks)

    def history_bytes(self) -> int | None:
        """Return how many bytes the history takes, or None if the engine does not know."""
        return None

    @cached_property
    def catalog(self) -> list[tuple[str, str, str]]:
        """The kind of each fault of our tables in the engine's catalog, its name, and its remedy."""
        return []

    def broken_rows(self) -> list[str]:
        """Return what the engine's own check says of rows, except for CHECK constraints."""
        return []

    @cached_property
    def identities(self) -> list[Identity]:
        """The identities of all tables that have one."""
        self.require_all_rows()
        tables = metadata().sorted_tables
        return [self.identity(table.name) for table in tables if table.c["id"].identity is not None]

    @cached_property
    def schema_problem(self) -> SchemaError | None:
        """What is wrong with the revision; None if it is the newest one."""
        try:
            return compare_revision(current_revision(self.connection))
        except SchemaError as exc:
            return exc

    @cached_property
    def differences(self) -> list[str]:
        """How the live schema differs from the models."""
        return list(differences(self.connection, self.database.backend))

    @property
    def seconds(self) -> float:
        """The time that is left."""
        return self.deadline - time.monotonic()

    @property
    def connection(self) -> Connection:
        """The connection, opened on first use.

        Raises one of DAMAGED for a file that is damaged or is no database, and Unmeasured if there is no
        connection. Only the first Unmeasured says why.
        """
        reason = "no connection"
        if self._connection is None and self.failure is None:
            try:
                self._connection = self._open()
                self.set_time(self.seconds)
            except TaskdbError as exc:
                self.failure, reason = exc, f"no connection: {exc}"
        if isinstance(self.failure, DAMAGED):
            raise self.failure
        if self._connection is None:
            raise Unmeasured(reason, status=Status.UNKNOWN)
        return self._connection

    @property
    def replica_connection(self) -> Connection:
        """The connection to the replica, opened on first use.

        Raises what connecting raises, and Unmeasured from the second time on: it is tried once.
        """
        assert self.replica
        if self._replica_connection is None:
            if self._replica_failed:
                raise Unmeasured("no connection to the replica")
            self._replica_failed = True
            connection = self._stack.enter_context(self.replica.connect())
            # A check that fails there leaves nothing behind for the next one.
            self._replica_connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        return self._replica_connection

    def _open(self) -> Connection:
        engine, opened = self.database.engine, list[float]()
        # The clock stops before SQLAlchemy asks the new connection for its version and more.
        event.listen(engine, "first_connect", lambda *_: opened.append(time.perf_counter()), insert=True)
        begun = time.perf_counter()
        connection = self._stack.enter_context(self.database.connect())
        self.connecting_seconds = opened[0] - begun
        self.raw = connection.connection.driver_connection
        if self.first_statement:
            # A file's transaction begins here, by words to the driver itself.
            with self.database.translating():
                connection.exec_driver_sql(self.first_statement)
        return connection

    def ask(self, sql: str) -> list[Any]:
        """Return the rows of a statement in the driver's own words."""
        return list(self.connection.exec_driver_sql(sql))

    def faults(self, kind: str) -> dict[str, str]:
        """Return the faults in the engine's catalog of one kind, each with its remedy.

        The kinds are `hidden`: a table with rows that the role may not see; `unvalidated`: a constraint
        that was never checked for older rows; `unenforced`: a reason why foreign keys are not checked when
        rows are written; and `invalid`: an index that answers no query.
        """
        return {name: remedy for found, name, remedy in self.catalog if found == kind}

    def require_all_rows(self) -> None:
        """Raise Unmeasured where row level security may hide rows: counting them would be wrong."""
        if hidden := self.faults("hidden"):
            reason = f"row level security hides rows of {' and '.join(hidden)} from this role"
            raise Unmeasured(reason, "use a role with BYPASSRLS")

    def judged(self, value: float, message: str, remedy: str = "") -> Result:
        """Return a value, judged by the limits of the running check. A good one needs no remedy."""
        status = self.check.limits.judge(value)
        return Result(status, message, value, self.check.unit, "" if status is Status.OK else remedy)

    def make(self, check: Check) -> Result | None:
        """Make a check and return its result, whatever it meets; None if the time was over before."""
        self.check = check
        try:
            if self.seconds <= 0:
                return None
            with self.limited():
                # The check connection opens it, and judges what comes of that.
                if not check.offline and check.name != "connection":
                    _ = self.connection
                if check.needs_head and (problem := self.schema_problem):
                    result = Result(Status.UNKNOWN, f"needs the newest schema: {problem.message}")
                elif check.function:
                    result = check.function(self)
                else:
                    result = Result(Status.SKIPPED, self.absent)
        except Unmeasured as exc:
            result = exc.result
        except TaskdbError as exc:
            if self.seconds <= CLOSE_CALL:
                return None
            result = failed(exc)
        except Exception as exc:  # noqa: BLE001 (the other checks still run)
            result = Result(Status.UNKNOWN, f"the check failed: {type(exc).__name__}: {exc}")
        return replace(result, name=check.name, limits=check.limits)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit the statements of one check to the time that is left, and forget one that failed."""
        try:
            with self.database.translating():
                if self._connection is not None:
                    self.set_time(self.seconds)
                yield
        except Exception:
            # If that fails too, the next statement will say so.
            if self._connection is not None:
                with suppress(TaskdbError), self.database.translating():
                    self._connection.rollback()
            raise

    def close(self) -> None:
        """Close the connection, even one that is broken."""
        with suppress(TaskdbError):
            self._stack.close()
