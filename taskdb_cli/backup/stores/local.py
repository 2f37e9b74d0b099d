"""A local directory as a store of files."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from taskdb_cli.backup import atomic
from taskdb_cli.backup.atomic import storage
from taskdb_cli.backup.stores import Found, Leftover, lock_name
from taskdb_cli.errors import BackupRunning, FileMissing, NotFound, StorageFailed


class LocalFile:
    """A file that is open for reading."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self.size = os.fstat(file.fileno()).st_size

    def read_at(self, position: int, size: int) -> bytes:
        """Read by one seek and one read."""
        with storage(f"{self._path} cannot be read"):
            self._file.seek(position)
            return self._file.read(size)


class NewLocalFile:
    """A temporary file beside the place that it shall take."""

    def __init__(self, final: Path, stream: BinaryIO) -> None:
        self._stream, self._failing = stream, f"{final} cannot be written"
        self.partial = Path(stream.name)

    def write(self, data: bytes) -> int:
        """Write to the temporary file."""
        with storage(self._failing):
            return self._stream.write(data)

    @contextmanager
    def reopen(self) -> Iterator[LocalFile]:
        """Open the temporary file for reading."""
        with storage(self._failing):
            self._stream.flush()
            file = self.partial.open("rb")
        with file:
            yield LocalFile(self.partial, file)


@dataclass(frozen=True)
class LocalStore:
    """The regular files of a directory, which need not exist until it is written to."""

    directory: Path

    def __str__(self) -> str:
        return str(self.directory)

    def location(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.directory / name)

    def exists(self) -> bool:
        """Return whether the directory is there."""
        return os.access(self.directory, os.F_OK)

    def make(self) -> None:
        """Make the directory and its parents, for the owner alone, where they are missing."""
        atomic.make_directory(self.directory)

    def list_files(self) -> list[Found]:
        """Return what the directory holds except directories' content; links are not followed."""
        found = []
        with storage(f"the backup directory {self.directory} cannot be read"), suppress(FileNotFoundError):
            for file in os.scandir(self.directory):
                with suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    changed = datetime.fromtimestamp(status.st_mtime, UTC)
                    regular = stat.S_ISREG(status.st_mode)
                    # A time is no proof of the bytes, but whatever writes to the file changes it.
                    found.append(Found(file.name, status.st_size, changed, f"{status.st_mtime_ns}", regular))
        return found

    def size(self, name: str) -> int:
        """Return the size of a regular file; a link to one is refused."""
        path = self.directory / name
        with storage(f"{path} cannot be read"):
            try:
                status = path.lstat()
            except FileNotFoundError as exc:
                raise FileMissing(path) from exc
        if not stat.S_ISREG(status.st_mode):
            raise StorageFailed(f"{path} is not a regular file")
        return status.st_size

    @contextmanager
    def open(self, name: str) -> Iterator[LocalFile]:
        """Open a regular file, or one that a link leads to."""
        path = self.directory / name
        with storage(f"{path} cannot be read"):
            try:
                # A named pipe that nobody writes to would otherwise be waited for.
                if not stat.S_ISREG(path.stat().st_mode):
                    raise StorageFailed(f"{path} cannot be read: it is not a regular file")
                file = path.open("rb")
            except FileNotFoundError as exc:
                raise FileMissing(path) from exc
        with file:
            yield LocalFile(path, file)

    @contextmanager
    def create(self, name: str) -> Iterator[NewLocalFile]:
        """Write a temporary file for the owner alone, sync it, and give it its name."""
        final = self.directory / name
        with atomic.open_partial(final) as stream:
            new = NewLocalFile(final, stream)
            yield new
            stream.flush()
            atomic.publish(new.partial, final)

    def delete(self, name: str) -> None:
        """Delete a file; only after `sync` does a power cut not bring it back."""
        path = self.directory / name
        with storage(f"{path} cannot be deleted"):
            path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Sync the names in the directory."""
        atomic.sync_directory(self.directory)

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the beginning of a file, or nothing of a named pipe that nobody writes to."""
        path = self.directory / name
        with storage(f"{path} cannot be read"):
            try:
                with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                    return file.read(limit)
            except FileNotFoundError:
                return None

    def update(self, name: str, limit: int, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a file while a lock beside it is held. Others need a moment only, so this run waits.

        A file that cannot be read counts as an empty one.
        """
        with self._flock(name, lock_name(f"{name}+"), fcntl.LOCK_EX):
            try:
                data = self.read(name, limit)
            except StorageFailed:
                data = b""
            atomic.write_atomically(self.directory / name, change(data))

    @contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], None]]:
        """Lock a file by flock, which the system undoes when the process ends."""
        with self._flock(name, lock_name(name), fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield lambda: None

    @contextmanager
    def _flock(self, what: str, lock: str, operation: int) -> Iterator[None]:
        path = self.directory / lock
        with ExitStack() as held:
            with storage(f"{path} cannot be locked"):
                try:
                    descriptor = atomic.open_private(path)
                    held.callback(os.close, descriptor)
                    fcntl.flock(descriptor, operation)
                except FileNotFoundError:
                    missing = f"there is no backup directory {self.directory}"
                    raise NotFound(missing, "check the path") from None
                except BlockingIOError:
                    raise BackupRunning(what, path) from None
            yield

    def leftovers(self) -> list[Leftover]:
        """Return the temporary files. A run that writes one holds it locked."""
        found = []
        for name in (file.name for file in self.list_files()):
            if final := atomic.final_name(name):
                path = self.directory / name
                found.append(Leftover(final, str(path), atomic.is_abandoned(path), name))
        return found

    def discard(self, leftover: Leftover) -> None:
        """Remove a temporary file."""
        atomic.discard(self.directory / leftover.key)
