"""The limits beyond which a check warns or is critical."""

# ruff: noqa: RUF009 (limits are frozen: sharing them is safe)
from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.health.registry import DROPPED
from taskdb_cli.health.report import NO_LIMITS, Limits, Unit

HOUR = 3600.0
DAY = 24 * HOUR
GB = 1e9

_UNITS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ms": 0.001, "s": 1, "m": 60, "h": HOUR, "d": DAY},
    Unit.BYTES: {"": 1, "MB": 1e6, "GB": GB, "TB": 1e12},
    Unit.PERCENT: {"": 1, "%": 1},
}
_UNIT_OF = {"size": Unit.BYTES} | dict.fromkeys(
    ("identity_left", "connections", "disk", "shrinkage", "backup_space"), Unit.PERCENT
)
"""The unit of limits that are not times."""

_QUANTITY = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[A-Za-z%]*)")
_EXAMPLE = "write CHECK=WARNING:CRITICAL with spaces between, such as 'connection=200ms:2s backup=26h:50h'"


@dataclass(frozen=True)
class Thresholds:
    """The limits of each check that has some, in seconds, bytes or per cent."""

    connection: Limits = Limits(0.5, 5)
    version: Limits = Limits(180 * DAY, 0, falling=True)
    identity_left: Limits = Limits(25, 10, falling=True)
    connections: Limits = Limits(80, 95)
    long_transactions: Limits = Limits(5 * 60, HOUR)
    idle_in_transaction: Limits = Limits(5 * 60, HOUR)
    blocked: Limits = Limits(10, 60)
    size: Limits = NO_LIMITS
    disk: Limits = Limits(10, 5, falling=True)
    backup: Limits = Limits(26 * HOUR, 50 * HOUR)
    drill: Limits = Limits(35 * DAY, 70 * DAY)
    shrinkage: Limits = Limits(20, 50)
    backup_space: Limits = Limits(10, 5, falling=True)

    def of(self, name: str) -> Limits:
        """Return the limits of a check. Most checks have none."""
        found: Limits = getattr(self, name, NO_LIMITS)
        return found

    @classmethod
    def parse(cls, text: str) -> Thresholds:
        """Read CHECK=WARNING:CRITICAL, separated by spaces or commas; either of the two may be empty.

        The limits of a dropped check are ignored. Raises InvalidConfiguration for a check without limits,
        and for a quantity that does not fit the check.
        """
        usual = cls()
        known = [each.name for each in fields(cls)]
        given = {}
        for word in text.replace(",", " ").split():
            name, _, values = word.partition("=")
            if name in DROPPED:
                continue
            if name not in known:
                raise InvalidConfiguration(
                    f"TASKDB_HEALTH_LIMITS: no limits for {name!r}", f"there are {', '.join(known)}"
                )
            given[name] = _limits(word, values, _UNIT_OF.get(name, Unit.SECONDS), usual.of(name).falling)
        return replace(usual, **given)


def _limits(word: str, values: str, unit: Unit, falling: bool) -> Limits:
    warning, colon, critical = values.partition(":")
    if not colon:
        raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: {word!r} has not two limits", _EXAMPLE)
    return Limits(_quantity(word, warning, unit), _quantity(word, critical, unit), falling)


def _quantity(word: str, text: str, unit: Unit) -> float | None:
    if not text:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: {word!r} has no quantity {text!r}", _EXAMPLE)
    number, known = float(match["number"]), _UNITS[unit]
    if match["unit"] in known:
        return number * known[match["unit"]]
    if not number and not match["unit"]:
        return 0.0
    units = " ".join(filter(None, known))
    raise InvalidConfiguration(
        f"TASKDB_HEALTH_LIMITS: {text!r} of {word!r} has not the unit it needs", f"the units are {units}"
    )
