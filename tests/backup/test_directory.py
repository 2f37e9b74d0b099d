"""A directory of archives: finding them, one run at a time, and what dead runs left."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from taskdb_cli.backup.atomic import open_partial
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.history import Record
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.errors import (
    BackupRunning,
    InvalidInput,
    NotFound,
    StorageFailed,
)
from taskdb_cli.exit_codes import ExitCode
from tests.backups import (
    NAME,
    archive,
    partial_name,
    put,
    run_python,
    visible,
)
from tests.conftest import NOW
from tests.processes import WITHOUT_PRIVILEGE

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
    file = directory.file(archive_name("a", NOW + timedelta(minutes=1)))
    assert found[0] == Entry(file, "a", NOW + timedelta(minutes=1), len(b"archive"), found[0].tag)


def test_a_label_that_begins_another_one_is_another(directory):
    archive(directory, "tasks-before-restore")
    archive(directory, "tasks")
    assert [entry.label for entry in directory.entries("tasks")] == ["tasks"]


def test_only_regular_files_are_archives(directory, tmp_path):
    """A link may point at what goes away, so neither it nor a directory counts as a backup."""
    (tmp_path / "elsewhere").write_bytes(b"archive")
    (directory.store.directory / archive_name("tasks", NOW)).symlink_to(tmp_path / "elsewhere")
    (directory.store.directory / archive_name("tasks", NOW + timedelta(1))).mkdir()
    os.mkfifo(directory.store.directory / archive_name("tasks", NOW + timedelta(2)))
    assert directory.entries() == []
    assert len(directory.strays(NOW)) == 3


def test_a_missing_directory_is_empty(tmp_path):
    missing = BackupDirectory(LocalStore(tmp_path / "none"))
    assert missing.entries() == missing.strays(NOW) == []
    assert missing.record("tasks") == Record()
    with pytest.raises(NotFound, match=str(tmp_path / "none")) as caught, missing.lock("tasks"):
        pass
    assert caught.value.exit_code == ExitCode.NOT_FOUND
    assert not missing.store.directory.exists()


def test_a_file_in_place_of_the_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=str(tmp_path / "file")):
        BackupDirectory(LocalStore(tmp_path / "file")).entries()
    with pytest.raises(StorageFailed, match=str(tmp_path / "file")):
        BackupDirectory(LocalStore(tmp_path / "file")).store.make()


LIST = """
import sys
from pathlib import Path
from taskdb_cli.errors import StorageFailed
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
try:
    print(BackupDirectory(LocalStore(Path(sys.argv[1]))).entries())
except StorageFailed as exc:
    print(exc)
"""

# The superuser may also read everywhere.
WITHOUT_READING = WITHOUT_PRIVILEGE.replace("24, 1", "24, 2")


@pytest.mark.parametrize("forbidden", [0o000, 0o400])
def test_a_directory_that_cannot_be_read_is_named(directory, forbidden):
    archive(directory)
    directory.store.directory.chmod(forbidden)
    become = f"os.execv(sys.executable, [sys.executable, '-c', {LIST!r}, *sys.argv[1:]])"
    code = f"import os, sys\n{WITHOUT_PRIVILEGE}\n{WITHOUT_READING}\n{become}"
    done = run_python(code, directory.store.directory)
    directory.store.directory.chmod(0o700)
    assert done.stdout == f"the backup directory {directory} cannot be read: Permission denied\n", done


def test_an_archive_is_found_by_name_and_by_path(directory, tmp_path, monkeypatch):
    path = archive(directory)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.zip").write_bytes(b"")
    (tmp_path / NAME).write_bytes(b"another")
    assert directory.find(NAME).path == path
    assert directory.find(str(path)).path == path
    assert str(directory.find("mine.zip")) == "mine.zip"
    assert directory.find(f"./{NAME}").path.read_bytes() == b"another"
    assert directory.find("backups/" + NAME).path.samefile(path)


@pytest.mark.parametrize("name", ["", "none", "./latest", "/", "a/b", "x" * 300, "nul\x00", NAME + "/"])
def test_what_is_not_there_is_not_found(directory, name):
    archive(directory)
    with pytest.raises((NotFound, StorageFailed)):
        directory.find(name)


# One at a time

HOLD = """
import sys, subprocess
from pathlib import Path
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
with BackupDirectory(LocalStore(Path(sys.argv[1]))).lock(sys.argv[2]):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=0, close_fds=False)
    print(child.pid, flush=True)
    child.wait()
"""


@pytest.fixture
def holder(directory):
    """Starts a process that holds the lock of a label, and has a child."""
    with contextlib.ExitStack() as stack:

        def start(label):
            command = [sys.executable, "-c", HOLD, str(directory.store.directory), label]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process, int(process.stdout.readline())

        yield start


def test_a_second_run_is_told_at_once(directory, holder):
    holder("tasks")
    with pytest.raises(BackupRunning, match="another run is at work on the backups of tasks") as caught:
        directory.lock("tasks").__enter__()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    assert caught.value.code == "unavailable"
    assert str(directory.store.directory / ".tasks.lock") in caught.value.message


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
        BackupDirectory(LocalStore(directory.store.directory)).lock("tasks").__enter__()


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


def test_a_sweep_removes_the_temporary_files_of_its_label_and_nothing_else(directory):
    archive(directory)
    stale = [put(directory, partial_name(name)) for name in (NAME, f"{NAME}.age")]
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
        directory.sweep("tasks")
    assert not any(path.exists() for path in stale)
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
    put(directory, partial_name("notes.txt"))
    names = [
        partial_name(NAME),
        # The process id of a run that died may be another process's by now.
        partial_name(NAME, os.getpid()),
        partial_name(NAME, 1),
        partial_name("tasks.taskdb.json"),
        partial_name("x.taskdb.zip", 10**30),
        partial_name(f"{NAME}.age"),
        "copy of tasks.taskdb.zip",
        "copy of tasks.taskdb.zip.age",
        "tasks-20261399T000000.000000Z.taskdb.zip",
    ]
    with open_partial(directory.store.directory / NAME) as stream:
        written_now = Path(stream.name)
        expected = [put(directory, name) for name in names]
        assert directory.strays(NOW) == sorted(map(str, expected))
    written_now.touch()
    assert directory.strays(NOW) == sorted(map(str, [*expected, written_now]))
