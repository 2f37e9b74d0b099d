"""Which archives stay, for which reasons, and what pruning deletes."""

import logging
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.retention import Decision, Policy, decide, delete
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.errors import Incomplete, InvalidInput
from taskdb_cli.exit_codes import ExitCode
from tests.backups import break_call, put

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""A Sunday, the last day of an ISO week."""

GOES = ("no rule keeps it",)
FLOOR = ("floor: one of the 3 newest",)
FUTURE = ("dated in the future",)
DAMAGED = ("damaged: a flipped bit",)


def moment(text):
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=at.tzinfo or UTC)


def entry(at, label="tasks"):
    taken_at = moment(at) if isinstance(at, str) else at
    return Entry(Path(archive_name(label, taken_at)), label, taken_at, 1)


def sound(entry):
    return None


@dataclass
class Case:
    """Archives with the reasons that they get, and what brings that about."""

    policy: Policy
    archives: dict[str, tuple[str, ...]]
    now: datetime = NOW
    damaged: set[str] = field(default_factory=set)


CASES = {
    "the last ones": Case(
        Policy(last=2, at_least=0),
        {
            "2026-11-20": GOES,
            "2026-11-21": ("last 2",),
            "2026-11-22": ("last 1",),
        },
    ),
    "more than there are": Case(
        Policy(last=10, at_least=0), {"2026-11-21": ("last 2",), "2026-11-22": ("last 1",)}
    ),
    "no archives": Case(Policy(last=1), {}),
    "one archive": Case(Policy(monthly=1), {"2020-01-01": ("monthly 2020-01",)}),
    "the newest of each day": Case(
        Policy(daily=2, at_least=0),
        {
            "2026-11-20T23:59:59.999999": GOES,
            "2026-11-21T00:00": GOES,
            "2026-11-21T23:59:59.999999": ("daily 2026-11-21",),
            "2026-11-22T00:00": GOES,
            "2026-11-22T06:00": ("daily 2026-11-22",),
        },
    ),
    "days without an archive do not count": Case(
        Policy(daily=3, at_least=0),
        {
            "2025-01-01": GOES,
            "2025-06-30": ("daily 2025-06-30",),
            "2026-03-01": ("daily 2026-03-01",),
            "2026-11-22": ("daily 2026-11-22",),
        },
    ),
    "the newest of each week, which begins on Monday": Case(
        Policy(weekly=2, at_least=0),
        {
            "2026-11-15T23:59": GOES,
            "2026-11-16T00:00": GOES,
            "2026-11-20": ("weekly 2026-W47",),
            "2026-11-23": ("weekly 2026-W48",),
        },
        now=NOW + timedelta(days=7),
    ),
    "week 53 lies in two years": Case(
        Policy(weekly=2, at_least=0),
        {
            "2020-12-27": GOES,
            "2020-12-31": GOES,
            "2021-01-03T23:59": ("weekly 2020-W53",),
            "2021-01-04": ("weekly 2021-W01",),
        },
    ),
    "the last days of December can be in week 1": Case(
        Policy(weekly=2, at_least=0),
        {
            "2025-12-28": ("weekly 2025-W52",),
            "2025-12-29": GOES,
            "2026-01-01": ("weekly 2026-W01",),
        },
    ),
    "the same week of another year is another": Case(
        Policy(weekly=3, at_least=0),
        {
            "2024-11-20": ("weekly 2024-W47",),
            "2025-11-20": ("weekly 2025-W47",),
            "2026-11-20": ("weekly 2026-W47",),
        },
    ),
    "the newest of each month": Case(
        Policy(monthly=2, at_least=0),
        {
            "2026-09-30": GOES,
            "2026-10-01": GOES,
            "2026-10-31T23:59:59": ("monthly 2026-10",),
            "2026-11-01": ("monthly 2026-11",),
        },
    ),
    "the same month of another year is another": Case(
        Policy(monthly=2, at_least=0),
        {"2025-11-30": ("monthly 2025-11",), "2026-11-01": GOES, "2026-11-02": ("monthly 2026-11",)},
    ),
    "the newest of each hour and of each year": Case(
        Policy(hourly=2, yearly=2, at_least=0),
        {
            "2024-12-31": GOES,
            "2025-12-31": ("yearly 2025",),
            "2026-11-22T10:59:59": ("hourly 2026-11-22T10",),
            "2026-11-22T11:00": GOES,
            "2026-11-22T11:30": ("hourly 2026-11-22T11", "yearly 2026"),
        },
    ),
    "the oldest stays while a rule finds too few": Case(
        Policy(last=2, daily=3, monthly=3, yearly=1, at_least=0),
        {
            "2026-10-01": ("oldest: monthly has 2 of 3",),
            "2026-10-02": GOES,
            "2026-10-31": ("daily 2026-10-31", "monthly 2026-10"),
            "2026-11-21": ("last 2", "daily 2026-11-21"),
            "2026-11-22": ("last 1", "daily 2026-11-22", "monthly 2026-11", "yearly 2026"),
        },
    ),
    "the oldest goes once each rule has enough": Case(
        Policy(daily=2, monthly=2, at_least=0),
        {
            "2026-10-01": GOES,
            "2026-10-31": ("monthly 2026-10",),
            "2026-11-21": ("daily 2026-11-21",),
            "2026-11-22": ("daily 2026-11-22", "monthly 2026-11"),
        },
    ),
    "the oldest that counts is not damaged": Case(
        Policy(weekly=4, at_least=0),
        {
            "2026-11-16": DAMAGED,
            "2026-11-17": ("oldest: weekly has 1 of 4",),
            "2026-11-18": GOES,
            "2026-11-19": ("weekly 2026-W47",),
        },
        damaged={"2026-11-16"},
    ),
    "the turn of the year": Case(
        Policy(daily=2, monthly=2, at_least=0),
        {
            "2025-12-31T23:59:59.999999": ("daily 2025-12-31", "monthly 2025-12"),
            "2026-01-01T00:00": ("daily 2026-01-01", "monthly 2026-01"),
        },
    ),
    "the leap day": Case(
        Policy(daily=3, at_least=0),
        {
            "2028-02-28": ("daily 2028-02-28",),
            "2028-02-29": ("daily 2028-02-29",),
            "2028-03-01": ("daily 2028-03-01",),
        },
        now=moment("2028-03-02"),
    ),
    "rules together keep what any of them keeps": Case(
        Policy(last=1, daily=2, weekly=2, monthly=3, at_least=0),
        {
            "2026-09-01": ("monthly 2026-09",),
            "2026-10-01": GOES,
            "2026-10-20": ("monthly 2026-10",),
            "2026-11-15": ("weekly 2026-W46",),
            "2026-11-21": ("daily 2026-11-21",),
            "2026-11-22T01:00": GOES,
            "2026-11-22T02:00": ("last 1", "daily 2026-11-22", "weekly 2026-W47", "monthly 2026-11"),
        },
    ),
    "archives of the same second": Case(
        Policy(last=1, daily=1, at_least=0),
        {
            "2026-11-22T01:00:00.000000": GOES,
            "2026-11-22T01:00:00.000001": GOES,
            "2026-11-22T01:00:00.999999": ("last 1", "daily 2026-11-22"),
        },
    ),
    "in spring the local day has 23 hours": Case(
        Policy(daily=2, at_least=0),
        {
            "2026-03-28T23:30:00+01:00": GOES,
            "2026-03-29T00:30:00+01:00": ("daily 2026-03-28",),
            "2026-03-29T01:59:59+01:00": GOES,
            "2026-03-29T03:00:00+02:00": GOES,
            "2026-03-30T01:59:59+02:00": ("daily 2026-03-29",),
        },
    ),
    "in autumn the local hour comes twice": Case(
        Policy(last=1, daily=2, at_least=0),
        {
            "2026-10-25T01:30:00+02:00": ("daily 2026-10-24",),
            "2026-10-25T02:30:00+02:00": GOES,
            "2026-10-25T02:30:00+01:00": ("last 1", "daily 2026-10-25"),
        },
    ),
    "the floor keeps what no rule keeps": Case(
        Policy(last=1),
        {"2026-11-01": GOES, "2026-11-02": FLOOR, "2026-11-03": FLOOR, "2026-11-04": ("last 1",)},
    ),
    "the floor is about the newest, not about how many stay": Case(
        Policy(monthly=3),
        {
            "2026-08-01": GOES,
            "2026-09-01": ("monthly 2026-09",),
            "2026-10-01": ("monthly 2026-10",),
            "2026-11-01": GOES,
            "2026-11-02": FLOOR,
            "2026-11-03": FLOOR,
            "2026-11-04": ("monthly 2026-11",),
        },
    ),
    "a floor above what there is": Case(
        Policy(last=1, at_least=9), {"2026-11-01": ("floor: one of the 9 newest",), "2026-11-04": ("last 1",)}
    ),
    "a floor of one is the newest, which stays anyway": Case(
        Policy(daily=1, at_least=1), {"2026-11-01": GOES, "2026-11-04": ("daily 2026-11-04",)}
    ),
    "the newest is damaged": Case(
        Policy(last=1, daily=1, at_least=0),
        {"2026-11-01": GOES, "2026-11-02": ("last 1", "daily 2026-11-02"), "2026-11-03": DAMAGED},
        damaged={"2026-11-03"},
    ),
    "one between is damaged": Case(
        Policy(last=2, at_least=0),
        {"2026-11-01": ("last 2",), "2026-11-02": DAMAGED, "2026-11-03": ("last 1",)},
        damaged={"2026-11-02"},
    ),
    "the floor counts verified ones only": Case(
        Policy(last=1),
        {
            "2026-11-01": GOES,
            "2026-11-02": FLOOR,
            "2026-11-03": FLOOR,
            "2026-11-04": ("last 1",),
            "2026-11-05": DAMAGED,
            "2026-11-22T12:00:00.000001": FUTURE,
        },
        damaged={"2026-11-05"},
    ),
    "all are damaged": Case(
        Policy(last=1),
        dict.fromkeys(["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"], DAMAGED),
        damaged={"2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"},
    ),
    "the clock was moved back": Case(
        Policy(last=1, daily=1, at_least=2),
        {
            "2026-11-20": GOES,
            "2026-11-21": ("floor: one of the 2 newest",),
            "2026-11-22T12:00:00": ("last 1", "daily 2026-11-22"),
            "2026-11-22T12:00:00.000001": FUTURE,
            "2026-11-29": FUTURE,
            "2106-02-07": FUTURE,
        },
    ),
    "the clock was moved back before all of them": Case(
        Policy(last=1), {"2026-11-23": FUTURE, "2026-11-24": FUTURE}
    ),
    "the future is not asked whether it is damaged": Case(
        Policy(last=1), {"2026-11-23": FUTURE}, damaged={"2026-11-23"}
    ),
    "years as far apart as they can be": Case(
        Policy(daily=3, weekly=1, monthly=1, at_least=0),
        {
            "0001-01-01": ("daily 0001-01-01",),
            "1970-01-01": ("daily 1970-01-01",),
            "9999-12-31": ("daily 9999-12-31", "weekly 9999-W52", "monthly 9999-12"),
        },
        now=moment("9999-12-31T23:59:59.999999"),
    ),
}


@pytest.fixture(params=["UTC", "Pacific/Kiritimati", "America/St_Johns", "Europe/Paris"])
def zone(request, monkeypatch):
    """The local zone, of which nothing may depend."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield ZoneInfo(request.param)
    monkeypatch.undo()
    time.tzset()


def outcome(case, archives=None):
    def damage(archive):
        return "a flipped bit" if archive.taken_at in {moment(at) for at in case.damaged} else None

    decisions = decide(archives or [entry(at) for at in case.archives], case.policy, case.now, damage)
    return {decision.entry.taken_at: decision for decision in decisions}


@pytest.mark.parametrize("name", CASES)
def test_what_stays_and_why(name, zone):
    case = CASES[name]
    expected = {moment(at): reasons for at, reasons in case.archives.items()}
    found = outcome(case)
    assert {at: decision.reasons for at, decision in found.items()} == expected
    assert {at for at, decision in found.items() if not decision.keep} == {
        at for at, reasons in expected.items() if reasons == GOES
    }
    assert {at for at, decision in found.items() if decision.suspect} == {
        at for at, reasons in expected.items() if reasons in (FUTURE, DAMAGED)
    }


@pytest.mark.parametrize("name", CASES)
def test_neither_order_nor_zone_of_the_archives_matters(name):
    case = CASES[name]
    archives = [entry(at) for at in reversed(case.archives)]
    assert outcome(case, archives) == outcome(case)
    far = ZoneInfo("Asia/Tokyo")
    in_range = [archive for archive in archives if 1 < archive.taken_at.year < 9999]
    if len(in_range) == len(archives):
        moved = [entry(archive.taken_at.astimezone(far)) for archive in archives]
        found = outcome(case, moved)
        assert {at: decision.reasons for at, decision in found.items()} == {
            at: decision.reasons for at, decision in outcome(case).items()
        }


def test_two_labels_of_a_database_are_one_history():
    """What 0.1.0 kept under another label counts as the older part of the history."""
    new = [entry(NOW - timedelta(days=days), "app-1a2b3c") for days in range(2)]
    old = [entry(NOW - timedelta(days=days), "app") for days in range(2, 5)]
    decisions = decide([*new, *old], Policy(last=3, at_least=1), NOW, sound)
    assert [decision.entry for decision in decisions if decision.keep] == [*new, old[0]]


def test_each_archive_is_verified_once():
    """Verifying one reads all of it."""
    asked = []
    archives = [entry(NOW - timedelta(days=days), label) for days in range(-1, 5) for label in "ab"]
    decide(archives, Policy(last=1, daily=2, weekly=2, monthly=2), NOW, asked.append)
    assert sorted(asked, key=str) == sorted((one for one in archives if one.taken_at <= NOW), key=str)


@pytest.mark.parametrize("at_least", [0, 3])
def test_a_policy_that_keeps_nothing_is_refused(at_least):
    with pytest.raises(InvalidInput, match="all") as caught:
        Policy(at_least=at_least)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "--keep-last" in caught.value.hint


# What holds for all of them

numbers = st.integers(0, 6)
policies = st.tuples(*[numbers] * 7).filter(lambda policy: any(policy[:6]))
hours = st.integers(-100, 5000)
histories = st.dictionaries(st.tuples(st.sampled_from("ab"), hours), st.booleans(), max_size=40)


def decided(history, policy):
    """Decide on archives of labels that are so many hours old, and sound or not."""
    soundness = {
        entry(NOW - timedelta(hours=age), label): is_sound for (label, age), is_sound in history.items()
    }
    return soundness, decide(
        list(soundness), Policy(*policy), NOW, lambda one: None if soundness[one] else "a flipped bit"
    )


def verified(soundness):
    """The archives that count, newest first."""
    counting = [one for one, is_sound in soundness.items() if is_sound and one.taken_at <= NOW]
    return sorted(counting, key=lambda one: one.taken_at, reverse=True)


@given(history=histories, policy=policies)
def test_what_does_not_count_is_never_deleted(history, policy):
    soundness, decisions = decided(history, policy)
    for decision in decisions:
        counts = soundness[decision.entry] and decision.entry.taken_at <= NOW
        assert decision.suspect == (not counts)
        assert decision.keep or counts
        assert decision.reasons


@given(history=histories, policy=policies)
def test_the_newest_verified_ones_stay(history, policy):
    """As many as the floor says, and one at least."""
    soundness, decisions = decided(history, policy)
    kept = {decision.entry for decision in decisions if decision.keep}
    assert kept >= set(verified(soundness)[: max(1, policy[6])])


@given(history=histories, policy=policies, more=st.tuples(*[numbers] * 7))
def test_a_policy_of_greater_numbers_keeps_no_less(history, policy, more):
    greater = tuple(number + extra for number, extra in zip(policy, more, strict=True))
    _, decisions = decided(history, policy)
    _, with_more = decided(history, greater)
    assert {one.entry for one in decisions if one.keep} <= {one.entry for one in with_more if one.keep}


@given(history=histories, policy=policies)
def test_deciding_again_after_pruning_deletes_nothing(history, policy):
    soundness, decisions = decided(history, policy)
    kept = [decision.entry for decision in decisions if decision.keep]
    again = decide(kept, Policy(*policy), NOW, lambda one: None if soundness[one] else "a flipped bit")
    assert all(decision.keep for decision in again)


@given(history=histories, policy=policies)
def test_damage_elsewhere_never_costs_an_archive(history, policy):
    """One that stays among sound archives stays when another of them is damaged."""
    _, decisions = decided(dict.fromkeys(history, True), policy)
    _, with_damage = decided(history, policy)
    still = {decision.entry for decision in with_damage if decision.keep}
    assert {decision.entry for decision in decisions if decision.keep} <= still


# Deleting


@pytest.fixture
def directory(tmp_path):
    """A directory with an archive of each of ten days of two labels, and files of other kinds."""
    made = BackupDirectory(LocalStore(tmp_path / "backups"))
    made.store.make()
    for days in range(10):
        for label in ("tasks", "other"):
            put(made, archive_name(label, NOW - timedelta(days=days)))
    for name in ("tasks.taskdb.json", "notes.txt", "tasks.taskdb.zip", ".x.partial"):
        (made.store.directory / name).write_bytes(b"")
    return made


def files(directory):
    return {path.name for path in directory.store.directory.iterdir()}


def decisions_on(directory, label="tasks"):
    return decide(directory.entries(label), Policy(last=2), NOW, sound)


def test_pruning_deletes_what_was_decided_and_nothing_else(directory):
    before = files(directory)
    decisions = decisions_on(directory)
    assert files(directory) == before
    goes = [decision.entry for decision in decisions if not decision.keep]
    assert len(goes) == 7
    with directory.lock("tasks"):
        assert delete(directory, decisions) == goes
    assert files(directory) == before - {entry.name for entry in goes} | {".tasks.lock"}


def test_pruning_again_deletes_nothing(directory, caplog):
    with directory.lock("tasks"), caplog.at_level(logging.INFO, "taskdb.backup"):
        first = delete(directory, decisions_on(directory))
        assert delete(directory, decisions_on(directory)) == []
    assert [record.getMessage() for record in caplog.records] == [f"deleted {entry.file}" for entry in first]


def test_pruning_needs_the_lock_of_the_label(directory):
    before = files(directory)
    with directory.lock("other"), pytest.raises(AssertionError):
        delete(directory, decisions_on(directory))
    assert files(directory) == before | {".other.lock"}


def test_pruning_stays_in_its_directory(directory, tmp_path):
    outside = tmp_path / archive_name("tasks", NOW)
    outside.write_bytes(b"archive")
    decision = Decision(Entry(file_at(outside), "tasks", NOW, 7), keep=False, reasons=GOES)
    with directory.lock("tasks"), pytest.raises(AssertionError):
        delete(directory, [decision])
    assert outside.exists()


def test_an_archive_that_is_gone_already_is_no_failure(directory):
    decisions = decisions_on(directory)
    decisions[0].entry.file.path.unlink()
    with directory.lock("tasks"):
        assert len(delete(directory, decisions)) == 7


def test_a_failure_to_delete_one_is_reported_and_the_others_go(directory, monkeypatch):
    decisions = decisions_on(directory)
    goes = [decision.entry for decision in decisions if not decision.keep]
    stuck = goes[2:4]
    paths = [entry.file.path for entry in stuck]
    break_call(monkeypatch, "unlink", when=lambda path: Path(path) in paths)
    with directory.lock("tasks"), pytest.raises(Incomplete) as caught:
        delete(directory, decisions)
    assert caught.value.exit_code == ExitCode.INCOMPLETE
    assert caught.value.code == "incomplete"
    assert caught.value.message == (
        f"pruning is not complete: {stuck[0].file} cannot be deleted: Input/output error (and 1 more)"
    )
    assert [detail["file"] for detail in caught.value.details] == [str(entry.file.path) for entry in stuck]
    assert [entry for entry in goes if entry.file.path.exists()] == stuck


def test_a_directory_that_cannot_be_synced_is_reported(directory, monkeypatch):
    break_call(monkeypatch, "fsync")
    with directory.lock("tasks"), pytest.raises(Incomplete, match="cannot be written: Input/output error"):
        delete(directory, decisions_on(directory))
    assert len(directory.entries("tasks")) == 3


def test_nothing_to_delete_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fsync")
    assert delete(BackupDirectory(LocalStore(tmp_path / "none")), []) == []
