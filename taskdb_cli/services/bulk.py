"""All tasks that match a filter: change or delete them in one transaction.

All of their ids are in memory, eight bytes each, and some of their records at a time.
"""

from array import array
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import ColumnElement, Select, false, or_, select
from sqlmodel import Session

from taskdb_cli.errors import MatchesChanged
from taskdb_cli.models.task import TASKS, TaskUpdate
from taskdb_cli.services.listing.filters import task_conditions
from taskdb_cli.services.listing.pages import STREAM_ROWS, Record
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.services.task import Change, at_once, delete_tasks, get_all, owners, update_tasks

FIRST = 10
"""The most tasks whose records a preview holds."""

_tasks = TASKS.c


@dataclass(frozen=True)
class Preview:
    """The tasks that a change or a deletion would write now."""

    count: int
    first: list[Record]
    last: int
    """The highest of their ids, 0 if there is none."""
    seal: bytes
    """A hash of their ids and versions."""


def preview_change(
    session: Session, filter: TaskFilter, given: TaskUpdate, *, owner: str | None = None
) -> Preview:
    """Return the matching tasks that `change` would write: those that do not have the values yet.

    Raises UserNotFound.
    """
    return _preview(session, _to_change(session, filter, Change.of(session, given, owner)))


def preview_removal(session: Session, filter: TaskFilter) -> Preview:
    """Return the tasks that `remove` would delete; raise UserNotFound."""
    return _preview(session, _matching(session, filter))


def change(
    session: Session,
    filter: TaskFilter,
    given: TaskUpdate,
    *,
    now: datetime,
    owner: str | None = None,
    shown: Preview | None = None,
) -> Generator[list[Record], None, None]:
    """Change the given fields of the matching tasks, and move them to another user; all or nothing.

    Yields the records of the changed ones, some at a time, in the order of their ids. A task that has the
    values already is left as it is. If a preview was `shown`, tasks that are newer are left alone too.
    Raises UserNotFound, ExternalIdTaken, and MatchesChanged if the tasks are not those that were shown, or if
    one of them has changed since.
    """
    made = Change.of(session, given, owner)
    for ids in _locked(session, _to_change(session, filter, made), shown):
        changed = update_tasks(session, ids, made, now=now)
        yield [changed[id] for id in ids]


def remove(
    session: Session, filter: TaskFilter, *, shown: Preview | None = None
) -> Generator[list[Record], None, None]:
    """Delete the matching tasks, all or nothing, and yield what they were as `change` does.

    Raises UserNotFound and MatchesChanged.
    """
    for ids in _locked(session, _matching(session, filter), shown):
        gone = delete_tasks(session, ids)
        yield [gone[id] for id in ids]


def _matching(session: Session, filter: TaskFilter) -> list[ColumnElement[bool]]:
    return [*task_conditions(filter, owners(session, filter), session, whole=True)]


def _to_change(session: Session, filter: TaskFilter, change: Change) -> list[ColumnElement[bool]]:
    return [*_matching(session, filter), or_(false(), *change.differences.values())]


def _preview(session: Session, conditions: Sequence[ColumnElement[bool]]) -> Preview:
    ids, seal = _read(session, _ids_and_versions(conditions))
    return Preview(len(ids), get_all(session, ids[:FIRST]), max(ids, default=0), seal)


def _locked(
    session: Session, conditions: Sequence[ColumnElement[bool]], shown: Preview | None
) -> Iterator[Sequence[int]]:
    """Lock the tasks that meet the conditions, in the order of their ids, and yield the ids, some at a time.

    Raises MatchesChanged.
    """
    query = _ids_and_versions(conditions)
    if shown is not None:
        query = query.where(_tasks.id <= shown.last)
    ids, seal = _read(session, query.with_for_update())
    if shown is not None and seal != shown.seal:
        raise MatchesChanged
    return at_once(ids)


def _ids_and_versions(conditions: Sequence[ColumnElement[bool]]) -> Select[int, int]:
    return select(_tasks.id, _tasks.version).where(*conditions).order_by(_tasks.id)


def _read(session: Session, query: Select[int, int]) -> tuple[Sequence[int], bytes]:
    """Return the ids, and a hash of the ids and versions."""
    ids, seal = array("q"), sha256()
    with session.connection().execute(query, execution_options={"yield_per": STREAM_ROWS}) as found:
        for id, version in found:
            ids.append(id)
            seal.update(b"%d:%d\n" % (id, version))
    return ids, seal.digest()
