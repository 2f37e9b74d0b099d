"""Undo an operation: give all its rows their old values back, in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from taskdb_cli import errors
from taskdb_cli.database import recording
from taskdb_cli.database.recording import Recorder
from taskdb_cli.database.statements import give_ids, insert_with_ids, many_inserted
from taskdb_cli.models.history import CHANGES, ERASURE, OPERATIONS, RECORDED_FIELDS, Operation
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.user import USERS
from taskdb_cli.services.history import obstacles, operations
from taskdb_cli.services.history.obstacles import CREATED, DELETED, KINDS, OLD_TASKS, OLD_USERS
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import brief

FIRST = 10
"""How many rows a preview or an error names."""

Rows = Iterator[Sequence[dict[str, Any]]]

Note = Callable[[Rows], object]
"""Takes the rows that were left, some at a time, each with its kind, its id and the reason."""


@dataclass(frozen=True)
class Undoing:
    """The undoing of an operation, planned or done.

    `users` and `tasks` say how many are deleted, restored and changed. `tokens` is how many access tokens the
    operation made or revoked. They stay as they are.
    """

    operation: Operation
    users: dict[str, int]
    tasks: dict[str, int]
    tokens: int
    left: int
    """How many rows have changed since or stand in the way."""
    named: list[str] = field(default_factory=list)
    """The first of these with their reasons, and how many more there are."""
    first: list[dict[str, Any]] = field(default_factory=list)
    """The first rows that are undone: kind, id, what is done with it, and its address or title."""
    redoes: str | None = None
    """The command of the operation that comes back into force, if this one was an undo and it is known."""
    undone_by: int | None = None
    """The operation that did it."""


def last(session: Session, actor: str) -> int:
    """Return the newest operation of an actor; raise NotFound if there is none."""
    newest = select(Operation.id).where(Operation.actor == actor).order_by(col(Operation.id).desc())
    id = session.exec(newest.limit(1)).first()
    if id is None:
        some = session.exec(select(Operation.id).limit(1)).first()
        what = "the history is empty" if some is None else f"the history has no operation of {brief(actor)}"
        raise errors.NotFound(what, "'taskdb history' shows the operations; name one" if some else "")
    return id


def preview(session: Session, id: int, *, skip_changed: bool = False, note: Note | None = None) -> Undoing:
    """Return what `undo` would do now, and raise as it does. It needs a transaction that may write."""
    found = _find(session, id, skip_changed=skip_changed, note=note)
    found = replace(found, first=_first(session))
    obstacles.drop_tables(session)
    return found


def undo(
    session: Session,
    id: int,
    *,
    now: datetime,
    skip_changed: bool = False,
    note: Note | None = None,
) -> Undoing:
    """Delete the rows that an operation created, bring back those it deleted, and give the others old values.

    Every row gets a version that it has never had. Access tokens stay as they are. `note` takes the rows that
    have changed since or stand in the way. With `skip_changed` they are left, or else nothing is undone.

    Raises OperationNotFound, and NotUndone for such rows, and for an operation that cannot be undone at all.
    """
    found = _find(session, id, skip_changed=skip_changed, note=note, lock=True)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder:
        recorder.undoes = id
    try:
        _write(session, found, now)
    except errors.UniqueViolation as exc:
        what = f"operation {id} was not undone: {exc.message}; the row was added meanwhile"
        raise errors.NotUndone(what, "run it again to see which row it is") from exc
    obstacles.drop_tables(session)
    return replace(found, undone_by=recorder.id if recorder else None)


def _find(session: Session, id: int, *, skip_changed: bool, note: Note | None, lock: bool = False) -> Undoing:
    """Find the rows of an operation and what stands in their way, locked if asked; raise as `undo`."""
    operations.get(session, id)
    named = select(Operation).where(Operation.id == id)
    # Two undos of one operation take turns.
    operation = session.exec(named.with_for_update() if lock else named).first()
    if operation is None:
        raise errors.OperationNotFound(id)
    if lock:
        obstacles.lock_rows(session, id)
    kept = _require_undoable(session, operation)
    obstacles.find_obstacles(session, id)
    counts = {kind: _counts(session, old) for kind, old, _ in KINDS}
    missing = operation.rows_changed - sum(kept.values())
    left = sum(each.pop("left") for each in counts.values()) + max(missing, 0)
    redoes = session.exec(select(Operation.command).where(Operation.id == operation.undoes)).first()
    tokens = kept.get("access_tokens", 0)
    found = Undoing(operation, counts["user"], counts["task"], tokens, left, redoes=redoes)
    if note:
        note(obstacles.left_rows(session))
    possible = any([*found.users.values(), *found.tasks.values()])
    if left:
        found = replace(found, named=_named(session, left, missing))
    if left and not (skip_changed and possible):
        raise _not_undone(session, found, possible=possible, verb="was not" if lock else "would not be")
    return found


def _require_undoable(session: Session, operation: Operation) -> dict[str, int]:
    """Return how many changes of each table are kept; raise NotUndone if none can be undone."""
    what = f"operation {operation.id} cannot be undone"
    later = select(Operation).where(
        col(Operation.id) >= operation.id, col(Operation.restored_from).is_not(None)
    )
    if barrier := session.exec(later.order_by(col(Operation.id)).limit(1)).first():
        since = "it" if barrier.id == operation.id else f"operation {barrier.id}"
        raise errors.NotUndone(
            f"{what}: {since} replaced everything from {brief(barrier.restored_from)}",
            "'taskdb restore' loads an archive, or parts of it with --only-user and --only-task",
        )
    table = CHANGES.c.table_name
    grouped = sa.select(table, sa.func.count()).where(CHANGES.c.operation_id == operation.id).group_by(table)
    kept = {row[0]: row[1] for row in session.execute(grouped)}
    if not kept:
        erased = operation.command == ERASURE
        why = "it erased a user" if erased else "the history does not have the rows that it changed any more"
        hint = f"{_one_before(session, operation)}'taskdb history' shows the others"
        raise errors.NotUndone(f"{what}: {why}", hint)
    if [*kept] == ["access_tokens"]:
        raise errors.NotUndone(
            f"{what}: it changed access tokens only, and these cannot be restored",
            f"{_one_before(session, operation)}'taskdb token create' makes a new one, and "
            "'taskdb token revoke' revokes one",
        )
    return kept


def _one_before(session: Session, operation: Operation) -> str:
    """Return how to undo the newest older operation of the same actor that can be, or ''."""
    barrier = sa.select(sa.func.max(OPERATIONS.c.id)).where(
        OPERATIONS.c.restored_from.is_not(None), OPERATIONS.c.id < operation.id
    )
    about = CHANGES.c.table_name.in_([live.name for _, _, live in KINDS])
    older = (
        select(Operation.id)
        .where(Operation.actor == operation.actor, col(Operation.id) < operation.id)
        .where(col(Operation.id) > sa.func.coalesce(barrier.scalar_subquery(), 0))
        .where(sa.exists().where(CHANGES.c.operation_id == OPERATIONS.c.id, about))
        .order_by(col(Operation.id).desc())
        .limit(1)
    )
    id = session.exec(older).first()
    return "" if id is None else f"'taskdb undo {id}' undoes the one before it; "


def _counts(session: Session, old: sa.Table) -> dict[str, int]:
    """Return how many rows are deleted, come back and are changed, and how many are left."""
    which = sa.case((old.c.obstacle.is_(None), old.c.action), else_="")
    query = sa.select(which, sa.func.count()).group_by(which)
    found = {row[0]: row[1] for row in session.execute(query)}
    names = {CREATED: "deleted", DELETED: "restored", obstacles.UPDATED: "changed", "": "left"}
    return {name: found.get(action, 0) for action, name in names.items()}


def _named(session: Session, left: int, missing: int) -> list[str]:
    """Name the first rows that are left, each with its reason, and say how many more there are."""
    rows = islice(chain.from_iterable(obstacles.left_rows(session, FIRST)), FIRST)
    named = [f"{row['kind']} {row['id']} {row['reason']}" for row in rows]
    if missing > 0:
        named.append(f"the history no longer has {in_words({'rows': missing})} that it changed")
    elif left > FIRST:
        named.append(f"and {left - FIRST:,} more, which -o json lists")
    return named


def _not_undone(session: Session, found: Undoing, *, possible: bool, verb: str) -> errors.NotUndone:
    id = found.operation.id
    hint = "--skip-changed leaves these rows and undoes the rest"
    if not possible:
        if by := _undone_by(session, id):
            what = f"operation {id} was undone already, by operation {by}"
            return errors.NotUndone(what, f"'taskdb undo {by}' redoes it")
        row = next(chain.from_iterable(obstacles.left_rows(session, 1)), None)
        which = f"{row['kind']} history {row['id']}" if row else f"history show {id}"
        hint = f"'taskdb {which}' shows what changed it"
        if row and row["reason"] == obstacles.OWNS:
            shown = f"'taskdb task list --user {row['id']}' and 'taskdb token list' show them"
            hint = f"{shown}; 'taskdb user delete {row['id']}' deletes all"
    return errors.NotUndone(f"operation {id} {verb} undone: {'; '.join(found.named)}", hint)


def _undone_by(session: Session, id: int) -> int | None:
    """Return the newest operation that undid this one and is not undone itself, or None."""
    later = select(Operation.id, Operation.undoes).where(
        col(Operation.undoes).is_not(None), col(Operation.id) > id
    )
    by: dict[int | None, int] = {}
    for each, undone in session.exec(later.order_by(col(Operation.id).desc())):
        if each not in by:
            by.setdefault(undone, each)
    return by.get(id)


def _first(session: Session) -> list[dict[str, Any]]:
    """Return the first rows that are undone."""
    words = {CREATED: "is deleted", DELETED: "comes back", obstacles.UPDATED: "gets old values"}
    first: list[dict[str, Any]] = []
    for kind, old, live in KINDS:
        name = "email" if live is USERS else "title"
        shown = sa.func.coalesce(live.c[name], CHANGES.c[f"old_{name}"])
        rows = obstacles.joined(old, live)
        query = sa.select(old.c.id, old.c.action, shown.label("name")).select_from(rows)
        query = query.where(old.c.obstacle.is_(None)).order_by(old.c.id).limit(FIRST - len(first))
        first += [
            {"kind": kind, "id": row.id, "effect": words[row.action], "name": row.name}
            for row in session.execute(query)
        ]
    return first


def _write(session: Session, found: Undoing, now: datetime) -> None:
    """Write users and tasks, in an order in which no task is ever without its owner."""
    if found.tasks["deleted"]:
        recording.delete_many(session, TASKS, TASKS.c.id.in_(_ids(OLD_TASKS, CREATED)))
    _bring_back(session, OLD_USERS, USERS, found.users["restored"])
    _change_back(session, OLD_USERS, USERS, found.users["changed"], now)
    _change_back(session, OLD_TASKS, TASKS, found.tasks["changed"], now)
    _bring_back(session, OLD_TASKS, TASKS, found.tasks["restored"])
    if found.users["deleted"]:
        recording.delete_many(session, USERS, USERS.c.id.in_(_ids(OLD_USERS, CREATED)))


def _undone(old: sa.Table, action: str) -> sa.ColumnElement[bool]:
    return (old.c.action == action) & old.c.obstacle.is_(None)


def _ids(old: sa.Table, action: str) -> sa.Select[Any]:
    return sa.select(old.c.id).where(_undone(old, action))


def _bring_back(session: Session, old: sa.Table, live: sa.Table, number: int) -> None:
    """Insert rows that were deleted, with all that they had."""
    if not number:
        return
    fields = {name: CHANGES.c[f"old_{name}"] for name in RECORDED_FIELDS[live.name]}
    values = {"id": old.c.id, "version": old.c.version + 1, **fields}
    rows = sa.select(*(value.label(name) for name, value in values.items()))
    rows = rows.where(old.c.change_id == CHANGES.c.id, _undone(old, DELETED)).order_by(old.c.id)
    # An archive that replaced everything may have set the counter back.
    give_ids(session, live, old)
    with many_inserted(session, live, number):
        insert_with_ids(session, live, rows)
        which = (live.c.id == old.c.id) & _undone(old, DELETED)
        recording.record_created(session, live, which, same_as=old.c.same_as)


def _change_back(session: Session, old: sa.Table, live: sa.Table, number: int, now: datetime) -> None:
    """Give rows the old values of the fields that were changed."""
    if not number:
        return
    values: dict[str, Any] = {
        name: sa.case((obstacles.changed_values(name), CHANGES.c[f"old_{name}"]), else_=live.c[name])
        for name in obstacles.restored_fields(live)
    }
    values |= {"version": live.c.version + 1, "updated_at": sa.literal(now, live.c.updated_at.type)}
    which = live.c.id == old.c.id, old.c.change_id == CHANGES.c.id, _undone(old, obstacles.UPDATED)
    recording.update_many(session, live, values, *which, same_as=old.c.same_as)
