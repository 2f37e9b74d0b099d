"""Files that appear whole and on the disk, or not at all, for their owner alone."""

import errno
import fcntl
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from taskdb_cli.backup.atomic import discard, open_partial, publish, write_atomically
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.errors import (
    Conflict,
    StorageFailed,
)
from taskdb_cli.exit_codes import ExitCode
from tests.backups import (
    NAME,
    archive,
    break_call,
    is_directory,
    partial_name,
    proof,
    put,
    run_python,
    visible,
    written,
)
from tests.conftest import NOW


@pytest.fixture
def umask():
    """Sets the umask for the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o7777


def test_a_file_gets_its_name_when_it_is_finished(directory):
    final = directory.store.directory / archive_name("tasks", NOW)
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
    made = BackupDirectory(LocalStore(tmp_path / "a" / "b" / "c"))
    made.store.make()
    made.store.make()
    final = made.store.directory / archive_name("tasks", NOW)
    partial = written(final)
    assert mode(partial) == 0o600
    with made.lock("tasks"):
        publish(partial, final)
        made.note("tasks", proof())
    assert {mode(path) for path in (tmp_path / "a").rglob("*") if path.is_file()} == {0o600}
    assert [
        mode(path)
        for path in (made.store.directory, made.store.directory.parent, made.store.directory.parent.parent)
    ] == [0o700] * 3
    assert len(visible(made)) == 4


def test_a_directory_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)
    BackupDirectory(LocalStore(tmp_path)).store.make()
    assert mode(tmp_path) == 0o750


def test_a_directory_that_cannot_be_made_is_named():
    with pytest.raises(StorageFailed, match="/proc/none/backups cannot be made"):
        BackupDirectory(LocalStore(Path("/proc/none/backups"))).store.make()


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
    final = directory.store.directory / archive_name("tasks", NOW)
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
    final = directory.store.directory / archive_name("tasks", NOW)
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
    final = directory.store.directory / archive_name("tasks", NOW)
    partial = written(final)
    broken("link", errno.EOPNOTSUPP)
    broken("fsync", errno.EIO, is_directory)
    with pytest.raises(StorageFailed):
        publish(partial, final)
    assert visible(directory) == []


def test_a_rename_that_fails_leaves_nothing_under_the_name(directory, broken):
    final = directory.store.directory / archive_name("tasks", NOW)
    partial = written(final)
    broken("link", errno.EPERM)
    broken("rename")
    with pytest.raises(StorageFailed):
        publish(partial, final)
    assert visible(directory) == [partial.name]


def test_an_interrupt_while_publishing_leaves_nothing_under_the_name(directory, monkeypatch):
    final = directory.store.directory / archive_name("tasks", NOW)
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
    final = directory.store.directory / archive_name("tasks", NOW)
    partial = written(final)
    broken("fsync", code, is_directory)
    publish(partial, final)
    assert visible(directory) == [NAME]


def test_a_published_file_is_on_the_disk_before_it_has_its_name(directory, monkeypatch):
    """First the content, then the name, then the directory that holds the name."""
    steps = []
    final = directory.store.directory / archive_name("tasks", NOW)
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
    final = directory.store.directory / archive_name("tasks", NOW)
    partial = written(final)
    with monkeypatch.context() as patch:
        break_call(patch, "unlink")
        publish(partial, final)
    assert visible(directory) == [partial.name, NAME]
    with directory.lock("tasks"):
        directory.sweep("tasks")
    assert final.read_bytes() == b"content"


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(StorageFailed, match="none/x cannot be written: No such file"):
        open_partial(tmp_path / "none" / "x").__enter__()
    with pytest.raises(StorageFailed, match="cannot be written: File name too long"):
        open_partial(tmp_path / ("x" * 256)).__enter__()


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, os.fsdecode(b"\xff" * 255)])
def test_the_longest_names(tmp_path, name):
    """A name that leaves no room for more is shortened in that of the temporary file, which is swept."""
    final = tmp_path / name
    with open_partial(final) as stream:
        left = Path(stream.name)
    assert not left.exists()
    left.touch()
    with open_partial(final) as stream:
        assert list(tmp_path.iterdir()) == [Path(stream.name)]
        assert len(os.fsencode(Path(stream.name).name)) < 255
        publish(Path(stream.name), final)
    assert list(tmp_path.iterdir()) == [final]


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.atomic import open_partial, publish
from taskdb_cli.backup.stores.local import LocalStore
directory = BackupDirectory(LocalStore(Path(sys.argv[1])))
final, calls = directory.store.directory / archive_name("tasks", datetime.now(UTC)), int(sys.argv[2])
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
        stream.flush()
        publish(Path(stream.name), final)
"""


def test_a_killed_run_leaves_a_whole_file_or_none(directory):
    """SIGKILL before each call that puts a file in place; the next run sweeps what is left."""
    names = []
    for calls in range(6):
        done = run_python(KILLED, directory.store.directory, calls)
        assert done.returncode == (-signal.SIGKILL if calls < 5 else 0), done
        assert {entry.file.path.read_bytes() for entry in directory.entries()} <= {b"content"}
        names.append(len(directory.entries()))
        with directory.lock("tasks"):
            assert len(directory.store.leftovers()) == (calls < 4)
            directory.sweep("tasks")
        assert directory.strays(NOW) == []
    assert names == [0, 0, 1, 2, 3, 4]


def test_what_a_dead_run_left_is_swept_by_the_next(directory):
    """Of the same file only, and never what somebody is writing, whatever process id is in its name."""
    place = directory.store.directory / "x.prom"
    for name in ("x.prom", "y.prom"):
        put(directory, partial_name(name))
    with open_partial(place) as stream:
        assert visible(directory) == sorted([partial_name("y.prom"), Path(stream.name).name])
        put(directory, partial_name("x.prom", os.getpid()))
        write_atomically(place, b"content")
        assert visible(directory) == sorted([partial_name("y.prom"), Path(stream.name).name, "x.prom"])
        publish(Path(stream.name), directory.store.directory / "z.prom")


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path, linked):
    """A pipe, which stands for a device too, stays what it is, also behind a link."""
    pipe, place = tmp_path / "pipe", tmp_path / "place"
    os.mkfifo(pipe)
    if linked:
        place.symlink_to(pipe)
    else:
        place = pipe
    with pytest.raises(StorageFailed, match="not a regular file"):
        write_atomically(place, b"content")
    assert pipe.is_fifo()
    assert place.is_symlink() == linked


def test_a_file_that_was_swept_before_it_was_locked_is_made_again(directory, monkeypatch):
    """Between making a file and locking it another run may have looked at it."""
    lock, swept = fcntl.flock, []

    def sweep_first(descriptor, operation):
        if not swept:
            swept.extend(directory.store.directory.iterdir())
            swept[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    write_atomically(directory.store.directory / "x.prom", b"content")
    assert len(swept) == 1
    assert visible(directory) == ["x.prom"]
