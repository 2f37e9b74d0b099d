"""Run Alembic's revisions, for `taskdb migrate` and for the alembic command of a checkout."""

import logging
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, TypeDecorator

from taskdb_cli.config import load_settings
from taskdb_cli.database import Database
from taskdb_cli.database.schema import OUR_TABLES, VERSION_TABLE
from taskdb_cli.database.search_index import SEARCH_PARTS
from taskdb_cli.models import metadata

_log = logging.getLogger("taskdb.migrate")


def log_step(*, step: MigrationInfo, **_: Any) -> None:
    """Log a revision that was applied or taken back."""
    if step.is_stamp:
        return
    way = "upgrade" if step.is_upgrade else "downgrade"
    extra = {"revision": step.up_revision_id, "direction": way}
    _log.info("%s: revision %s", way, step.up_revision_id, extra=extra)


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Render a type of the models as the plain type under it: a revision must not change with the models."""
    plain = item.impl if kind == "type" and isinstance(item, TypeDecorator) else item
    if kind == "type" and type(plain).__module__.startswith("taskdb_cli."):
        # Our numbers and flags: a STRICT table of SQLite has only integers.
        return f"sa.{type(plain).__mro__[1].__name__}().with_variant(sa.Integer(), 'sqlite')"
    return False if plain is item else f"sa.{plain!r}"


OPTIONS = {
    "target_metadata": metadata(),
    "version_table": VERSION_TABLE,
    "transaction_per_migration": True,
    "render_item": render_item,
    # The database may hold tables of other owners, and the search index or not.
    "include_name": lambda name, kind, _parents: (
        name in OUR_TABLES if kind == "table" else f"{kind} {name}" not in SEARCH_PARTS
    ),
}


def run_offline() -> None:
    """Print the SQL instead of running it, for the caller's dialect or that of the configured database."""
    dialect = context.config.attributes.get("dialect") or configured().backend.dialect
    context.configure(dialect_name=dialect, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Run on the connection that the caller opened, or on one to the configured database."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        database = configured()
        with database.migration(create=True) as (connection, _):
            _run(connection)
    else:
        _run(connection)


def configured() -> Database:
    """Return the database that `taskdb migrate` would work on."""
    return load_settings().direct_database()


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        render_as_batch=connection.dialect.name == "sqlite",
        on_version_apply=log_step,
        **OPTIONS,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
