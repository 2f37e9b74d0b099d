"""Write tasks, each time by one statement, which returns the records.

The statements are made once: making one takes SQLAlchemy longer than running it. Those for one task, by
far the most frequent, have no list among their values, so that they go to the driver at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel import Session

from taskdb_cli.database.prepared import run
from taskdb_cli.models.task import Task
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskStatus
from taskdb_cli.services.listing.filters import task_records
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.services.user import UserKey

_tasks, _users = (Task.metadata.tables[name] for name in ("tasks", "users"))


def insert_task(session: Session, owner: UserKey, values: Mapping[str, Any]) -> Record | None:
    """Insert a task with a value for each column; return None if there is no such user."""
    email = owner.value if owner.column == "email" else None
    found = _run(session, _insert(owner.column), {"owner": owner.value, "email": email, **values})
    return next(iter(found.values()), None)


def update_tasks(
    session: Session, ids: Sequence[int], changes: Mapping[str, Any], *, now: datetime, version: int | None
) -> dict[int, Record]:
    """Change those tasks in which one of the values differs, and which are at the version if one is given.

    Returns the records of the changed ones by id.
    """
    if not changes or not ids:
        return {}
    values = {"now": now, **_named(ids), **{f"new_{name}": value for name, value in changes.items()}}
    if "status" in changes:
        values["completed"] = now if changes["status"] is TaskStatus.DONE else None
    if version is not None:
        values["expected"] = version
    statement = _update(tuple(changes), versioned=version is not None, alone=len(ids) == 1)
    return _run(session, statement, values)


def delete_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    """Delete tasks; return by id what they were."""
    return _run(session, _delete(alone=len(ids) == 1), _named(ids))


def lock_tasks(session: Session, ids: Sequence[int]) -> None:
    """Lock tasks in the order of their ids, as every writer of several does: two of them cannot deadlock."""
    run(session, _lock(alone=len(ids) == 1), _named(ids))


def read_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    """Return the records of tasks by id."""
    return _run(session, _select(alone=len(ids) == 1), _named(ids)) if ids else {}


def _run(
    session: Session, statement: Select[Any] | UpdateBase, values: Mapping[str, Any]
) -> dict[int, Record]:
    rows = run(session, statement, values)
    records = (dict(zip(TASK_FIELDS, row, strict=True)) for row in rows)
    return {record["id"]: _with_user(session, record) for record in records}


def _named(ids: Sequence[int]) -> dict[str, Any]:
    return {"ids": ids[0] if len(ids) == 1 else ids}


def _with_user(session: Session, record: dict[str, Any]) -> Record:
    # Not known of an owner named by id; nor of one whom the task got from a transaction that the
    # statement waited for, if the owner's row is newer than the statement.
    if record["user"] is None:
        query = select(_users.c.email).where(_users.c.id == record["user_id"])
        record["user"] = session.connection().scalar(query)
    return record


@cache
def _insert(user_column: str) -> UpdateBase:
    given = [column for column in _tasks.c if column.name not in ("id", "user_id")]
    values = [bindparam(column.name, type_=column.type) for column in given]
    row = select(_users.c.id, *values).where(_users.c[user_column] == bindparam("owner"))
    names = ["user_id", *(column.name for column in given)]
    email = bindparam("email", type_=_users.c.email.type)
    return insert(_tasks).from_select(names, row).returning(*_returned(email))


@cache
def _update(fields: tuple[str, ...], *, versioned: bool, alone: bool) -> UpdateBase:
    new = {field: bindparam(f"new_{field}", type_=_tasks.c[field].type) for field in fields}
    differs = {field: _tasks.c[field].is_distinct_from(value) for field, value in new.items()}
    values: dict[str, Any] = {**new, "version": _tasks.c.version + 1, "updated_at": bindparam("now")}
    if "status" in fields:
        completed = bindparam("completed", type_=_tasks.c.completed_at.type)
        values["completed_at"] = case((differs["status"], completed), else_=_tasks.c.completed_at)
    conditions = [_wanted(alone=alone), or_(*differs.values())]
    if versioned:
        conditions.append(_tasks.c.version == bindparam("expected"))
    return update(_tasks).where(*conditions).values(values).returning(*_returned(_owner()))


@cache
def _delete(*, alone: bool) -> UpdateBase:
    return delete(_tasks).where(_wanted(alone=alone)).returning(*_returned(_owner()))


@cache
def _lock(*, alone: bool) -> Select[Any]:
    return select(_tasks.c.id).where(_wanted(alone=alone)).order_by(_tasks.c.id).with_for_update()


@cache
def _select(*, alone: bool) -> Select[Any]:
    return task_records().where(_wanted(alone=alone))


def _wanted(*, alone: bool) -> ColumnElement[bool]:
    id = _tasks.c.id
    return id == bindparam("ids", type_=id.type) if alone else id.in_(bindparam("ids", expanding=True))


def _owner() -> ColumnElement[Any]:
    owner = _users.c.id == _tasks.c.user_id
    return select(_users.c.email).where(owner).correlate(_tasks).scalar_subquery()


def _returned(email: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [email.label("user") if field == "user" else _tasks.c[field] for field in TASK_FIELDS]
