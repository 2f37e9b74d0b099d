"""What the history keeps of a row that is created, updated or deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from taskdb_cli.models.history import RECORDED_FIELDS

_OWNERS = {"users": "id", "tasks": "user_id", "access_tokens": "user_id"}

Expressions = Mapping[str, sa.ColumnElement[Any]]
"""Values of a row by the names of its columns."""


def _version(table: sa.Table) -> sa.ColumnElement[int]:
    return table.c.version if "version" in table.c else sa.literal(1)


def _about(table: sa.Table) -> Expressions:
    return {"row_id": table.c.id, "owner_id": table.c[_OWNERS[table.name]]}


def created(table: sa.Table) -> Expressions:
    """Return what is recorded of a new row."""
    return {**_about(table), "version_after": _version(table)}


def deleted(table: sa.Table) -> Expressions:
    """Return what is recorded of a row that is deleted: all of it."""
    old = {f"old_{name}": table.c[name] for name in RECORDED_FIELDS[table.name]}
    return {**_about(table), "version_before": _version(table), **old}


def updated(table: sa.Table, values: Mapping[str, Any], same_as: sa.ColumnElement[Any] | None) -> Expressions:
    """Return what is recorded of a row that is about to get these values: those that differ."""
    recorded = {**_about(table), "version_before": _version(table), "version_after": values["version"]}
    if same_as is not None:
        recorded["same_as"] = same_as
    for name in _recorded_of(table, values):
        recorded |= _if_differs(name, table.c[name], bound(table, name, values[name]))
    return recorded


def updating(
    table: sa.Table,
    values: Mapping[str, Any],
    which: Sequence[sa.ColumnElement[bool]],
    same_as: sa.ColumnElement[Any] | None,
) -> tuple[sa.Update, Expressions]:
    """Return an UPDATE and what is recorded of each row, from its old values and its new ones.

    The rows are locked first, so that the old values are those of the row that is updated.
    """
    names = _recorded_of(table, values)
    kept: dict[str, sa.ColumnElement[Any]] = {
        "row_id": table.c.id,
        "version_before": table.c.version,
        "owner_id": table.c[_OWNERS[table.name]],
    }
    kept |= {f"old_{name}": table.c[name] for name in names}
    kept |= {f"set_{name}": bound(table, name, value) for name, value in values.items()}
    if same_as is not None:
        kept["same_as"] = same_as
    rows = sa.select(*labelled(kept)).where(*which).order_by(table.c.id).with_for_update(of=table)
    before = rows.cte("before")
    new = {name: before.c[f"set_{name}"] for name in values}
    statement = sa.update(table).where(table.c.id == before.c.row_id).values(new)
    recorded: dict[str, sa.ColumnElement[Any]] = {
        name: before.c[name] for name in ("row_id", "owner_id", "version_before")
    }
    recorded["version_after"] = table.c.version
    if same_as is not None:
        recorded["same_as"] = before.c.same_as
    for name in names:
        recorded |= _if_differs(name, before.c[f"old_{name}"], table.c[name])
    return statement, recorded


def _recorded_of(table: sa.Table, values: Mapping[str, Any]) -> list[str]:
    # Every update sets updated_at, and so does one that undoes it.
    return [name for name in RECORDED_FIELDS[table.name] if name in values and name != "updated_at"]


def bound(table: sa.Table, name: str, value: Any) -> sa.ColumnElement[Any]:
    """Return a value of that column as an expression."""
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value, table.c[name].type)


def _if_differs(name: str, old: sa.ColumnElement[Any], new: sa.ColumnElement[Any]) -> Expressions:
    """Return what is recorded of a column: both values if they differ, and else NULL twice."""
    differs = old.is_distinct_from(new)
    return {f"old_{name}": sa.case((differs, old)), f"new_{name}": sa.case((differs, new))}


def labelled(values: Expressions) -> list[sa.Label[Any]]:
    """Return the values under their names, for a SELECT or RETURNING."""
    return [value.label(name) for name, value in values.items()]
