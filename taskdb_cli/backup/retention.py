"""Decide which archives of a database to keep, and delete the others.

Hours, days, ISO weeks, months and years are those of UTC, so a change of the local clock makes none longer
or shorter.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.entry import Entry, first_names
from taskdb_cli.backup.ownership import Holdings, Owner
from taskdb_cli.backup.recheck import Recheck
from taskdb_cli.errors import ArchiveEncrypted, Incomplete, InvalidInput, StorageFailed
from taskdb_cli.text.amounts import in_words

_RULES: dict[str, Callable[[datetime, int], str]] = {
    "last": lambda _, number: str(number),
    "hourly": lambda at, _: at.isoformat()[: len("2026-11-22T12")],
    "daily": lambda at, _: at.date().isoformat(),
    "weekly": lambda at, _: "{0.year:04}-W{0.week:02}".format(at.isocalendar()),
    "monthly": lambda at, _: at.date().isoformat()[: len("2026-11")],
    "yearly": lambda at, _: f"{at.year:04}",
}
"""Each rule, with the name of the period that an archive is in, by its time and its number from the newest.

A rule keeps the newest archive of each period.
"""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Policy:
    """How many archives of a database each rule keeps: the last ones, and the newest of each period.

    Periods without an archive are not counted. A rule that finds fewer periods than its number also keeps the
    oldest archive, so that the history reaches as far back as it can. The newest `at_least` archives are kept
    whatever the rules say. Of the archives that stay, pruning reads a share again, so that each is read once
    in `recheck` nights; 0 means none. Raises InvalidInput for a policy that would keep nothing.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    at_least: int = 3
    recheck: int = 30

    def __post_init__(self) -> None:
        if not self.rules:
            raise InvalidInput(
                "no rule says which archives to keep, so all would be deleted",
                "set --keep-last, --keep-daily, --keep-weekly, --keep-monthly or another to a number above 0",
            )

    @property
    def rules(self) -> dict[str, int]:
        """The rules that keep any, each with its number."""
        return {rule: number for rule in _RULES if (number := getattr(self, rule))}

    def in_words(self) -> str:
        """Return the policy as a person would say it: 7 daily, 5 weekly, at least 3."""
        rules = [f"{number} {rule}" for rule, number in self.rules.items()]
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
    directory: BackupDirectory,
    owner: Owner,
    policy: Policy,
    *,
    now: datetime,
    dry_run: bool = False,
    say: Callable[[str], object],
) -> Sequence[Decision]:
    """Delete the archives of a database that a policy does not keep; return the decision on each.

    Those of other databases under the same labels are kept, and are in the answer. An archive that was never
    verified here, or whose file has changed since, is read first. So is the policy's share of those that
    stay. What was found is recorded. A dry run takes all of these for good, and `say` gets a line that names
    them, and one for each old lock that would be removed. Raises BackupRunning, StoreUnavailable, and
    Incomplete if anything cannot be deleted or recorded.
    """
    with ExitStack() as locks:
        labels = {entry.label for entry in directory.entries()} & owner.labels | {owner.label}
        if not dry_run:
            for label in sorted(labels):
                locks.enter_context(directory.lock(label))
        found = Holdings(directory, owner)
        recheck = Recheck(directory, (entry for entry in found.own if entry.taken_at <= now), now)
        unknown = recheck.unknown
        try:
            if not dry_run:
                recheck.read(unknown)
            decisions = decide(found.own, policy, now, recheck.damage)
            due = recheck.due([each.entry for each in decisions if each.keep], policy.recheck)
            if due and not dry_run:
                recheck.read(due)
                decisions = decide(found.own, policy, now, recheck.damage)
            if not dry_run:
                delete(directory, decisions)
        finally:
            recheck.note()
    if dry_run:
        if first := [*unknown, *due]:
            what = in_words({"archives": len(first)})
            say(f"would read {what} first, and keep those that are damaged: {first_names(first)}")
        for lock in directory.stale_locks(labels, now):
            say(f"would remove {lock}, a lock that no run renews")
    reasons = {entry: f"of {name}" for entry, name in found.others.items()}
    for entry, error in found.unreadable.items():
        encrypted = isinstance(error, ArchiveEncrypted)
        reasons[entry] = "encrypted, and no record describes it" if encrypted else _damage(error.message)
    decisions += [Decision(entry, True, (reason,), suspect=True) for entry, reason in reasons.items()]
    return sorted(decisions, key=lambda decision: (decision.entry.taken_at, decision.entry.label))


def decide(
    entries: Sequence[Entry], policy: Policy, now: datetime, damage: Callable[[Entry], str | None]
) -> list[Decision]:
    """Return what a policy means for each of these archives of a database, in their order; change nothing.

    `damage` verifies an archive. It returns what is wrong with the archive, or None if the archive is good.
    """
    faults: dict[Entry, str] = {}
    for entry in entries:
        if entry.taken_at > now:
            faults[entry] = "dated in the future"
        elif (damaged := damage(entry)) is not None:
            faults[entry] = _damage(damaged)
    decisions = {entry: Decision(entry, True, (fault,), suspect=True) for entry, fault in faults.items()}
    good = sorted(set(entries) - set(faults), key=lambda each: (each.taken_at, each.label), reverse=True)
    kept: dict[str, set[str]] = {rule: set() for rule in policy.rules}
    for number, entry in enumerate(good, 1):
        reasons = []
        for rule, wanted in policy.rules.items():
            periods, period = kept[rule], _RULES[rule](entry.taken_at.astimezone(UTC), number)
            if len(periods) < wanted and period not in periods:
                periods.add(period)
                reasons.append(f"{rule} {period}")
            elif len(periods) < wanted and number == len(good):
                reasons.append(f"oldest: {rule} has {len(periods)} of {wanted}")
        if not reasons and number <= policy.at_least:
            reasons.append(f"floor: one of the {policy.at_least} newest")
        decisions[entry] = Decision(entry, bool(reasons), tuple(reasons) or ("no rule keeps it",))
    return [decisions[entry] for entry in entries]


def _damage(message: str) -> str:
    """Return the reason for an error about an archive, which stands beside its name already."""
    return f"damaged: {message.partition(' is damaged: ')[2] or message}"


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
