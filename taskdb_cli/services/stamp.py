"""Repair a version table that is empty, missing or wrong."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from taskdb_cli.database import Database
from taskdb_cli.database.schema import (
    OUR_TABLES,
    STAMP,
    VERSION_TABLE,
    head_revision,
    is_revision_name,
    recorded_facts,
    require_ours,
    revisions,
    stamped_revisions,
)
from taskdb_cli.errors import InvalidInput, SchemaAhead, SchemaBehind, SchemaDrift
from taskdb_cli.services.drift import compare
from taskdb_cli.services.migrate import require_known, resolving

BASE = "base"

_log = logging.getLogger("taskdb.migrate")


@dataclass(frozen=True)
class Stamp:
    """What the version table said before, and the revision that it says now ("base" means no tables)."""

    before: list[str]
    revision: str

    @property
    def was_right(self) -> bool:
        """Whether there was nothing to write."""
        return self.before == _rows(self.revision)


def stamp(database: Database, *, to: str | None = None) -> Stamp:
    """Make the version table say that a database is at a revision, by default the newest.

    Nothing is written unless the tables are exactly as that revision makes them. Raises SchemaDrift if they
    differ, SchemaForeign for tables that are not taskdb's, SchemaBehind if there are none,
    SchemaAhead if the version table has a revision that this version does not know and `to` is None,
    InvalidInput for an unknown revision, and DatabaseUnavailable while others migrate.
    """
    revision = _revision(to)
    known = _facts_of_revisions(database.backend.dialect)
    with database.migration() as (connection, observer):
        before = stamped_revisions(observer)
        require_ours(observer)
        live = database.backend.facts(connection, OUR_TABLES)
        _require_same(revision, live, known)
        if to is None:
            _require_known_rows(before)
        found = Stamp(before, revision)
        if not found.was_right:
            database.backend.run_revisions(connection, partial(_write, connection, _rows(revision)))
    if not found.was_right:
        _log.info("stamp: revision %s", revision, extra={"revision": revision, "direction": "stamp"})
    return found


def _revision(to: str | None) -> str:
    if to is None:
        return head_revision()
    require_known(to)
    if to.startswith(("+", "-")):
        raise InvalidInput(
            f"{to!r} is a number of steps", "name a revision; 'taskdb migrate history' lists them"
        )
    with resolving(to):
        found = revisions().get_revision(to)
    return found.revision if found else BASE


def _rows(revision: str) -> list[str]:
    return [] if revision == BASE else [revision]


def _facts_of_revisions(dialect: str) -> dict[str, dict[str, str]]:
    """Return the recorded facts of each revision, the oldest first."""
    chain = reversed([step.revision for step in revisions().walk_revisions()])
    return {BASE: {}} | {revision: recorded_facts(revision, dialect) for revision in chain}


def _require_same(revision: str, live: dict[str, str], known: dict[str, dict[str, str]]) -> None:
    if live == known[revision]:
        return
    if not live:
        raise SchemaBehind("the database has no tables yet", "make them with 'taskdb migrate'")
    if other := next((name for name, facts in known.items() if facts == live), None):
        raise SchemaDrift(
            f"the tables match revision {other}, not {revision}",
            f"'{STAMP} {other}' records that",
        )
    raise SchemaDrift(
        f"the tables do not match revision {revision}: {'; '.join(compare(live, known[revision]))}",
        "undo the change that was made by hand, or restore a backup into a new database",
    )


def _require_known_rows(rows: list[str]) -> None:
    known = {step.revision for step in revisions().walk_revisions()}
    # The unknown revision may have changed rows only, so equal tables do not prove that it was never applied.
    if unknown := [name for name in rows if is_revision_name(name) and name not in known]:
        raise SchemaAhead(
            f"{VERSION_TABLE} names {', '.join(unknown)}, which this version does not know",
            f"upgrade taskdb if a newer version made it, else run '{STAMP} REVISION'",
        )


def _write(connection: Connection, rows: list[str]) -> None:
    from alembic.runtime.migration import MigrationContext

    impl = MigrationContext.configure(connection).impl
    version = impl.version_table_impl(
        version_table=VERSION_TABLE, version_table_schema=None, version_table_pk=True
    )
    version.create(connection, checkfirst=True)
    connection.execute(version.delete())
    for row in rows:
        connection.execute(version.insert(), {"version_num": row})
