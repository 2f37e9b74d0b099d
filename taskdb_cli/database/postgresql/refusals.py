"""Why a connection to PostgreSQL could not be opened, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg

from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.errors import cause_of, first_line
from taskdb_cli.errors import ConnectionFailed, InvalidConfiguration, TaskdbError


class _Refusal(NamedTuple):
    words: str
    """A pattern of what libpq, the server or a pooler says."""
    hint: str
    passing: bool = False
    """Whether trying again may succeed soon."""


# libpq gives no SQLSTATE for a connection that failed, so the words decide. The first pattern counts.
_REFUSALS = (
    _Refusal(
        "unsupported startup parameter",
        "this is a pooler: set TASKDB_POOLED=1, and TASKDB_DIRECT_URL to the address of the server itself",
    ),
    _Refusal("no password supplied", "write the password into the URL, PGPASSWORD or a password file"),
    _Refusal(
        "(Peer|Ident) authentication failed",
        "the server trusts the system's user only: connect as that user, or by host and password",
    ),
    _Refusal(
        "connection requires a valid client certificate|alert certificate required",
        "name the client's certificate with sslcert and sslkey in the URL",
    ),
    _Refusal("authentication failed|auth failed|no such user", "check the user and the password of the URL"),
    _Refusal(
        "role .* does not exist",
        "check the user of the URL, or make the role with CREATE ROLE … LOGIN on the server",
    ),
    _Refusal("role .* is not permitted to log in", "let the role log in with ALTER ROLE … LOGIN"),
    _Refusal(
        "database .* does not exist|no such database",
        "check the name of the database in the URL, or make it with CREATE DATABASE on the server",
    ),
    _Refusal(
        r'pg_hba\.conf .* host "(?!\[local\]).* no encryption',
        "add sslmode=require to the URL, or a line to the server's pg_hba.conf",
    ),
    _Refusal(r"pg_hba\.conf", "add a line for this user, database and address to the server's pg_hba.conf"),
    _Refusal("permission denied for database", "allow it with GRANT CONNECT ON DATABASE …"),
    _Refusal(
        "is not currently accepting connections",
        "allow connections with ALTER DATABASE … ALLOW_CONNECTIONS true",
    ),
    _Refusal(
        "database system is not accepting connections",
        "this standby answers no queries: set hot_standby = on there, or connect to the primary",
    ),
    _Refusal(
        "configuration parameter|invalid value for parameter|permission denied to set parameter",
        "check the options of the URL, of its service, and in PGOPTIONS",
    ),
    _Refusal(
        "too many clients|remaining connection slots|too many connections|no more connections allowed",
        "close connections that idle, raise the limit, use a pooler, or try again later",
        passing=True,
    ),
    _Refusal(
        "starting up|shutting down|recovery|not yet accepting connections|terminating connection",
        "the server is starting or stopping: try again in a moment",
        passing=True,
    ),
    _Refusal(
        "server login has been failing|cannot connect to server|server login failed|query_wait_timeout",
        "the pooler gets no connection to its server: look at the server and at the pooler's log",
        passing=True,
    ),
    _Refusal(
        "does not support SSL",
        "turn TLS on in the server; in a network that you trust, add sslmode=disable to the URL",
    ),
    _Refusal(
        "does not match host name|hostname mismatch|IP address mismatch",
        "write the host name of the server's certificate into the URL; hostaddr may give its address",
    ),
    _Refusal(
        "certificate|private key|SSL error: (?!unexpected eof)",
        "check sslmode, sslrootcert and the certificates; sslmode=require skips the check of the server",
    ),
    _Refusal(
        "invalid response to|expected authentication request|unencrypted data after",
        "this is not PostgreSQL: check the host and the port of the URL",
    ),
    _Refusal(
        "channel binding|authentication method requirement",
        "check channel_binding and require_auth in the URL",
    ),
)

_NO_ANSWER = "check that the server runs and that the database URL is right"

_NO_SUCH_SESSION = re.compile("session is (not )?read-only|server is (not )?in hot standby mode")

# A message of the server begins with the severity, in any language, and two spaces.
_SERVERS_WORD = re.compile(r"[^\s:]+:  ")

# libpq repeats the address in front of the reason.
_ADDRESS = re.compile("^(connection failed: |connection is bad: )?(connection to server .+? failed: )?")

# psycopg lists the hosts, and the addresses of each, when it has tried several.
_ATTEMPT = re.compile(r"^- host: (.+?), port: (.+?), hostaddr: (?:None|'.*?'): (.*)$", re.MULTILINE)


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
    refusals = {reason: _refusal(reason, expected, several) for _, reason in attempts} or {
        last: _refusal(last, expected, several)
    }
    # The hint is about a refusal that a person must fix. That a host is down may be normal.
    main = next(
        (reason for reason, found in refusals.items() if not found.passing and found.hint != _NO_ANSWER), last
    )
    # psycopg lists no attempts when the names of all hosts but one are unknown.
    each = [f"{host}: {reason}" for host, reason in dict.fromkeys(attempts)] or [first_line(text)]
    return ConnectionFailed(
        f"cannot connect to PostgreSQL at {place}: {'; '.join(each) if several else main}",
        refusals[main].hint,
        passing=all(refusal.passing for refusal in refusals.values()),
        cost=options.connect_timeout * len(attempts or [last]) if "timeout" in last else 0,
    )


def _refusal(reason: str, expected: bool, several: bool) -> _Refusal:
    for refusal in _REFUSALS:
        if re.search(refusal.words, reason):
            return refusal
    if _NO_SUCH_SESSION.search(reason):
        # Of several hosts, another one may become the primary.
        return _Refusal("", "no host is of the kind that target_session_attrs asks for", passing=several)
    if _SERVERS_WORD.match(reason):
        return _Refusal("", "check the user, the password and the database of the URL, and the server's log")
    return _Refusal("", _NO_ANSWER, passing=expected)


def _reason(text: str) -> str:
    return _ADDRESS.sub("", first_line(text)).removesuffix(".")
