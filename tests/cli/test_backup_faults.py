"""Backups, restores and copies that are killed, run out of room or lose their server: all or nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from taskdb_cli.backup import create as taking
from taskdb_cli.backup.archive import Archive, ArchiveWriter
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.layout import Digest
from taskdb_cli.backup.stores.local import LocalStore, NewLocalFile
from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.database.schema import ARCHIVED_TABLES
from tests.backups import archives, break_call, is_directory, leftovers
from tests.conftest import SERVERS, connect, open_database
from tests.contents import fill, hashes
from tests.disks import small_disk
from tests.forked import run_forked
from tests.interruption import Places
from tests.processes import WITHOUT_PRIVILEGE, command, limited, run_process
from tests.proxy import Proxy
from tests.schemas import execute
from tests.sessions import settle

SOAK = os.environ.get("TASKDB_SOAK") == "1"
# The suite has time for one server.
SOME_SERVERS = SERVERS if SOAK else SERVERS[-1:]
ENDS = pytest.mark.parametrize("engine", ["sqlite", *SOME_SERVERS], indirect=True)
POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SOME_SERVERS, indirect=True)
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
PLACES = 50 if SOAK else 2
"""At how many places each command is stopped."""


def text(url) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture
def filled(taskdb, url, shelf) -> dict[str, tuple[int, str]]:
    """The hashes of a database with some thousand rows, of which there is one archive."""
    fill(url)
    taskdb("backup")
    return hashes(open_database(url))


@pytest.fixture
def held(new_url):
    """Another database, which holds a few rows."""
    url = new_url()
    fill(url, users=2, tasks=50)
    return url


def empty(url) -> None:
    execute(url, *(f"DELETE FROM {table}" for table in reversed(ARCHIVED_TABLES)))


@pytest.mark.soak
@ENDS
def test_a_backup_that_is_killed(taskdb, filled, shelf, tmp_path):
    """Killed anywhere: each archive is whole, older ones are untouched, and the next run cleans up."""
    places = Places(tmp_path, "backup")
    assert places.run().code == 0
    for place in places.spread(PLACES):
        before = archives(shelf)
        assert places.stop(place).code == -signal.SIGKILL
        after = archives(shelf)
        assert {name: after[name] for name in before} == before
        assert len(after) <= len(before) + 1
        taskdb("backup")
        assert len(archives(shelf)) == len(after) + 1
        assert leftovers(shelf) == []


def loading(name: str, url, other) -> tuple[str, ...]:
    """Return the command that brings the rows of a database into another one."""
    return {
        "restore": ("--database-url", text(other), "restore", "latest"),
        "replace": ("--database-url", text(other), "restore", "latest", "--replace", "--yes"),
        "copy": ("--database-url", text(url), "copy", "--to", text(other)),
    }[name]


@pytest.mark.soak
@ENDS
@pytest.mark.parametrize("name", ["restore", "replace", "copy"])
def test_a_load_that_is_killed(taskdb, filled, url, held, shelf, tmp_path, name):  # noqa: PLR0917 (fixtures)
    """Killed anywhere: the target has all it had or all it should get, and the next run succeeds."""
    if name != "replace":
        empty(held)
    target = open_database(held)
    before = hashes(target)
    places = Places(tmp_path, *loading(name, url, held))
    done = places.run()
    assert done.code == 0, done
    outcomes = set()
    for place in places.spread(PLACES):
        empty(held)
        if name == "replace":
            fill(held, users=2, tasks=50)
            before = hashes(target)
        assert places.stop(place).code == -signal.SIGKILL
        settle(held)
        after = hashes(target)
        assert after in (before, filled), place
        outcomes.add(after == filled)
        if name == "replace" and after == filled:
            # What was there is kept.
            assert any("before-restore" in path for path in archives(shelf))
        archives(shelf)
        if after == filled or name == "replace":
            empty(held)
        taskdb(*loading(name, url, held))
        assert hashes(target) == filled
    assert False in outcomes
    # A safety backup finds one more archive each time, so that the last place comes earlier.
    assert True in outcomes or name == "replace"
    assert leftovers(shelf) == []


@ENDS
@pytest.mark.parametrize("name", ["backup", "replace", "copy"])
def test_a_run_that_is_terminated(filled, url, held, shelf, tmp_path, name):  # noqa: PLR0917 (fixtures)
    """SIGTERM anywhere: 143 and one line, and nothing half done is left."""
    if name == "copy":
        empty(held)
    target = open_database(held)
    before = hashes(target)
    places = Places(tmp_path, *(("backup",) if name == "backup" else loading(name, url, held)))
    assert places.run().code == 0
    for place in places.spread(PLACES)[:-1]:
        if name == "copy":
            empty(held)
        elif name == "replace":
            empty(held)
            fill(held, users=2, tasks=50)
            before = hashes(target)
        done = places.stop(place, signal.SIGTERM)
        assert done.code == 143, (place, done)
        errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, done
        assert "interrupted" in errors[0]
        assert leftovers(shelf) == []
        archives(shelf)
        settle(held)
        if name != "backup":
            assert hashes(target) in (before, filled)


@pytest.mark.parametrize("size", [1, 4096, 40_000, 65_536])
@POSTGRESQL_ONLY
def test_a_backup_that_does_not_fit(filled, shelf, size):
    """Out of room anywhere: 1 and one line that says so, and nothing but the older archive is there."""
    before = archives(shelf)
    failed = run_forked("backup", first=limited(size))
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert str(shelf) in failed.stderr
    assert "make room" in failed.stderr
    assert archives(shelf) == before
    assert leftovers(shelf) == []


@SQLITE_ONLY
@pytest.mark.parametrize("pages", [1, 2, 5, 20])
def test_a_disk_that_is_full(filled, shelf, tmp_path, pages):
    """A real disk without room: the same, whatever it was that did not fit any more."""
    with small_disk(tmp_path / "disk", 4096 * pages) as disk:
        failed = disk.taskdb("backup", "--dir", disk.place)
        assert archives(disk.outside) == {}
        assert leftovers(disk.outside) == []
    assert failed.returncode == 1, failed
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert "make room" in failed.stderr
    assert str(disk.place) in failed.stderr


@SQLITE_ONLY
def test_no_room_for_the_rows(filled, tmp_path, shelf):
    """A target on a full disk is left as it was, which is not there."""
    with small_disk(tmp_path / "disk", 80 * 4096) as disk:
        target = disk.place / "target.sqlite3"
        failed = disk.taskdb("--database-url", f"sqlite:///{target}", "restore", "latest")
        again = disk.taskdb("--database-url", f"sqlite:///{target}", "task", "list", "-o", "json")
    assert failed.returncode == 1, failed
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert str(target) in failed.stderr
    assert "full" in failed.stderr
    assert again.returncode == 3


FAULTS = {
    "fsync of the archive": ("fsync", errno.EIO, lambda descriptor: not is_directory(descriptor)),
    "fsync of the directory": ("fsync", errno.EIO, is_directory),
    "naming": ("link", errno.EIO, lambda *_: True),
    "a directory that is read-only": ("link", errno.EROFS, lambda *_: True),
}


@SQLITE_ONLY
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails(taskdb, filled, shelf, monkeypatch, fault):
    """A disk that fails while the archive is put in its place: 1, and nothing but the older one is there."""
    name, code, when = FAULTS[fault]
    before = archives(shelf)
    with monkeypatch.context() as patch:
        break_call(patch, name, code, when)
        failed = taskdb("backup", expect=1)
    assert failed.err.count("\n") == 1
    assert str(shelf) in failed.err
    assert archives(shelf) == before
    assert leftovers(shelf) == []
    taskdb("backup")


@SQLITE_ONLY
def test_a_disk_that_gives_back_another_archive(taskdb, filled, shelf, url, monkeypatch):
    """A whole archive, but not the one that was written: 7, and only the older one is there."""
    before = archives(shelf)
    older = next(shelf.glob("*.zip")).read_bytes()
    execute(url, "UPDATE tasks SET title = 'Changed' WHERE id = 1")
    with monkeypatch.context() as patch:
        reopen = NewLocalFile.reopen

        def reopen_another(new):
            with reopen(new):
                new.partial.write_bytes(older)
            return reopen(new)

        patch.setattr(NewLocalFile, "reopen", reopen_another)
        failed = taskdb("backup", expect=7)
        file = taskdb("backup", "--file", shelf / "one.zip", expect=7)
    assert failed.err.count("\n") == file.err.count("\n") == 1
    assert archives(shelf) == before
    assert leftovers(shelf) == []
    assert not (shelf / "one.zip").exists()
    taskdb("backup")


@SQLITE_ONLY
def test_rows_that_are_not_those_of_the_manifest(taskdb, filled, shelf, monkeypatch):
    """A sealed archive whose manifest has wrong hashes: 7, and it does not appear."""
    before = archives(shelf)
    with monkeypatch.context() as patch:
        reopen = NewLocalFile.reopen

        def reopen_with_right_hashes(new):
            patch.undo()
            return reopen(new)

        patch.setattr(Digest, "sha256", property(lambda _: "0" * 64))
        patch.setattr(NewLocalFile, "reopen", reopen_with_right_hashes)
        assert "manifest" in taskdb("backup", expect=7).err
    assert archives(shelf) == before
    assert leftovers(shelf) == []


@SQLITE_ONLY
def test_renaming_where_there_are_no_hard_links(taskdb, filled, shelf, monkeypatch):
    """A file system without hard links that cannot rename either: 1, and nothing is there."""
    before = archives(shelf)
    with monkeypatch.context() as patch:
        break_call(patch, "link", errno.EPERM)
        break_call(patch, "rename", errno.EIO)
        taskdb("backup", expect=1)
    assert archives(shelf) == before
    assert leftovers(shelf) == []


@SQLITE_ONLY
def test_a_record_that_cannot_be_written(taskdb, filled, shelf, monkeypatch):
    """An archive that is good, but of which that could not be noted: 8, and it stays."""
    before = archives(shelf)
    with monkeypatch.context() as patch:
        break_call(patch, "rename", errno.ENOSPC)
        failed = taskdb("backup", expect=8)
    assert failed.err.count("\n") == 1
    assert "is good, but" in failed.err
    assert len(archives(shelf)) == len(before) + 1
    assert leftovers(shelf) == []


@SQLITE_ONLY
def test_pruning_while_another_run_is_at_work(taskdb, filled, shelf, monkeypatch):
    """A backup after which another run takes the lock before the pruning does: 8, and it stays."""
    before, take = archives(shelf), taking.take_everywhere
    with ExitStack() as other:

        def take_and_let_in(*arguments, **options):
            backup = take(*arguments, **options)
            other.enter_context(BackupDirectory(LocalStore(shelf)).lock("work"))
            return backup

        monkeypatch.setattr(taking, "take_everywhere", take_and_let_in)
        failed = taskdb("backup", "--keep-last", "1", expect=8)
    assert failed.err.count("\n") == 1
    assert "the backup is good" in failed.err
    assert len(archives(shelf)) == len(before) + 1


@SQLITE_ONLY
def test_a_safety_backup_of_which_nothing_can_be_noted(taskdb, filled, held, shelf, monkeypatch):
    """Nothing is replaced unless what is there is kept; that it is kept need not be noted."""
    with monkeypatch.context() as patch:
        break_call(patch, "rename", errno.ENOSPC)
        done = taskdb("--database-url", text(held), "restore", "latest", "--replace", "--yes", expect=None)
    assert done.code == 0
    assert "is good, but" in done.err
    assert hashes(open_database(held)) == filled
    assert any("before-restore" in name for name in archives(shelf))


@SQLITE_ONLY
def test_a_safety_backup_that_fails(taskdb, filled, held, shelf, monkeypatch):
    """When what is there cannot be kept, nothing is replaced."""
    before = hashes(open_database(held))
    with monkeypatch.context() as patch:
        break_call(patch, "link", errno.ENOSPC)
        taskdb("--database-url", text(held), "restore", "latest", "--replace", "--yes", expect=1)
    assert hashes(open_database(held)) == before


@SQLITE_ONLY
def test_a_directory_that_may_not_be_written(filled, shelf):
    """Without the right to write: 1, and one line that names the directory."""
    before = archives(shelf)
    shelf.chmod(0o500)
    try:
        failed = run_process("backup", first=WITHOUT_PRIVILEGE)
    finally:
        shelf.chmod(0o700)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert str(shelf) in failed.stderr
    assert archives(shelf) == before


@SQLITE_ONLY
def test_a_file_where_the_directory_should_be(taskdb, filled, tmp_path):
    """A directory that is a file: 1, whichever command looks for it."""
    (tmp_path / "file").write_text("mine")
    for words in (
        ("backup",),
        ("backup", "list"),
        ("backup", "prune", "--keep-last", "1"),
        ("restore", "latest"),
    ):
        failed = taskdb(*words, "--dir", tmp_path / "file", expect=None)
        assert failed.code in (1, 3), (words, failed)
        assert failed.err.count("\n") == 1
        assert str(tmp_path / "file") in failed.err
    assert (tmp_path / "file").read_text() == "mine"


@SQLITE_ONLY
@pytest.mark.parametrize("words", [("backup", "show"), ("backup", "verify"), ("restore",)])
def test_an_archive_that_goes_away(taskdb, filled, held, monkeypatch, words):
    """An archive that somebody removes after it was found: 3, and nothing is changed."""
    find = BackupLocation.find

    def found_and_gone(self, name, database, **options):
        file = find(self, name, database, **options)
        file.path.unlink()
        return file

    monkeypatch.setattr(BackupLocation, "find", found_and_gone)
    empty(held)
    failed = taskdb("--database-url", text(held), *words, "latest", expect=3)
    assert failed.err.count("\n") == 1


def test_a_reader_that_goes_away(filled, url):
    """A backup whose reader ends before it does is none: 1, and one line."""
    process = subprocess.Popen(
        command("backup", "--file", "-"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(10)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 1, err
    assert err.count("\n") == 1
    assert "stdout" in err


@SQLITE_ONLY
def test_a_stdout_that_is_full_or_closed(filled):
    """A stream that takes nothing: 1, and one line."""
    with Path("/dev/full").open("w") as full:
        done = [
            run_forked("backup", "--file", "-", stdout=full),
            run_forked("backup", "--file", "-", first="os.close(1)"),
        ]
    for failed in done:
        assert failed.returncode == 1, failed
        assert failed.stderr.count("\n") == 1, failed.stderr
        assert "stdout" in failed.stderr


@pytest.fixture
def proxy(url) -> Iterator[Proxy]:
    """A proxy in front of the test's database."""
    with Proxy(url) as made:
        yield made


@pytest.fixture
def far_taskdb(taskdb, proxy, filled, monkeypatch):
    """The command line, on the filled database behind the proxy."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", text(proxy.url))
    return taskdb


@pytest.mark.soak
@POSTGRESQL_ONLY
def test_a_connection_that_breaks_during_a_backup(far_taskdb, proxy, shelf):
    """Wherever the connection breaks: 5 and nothing new, or a whole archive."""
    far_taskdb("backup")
    whole = proxy.passed
    codes = set()
    for place in range(whole // 12, whole, whole // (60 if SOAK else 6)):
        before = archives(shelf)
        proxy.passed, proxy.cut_at = 0, place
        done = far_taskdb("backup", expect=None)
        assert proxy.cut_at is None
        assert done.code in (0, 5), done
        assert done.err.count("\n") == (done.code != 0), done
        assert len(archives(shelf)) == len(before) + (done.code == 0)
        assert leftovers(shelf) == []
        codes.add(done.code)
    assert 5 in codes


@pytest.mark.soak
@POSTGRESQL_ONLY
def test_a_connection_that_breaks_during_a_restore(far_taskdb, proxy, url, filled, shelf):
    """Wherever the connection breaks: 5 and the rows as they were, or 0 and those of the archive."""
    database = open_database(url)
    restore = ("restore", "latest", "--replace", "--yes", "--no-safety-backup")
    far_taskdb(*restore)
    whole, codes = proxy.passed, set()
    for place in range(whole // 12, whole, whole // (60 if SOAK else 6)):
        execute(url, "DELETE FROM tasks WHERE id % 2 = 0")
        before = hashes(database)
        proxy.passed, proxy.cut_at = 0, place
        done = far_taskdb(*restore, expect=None)
        assert done.code in (0, 5), done
        assert len([line for line in done.err.splitlines() if line.startswith("error")]) == (done.code != 0)
        settle(url)
        assert hashes(database) == (before if done.code else filled), (place, done)
        codes.add(done.code)
    assert 5 in codes


RESTORE = ("restore", "latest", "--replace", "--yes", "--no-safety-backup")


@POSTGRESQL_ONLY
@pytest.mark.parametrize("fault", ["drop", "swallow", "swallow and refuse"])
def test_a_connection_that_breaks_at_the_commit(far_taskdb, proxy, url, filled, monkeypatch, fault):  # noqa: PLR0917 (fixtures)
    """A commit that was lost is told as lost, one that took effect as done, and one unknown as unknown."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    database = open_database(url)
    execute(url, "DELETE FROM tasks WHERE id % 2 = 0")
    before = hashes(database)
    setattr(proxy, fault.partition(" ")[0], True)
    if "refuse" in fault:
        proxy.on_swallowed = proxy.refuse
    code = {"drop": 5, "swallow": 0, "swallow and refuse": 10}[fault]
    done = far_taskdb(*RESTORE, expect=code)
    assert len([line for line in done.err.splitlines() if line.startswith("error")]) == (code != 0)
    settle(url)
    assert hashes(database) == (before if fault == "drop" else filled)
    assert ("pg_xact_status" in done.err) == (code == 10)


@POSTGRESQL_ONLY
@pytest.mark.parametrize("name", ["backup", "replace"])
def test_a_session_that_the_server_ends(filled, url, held, shelf, name, monkeypatch, taskdb):  # noqa: PLR0917 (fixtures)
    """A server that shuts the session down in the middle: 5 and one line, and nothing half done."""
    ended = []

    def end(words):
        with connect(held if name == "replace" else url) as connection:
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskdb'"
            ended.extend(connection.execute(f"{sql} AND datname = current_database()").fetchall())

    target = open_database(held)
    before, kept = hashes(target), archives(shelf)
    owner = (ArchiveWriter, "_write") if name == "backup" else (Archive, "chunks")
    inner = getattr(*owner)
    calls = []

    def ending(self, argument):
        # What is before the rows of the tasks does not count; the plan reads those once before.
        calls.append(name == "backup" or argument.startswith("tasks"))
        if calls[-1] and sum(calls) == (3 if name == "backup" else 2):
            end(argument)
        return inner(self, argument)

    monkeypatch.setattr(*owner, ending)
    words = ("backup",) if name == "backup" else (*loading(name, url, held), "--no-safety-backup")
    failed = taskdb(*words, expect=5)
    assert ended == [(True,)]
    assert failed.err.count("\n") == 1
    assert hashes(target) == before
    assert archives(shelf) == kept
    assert leftovers(shelf) == []
