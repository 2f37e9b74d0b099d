"""Which tasks and users, and in which order: one filter and one set of sort keys for all that list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, lru_cache, partial
from operator import itemgetter
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Select, Text, bindparam, func, or_, select
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import col

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.fields import EMAIL_LENGTH, NAME_LENGTH, TITLE_LENGTH, is_one_line
from taskdb_cli.models.task import Task
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import (
    CLOSED_STATUSES,
    OPEN_STATUSES,
    TASK_FIELDS,
    USER_FIELDS,
    TaskPriority,
    TaskStatus,
)
from taskdb_cli.services.listing.pages import Query
from taskdb_cli.services.listing.sorting import SortKey
from taskdb_cli.text.escaping import brief

SEARCH_LENGTH = 200
"""How many characters can be looked for: what a search costs for each row grows with them."""

_FORMS = 128
"""How many forms of a filter are remembered with their statements; clients use few."""

_ESCAPE = "/"
_TIMES = (
    "overdue_at",
    *(
        f"{what}_{side}"
        for what in ("due", "created", "updated", "completed")
        for side in ("before", "after")
    ),
)

_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Return the text with A to Z in lower case, as `lower()` does on both engines here."""
    return text.translate(_ASCII_LOWER)


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are meant; what is empty does not restrict. Before is exclusive, after inclusive."""

    users: tuple[str, ...] = ()
    statuses: frozenset[TaskStatus] = frozenset()
    priorities: frozenset[TaskPriority] = frozenset()
    search: str = ""
    no_due: bool = False
    overdue_at: datetime | None = None
    due_before: datetime | None = None
    due_after: datetime | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    updated_before: datetime | None = None
    updated_after: datetime | None = None
    completed_before: datetime | None = None
    completed_after: datetime | None = None

    @classmethod
    def from_words(
        cls, given: Mapping[str, Any], *, now: datetime, parse_time: Callable[[str], datetime]
    ) -> Self:
        """Return the filter that is meant, at that time, by the options of a listing; None is not given.

        Raises InvalidInput for a word that is not known, and what `parse_time` raises.
        """
        times = {
            name: parse_time(text)
            for name, text in given.items()
            if name.endswith(("_before", "_after")) and text is not None
        }
        return cls(
            users=tuple(given.get("user") or ()),
            statuses=frozenset[TaskStatus]().union(*map(_statuses, given.get("status") or ())),
            priorities=frozenset(map(_priority, given.get("priority") or ())),
            search=given.get("search") or "",
            no_due=bool(given.get("no_due")),
            overdue_at=now if given.get("overdue") else None,
            **times,
        )

    def of(self, users: tuple[str, ...]) -> Self:
        """Return the filter of the same tasks, but only of these users."""
        return replace(self, users=users)

    def values(self, owners: Sequence[int]) -> dict[str, Any]:
        """Return the values of the parameters that `TaskForm.conditions` has; `owners` are the users' ids.

        Raises InvalidInput for a search text that no database can look for.
        """
        found = {name: value for name in _TIMES if (value := getattr(self, name)) is not None}
        if self.users:
            found["owners"] = owners[0] if len(owners) == 1 else list(owners)
        if self.priorities:
            wanted = sorted(self.priorities)
            found["priorities"] = wanted[0] if len(wanted) == 1 else wanted
        if self.search:
            found["search"] = _pattern(self.search)
        return found


class TaskForm(NamedTuple):
    """What the statement of a filter depends on, apart from the values of its parameters."""

    parameters: frozenset[str]
    several: frozenset[str]
    """Which of the parameters are lists."""
    statuses: frozenset[TaskStatus]
    no_due: bool

    @classmethod
    def of(cls, filter: TaskFilter, values: Mapping[str, Any]) -> Self:
        """Return the form of a filter whose parameters have these values."""
        several = frozenset(name for name in ("owners", "priorities") if isinstance(values.get(name), list))
        return cls(frozenset(values), several, filter.statuses, filter.no_due)

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the WHERE clause, as conditions that must all hold."""
        found = [*self._sets(), *self._ranges()]
        if self.no_due:
            found.append(col(Task.due_at).is_(None))
        if "overdue_at" in self.parameters:
            found += [_status_in(OPEN_STATUSES), col(Task.due_at) < _parameter("overdue_at", Task.due_at)]
        if "search" in self.parameters:
            found.append(_holds(Task.title, Task.description))
        return found

    def _sets(self) -> Iterable[ColumnElement[bool]]:
        for name, column in (("owners", Task.user_id), ("priorities", Task.priority)):
            if name in self.several:
                yield col(column).in_(bindparam(name, expanding=True))
            elif name in self.parameters:
                yield col(column) == _parameter(name, column)
        if self.statuses:
            yield _status_in(self.statuses)

    def _ranges(self) -> Iterable[ColumnElement[bool]]:
        for name, column in (
            ("due", Task.due_at),
            ("created", Task.created_at),
            ("updated", Task.updated_at),
            ("completed", Task.completed_at),
        ):
            if (before := f"{name}_before") in self.parameters:
                yield col(column) < _parameter(before, column)
            if (after := f"{name}_after") in self.parameters:
                yield col(column) >= _parameter(after, column)


@dataclass(frozen=True)
class UserFilter:
    """Which users are meant; what is empty does not restrict."""

    active: bool | None = None
    search: str = ""
    id: int | None = None

    def values(self) -> dict[str, Any]:
        """Return the values of the parameters of its statement; raise InvalidInput as for tasks."""
        found: dict[str, Any] = {"id": self.id, "active": self.active}
        if self.search:
            found["search"] = _pattern(self.search)
        return {name: value for name, value in found.items() if value is not None}


def _id(column: Any) -> SortKey:
    return SortKey(column, itemgetter("id"), lambda value: type(value) is int and 1 <= value <= MAX_ID)


def _word(column: Any, name: str, words: Collection[Any]) -> SortKey:
    return SortKey(column, itemgetter(name), lambda value: type(value) in (int, str) and value in words)


def _moment(column: Any, name: str, *, nullable: bool = False) -> SortKey:
    return SortKey(
        column,
        itemgetter(name),
        lambda value: isinstance(value, datetime) and value.tzinfo is not None,
        nullable,
    )


def _text(column: Any, name: str, longest: int) -> SortKey:
    return SortKey(column, itemgetter(name), partial(_is_line, longest))


def _folded(column: Any, name: str, longest: int) -> SortKey:
    lower = func.lower(column, type_=column.type)
    return SortKey(lower, lambda record: fold(record[name]), partial(_is_line, longest))


def _is_line(longest: int, value: object) -> bool:
    return isinstance(value, str) and len(value) <= longest and is_one_line(value)


TASK_SORT_KEYS = {
    "id": _id(col(Task.id)),
    "title": _folded(col(Task.title), "title", TITLE_LENGTH),
    "status": _word(col(Task.status), "status", {status.value for status in TaskStatus}),
    "priority": _word(col(Task.priority), "priority", {priority.value for priority in TaskPriority}),
    "due": _moment(col(Task.due_at), "due_at", nullable=True),
    "created": _moment(col(Task.created_at), "created_at"),
    "updated": _moment(col(Task.updated_at), "updated_at"),
    "completed": _moment(col(Task.completed_at), "completed_at", nullable=True),
    "user": _text(col(User.email), "user", EMAIL_LENGTH),
}
"""What tasks can be sorted by. An address needs no folding: it is stored in lower case."""

USER_SORT_KEYS = {
    "id": _id(col(User.id)),
    "email": _text(col(User.email), "email", EMAIL_LENGTH),
    "name": _folded(col(User.name), "name", NAME_LENGTH),
    "created": _moment(col(User.created_at), "created_at"),
    "updated": _moment(col(User.updated_at), "updated_at"),
}
"""What users can be sorted by."""


def constant_keys(filter: TaskFilter) -> list[SortKey]:
    """Return the sort keys by which all matching tasks are equal."""
    single = {"user": filter.users, "status": filter.statuses, "priority": filter.priorities}
    return [TASK_SORT_KEYS[name] for name, wanted in single.items() if len(wanted) == 1]


def task_query(filter: TaskFilter, owners: Sequence[int]) -> Query:
    """Return the query of the matching tasks' records, in no order."""
    values = filter.values(owners)
    return Query(_tasks_of(TaskForm.of(filter, values)), values)


@lru_cache(_FORMS)
def _tasks_of(form: TaskForm) -> Select[Any]:
    return task_records().where(*form.conditions())


@cache
def task_records() -> Select[Any]:
    """Return the query of all tasks' records."""
    # Made once, of tables: SQLAlchemy is quickest with the very columns that it has compiled before.
    tables = Task.metadata.tables
    tasks, users = tables["tasks"], tables["users"]
    fields = [users.c.email.label("user") if name == "user" else tasks.c[name] for name in TASK_FIELDS]
    return select(*fields).select_from(tasks.join(users, tasks.c.user_id == users.c.id))


def task_count_query(filter: TaskFilter, owners: Sequence[int]) -> Query:
    """Return the query of how many tasks match."""
    values = filter.values(owners)
    conditions = TaskForm.of(filter, values).conditions()
    return Query(select(func.count()).select_from(Task).where(*conditions), values)


def user_query(filter: UserFilter, *, with_counts: bool = False) -> Query:
    """Return the query of the matching users' records, in no order, with their numbers of tasks if asked."""
    values = filter.values()
    return Query(_users_of(frozenset(values), with_counts=with_counts), values)


@lru_cache(_FORMS)
def _users_of(parameters: frozenset[str], *, with_counts: bool) -> Select[Any]:
    conditions = _user_conditions(parameters)
    fields = [col(getattr(User, name)) for name in USER_FIELDS]
    if not with_counts:
        return select(*fields).where(*conditions)
    counts = (
        select(col(Task.user_id).label("owner"), func.count().label("tasks"))
        .group_by(col(Task.user_id))
        .subquery()
    )
    joined = select(*fields, func.coalesce(counts.c.tasks, 0).label("tasks"))
    return joined.outerjoin(counts, counts.c.owner == User.id).where(*conditions)


def user_count_query(filter: UserFilter) -> Query:
    """Return the query of how many users match."""
    values = filter.values()
    conditions = _user_conditions(frozenset(values))
    return Query(select(func.count()).select_from(User).where(*conditions), values)


def _user_conditions(parameters: frozenset[str]) -> list[ColumnElement[bool]]:
    columns = {"id": User.id, "active": User.is_active}
    found = [
        col(column) == _parameter(name, column) for name, column in columns.items() if name in parameters
    ]
    return [*found, _holds(User.email, User.name)] if "search" in parameters else found


def _parameter(name: str, column: Any) -> ColumnElement[Any]:
    return bindparam(name, type_=column.type)


def _status_in(statuses: Iterable[TaskStatus]) -> ColumnElement[bool]:
    # Written into the SQL, because a partial index answers only for statuses that the planner sees.
    wanted = sorted(statuses)
    if len(wanted) == 1:
        return col(Task.status) == bindparam(None, wanted[0], literal_execute=True)
    return col(Task.status).in_(bindparam(None, wanted, expanding=True, literal_execute=True))


def _holds(*columns: SQLCoreOperations[Any] | str | None) -> ColumnElement[bool]:
    pattern = bindparam("search", type_=Text)
    return or_(*[func.lower(column).contains(pattern, escape=_ESCAPE) for column in columns])


def _pattern(text: str) -> str:
    if len(text) > SEARCH_LENGTH:
        raise InvalidInput(f"the search text has {len(text)} characters", f"at most {SEARCH_LENGTH} work")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("the search text is not valid UTF-8", "no stored text holds such characters")
    pattern = fold(text)
    for character in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(character, _ESCAPE + character)
    return pattern


def _statuses(word: str) -> frozenset[TaskStatus]:
    groups = {"open": OPEN_STATUSES, "closed": CLOSED_STATUSES}
    groups |= {status.value: frozenset({status}) for status in TaskStatus}
    try:
        return groups[word.lower()]
    except KeyError:
        raise InvalidInput(
            f"there is no status {brief(word)!r}", f"statuses are {', '.join(TaskStatus)}, open and closed"
        ) from None


def _priority(word: str) -> TaskPriority:
    try:
        return TaskPriority.from_word(word)
    except ValueError as exc:
        raise InvalidInput(f"there is no priority {brief(word)!r}", f"it {exc}") from None
