"""Failures as answers: problem details of RFC 9457, with the codes of the command line."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from taskdb_cli import errors
from taskdb_cli.errors import InvalidInput, TaskdbError
from taskdb_cli.services.listing.cursor import CursorUnusable
from taskdb_cli.text.escaping import escape_json, hide_secrets

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = 5
"""Seconds that a client should wait before it asks again for what was unavailable."""

LARGEST_BODY = 1024 * 1024
"""Bytes of a body. The longest record with every character escaped needs a quarter of them."""

LONGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers together."""

MOST_HEADERS = 200
"""Lines of headers of one request."""

LONGEST_QUERY = 32 * 1024
"""Bytes of a query string. A hundred addresses and a cursor fit."""

MOST_PARAMETERS = 500
"""Parameters of a query string. Every alternative of every filter fits."""


class BodyTooLarge(InvalidInput):
    """The body of a request has more bytes than the server reads."""

    code = "too_large"

    def __init__(self) -> None:
        super().__init__(f"the body of a request has at most {LARGEST_BODY} bytes")


class HeadTooLarge(InvalidInput):
    """The request line and the headers have more bytes or lines than the server accepts."""

    code = "too_large"

    def __init__(self) -> None:
        limits = f"at most {MOST_HEADERS} headers, and at most {LONGEST_HEAD} bytes before its body"
        super().__init__(f"a request has {limits}")


class UnsupportedBody(InvalidInput):
    """The headers of a request say that its body is not plain JSON."""

    code = "unsupported_media_type"


# The nearest class above an error's own class decides.
_STATUSES: dict[type[BaseException], int] = {
    TaskdbError: 500,
    InvalidInput: 422,
    BodyTooLarge: 413,
    HeadTooLarge: 431,
    UnsupportedBody: 415,
    errors.InvalidConfiguration: 500,
    errors.NotFound: 404,
    errors.DatabaseMissing: 503,
    errors.Conflict: 409,
    errors.StaleVersion: 412,
    errors.DatabaseUnavailable: 503,
    errors.SchemaError: 503,
    errors.StorageFailed: 503,
    errors.Interrupted: 503,
    errors.Refused: 403,
    errors.Forbidden: 403,
    errors.Unauthorized: 401,
}

# These replace hints that name options of the command line.
_HINTS: dict[type[BaseException], str] = {
    errors.UserNotFound: "GET /users lists the users",
    errors.TaskNotFound: "GET /tasks lists the tasks",
    errors.EmailTaken: "choose another address",
    CursorUnusable: "give after with the very filters and sort of the page before, or start without it",
    errors.StaleVersion: "get it again, and send its new ETag as If-Match",
}

# The errors' own words name hosts, files and databases, so only the server's log has them.
_FAULTS = {
    "unavailable": "the database cannot be reached or is locked; nothing was changed",
    "schema": "the tables of the database are not those that this server works on",
    "corrupt": "the database is damaged, or a value in it breaks the rules of its table",
    "unknown": "the connection to the database broke while the change was being committed: "
    "look whether it is there before you try again",
}
_DETAILS: dict[type[BaseException], str] = {
    errors.TimedOut: "the request took longer than the server allows; nothing was changed",
    errors.StorageFailed: "the database is read-only, or its disk is full or broken",
}
_ANY_FAULT = "something went wrong in the server, whose log says more"


def problem_response(
    request_id: str,
    status: int,
    code: str,
    detail: str,
    *,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a failure as an answer."""
    body: dict[str, object] = {
        "type": f"urn:taskdb:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": hide_secrets(detail),
        "code": code,
        "hint": hint,
        "request_id": request_id,
    }
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode()
    return Response(escape_json(text).encode(), status, headers, MEDIA_TYPE)


def error_response(error: TaskdbError, request_id: str) -> Response:
    """Return the answer to an error. It shows nothing of SQL, hosts, files or other people's values."""
    status = next(_STATUSES[each] for each in type(error).__mro__ if each in _STATUSES)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        missing = isinstance(error, errors.DatabaseMissing | errors.StorageFailed)
        code = "unavailable" if missing else error.code
        headers = {"Retry-After": str(RETRY_AFTER)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        detail = _DETAILS.get(type(error)) or _FAULTS.get(code, _ANY_FAULT)
        return problem_response(request_id, status, code, detail, headers=headers)
    if isinstance(error, errors.Violation):
        # These are the engine's own words, because no service expected the error.
        return problem_response(request_id, status, error.code, "the database refused the change")
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.Unauthorized) else {}
    hint = _HINTS.get(type(error), error.hint)
    return problem_response(request_id, status, error.code, error.message, hint=hint, headers=headers)
