"""The revision of a database, and how it compares with the one that this version needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy import Connection, delete, insert, inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from taskdb_cli import errors

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

VERSION_TABLE = "taskdb_alembic_version"
"""Alembic's own table; not its default name, because the database may belong to an application too."""

HISTORY_TABLES = ("taskdb_operations", "taskdb_changes")
"""The tables of the history, parents before their children."""

COUNTED_TABLES = ("users", "tasks")
"""The tables whose rows are counted where somebody asks what a database or an archive holds."""

ARCHIVED_TABLES = (*COUNTED_TABLES, *HISTORY_TABLES)
"""The tables that a backup holds, parents before their children."""

IDENTITY_TABLE = "taskdb_identity"
"""The table whose one row says which database this is."""

LEFT_OUT_TABLES = frozenset({"access_tokens", IDENTITY_TABLE})
"""The tables that no backup holds: tokens would give access, and the manifest has the identity."""

OUR_TABLES = frozenset(ARCHIVED_TABLES) | LEFT_OUT_TABLES

STAMP = "taskdb migrate stamp"
"""The command that repairs the version table."""

ALREADY_THERE = f"if the tables are of a later revision than the database says, '{STAMP}' writes that down"
"""The hint for a migration that finds the table, column or index that it is about to create."""

# Every revision has these constraints, and no other program is likely to choose the same names.
_OUR_MARKS = frozenset({"users_email_lower", "tasks_completed_when_done"})

_REVISION = re.compile(r"[A-Za-z0-9_.-]{1,40}")


def migrations_directory() -> Path:
    """Return the directory of the revisions: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def alembic_config(**attributes: object) -> Config:
    """Return Alembic's configuration, which needs no file. `migrations/env.py` reads the attributes."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.attributes.update(attributes)
    return config


def revisions() -> ScriptDirectory:
    """Return the revisions that this version knows."""
    return read_revisions(migrations_directory())


@cache
def read_revisions(directory: Path) -> ScriptDirectory:
    """Return the revisions of a directory. They are imported once, when they are first asked for."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(directory))


def head_revision() -> str:
    """Return the newest revision that this version knows; raise errors.SchemaForked if there are several."""
    heads = revisions().get_heads()
    if len(heads) > 1:
        raise errors.SchemaForked(
            f"the revisions of this version have several heads: {', '.join(sorted(heads))}",
            "in a checkout, join them with 'alembic merge heads'",
        )
    return heads[0]


def recorded_facts(revision: str, dialect: str) -> dict[str, str]:
    """Return what `Backend.facts` returns for a database of that engine at a revision.

    The facts are recorded in a file, because a standby or a read-only session cannot create tables
    to compare with.
    """
    path = migrations_directory() / "facts" / f"{revision}.json"
    recorded: dict[str, dict[str, str]] = json.loads(path.read_bytes())
    return recorded[dialect]


def collect_facts(described: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return descriptions by name. Two tables may each have a constraint of the same name."""
    found: dict[str, str] = {}
    for name, description in described:
        found[name] = f"{found[name]} and {description}" if name in found else description
    return found


def write_rules(dialect: str, templates: Mapping[type[FunctionElement[bool]], str]) -> None:
    """Define how SQLAlchemy writes rules of the models on one engine; {0} stands for the column."""
    for rule, template in templates.items():

        @compiles(rule, dialect)
        def write(
            rule: FunctionElement[bool], compiler: SQLCompiler, *, form: str = template, **_: Any
        ) -> str:
            return form.format(compiler.process(rule.clauses))


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it has never been migrated.

    Raises SchemaForeign if it has tables of our names that no migration of ours created, SchemaUnstamped if
    the tables are ours but their revision is unknown, and SchemaForked if the version table names several.
    """
    stamped = stamped_revisions(connection)
    names = ", ".join(stamped)
    if is_revision_name(names):
        return names
    if len(stamped) > 1:
        hint = f"'{STAMP} REVISION' keeps one of them, if the tables match it"
        raise errors.SchemaForked(f"the database is at several revisions at once: {names}", hint)
    if stamped:
        problem = f"{VERSION_TABLE} holds {names}, which is not a revision"
    elif taken := require_ours(connection):
        problem = f"the database has the tables {', '.join(taken)}, but {VERSION_TABLE} names no revision"
    else:
        return None
    raise errors.SchemaUnstamped(problem, f"'{STAMP}' compares the tables with a revision and records it")


def stamped_revisions(connection: Connection) -> list[str]:
    """Return the sorted rows of the version table; nothing if the table is missing.

    A row that does not look like a revision is returned in parentheses. Raises SchemaForeign for a version
    table that Alembic did not create.
    """
    inspector = inspect(connection)
    if not inspector.has_table(VERSION_TABLE):
        return []
    # has_table is also true for a view.
    columns = [each["name"] for each in inspector.get_columns(VERSION_TABLE)]
    if VERSION_TABLE not in inspector.get_table_names() or "version_num" not in columns:
        message = f"{VERSION_TABLE} is not the table in which taskdb keeps its revision"
        raise errors.SchemaForeign(message, f"rename it, then run '{STAMP}'")
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars()  # noqa: S608 (ours)
    return sorted(value if is_revision_name(value) else f"({value!r:.40})" for value in found)


def is_revision_name(value: object) -> TypeGuard[str]:
    """Return whether a revision could have this name, known or not."""
    return isinstance(value, str) and bool(_REVISION.fullmatch(value))


def require_ours(connection: Connection) -> list[str]:
    """Return the tables of our names that are there, sorted.

    Raises SchemaForeign if there are some but none has a constraint that only taskdb creates.
    """
    inspector = inspect(connection)
    taken = sorted(OUR_TABLES.intersection(inspector.get_table_names()))
    rules = (rule["name"] for name in taken for rule in inspector.get_check_constraints(name))
    if taken and _OUR_MARKS.isdisjoint(rules):
        raise errors.SchemaForeign(
            f"the database has tables that taskdb did not make: {', '.join(taken)}",
            "give taskdb a database of its own, or a PostgreSQL schema with --schema",
        )
    return taken


def compare_revision(current: str | None) -> errors.SchemaError | None:
    """Return the error for a database at that revision, or None at head."""
    head = head_revision()
    if current == head:
        return None
    if current is None:
        return errors.SchemaBehind("the database has no tables yet", "make them with 'taskdb migrate'")
    place = f"the database is at revision {current}"
    if current in {revision.revision for revision in revisions().walk_revisions()}:
        return errors.SchemaBehind(
            f"{place}, and this version needs {head}", "upgrade it with 'taskdb migrate'"
        )
    return errors.SchemaAhead(
        f"{place}, which this version does not know", "a newer taskdb made it: upgrade taskdb"
    )


def require_utf8(place: str, encoding: str | None, hint: str) -> None:
    """Raise SchemaError, with the hint, unless the encoding of a database is UTF-8."""
    if encoding not in (None, "UTF8", "UTF-8"):
        raise errors.SchemaError(f"{place} has the encoding {encoding}; taskdb needs UTF-8", hint)


def diagnose(connection: Connection) -> errors.SchemaError:
    """Return why a statement failed on the schema."""
    try:
        problem = compare_revision(current_revision(connection))
    except errors.SchemaError as found:
        return found
    return problem or errors.SchemaDrift(
        "the database is at the right revision, but its tables differ from it",
        "'taskdb migrate check' names the differences",
    )


def read_identity(connection: Connection) -> str | None:
    """Return the identity of a database, or None at a revision before the identity table."""
    if IDENTITY_TABLE not in inspect(connection).get_table_names():
        return None
    return connection.exec_driver_sql(f"SELECT identity FROM {IDENTITY_TABLE}").scalar()  # noqa: S608 (ours)


def adopt_identity(connection: Connection, identity: str) -> None:
    """Replace the identity of a database, in the transaction of the connection."""
    from taskdb_cli.models.schema import DatabaseIdentity

    connection.execute(delete(DatabaseIdentity))
    connection.execute(insert(DatabaseIdentity).values(id=1, identity=identity))
