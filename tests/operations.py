"""What the history holds, read past the services."""

from typing import Any

from sqlalchemy import select
from sqlmodel import col

from taskdb_cli.database import Database
from taskdb_cli.models.history import CHANGES, Operation


def operations(database: Database) -> list[Operation]:
    """Return all operations, oldest first."""
    return database.read(lambda session: [*session.scalars(select(Operation).order_by(col(Operation.id)))])


def changes(database: Database, operation: int) -> list[dict[str, Any]]:
    """Return how an operation changed each row: what is not NULL, without the ids of the history."""
    query = select(CHANGES).where(CHANGES.c.operation_id == operation).order_by(CHANGES.c.id)
    rows = database.read(lambda session: session.execute(query).mappings().all())
    left_out = ("id", "operation_id")
    return [
        {name: value for name, value in row.items() if value is not None and name not in left_out}
        for row in rows
    ]
