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
from taskdb_cli.errors import InvalidInput, SchemaAhead, SchemaBehind, SchemaDrift
from taskdb_cli.services.migrate import compare, require_known
from taskdb_cli.text.escaping import brief

BASE = "base"

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

    revision, dialect = _resolve(to), database.backend.dialect
    chain = [step.revision for step in revisions().walk_revisions()][::-1]
    known: dict[str, dict[str, str]] = {BASE: {}} | {name: recorded_facts(name, dialect) for name in chain}
    rows = [] if revision == BASE else [revision]
    with database.migration() as (connection, observer):
        before = stamped_revisions(observer)
        require_ours(observer)
        _require_same(revision, database.backend.facts(connection, OUR_TABLES), known)
        # The unknown revision may have changed rows only, so equal tables do not prove that it was never
        # applied.
        unknown = [name for name in before if is_revision_name(name) and name not in known]
        if unknown and to is None:
            raise SchemaAhead(
                f"{VERSION_TABLE} names {', '.join(unknown)}, which this version does not know",
                f"upgrade taskdb if a newer version made it, else run '{STAMP} REVISION'",
            )
        if before != rows:
            move = partial(command.stamp, alembic_config(connection=connection), revision, purge=True)
            database.backend.run_revisions(connection, move)
    if before != rows:
        _log.info("stamp: revision %s", revision, extra={"revision": revision, "direction": "stamp"})
    return Stamp(before, revision, was_right=before == rows)


def _resolve(to: str | None) -> str:
    if to is None:
        return head_revision()
    if to.startswith(("+", "-")):
        raise InvalidInput(
            f"{brief(to)!r} is a number of steps", "name a revision; 'taskdb migrate history' lists them"
        )
    found = require_known(to)
    return found.revision if found else BASE


def _require_same(revision: str, live: dict[str, str], known: dict[str, dict[str, str]]) -> None:
    if live == known[revision]:
        return
    if not live:
        raise SchemaBehind("the database has no tables yet", "make them with 'taskdb migrate'")
    if other := next((name for name, facts in known.items() if facts == live), None):
        raise SchemaDrift(
            f"the tables match revision {other}, not {revision}", f"'{STAMP} {other}' records that"
        )
    raise SchemaDrift(
        f"the tables do not match revision {revision}: {'; '.join(compare(live, known[revision]))}",
        "undo the change that was made by hand, or restore a backup into a new database",
    )
