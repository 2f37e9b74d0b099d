"""Lists: the parameters of a query, and one page of records for an answer."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Generic

from fastapi import Request, Response
from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_json

from taskdb_cli.api.middleware import REPEATABLE
from taskdb_cli.api.routing import SCHEMA_HINT
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services.listing import cursor
from taskdb_cli.services.listing.cursor import ListRequest
from taskdb_cli.services.listing.pages import Page, Record
from taskdb_cli.services.listing.query import (
    OPERATION_QUERY,
    TASK_QUERY,
    USER_QUERY,
    Filter,
    ListQuery,
    Parameter,
)
from taskdb_cli.text.faults import reasons
from taskdb_cli.times import parse_exact

MOST_ROWS = 1000
LARGEST_PAGE = 1024 * 1024
"""How many records a page has at most, and how many bytes. The first record of a page always fits."""

_ROOM = LARGEST_PAGE - cursor.LONGEST - len('{"items":[],"next":""}')
_ALTERNATIVES = 100

TIMES = "2026-12-01, 2026-12-01T17:00:00Z, -2w, +3d or +12h (`+` is %2B in a URL), UTC by default."
"""How a query gives a time. Every description of a parameter that takes one ends with it."""

# pydantic writes the members of an enumeration at a fraction of the speed of plain words.
_PLAIN: dict[object, str] = {
    **{each: each.value for each in TaskStatus},
    **{each: each.word for each in TaskPriority},
}


def _field(parameter: Parameter) -> Any:
    rules: dict[str, Any] = {"default": parameter.default, "description": parameter.help}
    if parameter.name == "after":
        rules["description"] = "The `next` of the previous page. Repeat its filters and sort."
    elif parameter.name == "limit":
        rules |= {"ge": 1, "le": MOST_ROWS}
    elif parameter.metavar == "WHEN":
        rules["description"] = f"{parameter.help.rstrip('.')}: {TIMES}"
        rules["json_schema_extra"] = {"example": "2026-12-01"}
    elif parameter.type == list[str]:
        rules |= {"default": [], "max_length": _ALTERNATIVES}
        if parameter.choices:
            words = {"type": "string", "enum": parameter.choices}
            rules["json_schema_extra"] = {"items": words}
    elif parameter.longest:
        rules["max_length"] = parameter.longest
    return Field(**rules)


class Listing(Generic[Filter]):
    """A kind of list, and the model of the parameters that its query takes."""

    def __init__(self, query: ListQuery[Filter], *, without: Collection[str] = ()) -> None:
        self._query: ListQuery[Filter] = query
        fields: dict[str, Any] = {
            each.name: (each.type, _field(each)) for each in query.parameters if each.name not in without
        }
        self._model = create_model("Parameters", __config__=ConfigDict(extra="forbid"), **fields)

    def described(self) -> dict[str, Any]:
        """Return the part of OpenAPI that describes the query."""
        schemas = self._model.model_json_schema()["properties"].items()
        found = [{"name": name, "schema": each, "description": each["description"]} for name, each in schemas]
        return {"parameters": [{"in": "query", "required": False, **each} for each in found]}

    def read(self, http: Request, now: datetime, **path: object) -> tuple[ListRequest[Filter], Any]:
        """Return the list that a request asks for, and all its parameters; raise InvalidInput.

        FastAPI itself would take ten times as long for them, and on the event loop.
        """
        query = http.query_params
        values = {name: query.getlist(name) if name in REPEATABLE else query[name] for name in query}
        try:
            given = self._model.model_validate(values)
        except ValidationError as exc:
            found = reasons(exc, known=tuple(self._model.model_fields), not_known="is not a known parameter")
            raise InvalidInput("; ".join(found), SCHEMA_HINT) from exc
        request = ListRequest.read(self._query, dict(given), now=now, parse_time=parse_exact, **path)
        return request, given


USERS = Listing(USER_QUERY)
TASKS = Listing(TASK_QUERY)
TASKS_OF_USER = Listing(TASK_QUERY, without=["user"])
OPERATIONS = Listing(OPERATION_QUERY)
# They have an id to begin after, as operations have, and no filters.
CHANGES = Listing(OPERATION_QUERY, without=[each.name for each in OPERATION_QUERY.bound])


def page_response(
    request: ListRequest[Any],
    find: Callable[..., Page],
    *,
    show: Callable[[Record], Record] = lambda record: record,
    items: str = "items",
    of: Record | None = None,
) -> Response:
    """Return a page as JSON, with the cursor of the next one, behind the fields of the record `of`.

    `find` is the function of a service. It is called with the parameters that say where the page begins and
    ends. `show` turns each record into the one that is shown.
    """
    written: list[bytes] = []
    before = to_json(of)[:-1] + b"," if of else b"{"
    room = _ROOM - len(before) - len(items)

    def fits(record: Record) -> bool:
        nonlocal room
        item = to_json(_plain(show(record)))
        room -= len(item) + 1
        if written and room < 0:
            return False
        written.append(item)
        return True

    page = find(request.order, limit=request.limit, after=request.after, fits=fits)
    following = to_json(request.cursor(page))
    body = b'%b"%b":[%b],"next":%b}' % (before, items.encode(), b",".join(written), following)
    return Response(body, media_type="application/json")


def _plain(record: Record) -> Record:
    """Return the values of `output.formats.plain`, several times as fast."""
    if "status" in record:
        return {**record, "status": _PLAIN[record["status"]], "priority": _PLAIN[record["priority"]]}
    if "fields" not in record:
        return record
    words = {
        name: {age: None if value is None else _PLAIN[value] for age, value in record["fields"][name].items()}
        for name in ("status", "priority")
        if name in record["fields"]
    }
    return {**record, "fields": {**record["fields"], **words}}
