"""What PostgreSQL's errors mean, and why a connection could not be opened."""

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from taskdb_cli.database.options import Options
from taskdb_cli.database.schema import ALREADY_THERE
from taskdb_cli.errors import (
    CheckViolation,
    ConnectionFailed,
    ConnectionLost,
    DataCorrupt,
    ForeignKeyViolation,
    IdsUsedUp,
    InvalidConfiguration,
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
    **dict.fromkeys(("08", "57P", "25P03"), (ConnectionLost, LATER)),
    "57014": (TimedOut, "the statement took too long: raise TASKDB_STATEMENT_TIMEOUT, or " + LATER),
    LOCK_TIMEOUT: (TransactionConflict, "another session holds the lock: " + LATER),
    "40": (TransactionConflict, "another transaction was in the way: " + LATER),
    "53100": (StorageFailed, "make room on the server's disk"),
    "25006": (StorageFailed, "connect to the primary server, or turn default_transaction_read_only off"),
    DEPENDENTS: (TaskdbError, "drop what depends on it, or let it depend on something else, and try again"),
    **dict.fromkeys(("42P07", "42701", "42710"), (TaskdbError, ALREADY_THERE)),
    "42501": (TaskdbError, "grant the role of the database URL what it needs"),
    "2200H": (IdsUsedUp, ""),
    **dict.fromkeys(("42P01", "42703", "3F000"), (TableMissing, "")),
    "XX001": (DataCorrupt, "restore the database from a backup"),
    "XX002": (DataCorrupt, "rebuild the index, or restore the database from a backup"),
}

_VIOLATIONS: dict[str, type[Violation]] = {
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23001": ForeignKeyViolation,
}

# The hints for a server that may let us in soon.
_BUSY = "close connections that idle, raise the limit, use a pooler, or try again later"
_STARTING = "the server is starting or stopping: try again in a moment"
_POOLER = "the pooler gets no connection to its server: look at the server and at the pooler's log"

# libpq gives no SQLSTATE for a connection that failed, so the words decide. The first pattern counts.
_REFUSALS = (
    (
        "unsupported startup parameter",
        "this is a pooler: set TASKDB_POOLED=1, and TASKDB_DIRECT_URL to the address of the server itself",
    ),
    ("no password supplied", "write the password into the URL, PGPASSWORD or a password file"),
    (
        "(Peer|Ident) authentication failed",
        "the server trusts the system's user only: connect as that user, or by host and password",
    ),
    (
        "connection requires a valid client certificate|alert certificate required",
        "name the client's certificate with sslcert and sslkey in the URL",
    ),
    ("authentication failed|auth failed|no such user", "check the user and the password of the URL"),
    ("role .* does not exist", "check the user of the URL, or make the role with CREATE ROLE … LOGIN"),
    ("role .* is not permitted to log in", "let the role log in with ALTER ROLE … LOGIN"),
    (
        "database .* does not exist|no such database",
        "check the name of the database in the URL, or make it with CREATE DATABASE on the server",
    ),
    (
        r'pg_hba\.conf .* host "(?!\[local\]).* no encryption',
        "add sslmode=require to the URL, or a line to the server's pg_hba.conf",
    ),
    (r"pg_hba\.conf", "add a line for this user, database and address to the server's pg_hba.conf"),
    ("permission denied for database", "allow it with GRANT CONNECT ON DATABASE …"),
    ("is not currently accepting connections", "allow them with ALTER DATABASE … ALLOW_CONNECTIONS true"),
    (
        "database system is not accepting connections",
        "this standby answers no queries: set hot_standby = on there, or connect to the primary",
    ),
    (
        "configuration parameter|invalid value for parameter|permission denied to set parameter",
        "check the options of the URL, of its service, and in PGOPTIONS",
    ),
    ("too many clients|remaining connection slots|too many connections|no more connections allowed", _BUSY),
    ("starting up|shutting down|recovery|not yet accepting connections|terminating connection", _STARTING),
    ("server login (has been failing|failed)|cannot connect to server|query_wait_timeout", _POOLER),
    (
        "does not support SSL",
        "turn TLS on in the server; in a network that you trust, add sslmode=disable to the URL",
    ),
    (
        "does not match host name|hostname mismatch|IP address mismatch",
        "write the host name of the server's certificate into the URL; hostaddr may give its address",
    ),
    (
        "certificate|private key|SSL error: (?!unexpected eof)",
        "check sslmode, sslrootcert and the certificates; sslmode=require skips the check of the server",
    ),
    (
        "invalid response to|expected authentication request|unencrypted data after",
        "this is not PostgreSQL: check the host and the port of the URL",
    ),
    ("channel binding|method requirement", "check channel_binding and require_auth in the URL"),
)

_NO_ANSWER = "check that the server runs and that the database URL is right"

_NO_SUCH_SESSION = re.compile("session is (not )?read-only|server is (not )?in hot standby mode")

# A message of the server begins with the severity, in any language, and two spaces.
_SERVERS_WORD = re.compile(r"[^\s:]+:  ")

# libpq repeats the address in front of the reason.
_ADDRESS = re.compile("^(connection failed: |connection is bad: )?(connection to server .+? failed: )?")

# psycopg lists the hosts, and the addresses of each, when it has tried several.
_ATTEMPT = re.compile(r"^- host: (.+?), port: (.+?), hostaddr: (?:None|'.*?'): (.*)$", re.MULTILINE)


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
    text = first_line(str(cause))
    if isinstance(cause, psycopg.DataError) and text.startswith("timestamp too "):
        return ValueCorrupt("time", text)
    if isinstance(cause, psycopg.DataError):
        # The driver refused a value, such as a text that holds NUL, before it sent anything.
        return CheckViolation(f"PostgreSQL at {place}: {text}", None)
    if isinstance(cause, psycopg.ProgrammingError):
        return TaskdbError(f"PostgreSQL at {place}: {text}")
    return ConnectionLost(f"the connection to PostgreSQL at {place} broke: {text.removesuffix('.')}", LATER)


def translate_connecting(
    error: Exception, place: str, options: Options, *, expected: bool, several: bool
) -> TaskdbError:
    """Return an error that says why there is no connection, what to do, and whether to try again.

    Where nobody answers at all, there may be one if a server is `expected`. With `several` hosts the
    reason of each is told.
    """
    cause = cause_of(error)
    text = str(cause)
    last = _reason(text)
    if isinstance(cause, psycopg.ProgrammingError) or text.startswith("connection is bad: invalid "):
        return InvalidConfiguration(f"the database URL is not usable: {last}", "check its parameters")
    attempts = [
        (f"{host}:{port}".replace("'", ""), _reason(words)) for host, port, words in _ATTEMPT.findall(text)
    ]
    reasons = [reason for _, reason in attempts] or [last]
    refusals = {reason: _refusal(reason, expected, several) for reason in reasons}
    # The hint is about a refusal that a person must fix. That a host is down may be normal.
    main = next(
        (reason for reason, (hint, passing) in refusals.items() if not passing and hint != _NO_ANSWER), last
    )
    # psycopg lists no attempts when the names of all hosts but one are unknown.
    each = [f"{host}: {reason}" for host, reason in dict.fromkeys(attempts)] or [first_line(text)]
    return ConnectionFailed(
        f"cannot connect to PostgreSQL at {place}: {'; '.join(each) if several else main}",
        refusals[main][0],
        passing=all(passing for _, passing in refusals.values()),
        cost=options.connect_timeout * len(reasons) if "timeout" in last else 0,
    )


def _refusal(reason: str, expected: bool, several: bool) -> tuple[str, bool]:
    """Return the hint, and whether trying again may succeed soon."""
    for words, hint in _REFUSALS:
        if re.search(words, reason):
            return hint, hint in (_BUSY, _STARTING, _POOLER)
    if _NO_SUCH_SESSION.search(reason):
        # Of several hosts, another one may become the primary.
        return "no host is of the kind that target_session_attrs asks for", several
    if _SERVERS_WORD.match(reason):
        return "check the user, the password and the database of the URL, and the server's log", False
    return _NO_ANSWER, expected


def _reason(text: str) -> str:
    return _ADDRESS.sub("", first_line(text)).removesuffix(".")


def cause_of(error: BaseException | None) -> BaseException | None:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return error.orig if isinstance(error, DBAPIError) else error


def first_line(text: str) -> str:
    """Return the first line of a message."""
    return text.strip().partition("\n")[0]
