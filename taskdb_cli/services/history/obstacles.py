"""The rows of an operation that is to be undone, in temporary tables, and what stands in the way of each.

A row has changed since if it is at another version, or has other values than the operation gave it. A version
that an undo made counts as the older version whose values it has.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli.models.history import CHANGES, RECORDED_FIELDS
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.token import TOKENS
from taskdb_cli.models.types import BigNumber
from taskdb_cli.models.user import USERS
from taskdb_cli.text.escaping import brief

CREATED, UPDATED, DELETED = "created", "updated", "deleted"

AT_ONCE = 1000

_GONE, _THERE, _AGAIN, _CHANGED, _VALUES = "gone", "there", "again", "changed", "values"
_TWICE, _ADDRESS, _OWNER, _EXTERNAL_ID, _OWNS = "twice", "address", "owner", "external id", "owns"

OWNS = "has tasks or access tokens that stay"

_REASONS = {
    _GONE: "is gone",
    _THERE: "exists already",
    _AGAIN: "was restored and changed before it was deleted again",
    _CHANGED: "is at version {version}, not {version_after}",
    _VALUES: "has other values than at version {version_after}",
    _TWICE: "was changed more than once",
    _ADDRESS: "had the address {name}, which user {holder} has now",
    _OWNER: "belonged to user {owner}, who does not exist",
    _EXTERNAL_ID: "had the external id {name}, which task {holder} has now",
    _OWNS: OWNS,
}


def _temporary_table(name: str) -> sa.Table:
    columns: list[sa.Column[Any]] = [
        sa.Column("change_id", BigNumber, primary_key=True, autoincrement=False),
        sa.Column("id", BigNumber, index=True),
        # The same again, for `database.statements.give_ids`.
        sa.Column("new_id", BigNumber),
        sa.Column("action", sa.Text),
        # The version that the row has, or had last.
        sa.Column("version", sa.Integer),
        # The version whose values it gets back.
        sa.Column("same_as", sa.Integer),
        # The owner that a task gets back.
        sa.Column("owner", BigNumber),
        sa.Column("obstacle", sa.Text),
        # The row that has a value which this one had.
        sa.Column("holder", BigNumber),
    ]
    return sa.Table(f"taskdb_undone_{name}", sa.MetaData(), *columns, prefixes=["TEMPORARY"])


OLD_USERS, OLD_TASKS = _temporary_table("users"), _temporary_table("tasks")

KINDS = (("user", OLD_USERS, USERS), ("task", OLD_TASKS, TASKS))


def changed_values(name: str, of: sa.FromClause = CHANGES) -> sa.ColumnElement[bool]:
    """Return the condition that a change has an old or a new value of a field."""
    return of.c[f"old_{name}"].is_not(None) | of.c[f"new_{name}"].is_not(None)


def joined(old: sa.FromClause, live: sa.FromClause) -> sa.Join:
    """Return the rows of a temporary table with their changes, and with what the live table has of each."""
    return old.join(CHANGES, CHANGES.c.id == old.c.change_id).outerjoin(live, live.c.id == old.c.id)


def restored_fields(table: sa.Table) -> list[str]:
    """Return the fields of a table that an undo sets. The time of the last change is not one of them."""
    return [name for name in RECORDED_FIELDS[table.name] if name != "updated_at"]


def lock_rows(session: Session, id: int) -> None:
    """Lock what an operation changed: users, then tasks, each in the order of their ids.

    The owners that tasks get back cannot be deleted meanwhile. They can be changed, and get other tasks.
    """
    mine = CHANGES.c.operation_id == id
    owners = sa.select(CHANGES.c.old_user_id).where(mine, CHANGES.c.old_user_id.is_not(None))
    users, tasks = (
        sa.select(CHANGES.c.row_id).where(mine, CHANGES.c.table_name == table.name)
        for table in (USERS, TASKS)
    )
    for table, ids, keep in ((USERS, users, False), (USERS, owners, True), (TASKS, tasks, False)):
        named = sa.select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id)
        rows = named.with_for_update(read=keep, key_share=keep)
        session.execute(sa.select(sa.func.count()).select_from(rows.subquery()))


def find_obstacles(session: Session, id: int) -> None:
    """Make the temporary tables, and find what stands in the way of undoing each row of an operation."""
    connection = session.connection()
    for _, old, live in KINDS:
        old.create(connection, checkfirst=False)
        _take_rows(session, id, old, live)
        # Without statistics a server would choose bad plans for many rows.
        connection.exec_driver_sql(f"ANALYZE {old.name}")
    for _, old, _ in KINDS:
        again = sa.select(old.c.id).group_by(old.c.id).having(sa.func.count() > 1)
        _block(session, old, _TWICE, old.c.id.in_(again))
    _find_external_ids(session)
    # A user keeps existing while a task or a token of theirs stays.
    there, goes = TASKS.alias("there"), OLD_TASKS.alias("goes")
    leaves = goes.c.obstacle.is_(None) & ((goes.c.action == CREATED) | goes.c.owner.is_not(None))
    away = sa.exists().where(goes.c.id == there.c.id, leaves).correlate(there)
    owns = sa.exists().where(there.c.user_id == OLD_USERS.c.id, ~away).correlate(OLD_USERS)
    token = sa.exists().where(TOKENS.c.user_id == OLD_USERS.c.id).correlate(OLD_USERS)
    _block(session, OLD_USERS, _OWNS, OLD_USERS.c.action == CREATED, owns | token)


def drop_tables(session: Session) -> None:
    """Drop the temporary tables. After an error the rollback takes them away."""
    for _, old, _ in KINDS:
        old.drop(session.connection(), checkfirst=False)


def left_rows(session: Session, most: int | None = None) -> Iterator[Sequence[dict[str, Any]]]:
    """Yield the rows that something stands in the way of, with the reason of each, some at a time."""
    change = CHANGES.c
    for kind, old, live in KINDS:
        named = (
            change.old_email
            if live is USERS
            else sa.func.coalesce(change.old_external_id, TASKS.c.external_id)
        )
        query = sa.select(old, change.version_after, named.label("name")).select_from(joined(old, live))
        query = query.where(old.c.obstacle.is_not(None)).order_by(old.c.id, old.c.change_id).limit(most)
        with session.connection().execute(query, execution_options={"yield_per": AT_ONCE}) as found:
            for some in found.mappings().partitions():
                yield [{"kind": kind, "id": row["id"], "reason": _reason(dict(row))} for row in some]


def _reason(row: dict[str, Any]) -> str:
    return _REASONS[row["obstacle"]].format_map({**row, "name": brief(row["name"])})


def _take_rows(session: Session, id: int, old: sa.Table, live: sa.Table) -> None:
    """Take the rows of one table, and find out whether they are as the operation left them."""
    change = CHANGES.c
    created, deleted = change.version_before.is_(None), change.version_after.is_(None)
    action = sa.case((created, CREATED), (deleted, DELETED), else_=UPDATED)
    later = CHANGES.alias("later")
    newest = sa.func.max(sa.func.coalesce(later.c.version_after, later.c.version_before))
    last = sa.select(newest).where(later.c.table_name == live.name, later.c.row_id == change.row_id)
    last = last.correlate_except(later)
    version = sa.func.coalesce(live.c.version, last.scalar_subquery())
    result = sa.func.coalesce(change.version_after, change.version_before)
    same = (version == result) | (_effective(version) == _effective(result))
    other = [
        changed_values(name) & live.c[name].is_distinct_from(change[f"new_{name}"])
        for name in restored_fields(live)
    ]
    rules = [
        (~deleted & live.c.id.is_(None), _GONE),
        (deleted & live.c.id.is_not(None), _THERE),
        (deleted & ~same, _AGAIN),
        (~same, _CHANGED),
        (~created & ~deleted & sa.or_(*other), _VALUES),
    ]
    rows = CHANGES.outerjoin(live, live.c.id == change.row_id)
    holder: sa.ColumnElement[Any] = sa.null()
    if live is USERS:
        taken = USERS.alias("taken")
        rows = rows.outerjoin(taken, (taken.c.email == change.old_email) & (taken.c.id != change.row_id))
        rules.append((taken.c.id.is_not(None), _ADDRESS))
        holder = taken.c.id
    else:
        owner = sa.exists().where(USERS.c.id == change.old_user_id)
        back = OLD_USERS.c.action == DELETED, OLD_USERS.c.obstacle.is_(None)
        returning = sa.exists().where(OLD_USERS.c.id == change.old_user_id, *back)
        rules.append((change.old_user_id.is_not(None) & ~owner & ~returning, _OWNER))
    query = sa.select(
        *(change.id, change.row_id, change.row_id, action, version, _effective(change.version_before)),
        *(change.old_user_id, sa.case(*rules), holder),
    )
    mine = change.operation_id == id, change.table_name == live.name
    statement = sa.insert(old).from_select([*old.c.keys()], query.select_from(rows).where(*mine))
    session.execute(statement)


def _effective(version: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return the oldest version of the row of a change that has the same values as this one."""
    made = CHANGES.alias()
    query = sa.select(sa.func.max(made.c.same_as)).where(
        made.c.table_name == CHANGES.c.table_name,
        made.c.row_id == CHANGES.c.row_id,
        made.c.version_after == version,
    )
    return sa.func.coalesce(query.correlate_except(made).scalar_subquery(), version)


def _find_external_ids(session: Session) -> None:
    """Find tasks whose external id another task of the owner has now and keeps."""
    old, change, live = OLD_TASKS.alias("old"), CHANGES.c, TASKS.alias("live")
    other, goes = TASKS.alias("other"), OLD_TASKS.alias("goes")
    given = sa.case(
        ((old.c.action == DELETED) | changed_values("external_id"), change.old_external_id),
        else_=live.c.external_id,
    )
    taken = (
        (other.c.user_id == sa.func.coalesce(change.old_user_id, live.c.user_id))
        & (other.c.external_id == given)
        & (other.c.id != old.c.id)
    )
    loses = CHANGES.alias("loses")
    lost = loses.c.old_user_id.is_not(None) | changed_values("external_id", loses)
    given_up = goes.c.obstacle.is_(None), (goes.c.action == CREATED) | lost
    gone = sa.exists().where(goes.c.id == other.c.id, loses.c.id == goes.c.change_id, *given_up)
    changed = change.old_user_id.is_not(None) | change.old_external_id.is_not(None)
    found = (
        sa.select(old.c.change_id, other.c.id.label("holder"))
        .select_from(joined(old, live).join(other, taken))
        .where(old.c.obstacle.is_(None), old.c.action != CREATED, changed, ~gone.correlate(other))
        .subquery("found")
    )
    statement = sa.update(OLD_TASKS).where(OLD_TASKS.c.change_id == found.c.change_id)
    session.execute(statement.values(obstacle=_EXTERNAL_ID, holder=found.c.holder))


def _block(session: Session, old: sa.Table, obstacle: str, *which: sa.ColumnElement[bool]) -> None:
    session.execute(sa.update(old).where(old.c.obstacle.is_(None), *which).values(obstacle=obstacle))
