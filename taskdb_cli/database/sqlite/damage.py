"""Find out whether a SQLite file is damaged, without changing it or the files beside it."""

import os
import re
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path

from taskdb_cli.database.schema import VERSION_TABLE
from taskdb_cli.database.sqlite.files import sidecars, uri

OF_ROWS = ("NULL value in", "non-", "TEXT value in", "NUMERIC value in")
"""The beginnings of a check's lines that are about rows and not about pages."""

_OF_SEARCH = re.compile("fts5.*taskdb_search", re.IGNORECASE)
"""The words in a check's lines about the search index. It can be built again, because it has no own data."""

WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")

_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


def find_damage(path: Path) -> str:
    """Return what is wrong with a file, or nothing.

    Nothing is wrong with a file that is missing, empty, locked or of another application. A file that is
    no SQLite database counts as damaged only if it looks as if it was one.
    """
    if not path.is_file() or not path.stat().st_size:
        return ""
    if unusable := [sidecar.name for sidecar in sidecars(path) if not _may_be_used(sidecar)]:
        return f"{' and '.join(unusable)} cannot be read"
    # A journal that a crash left has to be rolled back before anything can be read: then write too.
    for mode in ("ro", "rw"):
        try:
            return _check(path, mode)
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            if mode == "rw" or family(exc) != sqlite3.SQLITE_READONLY:
                return _meaning(exc, path)
    raise AssertionError


def open_to_look(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    """Open a file for reading, without waiting for a lock; raise sqlite3.Error."""
    return closing(sqlite3.connect(uri(path, "mode=ro"), uri=True, timeout=0))


def check(connection: sqlite3.Connection, size: int) -> list[str]:
    """Let the library read every page of a file of that many bytes, and return what is wrong with it.

    CHECK constraints are left out. They take longer than all else, would not be named, and would be left
    out without a word where the file can be read only.
    """
    connection.execute("PRAGMA ignore_check_constraints = ON")
    lines = _lines(connection, "quick_check")
    # To compare every index with its table takes ten times as long.
    if not lines and size <= 8 * 1024 * 1024:
        lines = _lines(connection, "integrity_check")
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    return lines


def _lines(connection: sqlite3.Connection, name: str) -> list[str]:
    found = (" ".join(str(line).split()) for (line,) in connection.execute(f"PRAGMA {name}"))
    lines = [line.removeprefix("*** in database main *** ") for line in found]
    # Since version 3.44 the library looks into the search index too.
    return [] if lines == ["ok"] else [line for line in lines if not _OF_SEARCH.search(line)]


def _check(path: Path, mode: str) -> str:
    # With write access, closing the connection would write the -wal into the file and delete it.
    # It does not wait long for a lock: a locked file is not called damaged.
    connection = sqlite3.connect(uri(path, f"mode={mode}"), uri=True, timeout=0.5)
    with closing(connection):
        # Between its steps a statement lets Python handle signals.
        connection.set_progress_handler(lambda: 0, 10_000)
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        found = [line for line in check(connection, path.stat().st_size) if not line.startswith(OF_ROWS)]
    return found[0] if found else ""


def family(error: BaseException) -> int:
    """Return SQLite's result code without what the library says beyond it: the low byte."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _meaning(error: Exception, path: Path) -> str:
    """Return the damage that an error shows, or nothing if it does not show damage."""
    if isinstance(error, UnicodeDecodeError):
        # The library quotes what it found in the schema.
        return "its schema is not text"
    shown = {
        sqlite3.SQLITE_CORRUPT: True,
        sqlite3.SQLITE_NOTADB: was_database(path),
        sqlite3.SQLITE_ERROR: "unsupported file format" in str(error),
        sqlite3.SQLITE_IOERR: getattr(error, "sqlite_errorcode", 0) in _UNREADABLE,
    }
    return str(error) if shown.get(family(error)) else ""


def _may_be_used(sidecar: Path) -> bool:
    """Return whether a sidecar file is missing or usable; SQLite silently ignores some that are not."""
    if not os.path.lexists(sidecar):
        return True
    if not sidecar.is_file():
        return False
    if not sidecar.name.endswith("-wal") or not os.access(sidecar, os.R_OK):
        return True
    with sidecar.open("rb") as file:
        return file.read(4) in (b"", *WAL_MAGIC)


def was_database(path: Path) -> bool:
    """Return whether a file is probably an overwritten database, and not some other file.

    It has a NUL, which text has not; and it begins as a database does, consists of whole pages (as one
    that was encrypted or overwritten does), or names taskdb's own table. That table is among the first pages.
    """
    try:
        with path.open("rb") as file:
            beginning, size = file.read(1024 * 1024), file.seek(0, os.SEEK_END)
    except OSError:
        return False
    named = size % 512 == 0 or VERSION_TABLE.encode() in beginning
    return beginning.startswith(b"SQLite format 3\0") or (b"\0" in beginning and named)
