"""One look at a database, which all checks of a run share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Connection, event

from taskdb_cli.database import Database
from taskdb_cli.database.schema import compare_revision, current_revision
from taskdb_cli.errors import DataCorrupt, SchemaError, SchemaForeign, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.registry import Check, Thresholds
from taskdb_cli.health.report import NO_LIMITS, Limits, Result, Status, Unit, Unmeasured
from taskdb_cli.services.migrate import differences

if TYPE_CHECKING:
    from taskdb_cli.health.checks.backups import Backups

T = TypeVar("T")
Measure = Callable[["Examination"], T]


@dataclass(frozen=True)
class Identity:
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


class Engine(NamedTuple):
    """What the checks of both engines ask of one engine. The defaults suit an engine without such things."""

    absent: str
    """Why a check that has no function for this engine is skipped."""
    set_time: Callable[[Examination, float], None]
    """Limits the statements from now on to so many seconds."""
    sever: Measure[None]
    """Makes the running statement fail. It is called from another thread."""
    identity: Callable[[Examination, str], Identity]
    """Returns the identity of a table."""
    sizes: Measure[tuple[int, dict[str, int]]]
    """The bytes of the database, and those of each table as far as they are known."""
    count_tasks: Measure[int]
    """Counts the tasks, or estimates their number."""
    explain: str
    """Asks for the plan of the query that follows."""
    full_scan: str
    """A pattern for a line of a plan that reads every task."""
    first_statement: str = ""
    """What is run as soon as there is a connection, as a part of connecting."""
    vouches: bool = False
    """Whether every row is sure to keep a constraint that is enforced and validated."""
    hidden_tables: Measure[list[str]] = lambda _: []
    """The tables in which row level security may hide rows from the role."""
    broken_rows: Measure[list[str]] = lambda _: []
    """What the engine's own check says of rows, except for CHECK constraints."""
    unvalidated: Measure[dict[str, tuple[str, str]]] = lambda _: {}
    """The constraints that were never checked for older rows, each with its table and its remedy."""
    unenforced: Measure[dict[str, str]] = lambda _: {}
    """Each reason why foreign keys are not checked when rows are written, with its remedy."""
    invalid_indexes: Measure[dict[str, str]] = lambda _: {}
    """The indexes of our tables that answer no query, each with its remedy."""


ENGINES: dict[str, Engine] = {}
"""Each engine by SQLAlchemy's name for it, once its module is imported."""


@dataclass(eq=False)
class Examination:
    """The connection to one database, and what several checks need. Nothing is ever committed."""

    database: Database
    """A database that has never connected, so that the first connection can be timed."""
    now: datetime
    thresholds: Thresholds
    backups: Backups | None
    counted: Backups | None = None
    """The archives that count for the database, once that is known."""
    seconds: float = TIMEOUT
    """The time that is left for the running check."""
    limits: Limits = NO_LIMITS
    """The limits of the running check."""
    connecting_seconds: float = 0.0
    """How long the connection took to open."""
    failure: TaskdbError | None = None
    """Why there is no connection, once one has been tried."""
    raw: Any = None
    """The driver's own connection."""
    _unit: Unit = Unit.NUMBER
    _connection: Connection | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _known: dict[object, Any] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        """What the engine of the database answers."""
        return ENGINES[self.database.backend.dialect]

    @property
    def connection(self) -> Connection:
        """The connection, opened on first use.

        Raises DataCorrupt for a file that is damaged or is no database, and Unmeasured if there is no
        connection. Only the first Unmeasured says why.
        """
        reason = "no connection"
        if self._connection is None and self.failure is None:
            try:
                self._connection = self._open()
                self.engine.set_time(self, self.seconds)
            except TaskdbError as exc:
                corrupt = isinstance(exc, DataCorrupt | SchemaForeign)
                self.failure = DataCorrupt(exc.message, exc.hint) if corrupt else exc
                reason = f"no connection: {exc}"
        if isinstance(self.failure, DataCorrupt):
            raise self.failure
        if self._connection is None:
            raise Unmeasured(reason, status=Status.UNKNOWN)
        return self._connection

    def _open(self) -> Connection:
        engine, opened = self.database.engine, list[float]()
        # The clock stops before SQLAlchemy asks the new connection for its version and more.
        event.listen(engine, "first_connect", lambda *_: opened.append(time.perf_counter()), insert=True)
        begun = time.perf_counter()
        connection = self._stack.enter_context(self.database.connect())
        self.connecting_seconds = opened[0] - begun
        self.raw = connection.connection.driver_connection
        if self.engine.first_statement:
            # A file's transaction begins here, by words to the driver itself.
            with self.database.translating():
                connection.exec_driver_sql(self.engine.first_statement)
        return connection

    def ask(self, sql: str) -> list[Any]:
        """Return the rows of a statement in the driver's own words."""
        return list(self.connection.exec_driver_sql(sql))

    def once(self, measure: Measure[T]) -> T:
        """Return what a function returned when it measured this database for the first time."""
        if measure not in self._known:
            self._known[measure] = measure(self)
        found: T = self._known[measure]
        return found

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

    def require_all_rows(self) -> None:
        """Raise Unmeasured where row level security may hide rows: counting them would be wrong."""
        if tables := self.once(self.engine.hidden_tables):
            reason = f"row level security hides rows of {' and '.join(tables)} from this role"
            raise Unmeasured(reason, "use a role with BYPASSRLS")

    def make(self, check: Check) -> Result:
        """Make a check. Raises Unmeasured, errors of taskdb, and those of the driver."""
        self.limits, self._unit = self.thresholds.of(check.name), check.unit
        # The check connection opens it, and judges what comes of that.
        if not check.offline and check.name != "connection":
            _ = self.connection
        if check.needs_head and (problem := self.schema_problem):
            raise Unmeasured(f"needs the newest schema: {problem.message}", status=Status.UNKNOWN)
        function = check.functions.get(self.database.backend.dialect)
        return function(self) if function else Result(Status.SKIPPED, self.engine.absent)

    def judged(self, value: float, message: str, remedy: str = "") -> Result:
        """Return a value, judged by the limits of the running check. A good one needs no remedy."""
        status = self.limits.judge(value)
        return Result(status, message, value, self._unit, "" if status is Status.OK else remedy)

    def set_time(self, seconds: float) -> None:
        """Set how many seconds are left."""
        self.seconds = seconds
        if self._connection is not None:
            self.engine.set_time(self, seconds)

    def recover(self) -> None:
        """Forget a statement that failed. If that fails too, the next statement will say so."""
        if self._connection is not None:
            with suppress(TaskdbError), self.database.translating():
                self._connection.rollback()

    def close(self) -> None:
        """Close the connection, even one that is broken."""
        with suppress(TaskdbError):
            self._stack.close()
