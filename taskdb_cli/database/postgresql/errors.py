"""What PostgreSQL's errors mean."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

from taskdb_cli.database.schema import ALREADY_THERE
from taskdb_cli.errors import (
    CheckViolation,
    ConnectionLost,
    DataCorrupt,
    ForeignKeyViolation,
    IdsUsedUp,
    StorageFailed,
    TableMissing,
    TaskdbError,
    TimedOut,
    TransactionConflict,
    UniqueViolation,
    ValueCorrupt,
    Violation,
)

LATER = "try again later"

LOCK_TIMEOUT = "55P03"
DEPENDENTS = "2BP01"

# The classes and codes are those of PostgreSQL's documentation, appendix A.
_BY_SQLSTATE: dict[str, tuple[type[TaskdbError], str]] = {
    "08": (ConnectionLost, LATER),
    "57P": (ConnectionLost, LATER),
    "25P03": (ConnectionLost, LATER),
    "57014": (
        TimedOut,
        "the statement took too long: raise TASKDB_STATEMENT_TIMEOUT, or " + LATER,
    ),
    LOCK_TIMEOUT: (TransactionConflict, "another session holds the lock: " + LATER),
    "40": (TransactionConflict, "another transaction was in the way: " + LATER),
    "53100": (StorageFailed, "make room on the server's disk"),
    "25006": (
        StorageFailed,
        "connect to the primary server, or turn default_transaction_read_only off",
    ),
    DEPENDENTS: (TaskdbError, "drop what depends on it, or let it depend on something else, and try again"),
    "42P07": (TaskdbError, ALREADY_THERE),
    "42701": (TaskdbError, ALREADY_THERE),
    "42710": (TaskdbError, ALREADY_THERE),
    "42501": (TaskdbError, "grant the role of the database URL what it needs"),
    "2200H": (IdsUsedUp, ""),
    "42P01": (TableMissing, ""),
    "42703": (TableMissing, ""),
    "3F000": (TableMissing, ""),
    "XX001": (DataCorrupt, "restore the database from a backup"),
    "XX002": (DataCorrupt, "rebuild the index, or restore the database from a backup"),
}


_VIOLATIONS: dict[str, type[Violation]] = {
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23001": ForeignKeyViolation,
}


def sqlstate(error: BaseException | None) -> str | None:
    """Return the server's code of an error, wrapped by SQLAlchemy or bare; None if it gave none."""
    state: str | None = getattr(cause_of(error), "sqlstate", None)
    return state


def translate(error: Exception, place: str, *, lock_timeout: float) -> TaskdbError:
    """Classify by SQLSTATE; an error without one comes from the connection itself.

    Another wait for a lock would take the seconds of `lock_timeout` again.
    """
    cause, state = cause_of(error), sqlstate(error)
    if state is None:
        return _without_sqlstate(cause, place)
    family, hint = next(
        (_BY_SQLSTATE[key] for key in (state, state[:3], state[:2]) if key in _BY_SQLSTATE),
        (TaskdbError, ""),
    )
    diagnosis = getattr(cause, "diag", None)
    text = first_line(getattr(diagnosis, "message_primary", None) or str(cause))
    if state == DEPENDENTS and (detail := getattr(diagnosis, "message_detail", None)):
        text = f"{text}: {'; '.join(detail.splitlines())}"
    message = f"PostgreSQL at {place}: {text}"
    if state[:2] in ("22", "23") and state not in _BY_SQLSTATE:
        return _VIOLATIONS.get(state, CheckViolation)(message, getattr(diagnosis, "constraint_name", None))
    ours = family(message, hint)
    if state == LOCK_TIMEOUT and isinstance(ours, TransactionConflict):
        ours.cost = lock_timeout
    return ours


def _without_sqlstate(cause: BaseException | None, place: str) -> TaskdbError:
    if isinstance(cause, psycopg.DataError) and str(cause).startswith("timestamp too "):
        return ValueCorrupt("time", first_line(str(cause)))
    if isinstance(cause, psycopg.DataError):
        # The driver refused a value, such as a text that holds NUL, before it sent anything.
        return CheckViolation(f"PostgreSQL at {place}: {first_line(str(cause))}", None)
    if isinstance(cause, psycopg.ProgrammingError):
        return TaskdbError(f"PostgreSQL at {place}: {first_line(str(cause))}")
    reason = first_line(str(cause)).removesuffix(".")
    return ConnectionLost(f"the connection to PostgreSQL at {place} broke: {reason}", LATER)


def cause_of(error: BaseException | None) -> BaseException | None:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return error.orig if isinstance(error, DBAPIError) else error


def first_line(text: str) -> str:
    """Return the first line of a message."""
    return text.strip().partition("\n")[0]
