"""Every way in which taskdb fails, and the exit code that each one carries."""

from collections.abc import Iterable, Mapping

from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.text.escaping import brief, visible


class TaskdbError(Exception):
    """The root of all expected failures.

    `message` says what happened to what, in one line; `hint` names the next step, or is empty.
    `details` are for programs: what the message sums up, one by one. They may be many, to be read
    once. The machine `code` is the name of the exit code, unless a class has a code of its own.
    """

    exit_code = ExitCode.FAILURE
    code = "failure"

    def __init_subclass__(cls, *, exit_code: ExitCode | None = None, code: str = "") -> None:
        if exit_code:
            cls.exit_code, cls.code = exit_code, exit_code.name.lower()
        if code:
            cls.code = code

    def __init__(self, message: str, hint: str = "", details: Iterable[Mapping[str, str | int]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class InvalidInput(TaskdbError, exit_code=ExitCode.USAGE):
    """A value that the caller gave breaks a rule of the data."""


class InvalidConfiguration(InvalidInput):
    """A setting, an environment variable or a dotenv file is unusable."""


class HomeMissing(InvalidConfiguration):
    """A default path is in the home directory, and this user has none."""

    def __init__(self, settings: str) -> None:
        super().__init__("this user has no home directory", f"set {settings} to an absolute path")


class ExtraMissing(InvalidConfiguration):
    """A package is not installed that an extra of taskdb brings."""

    def __init__(self, message: str, extra: str) -> None:
        hint = f"pip install '.[{extra}]' in the checkout brings it; 'taskdb help installation' says more"
        super().__init__(message, hint)


class InvalidRecords(InvalidInput):
    """An imported file has records that break a rule; nothing was imported."""


class NotFound(TaskdbError, exit_code=ExitCode.NOT_FOUND):
    """The caller named something that does not exist."""


class FileMissing(NotFound):
    """The file to read does not exist."""

    def __init__(self, path: object, hint: str = "'taskdb backup list' shows the archives") -> None:
        super().__init__(f"no file at {path}", hint)


class UserNotFound(NotFound):
    """No user has this id or e-mail address, which may be the value of a setting."""

    def __init__(self, ref: object, *, setting: str = "") -> None:
        source = f"{setting}: " if setting else ""
        super().__init__(f"{source}user {visible(ref)} not found", "'taskdb user list' shows the users")


class TaskNotFound(NotFound):
    """No task has one of these ids, or any of a range of them."""

    def __init__(self, ids: Iterable[int | range]) -> None:
        ids = [*ids]
        missing = [brief(f"{id[0]}-{id[-1]}" if isinstance(id, range) else id) for id in ids]
        noun = "tasks" if len(ids) > 1 or isinstance(ids[0], range) else "task"
        super().__init__(f"{noun} {', '.join(missing)} not found", "'taskdb task list' shows the tasks")


class TokenNotFound(NotFound):
    """No access token has this id or name."""

    def __init__(self, ref: object) -> None:
        super().__init__(f"access token {visible(ref)} not found", "'taskdb token list' shows the tokens")


class OperationNotFound(NotFound):
    """The history has no operation of this number, or no longer."""

    def __init__(self, id: object) -> None:
        super().__init__(f"operation {brief(id)} not found", "'taskdb history' shows the operations")


class DatabaseMissing(NotFound):
    """The SQLite file does not exist, or is empty."""

    def __init__(self, path: object, source: str = "") -> None:
        place = f"the path comes from {source}"
        if not source:
            place = "for another place, set TASKDB_DATABASE_URL or --database-url"
        hint = f"'taskdb migrate' or 'taskdb user create' makes one; {place}"
        super().__init__(f"no database at {path}", hint)


class Conflict(TaskdbError, exit_code=ExitCode.CONFLICT):
    """The change contradicts what is stored."""


class Violation(TaskdbError):
    """A change breaks a constraint: the one that the models call `constraint`, or None if it is not known."""

    def __init__(self, message: str, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class UniqueViolation(Violation, Conflict):
    """Another row has the same values in columns that must be unique."""


class ForeignKeyViolation(Violation, NotFound):
    """A row refers to another one that does not exist."""


class CheckViolation(Violation, InvalidInput):
    """A value breaks a rule of its table, or does not fit its type, such as a text that holds NUL."""


class EmailTaken(Conflict):
    """Another user has this e-mail address."""

    def __init__(self, email: str) -> None:
        hint = "choose another address; 'user create --if-not-exists' accepts the existing user"
        super().__init__(f"a user with the e-mail address {brief(email)} exists already", hint)


class TokenNameTaken(Conflict):
    """Another access token has this name."""

    def __init__(self, name: str) -> None:
        hint = "choose another name, or revoke that token"
        super().__init__(f"an access token {brief(name)} exists already", hint)


class ExternalIdTaken(Conflict):
    """The user has a task with this external id."""

    def __init__(self, external_id: str | None, user: object, *, differs: Iterable[str] = ()) -> None:
        name = "one of these external ids" if external_id is None else f"external id {brief(external_id)}"
        message = f"user {brief(user)} has a task with {name} already"
        if names := ", ".join(differs):
            message += f", with another {names}"
        super().__init__(message, "an external id is unique per user")


class StaleVersion(Conflict):
    """The record has changed since the version that the caller saw."""

    def __init__(self, noun: str, id: int | None, *, expected: int | str, current: int) -> None:
        hint = f"look at it again with 'taskdb {noun} show {id}'"
        super().__init__(f"{noun} {id} is at version {current}, not {brief(expected)}", hint)


class MatchesChanged(Conflict):
    """Other tasks match than those that a person was shown, or one of them has changed since."""

    def __init__(self) -> None:
        message = "the tasks that match have changed since they were shown; nothing was changed"
        super().__init__(message, "run it again to see them as they are now")


class NotUndone(Conflict):
    """An operation cannot be undone, because rows have changed since or stand in the way."""


class NotPermitted(TaskdbError):
    """The role of the database URL lacks a privilege."""


class TargetNotEmpty(Conflict):
    """The database that rows are to be loaded into has some already."""

    def __init__(self, place: str, held: str) -> None:
        hint = "--replace deletes them first, in the same transaction"
        super().__init__(f"{place} holds {held} already", hint)


class DatabaseUnavailable(TaskdbError, exit_code=ExitCode.UNAVAILABLE):
    """The database could not be reached, timed out or stayed locked; nothing was changed."""

    passing = False
    """Whether the same work may well succeed if it is done again at once."""
    cost: float = 0
    """Seconds that another attempt may take before it fails in the same way."""


class TimedOut(DatabaseUnavailable):
    """A statement, or the wait for its turn, took longer than it may and was ended; nothing was changed."""


class TransactionConflict(DatabaseUnavailable):
    """Another transaction was in the way, and this one was rolled back."""

    passing = True


class ConnectionLost(DatabaseUnavailable):
    """The connection broke before the transaction was committed."""

    passing = True


class ConnectionFailed(DatabaseUnavailable):
    """No connection could be opened."""

    def __init__(self, message: str, hint: str, *, passing: bool, cost: float) -> None:
        super().__init__(message, hint)
        self.passing = passing
        self.cost = cost


class ReplicaBehind(DatabaseUnavailable):
    """A replica has not replayed in time what a read must see."""


class BackupRunning(TaskdbError, exit_code=ExitCode.UNAVAILABLE):
    """Another run holds the lock of this label in the place of the backups, or took it over."""

    def __init__(self, label: str, lock: object, hint: str = "") -> None:
        hint = hint or "try again when it has ended; 'fuser' shows which process holds the file"
        super().__init__(f"another run is at work on the backups of {label}: it holds {lock}", hint)


class OutcomeUnknown(TaskdbError, exit_code=ExitCode.UNKNOWN):
    """The connection broke at the commit, and it could not be found out whether it took effect."""


class TableMissing(TaskdbError):
    """A table or column is missing. Outside of migrations the database layer raises a SchemaError instead."""


class SchemaError(TaskdbError, exit_code=ExitCode.SCHEMA):
    """The database does not hold the schema that this version works on."""


class SchemaBehind(SchemaError):
    """The database is at an older revision than this version needs."""


class SchemaAhead(SchemaError):
    """The database is at a revision that this version does not know."""


class SchemaForked(SchemaError):
    """The database, or the chain of revisions itself, ends at several revisions at once."""


class SchemaForeign(SchemaError):
    """The database is not one of taskdb's."""


class SchemaUnstamped(SchemaError):
    """The tables are taskdb's, but the version table names no revision."""


class SchemaDrift(SchemaError):
    """The live schema differs from the models."""


class DataCorrupt(TaskdbError, exit_code=ExitCode.CORRUPT):
    """Stored data failed verification."""


class ValueCorrupt(DataCorrupt):
    """A stored value breaks the rules of its table, so its meaning is unknown."""

    def __init__(self, noun: str, value: object) -> None:
        hint = "'taskdb health --only rules' shows how many rows do; correct them, or restore an archive"
        message = f"the database holds a {noun} that breaks the rules of its table: {brief(value)}"
        super().__init__(message, hint)


class ArchiveCorrupt(DataCorrupt):
    """A backup archive is not as it was written."""

    def __init__(
        self, path: object, what: str, hint: str = "use another archive; 'taskdb backup list' shows them"
    ) -> None:
        super().__init__(f"{path} is damaged: {what}", hint)


class ArchiveEncrypted(InvalidInput):
    """A backup archive is encrypted, and no identity that was given opens it."""


class ArchiveTooNew(SchemaError):
    """A backup archive is of a format that only a later version of taskdb reads."""

    def __init__(self, path: object, found: int, known: int) -> None:
        formats = f"archive format {found}, and this version of taskdb reads formats up to {known}"
        super().__init__(f"{path} is of {formats}", "install a newer version of taskdb")


class StorageFailed(TaskdbError):
    """A disk is full, read-only or broken, or a bucket refuses a request."""


class NotWritable(StorageFailed):
    """The database can only be read: it is a replica, or its server or its file does not let rows change."""


class StoreUnavailable(StorageFailed, exit_code=ExitCode.UNAVAILABLE):
    """A bucket could not be reached, or did not answer in time."""


class IdsUsedUp(TaskdbError):
    """The highest possible id is used, so no row can be added."""

    def __init__(self, message: str, hint: str = "") -> None:
        hint = hint or "'taskdb health --only identity_left' shows how many ids are left"
        rescue = "give the rows with the highest ids lower ids, then set the counter to the highest id"
        super().__init__(message, f"{rescue}; {hint}")


class Incomplete(TaskdbError, exit_code=ExitCode.INCOMPLETE):
    """The work is done, but a step after it failed."""


class Refused(TaskdbError, exit_code=ExitCode.REFUSED):
    """A confirmation was needed and was not given."""


class Unauthorized(Refused, code="unauthorized"):
    """The request has no access token, or one that is unknown, revoked or expired."""


class Forbidden(Refused, code="forbidden"):
    """The access token is valid, but does not allow this."""


class Interrupted(TaskdbError, exit_code=ExitCode.INTERRUPTED):
    """The user or the system stopped the command."""
