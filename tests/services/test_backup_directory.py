"""A directory of archives: names, finding, the lock of a label, and files whole or not at all."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdb_cli.errors import (
    BackupRunning,
    Conflict,
    ExitCode,
    InvalidInput,
    NotFound,
    StorageFailed,
)
from taskdb_cli.services.backup.directory import BackupDirectory, Entry
from taskdb_cli.services.backup.files import discard, open_partial, publish, sync
from taskdb_cli.services.backup.names import archive_name, check_label, label_of, parse_name
from taskdb_cli.services.backup.records import Drill, Proof, Record, from_json, to_json
from tests.processes import WITHOUT_PRIVILEGE

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
NAME = "tasks-20261122T123015.123456Z.taskdb.zip"
ARABIC = {ord(str(digit)): chr(0x660 + digit) for digit in range(10)}
DEAD = 2**22 + 1
"""A process id beyond the largest that Linux gives."""


@pytest.fixture
def directory(tmp_path):
    """A backup directory that exists."""
    made = BackupDirectory(tmp_path / "backups")
    made.create()
    return made


@pytest.fixture
def umask():
    """Sets the umask for the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o7777


def put(directory, name, data=b"archive"):
    path = directory.path / name
    path.write_bytes(data)
    return path


def archive(directory, label="tasks", at=NOW):
    return put(directory, archive_name(label, at))


def visible(directory):
    return sorted(path.name for path in directory.path.iterdir())


def proof(archive=NAME, at=NOW, **changes):
    values = {
        "archive": archive,
        "seal": "sha256:" + "0" * 64,
        "size": 1234,
        "taken_at": at,
        "verified_at": at + timedelta(minutes=1),
        "revision": "0003",
        "rows": {"users": 1, "tasks": 2},
        "bytes": 99,
    }
    return Proof(**values | changes)


def failing(code=errno.EIO, when=lambda *_: True):
    """Make a system call that fails as a broken disk makes it fail."""

    def make(call):
        def fail(*arguments, **options):
            if when(*arguments):
                raise OSError(code, os.strerror(code))
            return call(*arguments, **options)

        return fail

    return make


@pytest.fixture
def broken(monkeypatch):
    """Breaks a system call."""

    def break_it(name, code=errno.EIO, when=lambda *_: True):
        monkeypatch.setattr(os, name, failing(code, when)(getattr(os, name)))

    return break_it


def is_directory(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


# Names


def test_the_name_says_label_and_time():
    assert archive_name("tasks", NOW) == NAME
    assert parse_name(NAME) == ("tasks", NOW)


def test_the_name_is_in_utc_whatever_the_zone_of_the_time():
    assert archive_name("tasks", NOW.astimezone(timezone(timedelta(hours=-11)))) == NAME


labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", fullmatch=True)


@given(label=labels, at=st.datetimes(timezones=st.just(UTC)))
def test_every_name_is_read_as_it_was_written(label, at):
    assert parse_name(archive_name(label, at)) == (label, at)


@pytest.mark.parametrize(
    "label", ["", "-x", ".x", "_x", "a/b", "a b", "é", "a\n", "a+b", "x" * 101, "a\x00", "../x", chr(0x663)]
)
def test_what_is_no_label_is_refused(label):
    with pytest.raises(InvalidInput, match="is not a label") as caught:
        check_label(label)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("label", ["a", "0", "x" * 100, "a-b_c.d", "a-20261122T123015.123456Z"])
def test_a_label_is_accepted(label):
    assert check_label(label) == label
    assert parse_name(archive_name(label, NOW)) == (label, NOW)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("neondb", "neondb"),
        ("my tasks", "my-tasks"),
        ("tasks.sqlite3", "tasks.sqlite3"),
        ("a/b//c", "a-b-c"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("été", "t"),
        ("タスク", "database"),
        ("", "database"),
        ("x" * 300, "x" * 100),
        ("a\nb\x00c", "a-b-c"),
        ("end!", "end"),
    ],
)
def test_a_database_name_becomes_a_label(name, label):
    assert label_of(name) == label


@given(st.text())
def test_every_name_becomes_a_label(name):
    assert check_label(label_of(name))


@pytest.mark.parametrize(
    "name",
    [
        "tasks.taskdb.zip",
        "tasks-20261122T123015Z.taskdb.zip",
        "tasks-20261322T123015.123456Z.taskdb.zip",
        "tasks-20261122T126015.123456Z.taskdb.zip",
        "tasks-20261122T123060.123456Z.taskdb.zip",
        "tasks-20270229T123015.123456Z.taskdb.zip",
        "tasks-00001122T123015.123456Z.taskdb.zip",
        f"tasks-{20261122:d}".translate(ARABIC) + "T123015.123456Z.taskdb.zip",
        "-20261122T123015.123456Z.taskdb.zip",
        f"{NAME}.part",
        f"{NAME}\n",
        f" {NAME}",
        f"{'x' * 101}-20261122T123015.123456Z.taskdb.zip",
        NAME.upper(),
    ],
)
def test_what_is_not_well_named_is_no_archive(directory, name):
    assert parse_name(name) is None
    put(directory, name)
    assert directory.entries() == []


# Finding


def test_entries_come_oldest_first(directory):
    for label, minutes in (("b", 2), ("a", 1), ("a", 3), ("a", 2)):
        archive(directory, label, NOW + timedelta(minutes=minutes))
    found = directory.entries()
    assert [(entry.label, (entry.taken_at - NOW).seconds // 60) for entry in found] == [
        ("a", 1),
        ("a", 2),
        ("b", 2),
        ("a", 3),
    ]
    assert [entry.label for entry in directory.entries("b")] == ["b"]
    assert directory.labels() == ["a", "b"]
    path = directory.path / archive_name("a", NOW + timedelta(minutes=1))
    assert found[0] == Entry(path, "a", NOW + timedelta(minutes=1), len(b"archive"))


def test_a_label_that_begins_another_one_is_another(directory):
    archive(directory, "tasks-before-restore")
    archive(directory, "tasks")
    assert [entry.label for entry in directory.entries("tasks")] == ["tasks"]


def test_only_regular_files_are_archives(directory, tmp_path):
    """A link may point at what goes away, so neither it nor a directory counts as a backup."""
    (tmp_path / "elsewhere").write_bytes(b"archive")
    (directory.path / archive_name("tasks", NOW)).symlink_to(tmp_path / "elsewhere")
    (directory.path / archive_name("tasks", NOW + timedelta(1))).mkdir()
    os.mkfifo(directory.path / archive_name("tasks", NOW + timedelta(2)))
    assert directory.entries() == []
    assert len(directory.strays()) == 3


def test_a_missing_directory_is_empty(tmp_path):
    missing = BackupDirectory(tmp_path / "none")
    assert missing.entries() == missing.labels() == missing.strays() == []
    assert missing.record("tasks") == Record()
    with pytest.raises(NotFound, match=str(tmp_path / "none")) as caught:
        missing.latest()
    assert caught.value.exit_code == ExitCode.NOT_FOUND
    with pytest.raises(NotFound, match=str(tmp_path / "none")), missing.lock("tasks"):
        pass
    assert not missing.path.exists()


def test_a_file_in_place_of_the_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=str(tmp_path / "file")):
        BackupDirectory(tmp_path / "file").entries()
    with pytest.raises(StorageFailed, match=str(tmp_path / "file")):
        BackupDirectory(tmp_path / "file").create()


def run_python(code, *arguments, **options):
    """Run Python that ends with what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )


LIST = """
import sys
from pathlib import Path
from taskdb_cli.errors import StorageFailed
from taskdb_cli.services.backup.directory import BackupDirectory
try:
    print(BackupDirectory(Path(sys.argv[1])).entries())
except StorageFailed as exc:
    print(exc)
"""

# The superuser may also read everywhere.
WITHOUT_READING = WITHOUT_PRIVILEGE.replace("24, 1", "24, 2")


@pytest.mark.parametrize("forbidden", [0o000, 0o400])
def test_a_directory_that_cannot_be_read_is_named(directory, forbidden):
    archive(directory)
    directory.path.chmod(forbidden)
    become = f"os.execv(sys.executable, [sys.executable, '-c', {LIST!r}, *sys.argv[1:]])"
    code = f"import os, sys\n{WITHOUT_PRIVILEGE}\n{WITHOUT_READING}\n{become}"
    done = run_python(code, directory.path)
    directory.path.chmod(0o700)
    assert done.stdout == f"the backup directory {directory.path} cannot be read: Permission denied\n", done


def test_latest_is_the_newest_by_name(directory):
    old = archive(directory, at=NOW - timedelta(days=1))
    new = archive(directory)
    os.utime(old, (2**31, 2**31))
    assert directory.latest().path == directory.latest("tasks").path == new


def test_latest_of_several_databases_asks_for_a_label(directory):
    archive(directory, "a")
    archive(directory, "b")
    with pytest.raises(InvalidInput, match="a, b") as caught:
        directory.latest()
    assert "--label" in caught.value.hint
    assert directory.latest("a").label == "a"


def test_a_safety_backup_is_never_meant_without_being_named(directory):
    archive(directory, "a-before-restore", NOW + timedelta(days=1))
    with pytest.raises(NotFound, match="no archive"):
        directory.latest()
    archive(directory, "a")
    assert directory.latest().label == "a"
    assert directory.latest("a-before-restore").label == "a-before-restore"


def test_latest_of_an_unknown_label_is_not_found(directory):
    archive(directory)
    with pytest.raises(NotFound, match=f"no archive of other in {directory.path}"):
        directory.latest("other")
    with pytest.raises(InvalidInput):
        directory.latest("not a label")


def test_an_archive_is_found_by_name_by_path_and_as_the_latest(directory, tmp_path, monkeypatch):
    path = archive(directory)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.zip").write_bytes(b"")
    (tmp_path / NAME).write_bytes(b"another")
    assert directory.find("latest") == directory.find(NAME) == path
    assert directory.find(str(path)) == path
    assert directory.find("mine.zip") == Path("mine.zip")
    assert directory.find(f"./{NAME}").read_bytes() == b"another"
    assert directory.find("backups/" + NAME).samefile(path)


@pytest.mark.parametrize("name", ["", "none", "./latest", "/", "a/b", "x" * 300, "nul\x00", NAME + "/"])
def test_what_is_not_there_is_not_found(directory, name):
    archive(directory)
    with pytest.raises((NotFound, StorageFailed)):
        directory.find(name)


# One at a time

HOLD = """
import sys, subprocess
from pathlib import Path
from taskdb_cli.services.backup.directory import BackupDirectory
with BackupDirectory(Path(sys.argv[1])).lock(sys.argv[2]):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=0, close_fds=False)
    print(child.pid, flush=True)
    child.wait()
"""


@pytest.fixture
def holder(directory):
    """Starts a process that holds the lock of a label, and has a child."""
    with contextlib.ExitStack() as stack:

        def start(label):
            command = [sys.executable, "-c", HOLD, str(directory.path), label]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process, int(process.stdout.readline())

        yield start


def test_a_second_run_is_told_at_once(directory, holder):
    holder("tasks")
    with pytest.raises(BackupRunning, match="another backup of tasks is running") as caught:
        directory.lock("tasks").__enter__()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    assert caught.value.code == "unavailable"
    assert str(directory.path / ".tasks.lock") in caught.value.message


def test_the_lock_of_one_label_leaves_others_free(directory, holder):
    holder("tasks")
    with directory.lock("task"), directory.lock("tasks-before-restore"):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_the_label_free_though_its_child_lives(directory, holder, number):
    process, child = holder("tasks")
    process.send_signal(number)
    process.wait(timeout=30)
    os.kill(child, 0)
    with directory.lock("tasks"):
        pass
    os.kill(child, signal.SIGKILL)


def test_the_lock_is_free_when_its_block_ends(directory):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), directory.lock("tasks"):
            raise ZeroDivisionError
    with directory.lock("tasks"), pytest.raises(BackupRunning):
        BackupDirectory(directory.path).lock("tasks").__enter__()


def test_the_lock_cannot_be_had_where_there_is_none(directory, monkeypatch):
    """A file system without locks stops the run: two at once could harm each other."""

    def fail(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StorageFailed, match=r"\.tasks\.lock cannot be locked: No locks available"):
        directory.lock("tasks").__enter__()


def test_a_lock_is_of_a_label_only(directory):
    with pytest.raises(InvalidInput), directory.lock("../tasks"):
        pass
    assert visible(directory) == []


# What dead runs left


def partial_name(final, process=DEAD):
    return f".{final}.{process}-0123abcd.partial"


def test_a_sweep_removes_the_temporary_files_of_its_label_and_nothing_else(directory):
    archive(directory)
    stale = put(directory, partial_name(NAME))
    others = [
        partial_name(archive_name("tasks2", NOW)),
        partial_name(archive_name("tasks-before-restore", NOW)),
        partial_name("tasks.taskdb.json"),
        partial_name("notes.txt"),
        partial_name("tasks.taskdb.zip"),
        f".{NAME}.partial",
        f"{NAME}.1-0123abcd.partial",
        "tasks.taskdb.json",
    ]
    for name in others:
        put(directory, name)
    with directory.lock("tasks"):
        assert directory.sweep("tasks") == [stale]
        assert directory.sweep("tasks") == []
    assert visible(directory) == sorted([*others, NAME, ".tasks.lock"])


def test_a_sweep_needs_the_lock(directory):
    put(directory, partial_name(NAME))
    with directory.lock("other"), pytest.raises(AssertionError):
        directory.sweep("tasks")
    assert partial_name(NAME) in visible(directory)


def test_strays_are_parts_that_nobody_writes_and_what_only_looks_like_an_archive(directory):
    archive(directory)
    put(directory, "tasks.taskdb.json")
    put(directory, "notes.txt")
    put(directory, partial_name(NAME, os.getpid()))
    put(directory, partial_name(NAME, 1))
    put(directory, partial_name("notes.txt"))
    expected = [
        put(directory, name)
        for name in (
            partial_name(NAME),
            partial_name("tasks.taskdb.json"),
            partial_name("x.taskdb.zip", 10**30),
            "copy of tasks.taskdb.zip",
            "tasks-20261399T000000.000000Z.taskdb.zip",
        )
    ]
    assert directory.strays() == sorted(expected)


# Whole or not at all


def written(final, data=b"content"):
    with open_partial(final) as stream:
        stream.write(data)
        sync(stream)
    return Path(stream.name)


def test_a_file_gets_its_name_when_it_is_finished(directory):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    assert not final.exists()
    assert partial.parent == final.parent
    assert directory.entries() == []
    publish(partial, final)
    assert visible(directory) == [NAME]
    assert final.read_bytes() == b"content"
    assert final.stat().st_nlink == 1


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_everything_is_for_its_owner_alone_whatever_the_umask(tmp_path, umask, mask):
    umask(mask)
    made = BackupDirectory(tmp_path / "a" / "b" / "c")
    made.create()
    made.create()
    final = made.new_path("tasks", NOW)
    partial = written(final)
    assert mode(partial) == 0o600
    with made.lock("tasks"):
        publish(partial, final)
        made.note_verified("tasks", proof())
    assert {mode(path) for path in (tmp_path / "a").rglob("*") if path.is_file()} == {0o600}
    assert [mode(path) for path in (made.path, made.path.parent, made.path.parent.parent)] == [0o700] * 3
    assert len(visible(made)) == 4


def test_a_directory_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)
    BackupDirectory(tmp_path).create()
    assert mode(tmp_path) == 0o750


def test_a_directory_that_cannot_be_made_is_named():
    with pytest.raises(StorageFailed, match="/proc/none/backups cannot be made"):
        BackupDirectory(Path("/proc/none/backups")).create()


def test_publishing_never_replaces_a_file(directory):
    final = archive(directory)
    partial = written(final)
    with pytest.raises(Conflict, match="exists already") as caught:
        publish(partial, final)
    assert caught.value.exit_code == ExitCode.CONFLICT
    assert final.read_bytes() == b"archive"
    discard(partial)
    discard(partial)
    assert visible(directory) == [NAME]


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_hard_links_does_too(directory, broken, taken):
    """FAT and some network file systems have none."""
    broken("link", errno.EPERM)
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    if taken:
        final.symlink_to("nowhere")
        with pytest.raises(Conflict):
            publish(partial, final)
        assert final.is_symlink()
    else:
        publish(partial, final)
        assert visible(directory) == [NAME]
        assert final.read_bytes() == b"content"


FAULTS = {
    "the file cannot be synced": ("fsync", lambda descriptor: not is_directory(descriptor)),
    "the directory cannot be synced": ("fsync", is_directory),
    "the name cannot be given": ("link", lambda *_: True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_fault_leaves_nothing_under_the_name(directory, broken, fault, code):
    archive(directory, at=NOW - timedelta(days=1))
    before = visible(directory)
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    name, when = FAULTS[fault]
    broken(name, code, when)
    with pytest.raises(StorageFailed, match=f"{final} cannot be published: {os.strerror(code)}") as caught:
        publish(partial, final)
    assert ("room" in caught.value.hint) == (code == errno.ENOSPC)
    assert not final.exists()
    discard(partial)
    assert visible(directory) == before


def test_a_fault_after_a_rename_leaves_nothing_under_the_name(directory, broken):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    broken("link", errno.EOPNOTSUPP)
    broken("fsync", errno.EIO, is_directory)
    with pytest.raises(StorageFailed):
        publish(partial, final)
    assert visible(directory) == []


def test_a_rename_that_fails_leaves_nothing_under_the_name(directory, broken):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    broken("link", errno.EPERM)
    broken("rename")
    with pytest.raises(StorageFailed):
        publish(partial, final)
    assert visible(directory) == [partial.name]


def test_an_interrupt_while_publishing_leaves_nothing_under_the_name(directory, monkeypatch):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    sync_file = os.fsync

    def interrupt(descriptor):
        if is_directory(descriptor):
            raise KeyboardInterrupt
        sync_file(descriptor)

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(partial, final)
    assert visible(directory) == [partial.name]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF])
def test_a_file_system_that_syncs_no_directory_is_good_enough(directory, broken, code):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    broken("fsync", code, is_directory)
    publish(partial, final)
    assert visible(directory) == [NAME]


def test_a_published_file_is_on_the_disk_before_it_has_its_name(directory, monkeypatch):
    """First the content, then the name, then the directory that holds the name."""
    steps = []
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    fsync, link, unlink = os.fsync, os.link, os.unlink

    def note(step, call):
        def run(*arguments, **options):
            steps.append("sync directory" if step == "sync" and is_directory(arguments[0]) else step)
            return call(*arguments, **options)

        return run

    monkeypatch.setattr(os, "fsync", note("sync", fsync))
    monkeypatch.setattr(os, "link", note("name", link))
    monkeypatch.setattr(os, "unlink", note("remove", unlink))
    publish(partial, final)
    assert steps == ["sync", "name", "sync directory", "remove"]


def test_a_temporary_file_that_cannot_be_removed_is_swept_later(directory, broken, monkeypatch):
    final = directory.new_path("tasks", NOW)
    partial = written(final)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing()(os.unlink))
        publish(partial, final)
    assert visible(directory) == [partial.name, NAME]
    with directory.lock("tasks"):
        assert directory.sweep("tasks") == [partial]
    assert final.read_bytes() == b"content"


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(StorageFailed, match="none/x cannot be written: No such file"):
        open_partial(tmp_path / "none" / "x")
    with pytest.raises(StorageFailed, match="cannot be written: File name too long"):
        open_partial(tmp_path / ("x" * 250))


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from taskdb_cli.services.backup.directory import BackupDirectory
from taskdb_cli.services.backup.files import open_partial, publish, sync
directory = BackupDirectory(Path(sys.argv[1]))
final, calls = directory.new_path("tasks", datetime.now(UTC)), int(sys.argv[2])
def die(call):
    def run(*arguments, **options):
        global calls
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        calls -= 1
        return call(*arguments, **options)
    return run
for name in ("fsync", "link", "unlink"):
    setattr(os, name, die(getattr(os, name)))
with directory.lock("tasks"):
    with open_partial(final) as stream:
        stream.write(b"content")
        sync(stream)
    publish(Path(stream.name), final)
"""


def test_a_killed_run_leaves_a_whole_file_or_none(directory):
    """SIGKILL before each call that puts a file in place; the next run sweeps what is left."""
    names = []
    for calls in range(6):
        done = run_python(KILLED, directory.path, calls)
        assert done.returncode == (-signal.SIGKILL if calls < 5 else 0), done
        assert {entry.path.read_bytes() for entry in directory.entries()} <= {b"content"}
        names.append(len(directory.entries()))
        with directory.lock("tasks"):
            assert len(directory.sweep("tasks")) == (calls < 5)
        assert directory.strays() == []
    assert names == [0, 0, 0, 1, 2, 3]


# What is known of the archives


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
    "with a text as a count": GOOD.replace("1234", '"1234"'),
    "with a negative count": GOOD.replace("1234", "-1"),
    "with no count": GOOD.replace("1234", "true"),
    "with infinite bytes": GOOD.replace("1234", "Infinity"),
    "with an endless number": GOOD.replace("1234", "9" * 5000),
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
