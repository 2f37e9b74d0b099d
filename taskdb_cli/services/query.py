"""Which tasks, and in which order: one filter and one sort for every command that lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, UnaryExpression, func, select
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import Session, col

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.task import Task
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskPriority, TaskStatus
from taskdb_cli.services.user import get as get_user


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are meant; what is empty does not restrict."""

    users: tuple[str, ...] = ()
    statuses: frozenset[TaskStatus] = frozenset()
    priorities: frozenset[TaskPriority] = frozenset()

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """Return the WHERE clause, as conditions that must all hold; raise UserNotFound."""
        found: list[ColumnElement[bool]] = []
        if self.users:
            found.append(_one_of(Task.user_id, sorted({get_user(session, ref).id for ref in self.users})))
        if self.statuses:
            found.append(_one_of(Task.status, sorted(self.statuses)))
        if self.priorities:
            found.append(_one_of(Task.priority, sorted(self.priorities)))
        return found


@dataclass(frozen=True)
class SortKey:
    """One key of an order."""

    name: str
    descending: bool = False


# Texts sort by code point with ASCII case folded, which is what lower() does on both engines here.
_SORT_EXPRESSIONS: dict[str, SQLCoreOperations[Any]] = {
    "id": col(Task.id),
    "title": func.lower(col(Task.title)),
    "status": col(Task.status),
    "priority": col(Task.priority),
    "due": col(Task.due_at),
    "created": col(Task.created_at),
    "updated": col(Task.updated_at),
    "completed": col(Task.completed_at),
    "user": func.lower(col(User.email)),
}


@dataclass(frozen=True)
class TaskSort:
    """An order of tasks; `id` breaks ties, and what is absent comes last either way."""

    keys: tuple[SortKey, ...]

    @classmethod
    def parse(cls, text: str) -> TaskSort:
        """Read comma-separated keys, each with a leading `-` for descending.

        Raises InvalidInput that names the valid keys.
        """
        keys = [
            SortKey(word.strip().removeprefix("-"), word.strip().startswith("-")) for word in text.split(",")
        ]
        names = [key.name for key in keys]
        for name in names:
            if name not in _SORT_EXPRESSIONS:
                raise InvalidInput(
                    f"cannot sort by {name or 'nothing'}", f"sort keys are {', '.join(_SORT_EXPRESSIONS)}"
                )
            if names.count(name) > 1:
                raise InvalidInput(f"{name} is given twice as a sort key", "name each key once")
        return cls(tuple(keys))

    def order(self) -> list[UnaryExpression[Any]]:
        """Return the ORDER BY clause."""
        keys = self.keys if any(key.name == "id" for key in self.keys) else (*self.keys, SortKey("id"))
        return [_directed(key) for key in keys]


def task_rows(session: Session, filter: TaskFilter, sort: TaskSort) -> Select[Any]:
    """Return the query of the matching tasks' records, in order; raise UserNotFound."""
    fields = [
        col(User.email).label("user") if name == "user" else col(getattr(Task, name)) for name in TASK_FIELDS
    ]
    joined = select(*fields).join_from(Task, User, col(Task.user_id) == col(User.id))
    return joined.where(*filter.conditions(session)).order_by(*sort.order())


def _directed(key: SortKey) -> UnaryExpression[Any]:
    expression = _SORT_EXPRESSIONS[key.name]
    return (expression.desc() if key.descending else expression.asc()).nulls_last()


def _one_of(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    wanted: Sequence[Any] = list(values)
    return col(column) == wanted[0] if len(wanted) == 1 else col(column).in_(wanted)
