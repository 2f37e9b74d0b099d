"""Tasks from files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, case, func, insert, literal, select
from sqlmodel import Session

from taskdb_cli.models.fields import normalize_email
from taskdb_cli.models.task import Task, TaskCreate
from taskdb_cli.models.types import Flag, SmallNumber, text_type, timestamp_type
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TASK_FIELDS, Existing, FileFormat, TaskPriority, TaskStatus
from taskdb_cli.services import user as users
from taskdb_cli.transfer.batch import Batch, Outcome, ParseTime, Problem, Row, check_record, read_batch
from taskdb_cli.transfer.files import Shape, Source
from taskdb_cli.transfer.staging import (
    change,
    count,
    fetch,
    repeated,
    staged,
    staging_table,
    update_differing,
)
from taskdb_cli.transfer.taskwarrior import to_task

_TIMES = {"due_at": True, "completed_at": False, "created_at": False, "updated_at": False}
_NOT_TAKEN_OVER = ("id", "user_id", "version")
_CACHED_ADDRESSES = 10_000

_staging = staging_table(
    Column("email", text_type()),
    Column("external_id", text_type()),
    Column("title", text_type()),
    Column("description_given", Flag),
    Column("description", text_type()),
    Column("status", text_type()),
    Column("priority", SmallNumber),
    Column("due_given", Flag),
    Column("due_at", timestamp_type()),
    Column("completed_at", timestamp_type()),
    Column("created_at", timestamp_type()),
    Column("updated_at", timestamp_type()),
)
_new = _staging.c
_tasks: Table = Task.__table__  # type: ignore[attr-defined]
_task = _tasks.c
_user = User.__table__.c  # type: ignore[attr-defined]
_same_owner = _user.email == _new.email
_same_task = (_task.user_id == _user.id) & (_task.external_id == _new.external_id)


def read_tasks(
    source: Source,
    *,
    parse_time: ParseTime,
    owned: bool,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read and check the tasks of a file; with `owned` their users are known, and the file's ignored."""
    shape = Shape(TASK_FIELDS, ("title",) if owned else ("user", "title"))
    address = lru_cache(_CACHED_ADDRESSES)(normalize_email)

    def to_row(number: int, values: dict[str, Any]) -> Row:
        if source.format is FileFormat.TASKWARRIOR:
            values = to_task(values)
        user = values.pop("user", None)
        for name in _NOT_TAKEN_OVER:
            values.pop(name, None)
        return number, None if owned else _owner(user, address), *_row(values, parse_time)

    return read_batch(source, shape, to_row, report=report, progress=progress)


def import_tasks(
    session: Session, batch: Batch, *, owner: str | None, existing: Existing, now: datetime
) -> Outcome:
    """Bring a batch in: make the new tasks, and update or skip those that their users have already.

    A user has a task already if one has the same external id. A field that a record leaves out keeps
    its value then. Raises UserNotFound for `owner`, and InvalidRecords, having reported each, when a
    record is invalid, names an unknown user, or repeats the external id of another.
    """
    email = users.get(session, owner).email if owner is not None else None
    rows = ((number, email or named, *rest) for number, named, *rest in batch.rows())
    with staged(session, _staging, rows):
        # Nobody can give these users a task, or delete them, until this transaction ends.
        emails = select(_new.email)
        count(session, select(_user.id).where(_user.email.in_(emails)).order_by(_user.id).with_for_update())
        batch.require_all_valid(_refuse_unfit(session, batch))
        updated = 0
        if existing is Existing.UPDATE:
            updated = update_differing(session, _tasks, _same_owner & _same_task, _contents(now), now=now)
        created = _insert(session, now)
        unnamed = count(session, select(_new.number).where(_new.external_id.is_(None)))
    return Outcome(created, updated, batch.valid - created - updated, without_external_id=unnamed)


def _owner(value: object, address: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        raise ValueError("user is missing: it is the e-mail address of the owner, whom --user names for all")  # noqa: TRY004
    try:
        return address(value)
    except ValueError as exc:
        raise ValueError(f"user {exc}") from exc


def _row(values: dict[str, Any], parse_time: ParseTime) -> Row:
    priority = values.get("priority")
    if priority is not None and not isinstance(priority, str):
        # The schema would take the number that is stored, which is no concern of a file.
        values["priority"] = str(priority)
    task = check_record(TaskCreate, values, _TIMES, parse_time)
    given = task.model_fields_set
    return (
        task.external_id,
        task.title,
        "description" in values,
        task.description,
        task.status.value if "status" in given else None,
        int(task.priority) if "priority" in given else None,
        "due_at" in values,
        task.due_at,
        task.completed_at,
        task.created_at,
        task.updated_at,
    )


def _refuse_unfit(session: Session, batch: Batch) -> int:
    refused = 0
    strangers = select(_new.number, _new.email).outerjoin_from(_staging, User, _same_owner)
    with fetch(session, strangers.where(_user.id.is_(None)).order_by(_new.number)) as rows:
        for number, email in rows:
            batch.report(number, f"user {email} does not exist")
            refused += 1
    known = _new.email.in_(select(_user.email))
    with repeated(session, _staging, _new.email, _new.external_id, among=known) as rows:
        for number, first in rows:
            batch.report(number, f"external_id is that of {batch.place(first)} too")
            refused += 1
    return refused


def _contents(now: datetime) -> dict[str, ColumnElement[Any]]:
    status = func.coalesce(_new.status, _task.status)
    completed = func.coalesce(_new.completed_at, _task.completed_at, literal(now, timestamp_type()))
    return {
        "title": _new.title,
        "description": case((_new.description_given, _new.description), else_=_task.description),
        "status": status,
        "priority": func.coalesce(_new.priority, _task.priority),
        "due_at": case((_new.due_given, _new.due_at), else_=_task.due_at),
        "completed_at": case((status == TaskStatus.DONE.value, completed)),
    }


def _insert(session: Session, now: datetime) -> int:
    moment = literal(now, timestamp_type())
    status = func.coalesce(_new.status, TaskStatus.TODO.value)
    fields: dict[str, ColumnElement[Any]] = {
        "user_id": _user.id,
        "external_id": _new.external_id,
        "title": _new.title,
        "description": _new.description,
        "status": status,
        "priority": func.coalesce(_new.priority, int(TaskPriority.MEDIUM)),
        "due_at": _new.due_at,
        "completed_at": case((status == TaskStatus.DONE.value, func.coalesce(_new.completed_at, moment))),
        "version": literal(1),
        "created_at": func.coalesce(_new.created_at, moment),
        "updated_at": func.coalesce(_new.updated_at, moment),
    }
    there = select(_task.id).where(_same_task).correlate(_staging, User).exists()
    rows: Select[Any] = select(*fields.values()).join_from(_staging, User, _same_owner)
    rows = rows.where(~there).order_by(_new.number)
    return change(session, insert(Task).from_select(list(fields), rows))
