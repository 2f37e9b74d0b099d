"""What SQLite's errors mean."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from taskdb_cli.errors import (
    Conflict,
    DataCorrupt,
    Interrupted,
    InvalidInput,
    SchemaForeign,
    StorageFailed,
    TaskdbError,
    TransactionConflict,
)

_FAULTS: dict[int, tuple[type[TaskdbError], str, str]] = {
    sqlite3.SQLITE_BUSY: (TransactionConflict, "is locked by another process", "try again later"),
    sqlite3.SQLITE_LOCKED: (TransactionConflict, "is locked by another process", "try again later"),
    sqlite3.SQLITE_INTERRUPT: (Interrupted, "was left alone: interrupted", ""),
    sqlite3.SQLITE_NOTADB: (SchemaForeign, "is not a SQLite database", "check the path in --database-url"),
}
_STORAGE_FAULTS = {
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "may not be opened",
    sqlite3.SQLITE_AUTH: "may not be opened",
}


def translate(error: Exception, place: str) -> TaskdbError:
    """Return ours for an error of the driver, by SQLite's result code: the low byte is the family."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _FAULTS:
        family, words, hint = _FAULTS[code]
        return family(f"{place} {words}", hint)
    if code == sqlite3.SQLITE_CORRUPT:
        return DataCorrupt(f"{place} is damaged: {cause}", "restore it from a backup")
    if code in _STORAGE_FAULTS:
        return StorageFailed(
            f"{place} {_STORAGE_FAULTS[code]}",
            "check the disk, and the permissions of the file and its directory",
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        family = Conflict if "UNIQUE" in str(cause) else InvalidInput
        return family(f"the database refused the change: {cause}")
    return TaskdbError(f"{place}: {cause}")


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
