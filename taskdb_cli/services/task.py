"""Tasks: make, find, change and delete them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from taskdb_cli.database import explain as explain_queries
from taskdb_cli.database import violated_constraint
from taskdb_cli.database.plan import Plan
from taskdb_cli.errors import ExternalIdTaken, StaleVersion, TaskNotFound, TransactionConflict, UserNotFound
from taskdb_cli.models.task import Task, TaskCreate, TaskUpdate
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import User
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskStatus
from taskdb_cli.services import listing
from taskdb_cli.services import user as users
from taskdb_cli.services.listing import Page, Record
from taskdb_cli.services.ordering import Order, Position
from taskdb_cli.services.query import TaskFilter, constant_keys, task_count_query, task_query


def create(session: Session, owner: str, given: TaskCreate, *, now: datetime) -> Record:
    """Make a task of a user; a task made as done is completed now unless it says when.

    Raises UserNotFound, or ExternalIdTaken when the user has a task of that external id.
    """
    user = users.get(session, owner)
    return _insert(session, user, given, now)


def create_unless_exists(session: Session, owner: str, given: TaskCreate, *, now: datetime) -> Record:
    """Make a task, or return the user's task that has the external id already, as it is."""
    user = users.get(session, owner)
    try:
        with session.begin_nested():
            return _insert(session, user, given, now)
    except ExternalIdTaken as exc:
        found = select(Task).where(col(Task.user_id) == user.id, col(Task.external_id) == given.external_id)
        task = session.exec(found).one_or_none()
        if task is None:
            raise TransactionConflict(f"{exc.message}, which is being deleted", "try again later") from exc
        return task_record(task, user.email)


def get(session: Session, id: int) -> Record:
    """Return a task's record; raise TaskNotFound."""
    return get_all(session, [id])[0]


def get_all(session: Session, ids: Sequence[int]) -> list[Record]:
    """Return the records of these tasks, each once; raise TaskNotFound naming every missing one."""
    return [task_record(task, email) for task, email in _load(session, ids, lock=False)]


def find(
    session: Session, filter: TaskFilter, order: Order, *, limit: int, after: Position | None = None
) -> Page:
    """Return one page of matching records; raise UserNotFound for a user that the filter names."""
    query, order = _listed(session, filter, order)
    return listing.page(session, query, order, TASK_FIELDS, limit=limit, after=after)


def stream(
    session: Session, filter: TaskFilter, order: Order, *, after: Position | None = None
) -> Iterator[Record]:
    """Yield every matching record at constant memory; raise UserNotFound."""
    query, order = _listed(session, filter, order)
    return listing.stream(session, query, order, TASK_FIELDS, after=after)


def explain(
    session: Session,
    filter: TaskFilter,
    order: Order,
    *,
    limit: int,
    after: Position | None = None,
    count: bool = False,
) -> list[Plan]:
    """Run the queries of a listing, and return how the engine did it; a limit of 0 is none."""
    if count:
        return explain_queries(session, [task_count_query(filter, _owners(session, filter))])
    query, order = _listed(session, filter, order)
    return explain_queries(session, listing.queries(query, order, limit=limit, after=after))


def count(session: Session, filter: TaskFilter) -> int:
    """Return how many tasks match; raise UserNotFound."""
    return session.scalars(task_count_query(filter, _owners(session, filter))).one()


def change(
    session: Session,
    ids: Sequence[int],
    given: TaskUpdate,
    *,
    now: datetime,
    owner: str | None = None,
    if_version: int | None = None,
) -> list[Record]:
    """Change the given fields of tasks, and move them to another user; all or nothing.

    A task that has the values already is left as it is. Raises TaskNotFound naming every missing
    one, UserNotFound, ExternalIdTaken, or StaleVersion when a task is not at `if_version`.
    """
    user = users.get(session, owner) if owner is not None else None
    loaded = _load(session, ids, lock=True)
    changes = given.model_dump(exclude_unset=True)
    if user is not None:
        changes["user_id"] = user.id
    for task, _ in loaded:
        if if_version is not None and task.version != if_version:
            raise StaleVersion("task", task.id, expected=if_version, current=task.version)
        _apply(task, changes, now)
    _flush_tasks(session, user.email if user else "of that id")
    return [task_record(task, user.email if user else email) for task, email in loaded]


def set_status(session: Session, ids: Sequence[int], status: TaskStatus, *, now: datetime) -> list[Record]:
    """Move tasks to a status; all or nothing, and nothing for a task that is there already."""
    return change(session, ids, TaskUpdate(status=status), now=now)


def remove(session: Session, ids: Sequence[int]) -> list[Record]:
    """Delete tasks, all or nothing; return what they were. Raises TaskNotFound."""
    loaded = _load(session, ids, lock=True)
    session.exec(delete(Task).where(col(Task.id).in_([task.id for task, _ in loaded])))
    return [task_record(task, email) for task, email in loaded]


def task_record(task: Task, owner: str) -> Record:
    """Return the record of a task whose user has that e-mail address."""
    return {field: owner if field == "user" else getattr(task, field) for field in TASK_FIELDS}


def _listed(session: Session, filter: TaskFilter, order: Order) -> tuple[Select[Any], Order]:
    return task_query(filter, _owners(session, filter)), order.without(constant_keys(filter))


def _owners(session: Session, filter: TaskFilter) -> list[int]:
    return sorted({users.get_id(session, ref) for ref in filter.users})


def _insert(session: Session, user: User, given: TaskCreate, now: datetime) -> Record:
    task = Task(
        **given.model_dump(exclude={"completed_at", "created_at", "updated_at"}),
        user_id=user.id,
        completed_at=completion(given, now),
        created_at=given.created_at or now,
        updated_at=given.updated_at or now,
    )
    session.add(task)
    _flush_tasks(session, user.email, task.external_id)
    return task_record(task, user.email)


def completion(given: TaskCreate, now: datetime) -> datetime | None:
    """Return when a task to be made was completed: as it says, or now, or never if it is not done."""
    return (given.completed_at or now) if given.status is TaskStatus.DONE else None


def _load(session: Session, ids: Sequence[int], *, lock: bool) -> list[tuple[Task, str]]:
    wanted = list(dict.fromkeys(ids))
    named = col(Task.id).in_([id for id in wanted if 0 < id <= MAX_ID])
    if lock:
        # By itself: what waited for the lock inside a join would miss a task that got another owner.
        session.exec(select(Task.id).where(named).order_by(col(Task.id)).with_for_update()).all()
    query = select(Task, User.email).join(User, col(Task.user_id) == col(User.id)).where(named)
    found = {task.id: (task, email) for task, email in session.exec(query)}
    if missing := [id for id in wanted if id not in found]:
        raise TaskNotFound(missing)
    return [found[id] for id in wanted]


def _apply(task: Task, changes: Mapping[str, Any], now: datetime) -> None:
    differing = {field: value for field, value in changes.items() if getattr(task, field) != value}
    if not differing:
        return
    for field, value in differing.items():
        setattr(task, field, value)
    if "status" in differing:
        task.completed_at = now if task.status is TaskStatus.DONE else None
    task.version += 1
    task.updated_at = now


def _flush_tasks(session: Session, owner: str, external_id: str | None = None) -> None:
    try:
        session.flush()
    except IntegrityError as exc:
        constraint = violated_constraint(session, exc)
        if constraint == "tasks_user_id_external_id_key":
            raise ExternalIdTaken(external_id, owner) from exc
        if constraint == "tasks_user_id_fkey":
            raise UserNotFound(owner) from exc
        raise
