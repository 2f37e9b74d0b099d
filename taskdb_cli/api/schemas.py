"""What OpenAPI says of the API: its records, and every way in which a request can end."""

from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlmodel import Field as SQLField

from taskdb_cli.api.problems import MEDIA_TYPE
from taskdb_cli.models.fields import Email, Moment, StoredExternalId, StoredName, StoredTitle
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import UserCreate, UserUpdate
from taskdb_cli.models.vocabulary import (
    CHANGE_FIELDS,
    LIFE_FIELDS,
    OPERATION_FIELDS,
    TASK_FIELDS,
    USER_FIELDS,
)

INTRODUCTION = """\
Users and their tasks, by the same rules as the `taskdb` command line.

- Every request needs an access token, which `taskdb token create` makes. Only `GET /health/live` needs none.
- A list answers with a page of records. To get the next page, send its `next` as `after`, with the same
  filters and sort.
- The `ETag` of a record is its version. A change with `If-Match` is refused if somebody else has changed the
  record.
- With a replica, the answer to a change has a `Taskdb-Log-Position`. A read that sends it sees that change,
  also on another server.
"""

LIVE, READY = "/health/live", "/health/ready"
"""The paths of the server's own health. The first is the only one that needs no token."""

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
_SHARED: dict[str, Any] = {
    "id": Id,
    "user_id": Id,
    "user": Email,
    "name": StoredName,
    "title": StoredTitle,
    "external_id": StoredExternalId | None,
    "version": Annotated[int, Field(ge=1)],
    "created_at": Moment,
    "updated_at": Moment,
}
_TIMES = {"created_at": "2026-11-22T12:30:15Z", "updated_at": "2026-11-22T12:30:15Z"}
_USER = {"id": 1, "email": "ann@example.com", "name": "Ann", "is_active": True, "version": 1, **_TIMES}
_TASK = {
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
    **_TIMES,
}
_OPERATION = {
    "id": 29,
    "at": "2026-11-22T12:30:15Z",
    "actor": "dashboard",
    "command": "PATCH /tasks/{id}",
    "program_version": "1.0.0",
    "rows": 1,
    "undoes": None,
    "restored_from": None,
}
_CHANGE = {
    "table": "task",
    "id": 7,
    "owner_id": 1,
    "action": "updated",
    "version_before": 1,
    "version_after": 2,
    "fields": {"priority": {"old": "medium", "new": "high"}},
}
_LIFE = {"operation": 29, **{name: _OPERATION[name] for name in ("at", "actor", "command")}, **_CHANGE}


def _record(name: str, words: str, types: dict[str, Any], example: Any, **optional: Any) -> Any:
    """Return the model of a record, so that OpenAPI has the fields and types that the rest of taskdb has."""
    config = ConfigDict(json_schema_extra={"example": example})
    return create_model(name, __doc__=words, __config__=config, **types, **optional)


def _page(name: str, words: str, record: Any) -> Any:
    following = Field(description="The `after` of the next page; null on the last one.")
    fields: dict[str, Any] = {"items": list[record], "next": Annotated[str | None, following]}
    return create_model(name, __doc__=words, **fields)


_given = get_type_hints(UserCreate, include_extras=True) | get_type_hints(TaskCreate, include_extras=True)
_types: dict[str, Any] = _given | _SHARED
_of_user, _of_task = ({field: _types[field] for field in fields} for fields in (USER_FIELDS, TASK_FIELDS))
_counted = Annotated[int, Field(ge=0, description="How many tasks they have, with `with_counts`.")]

UserRecord = _record("UserRecord", "A user.", _of_user, _USER)
TaskRecord = _record("TaskRecord", "A task.", _of_task, _TASK)
ListedUser = _record("ListedUser", "A user in a list.", _of_user, _USER, tasks=(_counted, 0))
UserPage = _page("UserPage", "Some users, and where the next page begins.", ListedUser)
TaskPage = _page("TaskPage", "Some tasks, and where the next page begins.", TaskRecord)


class FieldChange(BaseModel):
    """What a field was and what it became. A value that the token may not see is null, too."""

    old: Any
    new: Any


_version = Annotated[int | None, Field(ge=1)]
_history: dict[str, Any] = {
    "id": Id,
    "at": Moment,
    "actor": Annotated[str, Field(description="Who did it: a token, a user of the system or TASKDB_ACTOR.")],
    "command": Annotated[str, Field(description="The command or the route, without values.")],
    "program_version": str,
    "rows": Annotated[
        int | None, Field(ge=0, description="How many rows it changed; null for a token of one user.")
    ],
    "undoes": Annotated[Id | None, Field(description="The operation that it undid.")],
    "restored_from": Annotated[str | None, Field(description="The archive that replaced everything.")],
    "operation": Id,
    "table": Literal["user", "task", "token"],
    "owner_id": Annotated[Id | None, Field(description="The owner of the row before the change.")],
    "action": Literal["created", "updated", "deleted"],
    "version_before": _version,
    "version_after": _version,
    "fields": Annotated[
        dict[str, FieldChange], Field(description="Each field that changed; for a deleted row, every field.")
    ],
}
_of_operation, _of_change, _of_life = (
    {field: _history[field] for field in fields} for fields in (OPERATION_FIELDS, CHANGE_FIELDS, LIFE_FIELDS)
)
OperationRecord = _record("OperationRecord", "What changed rows.", _of_operation, _OPERATION)
ChangeRecord: Any = _record("ChangeRecord", "How an operation changed a row.", _of_change, _CHANGE)
LifeRecord = _record("LifeRecord", "How a row changed, and by which operation.", _of_life, _LIFE)
OperationPage = _page("OperationPage", "Some operations, and where the next page begins.", OperationRecord)
LifePage = _page("LifePage", "Some changes of a row, and where the next page begins.", LifeRecord)
OperationDetails = _record(
    "OperationDetails",
    "An operation with some of its changes, and where the next page of them begins.",
    _of_operation,
    {**_OPERATION, "changes": [_CHANGE], "next": None},
    changes=(list[ChangeRecord], ...),
    next=(str | None, Field(description="The `after` of the next page; null on the last one.")),
)


_SHOWN = (UserRecord, TaskRecord, ListedUser, OperationRecord, ChangeRecord, LifeRecord, OperationDetails)
"""The records that have an example."""


class TaskPatch(TaskUpdate):
    """What a caller gives to change a task. `user`, an id or an e-mail address, is its new owner."""

    user: str = SQLField(default=None)


# A command builds the validator of a model when it needs it. FastAPI takes it apart before.
for _model in (UserCreate, UserUpdate, TaskCreate, TaskPatch):
    _model.model_config["defer_build"] = False
    _model.model_rebuild()


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

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:taskdb:problem:not_found",
                "title": "Not Found",
                "status": 404,
                "detail": "task 7 not found",
                "code": "not_found",
                "hint": "GET /tasks lists the tasks",
                "request_id": "6e1f0c9b2a7d4835",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What went wrong, with the record or field.")]
    code: Annotated[str, Field(description="The kind of failure, for programs.")]
    hint: Annotated[str, Field(description="The next step; may be empty.")]
    request_id: Annotated[str, Field(description="The X-Request-ID of the answer, as in the server's log.")]


_WORDS = {
    401: "The request has no token, or the token is unknown, expired or revoked.",
    403: "The token does not allow this.",
    404: "The path or the record does not exist, or the token may not see it.",
    409: "The change contradicts what is stored. For example, another user has the address.",
    412: "The record is not at a version that `If-Match` names.",
    413: "The body is too large.",
    415: "The body is not JSON in UTF-8, or it is compressed.",
    422: "A parameter or a field is wrong. `detail` says which.",
    431: "The request line and the headers are too long.",
    500: "Something went wrong in the server. Its log says what.",
    503: "The database cannot be reached or written to, is locked, or has tables of another version.",
    504: "It is not known whether the change was made: the connection to the database broke at its commit.",
}
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": _CONTENT} for status, words in _WORDS.items()
}
"""The problems that a request can end in, as the `responses` of a route."""

_HEADERS = {
    "X-Request-ID": "The id of the request in the server's log. The request may give its own.",
    "ETag": "The version of the record, for `If-Match`.",
    "Location": "Where the record is.",
    "WWW-Authenticate": "Says that the server wants a bearer token.",
    "Retry-After": "Seconds after which to try again.",
    "Taskdb-Log-Position": "With a replica: the position of the database's log after this request.",
}
_POSITION = {
    "name": "Taskdb-Log-Position",
    "in": "header",
    "required": False,
    "description": "The `Taskdb-Log-Position` of an answer. The read sees what that request changed.",
    "schema": {"type": "string"},
}
_OF_STATUS = {"201": ["Location"], "401": ["WWW-Authenticate"], "503": ["Retry-After"]}
_RECORDS = ("#/components/schemas/UserRecord", "#/components/schemas/TaskRecord")


def complete(app: FastAPI) -> None:
    """Let the application describe its tokens, problems and headers too."""
    plain = app.openapi

    @cache
    def described() -> dict[str, Any]:
        schema = plain()
        models = schema["components"]["schemas"]
        models["ProblemDetails"] = ProblemDetails.model_json_schema()
        for model in _SHOWN:
            # FastAPI leaves the nulls of an example out.
            models[model.__name__]["example"] = model.model_config["json_schema_extra"]["example"]
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
        schema["paths"][LIVE]["get"]["security"] = []
        for field in [field for model in models.values() for field in model.get("properties", {}).values()]:
            # What the service makes of an absent field is not always a value that one could send.
            field.pop("default", None)
        for operations in schema["paths"].values():
            for method, operation in operations.items():
                _complete(operation, changes=method != "get")
        return schema

    app.openapi = described  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], *, changes: bool) -> None:
    """Leave out the problems that the operation cannot end in, and describe the headers of its answers."""
    takes_body = "requestBody" in operation
    for status in [*([] if takes_body else ["415"]), *([] if changes else ["409", "412", "413", "504"])]:
        del operation["responses"][status]
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        has_version = schema.get("$ref") in _RECORDS
        names = ["X-Request-ID", *_OF_STATUS.get(status, []), *(["ETag"] if has_version else [])]
        is_met = status.startswith(("2", "404", "409", "412"))
        optional = ["Taskdb-Log-Position"] if changes and is_met else []
        answer["headers"] = {
            name: {"description": _HEADERS[name], "required": name in names, "schema": {"type": "string"}}
            for name in [*names, *optional]
        }
    if not changes and "operations" not in operation["tags"]:
        operation.setdefault("parameters", []).append(_POSITION)
