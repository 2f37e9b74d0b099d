"""What OpenAPI says beyond what the routes say themselves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from taskdb_cli.api.middleware import LIVE
from taskdb_cli.api.problems import MEDIA_TYPE
from taskdb_cli.api.schemas import ProblemDetails

INTRODUCTION = """\
Users and their tasks, by the rules of the `taskdb` command line.

Every request but `GET /health/live` needs an access token, which `taskdb token create` makes. A list
answers with a page of records; its `next` is the `after` of the following page, with the same filters and
sort. A record's `ETag` is its version; `If-Match` changes a record only if nobody else has meanwhile.
"""

_WORDS = {
    401: "There is no token, or none that is in force.",
    403: "The token does not allow this.",
    404: "It does not exist, or the token may not see it.",
    409: "It contradicts what is stored, such as an address that another user has.",
    412: "The record is not at the version of `If-Match`.",
    413: "The body is too large.",
    415: "The body is not JSON in UTF-8, or it is compressed.",
    422: "A parameter or a field is not right.",
    431: "The request line and the headers are too long.",
    500: "Something went wrong in the server.",
    503: "The database cannot be reached or written to, is locked, or has other tables than it should.",
}
_EXAMPLE = {
    "type": "urn:taskdb:problem:not_found",
    "title": "Not Found",
    "status": 404,
    "detail": "task 7 not found",
    "code": "not_found",
    "hint": "GET /tasks lists the tasks",
    "request_id": "6e1f0c9b2a7d4835",
}
_REFERENCE = {"$ref": "#/components/schemas/ProblemDetails"}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {"schema": _REFERENCE}}}
    for status, words in _WORDS.items()
}


_HEADERS = {
    "X-Request-ID": "The id of the request, as in the server's log; the request may bring its own.",
    "ETag": "The version of the record, for `If-Match`.",
    "Location": "Where the record is.",
    "WWW-Authenticate": "That a bearer token is wanted.",
    "Retry-After": "Seconds after which to try again.",
}
_OF_STATUS = {"201": ["Location"], "401": ["WWW-Authenticate"], "503": ["Retry-After"]}
_RECORDS = {f"#/components/schemas/{name}" for name in ("UserRecord", "TaskRecord")}
_OF_CHANGES = ("409", "412", "413")


def described_router(tag: str) -> APIRouter:
    """Return a router whose routes can end in each of the problems, and are called as their functions."""
    return APIRouter(tags=[tag], responses=_PROBLEMS, generate_unique_id_function=lambda route: route.name)


def complete(app: FastAPI) -> None:
    """Let the application describe its tokens, problems and headers too."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {})["ProblemDetails"] = {
                **ProblemDetails.model_json_schema(),
                "example": _EXAMPLE,
            }
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
            schema["paths"][LIVE]["get"]["security"] = []
            for operations in schema["paths"].values():
                for method, operation in operations.items():
                    _drop_impossible(operation, method)
                    _describe_headers(operation)
        return app.openapi_schema or {}

    app.openapi = described  # type: ignore[method-assign]


def _drop_impossible(operation: dict[str, Any], method: str) -> None:
    takes_body = "requestBody" in operation
    impossible = [*([] if takes_body else ["415"]), *(_OF_CHANGES if method == "get" else [])]
    for status in impossible:
        del operation["responses"][status]


def _describe_headers(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        names = [
            "X-Request-ID",
            *_OF_STATUS.get(status, []),
            *(["ETag"] if schema.get("$ref") in _RECORDS else []),
        ]
        answer["headers"] = {
            name: {"description": _HEADERS[name], "required": True, "schema": {"type": "string"}}
            for name in names
        }
