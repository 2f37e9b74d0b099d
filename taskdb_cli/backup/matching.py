"""Which rows of the database are the same as archived ones, at most one each."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.backup.archived_tables import OLD_TASKS, TASKS

RESTORED, REPLACED, LEFT = "restored", "replaced", "left"
"""What was done with an archived row."""


def match(session: Session, old: sa.Table, live: sa.Table, *same: sa.ColumnElement[bool]) -> None:
    """Note for each archived row which one is the same, by the first of these conditions that one fulfils.

    Each condition holds for one pair at most. A row of the database is the same as one archived row at most.
    """
    for each in same:
        found = sa.select(sa.func.min(live.c.id)).where(each, _is_unmatched(old, live)).correlate(old)
        there = found.scalar_subquery()
        session.execute(sa.update(old).where(old.c.live_id.is_(None)).values(live_id=there))


def require_matched(session: Session, old: sa.Table, live: sa.Table, same: sa.ColumnElement[bool]) -> None:
    """Raise TransactionConflict for a row that came after `match`, and is the same as an archived one."""
    came = sa.select(old.c.id).join(live, same).where(old.c.live_id.is_(None), _is_unmatched(old, live))
    if session.execute(came.limit(1)).first():
        raise errors.TransactionConflict("rows were added while they were compared with the archive")


def match_alike(session: Session, *names: str) -> None:
    """Match tasks without external id with those of the same owner, time of creation, and columns `names`.

    Their ids are those of something else, so they may have been brought back before. Of many that are alike,
    the first is the same as the first in the database, the second as the second, as far as there are any.
    """
    old, live, other = OLD_TASKS.c, TASKS.c, TASKS.alias().c
    taken = sa.select(other.id).where(other.id == old.id).correlate(OLD_TASKS).exists()
    lost = (
        _numbered(old, old.owner, names).where(old.live_id.is_(None), old.external_id.is_(None), taken).cte()
    )
    moments = sa.select(lost.c.owner, lost.c.created_at).distinct().subquery()
    of_moment = (live.user_id == moments.c.owner) & (live.created_at == moments.c.created_at)
    same_moment = _numbered(live, live.user_id, names).join(moments, of_moment)
    there = same_moment.where(_is_unmatched(OLD_TASKS, TASKS)).cte()
    alike = (lost.c[name] == there.c[name] for name in ("owner", "created_at", "number", *names))
    session.execute(sa.update(OLD_TASKS).where(old.id == lost.c.id, *alike).values(live_id=there.c.id))


def _numbered(columns: Any, owner: sa.ColumnElement[int], names: Sequence[str]) -> sa.Select[Any]:
    """Return tasks with their numbers among those that are alike."""
    values = [sa.func.coalesce(columns[name], "").label(name) for name in names]
    kind = [owner.label("owner"), columns.created_at, *values]
    number = sa.func.row_number().over(partition_by=kind, order_by=columns.id).label("number")
    return sa.select(columns.id, *kind, number)


def _is_unmatched(old: sa.Table, live: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a row of the database is not the same as an archived one."""
    others = old.alias()
    return ~sa.select(others.c.id).where(others.c.live_id == live.c.id).correlate(live).exists()


def find_holder(
    session: Session, old: sa.Table, live: sa.Table, holds: sa.ColumnElement[bool]
) -> sa.Row[Any] | None:
    """Return an archived row, and the id of the `holder`, another row that has a unique value of it now.

    A row that is to be written comes first. A holder that gets other values itself is in nobody's way.
    """
    others = old.alias().c
    gives = sa.select(others.id).where(others.live_id == live.c.id, others.outcome == REPLACED)
    keeps = ~gives.correlate(live).exists()
    rows = sa.select(old, live.c.id.label("holder")).where(holds)
    back = (old.c.outcome == RESTORED) & keeps
    other = old.c.differs & (live.c.id != old.c.live_id)
    # In the alphabet, what is restored or replaced comes after what is left.
    return session.execute(rows.where(back | other).order_by(old.c.outcome.desc(), old.c.id).limit(1)).first()
