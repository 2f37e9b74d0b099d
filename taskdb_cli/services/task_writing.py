"""Write tasks, each time by one statement, which returns the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, delete, insert, literal, null, or_, select, update
from sqlalchemy.sql import Executable
from sqlmodel import Session

from taskdb_cli.models.task import Task
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskStatus
from taskdb_cli.services.listing.filters import task_records
from taskdb_cli.services.listing.pages import Record
from taskdb_cli.services.user import UserKey

_tasks, _users = (Task.metadata.tables[name] for name in ("tasks", "users"))


def insert_task(session: Session, owner: UserKey, values: Mapping[str, Any]) -> Record | None:
    """Insert a task with a value for each column; return None if there is no such user."""
    given = [literal(value, _tasks.c[name].type) for name, value in values.items()]
    row = select(_users.c.id, *given).where(_users.c[owner.column] == owner.value)
    email = literal(owner.value, _users.c.email.type) if owner.column == "email" else null()
    statement = insert(_tasks).from_select(["user_id", *values], row).returning(*_returned(email))
    return next(iter(_run(session, statement).values()), None)


def update_tasks(
    session: Session, ids: Sequence[int], changes: Mapping[str, Any], *, now: datetime, version: int | None
) -> dict[int, Record]:
    """Change those tasks in which one of the values differs, and which are at the version if one is given.

    Returns the records of the changed ones by id.
    """
    if not changes or not ids:
        return {}
    differs = {name: _tasks.c[name].is_distinct_from(value) for name, value in changes.items()}
    values: dict[str, Any] = {**changes, "version": _tasks.c.version + 1, "updated_at": now}
    if "status" in changes:
        completed = literal(now if changes["status"] is TaskStatus.DONE else None, _tasks.c.completed_at.type)
        values["completed_at"] = case((differs["status"], completed), else_=_tasks.c.completed_at)
    conditions = [_wanted(ids), or_(*differs.values())]
    if version is not None:
        conditions.append(_tasks.c.version == version)
    return _run(session, update(_tasks).where(*conditions).values(values).returning(*_returned(_owner())))


def delete_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    """Delete tasks; return by id what they were."""
    return _run(session, delete(_tasks).where(_wanted(ids)).returning(*_returned(_owner())))


def lock_tasks(session: Session, ids: Sequence[int]) -> None:
    """Lock tasks in the order of their ids, as every writer of several does: two of them cannot deadlock."""
    session.execute(select(_tasks.c.id).where(_wanted(ids)).order_by(_tasks.c.id).with_for_update())


def read_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    """Return the records of tasks by id."""
    return _run(session, task_records().where(_wanted(ids))) if ids else {}


def _run(session: Session, statement: Executable) -> dict[int, Record]:
    records = (dict(zip(TASK_FIELDS, row, strict=True)) for row in session.execute(statement).all())
    return {record["id"]: _with_user(session, record) for record in records}


def _with_user(session: Session, record: dict[str, Any]) -> Record:
    # Not known of an owner named by id; nor of one whom the task got from a transaction that the
    # statement waited for, if the owner's row is newer than the statement.
    if record["user"] is None:
        query = select(_users.c.email).where(_users.c.id == record["user_id"])
        record["user"] = session.scalar(query)
    return record


def _wanted(ids: Sequence[int]) -> ColumnElement[bool]:
    return _tasks.c.id.in_(ids)


def _owner() -> ColumnElement[Any]:
    owner = _users.c.id == _tasks.c.user_id
    return select(_users.c.email).where(owner).correlate(_tasks).scalar_subquery()


def _returned(email: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [email.label("user") if field == "user" else _tasks.c[field] for field in TASK_FIELDS]
