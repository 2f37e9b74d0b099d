"""Lists: the parameters of the command line, and one page for an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services.listing import cursor
from taskdb_cli.services.listing.cursor import Cursor
from taskdb_cli.services.listing.filters import (
    SEARCH_LENGTH,
    TASK_SORT_KEYS,
    USER_SORT_KEYS,
    TaskFilter,
    UserFilter,
)
from taskdb_cli.services.listing.pages import Page, Record
from taskdb_cli.services.listing.sorting import Order, Position, SortKey
from taskdb_cli.times import parse_exact

MOST_ROWS = 1000
LARGEST_PAGE = 1024 * 1024
"""How many records a page has at most, and how many bytes. The first record of a page always fits."""

_ROOM = LARGEST_PAGE - cursor.LONGEST - len('{"items":[],"next":""}')
_ALTERNATIVES = 100
_SORT_LENGTH = 200
_STATUS_WORDS: dict[str, Any] = {"items": {"type": "string", "enum": [*TaskStatus, "open", "closed"]}}
_PRIORITY_WORDS: dict[str, Any] = {"items": {"type": "string", "enum": [each.word for each in TaskPriority]}}

Words = Annotated[list[str], Field(max_length=_ALTERNATIVES)]

# pydantic writes the members of an enumeration at a fraction of the speed of plain words.
_PLAIN: dict[object, str] = {
    **{each: each.value for each in TaskStatus},
    **{each: each.word for each in TaskPriority},
}


def _when(which: str) -> Any:
    text = (
        f"{which}: 2026-12-01, 2026-12-01T17:00:00Z, -2w, +3d or +12h (`+` is %2B in a URL), UTC by default."
    )
    return Field(default=None, description=text, json_schema_extra={"example": "2026-12-01"})


class Paged(BaseModel):
    """Where a page begins and how long it is."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MOST_ROWS, description="How many records at most.")
    after: str | None = Field(default=None, description="The `next` of the page before.")


class UserParameters(Paged):
    """Which users, and in which order."""

    active: bool | None = Field(default=None, description="Only active ones, or only others.")
    search: str = Field(default="", max_length=SEARCH_LENGTH, description="Address or name holds it.")
    sort: str = Field(
        default="id",
        max_length=_SORT_LENGTH,
        description=f"Of {', '.join(USER_SORT_KEYS)}, with commas; `-` in front is descending.",
    )
    with_counts: bool = Field(default=False, description="Add how many tasks each has.")


class TaskParameters(Paged):
    """Which tasks of a user, and in which order."""

    status: Words = Field(default=[], description="Any of these; repeat it.", json_schema_extra=_STATUS_WORDS)
    priority: Words = Field(
        default=[], description="Any of these; repeat it.", json_schema_extra=_PRIORITY_WORDS
    )
    search: str = Field(default="", max_length=SEARCH_LENGTH, description="Title or description holds it.")
    overdue: bool = Field(default=False, description="Open, and due before now.")
    no_due: bool = Field(default=False, description="Without a due date.")
    due_before: str | None = _when("Due before then")
    due_after: str | None = _when("Due then or later")
    created_before: str | None = _when("Created before then")
    created_after: str | None = _when("Created then or later")
    updated_before: str | None = _when("Last changed before then")
    updated_after: str | None = _when("Last changed then or later")
    completed_before: str | None = _when("Completed before then")
    completed_after: str | None = _when("Completed then or later")
    sort: str = Field(
        default="-created",
        max_length=_SORT_LENGTH,
        description=f"Of {', '.join(TASK_SORT_KEYS)}, with commas; `-` in front is descending.",
    )


class AllTaskParameters(TaskParameters):
    """Which tasks, and in which order."""

    user: Words = Field(default=[], description="Theirs, by id or e-mail address; repeat it.")


@dataclass(frozen=True)
class Listing:
    """A list as it was asked for: what its cursors are bound to, and where the page begins."""

    typed: dict[str, Any]
    order: Order
    now: datetime
    limit: int
    after: Position | None

    @classmethod
    def begin(cls, given: Paged, known: Mapping[str, SortKey], now: datetime, **path: object) -> Listing:
        """Return the list from its start, or from a cursor, whose first page says what now is.

        Raises InvalidInput for a cursor that is damaged or another list's, and for an unknown sort key.
        """
        asked = given.model_dump(exclude={"limit", "after", "with_counts"}, exclude_defaults=True)
        typed, order = asked | path, Order.parse(getattr(given, "sort"), known)  # noqa: B009 (each has it)
        if given.after is None:
            return cls(typed, order, now, given.limit, None)
        cursor = Cursor.decode(given.after, typed, order)
        return cls(typed, order, cursor.now, given.limit, cursor.position)

    def response(self, find: Callable[..., Page]) -> Response:
        """Return a page as JSON, with the cursor of the next one.

        `find` is that of a service, without the parameters that say where the page begins and ends.
        """
        items: list[bytes] = []
        room = _ROOM

        def fits(record: Record) -> bool:
            nonlocal room
            item = _record_json(record)
            room -= len(item) + 1
            if items and room < 0:
                return False
            items.append(item)
            return True

        page = find(self.order, limit=self.limit, after=self.after, fits=fits)
        following = None if page.next is None else Cursor(page.next, self.now).encode(self.typed)
        body = b'{"items":[%b],"next":%b}' % (b",".join(items), to_json(following))
        return Response(body, media_type="application/json")


def _record_json(record: Record) -> bytes:
    # The very values of `output.plain`, which a test compares, but several times as fast.
    if "priority" not in record:
        return to_json(record)
    return to_json({**record, "status": _PLAIN[record["status"]], "priority": _PLAIN[record["priority"]]})


def task_filter(given: TaskParameters, now: datetime) -> TaskFilter:
    """Return the filter that is meant at that time; raise InvalidInput for an unknown word."""
    return TaskFilter.from_words(given.model_dump(exclude_defaults=True), now=now, parse_time=_parser(now))


def user_filter(given: UserParameters, only: int | None) -> UserFilter:
    """Return the filter that is meant, limited to one user if that is all that may be seen."""
    return UserFilter(given.active, given.search, only)


def _parser(now: datetime) -> Callable[[str], datetime]:
    return lambda text: parse_exact(text, now=now)
