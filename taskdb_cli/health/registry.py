"""The checks by name, and the limits of each."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.health.report import Limits, Result, Status, Unit

HOUR = 3600.0
DAY = 24 * HOUR

LAG_CRITICAL = 30
"""How many times the lag that is a warning is critical."""

_UNITS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ms": 0.001, "s": 1, "m": 60, "h": HOUR, "d": DAY},
    Unit.BYTES: {"": 1, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    Unit.PERCENT: {"": 1, "%": 1},
    Unit.COUNT: {"": 1},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z%]*)")


@dataclass(frozen=True)
class Check:
    """A check: the function `check_NAME` in `checks`, which measures with an `Examination` and judges."""

    name: str
    needs_head: bool = False
    """Whether it looks at the tables of the newest revision."""
    offline: bool = False
    """Whether it needs no connection, so that it is made even when the server hangs."""
    scans: bool = False
    """Whether it reads whole tables or the whole file. Such checks run last."""
    unit: Unit = Unit.NUMBER
    """The unit of the values that are judged by limits."""
    limits: Limits = field(default=Limits())
    """The usual limits. A check with a unit lets others be set."""
    function: Callable[[Any], Result] | None = None
    """The function for the engine, once that is known; None if it is skipped there."""


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
        Check("replica"),
        Check("replica_lag", unit=Unit.SECONDS, limits=Limits(10, LAG_CRITICAL * 10)),
        Check("replica_backlog", unit=Unit.BYTES),
        Check("replica_conflicts", unit=Unit.COUNT),
        Check("size", needs_head=True, unit=Unit.BYTES),
        Check("history", needs_head=True, unit=Unit.SECONDS),
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


def parse_limits(text: str) -> dict[str, Limits]:
    """Read CHECK=WARNING:CRITICAL, separated by spaces or commas; either of the two may be empty.

    Returns seconds, bytes or per cent by the name of the check. The limits of a dropped check are ignored.
    Raises InvalidConfiguration for a check without limits, for a quantity that does not fit the check, and
    for a critical limit that is crossed before the warning.
    """
    known = {name: check for name, check in CHECKS.items() if check.unit}
    given = {}
    for word in text.replace(",", " ").split():
        name, _, values = word.partition("=")
        if name in DROPPED:
            continue
        if name not in known:
            hint = f"there are {', '.join(known)}"
            raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: no limits for {name!r}", hint)
        units = _UNITS[known[name].unit]
        try:
            warning, critical = (_quantity(value, units) for value in values.split(":"))
        except ValueError as exc:
            raise InvalidConfiguration(
                f"TASKDB_HEALTH_LIMITS: {word!r} is not {name}=WARNING:CRITICAL",
                f"the units are {' '.join(filter(None, units))}, as in 'connection=200ms:2s disk=10%:5%'",
            ) from exc
        limits = Limits(warning, critical, known[name].limits.falling)
        if warning is not None and limits.judge(warning) is Status.CRITICAL:
            worse, (first, second) = "less" if limits.falling else "more", values.split(":")
            raise InvalidConfiguration(
                f"TASKDB_HEALTH_LIMITS: {word!r} would be critical before it warns",
                f"{worse} is worse here, so turn them round: {name}={second}:{first}",
            )
        given[name] = limits
    return given


def _quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Return a quantity, or None for no text; raise ValueError for text that is none. Zero needs no unit."""
    if not text:
        return None
    match = _QUANTITY.fullmatch(text)
    if match and match[2] in units:
        return float(match[1]) * units[match[2]]
    if match and not match[2] and float(match[1]) == 0:
        return 0
    raise ValueError(text)
