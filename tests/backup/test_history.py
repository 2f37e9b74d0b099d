"""What is known of the archives of a label, whatever happens to the file that says it."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskdb_cli.backup.file_names import parse_name
from taskdb_cli.backup.history import LARGEST, Damage, Drill, Proof, Record, from_json, to_json
from taskdb_cli.errors import Incomplete
from tests.backups import (
    NAME,
    OLD,
    archive,
    is_directory,
    partial_name,
    proof,
    put,
    run_python,
    visible,
)
from tests.conftest import NOW


def test_what_is_recorded_is_read_again(directory):
    directory.note("tasks", proof())
    directory.note("tasks", Drill(NAME, NOW))
    assert directory.record("tasks") == Record((proof(),), (Drill(NAME, NOW),))
    directory.note("tasks", proof("second"))
    assert directory.record("tasks") == Record((proof(), proof("second")), (Drill(NAME, NOW),))
    assert directory.record("other") == Record()
    assert visible(directory) == [".tasks.taskdb.json+.lock", "tasks.taskdb.json"]


def test_verifying_the_same_archive_again_keeps_the_one_before_it(directory):
    directory.note("tasks", proof("first"))
    directory.note("tasks", proof("second"))
    again = proof("second", verified_at=NOW + timedelta(days=1))
    directory.note("tasks", again)
    assert directory.record("tasks") == Record((proof("first"), again))


def test_a_record_holds_times_in_utc_for_people_to_read(directory):
    directory.note("tasks", Drill(NAME, NOW.astimezone(timezone(timedelta(hours=5)))))
    content = json.loads((directory.store.directory / "tasks.taskdb.json").read_text())
    assert content == {
        "version": 2,
        "proofs": [],
        "drills": [{"archive": NAME, "at": "2026-11-22T12:30:15.123456Z", "identity": None}],
    }


times = st.datetimes(timezones=st.just(UTC))
counts = st.integers(0, 2**63)
identities = st.none() | st.uuids().map(str)
proofs = st.builds(
    Proof,
    archive=st.text(),
    seal=st.text(),
    size=counts,
    taken_at=times,
    verified_at=times,
    revision=st.text(),
    rows=st.dictionaries(st.text(), counts),
    bytes=counts,
    identity=identities,
    place=st.none() | st.text(),
    tag=st.text(),
)
damages = st.builds(Damage, archive=st.text(), what=st.text(), at=times, size=counts, tag=st.text())


@pytest.mark.soak
@settings(max_examples=1000 if os.environ.get("TASKDB_SOAK") == "1" else 30, deadline=None)
@given(
    st.lists(proofs),
    st.lists(st.builds(Drill, archive=st.text(), at=times, identity=identities)),
    st.lists(damages),
)
def test_every_record_is_read_as_it_was_written(proofs, drills, damages):
    record = Record().joined(*proofs, *drills, *damages)
    assert from_json(to_json(record).encode()) == record


def test_a_record_may_hold_any_mapping(directory):
    directory.note("tasks", proof(rows=MappingProxyType({"users": 1})))
    assert directory.record("tasks").verified.rows == {"users": 1}


GOOD = to_json(Record((proof(),), (Drill(NAME, NOW),)))
SIZE = '"size": 1234'
DAMAGED = {
    "empty": "",
    "cut off": GOOD[: len(GOOD) // 2],
    "not JSON": "verified: yes",
    "not UTF-8": b"\xff" + GOOD.encode(),
    "a list": "[]",
    "null": "null",
    "a number": "1",
    "foreign": '{"name": "package", "version": "1.0.0"}',
    "of a later version": GOOD.replace('"version": 2', '"version": 3'),
    "without drills": '{"version": 2, "proofs": []}',
    "without a field": GOOD.replace('"seal"', '"zeal"'),
    "with a text as a count": GOOD.replace(SIZE, '"size": "1234"'),
    "with a negative count": GOOD.replace(SIZE, '"size": -1'),
    "with no count": GOOD.replace(SIZE, '"size": true'),
    "with infinite bytes": GOOD.replace(SIZE, '"size": Infinity'),
    "with an endless number": GOOD.replace(SIZE, '"size": ' + "9" * 5000),
    "with a time of no zone": GOOD.replace('3456Z"', '3456"'),
    "with a time that is none": GOOD.replace("2026-11", "2026-13"),
    "with a time before all time": GOOD.replace('2026-11-22T12:30:15.123456Z"', '0001-01-01T00:00:00+12:00"'),
    "with an identity that is none": GOOD.replace('"identity": null', '"identity": 1', 1),
    "with proofs that are none": GOOD.replace('"proofs": [', '"proofs": [1, '),
    "with rows that are none": GOOD.replace('"rows": {', '"rows": 5, "old": {'),
    "deep": "[" * 100_000,
    "with damage that is none": GOOD.replace('"drills"', '"damages": [1], "drills"'),
    "large": " " * LARGEST + GOOD,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record_counts_as_missing_with_a_warning(directory, caplog, kind):
    data = DAMAGED[kind]
    path = put(directory, "tasks.taskdb.json", data if isinstance(data, bytes) else data.encode())
    with caplog.at_level(logging.WARNING, "taskdb.backup"):
        assert directory.record("tasks") == Record()
    assert str(path) in caplog.text
    directory.note("tasks", proof())
    assert directory.record("tasks") == Record((proof(),))


def test_a_pipe_or_a_directory_in_place_of_the_record_counts_as_missing(directory, caplog):
    os.mkfifo(directory.store.directory / "pipe.taskdb.json")
    (directory.store.directory / "dir.taskdb.json").mkdir()
    with caplog.at_level(logging.WARNING, "taskdb.backup"):
        assert directory.record("pipe") == directory.record("dir") == Record()
    assert len(caplog.records) == 2
    with pytest.raises(Incomplete, match="not a regular file"):
        directory.note("dir", proof())
    assert [name for name in visible(directory) if name.endswith(".partial")] == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_record_that_cannot_be_written_stays_as_it_was(directory, broken, call):
    directory.note("tasks", proof("first"))
    before = visible(directory)
    broken(call, errno.EIO, lambda what, *_: call == "rename" or not is_directory(what))
    with pytest.raises(Incomplete, match=r"tasks\.taskdb\.json cannot be written: Input/output error"):
        directory.note("tasks", proof("second"))
    assert directory.record("tasks") == Record((proof("first"),))
    assert visible(directory) == before


def test_a_record_that_may_not_survive_a_power_cut_is_reported(directory, broken):
    broken("fsync", when=is_directory)
    with pytest.raises(Incomplete, match="cannot be written"):
        directory.note("tasks", proof())
    assert directory.record("tasks") == Record((proof(),))


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path):
    """The write fails when it is flushed, and once more when the file is closed."""
    final = tmp_path / "record"
    final.write_bytes(b"old")
    done = run_python(
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from taskdb_cli.errors import StorageFailed\n"
        "from taskdb_cli.backup.atomic import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n"
        "    write_atomically(Path(sys.argv[1]), b'x' * 100)\n"
        "except StorageFailed as exc:\n"
        "    print(exc, '-', exc.hint)\n",
        final,
    )
    assert done.stdout == f"{final} cannot be written: File too large - make room on the disk\n", done
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_dead_run_that_was_writing_the_record_is_cleaned_up_after(directory):
    put(directory, partial_name("tasks.taskdb.json"))
    other = put(directory, partial_name("tasks2.taskdb.json"))
    directory.note("tasks", proof())
    assert visible(directory) == sorted([".tasks.taskdb.json+.lock", "tasks.taskdb.json", other.name])


NOTE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Drill
from taskdb_cli.backup.stores.local import LocalStore
for _ in range(40):
    drill = Drill("theirs", datetime(2026, 11, 22, 12, 0, tzinfo=UTC))
    BackupDirectory(LocalStore(Path(sys.argv[1]))).note("tasks", drill)
"""


def test_two_processes_that_record_lose_nothing_of_each_other(directory):
    """A drill ends while a backup that holds the lock of the label records what it verified."""
    command = [sys.executable, "-c", NOTE, str(directory.store.directory)]
    with directory.lock("tasks"), subprocess.Popen(command) as process:
        for number in range(40):
            directory.note("tasks", proof(f"archive {number}"))
        assert process.wait(timeout=60) == 0
    record = directory.record("tasks")
    assert record.drilled.archive == "theirs"
    assert (record.verified.archive, record.proofs[-2].archive) == ("archive 39", "archive 38")


def test_damage_is_known_until_the_archive_is_verified_again(directory):
    """Its last proof, which health compares others with, stays known beside it."""
    at = parse_name(archive(directory, at=NOW - timedelta(days=1)).name)[1]
    names = [archive(directory, at=when).name for when in (at, NOW)]
    damage = Damage(names[0], "a flipped bit", NOW, 7)
    directory.note("tasks", *(proof(name) for name in names))
    directory.note("tasks", damage)
    directory.note("tasks", proof(names[1]), Drill(names[0], NOW))
    record = directory.record("tasks")
    assert [each.archive for each in record.proofs] == names
    assert (record.of(names[0]).damaged, record.of(names[1]).damaged) == (damage, None)
    directory.note("tasks", proof(names[0]))
    assert not directory.record("tasks").damages
    directory.note("tasks", damage)
    (directory.store.directory / names[0]).unlink()
    directory.note("tasks", proof(names[1]))
    assert not directory.record("tasks").damages


def test_a_record_of_many_archives(directory):
    """Looking each archive up takes no longer the more there are, and the file may be as long."""
    proofs = [proof(f"{number}", NOW + timedelta(minutes=number), identity=OTHER) for number in range(2000)]
    text = to_json(Record().joined(*proofs))
    assert len(text) * 25 < LARGEST
    record = from_json(text)
    assert [record.of(each.archive).verified for each in proofs] == proofs
    assert record.of("2000") == Record()


OTHER = "0a1b2c3d-0000-4000-8000-0123456789ab"


def test_two_databases_of_a_label_keep_what_is_known_of_each(directory):
    """The proofs and drills of one push nothing of the other's out."""
    directory.note("tasks", proof("theirs", identity=OTHER))
    directory.note("tasks", Drill("theirs", NOW, OTHER))
    for number in range(5):
        directory.note("tasks", proof(f"mine {number}"))
        directory.note("tasks", Drill(f"mine {number}", NOW + timedelta(hours=number)))
    record = directory.record("tasks")
    assert [each.archive for each in record.proofs] == ["theirs", "mine 3", "mine 4"]
    assert [each.archive for each in record.drills] == ["theirs", "mine 4"]
    theirs = record.only(lambda each: each.identity == OTHER)
    assert ([proof.archive for proof in theirs.proofs], theirs.drilled.archive) == (["theirs"], "theirs")


def test_what_is_known_of_an_archive_stays_as_long_as_the_archive(directory):
    """All archives that are there keep their proof; of those that are gone, only the last two do."""
    names = [archive(directory, at=NOW - timedelta(days=days)).name for days in range(9, 0, -1)]
    for name in names:
        directory.note("tasks", proof(name, at=parse_name(name)[1]))
    assert [each.archive for each in directory.record("tasks").proofs] == names
    (directory.store.directory / names[0]).unlink()
    (directory.store.directory / names[-1]).unlink()
    directory.note("tasks", Drill(names[3], NOW))
    assert [each.archive for each in directory.record("tasks").proofs] == names[1:]


@pytest.mark.parametrize("label", ["app", "neondb"])
def test_a_record_of_0_1_0_is_carried_over(directory, label):
    """The two archives that 0.1.0 knew of, and its drill, stay known when something is added."""
    shutil.copy(OLD / f"{label}.taskdb.json", directory.store.directory)
    before = directory.record(label)
    assert [each.archive for each in before.proofs] == sorted(path.name for path in OLD.glob(f"{label}-*"))
    assert before.verified.identity is before.verified.place is None
    assert before.drilled.archive == before.verified.archive
    directory.note(label, proof("new", datetime(2026, 11, 27, tzinfo=UTC), identity=OTHER))
    after = directory.record(label)
    assert {each.archive for each in after.proofs} == {"new", *(each.archive for each in before.proofs)}
    assert after.drills == before.drills


def test_a_future_archive_that_is_gone_is_forgotten(directory):
    """Once an archive of a wrong clock is deleted, it does not count as the newest for ever."""
    directory.note("tasks", proof("future", NOW + timedelta(days=400)))
    directory.note("tasks", proof("now"))
    assert directory.record("tasks").verified.archive == "now"


def test_reading_a_record_changes_nothing(directory):
    directory.record("tasks")
    directory.entries()
    directory.strays(NOW)
    assert visible(directory) == []
