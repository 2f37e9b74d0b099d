"""What is known of the archives of a label, whatever happens to the file that says it."""

import errno
import functools
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import (
    StorageFailed,
)
from taskdb_cli.services.backup.records import Drill, Proof, Record, from_json, to_json
from tests.backups import (
    NAME,
    break_call,
    empty_directory,
    is_directory,
    partial_name,
    proof,
    put,
    run_python,
    visible,
)
from tests.conftest import NOW


@pytest.fixture
def directory(tmp_path):
    """A backup directory that exists."""
    return empty_directory(tmp_path)


@pytest.fixture
def broken(monkeypatch):
    """Breaks a system call."""
    return functools.partial(break_call, monkeypatch)


def test_what_is_recorded_is_read_again(directory):
    directory.note_verified("tasks", proof())
    directory.note_drilled("tasks", Drill(NAME, NOW))
    assert directory.record("tasks") == Record(proof(), Drill(NAME, NOW), None)
    directory.note_verified("tasks", proof("second"))
    assert directory.record("tasks") == Record(proof("second"), Drill(NAME, NOW), proof())
    assert directory.record("other") == Record()
    assert visible(directory) == [".tasks+record.lock", "tasks.taskdb.json"]


def test_verifying_the_same_archive_again_keeps_the_one_before_it(directory):
    directory.note_verified("tasks", proof("first"))
    directory.note_verified("tasks", proof("second"))
    again = proof("second", verified_at=NOW + timedelta(days=1))
    directory.note_verified("tasks", again)
    assert directory.record("tasks") == Record(again, None, proof("first"))


def test_a_record_holds_times_in_utc_for_people_to_read(directory):
    directory.note_drilled("tasks", Drill(NAME, NOW.astimezone(timezone(timedelta(hours=5)))))
    content = json.loads((directory.path / "tasks.taskdb.json").read_text())
    assert content == {
        "version": 1,
        "verified": None,
        "drilled": {"archive": NAME, "at": "2026-11-22T12:30:15.123456Z"},
        "previous": None,
    }


times = st.datetimes(timezones=st.just(UTC))
counts = st.integers(0, 2**63)
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
)


@given(
    st.builds(
        Record,
        st.none() | proofs,
        st.none() | st.builds(Drill, archive=st.text(), at=times),
        st.none() | proofs,
    )
)
def test_every_record_is_read_as_it_was_written(record):
    assert from_json(to_json(record).encode()) == record


def test_a_record_may_hold_any_mapping(directory):
    directory.note_verified("tasks", proof(rows=MappingProxyType({"users": 1})))
    assert directory.record("tasks").verified.rows == {"users": 1}


GOOD = to_json(Record(proof(), Drill(NAME, NOW)))
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
    "of a later version": GOOD.replace('"version": 1', '"version": 2'),
    "without a field": GOOD.replace('"seal"', '"zeal"'),
    "with a text as a count": GOOD.replace(SIZE, '"size": "1234"'),
    "with a negative count": GOOD.replace(SIZE, '"size": -1'),
    "with no count": GOOD.replace(SIZE, '"size": true'),
    "with infinite bytes": GOOD.replace(SIZE, '"size": Infinity'),
    "with an endless number": GOOD.replace(SIZE, '"size": ' + "9" * 5000),
    "with a time of no zone": GOOD.replace('3456Z"', '3456"'),
    "with a time that is none": GOOD.replace("2026-11", "2026-13"),
    "with a time before all time": GOOD.replace('2026-11-22T12:30:15.123456Z"', '0001-01-01T00:00:00+12:00"'),
    "with rows that are none": GOOD.replace('"rows": {', '"rows": 5, "old": {'),
    "deep": "[" * 100_000,
    "large": " " * 2_000_000 + GOOD,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record_counts_as_missing_with_a_warning(directory, caplog, kind):
    data = DAMAGED[kind]
    path = put(directory, "tasks.taskdb.json", data if isinstance(data, bytes) else data.encode())
    with caplog.at_level(logging.WARNING, "taskdb.backup"):
        assert directory.record("tasks") == Record()
    assert str(path) in caplog.text
    directory.note_verified("tasks", proof())
    assert directory.record("tasks") == Record(proof())


def test_a_pipe_or_a_directory_in_place_of_the_record_counts_as_missing(directory, caplog):
    os.mkfifo(directory.path / "pipe.taskdb.json")
    (directory.path / "dir.taskdb.json").mkdir()
    with caplog.at_level(logging.WARNING, "taskdb.backup"):
        assert directory.record("pipe") == directory.record("dir") == Record()
    assert len(caplog.records) == 2
    with pytest.raises(StorageFailed, match="Is a directory"):
        directory.note_verified("dir", proof())
    assert [name for name in visible(directory) if name.endswith(".partial")] == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_record_that_cannot_be_written_stays_as_it_was(directory, broken, call):
    directory.note_verified("tasks", proof("first"))
    before = visible(directory)
    broken(call, errno.EIO, lambda what, *_: call == "rename" or not is_directory(what))
    with pytest.raises(StorageFailed, match=r"tasks\.taskdb\.json cannot be written: Input/output error"):
        directory.note_verified("tasks", proof("second"))
    assert directory.record("tasks") == Record(proof("first"))
    assert visible(directory) == before


def test_a_record_that_may_not_survive_a_power_cut_is_reported(directory, broken):
    broken("fsync", when=is_directory)
    with pytest.raises(StorageFailed, match="cannot be written"):
        directory.note_verified("tasks", proof())
    assert directory.record("tasks") == Record(proof())


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path):
    """The write fails when it is flushed, and once more when the file is closed."""
    final = tmp_path / "record"
    final.write_bytes(b"old")
    done = run_python(
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from taskdb_cli.errors import StorageFailed\n"
        "from taskdb_cli.services.backup.files import write_atomically\n"
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
    directory.note_verified("tasks", proof())
    assert visible(directory) == sorted([".tasks+record.lock", "tasks.taskdb.json", other.name])


NOTE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from taskdb_cli.services.backup.directory import BackupDirectory
from taskdb_cli.services.backup.records import Drill
for _ in range(40):
    BackupDirectory(Path(sys.argv[1])).note_drilled("tasks", Drill("theirs", datetime.now(UTC)))
"""


def test_two_processes_that_record_lose_nothing_of_each_other(directory):
    """A drill ends while a backup that holds the lock of the label records what it verified."""
    command = [sys.executable, "-c", NOTE, str(directory.path)]
    with directory.lock("tasks"), subprocess.Popen(command) as process:
        for number in range(40):
            directory.note_verified("tasks", proof(f"archive {number}"))
        assert process.wait(timeout=60) == 0
    record = directory.record("tasks")
    assert record.drilled.archive == "theirs"
    assert (record.verified.archive, record.previous.archive) == ("archive 39", "archive 38")


def test_reading_a_record_changes_nothing(directory):
    directory.record("tasks")
    directory.entries()
    directory.strays()
    assert visible(directory) == []
