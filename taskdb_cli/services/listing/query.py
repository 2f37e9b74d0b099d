"""What a list of tasks or users can be asked for: each filter, sort key and limit, declared once.

The command line makes its options from these declarations, and the API makes its query parameters from
them. This module imports no SQLAlchemy and no pydantic, because `taskdb --help` needs it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import CLOSED_STATUSES, OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.text.escaping import brief

SEARCH_LENGTH = 200
"""How many characters a search text may have: the cost of a search grows with them for each row."""

_STATUSES = {**{each.value: {each} for each in TaskStatus}, "open": OPEN_STATUSES, "closed": CLOSED_STATUSES}
_PRIORITIES = {each.word: {each} for each in TaskPriority}
_ESCAPE = "/"
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class RequestTime(NamedTuple):
    """The time of a request, and how its caller writes times."""

    now: datetime
    parse: Callable[[str], datetime]


@dataclass(frozen=True)
class Parameter:
    """One thing that a list can be asked for, as a person or a program gives it."""

    name: str
    """The query parameter of the API. The option of the command line has dashes for underscores."""
    type: Any
    help: str
    default: Any = None
    metavar: str | None = None
    option: str = ""
    """The option where it is not called as the parameter."""
    choices: tuple[str, ...] = ()
    longest: int | None = None
    offered: bool = True
    """Whether callers can give it. A filter that is not offered is set by the code."""
    convert: Callable[[Any, RequestTime], Any] = lambda given, _: given
    """Return the value of the filter; raise InvalidInput for a word that is not known."""
    where: Callable[[Any, Any], Any] | None = None
    """Return the condition, on the columns of the table, that the value of the filter stands for."""


def fold(text: str) -> str:
    """Return the text with A to Z in lower case, as `lower()` does on both engines here."""
    return text.translate(_ASCII_LOWER)


def _is_one_of(column: str) -> Callable[[Any, Any], Any]:
    def where(tasks: Any, values: Any) -> Any:
        wanted = sorted(values)
        return tasks[column] == wanted[0] if len(wanted) == 1 else tasks[column].in_(wanted)

    return where


def _has_status(tasks: Any, statuses: frozenset[TaskStatus]) -> Any:
    from sqlalchemy import bindparam

    # A partial index answers only for statuses that the planner sees, so they are written into the SQL.
    wanted = sorted(statuses)
    if len(wanted) == 1:
        return tasks.status == bindparam(None, wanted[0], literal_execute=True)
    return tasks.status.in_(bindparam(None, wanted, expanding=True, literal_execute=True))


def _choice(name: str, meanings: Mapping[str, Any], where: Callable[[Any, Any], Any]) -> dict[str, Parameter]:
    """Declare a filter by some of the words that have a meaning."""
    *first, last = meanings
    words = f"{', '.join(first)} or {last}"

    def convert(given: list[str], _: RequestTime) -> frozenset[Any]:
        for word in given:
            if word.lower() not in meanings:
                raise InvalidInput(f"there is no {name} {brief(word)!r}", f"it must be {words}")
        return frozenset().union(*[meanings[word.lower()] for word in given])

    help, metavar = f"{words}; repeat for several.", name.upper()
    choices = tuple(meanings)
    return _declared(name, list[str], help, None, metavar, choices=choices, convert=convert, where=where)


def _search(words: str, *columns: str) -> dict[str, Parameter]:
    """Declare a filter by a text that one of the columns contains."""

    def where(table: Any, text: str) -> Any:
        from sqlalchemy import func, or_

        if len(text) > SEARCH_LENGTH:
            too_long = f"the search text has {len(text)} characters"
            raise InvalidInput(too_long, f"at most {SEARCH_LENGTH} work")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidInput("the search text is not valid UTF-8", "no stored text holds such characters")
        pattern = fold(text)
        for character in (_ESCAPE, "%", "_"):
            pattern = pattern.replace(character, _ESCAPE + character)
        return or_(*[func.lower(table[name]).contains(pattern, escape=_ESCAPE) for name in columns])

    help = f"{words}; at most {SEARCH_LENGTH} characters."
    return _declared("search", str, help, "", "TEXT", longest=SEARCH_LENGTH, where=where)


def _before(column: str, verb: str) -> dict[str, Parameter]:
    return _time(column.replace("_at", "_before"), f"{verb} before then.", column, operator.lt)


def _after(column: str, verb: str) -> dict[str, Parameter]:
    return _time(column.replace("_at", "_after"), f"{verb} then or later.", column, operator.ge)


def _time(name: str, help: str, column: str, compare: Callable[[Any, Any], Any]) -> dict[str, Parameter]:
    return _declared(
        name,
        str | None,
        help,
        None,
        "WHEN",
        convert=lambda text, clock: clock.parse(text),
        where=lambda tasks, moment: compare(tasks[column], moment),
    )


def _declared(*words: Any, **more: Any) -> dict[str, Parameter]:
    return {"parameter": Parameter(*words, **more)}


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are meant. A field that has its default restricts nothing."""

    users: tuple[str, ...] = field(
        default=(),
        metadata=_declared(
            "user",
            list[str],
            "Only theirs; repeat for several.",
            metavar="USER",
            convert=lambda given, _: tuple(given),
            where=_is_one_of("user_id"),
        ),
    )
    statuses: frozenset[TaskStatus] = field(
        default=frozenset(), metadata=_choice("status", _STATUSES, _has_status)
    )
    priorities: frozenset[TaskPriority] = field(
        default=frozenset(), metadata=_choice("priority", _PRIORITIES, _is_one_of("priority"))
    )
    search: str = field(default="", metadata=_search("Title or description holds it", "title", "description"))
    overdue_at: datetime | None = field(
        default=None,
        metadata=_declared(
            "overdue",
            bool,
            "Open, and due before now.",
            default=False,
            convert=lambda _, clock: clock.now,
            where=lambda tasks, now: _has_status(tasks, OPEN_STATUSES) & (tasks.due_at < now),
        ),
    )
    no_due: bool = field(
        default=False,
        metadata=_declared(
            "no_due",
            bool,
            "Without a due date.",
            default=False,
            where=lambda tasks, _: tasks.due_at.is_(None),
        ),
    )
    due_before: datetime | None = field(default=None, metadata=_before("due_at", "Due"))
    due_after: datetime | None = field(default=None, metadata=_after("due_at", "Due"))
    created_before: datetime | None = field(default=None, metadata=_before("created_at", "Created"))
    created_after: datetime | None = field(default=None, metadata=_after("created_at", "Created"))
    updated_before: datetime | None = field(default=None, metadata=_before("updated_at", "Last changed"))
    updated_after: datetime | None = field(default=None, metadata=_after("updated_at", "Last changed"))
    completed_before: datetime | None = field(default=None, metadata=_before("completed_at", "Completed"))
    completed_after: datetime | None = field(default=None, metadata=_after("completed_at", "Completed"))


@dataclass(frozen=True)
class UserFilter:
    """Which users are meant. A field that has its default restricts nothing."""

    active: bool | None = field(
        default=None,
        metadata=_declared(
            "active",
            bool | None,
            "Only active users, or only inactive ones.",
            option="--active/--inactive",
            where=lambda users, active: users.is_active == active,
        ),
    )
    search: str = field(default="", metadata=_search("Address or name holds it", "email", "name"))
    id: int | None = field(
        default=None,
        metadata=_declared("id", int, "", offered=False, where=lambda users, only: users.id == only),
    )


Filter = TypeVar("Filter", TaskFilter, UserFilter)


@dataclass(frozen=True)
class ListQuery(Generic[Filter]):
    """Everything that a kind of list can be asked for."""

    filter: type[Filter]
    sorts: Mapping[str, str]
    """The sort keys, each with the field of a record that it sorts by."""
    sort: str
    """The order of a list that names none."""
    more: tuple[Parameter, ...] = ()
    paged: bool = True

    @property
    def bound(self) -> list[Parameter]:
        """The parameters that decide which records there are and in which order: the filters and the sort."""
        filters: list[Parameter] = [each.metadata["parameter"] for each in fields(self.filter)]
        help = f"{', '.join(self.sorts)}; comma-separated, '-' in front for descending."
        sort = Parameter("sort", str, help, self.sort, "KEYS", longest=200)
        return [*(each for each in filters if each.offered), sort]

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters, those of paging included if the list has pages."""
        return [*self.bound, *((LIMIT, AFTER) if self.paged else ()), *self.more]


LIMIT = Parameter("limit", int, "How many records at most.", default=50, metavar="N")
AFTER = Parameter("after", str | None, "Continue after the page that printed this cursor.", None, "CURSOR")

TASK_QUERY = ListQuery(
    TaskFilter,
    sorts={
        **{name: name for name in ("id", "title", "status", "priority")},
        **{name: f"{name}_at" for name in ("due", "created", "updated", "completed")},
        "user": "user",
    },
    sort="-created",
)
USER_QUERY = ListQuery(
    UserFilter,
    sorts={"id": "id", "email": "email", "name": "name", "created": "created_at", "updated": "updated_at"},
    sort="id",
    more=(Parameter("with_counts", bool, "Show how many tasks each has.", default=False),),
)
