"""What PostgreSQL's errors mean, and why a connection could not be opened."""

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from taskdb_cli import errors
from taskdb_cli.database.options import Options
from taskdb_cli.database.schema import ALREADY_THERE

LATER = "try again later"

LOCK_TIMEOUT = "55P03"
DEPENDENTS = "2BP01"
SERIALIZATION_FAILURE = "40001"

# Where a standby ends a query that is in the way of its replay. The message is in any language.
_RECOVERY = "postgres.c"
_CONFLICT = (
    "the standby has removed rows that were being read: "
    + LATER
    + ", or set hot_standby_feedback = on there, or a "
    "longer max_standby_streaming_delay"
)

# The classes and codes are those of PostgreSQL's documentation, appendix A.
_BY_SQLSTATE: dict[str, tuple[type[errors.TaskdbError], str]] = {
    **dict.fromkeys(("08", "57P", "25P03"), (errors.ConnectionLost, LATER)),
    # Which limit ended the statement is known where it was set.
    "57014": (errors.TimedOut, ""),
    LOCK_TIMEOUT: (errors.TransactionConflict, "another session holds the lock: " + LATER),
    "40": (errors.TransactionConflict, "another transaction was in the way: " + LATER),
    "53100": (errors.StorageFailed, "make room on the server's disk"),
    "25006": (errors.NotWritable, "connect to the primary, or turn default_transaction_read_only off"),
    DEPENDENTS: (errors.TaskdbError, "drop what depends on it, or let it depend on something else"),
    **dict.fromkeys(("42P07", "42701", "42710"), (errors.TaskdbError, ALREADY_THERE)),
    "42501": (errors.NotPermitted, "grant what the role lacks: see 'taskdb help roles-on-postgresql'"),
    "2200H": (errors.IdsUsedUp, ""),
    **dict.fromkeys(("42P01", "42703", "3F000"), (errors.TableMissing, "")),
    "XX001": (errors.DataCorrupt, "restore the database from an archive"),
    "XX002": (errors.DataCorrupt, "rebuild the index, or restore the database from an archive"),
    "23505": (errors.UniqueViolation, ""),
    **dict.fromkeys(("23503", "23001"), (errors.ForeignKeyViolation, "")),
    **dict.fromkeys(("22", "23"), (errors.CheckViolation, "")),
}

_BUSY = "close idle connections, raise the limit, use a pooler, or try again later"
_STARTING = "the server is starting or stopping: try again in a moment"
_POOLER = "the pooler gets no connection to its server: look at the server and at the pooler's log"
_OTHER_KIND = "no host is of the kind in target_session_attrs"
_NO_ANSWER = "check that the server runs and that the database URL is right"

# libpq gives no SQLSTATE for a connection that failed, so the words decide. The first pattern counts.
_REFUSALS = {
    "unsupported startup parameter": (
        "this is a pooler: set TASKDB_POOLED=1, and TASKDB_DIRECT_URL to the address of the server itself"
    ),
    "no password supplied": "write the password into the URL, PGPASSWORD or a password file",
    "(Peer|Ident) authentication failed": "connect as the system's user, or by host and password",
    "authentication failed|auth failed|no such user": "check the user and the password of the URL",
    "role .* does not exist": "check the user of the URL, or make the role with CREATE ROLE … LOGIN",
    "role .* is not permitted to log in": "let the role log in with ALTER ROLE … LOGIN",
    "database .* does not exist|no such database": "check the URL, or make it with CREATE DATABASE",
    r"pg_hba\.conf": "add a line for this user, database and address there, or sslmode=require to the URL",
    "permission denied for database": "allow it with GRANT CONNECT ON DATABASE …",
    "is not currently accepting connections": "allow them with ALTER DATABASE … ALLOW_CONNECTIONS true",
    "database system is not accepting connections": "connect to the primary, or set hot_standby = on there",
    "parameter": "check the options of the URL, of its service, and in PGOPTIONS",
    "too many clients|remaining connection slots|too many connections|no more connections allowed": _BUSY,
    "starting up|shutting down|recovery|not yet accepting connections|terminating connection": _STARTING,
    "server login (has been failing|failed)|cannot connect to server|query_wait_timeout": _POOLER,
    "does not support SSL": "turn TLS on there; in a network that you trust, add sslmode=disable to the URL",
    "certificate|private key|SSL error: (?!unexpected eof)": (
        "check the host, sslmode, sslrootcert and sslcert; sslmode=require skips the check of the server"
    ),
    "invalid response to|expected authentication request|unencrypted data after": (
        "this is not PostgreSQL: check the host and the port of the URL"
    ),
    "channel binding|method requirement": "check channel_binding and require_auth in the URL",
    "session is (not )?read-only|server is (not )?in hot standby mode": _OTHER_KIND,
    # The server itself says something else. Its message begins with the severity, in any language.
    r"^[^\s:]+:  ": "check the user, the password and the database of the URL, and the server's log",
}

# libpq repeats the address in front of the reason.
_ADDRESS = re.compile("^(connection failed: |connection is bad: )?(connection to server .+? failed: )?")

# psycopg lists the hosts, and the addresses of each, when it has tried several.
_ATTEMPT = re.compile(r"^- host: (.+?), port: (.+?), hostaddr: (?:None|'.*?'): (.*)$", re.MULTILINE)


def sqlstate(error: BaseException | None) -> str | None:
    """Return the server's code of an error, wrapped by SQLAlchemy or bare; None if it gave none."""
    cause = _cause(error)
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def translate(error: Exception, place: str, *, lock_timeout: float) -> errors.TaskdbError:
    """Classify by SQLSTATE; an error without one comes from the connection itself.

    Another wait for a lock would take the seconds of `lock_timeout` again.
    """
    cause = _cause(error)
    if not isinstance(cause, psycopg.Error) or (state := cause.sqlstate) is None:
        return _without_sqlstate(cause, place)
    kind, hint = next(
        (_BY_SQLSTATE[key] for key in (state, state[:3], state[:2]) if key in _BY_SQLSTATE),
        (errors.TaskdbError, ""),
    )
    message = f"PostgreSQL at {place}: {_first_line(cause.diag.message_primary or str(cause))}"
    if issubclass(kind, errors.Violation):
        return kind(message, cause.diag.constraint_name)
    if state == DEPENDENTS and cause.diag.message_detail:
        message = f"{message}: {'; '.join(cause.diag.message_detail.splitlines())}"
    if state == SERIALIZATION_FAILURE and cause.diag.source_file == _RECOVERY:
        hint = _CONFLICT
    ours = kind(message, hint)
    if state == LOCK_TIMEOUT and isinstance(ours, errors.TransactionConflict):
        ours.cost = lock_timeout
    return ours


def _without_sqlstate(cause: BaseException | None, place: str) -> errors.TaskdbError:
    text = _first_line(str(cause))
    if isinstance(cause, psycopg.DataError) and text.startswith("timestamp too "):
        return errors.ValueCorrupt("time", text)
    if isinstance(cause, psycopg.DataError):
        # The driver refused a value, such as a text that holds NUL, before it sent anything.
        return errors.CheckViolation(f"PostgreSQL at {place}: {text}", None)
    if isinstance(cause, psycopg.ProgrammingError):
        return errors.TaskdbError(f"PostgreSQL at {place}: {text}")
    broken = f"the connection to PostgreSQL at {place} broke: {text.removesuffix('.')}"
    return errors.ConnectionLost(broken, LATER)


def translate_connecting(
    error: Exception, place: str, options: Options, *, expected: bool, several: bool
) -> errors.TaskdbError:
    """Return an error that says why there is no connection, what to do, and whether to try again.

    Where nobody answers at all, there may be one if a server is `expected`. With `several` hosts the
    error has the reason of each.
    """
    cause = _cause(error)
    text = str(cause)
    last = _reason(text)
    if isinstance(cause, psycopg.ProgrammingError) or text.startswith("connection is bad: invalid "):
        return errors.InvalidConfiguration(
            f"the database URL is not usable: {last}", options.with_source("check its parameters")
        )
    attempts = [
        (f"{host}:{port}".replace("'", ""), _reason(words)) for host, port, words in _ATTEMPT.findall(text)
    ]
    reasons = [reason for _, reason in attempts] or [last]
    passing = {_BUSY, _STARTING, _POOLER}
    if expected:
        passing.add(_NO_ANSWER)
    if several:
        # Another host may become the primary.
        passing.add(_OTHER_KIND)
    hints = [_hint(reason) for reason in reasons]
    # The hint is about a refusal that a person must fix. That a host is down may be normal.
    hint, main = min(
        zip(hints, reasons, strict=True), key=lambda pair: (pair[0] in passing, pair[0] == _NO_ANSWER)
    )
    # psycopg lists no attempts when the names of all hosts but one are unknown.
    each = [f"{host}: {reason}" for host, reason in dict.fromkeys(attempts)] or [_first_line(text)]
    return errors.ConnectionFailed(
        f"cannot connect to PostgreSQL at {place}: {'; '.join(each) if several else main}",
        options.with_source(hint),
        passing=passing.issuperset(hints),
        cost=options.connect_timeout * len(reasons) if "timeout" in last else 0,
    )


def _hint(reason: str) -> str:
    return next((hint for words, hint in _REFUSALS.items() if re.search(words, reason)), _NO_ANSWER)


def _reason(text: str) -> str:
    return _ADDRESS.sub("", _first_line(text)).removesuffix(".")


def _cause(error: BaseException | None) -> BaseException | None:
    """Return the driver's error, which SQLAlchemy may have wrapped."""
    return error.orig if isinstance(error, DBAPIError) else error


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
