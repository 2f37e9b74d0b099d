"""What a path leads to: another file, an open descriptor, or a name with another purpose."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskdb_cli.errors import StorageFailed

SIDECARS = ("-wal", "-shm", "-journal")
"""How the names of the files end that SQLite keeps beside a database."""


def is_same(path: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, or would lead to one if it were made."""
    try:
        return path.samefile(other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def descriptor_of(path: Path) -> int | None:
    """Return the descriptor that a path such as /dev/stdout stands for, or None."""
    for _ in range(40):  # as many links as Linux follows
        if os.path.realpath(path.parent) in (os.path.realpath("/proc/self/fd"), "/dev/fd"):
            return int(path.name) if path.name.isdecimal() else None
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def reserved(path: Path) -> str:
    """Return why no file may be made under this name, or an empty text."""
    real = Path(os.path.realpath(path))
    for ending in SIDECARS:
        if real.name.endswith(ending) and real.with_name(real.name.removesuffix(ending)).is_file():
            # SQLite would delete or overwrite the file.
            return "SQLite would use a file of this name"
    for name in (path.name, real.name):
        if name == ".env":
            return "settings are read from a file of this name"
        if name.endswith(".taskdb.json") or (name.startswith(".") and name.endswith(".lock")):
            return "backups have their records and locks under such names"
    return ""


@contextmanager
def temporary_storage(undone: str) -> Iterator[None]:
    """Turn an OSError of a temporary file into StorageFailed; `undone` says what has not happened."""
    try:
        yield
    except OSError as exc:
        from tempfile import gettempdir

        raise StorageFailed(
            f"a temporary file in {gettempdir()} cannot be written: {exc.strerror or exc}",
            f"{undone}; make room there, or set TMPDIR to a directory on another disk",
        ) from exc
