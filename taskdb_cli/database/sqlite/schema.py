"""The schema on SQLite: how the models' types and rules are written, and how tables are described."""

import re
from collections.abc import Collection, Iterator
from typing import Any
from warnings import catch_warnings

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import TypeCompiler
from sqlalchemy.types import TypeEngine

from taskdb_cli.database.schema import collect_facts, write_rules
from taskdb_cli.database.sqlite import search
from taskdb_cli.models import types

_CLAUSES = ("AUTOINCREMENT", "COLLATE", "ON CONFLICT")
"""Parts of a table's definition that SQLite shows only as text."""


@compiles(types.BigNumber, "sqlite")
@compiles(types.SmallNumber, "sqlite")
@compiles(types.Flag, "sqlite")
def _integer(type_: TypeEngine[Any], compiler: TypeCompiler, **options: Any) -> str:
    # A STRICT table has only one integer type.
    return "INTEGER"


# GLOB and length() stop at NUL, so the rules look for NUL separately.
# With a modifier every version of strftime turns 2026-02-30 into March 2nd, so an impossible date differs
# from the result. The form of a time is checked first, because strftime raises an error for 'now'.
write_rules(
    "sqlite",
    {
        types.NoUppercase: "{0} NOT GLOB '*[A-Z]*'",
        types.OneLine: "instr({0}, char(0)) = 0"
        " AND {0} NOT GLOB '*[' || char(1) || '-' || char(31, 127) || '-' || char(159) || ']*'",
        types.PlainText: "instr({0}, char(0)) = 0 AND {0} NOT GLOB '*['"
        " || char(1) || '-' || char(8, 11, 12, 14) || '-' || char(31, 127) || '-' || char(159) || ']*'",
        types.IsTimestamp: "substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]Z'"
        " AND instr({0}, char(0)) = 0"
        " AND substr({0}, 1, 19) IS strftime('%Y-%m-%dT%H:%M:%S', substr({0}, 1, 19), '+0 days')"
        " AND {0} >= '0001'",
        types.IsUuid: f"{{0}} GLOB '{'-'.join('[0-9a-f]' * digits for digits in (8, 4, 4, 4, 12))}'"
        " AND instr({0}, char(0)) = 0",
    },
)


def facts(connection: Connection, tables: Collection[str]) -> dict[str, str]:
    """Return a description of each table, column, constraint, index and trigger of those tables, by name."""
    with catch_warnings(action="ignore", category=SAWarning):
        # SQLAlchemy warns about indexes on expressions, which it leaves out; _indexes describes them.
        return collect_facts(sorted(_facts(connection, tables)))


def _facts(connection: Connection, tables: Collection[str]) -> Iterator[tuple[str, str]]:
    inspector = inspect(connection)
    for table in set(inspector.get_table_names()).intersection(tables):
        strict, sql = connection.exec_driver_sql(
            "SELECT strict, sqlite_master.sql FROM pragma_table_list(?) JOIN sqlite_master USING (name)",
            (table,),
        ).one()
        words = [*(["STRICT"] if strict else []), *(clause for clause in _CLAUSES if clause in sql.upper())]
        yield f"table {table}", " ".join(words) or "neither STRICT nor AUTOINCREMENT"
        yield from _indexes(connection, table)
        yield f"primary key of {table}", f"{inspector.get_pk_constraint(table)['constrained_columns']}"
        for column in inspector.get_columns(table):
            null = "" if column["nullable"] else " NOT NULL"
            default = f" DEFAULT {column['default']}" if column["default"] else ""
            generated = f" GENERATED AS {column['computed']['sqltext']}" if "computed" in column else ""
            yield f"column {table}.{column['name']}", f"{column['type']}{null}{default}{generated}"
        for rule in inspector.get_check_constraints(table):
            yield f"constraint {rule['name']}", f"CHECK ({rule['sqltext']}) ON {table}"
        for unique in inspector.get_unique_constraints(table):
            yield f"constraint {unique['name']}", f"UNIQUE {unique['column_names']} ON {table}"
        for key in inspector.get_foreign_keys(table):
            target = f"{key['constrained_columns']} to {key['referred_table']}{key['referred_columns']}"
            yield f"constraint {key['name']}", f"{target}, {key['options']} ON {table}"
        triggers = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
        )
        for name, sql in triggers:
            if search.is_ours(name, sql):
                continue
            yield f"trigger {table}.{name}", sql


def _indexes(connection: Connection, table: str) -> Iterator[tuple[str, str]]:
    """Describe the indexes that belong to no constraint."""
    found = connection.exec_driver_sql(
        "SELECT list.name, iif(list.\"unique\", 'UNIQUE ', ''), partial, sql, (SELECT group_concat("
        "  coalesce(name, 'expression') || iif(coll = 'BINARY', '', ' COLLATE ' || coll)"
        "  || iif(desc, ' DESC', ''), ', ') FROM pragma_index_xinfo(list.name) WHERE key)"
        " FROM pragma_index_list(?) AS list JOIN sqlite_master ON sqlite_master.name = list.name"
        " WHERE origin = 'c'",
        (table,),
    )
    for name, unique, partial, sql, columns in found:
        # SQLite shows the condition only as part of the statement.
        where = (
            f" WHERE {re.split('where', sql, maxsplit=1, flags=re.IGNORECASE)[1].strip()}" if partial else ""
        )
        yield f"index {name}", f"{unique}({columns}){where} ON {table}"
