"""What happens to every request: it is logged, bounded, its token is looked up, and a search waits its turn.

All of it runs on the event loop, which serves every client: it looks at lengths and at the names of
parameters, and parses no value. The token is looked up here and not in a dependency of FastAPI, which runs
dependencies only after it has read the body.
"""

import logging
import re
import time
from collections import Counter
from contextlib import ExitStack
from secrets import token_hex
from urllib.parse import unquote_to_bytes

from anyio import Semaphore, fail_after
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdb_cli import errors
from taskdb_cli.api import problems
from taskdb_cli.api.auth import KEY, Caller, LastUse
from taskdb_cli.api.operations import Metrics
from taskdb_cli.api.replica import HEADER, Replica, parse_position, write_position
from taskdb_cli.api.schemas import LIVE, READY
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.services.listing.query import OPERATION_QUERY, TASK_QUERY
from taskdb_cli.text.escaping import brief

REQUEST_ID = "taskdb.request_id"
"""The key of the request's id in the ASGI scope."""

REPEATABLE = tuple(
    dict.fromkeys(each.name for each in (*TASK_QUERY.bound, *OPERATION_QUERY.bound) if each.type == list[str])
)
"""The parameters of a query that may be given several times."""

_CHEAP = {b"limit", b"after"}
"""The parameters of lists whose pages an index delivers, without reading other rows."""

_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BEARER = re.compile(rb"(?i:bearer) {1,100}([A-Za-z0-9_-]{20,100})")
_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
_SERVER_ERROR = 500
# The words of any other error may hold what a user wrote.
_LOGGED = (
    errors.DatabaseUnavailable,
    errors.SchemaError,
    errors.StorageFailed,
    errors.OutcomeUnknown,
    errors.NotFound,
)
_log = logging.getLogger("taskdb.request")


class Observer:
    """Give each request an id, answer an error, and record in the log and the metrics how the request ended.

    Everything below it refuses a request by raising a TaskdbError. No error passes it.
    """

    def __init__(
        self, app: ASGIApp, database: Database, last_use: LastUse, metrics: Metrics, replica: Replica | None
    ) -> None:
        self.app, self.metrics = app, metrics
        self.guard = Guard(app, database, last_use, replica)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, fault = time.perf_counter(), 0, None
        given = _header(scope, b"x-request-id")
        identity = scope[REQUEST_ID] = given.decode() if _GIVEN_ID.fullmatch(given) else token_hex(8)

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
                if (caller := scope.get(KEY)) and caller.position:
                    message["headers"].append((HEADER, write_position(caller.position)))
            await send(message)

        try:
            await self.guard(scope, receive, observed)
        except ClientDisconnect:
            # Only the log and the metrics say so, because nobody is left to be answered.
            status = 499
        except Exception as exc:  # noqa: BLE001 (the boundary)
            fault = exc
            if not status:
                error = exc if isinstance(exc, errors.TaskdbError) else errors.TaskdbError("")
                await problems.error_response(error, identity)(scope, receive, observed)
        finally:
            self._record(scope, status, time.perf_counter() - begun, fault)

    def _record(self, scope: Scope, status: int, seconds: float, fault: Exception | None) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path_format", "none")
        self.metrics.observe(method, route, status, seconds)
        level = logging.INFO if status < _SERVER_ERROR else logging.WARNING
        if not _log.isEnabledFor(level):
            return
        milliseconds, identity, reason = seconds * 1000, scope[REQUEST_ID], ""
        event = {"request": identity, "method": method, "route": route, "status": status}
        event["duration_ms"] = round(milliseconds, 1)
        if fault is not None:
            event["error"] = name = type(fault).__name__
            if status >= _SERVER_ERROR:
                reason = f", {fault if isinstance(fault, _LOGGED) else name}"
        text = "%s %s: %d in %.1f ms [%s]%s"
        _log.log(level, text, method, route, status, milliseconds, identity, reason, extra=event)


class Guard:
    """Refuse a request that is too large or has no token, and send no answer before the token was looked up.

    The token of a request that may have a body is looked up before any of it is read. Otherwise work on the
    database looks it up. An answer without such work, such as the refusal of a malformed request, waits here
    until the token was looked up.
    """

    def __init__(self, app: ASGIApp, database: Database, last_use: LastUse, replica: Replica | None) -> None:
        self.app, self.database, self.last_use, self.replica = app, database, last_use, replica
        self.turns = Turns(database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Receiving more of its body than allowed raises BodyTooLarge."""
        _require_short_head(scope)
        receive = _bounded(scope, receive)
        if scope["path"] == LIVE:
            _read_names(scope["query_string"])
            await self.app(scope, receive, send)
            return
        match = _BEARER.fullmatch(_header(scope, b"authorization"))
        if match is None:
            raise errors.Unauthorized("an access token is needed", "send Authorization: Bearer and the token")
        writing = scope["method"] not in {"GET", "HEAD", "OPTIONS"}
        given = parse_position(_header(scope, HEADER)) if self.replica else 0
        scope[KEY] = caller = Caller(
            self.database,
            self.last_use,
            match[1].decode(),
            writing=writing,
            replica=self.replica,
            given=given,
        )

        async def admit() -> None:
            if not caller.admitted:
                await run_sync(caller.admit)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The work has ended when its answer begins, even if the client reads it slowly.
                turn.close()
                await admit()
            await send(message)

        if writing:
            await admit()
        try:
            # Whether the server is ready is found out beside its other work.
            reading = not writing and scope["path"] != READY
            with await self.turns.wait_for(_read_names(scope["query_string"]), reading=reading) as turn:
                await self.app(scope, receive, guarded)
        except errors.InvalidInput:
            await admit()
            raise


class Turns:
    """Let searches use less than half of the threads, and lists with filters or a sort as many.

    Each of them may read every row. The other threads serve all other requests meanwhile. Changes take no
    turns: they may wait for a lock, and nothing else should wait with them.
    """

    def __init__(self, database: Database) -> None:
        pool = database.options.pool or Pool()
        share = max(1, (pool.size + pool.overflow - 1) // 2)
        self.searches, self.lists = Semaphore(share), Semaphore(share)
        # To open a connection beyond those that stay open takes longer than to wait for one of them.
        self.short_reads = Semaphore(min(pool.size, database.backend.reads_at_once))
        self.patience = min(pool.timeout, database.options.statement_timeout or pool.timeout)

    async def wait_for(self, names: set[bytes], *, reading: bool) -> ExitStack:
        """Return the turn of a request with these parameters.

        Raises TimedOut after as long as a statement may take.
        """
        turn = ExitStack()
        if reading:
            long_reads = self.searches if b"search" in names else self.lists
            turns = long_reads if names - _CHEAP else self.short_reads
            try:
                with fail_after(self.patience):
                    await turns.acquire()
            except TimeoutError:
                raise errors.TimedOut(f"the server was busy for {self.patience:g} s") from None
            turn.callback(turns.release)
        return turn


def _require_short_head(scope: Scope) -> None:
    """Measure the request line and the headers, as if they were written without needless spaces.

    The HTTP parser bounds a head only while it waits for more of it, but it may come in one piece.
    """
    query = scope["query_string"]
    target = len(scope.get("raw_path") or b"") + len(b"?" + query if query else b"")
    headers = sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
    length = len(scope["method"]) + target + len(b"  HTTP/1.1\r\n\r\n") + headers
    if len(scope["headers"]) > problems.MOST_HEADERS or length > problems.LONGEST_HEAD:
        limits = f"{problems.MOST_HEADERS} headers, and at most {problems.LONGEST_HEAD} bytes before its body"
        raise problems.HeadTooLarge(f"a request has at most {limits}")


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that refuses a body that is too long, whether its length is announced or not.

    FastAPI's `max_body_size` answers in plain text.
    """
    announced = _header(scope, b"content-length")
    if announced.isdigit() and int(announced[:20]) > problems.LARGEST_BODY:
        raise problems.BodyTooLarge
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > problems.LARGEST_BODY:
            raise problems.BodyTooLarge
        return message

    return bounded


def _read_names(query: bytes) -> set[bytes]:
    """Return the names of a query's parameters.

    Raises InvalidInput for a query that is too long, or gives a parameter twice that has one value.
    """
    if len(query) > problems.LONGEST_QUERY or query.count(b"&") >= problems.MOST_PARAMETERS:
        limits = f"at most {problems.LONGEST_QUERY} bytes and {problems.MOST_PARAMETERS} parameters work"
        raise errors.InvalidInput("the query is too long", limits)
    names = Counter(unquote_to_bytes(each.partition(b"=")[0]) for each in query.split(b"&") if each)
    repeated = {name.decode(errors="replace") for name, times in names.items() if times > 1}
    if twice := sorted(repeated - set(REPEATABLE)):
        hint = f"only {', '.join(REPEATABLE)} may be repeated"
        raise errors.InvalidInput(f"the parameter {brief(twice[0])} is given twice", hint)
    return set(names)


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
