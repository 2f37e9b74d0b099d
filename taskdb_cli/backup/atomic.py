"""Files that appear under their name whole and on the disk, or not at all, for their owner alone."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from taskdb_cli.errors import Conflict, StorageFailed

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700

LONGEST_NAME = 200
"""The longest part, in bytes, of a file's name in the name of its temporary file (at most 255 in all)."""

PARTIAL = re.compile(r"\.(?P<final>.+)\.(?P<process>[0-9]+)-[0-9a-f]{8}\.partial", re.DOTALL)
"""The name of a temporary file: the name it shall get, and the process that writes it."""

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
        hint = "check the disk, and the permissions of the file and its directory"
        if exc.errno in _NO_ROOM:
            hint = "make room on the disk"
        raise StorageFailed(f"{action}: {exc.strerror or exc}", hint) from exc


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents, for the owner alone; one that is there stays as it is.

    Raises StorageFailed.
    """
    with storage(f"the directory {path} cannot be made"):
        _make_directory(path)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    try:
        path.mkdir(mode=OWNER_ONLY_DIRECTORY)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return
    # The umask may have taken away even the owner's rights.
    path.chmod(OWNER_ONLY_DIRECTORY)
    _sync_directory(path.parent)


def open_private(path: Path) -> int:
    """Return a descriptor that reads and writes a file, made for the owner alone if it is missing."""
    try:
        return _create(str(path), os.O_RDWR)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def open_partial(final: Path, mode: int = OWNER_ONLY) -> BinaryIO:
    """Create a temporary file beside the place that it shall take, and open it for writing.

    Its own path is `Path(stream.name)`. `sync` it, then `publish` or `discard` that path.
    It is locked while it is open: what is not locked was left by a run that died, and is removed before.
    Raises StorageFailed.
    """
    partial = final.with_name(f".{_shortened(final.name)}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    with storage(f"{final} cannot be written"):
        with suppress(FileNotFoundError):
            # Fail now for an impossible name, and not after everything is written.
            final.lstat()
        _sweep(final)
        return open(partial, "xb", opener=lambda path, flags: _create_locked(path, flags, mode))


def _create(path: str, flags: int, mode: int = OWNER_ONLY) -> int:
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    # The umask may have taken away even the owner's rights.
    os.fchmod(descriptor, mode)
    return descriptor


def _create_locked(path: str, flags: int, mode: int) -> int:
    while True:
        descriptor = _create(path, flags, mode)
        # Where there are no locks, nobody sweeps either.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another run may have swept it before it was locked.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def final_name(name: str) -> str:
    """Return the final name of a temporary file, or nothing if this is not the name of a temporary file.

    A final name of more than LONGEST_NAME bytes is shortened; no archive in a directory has such a name.
    """
    partial = PARTIAL.fullmatch(name)
    return partial["final"] if partial else ""


def _shortened(name: str) -> str:
    data = os.fsencode(name)
    if len(data) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{data[: LONGEST_NAME - len(digest) - 1].decode(errors='ignore')}~{digest}"


def is_abandoned(partial: Path) -> bool | None:
    """Return whether no run writes a temporary file any more; None if the file system has no locks.

    A writer holds a lock on its file. The process id in the name may be another process's by now.
    """
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return True


def leftovers(final: Path) -> list[Path]:
    """Return the temporary files of a file that no run writes, with their SQLite journals.

    On a file system without locks all temporary files are returned. Raises StorageFailed.
    """
    found = []
    with storage(f"{final.parent} cannot be read"), os.scandir(final.parent) as files:
        for file in files:
            name = _JOURNAL.sub("", file.name)
            if final_name(name) != _shortened(final.name):
                continue
            partial, left = final.with_name(name), final.with_name(file.name)
            outlived = left != partial and not os.path.lexists(partial)
            if outlived or is_abandoned(partial) is not False:
                found.append(left)
    return sorted(found)


def _sweep(final: Path) -> None:
    # Nothing of this may keep anybody from writing.
    with suppress(OSError), os.scandir(final.parent) as files:
        for file in files:
            if final_name(file.name) == _shortened(final.name):
                with suppress(OSError):
                    _remove_unlocked(Path(file.path))


def _remove_unlocked(partial: Path) -> None:
    descriptor = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.unlink()
    finally:
        os.close(descriptor)


def sync(stream: BinaryIO) -> None:
    """Bring to the disk what was written; raise StorageFailed if that fails."""
    with storage(f"{stream.name} cannot be written"):
        stream.flush()
        os.fsync(stream.fileno())


def publish(partial: Path, final: Path) -> None:
    """Give a finished temporary file its name, durably, and never in place of another file.

    Raises Conflict if the name is taken, or StorageFailed; nothing of it is then under that name, and
    the temporary file is for `discard`.
    """
    with storage(f"{final} cannot be published"):
        _sync_path(partial)
        try:
            _claim(partial, final)
        except FileExistsError:
            raise Conflict(f"{final} exists already", "remove it, or choose another name") from None
        try:
            _sync_directory(final.parent)
        except BaseException:
            with suppress(OSError):
                final.unlink()
            raise
    discard(partial)


def replace(partial: Path, final: Path) -> None:
    """Replace a file by a finished temporary file, durably.

    Raises StorageFailed; then the name may belong to either file.
    """
    with storage(f"{final} cannot be written"):
        _sync_path(partial)
        partial.rename(final)
        _sync_directory(final.parent)


def add_name(path: Path, name: Path) -> None:
    """Give a file a second name, or rename it if there are no hard links. Raises FileExistsError."""
    _claim(path, name)


def discard(partial: Path) -> None:
    """Remove a temporary file if it is there; one that cannot be removed is left for a later sweep."""
    with suppress(OSError):
        partial.unlink()


def write_atomically(path: Path, data: bytes, mode: int = OWNER_ONLY) -> None:
    """Replace the content of a file: whoever reads it meanwhile sees all of the old or of the new.

    Raises StorageFailed; the old content is then still there, or the new already. A device, a pipe or
    whatever else is no regular file is not replaced.
    """
    action = f"{path} cannot be written"
    with storage(action):
        if path.exists() and not path.is_file():
            raise StorageFailed(f"{action}: it is not a regular file", "choose another name")
    # Closing a file on a full disk fails once more.
    with storage(action), open_partial(path, mode) as stream:
        partial = Path(stream.name)
        try:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            partial.rename(path)
            _sync_directory(path.parent)
        except BaseException:
            discard(partial)
            raise


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk; raise StorageFailed if that fails."""
    with storage(f"the directory {path} cannot be written"):
        _sync_directory(path)


def _claim(partial: Path, final: Path) -> None:
    """Name the file without a moment in which another of that name could be lost, where links exist."""
    try:
        os.link(partial, final, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
        partial.rename(final)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    try:
        _sync_path(path)
    except OSError as exc:
        # Some network file systems have no such thing; their servers decide.
        if exc.errno not in _NO_DIRECTORY_SYNC:
            raise
