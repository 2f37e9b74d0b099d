"""Which tasks and users, and in which order: one filter and one set of sort keys for all that list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import col

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.task import Task
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import (
    CLOSED_STATUSES,
    OPEN_STATUSES,
    TASK_FIELDS,
    USER_FIELDS,
    TaskPriority,
    TaskStatus,
)
from taskdb_cli.services.ordering import SortKey

SEARCH_LENGTH = 10_000
"""How many characters can be looked for; SQLite takes no pattern of more than 50 000 bytes."""

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

    def conditions(self, owners: Sequence[int]) -> list[ColumnElement[bool]]:
        """Return the WHERE clause, as conditions that must all hold; `owners` are the users' ids.

        Raises InvalidInput for a search text that no database can look for.
        """
        found = [*self._sets(owners), *self._ranges()]
        if self.no_due:
            found.append(col(Task.due_at).is_(None))
        if self.overdue_at is not None:
            found += [_status_in(OPEN_STATUSES), col(Task.due_at) < self.overdue_at]
        if self.search:
            found.append(_holds(self.search, Task.title, Task.description))
        return found

    def _sets(self, owners: Sequence[int]) -> Iterable[ColumnElement[bool]]:
        if self.users:
            yield col(Task.user_id) == owners[0] if len(owners) == 1 else col(Task.user_id).in_(owners)
        if self.statuses:
            yield _status_in(self.statuses)
        if self.priorities:
            wanted = sorted(self.priorities)
            yield col(Task.priority) == wanted[0] if len(wanted) == 1 else col(Task.priority).in_(wanted)

    def _ranges(self) -> Iterable[ColumnElement[bool]]:
        for column, before, after in (
            (Task.due_at, self.due_before, self.due_after),
            (Task.created_at, self.created_before, self.created_after),
            (Task.updated_at, self.updated_before, self.updated_after),
            (Task.completed_at, self.completed_before, self.completed_after),
        ):
            if before is not None:
                yield col(column) < before
            if after is not None:
                yield col(column) >= after


@dataclass(frozen=True)
class UserFilter:
    """Which users are meant; what is empty does not restrict."""

    active: bool | None = None
    search: str = ""
    id: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the WHERE clause, as conditions that must all hold; raise InvalidInput as for tasks."""
        found: list[ColumnElement[bool]] = []
        if self.id is not None:
            found.append(col(User.id) == self.id)
        if self.active is not None:
            found.append(col(User.is_active) == self.active)
        if self.search:
            found.append(_holds(self.search, User.email, User.name))
        return found


def _field(column: Any, name: str, *, nullable: bool = False) -> SortKey:
    return SortKey(column, lambda record: record[name], nullable)


def _text(column: Any, name: str) -> SortKey:
    return SortKey(func.lower(column, type_=column.type), lambda record: fold(record[name]))


TASK_SORT_KEYS = {
    "id": _field(col(Task.id), "id"),
    "title": _text(col(Task.title), "title"),
    "status": _field(col(Task.status), "status"),
    "priority": _field(col(Task.priority), "priority"),
    "due": _field(col(Task.due_at), "due_at", nullable=True),
    "created": _field(col(Task.created_at), "created_at"),
    "updated": _field(col(Task.updated_at), "updated_at"),
    "completed": _field(col(Task.completed_at), "completed_at", nullable=True),
    "user": _field(col(User.email), "user"),
}
"""What tasks can be sorted by. An address needs no folding: it is stored in lower case."""

USER_SORT_KEYS = {
    "id": _field(col(User.id), "id"),
    "email": _field(col(User.email), "email"),
    "name": _text(col(User.name), "name"),
    "created": _field(col(User.created_at), "created_at"),
    "updated": _field(col(User.updated_at), "updated_at"),
}
"""What users can be sorted by."""


def constant_keys(filter: TaskFilter) -> list[SortKey]:
    """Return the sort keys by which all matching tasks are equal."""
    single = {"user": filter.users, "status": filter.statuses, "priority": filter.priorities}
    return [TASK_SORT_KEYS[name] for name, wanted in single.items() if len(wanted) == 1]


def task_query(filter: TaskFilter, owners: Sequence[int]) -> Select[Any]:
    """Return the query of the matching tasks' records, in no order."""
    return task_records().where(*filter.conditions(owners))


@cache
def task_records() -> Select[Any]:
    """Return the query of all tasks' records."""
    # Made once, of tables: SQLAlchemy is quickest with the very columns that it has compiled before.
    tables = Task.metadata.tables
    tasks, users = tables["tasks"], tables["users"]
    fields = [users.c.email.label("user") if name == "user" else tasks.c[name] for name in TASK_FIELDS]
    return select(*fields).select_from(tasks.join(users, tasks.c.user_id == users.c.id))


def task_count_query(filter: TaskFilter, owners: Sequence[int]) -> Select[int]:
    """Return the query of how many tasks match."""
    return select(func.count()).select_from(Task).where(*filter.conditions(owners))


def user_query(filter: UserFilter, *, with_counts: bool = False) -> Select[Any]:
    """Return the query of the matching users' records, in no order, with their numbers of tasks if asked."""
    fields = [col(getattr(User, name)) for name in USER_FIELDS]
    if not with_counts:
        return select(*fields).where(*filter.conditions())
    counts = (
        select(col(Task.user_id).label("owner"), func.count().label("tasks"))
        .group_by(col(Task.user_id))
        .subquery()
    )
    joined = select(*fields, func.coalesce(counts.c.tasks, 0).label("tasks"))
    return joined.outerjoin(counts, counts.c.owner == User.id).where(*filter.conditions())


def user_count_query(filter: UserFilter) -> Select[int]:
    """Return the query of how many users match."""
    return select(func.count()).select_from(User).where(*filter.conditions())


def _status_in(statuses: Iterable[TaskStatus]) -> ColumnElement[bool]:
    # Written into the SQL, because a partial index answers only for statuses that the planner sees.
    wanted = sorted(statuses)
    if len(wanted) == 1:
        return col(Task.status) == bindparam(None, wanted[0], literal_execute=True)
    return col(Task.status).in_(bindparam(None, wanted, expanding=True, literal_execute=True))


def _holds(text: str, *columns: SQLCoreOperations[Any] | str | None) -> ColumnElement[bool]:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("the search text is not valid UTF-8", "no stored text holds such characters")
    if len(text) > SEARCH_LENGTH:
        raise InvalidInput(f"the search text has {len(text)} characters", f"at most {SEARCH_LENGTH} work")
    pattern = fold(text)
    return or_(*[func.lower(column).contains(pattern, autoescape=True) for column in columns])


def _statuses(word: str) -> frozenset[TaskStatus]:
    groups = {"open": OPEN_STATUSES, "closed": CLOSED_STATUSES}
    groups |= {status.value: frozenset({status}) for status in TaskStatus}
    try:
        return groups[word.lower()]
    except KeyError:
        raise InvalidInput(
            f"there is no status {word!r}", f"statuses are {', '.join(TaskStatus)}, open and closed"
        ) from None


def _priority(word: str) -> TaskPriority:
    try:
        return TaskPriority.from_word(word)
    except ValueError as exc:
        raise InvalidInput(f"there is no priority {word!r}", f"it {exc}") from None
