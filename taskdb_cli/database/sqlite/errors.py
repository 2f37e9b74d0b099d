"""What SQLite's errors mean."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from taskdb_cli.database.schema import ALREADY_THERE
from taskdb_cli.database.sqlite.damage import was_database
from taskdb_cli.database.sqlite.files import obstacle, uri
from taskdb_cli.database.sqlite.limits import LimitExceeded
from taskdb_cli.errors import (
    Conflict,
    DataCorrupt,
    IdsUsedUp,
    Interrupted,
    InvalidInput,
    SchemaForeign,
    StorageFailed,
    TaskdbError,
    TimedOut,
    TransactionConflict,
)

_RESTORE = "'taskdb restore latest --replace' moves it aside and makes a new one"

_REPLACE = "'taskdb restore latest --replace --no-safety-backup' replaces it"

_LATER = "try again later"
_FAULTS: dict[int, tuple[type[TaskdbError], str, str]] = {
    sqlite3.SQLITE_BUSY: (TransactionConflict, "is locked by another process", _LATER),
    sqlite3.SQLITE_LOCKED: (TransactionConflict, "is locked by another process", _LATER),
    sqlite3.SQLITE_INTERRUPT: (Interrupted, "was left alone: interrupted", ""),
}
_STORAGE_FAULTS = {
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_FULL: "cannot grow",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "may not be opened",
    sqlite3.SQLITE_AUTH: "may not be opened",
}

_CHECK = "check the disk, and the permissions of the file and its directory"
_CHECK_ROOM = "make room on the disk"

NEARLY_THE_LAST_ID = 2**63 - 2**32
"""The counter as it was before a change that gave out ids until none was left, whatever its size."""


def family(error: BaseException | None) -> int:
    """Return SQLite's result code without what the library says beyond it: the low byte."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def is_of_storage(error: BaseException | None) -> bool:
    """Return whether the file, or a file beside it, could not be opened, read or written."""
    return family(error) in _STORAGE_FAULTS


def translate(error: Exception, place: str, path: Path) -> TaskdbError:
    """Return ours for an error of the driver; errors show the `place` for the `path`."""
    cause = _cause(error)
    code = family(cause)
    if code in _FAULTS:
        ours, words, hint = _FAULTS[code]
        if isinstance(cause, LimitExceeded):
            ours, words, hint = (
                TimedOut,
                f"was too slow: {cause}",
                f"raise {cause.setting}, or {_LATER}",
            )
        return ours(f"{place} {words}", hint)
    if damage := _damage(cause, code, place, path):
        return damage
    if code in _STORAGE_FAULTS:
        if code == sqlite3.SQLITE_FULL and (tables := _tables_without_ids(error, path)):
            return IdsUsedUp(f"{place} has no id left for another row of {' or '.join(tables)}")
        reason, hint = obstacle(path) or (str(cause), _CHECK_ROOM if code == sqlite3.SQLITE_FULL else _CHECK)
        return StorageFailed(f"{place} {_STORAGE_FAULTS[code]}: {reason}", hint)
    if code == sqlite3.SQLITE_CONSTRAINT:
        kind = Conflict if "UNIQUE" in str(cause) else InvalidInput
        return kind(f"the database refused the change: {cause}")
    return TaskdbError(f"{place}: {cause}", ALREADY_THERE if "already exists" in str(cause) else "")


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # A full disk ends the whole transaction. What fails then is the way back to a savepoint that is gone.
    if "no such savepoint" in str(cause) and cause.__context__:
        return _cause(cause.__context__)
    return cause


def _damage(cause: BaseException, code: int, place: str, path: Path) -> TaskdbError | None:
    """Return the error for a file that cannot be read as a database, or None."""
    if code == sqlite3.SQLITE_NOTADB:
        hint = _RESTORE if was_database(path) else "check the path in --database-url"
        return SchemaForeign(f"{place} is not a SQLite database", hint)
    # Text that is damaged, of a row or in the library's own message, is an error of Python's without a code.
    undecodable = isinstance(cause, UnicodeDecodeError) or "Could not decode to UTF-8" in str(cause)
    if code == sqlite3.SQLITE_CORRUPT or undecodable:
        # There can be no safety backup of a row that cannot be read.
        hint = _REPLACE if undecodable else _RESTORE
        return DataCorrupt(f"{place} is damaged: {cause}", hint)
    return None


def _tables_without_ids(error: Exception, path: Path) -> list[str]:
    """Return the tables whose ids are used up, if it may have been an INSERT that failed.

    SQLite says of that what it says of a full disk.
    """
    statement = error.statement if isinstance(error, DBAPIError) else None
    if statement and not statement.lstrip().upper().startswith("INSERT"):
        return []
    query = "SELECT name FROM sqlite_sequence WHERE seq >= ? ORDER BY name"
    try:
        with closing(sqlite3.connect(uri(path, "mode=ro"), uri=True, timeout=0)) as connection:
            return [name for (name,) in connection.execute(query, (NEARLY_THE_LAST_ID,))]
    except sqlite3.Error:
        return []


def violated_constraint(error: BaseException | None) -> str:
    """Return the name of the constraint that a statement broke.

    SQLite names CHECKs itself; for a unique constraint it lists the columns, from which the name
    follows by our convention; which foreign key it was is not said, and taken to be that of a
    task's user: the user of an access token is locked while it is made.
    """
    kind, _, what = str(error).partition(" constraint failed")
    what = what.removeprefix(": ")
    if kind == "UNIQUE":
        table = what.partition(".")[0]
        return "_".join([table, *(name.partition(".")[2] for name in what.split(", ")), "key"])
    if kind == "FOREIGN KEY":
        return "tasks_user_id_fkey"
    return what


def is_schema_fault(error: Exception) -> bool:
    """Recognize a missing table or column; SQLite has no code of its own for them, only the words."""
    message = str(error.orig if isinstance(error, DBAPIError) else error)
    return "no such table" in message or "no such column" in message or "has no column" in message
