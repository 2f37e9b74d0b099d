"""Which archives of a database stay, and why, in restic's words; and the deletion of those that need not.

Days, ISO weeks and months are those of UTC, so that no change of a local clock makes one longer or
shorter.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from taskdb_cli.backup.atomic import sync_directory
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.errors import Incomplete, InvalidInput, StorageFailed

FLOOR = 3
"""How many verified archives of a database stay, if nothing else is said, whatever the rules say."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Policy:
    """How many archives of a database to keep: the last ones, and one of each of the last days and so on.

    A day, week or month counts if there is an archive of it, and its newest one is kept. Raises
    InvalidInput for a negative number, and for a policy of which no rule keeps anything.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    at_least: int = FLOOR

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                option = f"--keep-{field.name.replace('_', '-')}"
                raise InvalidInput(f"{option} cannot be negative", "give a number of archives")
        if not (self.last or self.daily or self.weekly or self.monthly):
            raise InvalidInput(
                "nothing says which archives to keep, and so all would go",
                "give one of --keep-last, --keep-daily, --keep-weekly and --keep-monthly a number above 0",
            )

    def in_words(self) -> str:
        """Return the policy as a person would say it: 7 daily, 5 weekly, at least 3."""
        rules = [f"{getattr(self, rule)} {rule}" for rule in ("last", *_PERIODS) if getattr(self, rule)]
        return ", ".join([*rules, f"at least {self.at_least}"])


@dataclass(frozen=True)
class Decision:
    """Whether an archive stays, and every reason for that.

    A suspect archive is damaged, dated in the future, or another database's. It stays, and no rule counts
    it.
    """

    entry: Entry
    keep: bool
    reasons: tuple[str, ...]
    suspect: bool = False

    def record(self) -> dict[str, object]:
        """Return the decision as a record."""
        return {
            "archive": self.entry.path.name,
            "taken_at": self.entry.taken_at,
            "size": self.entry.size,
            "keep": self.keep,
            "reasons": "; ".join(self.reasons),
        }


def decide(
    entries: Sequence[Entry], policy: Policy, now: datetime, damage: Callable[[Entry], str | None]
) -> list[Decision]:
    """Return what a policy means for each of these archives of a database, in their order; change nothing.

    `damage` verifies an archive, and says in words what is wrong with it; None means that it is sound.
    """
    suspicions = {entry: _suspicion(entry, now, damage) for entry in entries}
    reasons: dict[Entry, list[str]] = defaultdict(list)
    sound = [entry for entry in entries if suspicions[entry] is None]
    sound.sort(key=lambda entry: entry.taken_at, reverse=True)
    for entry, reason in _reasons(sound, policy):
        reasons[entry].append(reason)
    return [_decision(entry, suspicions[entry], reasons[entry]) for entry in entries]


def prune(directory: BackupDirectory, decisions: Sequence[Decision]) -> list[Entry]:
    """Delete the archives that need not stay, and nothing else; return them.

    Their labels must be locked. Raises Incomplete, with each failure in its details, when some could
    not be deleted; the others are then gone all the same.
    """
    gone, failures = [], []
    for entry in (decision.entry for decision in decisions if not decision.keep):
        try:
            directory.remove(entry)
        except StorageFailed as exc:
            failures.append({"file": str(entry.path), "reason": exc.message})
        else:
            _log.info("deleted %s", entry.path)
            gone.append(entry)
    try:
        if gone:
            sync_directory(directory.path)
    except StorageFailed as exc:
        failures.append({"file": str(directory.path), "reason": exc.message})
    if failures:
        raise _incomplete(failures)
    return gone


def _incomplete(failures: Sequence[Mapping[str, str]]) -> Incomplete:
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return Incomplete(
        f"pruning is not complete: {failures[0]['reason']}{more}",
        "'taskdb backup prune' tries again",
        failures,
    )


def _suspicion(entry: Entry, now: datetime, damage: Callable[[Entry], str | None]) -> str | None:
    if entry.taken_at > now:
        return "dated in the future"
    fault = damage(entry)
    return None if fault is None else f"damaged: {fault}"


def _decision(entry: Entry, suspicion: str | None, reasons: Sequence[str]) -> Decision:
    if suspicion is not None:
        return Decision(entry, keep=True, reasons=(suspicion,), suspect=True)
    return Decision(entry, keep=bool(reasons), reasons=tuple(reasons) or ("no rule keeps it",))


def _reasons(newest_first: Sequence[Entry], policy: Policy) -> Iterator[tuple[Entry, str]]:
    kept = set()
    for entry, reason in _rules(newest_first, policy):
        kept.add(entry)
        yield entry, reason
    for entry in newest_first[: policy.at_least]:
        if entry not in kept:
            yield entry, f"floor: one of the {policy.at_least} newest"


def _rules(newest_first: Sequence[Entry], policy: Policy) -> Iterator[tuple[Entry, str]]:
    for number, entry in enumerate(newest_first[: policy.last], start=1):
        yield entry, f"last {number}"
    for rule, period in _PERIODS.items():
        newest: dict[str, Entry] = {}
        for entry in newest_first:
            newest.setdefault(period(entry.taken_at.astimezone(UTC)), entry)
        for name, entry in list(newest.items())[: getattr(policy, rule)]:
            yield entry, f"{rule} {name}"


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year:04}-W{week:02}"


def _month(at: datetime) -> str:
    return _day(at)[: len("2026-11")]


_PERIODS = {"daily": _day, "weekly": _week, "monthly": _month}
