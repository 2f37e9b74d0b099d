"""What a list of tasks or users can be asked for: each filter, sort key and limit, declared once.

The command line makes its options from these declarations, and the API makes its query parameters from
them. `filters` turns the filters into SQL. This module imports no SQLAlchemy and no pydantic, because
`taskdb --help` needs it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import CLOSED_STATUSES, OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.text.escaping import brief

SEARCH_LENGTH = 200
"""How many characters a search text may have: the cost of a search grows with them for each row."""

_STATUSES = {**{each.value: {each} for each in TaskStatus}, "open": OPEN_STATUSES, "closed": CLOSED_STATUSES}
_PRIORITIES = {each.word: {each} for each in TaskPriority}


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
    """The words that it takes, several of them if its type is a list or a comma-separated text."""
    longest: int | None = None
    convert: Callable[[Any, datetime, Callable[..., datetime]], Any] = lambda given, *_: given
    """Return the value of the filter for what was given, the time of the request, and a parser of times.

    Raises InvalidInput for a word that is not known.
    """


def _words(name: str, meanings: Mapping[str, Any]) -> Parameter:
    """Declare a parameter that takes some of the words that have a meaning."""
    *first, last = meanings
    words = f"{', '.join(first)} or {last}"

    def convert(given: list[str], *_: object) -> frozenset[Any]:
        for word in given:
            if word.lower() not in meanings:
                raise InvalidInput(f"there is no {name} {brief(word)!r}", f"it must be {words}")
        return frozenset().union(*[meanings[word.lower()] for word in given])

    help, metavar = f"{words}; repeat for several.", name.upper()
    return Parameter(name, list[str], help, metavar=metavar, choices=tuple(meanings), convert=convert)


def _search(where: str) -> Parameter:
    help = f"{where} contains it; at most {SEARCH_LENGTH} characters."
    return Parameter("search", str, help, "", "TEXT", longest=SEARCH_LENGTH)


def _time(name: str, help: str, *, forward: bool = False) -> Parameter:
    """Declare a time. A weekday is the next one if `forward`, else the latest."""

    def convert(text: str, now: datetime, parse: Callable[..., datetime]) -> datetime:
        return parse(text, now=now, forward=forward)

    return Parameter(name, str | None, help, None, "WHEN", convert=convert)


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are meant. A field that has its default restricts nothing."""

    users: Annotated[
        Sequence[str],
        Parameter("user", list[str], "Only tasks of this user; repeat for several.", metavar="USER"),
    ] = ()
    statuses: Annotated[frozenset[TaskStatus], _words("status", _STATUSES)] = frozenset()
    priorities: Annotated[frozenset[TaskPriority], _words("priority", _PRIORITIES)] = frozenset()
    search: Annotated[str, _search("Title or description")] = ""
    overdue_at: Annotated[
        datetime | None,
        Parameter("overdue", bool, "Open, and due before now.", False, convert=lambda _, now, __: now),
    ] = None
    no_due: Annotated[bool, Parameter("no_due", bool, "Without a due date.", False)] = False
    due_before: Annotated[datetime | None, _time("due_before", "Due before this time.", forward=True)] = None
    due_after: Annotated[datetime | None, _time("due_after", "Due from this time on.", forward=True)] = None
    created_before: Annotated[datetime | None, _time("created_before", "Created before this time.")] = None
    created_after: Annotated[datetime | None, _time("created_after", "Created from this time on.")] = None
    updated_before: Annotated[datetime | None, _time("updated_before", "Changed before this time.")] = None
    updated_after: Annotated[datetime | None, _time("updated_after", "Changed from this time on.")] = None
    completed_before: Annotated[datetime | None, _time("completed_before", "Done before this time.")] = None
    completed_after: Annotated[datetime | None, _time("completed_after", "Done from this time on.")] = None

    @property
    def equal(self) -> frozenset[str]:
        """The fields that are the same in all matching tasks."""
        wanted = {"user": self.users, "status": self.statuses, "priority": self.priorities}
        no_due = {"due_at"} if self.no_due else set[str]()
        return frozenset(name for name, values in wanted.items() if len(values) == 1) | no_due


@dataclass(frozen=True)
class UserFilter:
    """Which users are meant. A field that has its default restricts nothing; callers cannot give `id`."""

    active: Annotated[
        bool | None,
        Parameter(
            "active", bool | None, "Only active users, or only inactive ones.", option="--active/--inactive"
        ),
    ] = None
    search: Annotated[str, _search("Address or name")] = ""
    id: int | None = None

    @property
    def equal(self) -> frozenset[str]:
        """The fields that are the same in all matching users."""
        return frozenset() if self.active is None else frozenset({"is_active"})


def _to_ids(given: list[str], *_: object) -> tuple[int, ...]:
    for word in given:
        if not (word.isascii() and word.isdecimal()):
            raise InvalidInput(f"{brief(word)!r} is not the id of a task", "ids are numbers, such as 7")
    # int() itself refuses some thousands of digits, and no id has more than 19.
    return tuple(int(word.lstrip("0")[:20] or 0) for word in given)


@dataclass(frozen=True)
class OperationFilter:
    """Which operations of the history are meant. A field that has its default restricts nothing."""

    users: Annotated[
        Sequence[str],
        Parameter(
            "user", list[str], "Changes of this user or their tasks; repeat for several.", metavar="USER"
        ),
    ] = ()
    tasks: Annotated[
        Sequence[int],
        Parameter(
            "task", list[str], "Changes of this task; repeat for several.", metavar="ID", convert=_to_ids
        ),
    ] = ()
    actor: Annotated[
        str, Parameter("actor", str, "Made by this person or token; the full name.", "", "NAME", longest=200)
    ] = ""
    command: Annotated[
        str,
        Parameter(
            "command",
            str,
            f"The command or route contains it; at most {SEARCH_LENGTH} characters.",
            "",
            "TEXT",
            longest=SEARCH_LENGTH,
        ),
    ] = ""
    since: Annotated[datetime | None, _time("since", "Made from this time on.")] = None
    until: Annotated[datetime | None, _time("until", "Made before this time.")] = None

    @property
    def equal(self) -> frozenset[str]:
        """The fields that are the same in all matching operations."""
        return frozenset({"actor"}) if self.actor else frozenset()


PERIODS = (
    ("due_after", "due_before"),
    ("created_after", "created_before"),
    ("updated_after", "updated_before"),
    ("completed_after", "completed_before"),
    ("since", "until"),
)
"""The filters that are the begin and the end of one period."""

Filter = TypeVar("Filter", TaskFilter, UserFilter, OperationFilter)

PAGING = (
    Parameter("limit", int, "The most records to return.", default=50, metavar="N"),
    Parameter("after", str | None, "Continue after the page that printed this cursor.", None, "CURSOR"),
)


@dataclass(frozen=True)
class ListQuery(Generic[Filter]):
    """Everything that a kind of list can be asked for."""

    filter: type[Filter]
    sorts: Mapping[str, str]
    """The sort keys, each with the field of a record that it sorts by. A list in one fixed order has none."""
    sort: str
    """The order of a list that names none."""
    more: tuple[Parameter, ...] = PAGING
    """The parameters that do not change which records there are."""
    prefix: str = ""
    """The beginning of the names of the filters' parameters."""

    @cached_property
    def filters(self) -> dict[str, Parameter]:
        """The fields of the filter that callers can give, each with its parameter."""
        hints = get_type_hints(self.filter, include_extras=True)
        found = {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
        return {name: replace(each, name=self.prefix + each.name) for name, each in found.items()}

    @cached_property
    def bound(self) -> list[Parameter]:
        """The parameters that decide which records there are and in which order: the filters and the sort."""
        if not self.sorts:
            return [*self.filters.values()]
        help = f"{', '.join(self.sorts)}; comma-separated, a '-' before a key sorts descending."
        sort = Parameter("sort", str, help, self.sort, "KEYS", choices=tuple(self.sorts), longest=200)
        return [*self.filters.values(), sort]

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters."""
        return [*self.bound, *self.more]


TASK_QUERY = ListQuery(
    TaskFilter,
    sorts={
        **{name: name for name in ("id", "title", "status", "priority")},
        **{name: f"{name}_at" for name in ("due", "created", "updated", "completed")},
        "user": "user",
    },
    sort="-created",
)
TASKS_TO_CHANGE = replace(TASK_QUERY, sorts={}, sort="id", more=())
"""Which tasks a change is about: the filters of their list."""

USER_QUERY = ListQuery(
    UserFilter,
    sorts={"id": "id", "email": "email", "name": "name", "created": "created_at", "updated": "updated_at"},
    sort="id",
    more=(*PAGING, Parameter("with_counts", bool, "Show the number of tasks of each user.", default=False)),
)

OPERATION_QUERY = ListQuery(OperationFilter, sorts={}, sort="-id")
"""Operations are always listed newest first."""
