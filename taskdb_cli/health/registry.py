"""The checks by name, the limits of each, and the functions that are registered for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.health.report import NO_LIMITS, Limits, Result, Unit

POSTGRESQL, SQLITE = "postgresql", "sqlite"
HOUR = 3600.0
DAY = 24 * HOUR

Function = Callable[[Any], Result]
"""A function that measures and judges with the `Examination` of its engine."""

_UNITS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ms": 0.001, "s": 1, "m": 60, "h": HOUR, "d": DAY},
    Unit.BYTES: {"": 1, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    Unit.PERCENT: {"": 1, "%": 1},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z%]*)")
_EXAMPLE = "write CHECK=WARNING:CRITICAL with spaces between, such as 'connection=200ms:2s backup=26h:50h'"


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
    limits: Limits = NO_LIMITS
    """The usual limits. A check with a unit lets others be set."""
    functions: dict[str, Function] = field(default_factory=dict, compare=False)
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
        Check("size", needs_head=True, unit=Unit.BYTES),
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


def check(name: str, *, on: str | None = None) -> Callable[[Function], Function]:
    """Register a function as a check, for one engine or for both."""

    def register(function: Function) -> Function:
        for engine in [on] if on else [POSTGRESQL, SQLITE]:
            CHECKS[name].functions[engine] = function
        return function

    return register


class Thresholds(dict[str, Limits]):
    """The limits of checks that are not the usual ones, in seconds, bytes or per cent."""

    def of(self, name: str) -> Limits:
        """Return the limits of a check. Most checks have none."""
        return self.get(name) or CHECKS[name].limits

    @classmethod
    def parse(cls, text: str) -> Thresholds:
        """Read CHECK=WARNING:CRITICAL, separated by spaces or commas; either of the two may be empty.

        The limits of a dropped check are ignored. Raises InvalidConfiguration for a check without limits,
        and for a quantity that does not fit the check.
        """
        known = {name: check for name, check in CHECKS.items() if check.unit}
        given = cls()
        for word in text.replace(",", " ").split():
            name, _, values = word.partition("=")
            if name in DROPPED:
                continue
            if name not in known:
                raise InvalidConfiguration(
                    f"TASKDB_HEALTH_LIMITS: no limits for {name!r}", f"there are {', '.join(known)}"
                )
            warning, colon, critical = values.partition(":")
            if not colon:
                raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: {word!r} has not two limits", _EXAMPLE)
            units = _UNITS[known[name].unit]
            falling = given.of(name).falling
            given[name] = Limits(_quantity(word, warning, units), _quantity(word, critical, units), falling)
        return given


def _quantity(word: str, text: str, units: dict[str, float]) -> float | None:
    if not text:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: {word!r} has no quantity {text!r}", _EXAMPLE)
    number, unit = float(match[1]), match[2]
    if unit not in units and (unit or number):
        raise InvalidConfiguration(
            f"TASKDB_HEALTH_LIMITS: {text!r} of {word!r} has not the unit it needs",
            f"the units are {' '.join(filter(None, units))}",
        )
    return number * units.get(unit, 0)
