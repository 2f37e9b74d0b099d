"""What PostgreSQL's errors mean."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from taskdb_cli.database.options import Options
from taskdb_cli.errors import (
    Conflict,
    ConnectionFailed,
    ConnectionLost,
    DatabaseUnavailable,
    DataCorrupt,
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    StorageFailed,
    TaskdbError,
    TransactionConflict,
)

LATER = "try again later"

_PASSING_REFUSALS = (
    "starting up",
    "shutting down",
    "recovery",
    "too many clients",
    "remaining connection slots",
    "too many connections",
    "no more connections allowed",
)

LOCK_TIMEOUT = "55P03"

# The classes and codes are those of PostgreSQL's documentation, appendix A.
_BY_SQLSTATE: dict[str, tuple[type[TaskdbError], str]] = {
    "08": (ConnectionLost, LATER),
    "57P": (ConnectionLost, LATER),
    "25P03": (ConnectionLost, LATER),
    "57014": (
        DatabaseUnavailable,
        "the statement took too long: raise TASKDB_STATEMENT_TIMEOUT, or " + LATER,
    ),
    LOCK_TIMEOUT: (TransactionConflict, "another session holds the lock: " + LATER),
    "40": (TransactionConflict, "another transaction was in the way: " + LATER),
    "53100": (StorageFailed, "make room on the server's disk"),
    "25006": (StorageFailed, "connect to the primary server, or to a role that may write"),
    "42501": (TaskdbError, "grant the role of the database URL what it needs"),
    "23505": (Conflict, ""),
    "23503": (NotFound, ""),
    "23": (InvalidInput, ""),
    "22": (InvalidInput, ""),
    "XX001": (DataCorrupt, "restore the database from a backup"),
    "XX002": (DataCorrupt, "rebuild the index, or restore the database from a backup"),
}


def sqlstate(error: BaseException | None) -> str | None:
    """Return the server's code of an error, wrapped by SQLAlchemy or bare; None if it gave none."""
    state: str | None = getattr(_cause(error), "sqlstate", None)
    return state


def translate(error: Exception, place: str, *, lock_timeout: float) -> TaskdbError:
    """Classify by SQLSTATE; an error without one comes from the connection itself.

    Another wait for a lock would take the seconds of `lock_timeout` again.
    """
    cause, state = _cause(error), sqlstate(error)
    if state is None:
        return _translate_lost(cause, place)
    family, hint = next(
        (_BY_SQLSTATE[key] for key in (state, state[:3], state[:2]) if key in _BY_SQLSTATE),
        (TaskdbError, ""),
    )
    diagnosis = getattr(cause, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(cause)
    ours = family(f"PostgreSQL at {place}: {_first_line(text)}", hint)
    if state == LOCK_TIMEOUT and isinstance(ours, TransactionConflict):
        ours.cost = lock_timeout
    return ours


def _translate_lost(cause: BaseException | None, place: str) -> TaskdbError:
    if isinstance(cause, psycopg.ProgrammingError):
        return TaskdbError(f"PostgreSQL at {place}: {_first_line(str(cause))}")
    reason = _first_line(str(cause)).removesuffix(".")
    return ConnectionLost(f"the connection to PostgreSQL at {place} broke: {reason}", LATER)


def translate_connecting(error: Exception, place: str, options: Options, *, expected: bool) -> TaskdbError:
    """Say why there is no connection, and whether there may be one soon.

    The server's own words decide, because libpq gives no SQLSTATE for a connection that failed; where
    nobody answers at all, whether a server is `expected` to.
    """
    cause = _cause(error)
    if isinstance(error, PoolTimeoutError) and options.pool:
        return options.pool.exhausted(place)
    reason = _first_line(str(cause)).removesuffix(".")
    if isinstance(cause, psycopg.ProgrammingError):
        return InvalidConfiguration(f"the database URL is not usable: {reason}", "check its parameters")
    # libpq repeats the address in front of the reason.
    reason = reason.rpartition(" failed: ")[2].removeprefix("connection failed: ")
    passing = any(words in reason for words in _PASSING_REFUSALS) if "FATAL" in reason else expected
    return ConnectionFailed(
        f"cannot connect to PostgreSQL at {place}: {reason}",
        "check that the server runs and that the database URL is right",
        passing=passing,
        cost=options.connect_timeout if "timeout" in reason else 0,
    )


def _cause(error: BaseException | None) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
