"""Which schema a database holds: its revision, and how that compares with what this version needs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnClause, Connection, column, inspect, select, table

from taskdb_cli.errors import (
    SchemaAhead,
    SchemaBehind,
    SchemaDrift,
    SchemaError,
    SchemaForeign,
    SchemaForked,
)

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

VERSION_TABLE = "taskdb_alembic_version"
"""Alembic's own table; not its default name, because the database may belong to an application too."""

ARCHIVED_TABLES = ("users", "tasks")
"""The tables that a backup holds, parents before their children."""

LEFT_OUT_TABLES = frozenset({"access_tokens"})
"""The tables that no backup holds: whoever reads an archive gains no access by it."""

OUR_TABLES = frozenset(ARCHIVED_TABLES) | LEFT_OUT_TABLES


def migrations_directory() -> Path:
    """Return where the revisions are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def alembic_config() -> Config:
    """Return Alembic's configuration, which needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    return config


def revisions() -> ScriptDirectory:
    """Return the revisions that this version knows."""
    return read_revisions(migrations_directory())


@cache
def read_revisions(directory: Path) -> ScriptDirectory:
    """Return the revisions of a directory as they are when it is first asked for: reading runs them all."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(directory))


def head_revision() -> str:
    """Return the newest revision that this version knows; raise SchemaForked if there are several."""
    heads = revisions().get_heads()
    if len(heads) > 1:
        raise SchemaForked(
            f"the revisions of this version have several heads: {', '.join(sorted(heads))}",
            "in a checkout, join them with 'alembic merge heads'",
        )
    return heads[0]


def recorded_facts(revision: str, dialect: str) -> dict[str, str]:
    """Return what `Backend.facts` says of a database of that engine that was migrated to a revision.

    The facts are recorded in a file, because a standby or a read-only session cannot build the tables
    to compare with.
    """
    path = migrations_directory() / "facts" / f"{revision}.json"
    recorded: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return recorded[dialect]


def current_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at, or None when it has never been migrated.

    Raises SchemaForeign when it holds tables of our names that no migration of ours made, and
    SchemaForked when it claims to be at several.
    """
    stamped = stamped_revisions(connection)
    if len(stamped) > 1:
        raise SchemaForked(
            f"the database is at several revisions at once: {', '.join(stamped)}",
            f"leave the right one of them in {VERSION_TABLE}, or restore a backup into a new database",
        )
    return stamped[0] if stamped else None


def stamped_revisions(connection: Connection) -> list[str]:
    """Return every revision that the database says it is at: one, unless something went wrong, or none.

    Raises SchemaForeign as `current_revision` does.
    """
    tables = set(inspect(connection).get_table_names())
    version: ColumnClause[str] = column("version_num")
    if VERSION_TABLE in tables and (
        stamped := connection.scalars(select(version).select_from(table(VERSION_TABLE, version))).all()
    ):
        return sorted(stamped)
    if taken := sorted(OUR_TABLES & tables):
        raise SchemaForeign(
            f"the database has a table {' and '.join(taken)} that taskdb did not make",
            "give taskdb a database, or a PostgreSQL schema, of its own",
        )
    return []


def compare_revision(current: str | None) -> SchemaError | None:
    """Return what is wrong with being at that revision, or None at head."""
    head = head_revision()
    if current == head:
        return None
    if current is None:
        return SchemaBehind("the database has no tables yet", "make them with 'taskdb migrate'")
    if current in {revision.revision for revision in revisions().walk_revisions()}:
        return SchemaBehind(
            f"the database is at revision {current}, and this version needs {head}",
            "upgrade it with 'taskdb migrate'",
        )
    return SchemaAhead(
        f"the database is at revision {current}, which this version does not know",
        "a newer taskdb made it: upgrade taskdb",
    )


def diagnose(connection: Connection) -> SchemaError:
    """Return why a statement failed on the schema."""
    try:
        problem = compare_revision(current_revision(connection))
    except SchemaError as found:
        return found
    return problem or SchemaDrift(
        "the database is at the right revision, but its tables differ from it",
        "'taskdb migrate check' names the differences",
    )
