"""The limits beyond which a check warns or is critical."""

from __future__ import annotations

import re

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.health.registry import CHECKS, DAY, DROPPED, HOUR
from taskdb_cli.health.report import NO_LIMITS, Limits, Unit

_UNITS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ms": 0.001, "s": 1, "m": 60, "h": HOUR, "d": DAY},
    Unit.BYTES: {"": 1, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    Unit.PERCENT: {"": 1, "%": 1},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z%]*)")
_EXAMPLE = "write CHECK=WARNING:CRITICAL with spaces between, such as 'connection=200ms:2s backup=26h:50h'"


class Thresholds(dict[str, Limits]):
    """The limits of checks that are not the usual ones, in seconds, bytes or per cent."""

    def of(self, name: str) -> Limits:
        """Return the limits of a check. Most checks have none."""
        return self.get(name) or CHECKS[name].limits or NO_LIMITS

    @classmethod
    def parse(cls, text: str) -> Thresholds:
        """Read CHECK=WARNING:CRITICAL, separated by spaces or commas; either of the two may be empty.

        The limits of a dropped check are ignored. Raises InvalidConfiguration for a check without limits,
        and for a quantity that does not fit the check.
        """
        known = {name: check for name, check in CHECKS.items() if check.limits is not None}
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
