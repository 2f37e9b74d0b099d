"""One look at a database, which all checks of a run share."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, event

from taskdb_cli.database import Database
from taskdb_cli.database.schema import compare_revision, current_revision
from taskdb_cli.errors import DataCorrupt, SchemaError, SchemaForeign, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.registry import ENGINES, Check
from taskdb_cli.health.report import NO_LIMITS, Result, Status, Unit, Unmeasured
from taskdb_cli.health.thresholds import Thresholds
from taskdb_cli.services.migrate import differences

if TYPE_CHECKING:
    from taskdb_cli.health.checks.backups import Backups

T = TypeVar("T")


class Examination:
    """The connection to one database, and what several checks need. Nothing is ever committed."""

    def __init__(
        self, database: Database, now: datetime, thresholds: Thresholds, backups: Backups | None
    ) -> None:
        """Take a database that has never connected, so that the first connection can be timed."""
        self.database = database
        self.now = now
        self.thresholds = thresholds
        self.backups = backups
        self.counted: Backups | None = None
        """The archives that count for the database, once that is known."""
        self.seconds: float = TIMEOUT
        """The time that is left for the running check."""
        self.limits = NO_LIMITS
        """The limits of the running check."""
        self.connecting_seconds = 0.0
        """How long the connection took to open."""
        self.failure: TaskdbError | None = None
        """Why there is no connection, once one has been tried."""
        self.raw: Any = None
        """The driver's own connection."""
        self.engine = ENGINES[database.backend.dialect]
        self._unit = Unit.NUMBER
        self._connection: Connection | None = None
        self._stack = ExitStack()
        self._known: dict[object, Any] = {}

    @property
    def connection(self) -> Connection:
        """The connection, opened on first use. Raises what `connect` raises."""
        return self._connection or self.connect()

    def connect(self) -> Connection:
        """Open the connection if it is not open yet.

        Raises DataCorrupt for a file that is damaged or is no database, and Unmeasured if there is no
        connection. Only the first Unmeasured says why.
        """
        reason = "no connection"
        if self._connection is None and self.failure is None:
            try:
                self._connection = self._open()
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
            with self.database.translating():
                connection.exec_driver_sql(self.engine.first_statement)
        return connection

    def ask(self, sql: str) -> list[Any]:
        """Return the rows of a statement in the driver's own words."""
        return list(self.connection.exec_driver_sql(sql))

    def once(self, measure: Callable[[Examination], T]) -> T:
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

    def require_all_rows(self) -> None:
        """Raise Unmeasured where row level security may hide rows: counting them would be wrong."""
        if tables := self.once(self.engine.hidden_tables):
            reason = f"row level security hides rows of {' and '.join(tables)} from this role"
            raise Unmeasured(reason, "use a role with BYPASSRLS")

    @cached_property
    def differences(self) -> list[str]:
        """How the live schema differs from the models."""
        return list(differences(self.connection, self.database.backend))

    def make(self, check: Check) -> Result:
        """Make a check. Raises Unmeasured, errors of taskdb, and those of the driver."""
        self.limits, self._unit = self.thresholds.of(check.name), check.unit
        # The check connection opens it, and judges what comes of that.
        if not check.offline and check.name != "connection":
            self.connect()
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

    def sever(self) -> None:
        """Make the running statement fail, from another thread."""
        if self.raw is not None:
            self.engine.sever(self)

    def close(self) -> None:
        """Close the connection, even one that is broken."""
        with suppress(TaskdbError):
            self._stack.close()
