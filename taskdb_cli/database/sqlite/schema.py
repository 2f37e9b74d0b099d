"""What the tables of a SQLite file are, in words that can be compared."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any
from warnings import catch_warnings

from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import SAWarning

_CLAUSES = ("AUTOINCREMENT", "COLLATE", "ON CONFLICT")
"""Parts of a table's definition that no query of SQLite returns by themselves."""


def facts(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Name each thing that those of the tables have which are there, and describe it."""
    ours = sorted(set(inspect(connection).get_table_names()).intersection(tables))
    if not ours:
        # SQLAlchemy takes an empty list of names for all tables.
        return {}
    found: dict[str, str] = {}
    with catch_warnings(action="ignore", category=SAWarning):
        # SQLAlchemy warns of indexes on expressions, which it leaves out; they are described below.
        described = sorted(_facts(connection, ours))
    # Two tables may each have a constraint of one name.
    for name, description in described:
        found[name] = f"{found[name]} and {description}" if name in found else description
    return found


def _facts(connection: Connection, tables: list[str]) -> Iterator[tuple[str, str]]:
    inspector = inspect(connection)
    for table in tables:
        yield f"table {table}", _table(connection, table)
        yield from _indexes(connection, table)
    for (_, table), key in inspector.get_multi_pk_constraint(filter_names=tables).items():
        yield f"primary key of {table}", f"{key['constrained_columns']}"
    for (_, table), columns in inspector.get_multi_columns(filter_names=tables).items():
        for column in columns:
            yield f"column {table}.{column['name']}", _column(column)
    for table, rule in _all(inspector.get_multi_check_constraints(filter_names=tables)):
        yield f"constraint {rule['name']}", f"CHECK ({rule['sqltext']}) ON {table}"
    for table, unique in _all(inspector.get_multi_unique_constraints(filter_names=tables)):
        yield f"constraint {unique['name']}", f"UNIQUE {unique['column_names']} ON {table}"
    for table, key in _all(inspector.get_multi_foreign_keys(filter_names=tables)):
        target = f"{key['constrained_columns']} to {key['referred_table']}{key['referred_columns']}"
        yield f"constraint {key['name']}", f"{target}, {key['options']} ON {table}"
    triggers = connection.exec_driver_sql(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
    )
    for name, table, sql in triggers:
        if table in tables:
            yield f"trigger {table}.{name}", sql


def _table(connection: Connection, table: str) -> str:
    """Describe a table by whether it is STRICT, and by the clauses of its definition."""
    strict, sql = connection.exec_driver_sql(
        "SELECT strict, sqlite_master.sql FROM pragma_table_list(?) JOIN sqlite_master USING (name)", (table,)
    ).one()
    words = [*(["STRICT"] if strict else []), *(clause for clause in _CLAUSES if clause in sql.upper())]
    return " ".join(words) or "neither STRICT nor AUTOINCREMENT"


def _indexes(connection: Connection, table: str) -> Iterator[tuple[str, str]]:
    """Describe the indexes that are no constraint's."""
    found = connection.exec_driver_sql(
        "SELECT list.name, iif(list.\"unique\", 'UNIQUE ', ''), partial, sql, (SELECT group_concat("
        "  coalesce(name, 'expression') || iif(coll = 'BINARY', '', ' COLLATE ' || coll)"
        "  || iif(desc, ' DESC', ''), ', ') FROM pragma_index_xinfo(list.name) WHERE key)"
        " FROM pragma_index_list(?) AS list JOIN sqlite_master ON sqlite_master.name = list.name"
        " WHERE origin = 'c'",
        (table,),
    )
    for name, unique, partial, sql, columns in found:
        # SQLite returns the condition only as part of the statement.
        where = (
            f" WHERE {re.split('where', sql, maxsplit=1, flags=re.IGNORECASE)[1].strip()}" if partial else ""
        )
        yield f"index {name}", f"{unique}({columns}){where} ON {table}"


def _column(column: ReflectedColumn) -> str:
    """Describe a column by its type, nullability and default."""
    default = f" DEFAULT {column['default']}" if column["default"] else ""
    generated = f" GENERATED AS {column['computed']['sqltext']}" if "computed" in column else ""
    return f"{column['type']}{'' if column['nullable'] else ' NOT NULL'}{default}{generated}"


def _all(found: Mapping[Any, Sequence[Any]]) -> Iterator[tuple[str, Any]]:
    return chain.from_iterable(((table, each) for each in all) for (_, table), all in found.items())
