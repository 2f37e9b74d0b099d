"""What a check found, what all of them found, and how bad that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """How a check ended, the worst first. Unknown is worse than a warning: it may hide something critical."""

    CRITICAL = "critical"
    UNKNOWN = "unknown"
    """It should have been measured, but was not."""
    WARNING = "warning"
    OK = "ok"
    SKIPPED = "skipped"
    """It cannot be measured here, because of the kind of database or the rights of the role."""


EXIT_CODES = {Status.CRITICAL: 2, Status.UNKNOWN: 3, Status.WARNING: 1, Status.OK: 0}
"""The exit codes that monitoring systems expect of a plugin, the worst first."""

MANY = 4
"""If at least this many checks say the same, the table shows them as one."""

_SHOWN = 5


class Unit(StrEnum):
    """The unit of a value, as monitoring plugins write it."""

    SECONDS = "s"
    BYTES = "B"
    PERCENT = "%"
    COUNT = "c"
    """A number that only grows, and that limits may be set for."""
    NUMBER = ""


@dataclass(frozen=True)
class Limits:
    """Values above these limits are bad, or with `falling` the values below them. None is no limit."""

    warning: float | None = None
    critical: float | None = None
    falling: bool = False

    def judge(self, value: float) -> Status:
        """Return how bad a value is. A value on a limit has not crossed it."""
        for limit, status in ((self.critical, Status.CRITICAL), (self.warning, Status.WARNING)):
            if limit is not None and (value < limit if self.falling else value > limit):
                return status
        return Status.OK


@dataclass(frozen=True)
class Result:
    """What a check found. The runner adds the name and the limits of the check."""

    status: Status
    message: str
    """What was found, in one line."""
    value: float | None = None
    unit: Unit = Unit.NUMBER
    remedy: str = ""
    """How to repair it."""
    name: str = ""
    limits: Limits = Limits()

    @property
    def is_fine(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.status in (Status.OK, Status.SKIPPED)


class Unmeasured(Exception):
    """Raised by a check that could not be made: it is skipped, or its result is unknown."""

    def __init__(self, reason: str, remedy: str = "", *, status: Status = Status.SKIPPED) -> None:
        super().__init__(reason)
        self.result = Result(status, reason, remedy=remedy)


def none_of(faults: Mapping[str, str], fine: str, bad: str, *, status: Status = Status.CRITICAL) -> Result:
    """Return a good result without faults; `bad` introduces the faults. Each fault has its remedy."""
    if not faults:
        return Result(Status.OK, fine, 0)
    remedy = "; ".join(dict.fromkeys(faults.values()))
    return Result(status, f"{bad}: {shortened([*faults])}", len(faults), remedy=remedy)


def shortened(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Report:
    """The results of all checks of one database, when they began, and how many seconds they took."""

    place: str
    at: datetime
    seconds: float
    checks: tuple[Result, ...]

    @property
    def status(self) -> Status:
        """The worst status; unknown if every check was skipped, and ok if there was no check."""
        found = {check.status for check in self.checks}
        nothing = Status.UNKNOWN if found else Status.OK
        return next((status for status in EXIT_CODES if status in found), nothing)

    @property
    def folded(self) -> list[Result]:
        """The results for a person. Checks that failed for one reason, such as no connection, are one."""
        alike: dict[str, list[Result]] = {}
        for check in self.checks:
            alike.setdefault(check.name if check.is_fine else check.message, []).append(check)
        shown = []
        for checks in alike.values():
            shown += checks if len(checks) < MANY else [replace(checks[0], name=f"{len(checks)} checks")]
        return shown

    @property
    def exit_code(self) -> int:
        """The exit code of a monitoring plugin."""
        return EXIT_CODES[self.status]
