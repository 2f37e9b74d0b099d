"""Schemas changed behind taskdb's back, and chains of revisions that are longer than the real one."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from textwrap import dedent, indent

import psycopg
from sqlalchemy import URL

from taskdb_cli.database.schema import VERSION_TABLE, read_revisions
from tests.conftest import connect

STAMP = "2026-11-22T12:30:15.000000Z"


def execute(url: URL, *statements: str) -> list[tuple]:
    """Run statements as somebody with another tool would; return the rows of the last one."""
    if url.drivername == "sqlite":
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]
    with connect(url) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def rebuild(url: URL, table: str, pattern: str, replacement: str) -> None:
    """Make a SQLite table anew, its definition changed by a regular expression."""
    [(definition,)] = execute(url, f"SELECT sql FROM sqlite_master WHERE name = '{table}'")
    changed, count = re.subn(pattern, replacement, definition)
    assert count == 1, definition
    execute(
        url,
        changed.replace(table, "rebuilt", 1),
        f"DROP TABLE {table}",
        f"ALTER TABLE rebuilt RENAME TO {table}",
    )


def drop_checks(connection: psycopg.Connection, pattern: str) -> None:
    """Drop the CHECK constraints whose names match a regular expression."""
    drops = connection.execute(
        "SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname)"
        " FROM pg_constraint WHERE contype = 'c' AND conname ~ %s",
        (pattern,),
    )
    for [drop] in drops.fetchall():
        connection.execute(drop)


def set_revision(url: URL, revision: str) -> None:
    """Claim that the database is at a revision."""
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")


def insert_rows(url: URL) -> None:
    """One user with one task."""
    active = "1" if url.drivername == "sqlite" else "true"
    execute(
        url,
        "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
        f" VALUES ('ann@example.com', 'Ann', {active}, 1, '{STAMP}', '{STAMP}')",
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        f" SELECT id, 'Write', 'todo', 2, 1, '{STAMP}', '{STAMP}' FROM users",
    )


def write_revision(
    directory: Path, revision: str, *, after: str, upgrade: str, downgrade: str = "pass", loses: object = None
) -> None:
    """Add a revision to a chain, which can use the helpers of the others."""
    body = f'''\
        """Revision {revision}.

        Revision: {revision}, after {after}
        Date: 2026-11-23
        """

        from pathlib import Path

        import sqlalchemy as sa
        from alembic import op
        from alembic.util import load_python_file

        helpers = load_python_file(str(Path(__file__).parents[1]), "helpers.py")

        revision = "{revision}"
        down_revision = "{after}"
        branch_labels = None
        depends_on = None

        LOSES = {loses or {}}

        '''
    steps = {"upgrade": upgrade, "downgrade": downgrade}
    functions = [
        f"\ndef {name}() -> None:\n{indent(dedent(step).strip(), '    ')}\n" for name, step in steps.items()
    ]
    path = directory / "versions" / f"{revision}_test.py"
    path.write_text(dedent(body) + "\n".join(functions))
    read_revisions.cache_clear()
