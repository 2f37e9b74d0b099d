"""The SQLite file that a restore makes or replaces. A new file appears complete, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from glob import escape
from itertools import chain, count
from pathlib import Path

from sqlalchemy import URL

from taskdb_cli.backup import atomic
from taskdb_cli.database import Database
from taskdb_cli.database.sqlite.connection import keep_wal
from taskdb_cli.database.sqlite.damage import find_damage
from taskdb_cli.errors import Conflict
from taskdb_cli.system import signals
from taskdb_cli.system.paths import SIDECARS

_ENDINGS = (*SIDECARS, "")


@dataclass(frozen=True)
class Damaged:
    """A damaged file, what is wrong with it, and the name under which it will be kept."""

    path: Path
    what: str
    kept: Path
    seen: tuple[int, int, int]
    """Inode, size and time of the last change, to notice that another process changes the file."""


def find_damaged(target: Database, now: datetime) -> Damaged | None:
    """Return the file of a database if it is damaged; change nothing."""
    path = target.backend.file()
    if path is None or not path.is_file():
        return None
    # A restore that was killed has given the file its other name already.
    names = path.parent.glob(f"{escape(path.name)}.damaged-*")
    earlier = sorted(name for name in names if not name.is_symlink() and name.samefile(path))
    if earlier:
        what = f"a restore was stopped while it moved the file to {earlier[0].name}"
    elif not (what := find_damage(path)):
        return None
    return Damaged(path, what, _free_name(path, earlier, now), _state(path))


def _free_name(path: Path, earlier: list[Path], now: datetime) -> Path:
    def is_free(name: Path) -> bool:
        pairs = [(_with(path, ending), _with(name, ending)) for ending in _ENDINGS]
        taken = [old for old, new in pairs if os.path.lexists(new) and not _is_same(old, new)]
        return not taken or (name in earlier and not any(os.path.lexists(old) for old in taken))

    stamp = f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(stamp if number == 1 else f"{stamp}-{number}") for number in count(1))
    return next(filter(is_free, chain(earlier, names)))


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_same(path: Path, name: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.lstat(), name.lstat())
    return False


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def open_target(
    target: Database, *, dry_run: bool = False, damaged: Damaged | None = None
) -> Iterator[Database]:
    """Open the database into which the rows for a target are loaded.

    It is the target itself, unless the target is a SQLite file that is missing or `damaged`. Then it is a
    temporary file beside it, which gets the name of the target on leaving, but not after an error or a
    `dry_run`. A damaged file is kept under another name. Raises StorageFailed, and Conflict if another
    process has made or changed the file of the target meanwhile.
    """
    path = target.backend.file()
    # SQLite would take a journal that was left behind for the journal of a file that is put there.
    if path is None or (not damaged and any(os.path.lexists(_with(path, ending)) for ending in _ENDINGS)):
        yield target
        return
    atomic.make_directory(path.parent)
    if not dry_run:
        signals.note_change(made=False)
    with atomic.open_partial(path) as stream:
        partial = Path(stream.name)
        # Nobody else sees the temporary file, so it needs no journal.
        options = replace(target.options, disposable=True, pool=None)
        database = Database(URL.create("sqlite", database=str(partial)), options)
        # Errors name the file of the target.
        database.backend.place = target.backend.place
        yield database
        if dry_run:
            return
        with database.translating():
            keep_wal(partial)
        with signals.held():
            if damaged:
                _take_place(partial, damaged)
            else:
                try:
                    atomic.publish(partial, path)
                except Conflict as exc:
                    what = f"{path} was made by another process meanwhile"
                    raise Conflict(what, "look at what it holds, and try again") from exc
            signals.note_change(made=True)


def _take_place(partial: Path, damaged: Damaged) -> None:
    """Keep a damaged file and its journals under another name, and give its own name to a new file.

    One of the two files has the name at any moment, and no file is ever deleted or overwritten. Raises
    StorageFailed, and Conflict if another process changed the damaged file. Then that is where it was.
    """
    path, kept = damaged.path, damaged.kept
    _require_unchanged(path, path.exists() and _state(path) == damaged.seen)
    # The new file is for the same people as the old one.
    old = path.stat()
    with suppress(OSError):
        os.chown(partial, old.st_uid, old.st_gid)
    with suppress(OSError):
        partial.chmod(old.st_mode & 0o777)
    pairs = [(_with(path, ending), _with(kept, ending)) for ending in _ENDINGS]
    pairs = [(file, name) for file, name in pairs if os.path.lexists(file)]
    try:
        with atomic.storage(f"{path} cannot be kept as {kept}"):
            for file, name in pairs:
                if not _is_same(file, name):
                    atomic.add_name(file, name)
        with atomic.storage(f"{path} cannot be moved aside"):
            for file, _ in pairs:
                if file != path:
                    file.unlink(missing_ok=True)
        # SQLite would use a journal that another process has made meanwhile for the new file.
        _require_unchanged(path, not any(os.path.lexists(_with(path, ending)) for ending in SIDECARS))
        atomic.replace(partial, path)
    except BaseException:
        is_replaced = path.exists() and kept.exists() and not _is_same(path, kept)
        if not is_replaced:
            for file, name in pairs:
                with suppress(OSError):
                    if not os.path.lexists(file):
                        atomic.add_name(name, file)
                    if _is_same(file, name):
                        name.unlink()
        raise


def _require_unchanged(path: Path, unchanged: bool) -> None:
    if not unchanged:
        raise Conflict(
            f"{path} was changed by another process meanwhile",
            "stop what uses it, look at what it holds, and try again",
        )
