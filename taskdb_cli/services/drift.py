"""How the live schema of a database differs from that of the models."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, Inspector, inspect

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
    for table in tables:
        yield f"table {table}", backend.table_facts(connection, table)
        yield (
            f"primary key of {table}",
            f"{inspector.get_pk_constraint(table, schema)['constrained_columns']}",
        )
        for column in inspector.get_columns(table, schema):
            yield f"column {table}.{column['name']}", backend.column_facts(column)
        for rule in inspector.get_check_constraints(table, schema):
            yield f"constraint {rule['name']}", rule["sqltext"]
        for unique in inspector.get_unique_constraints(table, schema):
            yield f"constraint {unique['name']}", f"UNIQUE {unique['column_names']}"
        for key in inspector.get_foreign_keys(table, schema):
            yield (
                f"constraint {key['name']}",
                f"{key['constrained_columns']} to {key['referred_table']}, {key['options']}",
            )
        for index in inspector.get_indexes(table, schema):
            options = index.get("dialect_options", {})
            where = [str(text) for option, text in options.items() if option.endswith("_where")]
            yield f"index {index['name']}", f"{index['column_names']} {index['unique']} {where}"
