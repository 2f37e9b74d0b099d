"""The checks by name, and the limits of each."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.health.report import Limits, Result, Status, Unit
from taskdb_cli.text.escaping import brief

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
    looks_at: str
    """What it looks at, in Markdown, for the list in docs/health.md."""
    judged: str = ""
    """What its faults are, if no limits decide that."""
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
        Check(
            "connection",
            "how long connecting takes; a second connection shows whether the first was a cold start",
            unit=Unit.SECONDS,
            limits=Limits(0.5, 5),
        ),
        Check(
            "version",
            "PostgreSQL: how long the major version is still supported, if taskdb knows it",
            unit=Unit.SECONDS,
            limits=Limits(180 * DAY, 0, falling=True),
        ),
        Check("tls", "PostgreSQL: a connection to another machine is encrypted", judged="warning"),
        Check("revision", "the schema is at the newest revision", judged="critical"),
        Check(
            "drift",
            "tables and columns are those of the models, and nothing was added, such as a trigger",
            judged="critical for a table; else warning",
            needs_head=True,
        ),
        Check(
            "access",
            "PostgreSQL: the role can read every table, and can write all of them or none; row level "
            "security hides no row",
            judged="critical or warning",
            needs_head=True,
        ),
        Check(
            "constraints",
            "every constraint is there and enforced, and was checked for older rows too",
            judged="critical or warning",
            needs_head=True,
        ),
        Check(
            "indexes",
            "every index is there and valid, also the [search index](search.md) if it is on",
            judged="critical if tasks cannot be written or found without it; else warning",
            needs_head=True,
        ),
        Check(
            "orphans",
            "no row has a user that does not exist",
            judged="critical",
            needs_head=True,
            scans=True,
        ),
        Check(
            "identity",
            "the next id exists, and is higher than every id in the table",
            judged="critical; on SQLite a warning if it is not above",
            needs_head=True,
        ),
        Check(
            "identity_left",
            "how many of the possible ids are left",
            needs_head=True,
            unit=Unit.PERCENT,
            limits=Limits(25, 10, falling=True),
        ),
        Check(
            "rules",
            "no row breaks a rule whose constraint is missing or disabled",
            judged="critical",
            needs_head=True,
            scans=True,
        ),
        Check(
            "connections",
            "PostgreSQL: how many of the possible connections are in use",
            unit=Unit.PERCENT,
            limits=Limits(80, 95),
        ),
        Check(
            "long_transactions",
            "PostgreSQL: the age of the oldest running transaction",
            unit=Unit.SECONDS,
            limits=Limits(5 * 60, HOUR),
        ),
        Check(
            "idle_in_transaction",
            "PostgreSQL: how long a session has left its transaction open",
            unit=Unit.SECONDS,
            limits=Limits(5 * 60, HOUR),
        ),
        Check(
            "blocked",
            "PostgreSQL: how long a session has waited for a lock of another session",
            unit=Unit.SECONDS,
            limits=Limits(10, 60),
        ),
        Check(
            "replica",
            "PostgreSQL: a hot standby receives and replays the log; `TASKDB_READ_URL` is a replica of this "
            "database",
            judged="critical if not; else warning",
        ),
        Check(
            "replica_lag",
            "PostgreSQL: how old the rows of a standby are; 0 if it has replayed everything",
            judged="`TASKDB_READ_LAG` and 30 times that",
            unit=Unit.SECONDS,
            limits=Limits(10, LAG_CRITICAL * 10),
        ),
        Check(
            "replica_backlog",
            "PostgreSQL: how many bytes of the log a standby has not replayed",
            unit=Unit.BYTES,
        ),
        Check(
            "replica_conflicts",
            "PostgreSQL: how many statements a standby has cancelled because they were in the way of the "
            "replay",
            unit=Unit.COUNT,
        ),
        Check("size", "the size of the database and its tables", needs_head=True, unit=Unit.BYTES),
        Check(
            "history",
            "the age of the oldest operation of the history; how many there are (from 10,000 on about how "
            "many), and on PostgreSQL their size",
            judged="two days more than `TASKDB_HISTORY_KEEP`",
            needs_head=True,
            unit=Unit.SECONDS,
        ),
        Check(
            "quick_check",
            "SQLite: the pages of the file are intact; in a file up to 8 MB each index agrees with its table",
            judged="critical",
            scans=True,
        ),
        Check(
            "permissions",
            "SQLite: not everybody may write to the file or its directory",
            judged="critical",
        ),
        Check(
            "disk",
            "SQLite: free space on the disk",
            unit=Unit.PERCENT,
            limits=Limits(10, 5, falling=True),
        ),
        Check(
            "leftovers",
            "SQLite: a restore that was killed left no files beside the database",
            judged="warning",
            offline=True,
        ),
        Check(
            "plans",
            "the usual lists use an index; checked from 10,000 tasks on",
            judged="warning",
            needs_head=True,
        ),
        Check(
            "backup",
            "the age of the last verified backup; a warning if there is none yet or if its date is in the "
            "future; critical if the directory is missing or unusable",
            offline=True,
            unit=Unit.SECONDS,
            limits=Limits(26 * HOUR, 50 * HOUR),
        ),
        Check(
            "backup_archive",
            "the archive of that backup has not changed since; up to 100 MB it is read again",
            judged="critical",
            offline=True,
        ),
        Check(
            "drill",
            "how long ago an archive last passed a test restore; a warning if never",
            offline=True,
            unit=Unit.SECONDS,
            limits=Limits(35 * DAY, 70 * DAY),
        ),
        Check(
            "shrinkage",
            "how much smaller that archive is than the one before it, in rows or bytes",
            offline=True,
            unit=Unit.PERCENT,
            limits=Limits(20, 50),
        ),
        Check(
            "backup_space",
            "the disk of the archives has free space, has room for one more archive, and is not read-only",
            offline=True,
            unit=Unit.PERCENT,
            limits=Limits(10, 5, falling=True),
        ),
        Check(
            "backup_strays",
            "killed runs left no files in the directory, and every file that is named like an archive is one",
            judged="warning",
            offline=True,
        ),
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
            raise InvalidConfiguration(f"TASKDB_HEALTH_LIMITS: no limits for {brief(name)!r}", hint)
        units = _UNITS[known[name].unit]
        try:
            warning, critical = (_quantity(value, units) for value in values.split(":"))
        except ValueError as exc:
            raise InvalidConfiguration(
                f"TASKDB_HEALTH_LIMITS: {brief(word)!r} is not {name}=WARNING:CRITICAL",
                f"the units are {' '.join(filter(None, units))}, as in 'connection=200ms:2s disk=10%:5%'",
            ) from exc
        limits = Limits(warning, critical, known[name].limits.falling)
        if warning is not None and limits.judge(warning) is Status.CRITICAL:
            worse, (first, second) = "less" if limits.falling else "more", values.split(":")
            raise InvalidConfiguration(
                f"TASKDB_HEALTH_LIMITS: {brief(word)!r} would be critical before it warns",
                f"{worse} is worse here, so turn them round: {name}={second}:{first}",
            )
        given[name] = limits
    return given


def _quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Return a quantity, or None for an empty text; raise ValueError for other text. Zero needs no unit."""
    if not text:
        return None
    match = _QUANTITY.fullmatch(text)
    if match and match[2] in units:
        return float(match[1]) * units[match[2]]
    if match and not match[2] and float(match[1]) == 0:
        return 0
    raise ValueError(text)


def in_units(value: float, unit: Unit) -> str:
    """Return a limit as `parse_limits` reads it, in the largest unit that it is a whole number of."""
    sizes = [*_UNITS[unit].items()]
    name, size = next(((n, s) for n, s in reversed(sizes) if value and value % s == 0), sizes[0])
    return f"{value / size:g}{name}" if value else "0"
