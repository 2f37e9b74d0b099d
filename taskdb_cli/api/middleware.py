"""What happens to every request, whatever its route: it is bounded, its bearer checked, and it is logged.

All of it runs on the event loop, which serves every client: it looks at lengths and at the names of
parameters, and parses no value.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable
from secrets import token_hex
from urllib.parse import unquote_to_bytes

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdb_cli.api.auth import KEY, Caller
from taskdb_cli.api.last_use import LastUse
from taskdb_cli.api.metrics import Metrics
from taskdb_cli.api.problems import (
    LARGEST_BODY,
    LONGEST_HEAD,
    LONGEST_QUERY,
    MOST_HEADERS,
    MOST_PARAMETERS,
    head_too_large,
    problem_of,
    too_large,
)
from taskdb_cli.database import Database
from taskdb_cli.errors import (
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    SchemaError,
    StorageFailed,
    TaskdbError,
    Unauthorized,
)
from taskdb_cli.text.escaping import brief

REPEATABLE = ("user", "status", "priority")
"""The parameters of a query that may be given several times."""

LIVE = "/health/live"
"""The one path that needs no token."""

REQUEST_ID = "taskdb.request_id"
FAULT = "taskdb.fault"
"""Where in the ASGI scope the request's id is, and the error that it failed on."""

_log = logging.getLogger("taskdb.request")
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9_-]{20,100})")
_REPEATABLE = {name.encode() for name in REPEATABLE}
_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
_READING = {"GET", "HEAD", "OPTIONS"}
_NOT_TOLD = {401, 413}
_LONGEST_AUTHORIZATION = 200
_LENGTH_DIGITS = 20
_CLIENT_LEFT = 499
"""What the log and the metrics have for a request that its client did not finish; no answer has it."""

_SERVER_ERROR = 500


class TooLarge(Exception):
    """The body of a request is larger than is read."""


async def refuse(error: TaskdbError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error, and let the log name it."""
    scope[FAULT] = error
    await problem_of(error).response(scope[REQUEST_ID])(scope, receive, send)


class Observer:
    """Give each request an id, and tell the log and the metrics how it went; no error passes it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        given = _header(scope["headers"], b"x-request-id")
        identity = given.decode() if given and _GIVEN_ID.fullmatch(given) else token_hex(8)
        scope[REQUEST_ID] = identity

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except ClientDisconnect:
            status = _CLIENT_LEFT
        except Exception as exc:  # noqa: BLE001 (the boundary)
            scope[FAULT] = exc
            if not status:
                await problem_of(TaskdbError("")).response(identity)(scope, receive, observed)
        finally:
            self._record(scope, status, time.perf_counter() - begun)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path_format", "none")
        self.metrics.observe(method, route, status, seconds)
        level = logging.INFO if status < _SERVER_ERROR else logging.WARNING
        if not _log.isEnabledFor(level):
            return
        event = {
            "request": scope[REQUEST_ID],
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
        }
        fault, why = scope.get(FAULT), ""
        if fault is not None:
            event["error"] = type(fault).__name__
            why = f", {_reason(fault)}" if status >= _SERVER_ERROR else ""
        text = "%s %s: %d in %.1f ms [%s]%s"
        _log.log(level, text, method, route, status, seconds * 1000, scope[REQUEST_ID], why, extra=event)


def _reason(fault: Exception) -> str:
    # The words of any other error may hold what a user wrote.
    told = isinstance(fault, DatabaseUnavailable | SchemaError | StorageFailed | OutcomeUnknown | NotFound)
    return f"{fault}" if told else type(fault).__name__


class Bounded:
    """Refuse a request whose head or body is too large, whether the body's length is told or not.

    The parser of HTTP bounds a head only while it waits for more of it, so one that came at once is measured
    here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that ends in TooLarge."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if len(scope["headers"]) > MOST_HEADERS or _head_length(scope) > LONGEST_HEAD:
            await head_too_large().response(scope[REQUEST_ID])(scope, receive, send)
            return
        if _announced_length(scope) > LARGEST_BODY:
            await too_large().response(scope[REQUEST_ID])(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise TooLarge
            return message

        await self.app(scope, bounded, send)


class BoundedQuery:
    """Refuse a query string that is too long, has too many parameters, or has a single one twice."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its query is short."""
        query = scope.get("query_string", b"")
        if len(query) > LONGEST_QUERY or query.count(b"&") >= MOST_PARAMETERS:
            limits = f"at most {LONGEST_QUERY} bytes and {MOST_PARAMETERS} parameters work"
            await refuse(InvalidInput("the query is too long", limits), scope, receive, send)
        elif twice := _given_twice(query):
            hint = f"only {', '.join(REPEATABLE)} may be repeated"
            again = InvalidInput(f"the parameter {brief(twice)} is given twice", hint)
            await refuse(again, scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _given_twice(query: bytes) -> str:
    names = Counter(unquote_to_bytes(each.partition(b"=")[0]) for each in query.split(b"&") if each)
    twice = (name for name, times in names.items() if times > 1 and name not in _REPEATABLE)
    return next(twice, b"").decode(errors="replace")


class Guard:
    """Let nobody in without a token, and no answer out before the token was found in force.

    A request that may have a body is refused before any of it is read. Otherwise work on the database looks
    the token up by itself; an answer that came about without any, of a route that needs none or of a request
    that is malformed, waits here until the token was looked up.
    """

    def __init__(self, app: ASGIApp, database: Database, last_use: LastUse) -> None:
        self.app = app
        self.database = database
        self.last_use = last_use

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request of whoever shows a token."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == LIVE):
            await self.app(scope, receive, send)
            return
        given = _header(scope["headers"], b"authorization")
        match = _BEARER.fullmatch(given) if given and len(given) <= _LONGEST_AUTHORIZATION else None
        if match is None:
            missing = Unauthorized("an access token is needed", "send Authorization: Bearer and the token")
            await refuse(missing, scope, receive, send)
            return
        writing = scope["method"] not in _READING
        scope[KEY] = caller = Caller(self.database, self.last_use, match[1].decode(), writing=writing)
        if writing and not await _admitted(caller, scope, receive, send):
            return
        refused = False

        async def guarded(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _needs_admission(caller, message["status"]):
                refused = not await _admitted(caller, scope, receive, send)
            if not refused:
                await send(message)

        await self.app(scope, receive, guarded)


async def _admitted(caller: Caller, scope: Scope, receive: Receive, send: Send) -> bool:
    """Look the token up; if it does not allow the request, answer so and return False."""
    try:
        await run_sync(caller.admit)
    except TaskdbError as exc:
        await refuse(exc, scope, receive, send)
        return False
    return True


def _needs_admission(caller: Caller, status: int) -> bool:
    return not caller.admitted and status not in _NOT_TOLD and status < _SERVER_ERROR


def _head_length(scope: Scope) -> int:
    """Return how many bytes the request line and the headers have, written without needless spaces."""
    query = scope["query_string"]
    target = len(scope.get("raw_path") or b"") + len(b"?" + query if query else b"")
    headers = sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
    return len(scope["method"]) + target + len(b"  HTTP/1.1\r\n\r\n") + headers


def _announced_length(scope: Scope) -> int:
    length = _header(scope["headers"], b"content-length") or b"0"
    return int(length) if length.isdigit() and len(length) <= _LENGTH_DIGITS else 0


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
