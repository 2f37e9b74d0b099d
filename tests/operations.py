"""What the history holds, read past the services."""

from typing import Any

from sqlalchemy import URL, Table, select
from sqlmodel import Session, col

from taskdb_cli.database import Database
from taskdb_cli.models import metadata
from taskdb_cli.models.history import AGES, CHANGES, RECORDED_FIELDS, Operation
from tests.schemas import execute

_TABLES: dict[str, Table] = {name: metadata().tables[name] for name in RECORDED_FIELDS}


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


def assert_explained(database: Database) -> None:
    """Undo in memory what the history says of every row, newest first, until no row is left.

    So each change must have found what the one before it left, and nothing changed a row without a trace.
    """
    rows, recorded, counts = database.read(_everything)
    numbers = dict.fromkeys(counts, 0)
    for change in recorded:
        numbers[change["operation_id"]] += 1
        table, id = change["table_name"], change["row_id"]
        before, after = change["version_before"], change["version_after"]
        old, new = ({name: change[f"{age}_{name}"] for name in RECORDED_FIELDS[table]} for age in AGES)
        row = rows.pop((table, id), None)
        assert (row and row["version"]) == after, change
        if after is None:
            assert not any(value is not None for value in new.values()), change
            row = {**old, "version": before, "user_id": change["owner_id"]}
        elif before is None:
            assert not any(value is not None for value in [*old.values(), *new.values()]), change
        else:
            changed = [name for name in old if old[name] is not None or new[name] is not None]
            assert {name: row[name] for name in changed} == {name: new[name] for name in changed}, change
            assert all(old[name] != new[name] for name in changed), change
            assert changed, change
            row |= {name: old[name] for name in changed} | {"version": before}
        assert change["owner_id"] == (id if table == "users" else row["user_id"]), change
        if before is not None:
            rows[table, id] = row
    assert not rows
    assert numbers == counts
    assert 0 not in counts.values()


def _everything(session: Session) -> tuple[dict[tuple[str, int], Any], list[Any], dict[int, int]]:
    rows = {
        (name, row["id"]): {"version": 1, **row}
        for name, table in _TABLES.items()
        for row in session.execute(select(table)).mappings()
    }
    # Rows are locked when they are recorded, so the changes of one row have ids in their order.
    recorded = session.execute(select(CHANGES).order_by(CHANGES.c.id.desc())).mappings().all()
    operations = session.execute(select(col(Operation.id), col(Operation.rows_changed)))
    return rows, [*recorded], dict(operations.all())


def prune(url: URL, first: int) -> None:
    """Delete the operations before one, with their changes."""
    execute(url, f"DELETE FROM taskdb_changes WHERE operation_id < {first}")
    execute(url, f"DELETE FROM taskdb_operations WHERE id < {first}")
