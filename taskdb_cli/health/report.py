"""What a check found, what all of them found, and how bad that is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    """It should have been measured, and was not."""
    SKIPPED = "skipped"
    """It cannot be measured here, by the nature of the database or the rights of the role."""


EXIT_CODES = {Status.OK: 0, Status.WARNING: 1, Status.CRITICAL: 2, Status.UNKNOWN: 3}
"""What monitoring systems expect of a plugin."""

WORST_FIRST = (Status.CRITICAL, Status.UNKNOWN, Status.WARNING, Status.OK, Status.SKIPPED)
"""What was not measured may hide something critical, and so is worse than a warning."""


MANY = 4
"""If at least this many checks say the same, the table shows them as one."""


class Unit(StrEnum):
    """What a value counts, in the units of measurement of a monitoring plugin."""

    SECONDS = "s"
    BYTES = "B"
    PERCENT = "%"
    NUMBER = ""


@dataclass(frozen=True)
class Limits:
    """From where on a value is bad: above these, or with `falling` below them; None is nowhere."""

    warning: float | None = None
    critical: float | None = None
    falling: bool = False

    def judge(self, value: float) -> Status:
        """Return how bad a value is."""
        if self._crossed(value, self.critical):
            return Status.CRITICAL
        return Status.WARNING if self._crossed(value, self.warning) else Status.OK

    def _crossed(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return value < limit if self.falling else value > limit


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    status: Status
    message: str
    """What was found, in one line."""
    value: float | None = None
    unit: Unit = Unit.NUMBER
    limits: Limits = NO_LIMITS
    remedy: str = ""
    """What mends it; empty when nothing needs mending."""

    @property
    def is_fine(self) -> bool:
        """Whether nobody need do anything about it."""
        return self.status in (Status.OK, Status.SKIPPED)


@dataclass(frozen=True)
class Report:
    """What all checks found about one database, when, and how many seconds that took."""

    place: str
    at: datetime
    seconds: float
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of all; unknown if nothing was measured."""
        found = {check.status for check in self.checks}
        worst = next((status for status in WORST_FIRST if status in found), Status.SKIPPED)
        return Status.UNKNOWN if worst is Status.SKIPPED else worst

    @property
    def folded(self) -> tuple[Check, ...]:
        """The checks for a person. Those that failed for one reason, such as no connection, are one line."""
        reasons = Counter((check.status, check.message) for check in self.checks)
        shown: dict[object, Check] = {}
        for check in self.checks:
            number = reasons[check.status, check.message]
            if number >= MANY and check.status in (Status.UNKNOWN, Status.CRITICAL):
                shown.setdefault((check.status, check.message), replace(check, name=f"{number} checks"))
            else:
                shown[check.name] = check
        return tuple(shown.values())

    @property
    def exit_code(self) -> int:
        """The exit code of a monitoring plugin."""
        return EXIT_CODES[self.status]

    def count(self) -> dict[Status, int]:
        """Return how many checks ended how, in the order of `Status`."""
        counts = Counter(check.status for check in self.checks)
        return {status: counts[status] for status in Status}
