"""Delete old operations from the history."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.models.history import CHANGES, OPERATIONS
from taskdb_cli.text.amounts import in_words

AT_ONCE = 5_000
"""How many operations are deleted in one transaction."""


@dataclass(frozen=True)
class Pruned:
    """How many operations were deleted, and how many changes of rows with them."""

    operations: int = 0
    changes: int = 0

    def describe(self) -> str:
        """Return both numbers in words."""
        return f"{in_words({'operations': self.operations})} with {in_words({'changes': self.changes})}"

    def report(self, *, dry_run: bool) -> dict[str, object]:
        """Return what happened, or would happen, as programs read it."""
        return {"operations": self.operations, "changes": self.changes, "dry_run": dry_run}


def count_older(session: Session, *, before: datetime) -> Pruned:
    """Count the operations before a time, and their changes."""
    older = OPERATIONS.c.at < before
    operations = sa.select(sa.func.count()).select_from(OPERATIONS).where(older)
    changes = sa.select(sa.func.count()).select_from(CHANGES).join(OPERATIONS).where(older)
    return Pruned(session.execute(operations).scalar_one(), session.execute(changes).scalar_one())


def prune(database: Database, *, before: datetime) -> Pruned:
    """Delete all operations before a time with their changes, in several transactions.

    What was deleted stays deleted if one fails. A database without such operations is only read. Raises
    NotWritable or NotPermitted if it cannot be written, and as `Database.write` does.
    """
    total = Pruned()
    if not database.read(lambda session: session.scalars(_older(before).limit(1)).all()):
        return total
    while (some := database.write(lambda session: prune_some(session, before=before), bulk=True)).operations:
        total = Pruned(total.operations + some.operations, total.changes + some.changes)
    return total


def prune_some(session: Session, *, before: datetime, most: int = AT_ONCE) -> Pruned:
    """Delete the oldest operations before a time, at most so many, with their changes.

    They are locked first, so that an operation that is being undone is deleted after that, or not at all.
    """
    ids = [*session.scalars(_older(before).limit(most).with_for_update())]
    if not ids:
        return Pruned()
    connection = session.connection()
    # The ids are in a list, not a query: another run may have deleted some of them meanwhile.
    changes = connection.execute(sa.delete(CHANGES).where(CHANGES.c.operation_id.in_(ids))).rowcount
    operations = connection.execute(sa.delete(OPERATIONS).where(OPERATIONS.c.id.in_(ids))).rowcount
    return Pruned(operations, changes)


def _older(before: datetime) -> sa.Select[int]:
    return sa.select(OPERATIONS.c.id).where(OPERATIONS.c.at < before).order_by(OPERATIONS.c.id)
