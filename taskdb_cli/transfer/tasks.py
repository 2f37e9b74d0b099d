"""Tasks from files."""

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
from taskdb_cli.transfer.staging import Batch, Outcome, Staging, count
from taskdb_cli.transfer.taskwarrior import to_task

_CACHED_ADDRESSES = 10_000
_owners: Table = User.__table__  # type: ignore[attr-defined]
STAGING = Staging(
    Task, TaskCreate, TASK_FIELDS, Column("email", text_type()), special=("external_id", "completed_at")
)


def read_tasks(batch: Batch, *, owned: bool) -> None:
    """Read and check the tasks of a file. With `owned` the users that it names are ignored."""
    address = lru_cache(_CACHED_ADDRESSES)(normalize_email)

    def to_row(values: dict[str, Any]) -> tuple[Any, ...]:
        if batch.source.format is FileFormat.TASKWARRIOR:
            values = to_task(values)
        owner = None if owned else values.get("user")
        if isinstance(owner, str):
            try:
                owner = address(owner)
            except ValueError as exc:
                raise ValueError(f"user {exc}") from exc
        elif not owned:
            raise ValueError("user is missing: it is the owner's e-mail address; --user names one for all")
        priority = values.get("priority")
        if priority is not None and not isinstance(priority, str):
            # The schema would accept the number that the database stores.
            values["priority"] = str(priority)
        return (owner, *STAGING.row(values, batch.parse_time))

    batch.read(STAGING.known, ("title",) if owned else ("user", "title"), to_row)


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
    new = STAGING.table.c
    strangers = (
        select(new.number, new.email)
        .outerjoin_from(STAGING.table, _owners, _owners.c.email == new.email)
        .where(_owners.c.id.is_(None))
        .order_by(new.number)
    )
    refused = batch.report_all(session, strangers, lambda email: f"user {email} does not exist")
    known = new.email.in_(select(_owners.c.email))
    return refused + STAGING.refuse_repeated(session, batch, new.email, new.external_id, among=known)
