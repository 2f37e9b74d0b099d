"""Move a database along its chain of revisions, and say where on it the database stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import StringIO
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Inspector, inspect

from taskdb_cli.database import Database
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.schema import (
    OUR_TABLES,
    alembic_config,
    compare_revision,
    current_revision,
    revisions,
)
from taskdb_cli.errors import InvalidInput, SchemaAhead, SchemaDrift
from taskdb_cli.models import metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script


@dataclass(frozen=True)
class Revision:
    """One step of the chain, and whether a database has taken it."""

    revision: str
    date: str
    applied: bool
    message: str

    def record(self) -> dict[str, object]:
        """Return the step as a record."""
        return asdict(self)


@dataclass(frozen=True)
class SchemaStatus:
    """Where a database stands: its revision, the newest known one, and the steps between."""

    current: str | None
    head: str
    pending: list[Revision]


def upgrade(database: Database, *, to: str = "head") -> SchemaStatus:
    """Bring a database to a revision, making it first where it is missing and the engine can.

    Returns its status before. Raises SchemaForeign, SchemaAhead or InvalidInput before anything is
    changed; a revision that fails leaves nothing behind.
    """
    from alembic import command

    _require_known(to)
    with database.migration(create=True) as (connection, observer), _resolving(to):
        before = _status(observer)
        command.upgrade(_config(connection), to)
        return before


def downgrade(database: Database, *, to: str = "-1") -> SchemaStatus:
    """Take a database back to an older revision, by default by one step; return its status before."""
    from alembic import command

    _require_known(to)
    with database.migration() as (connection, observer), _resolving(to):
        before = _status(observer)
        command.downgrade(_config(connection), to)
        return before


def status(database: Database) -> SchemaStatus:
    """Return where a database stands; change nothing.

    Raises SchemaForeign for tables that taskdb did not make.
    """
    with database.connect() as connection:
        return _status(connection, refuse_ahead=False)


def history(database: Database) -> list[Revision]:
    """Return every known revision, oldest first, and whether the database has it.

    Raises SchemaForeign, or SchemaAhead for a database of which that cannot be said.
    """
    with database.connect() as connection:
        return _chain(_status(connection).current)


def check(database: Database) -> SchemaStatus:
    """Return the status of a database that is at head and holds exactly the schema of the models.

    Raises SchemaBehind, SchemaAhead, SchemaForeign, or SchemaDrift, which names every difference.
    """
    with database.connect() as connection:
        found = _status(connection, refuse_ahead=False)
        if problem := compare_revision(found.current):
            raise problem
        differences = list(_differences(connection, database.backend))
    if differences:
        raise SchemaDrift(
            f"the live schema differs from revision {found.head}: {'; '.join(differences)}",
            "undo the change that was made by hand, or restore a backup into a new database",
        )
    return found


def offline_sql(dialect: str, *, revision_range: str = "head") -> str:
    """Return the SQL that an upgrade would run, for review; touch nothing."""
    from alembic import command

    ends = revision_range.split(":")
    if len(ends) > 2 or not all(ends):  # noqa: PLR2004 (a range has two)
        raise InvalidInput(f"{revision_range!r} is not a range of revisions", "write FROM:TO, or TO")
    config = alembic_config()
    config.output_buffer = buffer = StringIO()
    config.attributes["dialect"] = dialect
    with _resolving(revision_range):
        command.upgrade(config, revision_range, sql=True)
    return buffer.getvalue()


def _config(connection: Connection) -> Config:
    config = alembic_config()
    config.attributes["connection"] = connection
    return config


def _require_known(revision: str) -> None:
    if not revision:
        raise InvalidInput("no revision was named", "'taskdb migrate history' lists the revisions")
    if not revision.startswith(("+", "-")):
        with _resolving(revision):
            revisions().get_revision(revision)


@contextmanager
def _resolving(revision: str) -> Iterator[None]:
    """Turn Alembic's refusal of a revision that is not on the way into ours."""
    from alembic.util.exc import CommandError

    try:
        yield
    except CommandError as exc:
        raise InvalidInput(
            f"{revision!r} is not a revision on this way: {exc}",
            "'taskdb migrate history' lists the revisions",
        ) from exc


def _status(connection: Connection, *, refuse_ahead: bool = True) -> SchemaStatus:
    current = current_revision(connection)
    problem = compare_revision(current)
    head = revisions().get_current_head()
    assert head is not None
    if isinstance(problem, SchemaAhead):
        if refuse_ahead:
            raise problem
        return SchemaStatus(current, head, [])
    return SchemaStatus(current, head, [step for step in _chain(current) if not step.applied])


def _chain(current: str | None) -> list[Revision]:
    script = revisions()
    applied = {step.revision for step in script.iterate_revisions(current, "base")} if current else set()
    return [_revision(step, step.revision in applied) for step in reversed(list(script.walk_revisions()))]


def _revision(step: Script, applied: bool) -> Revision:
    lines = (step.module.__doc__ or "").splitlines()
    date = next((line.partition(":")[2].strip() for line in lines if line.startswith("Date:")), "")
    return Revision(step.revision, date, applied, lines[0].rstrip(".") if lines else "")


def _differences(connection: Connection, backend: Backend) -> Iterator[str]:
    tables = OUR_TABLES & set(inspect(connection).get_table_names())
    live = dict(_facts(connection, backend, tables))
    with backend.scratch(connection) as (scratch, schema):
        metadata().create_all(scratch, checkfirst=False)
        wanted = dict(_facts(scratch, backend, OUR_TABLES, schema))
    for name in sorted(wanted.keys() | live.keys()):
        if name not in live:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not of taskdb"
        elif live[name] != wanted[name]:
            yield f"{name} is {live[name]}, not {wanted[name]}"


def _facts(
    connection: Connection, backend: Backend, tables: Collection[str], schema: str | None = None
) -> Iterator[tuple[str, str]]:
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
