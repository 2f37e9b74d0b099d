"""The names by which people know the rows that changed, and their owners."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, case, func, literal, select

from taskdb_cli.models.history import AGES, CHANGES, Operation

_TABLES = Operation.metadata.tables
_users, _changes = _TABLES["users"].c, CHANGES.c

_NAMES = {"tasks": "title", "users": "email", "access_tokens": "name"}
"""The column that tells a person which row it is."""


def with_names(query: Select[Any]) -> Select[Any]:
    """Add the names that rows have now, or had when they were deleted last, and the addresses of owners."""
    now = [
        (_changes.table_name == table, _value_of(_TABLES[table].c[name], _changes.row_id))
        for table, name in _NAMES.items()
    ]
    title = func.coalesce(case(*now), _last_name(_changes.table_name, _changes.row_id)).label("title")
    owners = [
        func.coalesce(_value_of(_users.email, id), _last_name(literal("users"), id)).label(f"{age}_owner")
        for age, id in ((age, _changes[f"{age}_user_id"]) for age in AGES)
    ]
    return query.add_columns(title, *owners)


def _last_name(table: ColumnElement[str], id: ColumnElement[int]) -> ColumnElement[str]:
    """Return the name that a deleted row had."""
    later = CHANGES.alias().c
    names = func.coalesce(*[later[f"old_{name}"] for name in _NAMES.values()])
    gone = later.table_name == table, later.row_id == id, later.version_after.is_(None)
    return select(names).where(*gone).order_by(later.id.desc()).limit(1).correlate(CHANGES).scalar_subquery()


def _value_of(column: Column[Any], id: ColumnElement[int]) -> ColumnElement[Any]:
    return select(column).where(column.table.c.id == id).correlate(CHANGES).scalar_subquery()
