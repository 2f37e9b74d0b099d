"""Tasks from files."""

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, case, func, literal, select
from sqlmodel import Session

from taskdb_cli.models.fields import normalize_email
from taskdb_cli.models.task import TASKS, TaskCreate
from taskdb_cli.models.types import text_type, timestamp_type
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import TASK_FIELDS, Existing, TaskStatus
from taskdb_cli.services import user as users
from taskdb_cli.text.escaping import described
from taskdb_cli.transfer.batch import Batch
from taskdb_cli.transfer.foreign import Note
from taskdb_cli.transfer.problems import InvalidRecord
from taskdb_cli.transfer.staging import Outcome, Staging, count

STAGING = Staging(TASKS, TaskCreate, TASK_FIELDS, Column("email", text_type()), key="external_id")


def read_tasks(batch: Batch, *, owned: bool, now: datetime | None = None) -> None:
    """Read and check the tasks of a file. With `owned` the users that it names are ignored.

    A date without a year is in that of `now`, or else remains a text.
    """
    note = Note(batch.note, now)
    address = lru_cache(10_000)(normalize_email)
    foreign = batch.source.foreign

    def to_row(values: dict[str, Any]) -> tuple[Any, ...] | None:
        task = foreign.to_task(values, note) if foreign else values
        if task is None:
            return None
        owner, faults = None if owned else task.get("user"), []
        if isinstance(owner, str):
            try:
                owner = address(owner.strip())
            except ValueError as exc:
                faults.append(f"user {exc}")
        elif not owned:
            what = "is missing" if owner is None else f"must be text, not {described(owner)}"
            faults.append(f"user {what} (add --user)")
        try:
            row = STAGING.row(task, batch.parse_time)
        except InvalidRecord as exc:
            faults += [foreign.in_their_words(fault) for fault in exc.faults] if foreign else exc.faults
        if faults:
            raise InvalidRecord(faults)
        return owner, *row

    batch.read(STAGING.known, ("title",) if owned else ("user", "title"), to_row)


def import_tasks(
    session: Session,
    batch: Batch,
    *,
    owner: str | None,
    existing: Existing,
    now: datetime,
    dry_run: bool = False,
) -> Outcome:
    """Create the new tasks of a batch, and update or skip those that their users have already.

    A user has a task already if one has the same external id. A field that a record leaves out keeps
    its value then. Raises UserNotFound for `owner`, and InvalidRecords, having reported each, when a
    record is invalid, names an unknown user, or repeats the external id of another.
    """
    new, old, owners = STAGING.table.c, STAGING.target.c, USERS.c
    of_owner = owners.email == new.email
    same = of_owner & (old.user_id == owners.id) & (old.external_id == new.external_id)
    owned = STAGING.table.join(USERS, of_owner)
    email = users.get(session, owner).email if owner is not None else None
    rows = ((number, email or named, *rest) for number, named, *rest in batch.rows())
    with STAGING.filled(session, rows):
        # Nobody can give these users a task, or delete them, until this transaction ends.
        known = select(owners.id).where(owners.email.in_(select(new.email)))
        count(session, known.order_by(owners.id).with_for_update())
        strangers = (
            select(new.number, new.email)
            .outerjoin_from(STAGING.table, USERS, of_owner)
            .where(owners.id.is_(None))
            .order_by(new.number)
        )
        refused = batch.report_all(session, strangers, lambda email: f"user {email} does not exist")
        refused += STAGING.refuse_repeated(session, batch, owned, owners.id)
        batch.require_all_valid(refused)
        batch.begin_writing()
        completed = func.coalesce(new.completed_at, literal(now, timestamp_type()))
        kept = func.coalesce(new.completed_at, old.completed_at, completed)
        done, status = TaskStatus.DONE.value, func.coalesce(new.status, old.status)
        return STAGING.merge(
            session,
            batch,
            owned,
            same,
            existing=existing,
            now=now,
            dry_run=dry_run,
            changed={"completed_at": case((status == done, kept))},
            created={"user_id": owners.id, "completed_at": case((new.status == done, completed))},
        )
