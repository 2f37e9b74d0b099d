"""Write files that appear under their names complete and synced, or not at all, for the owner alone."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from taskdb_cli.errors import Conflict, StorageFailed

OWNER_ONLY = 0o600

LONGEST_NAME = 200
"""The longest part, in bytes, of a file's name in the name of its temporary file (at most 255 in all)."""

_PARTIAL = re.compile(r"\.(.+)\.[0-9]+-[0-9a-f]{8}\.partial", re.DOTALL)
_JOURNAL = re.compile(r"-(?:wal|shm|journal)\Z")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP}


@contextmanager
def storage(action: str) -> Iterator[None]:
    """Turn an OSError into StorageFailed; `action` says what it prevented: 'X cannot be written'."""
    try:
        yield
    except OSError as exc:
        permissions = "check the disk, and the permissions of the file and its directory"
        hint = "make room on the disk" if exc.errno in _NO_ROOM else permissions
        raise StorageFailed(f"{action}: {exc.strerror or exc}", hint) from exc


def make_directory(path: Path) -> None:
    """Make what is missing of a directory and its parents, for the owner alone; raise StorageFailed."""
    with storage(f"the directory {path} cannot be made"):
        for each in reversed([each for each in (path, *path.parents) if not each.is_dir()]):
            # Another run may make it at the same time.
            with suppress(FileExistsError):
                each.mkdir(mode=0o700)
                # The umask may have taken away even the owner's rights.
                each.chmod(0o700)
                _sync(each.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def open_private(path: Path) -> int:
    """Return a descriptor that reads and writes a file, made for the owner alone if it is missing."""
    try:
        return _create(str(path), os.O_RDWR, OWNER_ONLY)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _create(path: str, flags: int, mode: int) -> int:
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    # The umask may have taken away even the owner's rights.
    os.fchmod(descriptor, mode)
    return descriptor


@contextmanager
def open_partial(final: Path, mode: int = OWNER_ONLY) -> Iterator[BinaryIO]:
    """Open a new temporary file for writing, beside the place that it shall take, and remove it on leaving.

    Its own path is `Path(stream.name)`: `publish` that, or `replace` the place by it. It is locked while it
    is open. Temporary files of the same place that nobody has locked were left by runs that died; they are
    removed first. Raises StorageFailed, also for an OSError inside.
    """

    def create_locked(path: str, flags: int) -> int:
        while True:
            descriptor = _create(path, flags, mode)
            # Without locks nobody sweeps, so the file is safe too.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another run may have swept it before it was locked.
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)

    partial = final.with_name(f".{_shortened(final.name)}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    # Closing a file on a full disk fails once more.
    with storage(f"{final} cannot be written"):
        with suppress(FileNotFoundError):
            # Fail now for an impossible name, and not after everything is written.
            final.lstat()
        # A failure to remove what is left of others must not keep anybody from writing.
        with suppress(OSError), os.scandir(final.parent) as files:
            for file in files:
                if final_name(file.name) == _shortened(final.name):
                    is_abandoned(Path(file.path), remove=True)
        with open(partial, "xb", opener=create_locked) as stream:
            try:
                yield stream
            finally:
                discard(partial)


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:LONGEST_NAME])


def final_name(name: str) -> str:
    """Return the final name, up to LONGEST_NAME bytes, of a temporary file; empty for the name of another."""
    partial = _PARTIAL.fullmatch(name)
    return partial[1] if partial else ""


def is_abandoned(partial: Path, *, remove: bool = False) -> bool | None:
    """Return whether no run writes a temporary file any more; None if the file system has no locks.

    A writer holds a lock on its file. The process id in the name may be another process's by now.
    An abandoned file can be removed at once, before a writer that has just made it can lock it.
    """
    itself = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(partial, "rb", opener=lambda path, flags: os.open(path, flags | itself)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if remove:
                partial.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    except OSError:
        return None
    return True


def leftovers(final: Path) -> list[Path]:
    """Return the temporary files of a file that no run writes, with their SQLite journals.

    On a file system without locks all temporary files are returned. Raises StorageFailed.
    """
    found = []
    with storage(f"{final.parent} cannot be read"), os.scandir(final.parent) as files:
        for file in files:
            partial, left = final.with_name(_JOURNAL.sub("", file.name)), final.with_name(file.name)
            if final_name(partial.name) == _shortened(final.name):
                outlived = left != partial and not os.path.lexists(partial)
                if outlived or is_abandoned(partial) is not False:
                    found.append(left)
    return sorted(found)


def publish(partial: Path, final: Path) -> None:
    """Give a finished temporary file its name, durably, and never in place of another file.

    Raises Conflict if the name is taken, or StorageFailed. Then the file does not have that name.
    """
    with storage(f"{final} cannot be published"):
        _sync(partial)
        try:
            add_name(partial, final)
        except FileExistsError:
            raise Conflict(f"{final} exists already", "remove it, or choose another name") from None
        try:
            _sync(final.parent)
        except BaseException:
            with suppress(OSError):
                final.unlink()
            raise
    discard(partial)


def replace(partial: Path, final: Path) -> None:
    """Replace a file by a finished temporary file, durably; StorageFailed may leave the name to either."""
    with storage(f"{final} cannot be written"):
        _sync(partial)
        partial.rename(final)
        _sync(final.parent)


def add_name(path: Path, name: Path) -> None:
    """Give a file a second name, or rename it if there are no hard links. Raises FileExistsError.

    With hard links, a file that another process makes under that name is never lost.
    """
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
        path.rename(name)


def discard(partial: Path) -> None:
    """Remove a temporary file if it is there; one that cannot be removed is left for a later sweep."""
    with suppress(OSError):
        partial.unlink()


def write_atomically(path: Path, data: bytes, mode: int = OWNER_ONLY) -> None:
    """Replace the content of a file. A reader sees all of the old content or all of the new content.

    Raises StorageFailed, with either content in the file, and for a device or a pipe.
    """
    action = f"{path} cannot be written"
    with storage(action):
        if path.exists() and not path.is_file():
            raise StorageFailed(f"{action}: it is not a regular file", "choose another name")
    with open_partial(path, mode) as stream:
        stream.write(data)
        stream.flush()
        replace(Path(stream.name), path)


def sync_directory(path: Path) -> None:
    """Sync the names in a directory; raise StorageFailed if that fails."""
    with storage(f"the directory {path} cannot be written"):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        # Some network file systems cannot sync directories; their servers decide.
        if not (path.is_dir() and exc.errno in _NO_DIRECTORY_SYNC):
            raise
    finally:
        os.close(descriptor)
