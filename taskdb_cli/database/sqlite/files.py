"""The files of a SQLite database: whether they are there, their names, and why they cannot be written."""

import os
import stat
from pathlib import Path
from urllib.parse import quote

from taskdb_cli.database.options import Options
from taskdb_cli.errors import DatabaseMissing, InvalidConfiguration, StorageFailed
from taskdb_cli.system.paths import SIDECARS


def sidecars(path: Path) -> list[Path]:
    """Return where SQLite keeps its other files of a database, whether or not they are there."""
    return [path.with_name(path.name + ending) for ending in SIDECARS]


def require_file(path: Path, options: Options) -> None:
    """Raise DatabaseMissing for a file that is absent or empty, InvalidConfiguration for no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 (before each unit of work: pathlib takes longer)
    except (FileNotFoundError, NotADirectoryError):
        real = os.path.realpath(path)
        leads = f", which leads to {real}" if os.path.lexists(path) else ""
        raise DatabaseMissing(f"{path}{leads}", options.source) from None
    except OSError as exc:
        raise StorageFailed(f"{path} cannot be opened: {exc.strerror}", options.with_source("")) from exc
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        hint = options.with_source("name a file: sqlite:///directory/taskdb.sqlite3")
        raise InvalidConfiguration(f"{path} is {kind}", hint)
    if found.st_size == 0:
        raise DatabaseMissing(path, options.source)


def make_file(path: Path, options: Options) -> None:
    """Make an empty file for its owner alone, and the directories above it; raise StorageFailed."""
    try:
        # A link may lead to a place whose directory is missing.
        for file in (Path(os.path.realpath(path)), path):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as exc:
        hint = f"choose another place with {options.source or '--database-url'}"
        raise StorageFailed(f"{path} cannot be created: {exc.strerror}", hint) from exc


def uri(path: Path, parameters: str) -> str:
    """Return a path as the library reads it, whatever characters or bytes are in it."""
    return f"file://{quote(os.fsencode(path))}?{parameters}"


def unfinished(path: Path) -> list[Path]:
    """Return the files beside a database that hold changes which may not be in the database file itself."""
    beside = [Path(os.path.realpath(path) + ending) for ending in ("-wal", "-journal")]
    return [file for file in beside if file.exists() and file.stat().st_size]


def obstacle(path: Path) -> tuple[str, str] | None:
    """Return what keeps the library from writing to a file and beside it, and what to do about that."""
    real = Path(os.path.realpath(path))
    # First: a read-only file system has no room either.
    reason = ""
    if not os.access(real.parent, os.W_OK):
        reason = f"no file can be made in {real.parent}"
    elif os.path.lexists(real) and not os.access(real, os.W_OK):
        reason = "the file is read-only for this user"
    if reason:
        hint = "run this as a user who may write there"
        if changes := unfinished(path):
            reason += f", and {changes[0]} has to be merged into it first"
            hint += ", or on a copy of all its files elsewhere"
        return reason, hint
    try:
        space = os.statvfs(real.parent)
    except OSError as exc:
        return f"{real.parent}: {exc.strerror}", "check the disk"
    # SQLite needs 32 KiB to share a file in WAL mode, and some to log a change in.
    if space.f_bavail * space.f_frsize < 64 * 1024:
        return f"the disk under {real.parent} is full", "make room on it"
    return None
