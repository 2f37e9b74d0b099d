"""How the live schema of a database differs from that of the models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.engine import ObjectScope

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.models import metadata


def differences(connection: Connection, backend: Backend) -> Iterator[str]:
    """Name every difference; change nothing."""
    tables = OUR_TABLES & set(inspect(connection).get_table_names())
    live = dict(facts(connection, backend, tables))
    with backend.scratch(connection) as (scratch, schema):
        metadata().create_all(scratch, checkfirst=False)
        wanted = dict(facts(scratch, backend, OUR_TABLES, schema))
    for name in sorted(wanted.keys() | live.keys()):
        if name not in live:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not of taskdb"
        elif live[name] != wanted[name]:
            yield f"{name} is {live[name]}, not {wanted[name]}"


def facts(
    connection: Connection, backend: Backend, tables: Collection[str], schema: str | None = None
) -> Iterator[tuple[str, str]]:
    """Name each thing that a schema has of these tables, and describe it by what must not drift."""
    inspector: Inspector = inspect(connection)
    # One query for all tables, of which those of a scratch schema are temporary.
    which: dict[str, Any] = {"schema": schema, "filter_names": list(tables), "scope": ObjectScope.ANY}
    for table in tables:
        yield f"table {table}", backend.table_facts(connection, table)
    for (_, table), key in inspector.get_multi_pk_constraint(**which).items():
        yield f"primary key of {table}", f"{key['constrained_columns']}"
    for (_, table), columns in inspector.get_multi_columns(**which).items():
        for column in columns:
            yield f"column {table}.{column['name']}", backend.column_facts(column)
    for rule in _all(inspector.get_multi_check_constraints(**which)):
        yield f"constraint {rule['name']}", rule["sqltext"]
    for unique in _all(inspector.get_multi_unique_constraints(**which)):
        yield f"constraint {unique['name']}", f"UNIQUE {unique['column_names']}"
    for key in _all(inspector.get_multi_foreign_keys(**which)):
        yield (
            f"constraint {key['name']}",
            f"{key['constrained_columns']} to {key['referred_table']}, {key['options']}",
        )
    for index in _all(inspector.get_multi_indexes(**which)):
        options = index.get("dialect_options", {})
        where = [str(text) for option, text in options.items() if option.endswith("_where")]
        yield f"index {index['name']}", f"{index['column_names']} {index['unique']} {where}"


def _all(found: Mapping[Any, Sequence[Any]]) -> Iterator[Any]:
    return chain.from_iterable(found.values())
