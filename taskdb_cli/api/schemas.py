"""What goes in and out: bodies, records as JSON, and how OpenAPI describes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from email.message import Message
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request, Response
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json, to_json
from sqlmodel import Field as SQLField
from sqlmodel import SQLModel
from starlette.datastructures import Headers

from taskdb_cli.errors import InvalidInput, StaleVersion
from taskdb_cli.models.fields import Description, Email, ExternalId, Moment, Name, Priority, Status, Title
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS
from taskdb_cli.output.formats import Record, plain
from taskdb_cli.services.validation import reasons

Schema = TypeVar("Schema", bound=SQLModel)

_SCHEMA_HINT = "the schema is in /openapi.json"

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*")
_OURS = re.compile(r'"([1-9][0-9]{0,8})"')

_LARGE_BODY = 80 * 1024
_MOST_FIELDS = 100
"""How many fields a large body may have; no schema has as many."""

_MOST_MARKS = 25_000
"""How often a body may hold each of `[`, `{` and `,`: the texts of no record have as many characters."""

_LONGEST_TYPE = 200
_LONGEST_IF_MATCH = 2000


class UnsupportedBody(InvalidInput):
    """The body of a request is not JSON by its own account."""

    code = "unsupported_media_type"


class TaskPatch(TaskUpdate):
    """What a caller gives to change a task; `user`, an id or an e-mail address, gets it."""

    user: str = SQLField(default=None)


def body_of(schema: type[Schema]) -> Callable[[Request], Coroutine[Any, Any, Schema]]:
    """Return the dependency that reads a request's JSON body by a schema, without any conversion of types."""

    async def read(request: Request) -> Schema:
        _require_plain_json(request.headers)
        body = await request.body()
        if len(body) > _LARGE_BODY:
            _require_few_values(body)
        try:
            given = schema.model_validate_json(body, strict=True)
        except ValidationError as exc:
            raise InvalidInput("; ".join(reasons(exc)), _SCHEMA_HINT) from exc
        _require_unique_names(body)
        return given

    return read


def _require_plain_json(headers: Headers) -> None:
    """Raise UnsupportedBody unless the body is JSON in UTF-8 by its headers, and not compressed."""
    codings = ",".join(headers.getlist("content-encoding")).lower().split(",")
    if {coding.strip() for coding in codings} - {"", "identity"}:
        raise UnsupportedBody("the body is compressed", "send it without Content-Encoding")
    described = Message()
    described["Content-Type"] = given = ",".join(headers.getlist("content-type"))
    if len(given) > _LONGEST_TYPE or described.get_content_type() != "application/json":
        raise UnsupportedBody("the body must be JSON", "send Content-Type: application/json")
    charsets = [value for name, value in described.get_params([]) if name == "charset"]
    if any(str(charset).lower() not in ("utf-8", "utf8") for charset in charsets):
        raise UnsupportedBody("the body must be in UTF-8", "JSON has no other encoding")


def _require_few_values(body: bytes) -> None:
    # A body is parsed on the event loop. pydantic makes an object of each value and an error of each unknown
    # field, which takes long if there are hundreds of thousands.
    if any(body.count(mark) > _MOST_MARKS for mark in (b"[", b"{", b",")):
        raise InvalidInput("the body has too many values", _SCHEMA_HINT)
    try:
        given = from_json(body)
    except ValueError:
        return
    if isinstance(given, dict) and len(given) > _MOST_FIELDS:
        raise InvalidInput(f"the body has {len(given)} fields", _SCHEMA_HINT)


def _require_unique_names(body: bytes) -> None:
    """Raise InvalidInput if the object names a field twice; a valid body holds no object inside."""

    def check(pairs: list[tuple[str, object]]) -> None:
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInput(f"{name} is given twice", "name each field once")
            seen.add(name)

    json.loads(body, object_pairs_hook=check)


def takes(schema: type[SQLModel], example: Mapping[str, object]) -> dict[str, Any]:
    """Return how OpenAPI describes a body of that schema."""
    described = schema.model_json_schema()
    for field in described["properties"].values():
        # A default is what the service makes of an absent field, and not always a value one could send.
        field.pop("default", None)
    content = {"application/json": {"schema": described, "example": dict(example)}}
    return {"requestBody": {"required": True, "content": content}}


IfMatch = Annotated[
    str | None,
    Header(
        max_length=_LONGEST_IF_MATCH,
        description='The ETag that the record must have, as `"3"`, or several with commas; '
        "else the answer is 412. `*` is any, and a weak one is none.",
    ),
]

Versions = frozenset[int] | None
"""The versions that a record may be at; None is any."""


def versions_of(if_match: str | None) -> Versions:
    """Return the versions that a record may be at; raise InvalidInput for what is no list of ETags."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not _TAGS.fullmatch(if_match):
        raise InvalidInput("If-Match is not a list of ETags", 'send the ETag of an answer, such as "3"')
    ours = (_OURS.fullmatch(tag) for tag in re.findall(_TAG, if_match))
    return frozenset(int(match[1]) for match in ours if match)


def require_version(noun: str, record: Record, versions: Versions) -> int | None:
    """Return the version of a record, or None if any will do; raise StaleVersion if it is none of them."""
    if versions is None:
        return None
    current: int = record["version"]
    if current not in versions:
        [expected] = versions if len(versions) == 1 else ["any that If-Match names"]
        raise StaleVersion(noun, record["id"], expected=expected, current=current)
    return current


def task_response(record: Record, status: int = 200, *, location: str = "") -> Response:
    """Return a task as JSON, with its version as ETag."""
    return _record_response(record, plain(record, TASK_FIELDS), status, location)


def user_response(record: Record, status: int = 200, *, location: str = "") -> Response:
    """Return a user as JSON, with its version as ETag."""
    return _record_response(record, plain(record, USER_FIELDS), status, location)


def _record_response(record: Record, body: dict[str, Any], status: int, location: str) -> Response:
    headers = {"ETag": f'"{record["version"]}"'}
    return json_response(body, status, headers | ({"Location": location} if location else {}))


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(to_json(body), status, headers, "application/json")


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Version = Annotated[int, Field(ge=1)]


class UserRecord(BaseModel):
    """A user."""

    model_config = {
        "json_schema_extra": {
            "example": {
                "id": 1,
                "email": "ann@example.com",
                "name": "Ann",
                "is_active": True,
                "version": 1,
                "created_at": "2026-11-22T12:30:15Z",
                "updated_at": "2026-11-22T12:30:15Z",
            }
        }
    }

    id: Id
    email: Email
    name: Name
    is_active: bool
    version: Version
    created_at: Moment
    updated_at: Moment


class TaskRecord(BaseModel):
    """A task."""

    model_config = {
        "json_schema_extra": {
            "example": {
                "id": 7,
                "user_id": 1,
                "user": "ann@example.com",
                "external_id": "cert-2026",
                "title": "Renew the certificate",
                "description": None,
                "status": "todo",
                "priority": "high",
                "due_at": "2026-12-01T17:00:00Z",
                "completed_at": None,
                "version": 1,
                "created_at": "2026-11-22T12:30:15Z",
                "updated_at": "2026-11-22T12:30:15Z",
            }
        }
    }

    id: Id
    user_id: Id
    user: Email
    external_id: ExternalId | None
    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: Moment | None
    completed_at: Moment | None
    version: Version
    created_at: Moment
    updated_at: Moment


class ListedUser(UserRecord):
    """A user in a list."""

    tasks: Annotated[int, Field(ge=0, description="How many tasks they have, with `with_counts`.")] = 0


class UserPage(BaseModel):
    """Some users, and where the next page begins."""

    items: list[ListedUser]
    next: Annotated[str | None, Field(description="The `after` of the next page; null on the last one.")]


class TaskPage(BaseModel):
    """Some tasks, and where the next page begins."""

    items: list[TaskRecord]
    next: Annotated[str | None, Field(description="The `after` of the next page; null on the last one.")]


class UserDeletion(BaseModel):
    """What a deletion did, or would do."""

    users: list[Id]
    tasks_deleted: int
    tasks_reassigned: int
    dry_run: bool


class TaskDeletion(BaseModel):
    """What a deletion did, or would do."""

    tasks_deleted: list[Id]
    dry_run: bool


class ProblemDetails(BaseModel):
    """A failure, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What happened to what.")]
    code: Annotated[str, Field(description="What kind of failure it is, for programs.")]
    hint: Annotated[str, Field(description="The next step; may be empty.")]
    request_id: Annotated[str, Field(description="The X-Request-ID of the answer, as in the server's log.")]
