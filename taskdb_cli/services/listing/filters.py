"""The statements of lists: matching records, how many there are, and what they can be sorted by."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, bindparam, false, func, literal, or_, select
from sqlmodel import Session

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.search_index import PATIENCE, LowerWithoutIndex
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.fields import TITLE_LENGTH, is_one_line
from taskdb_cli.models.history import CHANGES, OPERATIONS
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import (
    OPEN_STATUSES,
    OPERATION_FIELDS,
    TASK_FIELDS,
    USER_FIELDS,
    TaskPriority,
    TaskStatus,
)
from taskdb_cli.services.listing.pages import SortKey
from taskdb_cli.services.listing.query import (
    SEARCH_LENGTH,
    TASK_QUERY,
    USER_QUERY,
    OperationFilter,
    TaskFilter,
    UserFilter,
)

# Statements are made of tables: with the classes of the ORM, SQLAlchemy takes longer for each of them.
_tasks, _users, _operations, _changes = TASKS.c, USERS.c, OPERATIONS.c, CHANGES.c
_ESCAPE = "/"
# A trigram of a shorter word is in half of all tasks: to look them up takes longer than to read all.
_WORD = re.compile(r"[^\W_]{3}")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Return the text with A to Z in lower case, as `lower()` does on both engines here."""
    return text.translate(_ASCII_LOWER)


def _accepts(field: str, value: Any) -> bool:
    """Return whether a record can have that value of a cursor in that field."""
    if field in ("title", "name", "email", "user"):
        return isinstance(value, str) and len(value) <= TITLE_LENGTH and is_one_line(value)
    if field == "status":
        return value in tuple(TaskStatus)
    if field in ("id", "priority"):
        return type(value) is int and 1 <= value <= (MAX_ID if field == "id" else max(TaskPriority))
    return isinstance(value, datetime)


def _sort_key(name: str, field: str, column: Column[Any]) -> SortKey:
    accepts = partial(_accepts, field)
    if field in ("title", "name"):
        lower = func.lower(column, type_=column.type)
        return SortKey(name, lower, lambda record: fold(record[field]), accepts)
    return SortKey(name, column, itemgetter(field), accepts, bool(column.nullable))


TASK_SORT_KEYS = {
    name: _sort_key(name, field, _users.email if field == "user" else _tasks[field])
    for name, field in TASK_QUERY.sorts.items()
}
"""What tasks can be sorted by. An address needs no folding: it is stored in lower case."""

USER_SORT_KEYS = {name: _sort_key(name, field, _users[field]) for name, field in USER_QUERY.sorts.items()}
"""What users can be sorted by."""

OPERATION_SORT_KEYS = {"id": _sort_key("id", "id", _operations.id)}

SORT_KEYS: dict[type[TaskFilter | UserFilter | OperationFilter], dict[str, SortKey]] = {
    TaskFilter: TASK_SORT_KEYS,
    UserFilter: USER_SORT_KEYS,
    OperationFilter: OPERATION_SORT_KEYS,
}
"""What the records of a filter can be sorted by."""


TASK_RECORDS = select(
    *[_users.email.label("user") if name == "user" else _tasks[name] for name in TASK_FIELDS]
).join_from(TASKS, USERS)
"""The query of the records of all tasks."""


def task_query(
    filter: TaskFilter, owners: Sequence[int], session: Session | None = None, *, whole: bool = False
) -> Select[Any]:
    """Return the query of the matching tasks' records, in no order; `owners` are the ids of its users.

    For the session in which it is to run, the query uses the search index, if that is on and helps to find
    a page of them, or the `whole`.
    """
    return TASK_RECORDS.where(*task_conditions(filter, owners, session, whole=whole))


def task_page_queries(
    filter: TaskFilter, owners: Sequence[int], session: Session, *, whole: bool = False
) -> tuple[Select[Any], Callable[[], Select[Any]] | None]:
    """Return the query of a page of the matching tasks' records, and a function if it may raise NothingSoon.

    The function returns another query of the same records, which may use the search index.
    """
    by_index = partial(task_query, filter, owners, session, whole=whole)
    if (
        filter.search
        and not whole
        and (steps := session.info[Backend].search_patience(session, filter.search))
    ):
        return task_query(filter, owners).execution_options(**{PATIENCE: steps}), by_index
    return by_index(), None


def task_count_query(
    filter: TaskFilter, owners: Sequence[int], session: Session, most: int | None = None
) -> Select[Any]:
    """Return the query of how many tasks match, at most so many; the session is as for `task_query`."""
    return _count(TASKS, task_conditions(filter, owners, session, whole=most is None), most)


def user_query(filter: UserFilter, *, with_counts: bool) -> Select[Any]:
    """Return the query of the matching users' records, in no order, with their numbers of tasks if asked."""
    columns: list[ColumnElement[Any]] = [_users[name] for name in USER_FIELDS]
    if with_counts:
        count = select(func.count()).where(_tasks.user_id == _users.id)
        columns.append(count.scalar_subquery().label("tasks"))
    return select(*columns).where(*_user_conditions(filter))


def user_count_query(filter: UserFilter, most: int | None) -> Select[Any]:
    """Return the query of how many users match, at most so many."""
    return _count(USERS, _user_conditions(filter), most)


def operation_query(filter: OperationFilter, users: Collection[int]) -> Select[Any]:
    """Return the query of the matching operations' records, in no order; `users` are the ids of its users."""
    named = {"rows": "rows_changed"}
    columns = [_operations[named.get(name, name)].label(name) for name in OPERATION_FIELDS]
    return select(*columns).where(*_operation_conditions(filter, users))


def operation_count_query(filter: OperationFilter, users: Collection[int], most: int | None) -> Select[Any]:
    """Return the query of how many operations match, at most so many."""
    return _count(OPERATIONS, _operation_conditions(filter, users), most)


def _count(table: Table, conditions: Iterable[ColumnElement[bool]], most: int | None) -> Select[Any]:
    matching = select(literal(1)).select_from(table).where(*conditions)
    if most is None:
        return matching.with_only_columns(func.count(), maintain_column_froms=True)
    return select(func.count()).select_from(matching.limit(most).subquery())


def task_conditions(
    filter: TaskFilter, owners: Collection[int], session: Session | None, *, whole: bool
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that must all hold; the session and `whole` are as for `task_query`.

    Raises InvalidInput for a search text that cannot match.
    """
    indexed = None
    if filter.search:
        holds = _contains(pattern := _pattern(filter.search), _tasks.title, _tasks.description)
        if session is not None and owners and _WORD.search(pattern):
            hidden = session.info[Backend].hides_search_index(session.connection(), pattern, owners)
            holds = holds.is_(True) if hidden else holds
        yield holds
        if session is not None:
            indexed = session.info[Backend].search_condition(session, filter.search, owners, whole=whole)
    if indexed is not None:
        yield indexed
    elif owners:
        yield _is_one_of(_tasks.user_id, owners)
    if filter.statuses:
        yield _has_status(filter.statuses)
    if filter.priorities:
        yield _is_one_of(_tasks.priority, filter.priorities)
    if filter.overdue_at is not None:
        yield _has_status(OPEN_STATUSES) & (_tasks.due_at < filter.overdue_at)
    if filter.no_due:
        yield _tasks.due_at.is_(None)
    for name in ("due", "created", "updated", "completed"):
        if (moment := getattr(filter, f"{name}_before")) is not None:
            yield _tasks[f"{name}_at"] < moment
        if (moment := getattr(filter, f"{name}_after")) is not None:
            yield _tasks[f"{name}_at"] >= moment


def _user_conditions(filter: UserFilter) -> Iterator[ColumnElement[bool]]:
    if filter.active is not None:
        yield _users.is_active == filter.active
    if filter.search:
        yield _contains(_pattern(filter.search), _users.email, _users.name)
    if filter.id is not None:
        yield _users.id == filter.id


def _operation_conditions(filter: OperationFilter, users: Collection[int]) -> Iterator[ColumnElement[bool]]:
    changed = select(_changes.operation_id)
    if filter.users:
        # An OR would keep the engines from both indexes.
        owned, given = (_is_one_of(column, users) for column in (_changes.owner_id, _changes.new_user_id))
        yield _operations.id.in_(changed.where(owned).union(changed.where(given)))
    if filter.tasks:
        tasks = [id for id in filter.tasks if id <= MAX_ID]
        row = _changes.row_id.in_(tasks)
        yield _operations.id.in_(changed.where(_changes.table_name == "tasks", row))
    if filter.actor:
        # No engine takes every text as a value.
        yield _operations.actor == filter.actor if is_one_line(filter.actor) else false()
    if filter.command:
        pattern = _pattern(filter.command, called="text that a command is to hold")
        yield _contains(pattern, _operations.command)
    if filter.since is not None:
        yield _operations.at >= filter.since
    if filter.until is not None:
        yield _operations.at < filter.until


def _is_one_of(column: Column[Any], values: Collection[Any]) -> ColumnElement[bool]:
    wanted = sorted(values)
    return column == wanted[0] if len(wanted) == 1 else column.in_(wanted)


def _has_status(statuses: Collection[TaskStatus]) -> ColumnElement[bool]:
    # A partial index answers only for statuses that the planner sees, so they are written into the SQL.
    wanted = sorted(statuses)
    if len(wanted) == 1:
        return _tasks.status == bindparam(None, wanted[0], literal_execute=True)
    return _tasks.status.in_(bindparam(None, wanted, expanding=True, literal_execute=True))


def _pattern(text: str, called: str = "search text") -> str:
    """Return the pattern of what contains the text; raise InvalidInput for one that cannot match."""
    if len(text) > SEARCH_LENGTH:
        too_long = f"the {called} has {len(text)} characters"
        raise InvalidInput(too_long, f"at most {SEARCH_LENGTH} are allowed")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"the {called} is not valid UTF-8", "no stored text contains such characters")
    pattern = fold(text)
    for character in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(character, _ESCAPE + character)
    return pattern


def _contains(pattern: str, *columns: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a text; A to Z match in either case."""
    lower = func.lower if _WORD.search(pattern) else LowerWithoutIndex
    return or_(*[lower(column).contains(pattern, escape=_ESCAPE) for column in columns])
