"""What SQLite's errors mean."""

import re
import sqlite3
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from taskdb_cli import errors
from taskdb_cli.database.schema import ALREADY_THERE
from taskdb_cli.database.sqlite.damage import family, open_to_look, was_database
from taskdb_cli.database.sqlite.files import obstacle
from taskdb_cli.database.sqlite.locks import lock_holder
from taskdb_cli.errors import TaskdbError
from taskdb_cli.models import metadata
from taskdb_cli.system import signals

_RESTORE = "'taskdb restore latest --replace' moves it aside and makes a new one"
_BACKUP = f"run 'taskdb backup' first: if it succeeds, no row is lost; {_RESTORE}"
_REPLACE = "'taskdb restore latest --replace --no-safety-backup' replaces it"

_LATER = "try again later"
_UNTIL_FREE = f"{_LATER}, or raise TASKDB_RETRY_BUDGET; for a migration, TASKDB_MIGRATION_WAIT"
_STORAGE_FAULTS = {
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_FULL: "cannot grow",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "may not be opened",
}

_MISSING = re.compile("no such table|no such column|has no column")


class LimitExceeded(sqlite3.OperationalError):
    """A statement took longer than its limit."""

    sqlite_errorcode = sqlite3.SQLITE_INTERRUPT

    def __init__(self, seconds: float, setting: str) -> None:
        super().__init__(f"a statement took longer than {seconds:g} s")
        self.setting = setting


def is_of_storage(error: BaseException) -> bool:
    """Return whether the file, or a file beside it, could not be opened, read or written."""
    return family(error) in _STORAGE_FAULTS


def translate(error: Exception, place: str, path: Path, source: str) -> TaskdbError:
    """Return ours for an error of the driver; errors show the `place` for the `path`.

    `source` is the setting that names the path, or empty.
    """
    cause = driver_error(error)
    code = family(cause)
    if isinstance(cause, TaskdbError):
        return cause
    if isinstance(cause, LimitExceeded):
        return errors.TimedOut(f"{place} was too slow: {cause}", f"raise {cause.setting}, or {_LATER}")
    if code == sqlite3.SQLITE_NOTADB:
        hint = _RESTORE if was_database(path) else f"check the path in {source or '--database-url'}"
        return errors.SchemaForeign(f"{place} is not a SQLite database", hint)
    # Text that is damaged, of a row or in the library's own message, is an error of Python's without a code.
    undecodable = isinstance(cause, UnicodeDecodeError) or "Could not decode to UTF-8" in str(cause)
    if code == sqlite3.SQLITE_CORRUPT or undecodable:
        # There can be no safety backup of a row that cannot be read.
        return errors.DataCorrupt(f"{place} is damaged: {cause}", _REPLACE if undecodable else _BACKUP)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return _violation(cause, error.statement if isinstance(error, DBAPIError) else None)
    if code in _STORAGE_FAULTS:
        return _storage_fault(cause, place, path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.TransactionConflict(f"{place} is locked by {lock_holder(path)}", _UNTIL_FREE)
    kind, hint = _by_words(str(cause))
    return signals.interrupted() if code == sqlite3.SQLITE_INTERRUPT else kind(f"{place}: {cause}", hint)


def _by_words(message: str) -> tuple[type[TaskdbError], str]:
    """Return the class and the hint of an error for which SQLite has no code, only words."""
    if "no such module" in message:
        return (
            errors.SchemaError,
            "the search index needs FTS5; 'taskdb search off' lets rows be written without",
        )
    if _MISSING.search(message):
        return errors.TableMissing, ""
    return TaskdbError, ALREADY_THERE if "already exists" in message else ""


def driver_error(error: BaseException) -> BaseException:
    """Return the driver's error."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # A full disk ends the whole transaction. The rollback to a savepoint, which is gone, fails after that.
    if "no such savepoint" in str(cause) and cause.__context__:
        return driver_error(cause.__context__)
    return cause


def _storage_fault(cause: BaseException, place: str, path: Path) -> TaskdbError:
    hint = "check the disk, and the permissions of the file and its directory"
    if family(cause) == sqlite3.SQLITE_FULL:
        # Its own temporary files may be on another disk.
        hint = "make room on the disk, and where temporary files are; TMPDIR names another directory for them"
        # SQLite reports the same for a full disk and for an INSERT into a table whose ids are used up.
        # A single change may use up the last four billion.
        query = "SELECT name FROM sqlite_sequence WHERE seq >= ? ORDER BY name"
        with suppress(sqlite3.Error), open_to_look(path) as connection:
            if tables := [name for (name,) in connection.execute(query, (2**63 - 2**32,))]:
                return errors.IdsUsedUp(f"{place} has no id left for another row of {' or '.join(tables)}")
    reason, hint = obstacle(path) or (str(cause), hint)
    kind = errors.NotWritable if family(cause) == sqlite3.SQLITE_READONLY else errors.StorageFailed
    return kind(f"{place} {_STORAGE_FAULTS[family(cause)]}: {reason}", hint)


def _violation(cause: BaseException, statement: str | None) -> errors.Violation:
    """Return the error for a constraint that a statement broke, with its name where that can be told.

    SQLite names CHECK constraints itself. For a unique constraint it lists the columns, from which the name
    follows by our convention. It does not name foreign keys, so the name is known only where the table has
    a single one.
    """
    message = f"the database refused the change: {cause}"
    what = str(cause).partition(" constraint failed: ")[2]
    table, _, column = what.partition(".")
    code = getattr(cause, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
        return errors.UniqueViolation(message, f"{table}_pkey")
    if code == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
        columns = column.replace(f"{table}.", "").split(", ")
        return errors.UniqueViolation(message, "_".join([table, *columns, "key"]))
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        written = re.match(r"\s*(?:INSERT INTO|UPDATE) (\w+)", statement or "")
        model = metadata().tables.get(written[1]) if written else None
        keys = [key.name for key in model.foreign_key_constraints] if model is not None else []
        return errors.ForeignKeyViolation(message, str(keys[0]) if len(keys) == 1 else None)
    return errors.CheckViolation(message, what if code == sqlite3.SQLITE_CONSTRAINT_CHECK else None)
