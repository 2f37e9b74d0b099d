"""Tasks: make, find, change and delete them."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    case,
    insert,
    literal,
    literal_column,
    or_,
    select,
)
from sqlmodel import Session

from taskdb_cli.database import recording
from taskdb_cli.database.backend import Plan
from taskdb_cli.database.statements import explain as explain_queries
from taskdb_cli.errors import ExternalIdTaken, StaleVersion, TaskNotFound, TransactionConflict, UserNotFound
from taskdb_cli.models.task import TASKS, TaskCreate, TaskUpdate
from taskdb_cli.models.types import MAX_ID, MAX_VERSION
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskStatus
from taskdb_cli.services import explained
from taskdb_cli.services import user as users
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import TASK_RECORDS, task_count_query, task_page_queries, task_query
from taskdb_cli.services.listing.pages import Order, Page, Position, Record
from taskdb_cli.services.listing.query import TaskFilter

_owner = select(USERS.c.email).where(USERS.c.id == literal_column("tasks.user_id")).scalar_subquery()
_RECORD = [_owner.label("user") if field == "user" else TASKS.c[field] for field in TASK_FIELDS]
"""What INSERT, UPDATE and DELETE return."""

Ids = Sequence[int | range]
"""Ids of tasks. A range means those of its ids that exist, and at least one."""

IDS_AT_ONCE = 1000
"""How many ids a statement names: engines limit its parameters."""


@dataclass(frozen=True)
class Change:
    """New values of fields of tasks, by the names of their columns."""

    values: Mapping[str, Any]
    owner: str | None
    """The new owner as the caller named them."""

    @classmethod
    def of(cls, session: Session, given: TaskUpdate, owner: str | None) -> Self:
        """Return the change that sets the given fields, and moves tasks to a user; raise UserNotFound."""
        values = given.model_dump(exclude_unset=True)
        if owner is not None:
            values["user_id"] = users.get_id(session, owner)
        return cls(values, owner)

    @property
    def differences(self) -> dict[str, ColumnElement[bool]]:
        """For each value the condition that a task has another one."""
        return {name: TASKS.c[name].is_distinct_from(value) for name, value in self.values.items()}


def create(session: Session, owner: str, given: TaskCreate, *, now: datetime) -> Record:
    """Make a task of a user. A task that is done was completed `now` unless it says when.

    Raises UserNotFound, or ExternalIdTaken when the user has a task of that external id.
    """
    values = given.model_dump() | {
        "completed_at": (given.completed_at or now) if given.status is TaskStatus.DONE else None,
        "version": 1,
        "created_at": given.created_at or now,
        "updated_at": given.updated_at or now,
    }
    bound = [literal(value, TASKS.c[name].type) for name, value in values.items()]
    row = select(USERS.c.id, *bound).where(users.is_user(owner))
    statement = insert(TASKS).from_select(["user_id", *values], row)
    with explained(
        tasks_user_id_external_id_key=ExternalIdTaken(given.external_id, owner),
        tasks_user_id_fkey=UserNotFound(owner),
    ):
        made = _records(session, recording.insert(session, statement, _RECORD))
    if not made:
        raise UserNotFound(owner)
    return next(iter(made.values()))


def create_unless_exists(session: Session, owner: str, given: TaskCreate, *, now: datetime) -> Record:
    """Make a task, or return the user's task that has the external id already, as it is."""
    return _create_or_find(session, owner, given, now)[0]


def create_once(session: Session, owner: str, given: TaskCreate, *, now: datetime) -> tuple[Record, bool]:
    """Make a task, or return the user's task that has the external id, if it is as given; say whether made.

    Fields that are not given may differ. Raises UserNotFound, or ExternalIdTaken for a task that differs.
    """
    record, made = _create_or_find(session, owner, given, now)
    wanted = {} if made else given.model_dump(exclude_unset=True)
    if differs := [field for field, value in wanted.items() if record[field] != value]:
        raise ExternalIdTaken(given.external_id, record["user"], differs=differs)
    return record, made


def get(session: Session, id: int) -> Record:
    """Return a task's record; raise TaskNotFound."""
    return get_all(session, [id])[0]


def get_all(session: Session, ids: Ids) -> list[Record]:
    """Return the records of these tasks, each once; raise TaskNotFound naming every missing one."""
    return _in_order(ids, _read_tasks(session, _possible(ids)))


def find(
    session: Session,
    filter: TaskFilter,
    order: Order,
    *,
    limit: int,
    after: Position | None = None,
    skip: int = 0,
    fits: Callable[[Record], bool] | None = None,
) -> Page:
    """Return one page of matching records, which ends early where a record does not fit.

    The first `skip` records are passed over. Raises UserNotFound for a user that the filter names.
    """
    alone = users.to_id(filter.users[0]) if len(filter.users) == 1 else None
    named = owners(session, filter) if alone is None else [alone]
    (query, slow), order = task_page_queries(filter, named, session), replace(order, equal=filter.equal)
    found = pages.page(session, query, order, limit=limit, after=after, skip=skip, fits=fits, slow=slow)
    if alone is not None and not found.records:
        # A user who has tasks exists, so look the user up only when the page is empty.
        owners(session, filter)
    return found


def find_by_prefix(
    session: Session, digits: str, *, statuses: Collection[TaskStatus], limit: int
) -> list[tuple[int, str]]:
    """Return ids that begin with these digits, the highest first, with titles; no statuses mean all."""
    query = select(TASKS.c.id, TASKS.c.title).order_by(TASKS.c.id.desc()).limit(limit)
    if statuses:
        query = query.where(TASKS.c.status.in_(statuses))
    if digits:
        query = query.where(users.begins_with(TASKS.c.id, digits))
    return [(id, title) for id, title in session.execute(query)]


def stream(
    session: Session, filter: TaskFilter, order: Order, *, after: Position | None = None
) -> Generator[Record, None, None]:
    """Yield every matching record at constant memory; raise UserNotFound."""
    query = task_query(filter, owners(session, filter), session, whole=True)
    return pages.stream(session, query, replace(order, equal=filter.equal), after=after)


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
        return explain_queries(session, [task_count_query(filter, owners(session, filter), session)])
    query, slow = task_page_queries(filter, owners(session, filter), session, whole=not limit)
    order = replace(order, equal=filter.equal)
    if slow is not None:
        query = pages.page(session, query, order, limit=limit, after=after, slow=slow).query
    parts = order.parts(query, after)
    # The later parts of a page run only if the earlier ones do not fill it.
    return explain_queries(session, [part.limit(limit + 1) if limit else part for part in parts])


def count(session: Session, filter: TaskFilter, *, most: int | None = None) -> int:
    """Return how many tasks match, or `most` if there are more; raise UserNotFound."""
    return int(session.execute(task_count_query(filter, owners(session, filter), session, most)).scalar_one())


def change(
    session: Session,
    ids: Ids,
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
    change = Change.of(session, given, owner)
    wanted = _possible(ids)
    write = partial(update_tasks, session, wanted, change, now=now, version=if_version)
    if len(wanted) == 1 and (changed := write()):
        return _in_order(ids, changed)
    # Lock first: only while nobody else may change a task can we say why it was left alone.
    lock_tasks(session, wanted)
    changed = write()
    others = _read_tasks(session, [id for id in wanted if id not in changed])
    records = _in_order(ids, changed | others)
    for id, record in others.items():
        if if_version is not None and record["version"] != if_version:
            raise StaleVersion("task", id, expected=if_version, current=record["version"])
    return records


def remove(session: Session, ids: Ids) -> list[Record]:
    """Delete tasks, all or nothing; return what they were. Raises TaskNotFound."""
    wanted = _possible(ids)
    if len(wanted) > 1:
        lock_tasks(session, wanted)
    return _in_order(ids, delete_tasks(session, wanted))


def owners(session: Session, filter: TaskFilter) -> list[int]:
    """Return the ids of the users that a filter names; raise UserNotFound."""
    return sorted({users.get_id(session, ref) for ref in filter.users})


def _create_or_find(session: Session, owner: str, given: TaskCreate, now: datetime) -> tuple[Record, bool]:
    try:
        with session.begin_nested():
            return create(session, owner, given, now=now), True
    except ExternalIdTaken as exc:
        named = users.is_user(owner), TASKS.c.external_id == given.external_id
        found = _records(session, session.execute(TASK_RECORDS.where(*named)).all())
        if not found:
            raise TransactionConflict(f"{exc.message}, which is being deleted", "try again later") from exc
        return next(iter(found.values())), False


def lock_tasks(session: Session, ids: Sequence[int]) -> None:
    """Lock tasks in the order of their ids, as every writer of several does: two of them cannot deadlock."""
    for some in at_once(sorted(ids)):
        session.execute(select(TASKS.c.id).where(TASKS.c.id.in_(some)).order_by(TASKS.c.id).with_for_update())


def update_tasks(
    session: Session, ids: Sequence[int], change: Change, *, now: datetime, version: int | None = None
) -> dict[int, Record]:
    """Change those tasks in which one of the values differs, and which are at the version if one is given.

    Returns the records of the changed ones by id. Raises UserNotFound and ExternalIdTaken.
    """
    changes, differs = change.values, change.differences
    if not changes or (version is not None and not 0 < version <= MAX_VERSION):
        return {}
    values: dict[str, Any] = {**changes, "version": TASKS.c.version + 1, "updated_at": now}
    if "status" in changes:
        completed = literal(now if changes["status"] is TaskStatus.DONE else None, TASKS.c.completed_at.type)
        values["completed_at"] = case((differs["status"], completed), else_=TASKS.c.completed_at)
    conditions = [or_(*differs.values())]
    if version is not None:
        conditions.append(TASKS.c.version == version)
    changed: dict[int, Record] = {}
    with explained(
        tasks_user_id_external_id_key=ExternalIdTaken(None, change.owner),
        tasks_user_id_fkey=UserNotFound(change.owner),
    ):
        for some in at_once(ids):
            which = _is_one_of(some), *conditions
            rows = recording.update(session, TASKS, values, *which, returning=_RECORD)
            changed |= _records(session, rows)
    return changed


def delete_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    """Delete those of the tasks that exist. Returns what they were by id."""
    gone: dict[int, Record] = {}
    for some in at_once(ids):
        gone |= _records(session, recording.delete(session, TASKS, _is_one_of(some), returning=_RECORD))
    return gone


def _possible(ids: Ids) -> list[int]:
    """Return the ids that tasks can have, each once."""
    each = chain.from_iterable([id] if isinstance(id, int) else id for id in ids)
    return [id for id in dict.fromkeys(each) if 0 < id <= MAX_ID]


def _in_order(ids: Ids, found: Mapping[int, Record]) -> list[Record]:
    """Return the records in the order of the ids, each once; raise TaskNotFound naming every missing one."""
    wanted: dict[int, Record] = {}
    missing: dict[int | range, None] = {}
    for each in ids:
        there = [id for id in ([each] if isinstance(each, int) else each) if id in found]
        if not there:
            missing[each] = None
        wanted |= {id: found[id] for id in there}
    if missing:
        raise TaskNotFound(missing)
    return [*wanted.values()]


def at_once(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the ids in parts, one for each statement."""
    return (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))


def _is_one_of(ids: Sequence[int]) -> ColumnElement[bool]:
    # One id is the most frequent, and costs less without a list.
    return TASKS.c.id == ids[0] if len(ids) == 1 else TASKS.c.id.in_(ids)


def _read_tasks(session: Session, ids: Sequence[int]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for some in at_once(ids):
        found |= _records(session, session.execute(TASK_RECORDS.where(_is_one_of(some))).all())
    return found


def _records(session: Session, rows: recording.Rows) -> dict[int, Record]:
    records = [dict(zip(TASK_FIELDS, row, strict=True)) for row in rows]
    for record in records:
        # A statement that waited for a task to get another owner does not see an owner who is newer than it.
        if record["user"] is None:
            record["user"] = session.scalar(select(USERS.c.email).where(USERS.c.id == record["user_id"]))
    return {record["id"]: record for record in records}
