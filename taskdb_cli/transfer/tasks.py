"""Tasks from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Table, case, func, literal, select
from sqlmodel import Session

from taskdb_cli.models.fields import normalize_email
from taskdb_cli.models.task import Task, TaskCreate
from taskdb_cli.models.types import text_type, timestamp_type
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TASK_FIELDS, Existing, FileFormat, TaskStatus
from taskdb_cli.services import user as users
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.staging import (
    Batch,
    Outcome,
    ParseTime,
    Problem,
    Staging,
    check_record,
    count,
    fetch,
    read_batch,
)
from taskdb_cli.transfer.taskwarrior import to_task

_TIMES = {"due_at": True, "completed_at": False, "created_at": False, "updated_at": False}
_NOT_TAKEN_OVER = ("id", "user_id", "version")
_CACHED_ADDRESSES = 10_000
_owners: Table = User.__table__  # type: ignore[attr-defined]
STAGING = Staging(Task, TaskCreate, Column("email", text_type()))


def read_tasks(
    source: Source,
    *,
    parse_time: ParseTime,
    owned: bool,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read and check the tasks of a file. With `owned` the users that it names are ignored."""
    address = lru_cache(_CACHED_ADDRESSES)(normalize_email)

    def to_row(values: dict[str, Any]) -> Iterator[Any]:
        if source.format is FileFormat.TASKWARRIOR:
            values = to_task(values)
        owner = values.pop("user", None)
        for name in _NOT_TAKEN_OVER:
            values.pop(name, None)
        if owned:
            owner = None
        elif not isinstance(owner, str):
            raise ValueError("user is missing: it is the owner's e-mail address; --user names one for all")
        else:
            try:
                owner = address(owner)
            except ValueError as exc:
                raise ValueError(f"user {exc}") from exc
        priority = values.get("priority")
        if priority is not None and not isinstance(priority, str):
            # The schema would accept the number that the database stores.
            values["priority"] = str(priority)
        task = check_record(TaskCreate, values, _TIMES, parse_time)
        return iter((owner, *STAGING.row(values, task)))

    required = ("title",) if owned else ("user", "title")
    return read_batch(source, TASK_FIELDS, required, to_row, report=report, progress=progress)


def import_tasks(
    session: Session, batch: Batch, *, owner: str | None, existing: Existing, now: datetime
) -> Outcome:
    """Create the new tasks of a batch, and update or skip those that their users have already.

    A user has a task already if one has the same external id. A field that a record leaves out keeps
    its value then. Raises UserNotFound for `owner`, and InvalidRecords, having reported each, when a
    record is invalid, names an unknown user, or repeats the external id of another.
    """
    new, old, owners = STAGING.table.c, STAGING.target.c, _owners.c
    of_owner = owners.email == new.email
    same = (old.user_id == owners.id) & (old.external_id == new.external_id)
    email = users.get(session, owner).email if owner is not None else None
    rows = ((number, email or named, *rest) for number, named, *rest in batch.rows())
    with STAGING.filled(session, rows):
        # Nobody can give these users a task, or delete them, until this transaction ends.
        owned = select(owners.id).where(owners.email.in_(select(new.email)))
        count(session, owned.order_by(owners.id).with_for_update())
        batch.require_all_valid(_refuse_unfit(session, batch))
        given = func.coalesce(new.completed_at, literal(now, timestamp_type()))
        done = TaskStatus.DONE.value
        updated = 0
        if existing is Existing.UPDATE:
            contents = STAGING.contents("external_id")
            completed = func.coalesce(new.completed_at, old.completed_at, given)
            contents["completed_at"] = case((contents["status"] == done, completed))
            updated = STAGING.update(session, of_owner & same, contents, now=now)
        fields = {"user_id": owners.id, "completed_at": case((new.status == done, given))}
        joined = STAGING.table.join(_owners, of_owner)
        created = STAGING.insert(session, joined, same, fields, now=now)
        unnamed = count(session, select(new.number).where(new.external_id.is_(None)))
    return Outcome(created, updated, batch.valid - created - updated, without_external_id=unnamed)


def _refuse_unfit(session: Session, batch: Batch) -> int:
    """Report the rows of unknown users and those with a repeated external id. Return how many there are."""
    new, refused = STAGING.table.c, 0
    strangers = select(new.number, new.email).outerjoin_from(
        STAGING.table, User, _owners.c.email == new.email
    )
    with fetch(session, strangers.where(_owners.c.id.is_(None)).order_by(new.number)) as rows:
        for number, email in rows:
            batch.report(number, f"user {email} does not exist")
            refused += 1
    known = new.email.in_(select(_owners.c.email))
    with STAGING.repeated(session, new.email, new.external_id, among=known) as rows:
        for number, first in rows:
            batch.report(number, f"external_id is that of {batch.place(first)} too")
            refused += 1
    return refused
