"""Failures as answers: problem details of RFC 9457, with the codes of the command line."""

import json
from http import HTTPStatus

from starlette.responses import Response

from taskdb_cli import errors
from taskdb_cli.errors import InvalidInput, TaskdbError
from taskdb_cli.services.listing.cursor import CursorUnusable
from taskdb_cli.text.escaping import escape_json, hide_secrets

MEDIA_TYPE = "application/problem+json"

LARGEST_BODY = 1024 * 1024
"""Bytes of a body. The longest record with every character escaped needs a quarter of them."""

LONGEST_HEAD, MOST_HEADERS = 64 * 1024, 200
"""Bytes of a request's line and headers together, and lines of headers."""

LONGEST_QUERY, MOST_PARAMETERS = 32 * 1024, 500
"""Bytes and parameters of a query string. A cursor and every alternative of every filter fit."""


class BodyTooLarge(InvalidInput, code="too_large"):
    """The body of a request has more bytes than the server reads."""

    def __init__(self) -> None:
        super().__init__(f"the body of a request has at most {LARGEST_BODY} bytes")


class HeadTooLarge(InvalidInput, code="too_large"):
    """The request line and the headers have more bytes or lines than the server accepts."""


class UnsupportedBody(InvalidInput, code="unsupported_media_type"):
    """The headers of a request say that its body is not plain JSON."""


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
    # Not 503, which says that nothing was changed, and which clients try again by themselves.
    errors.OutcomeUnknown: 504,
    errors.Refused: 403,
    errors.Unauthorized: 401,
}

# These replace hints that name options of the command line.
_HINTS: dict[type[BaseException], str] = {
    errors.UserNotFound: "GET /users lists the users",
    errors.TaskNotFound: "GET /tasks lists the tasks",
    errors.OperationNotFound: "GET /history lists the operations",
    errors.EmailTaken: "choose another address",
    errors.OutcomeUnknown: "get what it changes before you send it again without If-Match or external_id",
    CursorUnusable: "repeat the filters and the sort of the previous page, or start without after",
    errors.StaleVersion: "get it again, and send its new ETag as If-Match",
}

# The errors' own words name hosts, files and databases, so only the server's log has them.
_FAULTS = {
    "unavailable": "the database cannot be reached or is locked; nothing was changed",
    "schema": "the tables of the database do not match the version of this server",
    "corrupt": "the database is damaged, or a value in it breaks the rules of its table",
    "unknown": "the connection to the database broke while the change was being committed, and it is not "
    "known whether it was made",
}
_DETAILS: dict[type[BaseException], str] = {
    errors.TimedOut: "the request took longer than the server allows; nothing was changed",
    **dict.fromkeys(
        (errors.StorageFailed, errors.NotWritable),
        "the database is read-only, or its disk is full or broken",
    ),
}
_ANY_FAULT = "something went wrong in the server; its log has the details"

# A client should wait for 5 s before it asks again for what was unavailable.
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}


def problem_response(request_id: str, status: int, code: str, detail: str, hint: str = "") -> Response:
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
    return Response(escape_json(text).encode(), status, _HEADERS.get(status), MEDIA_TYPE)


def status_and_code(kind: type[TaskdbError]) -> tuple[int, str]:
    """Return the HTTP status and the code of a problem that errors of this class are answered with."""
    status = next(_STATUSES[each] for each in kind.__mro__ if each in _STATUSES)
    is_away = issubclass(kind, errors.DatabaseMissing | errors.StorageFailed)
    return status, "unavailable" if is_away else kind.code


def error_response(error: TaskdbError, request_id: str) -> Response:
    """Return the answer to an error. It shows nothing of SQL, hosts, files or other people's values."""
    status, code = status_and_code(type(error))
    detail, hint = error.message, _HINTS.get(type(error), error.hint)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = _DETAILS.get(type(error)) or _FAULTS.get(code, _ANY_FAULT)
        hint = _HINTS.get(type(error), "")
    elif isinstance(error, errors.Violation):
        # These are the engine's own words, because no service expected the error.
        detail = "the database refused the change"
    return problem_response(request_id, status, code, detail, hint)
