"""The checks by name, and the functions that are registered for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from taskdb_cli.health.report import Limits, Result, Unit

if TYPE_CHECKING:
    from taskdb_cli.health.examination import Examination

POSTGRESQL, SQLITE = "postgresql", "sqlite"
HOUR = 3600.0
DAY = 24 * HOUR

T = TypeVar("T")
Measure = Callable[["Examination"], T]


@dataclass(frozen=True)
class Check:
    """A check. An engine without a function for it skips the check."""

    name: str
    needs_head: bool = False
    """Whether it looks at the tables of the newest revision."""
    offline: bool = False
    """Whether it needs no connection, so that it is made even when the server hangs."""
    scans: bool = False
    """Whether it reads whole tables or the whole file. Such checks run last."""
    unit: Unit = Unit.NUMBER
    """The unit of the values that are judged by limits."""
    limits: Limits | None = None
    """The usual limits, if it has any that can be set."""
    functions: dict[str, Measure[Result]] = field(default_factory=dict, compare=False)
    """The function for each engine, once its module is imported."""


CHECKS = {
    each.name: each
    for each in (
        Check("connection", unit=Unit.SECONDS, limits=Limits(0.5, 5)),
        Check("version", unit=Unit.SECONDS, limits=Limits(180 * DAY, 0, falling=True)),
        Check("tls"),
        Check("revision"),
        Check("drift", needs_head=True),
        Check("access", needs_head=True),
        Check("constraints", needs_head=True),
        Check("indexes", needs_head=True),
        Check("orphans", needs_head=True, scans=True),
        Check("identity", needs_head=True),
        Check("identity_left", needs_head=True, unit=Unit.PERCENT, limits=Limits(25, 10, falling=True)),
        Check("rules", needs_head=True, scans=True),
        Check("connections", unit=Unit.PERCENT, limits=Limits(80, 95)),
        Check("long_transactions", unit=Unit.SECONDS, limits=Limits(5 * 60, HOUR)),
        Check("idle_in_transaction", unit=Unit.SECONDS, limits=Limits(5 * 60, HOUR)),
        Check("blocked", unit=Unit.SECONDS, limits=Limits(10, 60)),
        Check("size", needs_head=True, unit=Unit.BYTES, limits=Limits()),
        Check("quick_check", scans=True),
        Check("permissions"),
        Check("disk", unit=Unit.PERCENT, limits=Limits(10, 5, falling=True)),
        Check("leftovers", offline=True),
        Check("plans", needs_head=True),
        Check("backup", offline=True, unit=Unit.SECONDS, limits=Limits(26 * HOUR, 50 * HOUR)),
        Check("backup_archive", offline=True),
        Check("drill", offline=True, unit=Unit.SECONDS, limits=Limits(35 * DAY, 70 * DAY)),
        Check("shrinkage", offline=True, unit=Unit.PERCENT, limits=Limits(20, 50)),
        Check("backup_space", offline=True, unit=Unit.PERCENT, limits=Limits(10, 5, falling=True)),
        Check("backup_strays", offline=True),
    )
}
"""Every check by its name, in the order of reports."""

DROPPED = frozenset({"growth", "journal_mode"})
"""Former checks. Their names are still accepted where a check is named."""


def check(name: str, *, on: str | None = None) -> Callable[[Measure[Result]], Measure[Result]]:
    """Register a function as a check, for one engine or for both."""

    def register(function: Measure[Result]) -> Measure[Result]:
        for engine in [on] if on else [POSTGRESQL, SQLITE]:
            CHECKS[name].functions[engine] = function
        return function

    return register


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
    """Whether rows must have kept a constraint that is in force and was validated."""
    hidden_tables: Measure[list[str]] = lambda _: []
    """The tables in which row level security may hide rows from the role."""
    broken_rows: Measure[list[str]] = lambda _: []
    """What the engine's own check says of rows, except for CHECK constraints."""
    unvalidated: Measure[dict[str, tuple[str, str]]] = lambda _: {}
    """The constraints that old rows were never held to, each with its table and its remedy."""
    unenforced: Measure[dict[str, str]] = lambda _: {}
    """Each reason why foreign keys are not checked when rows are written, with its remedy."""
    invalid_indexes: Measure[dict[str, str]] = lambda _: {}
    """The indexes of our tables that answer no query, each with its remedy."""


ENGINES: dict[str, Engine] = {}
"""Each engine by SQLAlchemy's name for it, once its module is imported."""
