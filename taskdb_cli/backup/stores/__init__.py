"""Stores of files, in which archives are kept: `local` is a directory, `objects` is a bucket.

Everything above them is written once, for any `Store`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from taskdb_cli.errors import StorageFailed
from taskdb_cli.system.paths import is_same


class LeftoversUnknown(StorageFailed):
    """A bucket does not tell which uploads are unfinished."""


def lock_name(name: str) -> str:
    """Return the name of the file by which a store locks what has this name."""
    return f".{name}.lock"


class Found(NamedTuple):
    """A file as the list of its store shows it: its size in bytes, and its last change by the store's clock.

    `tag` changes when the bytes do, and is empty where the store has none. On a disk it is the time of that
    change, which anybody can set. What is not a `regular` file, such as a symbolic link, only has a name.
    """

    name: str
    size: int
    changed: datetime
    tag: str = ""
    regular: bool = True

    @property
    def locked(self) -> str | None:
        """The name of what this file locks; None for a file that is no lock."""
        is_lock = self.name.startswith(".") and self.name.endswith(".lock")
        return self.name[1 : -len(".lock")] if is_lock else None


class Leftover(NamedTuple):
    """What a run has left of a file that it did not finish, and the name that the file should have got.

    `abandoned` says whether no run writes it any more; None if the store cannot tell.
    """

    final: str
    location: str
    abandoned: bool | None
    key: str


class ReadableFile(Protocol):
    """A file that is open for reading; `size` counts its bytes."""

    @property
    def size(self) -> int:
        """The number of its bytes."""

    def read_at(self, position: int, size: int) -> bytes:
        """Return the bytes from a position on: fewer than asked for only where the file ends.

        Reading forwards is fast. Raises StorageFailed, and ArchiveCorrupt if the file was changed meanwhile.
        """


class NewFile(Protocol):
    """A file that is being written, and which nobody sees under its name yet."""

    def write(self, data: bytes) -> int:
        """Take all of the bytes, and return their number; raise StorageFailed."""

    def reopen(self) -> AbstractContextManager[ReadableFile]:
        """Finish writing, and open what was stored for reading. Nothing can be written after it."""


class Sink(Protocol):
    """What an archive is written to, in one go: a stream, or a new file of a store."""

    def write(self, data: bytes, /) -> int | None:
        """Take some of the bytes and return their number, or all and return None."""


def write_all(sink: Sink, data: bytes) -> None:
    """Write all of the bytes, however many a sink takes at once."""
    while data and (taken := sink.write(data)) is not None:
        data = data[taken:]


class Store(Protocol):
    """A place for files, each of which is there complete or not at all.

    Names have no slash. All methods raise StorageFailed if the store does not do what it should,
    StoreUnavailable if it cannot be reached, and FileMissing for a file that is not there. Those that read
    treat a missing directory as empty.
    """

    @property
    def directory(self) -> Path | None:
        """The local directory; None for a bucket."""

    def __str__(self) -> str:
        """Return the path or address, as the user gave it, without any secret."""

    def location(self, name: str) -> str:
        """Return the path or the address of a file."""

    def exists(self) -> bool:
        """Return whether there is such a directory or bucket."""

    def make(self) -> None:
        """Make the directory where it is missing; raise NotFound for a missing bucket."""

    def list_files(self) -> list[Found]:
        """Return the files, in any order; those of directories below are not among them."""

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""

    def open(self, name: str) -> AbstractContextManager[ReadableFile]:
        """Open a file for reading."""

    def create(self, name: str) -> AbstractContextManager[NewFile]:
        """Open a new file for writing. It gets its name on leaving; after an error there is none.

        Raises Conflict if the name is taken.
        """

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone already is no error. Only `sync` makes it last."""

    def sync(self) -> None:
        """Wait until what was deleted cannot come back."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Return up to `limit` bytes of a small file, or None if it is not there."""

    def update(self, name: str, limit: int, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small file by what `change` makes of it, with no change of another run between.

        `change` gets up to `limit` bytes of it, or None for a missing file, and may be called again.
        """

    def lock(self, name: str) -> AbstractContextManager[Callable[[], None]]:
        """Keep others from what has this name, until the context is left or the process ends.

        The lock is a file of the name `lock_name(name)`.

        Yields a function that raises BackupRunning if the lock was lost; call it before what cannot be
        undone. Raises BackupRunning at once if another run has the lock.
        """

    def leftovers(self) -> list[Leftover]:
        """Return what unfinished runs have left; raise LeftoversUnknown if the store does not tell."""

    def discard(self, leftover: Leftover) -> None:
        """Remove a leftover if it can be removed; else it is left for a later run."""


@dataclass(frozen=True)
class StoredFile:
    """A file in a store, by its name."""

    store: Store
    name: str

    def __str__(self) -> str:
        return self.store.location(self.name)

    @property
    def path(self) -> Path | None:
        """The path of a local file."""
        return self.store.directory / self.name if self.store.directory else None

    def open(self) -> AbstractContextManager[ReadableFile]:
        """Open the file for reading; raise as `Store.open` does."""
        return self.store.open(self.name)

    def is_same(self, other: "StoredFile") -> bool:
        """Return whether both are one file, also by another path."""
        path, another = self.path, other.path
        return self == other or (path is not None and another is not None and is_same(path, another))
