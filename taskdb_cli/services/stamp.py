"""Repair a version table that is empty, missing or wrong."""

import logging
from dataclasses import dataclass
from functools import partial

from taskdb_cli.database import Database
from taskdb_cli.database.schema import (
    OUR_TABLES,
    STAMP,
    VERSION_TABLE,
    alembic_config,
    head_revision,
    is_revision_name,
    recorded_facts,
    require_ours,
    revisions,
    stamped_revisions,
)
from taskdb_cli.errors import SchemaAhead, SchemaBehind, SchemaDrift
from taskdb_cli.services.migrate import UNDO, compare, known_revisions, resolving

_log = logging.getLogger("taskdb.migrate")


@dataclass(frozen=True)
class Stamp:
    """What the version table said before, and the revision that it says now ("base" means no tables)."""

    before: list[str]
    revision: str
    was_right: bool
    """Whether there was nothing to write."""


def stamp(database: Database, *, to: str | None = None) -> Stamp:
    """Record in the version table that a database is at a revision, by default the newest.

    Nothing is written unless the tables are exactly as that revision makes them. Raises SchemaDrift if they
    differ, SchemaForeign for tables that are not taskdb's, SchemaBehind if there are none,
    SchemaAhead if the version table has a revision that this version does not know and `to` is None,
    InvalidInput for an unknown revision, and DatabaseUnavailable while others migrate.
    """
    from alembic import command

    name = head_revision() if to is None else to
    with resolving(name):
        found = revisions().get_revision(name)
    revision, dialect = found.revision if found else "base", database.backend.dialect
    known: dict[str, dict[str, str]] = {"base": {}}
    known |= {step: recorded_facts(step, dialect) for step in known_revisions()}
    with database.migration() as (connection, observer):
        before = stamped_revisions(observer)
        require_ours(observer)
        _require_same(revision, database.backend.facts(connection, OUR_TABLES), known)
        # The unknown revision may have changed rows only, so equal tables do not prove that it was never
        # applied.
        unknown = [row for row in before if is_revision_name(row) and row not in known]
        if unknown and to is None:
            raise SchemaAhead(
                f"{VERSION_TABLE} names {', '.join(unknown)}, which this version does not know",
                f"upgrade taskdb if a newer version made it, else run '{STAMP} REVISION'",
            )
        if not (was_right := before == ([found.revision] if found else [])):
            move = partial(command.stamp, alembic_config(connection=connection), revision, purge=True)
            database.backend.run_revisions(connection, move)
    if not was_right:
        _log.info("stamp: revision %s", revision, extra={"revision": revision, "direction": "stamp"})
    return Stamp(before, revision, was_right)


def _require_same(revision: str, live: dict[str, str], known: dict[str, dict[str, str]]) -> None:
    if live == known[revision]:
        return
    if not live:
        raise SchemaBehind("the database has no tables yet", "make them with 'taskdb migrate'")
    if other := next((name for name, facts in known.items() if facts == live), None):
        raise SchemaDrift(
            f"the tables match revision {other}, not {revision}", f"'{STAMP} {other}' records that"
        )
    found = "; ".join(compare(live, known[revision]))
    raise SchemaDrift(f"the tables do not match revision {revision}: {found}", UNDO)
