"""Damaged files of databases, which make room for new ones and are kept under another name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from taskdb_cli.backup.atomic import add_name, replace, storage
from taskdb_cli.database import Database
from taskdb_cli.errors import Conflict
from taskdb_cli.system.paths import SIDECARS

_ENDINGS = (*SIDECARS, "")


@dataclass(frozen=True)
class Damaged:
    """A damaged file, what is wrong with it, and the name that it is to be kept under."""

    path: Path
    what: str
    kept: Path
    seen: tuple[int, int, int]
    """What tells that nobody has changed the file since."""


def find_damaged(target: Database, now: datetime) -> Damaged | None:
    """Return the file of a database if it is damaged; change nothing."""
    path = target.backend.file()
    if path is None or not path.is_file():
        return None
    earlier = _earlier(path)
    if earlier:
        what = f"a restore was stopped while it moved it to {earlier[0].name}"
    elif not (what := target.backend.damage()):
        return None
    return Damaged(path, what, _free_name(path, earlier, now), _identity(path))


def _earlier(path: Path) -> list[Path]:
    """Return the other names of the file, which a run that was killed gave it."""
    if path.stat().st_nlink == 1:
        return []
    return [
        file
        for file in sorted(path.parent.iterdir())
        if file.name.startswith(f"{path.name}.damaged-") and file.samefile(path)
    ]


def _free_name(path: Path, earlier: list[Path], now: datetime) -> Path:
    stamp = f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for name in earlier:
        if all(_fits(_with(path, ending), _with(name, ending)) for ending in _ENDINGS):
            return name
    names = (path.with_name(stamp if number == 1 else f"{stamp}-{number}") for number in count(1))
    return next(
        name for name in names if not any(os.path.lexists(_with(name, ending)) for ending in _ENDINGS)
    )


def _fits(path: Path, name: Path) -> bool:
    return not (os.path.lexists(path) and os.path.lexists(name)) or _is_same(path, name)


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_same(path: Path, name: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.lstat(), name.lstat())
    return False


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def take_place(partial: Path, damaged: Damaged) -> None:
    """Keep a damaged file and those beside it under another name, and give its own to a finished one.

    One of both has the name at any moment, and no file is ever deleted or overwritten. Raises Conflict if
    somebody has changed the damaged file meanwhile, or StorageFailed; then it is where it was.
    """
    if not damaged.path.exists() or _identity(damaged.path) != damaged.seen:
        raise _changed(damaged)
    _keep_mode(partial, damaged.path)
    with _named(damaged) as beside:
        with storage(f"{damaged.path} cannot be moved aside"):
            for path in beside:
                path.unlink(missing_ok=True)
        # The new file would take a journal that somebody has made meanwhile for its own.
        if any(os.path.lexists(_with(damaged.path, ending)) for ending in SIDECARS):
            raise _changed(damaged)
        replace(partial, damaged.path)


def _changed(damaged: Damaged) -> Conflict:
    return Conflict(
        f"{damaged.path} was changed by somebody else meanwhile",
        "stop what uses it, look at what it holds, and try again",
    )


@contextmanager
def _named(damaged: Damaged) -> Iterator[list[Path]]:
    """Give a file and those beside it their other names, and return those beside it; undo it on an error."""
    pairs = [(_with(damaged.path, ending), _with(damaged.kept, ending)) for ending in _ENDINGS]
    pairs = [(path, name) for path, name in pairs if os.path.lexists(path)]
    try:
        with storage(f"{damaged.path} cannot be kept as {damaged.kept}"):
            for path, name in pairs:
                if not _is_same(path, name):
                    add_name(path, name)
        yield [path for path, _ in pairs if path != damaged.path]
    except BaseException:
        if not _is_replaced(damaged):
            for path, name in pairs:
                with suppress(OSError):
                    _go_back(path, name)
        raise


def _is_replaced(damaged: Damaged) -> bool:
    path, kept = damaged.path, damaged.kept
    return path.exists() and kept.exists() and not _is_same(path, kept)


def _go_back(path: Path, name: Path) -> None:
    if not os.path.lexists(path):
        add_name(name, path)
    if _is_same(path, name):
        name.unlink()


def _keep_mode(partial: Path, path: Path) -> None:
    """Let those use the new file who could use the old one."""
    found = path.stat()
    with suppress(OSError):
        os.chown(partial, found.st_uid, found.st_gid)
    with suppress(OSError):
        partial.chmod(found.st_mode & 0o777)
