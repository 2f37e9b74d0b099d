"""Failures as answers: problem details of RFC 9457, with the codes of the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from taskdb_cli.errors import (
    Conflict,
    DatabaseMissing,
    DatabaseUnavailable,
    EmailTaken,
    Forbidden,
    Interrupted,
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    Refused,
    SchemaError,
    StaleVersion,
    StorageFailed,
    TaskdbError,
    TaskNotFound,
    TimedOut,
    Unauthorized,
    UserNotFound,
)
from taskdb_cli.services.listing.cursor import CursorUnusable
from taskdb_cli.text.escaping import escape_json, hide_secrets

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = 5
"""Seconds after which a client may well try again what was unavailable."""


# The nearest class above an error's own decides.
_STATUSES: dict[type[BaseException], int] = {
    TaskdbError: 500,
    InvalidInput: 422,
    InvalidConfiguration: 500,
    NotFound: 404,
    DatabaseMissing: 503,
    Conflict: 409,
    StaleVersion: 412,
    DatabaseUnavailable: 503,
    SchemaError: 503,
    StorageFailed: 503,
    Interrupted: 503,
    Refused: 403,
    Forbidden: 403,
    Unauthorized: 401,
}

# What the command line would say instead is about its own options.
_HINTS: dict[type[BaseException], str] = {
    UserNotFound: "GET /users lists the users",
    TaskNotFound: "GET /tasks lists the tasks",
    EmailTaken: "choose another address",
    CursorUnusable: "give after with the very filters and sort of the page before, or start without it",
    StaleVersion: "get it again, and send its new ETag as If-Match",
}

# What is wrong with the server is for its log: the errors' own words name hosts, files and databases.
_FAULTS = {
    "unavailable": "the database cannot be reached or is locked; nothing was changed",
    "schema": "the tables of the database are not those that this server works on",
    "corrupt": "the database is damaged, or a value in it breaks the rules of its table",
    "unknown": "the connection to the database broke while the change was being committed: "
    "look whether it is there before you try again",
}
_TOO_SLOW = "the request took longer than the server allows; nothing was changed"
_NO_STORAGE = "the database is read-only, or its disk is full or broken"
_DETAILS: dict[type[BaseException], str] = {TimedOut: _TOO_SLOW, StorageFailed: _NO_STORAGE}
_ANY_FAULT = "something went wrong in the server, whose log says more"


LARGEST_BODY = 1024 * 1024
"""Bytes; the longest record with every character escaped has a quarter of them."""

LONGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers together."""

MOST_HEADERS = 200
"""Lines of headers of one request."""

LONGEST_QUERY = 32 * 1024
"""Bytes of a query string; a hundred addresses and a cursor fit."""

MOST_PARAMETERS = 500
"""Parameters of a query string; every alternative of every filter fits."""


@dataclass(frozen=True)
class Problem:
    """A failure as the client is told of it."""

    status: int
    code: str
    detail: str
    hint: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, request_id: str) -> Response:
        """Return the answer."""
        body: dict[str, object] = {
            "type": f"urn:taskdb:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": hide_secrets(self.detail),
            "code": self.code,
            "hint": self.hint,
            "request_id": request_id,
        }
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode()
        return Response(
            escape_json(text).encode(),
            self.status,
            self.headers,
            MEDIA_TYPE,
        )


def too_large() -> Problem:
    """Return the problem of a body that is not read to its end."""
    return Problem(413, "too_large", f"the body of a request has at most {LARGEST_BODY} bytes")


def head_too_large() -> Problem:
    """Return the problem of a request line and headers that are too long."""
    detail = f"a request has at most {MOST_HEADERS} headers, and at most {LONGEST_HEAD} bytes before its body"
    return Problem(431, "too_large", detail)


def problem_of(error: TaskdbError) -> Problem:
    """Return what the client is told of an error: nothing of SQL, hosts, files or other people's values."""
    status = next(_STATUSES[each] for each in type(error).__mro__ if each in _STATUSES)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code = "unavailable" if isinstance(error, DatabaseMissing | StorageFailed) else error.code
        headers = {"Retry-After": str(RETRY_AFTER)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        detail = _DETAILS.get(type(error)) or _FAULTS.get(code, _ANY_FAULT)
        return Problem(status, code, detail, headers=headers)
    if isinstance(error, Unauthorized):
        return Problem(status, error.code, error.message, error.hint, {"WWW-Authenticate": "Bearer"})
    if _is_of_the_engine(error):
        return Problem(status, error.code, "the database refused the change")
    return Problem(status, error.code, error.message, _HINTS.get(type(error), error.hint))


def _is_of_the_engine(error: TaskdbError) -> bool:
    """Tell whether the words are the engine's own, which a service would have put into better ones."""
    cause = error.__cause__
    return type(error) in (InvalidInput, NotFound, Conflict) and isinstance(
        cause, SQLAlchemyError | psycopg.Error
    )
