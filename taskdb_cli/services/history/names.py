"""The names by which people know the rows that changed, and their owners."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, case, func, literal, select

from taskdb_cli.models.history import AGES, CHANGES
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.token import TOKENS
from taskdb_cli.models.user import USERS

_changes = CHANGES.c

_NAMES = {TASKS: "title", USERS: "email", TOKENS: "name"}
"""The column that tells a person which row it is."""


def with_names(query: Select[Any]) -> Select[Any]:
    """Add the names that rows have now, or had when they were deleted last, and the addresses of owners."""
    now = [
        (_changes.table_name == table.name, _value_of(table.c[name], _changes.row_id))
        for table, name in _NAMES.items()
    ]
    title = func.coalesce(case(*now), _last_name(_changes.table_name, _changes.row_id)).label("title")
    owners = []
    for age in AGES:
        id = _changes[f"{age}_user_id"]
        address = func.coalesce(_value_of(USERS.c.email, id), _last_name(literal(USERS.name), id))
        owners.append(address.label(f"{age}_owner"))
    return query.add_columns(title, *owners)


def _last_name(table: ColumnElement[str], id: ColumnElement[int]) -> ColumnElement[str]:
    """Return the name that a deleted row had."""
    later = CHANGES.alias().c
    names = func.coalesce(*[later[f"old_{name}"] for name in _NAMES.values()])
    gone = later.table_name == table, later.row_id == id, later.version_after.is_(None)
    return select(names).where(*gone).order_by(later.id.desc()).limit(1).correlate(CHANGES).scalar_subquery()


def _value_of(column: Column[Any], id: ColumnElement[int]) -> ColumnElement[Any]:
    return select(column).where(column.table.c.id == id).correlate(CHANGES).scalar_subquery()
