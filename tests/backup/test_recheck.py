"""Which archives pruning reads again, what it makes of what it finds, and what it believes unread."""

import os
from collections import Counter
from datetime import timedelta

import pytest

from taskdb_cli.backup.create import read_back
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.ownership import Owner
from taskdb_cli.backup.retention import Policy, prune
from tests.archives import IDENTITY, PLACE
from tests.backups import new_archive
from tests.conftest import NOW

DAY = timedelta(days=1)
OWNER = Owner(IDENTITY, PLACE, "tasks")
ALL = Policy(last=100)


def fill(directory: BackupDirectory, count: int = 10, *, verified_at=NOW - 40 * DAY) -> list[str]:
    """Make archives of a database, the oldest first, and record when they were verified, if they were."""
    for number in range(count):
        at = NOW - DAY * (count - number)
        new_archive(directory.store.directory, "tasks", at, identity=IDENTITY, place=PLACE)
    entries = directory.entries("tasks")
    if verified_at:
        directory.note("tasks", *(read_back(entry.file).proof(verified_at) for entry in entries))
    return [entry.name for entry in entries]


def flip(directory: BackupDirectory, name: str, at: int = 500) -> None:
    """Change one bit of an archive, and not its time."""
    path = directory.store.directory / name
    times, data = path.stat(), bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def night(directory: BackupDirectory, policy: Policy = ALL, *, now=NOW, **options) -> dict[str, str]:
    """Prune, and return the reasons for each archive that stays."""
    options = {"say": pytest.fail} | options
    decisions = prune(directory, OWNER, policy, now=now, **options)
    return {each.entry.name: "; ".join(each.reasons) for each in decisions if each.keep}


def read_at(directory: BackupDirectory, now=NOW) -> list[str]:
    """Return the archives that the record says were read and good at a time, the oldest first."""
    return [each.archive for each in directory.record("tasks").proofs if each.verified_at == now]


def test_each_archive_is_read_once_in_so_many_nights(directory):
    """All were verified on one day, and are read in turns all the same, those of longest ago first."""
    names = fill(directory, 7, verified_at=NOW - 4 * DAY)
    policy, read = Policy(last=100, recheck=5), []
    for number in range(12):
        now = NOW + number * DAY
        night(directory, policy, now=now)
        read.append(read_at(directory, now))
    assert [len(each) for each in read] == [0, 2, 2, 2, 1, 0, 2, 2, 2, 1, 0, 2]
    assert Counter(name for each in read[:6] for name in each) == dict.fromkeys(names, 1)
    assert read[6:10] == read[1:5]


@pytest.mark.parametrize(("days", "expected"), [(30, 1), (3, 4), (1, 10), (0, 0), (36500, 0)])
def test_a_share_of_those_that_were_read_before(directory, days, expected):
    """None is read that was read since, and without --recheck none at all."""
    fill(directory)
    night(directory, Policy(last=100, recheck=days))
    assert len(read_at(directory)) == expected


def test_what_goes_is_not_read(directory):
    """The share is one of the archives that stay."""
    names = fill(directory)
    night(directory, Policy(last=4, recheck=2))
    assert read_at(directory) == names[6:8]


def test_damage_is_found_in_its_turn_and_not_forgotten(directory):
    """It is kept and not counted from then on, takes one turn, and is good once somebody has verified it."""
    names = fill(directory, 4)
    flip(directory, names[0])
    policy = Policy(last=2, at_least=0, recheck=0)
    decisions = prune(directory, OWNER, Policy(last=4), now=NOW, say=pytest.fail)
    assert decisions[0].suspect
    assert "do not match its seal" in decisions[0].reasons[0]
    for number in range(1, 4):
        reasons = night(directory, Policy(last=4), now=NOW + number * DAY)
        assert reasons[names[0]] == decisions[0].reasons[0]
        assert read_at(directory, NOW + number * DAY) == [names[number]]
    assert len(directory.record("tasks").proofs) == 4
    assert [*night(directory, policy)] == [names[0], *names[2:]]
    flip(directory, names[0])
    assert names[0] in night(directory, policy)
    directory.note("tasks", read_back(directory.file(names[0])).proof(NOW))
    assert [*night(directory, policy)] == names[2:]


def test_what_is_damaged_has_its_place_taken(directory):
    """The next archive is kept for the rule, in the night in which the damage is found."""
    names = fill(directory, 4)
    flip(directory, names[-1])
    reasons = night(directory, Policy(last=1, at_least=0, recheck=1))
    assert [*reasons] == names[2:]
    assert reasons[names[2]] == "last 1"


def test_archives_without_a_record_are_read_once(directory):
    """They may come from elsewhere. What was found is recorded, so that the next night reads none."""
    names = fill(directory, 3, verified_at=None)
    flip(directory, names[1])
    reason = night(directory)[names[1]]
    assert reason.startswith("damaged: ")
    assert names[1] not in reason
    assert read_at(directory) == [names[0], names[2]]
    flip(directory, names[0])
    assert "damaged" not in night(directory, now=NOW + DAY)[names[0]]
    assert [each.archive for each in directory.record("tasks").damages] == [names[1]]


def test_a_file_that_has_changed_is_read(directory):
    """A shorter one, and one of the same database over another, are not what was verified."""
    names = fill(directory, 4, verified_at=NOW)
    place = directory.store.directory
    (place / names[0]).write_bytes((place / names[3]).read_bytes())
    (place / names[1]).write_bytes((place / names[1]).read_bytes() + b"x")
    reasons = night(directory, Policy(last=1, at_least=0))
    assert "not the file that was verified" in reasons[names[0]]
    assert "not end in a seal" in reasons[names[1]]
    assert [*reasons] == [*names[:2], names[3]]


@pytest.mark.parametrize("keeps_times", [False, True])
def test_an_archive_of_another_database_under_a_recorded_name(directory, keeps_times):
    """Even with the same size and time it is neither deleted nor listed as this database's."""
    names = fill(directory, 3, verified_at=NOW)
    path, other = directory.store.directory / names[0], IDENTITY.replace("0", "1")
    times, size = path.stat(), path.stat().st_size
    new_archive(path.parent, "tasks", NOW - 3 * DAY, identity=other, place=PLACE)
    assert path.stat().st_size == size
    if keeps_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [each["identity"] for each in directory.records(say=pytest.fail)] == [other, IDENTITY, IDENTITY]
    reasons = night(directory, Policy(last=1, at_least=0))
    assert [*reasons] == [names[0], names[2]]
    assert "another identity" in reasons[names[0]]


def test_a_dry_run_says_what_would_be_read(directory):
    """It reads no archive, records nothing, and takes for good what would be read."""
    names = fill(directory, 2, verified_at=None)
    flip(directory, names[0])
    said = []
    reasons = night(directory, dry_run=True, say=said.append)
    assert [*reasons.values()] == ["last 2", "last 1"]
    assert len(said) == 1
    assert all(name in said[0] for name in ("2 archives", *names))
    assert not (directory.store.directory / "tasks.taskdb.json").exists()
    night(directory)
    assert "damaged" in night(directory, dry_run=True)[names[0]]


def test_an_archive_that_is_known_is_not_opened(directory):
    """What the list of the store and the record say is enough to list archives and to prune."""
    names = fill(directory, 3, verified_at=NOW)
    before = [*directory.records(say=pytest.fail)]
    assert [each["rows"] for each in before] == [21] * 3
    for name in names:
        # Its time and size stay, and the seal at its end; its manifest cannot be read any more.
        flip(directory, name, -200)
    assert [*directory.records(say=pytest.fail)] == before
    assert [*night(directory, Policy(last=1, at_least=0))] == names[2:]
