"""What revisions need on both engines. A revision loads this file as `script.py.mako` shows.

Released revisions depend on these functions, so what a function does must never change.
The functions also work for `taskdb migrate sql`, which has no database to look at.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import BatchOperations, Operations
from alembic.script import ScriptDirectory
from alembic.util import load_python_file


def on_sqlite() -> bool:
    """Return whether the revision runs on SQLite; the other engine is PostgreSQL."""
    return op.get_context().dialect.name == "sqlite"


def check(name: str, condition: str) -> sa.CheckConstraint:
    """Return a CHECK constraint. The condition is SQL, in which a colon is only a colon."""
    return sa.CheckConstraint(sa.text(condition.replace(":", r"\:")), name=name)


def add_column(table: str, name: str, type_: Any, *rules: sa.CheckConstraint, **options: Any) -> None:
    """Add a column with its CHECK constraints. No engine rewrites the table.

    `options` are those of `sa.Column`: a column that is not nullable needs a `server_default`. The rules
    are part of the column, so `op.drop_column` removes them with it on both engines.
    """
    op.add_column(table, sa.Column(name, type_, *rules, **options))


def create_index(
    name: str, table: str, columns: Sequence[str], *, where: str = "", unique: bool = False
) -> None:
    """Create an index, on PostgreSQL concurrently: rows can be written while it is built.

    Everything that the revision did before is committed first on PostgreSQL, so call this at the end of
    `upgrade`, and after no change that cannot be repeated. An interrupted build is started again by the
    next run. `op.drop_index` is fine for the way back: it takes a moment only.
    """
    condition = sa.text(where.replace(":", r"\:")) if where else None
    if on_sqlite():
        op.create_index(name, table, columns, unique=unique, sqlite_where=condition)
        return
    context = op.get_context()
    with context.autocommit_block():
        # An interrupted build leaves an index that has the name but answers no query.
        invalid = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if not context.as_sql and op.get_bind().execute(invalid, {"name": name}).scalar():
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            columns,
            unique=unique,
            postgresql_where=condition,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def change_check(table: str, name: str, condition: str, *, at: str) -> None:
    """Change the condition of a CHECK constraint. All rows must fulfil the new one.

    `at` is as for `alter_table`.
    """
    if not on_sqlite():
        op.drop_constraint(name, table, type_="check")
        op.create_check_constraint(name, table, check(name, condition).sqltext)
        return
    definition = _definition(table, at)
    for owner in (definition, *definition.c):
        for rule in owner.constraints:
            if rule.name == name:
                rule.sqltext = check(name, condition).sqltext
    with _rebuilding(table, definition):
        pass


@contextmanager
def alter_table(table: str, *, at: str) -> Iterator[BatchOperations]:
    """Change a table in ways for which SQLite must rebuild it, such as a foreign key or another type.

    `at` is the revision before the change: `down_revision` in `upgrade`, `revision` in `downgrade`.
    Call this before anything else in the revision changes the table. PostgreSQL changes the table in place.
    SQLite's new table is STRICT, has AUTOINCREMENT, indexes and constraints like the old one, and gives no
    id out twice.
    """
    if on_sqlite():
        with _rebuilding(table, _definition(table, at)) as batch:
            yield batch
    else:
        with op.batch_alter_table(table) as batch:
            yield batch


@contextmanager
def _rebuilding(table: str, definition: sa.Table) -> Iterator[BatchOperations]:
    names = {"table": table, "kept": f"_taskdb_kept_{table}"}
    if op.get_context().as_sql:
        # Otherwise dropping the old table would delete the rows that refer to it.
        op.execute("PRAGMA foreign_keys = OFF")
    # Dropping the old table removes its row from sqlite_sequence, which holds the highest id ever given out.
    keep = "INSERT INTO sqlite_sequence SELECT :kept, seq FROM sqlite_sequence WHERE name = :table"
    op.execute(sa.text(keep).bindparams(**names))
    with op.batch_alter_table(table, copy_from=definition, recreate="always") as batch:
        yield batch
    op.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :table").bindparams(table=table))
    op.execute(sa.text("UPDATE sqlite_sequence SET name = :table WHERE name = :kept").bindparams(**names))


def _definition(table: str, at: str) -> sa.Table:
    """Return the present definition of a table, or offline that of a revision."""
    if not op.get_context().as_sql:
        return _read_definition(op.get_bind(), table)
    with _scratch(at) as connection:
        return _read_definition(connection, table)


def _read_definition(connection: sa.Connection, table: str) -> sa.Table:
    definition = sa.Table(table, sa.MetaData(), autoload_with=connection)
    query = sa.text("SELECT strict, sql FROM pragma_table_list(:table) JOIN sqlite_master USING (name)")
    strict, sql = connection.execute(query, {"table": table}).one()
    definition.kwargs["sqlite_strict"] = bool(strict)
    definition.kwargs["sqlite_autoincrement"] = "AUTOINCREMENT" in sql.upper()
    # A list in the order of the old definition: a set would change the printed SQL from run to run.
    definition.constraints = sorted(definition.constraints, key=lambda rule: sql.find(f" {rule.name} "))
    for rule in [each for each in definition.constraints if isinstance(each, sa.CheckConstraint)]:
        before = " ".join(sql.partition(f"CONSTRAINT {rule.name} CHECK")[0].split())
        if not before.endswith(","):
            # The rule is part of a column and must remain so: SQLite drops no column that a rule of the
            # table mentions.
            column = max(definition.c, key=lambda each: before.rfind(f", {each.name} "))
            definition.constraints.remove(rule)
            column.constraints.add(rule)
    return definition


@contextmanager
def _scratch(revision: str) -> Iterator[sa.Connection]:
    """Open a database in memory that is at a revision."""
    script = ScriptDirectory(str(Path(__file__).parent))
    with sa.create_engine("sqlite://").connect() as connection:
        operations = Operations(MigrationContext.configure(connection))
        for step in reversed(list(script.iterate_revisions(revision, "base"))):
            # Alembic's own `op` is busy with the revision that is being written out.
            module = load_python_file(*os.path.split(step.path))
            module.op = operations
            if helpers := getattr(module, "helpers", None):
                helpers.op = operations
            module.upgrade()
        yield connection
