"""What the tables of a SQLite file are, in words that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn


def facts(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Name each thing that those of the tables have which are there, and describe it."""
    there = set(inspect(connection).get_table_names())
    return dict(_facts(connection, sorted(there.intersection(tables))))


def _facts(connection: Connection, tables: list[str]) -> Iterator[tuple[str, str]]:
    inspector = inspect(connection)
    for table in tables:
        yield f"table {table}", _table(connection, table)
    for (_, table), key in inspector.get_multi_pk_constraint(filter_names=tables).items():
        yield f"primary key of {table}", f"{key['constrained_columns']}"
    for (_, table), columns in inspector.get_multi_columns(filter_names=tables).items():
        for column in columns:
            yield f"column {table}.{column['name']}", _column(column)
    for rule in _all(inspector.get_multi_check_constraints(filter_names=tables)):
        yield f"constraint {rule['name']}", rule["sqltext"]
    for unique in _all(inspector.get_multi_unique_constraints(filter_names=tables)):
        yield f"constraint {unique['name']}", f"UNIQUE {unique['column_names']}"
    for key in _all(inspector.get_multi_foreign_keys(filter_names=tables)):
        yield (
            f"constraint {key['name']}",
            f"{key['constrained_columns']} to {key['referred_table']}, {key['options']}",
        )
    for index in _all(inspector.get_multi_indexes(filter_names=tables)):
        where = index.get("dialect_options", {}).get("sqlite_where")
        yield f"index {index['name']}", f"{index['column_names']} {index['unique']} {where}"


def _table(connection: Connection, table: str) -> str:
    """Describe a table by whether it is STRICT, and whether it never gives out an id twice."""
    row = connection.exec_driver_sql(
        "SELECT strict, sql LIKE '%AUTOINCREMENT%' FROM pragma_table_list(?) JOIN sqlite_master USING (name)",
        (table,),
    ).one()
    words = [word for word, present in zip(("STRICT", "AUTOINCREMENT"), row, strict=True) if present]
    return " ".join(words) or "neither STRICT nor AUTOINCREMENT"


def _column(column: ReflectedColumn) -> str:
    """Describe a column by its type, nullability and default."""
    default = f" DEFAULT {column['default']}" if column["default"] else ""
    return f"{column['type']}{'' if column['nullable'] else ' NOT NULL'}{default}"


def _all(found: Mapping[Any, Sequence[Any]]) -> Iterator[Any]:
    return chain.from_iterable(found.values())
