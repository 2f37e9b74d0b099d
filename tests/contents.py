"""All rows of a database, written and read past taskdb, and their hashes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import URL

from taskdb_cli.backup.layout import ArchivedColumn, Digest, Manifest
from taskdb_cli.database import Database
from taskdb_cli.database.schema import COUNTED_TABLES
from taskdb_cli.models import metadata
from tests.conftest import connect
from tests.schemas import execute

COLUMNS = {name: tuple(metadata().tables[name].columns.keys()) for name in COUNTED_TABLES}
"""The columns of users and tasks as the models have them; parents first."""

Rows = Mapping[str, Iterable[tuple[Any, ...]]]

_MANY = {
    "sqlite": """
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        INSERT INTO {table} ({columns}) SELECT {values} FROM n
    """,
    "postgresql": """
        INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
        SELECT {values} FROM generate_series(1, {count}) AS n (i)
    """,
}
_MOMENT = "'2026-11-22T12:30:15.000000Z'"


def complete(table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with NULL in the columns that have been added behind its own."""
    return (*row, *[None] * (len(COLUMNS[table]) - len(row)))


def put_rows(url: URL, rows: Rows) -> None:
    """Replace all rows of a database by these, whose order of columns is that of COLUMNS.

    The last columns may be left out.
    """
    sqlite = url.drivername == "sqlite"
    mark, overriding = ("?", "") if sqlite else ("%s", " OVERRIDING SYSTEM VALUE")
    with closing(_connected(url)) as connection, connection:
        for table in reversed(COLUMNS):
            connection.execute(f"DELETE FROM {table}")
        for table, columns in COLUMNS.items():
            marks = ", ".join([mark] * len(columns))
            statement = f"INSERT INTO {table} ({', '.join(columns)}){overriding} VALUES ({marks})"
            for given in rows[table]:
                row = complete(table, given)
                connection.execute(statement, [_sqlite_value(value) for value in row] if sqlite else row)


def get_rows(url: URL) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a database in the order of the ids, alike whichever engine it is of.

    A column that the database does not have yet is None.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {}
    with closing(_connected(url)) as connection:
        for table, columns in COLUMNS.items():
            found = connection.execute(f"SELECT * FROM {table} ORDER BY id")
            names = [column[0] for column in found.description]
            records = (dict(zip(names, row, strict=True)) for row in found)
            rows[table] = [tuple(map(record.get, columns)) for record in records]
    if url.drivername != "sqlite":
        return rows
    return {table: [_plain_row(table, row) for row in found] for table, found in rows.items()}


def get_rows_without_versions(url: URL) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows as `get_rows` does, and no version of any."""
    places = {table: columns.index("version") for table, columns in COLUMNS.items() if "version" in columns}
    return {
        table: [row[: places[table]] + row[places[table] + 1 :] if table in places else row for row in rows]
        for table, rows in get_rows(url).items()
    }


def fill(url: URL, *, users: int = 20, tasks: int = 3000, width: int = 1) -> None:
    """Put in rows, as wide as said, that compress badly enough for an archive of some size."""
    sqlite = url.drivername == "sqlite"
    parts = f"SELECT string_agg(md5(i || '-' || j || random()), '') FROM generate_series(1, {width}) AS j"
    random, true = (f"hex(randomblob({32 * width}))", "1") if sqlite else (f"({parts})", "true")
    moment = _MOMENT if sqlite else f"{_MOMENT}::timestamptz"
    stamps = f"{moment}, {moment}"
    names = {
        "users": "id, email, name, is_active, version, created_at, updated_at",
        "tasks": "id, user_id, title, description, status, priority, version, created_at, updated_at",
    }
    values = {
        "users": (users, f"i, 'user' || i || '@example.com', 'User ' || i, {true}, 1, {stamps}"),
        "tasks": (tasks, f"i, 1 + i % {users}, 'Task ' || i, {random}, 'todo', 2, 1, {stamps}"),
    }
    template = _MANY["sqlite" if sqlite else "postgresql"]
    execute(
        url,
        *(
            template.format(table=table, columns=names[table], count=count, values=line)
            for table, (count, line) in values.items()
            if count
        ),
    )


def archive_columns(table: str) -> list[ArchivedColumn]:
    """Return the columns of a table as an archive names them."""
    kinds = {bool: "boolean", int: "integer", datetime: "timestamp"}
    # The type of a status or a priority is made of a plain one.
    types = [getattr(each.type, "impl", each.type) for each in metadata().tables[table].columns]
    names = zip(metadata().tables[table].columns.keys(), types, strict=True)
    return [ArchivedColumn(name, kinds.get(type.python_type, "text")) for name, type in names]


def hashes(database: Database, manifest: Manifest | None = None) -> dict[str, tuple[int, str]]:
    """Return the count and the hash of the users and of the tasks.

    With a manifest only the columns that it names are hashed. The columns behind these must be NULL.
    """
    known = {table.name: len(table.columns) for table in manifest.tables} if manifest else {}
    found = {}
    with database.connect() as connection:
        content = database.backend.content(connection)
        for layout in filter(attrgetter("is_counted"), content.layouts):
            digest, added = Digest(), len(layout.names) - known.get(layout.table, len(layout.names))
            newer = b"\t\\N" * added + b"\n"
            with content.chunks(layout) as chunks:
                for chunk in [b"".join(chunks)] if added else chunks:
                    assert chunk.count(newer) == chunk.count(b"\n")
                    digest.update(chunk.replace(newer, b"\n"))
            found[layout.table] = digest.rows, digest.sha256
    return found


def orphans(url: URL) -> int:
    """Count the tasks whose user is not there."""
    [(found,)] = execute(url, "SELECT count(*) FROM tasks WHERE user_id NOT IN (SELECT id FROM users)")
    return found


def _connected(url: URL) -> Any:
    if url.drivername == "sqlite":
        connection = sqlite3.connect(str(url.database))
        connection.execute("PRAGMA foreign_keys = ON")
        return connection
    connection = connect(url)
    connection.execute("SET TimeZone = 'UTC'")
    connection.autocommit = False
    return connection


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
    return value


def _plain_row(table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_plain_value(name, value) for name, value in zip(COLUMNS[table], row, strict=True))


def _plain_value(name: str, value: Any) -> Any:
    if value is not None and name.endswith("_at"):
        return datetime.fromisoformat(value)
    return bool(value) if name.startswith("is_") else value
