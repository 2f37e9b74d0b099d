"""Decide which archives of a database to keep, and delete the others.

Days, ISO weeks and months are counted in UTC, so a change of the local clock makes none longer or shorter.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.backup.ownership import Holdings, Owner
from taskdb_cli.errors import Incomplete, InvalidInput, StorageFailed, TaskdbError

_PERIODS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda at: at.date().isoformat(),
    "weekly": lambda at: "{0.year:04}-W{0.week:02}".format(at.isocalendar()),
    "monthly": lambda at: at.date().isoformat()[: len("2026-11")],
}
"""Each rule that keeps one archive per period, with the name of the period that a time is in."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Policy:
    """How many archives of a database to keep: the last ones, and the newest of each day, week and month.

    Days, weeks and months without an archive are not counted. The newest `at_least` archives are kept
    whatever the other rules say. Raises InvalidInput for a policy that would keep nothing.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    at_least: int = 3

    def __post_init__(self) -> None:
        if not (self.last or self.daily or self.weekly or self.monthly):
            raise InvalidInput(
                "no rule says which archives to keep, so all would go",
                "set --keep-last, --keep-daily, --keep-weekly or --keep-monthly to a number above 0",
            )

    def in_words(self) -> str:
        """Return the policy as a person would say it: 7 daily, 5 weekly, at least 3."""
        rules = [f"{getattr(self, rule)} {rule}" for rule in ("last", *_PERIODS) if getattr(self, rule)]
        return ", ".join([*rules, f"at least {self.at_least}"])


@dataclass(frozen=True)
class Decision:
    """Whether an archive is kept, and every reason for that.

    A suspect archive is damaged, dated in the future, or another database's. It is kept and never counted.
    """

    entry: Entry
    keep: bool
    reasons: tuple[str, ...]
    suspect: bool = False


def prune(
    directory: BackupDirectory, owner: Owner, policy: Policy, *, now: datetime, dry_run: bool = False
) -> Sequence[Decision]:
    """Delete the archives of a database that a policy does not keep; return the decision on each.

    Those of other databases under the same labels are kept, and are in the answer. All of its own archives
    are read and compared with their seals. Raises BackupRunning, and Incomplete if some cannot be deleted.
    """
    with ExitStack() as locks:
        if not dry_run:
            used = {entry.label for entry in directory.entries()} & owner.labels
            for label in sorted(used | {owner.label}):
                locks.enter_context(directory.lock(label))
        found = Holdings(directory, owner)
        decisions = decide(found.own, policy, now, _damage)
        reasons = {entry: f"of {name}" for entry, name in found.others.items()}
        reasons |= {entry: f"damaged: {error.message}" for entry, error in found.unreadable.items()}
        decisions += [Decision(entry, True, (reason,), suspect=True) for entry, reason in reasons.items()]
        if not dry_run:
            delete(directory, decisions)
    return sorted(decisions, key=lambda decision: (decision.entry.taken_at, decision.entry.label))


def _damage(entry: Entry) -> str | None:
    try:
        with Archive.open(entry.file):
            return None
    except TaskdbError as exc:
        return exc.message


def decide(
    entries: Sequence[Entry], policy: Policy, now: datetime, damage: Callable[[Entry], str | None]
) -> list[Decision]:
    """Return what a policy means for each of these archives of a database, in their order; change nothing.

    `damage` verifies an archive. It returns what is wrong with the archive, or None if the archive is good.
    """
    decisions: dict[Entry, Decision] = {}
    counted = 0
    periods: dict[str, list[str]] = {rule: [] for rule in _PERIODS}
    for entry in sorted(entries, key=lambda each: each.taken_at, reverse=True):
        fault = "dated in the future" if entry.taken_at > now else None
        if fault is None and (damaged := damage(entry)) is not None:
            fault = f"damaged: {damaged}"
        if fault:
            decisions[entry] = Decision(entry, keep=True, reasons=(fault,), suspect=True)
            continue
        counted += 1
        reasons = [f"last {counted}"] if counted <= policy.last else []
        for rule, period_of in _PERIODS.items():
            period, kept = period_of(entry.taken_at.astimezone(UTC)), periods[rule]
            if len(kept) < getattr(policy, rule) and period not in kept:
                kept.append(period)
                reasons.append(f"{rule} {period}")
        if not reasons and counted <= policy.at_least:
            reasons.append(f"floor: one of the {policy.at_least} newest")
        decisions[entry] = Decision(entry, bool(reasons), tuple(reasons) or ("no rule keeps it",))
    return [decisions[entry] for entry in entries]


def delete(directory: BackupDirectory, decisions: Sequence[Decision]) -> list[Entry]:
    """Delete the archives that are not kept, and nothing else; return them.

    Their labels must be locked. All are tried. Raises Incomplete, with each failure in its details, if some
    could not be deleted.
    """
    deleted, failures = [], []
    for entry in (decision.entry for decision in decisions if not decision.keep):
        try:
            directory.remove(entry)
        except StorageFailed as exc:
            failures.append({"file": str(entry.file), "reason": exc.message})
        else:
            _log.info("deleted %s", entry.file)
            deleted.append(entry)
    try:
        if deleted:
            directory.store.sync()
    except StorageFailed as exc:
        failures.append({"file": str(directory), "reason": exc.message})
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        what = f"pruning is not complete: {failures[0]['reason']}{more}"
        raise Incomplete(what, "'taskdb backup prune' tries again", failures)
    return deleted
