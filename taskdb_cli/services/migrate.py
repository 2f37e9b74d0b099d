"""Move a database along its chain of revisions, and say where on it the database stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, literal, select, table

from taskdb_cli.database import Database
from taskdb_cli.database.schema import (
    OUR_TABLES,
    alembic_config,
    compare_revision,
    current_revision,
    head_revision,
    revisions,
    stamped_revisions,
)
from taskdb_cli.errors import InvalidInput, SchemaAhead, SchemaDrift
from taskdb_cli.services.drift import differences
from taskdb_cli.services.losses import Loss, losses

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
    """Several, with commas between, in a database that was stamped wrongly."""
    head: str
    pending: list[Revision]


@dataclass(frozen=True)
class Downgrade:
    """A way back, and what would be lost on it."""

    start: str | None
    target: str | None
    losses: list[Loss]


def upgrade(
    database: Database, *, to: str = "head", before: Callable[[Database], None] | None = None
) -> SchemaStatus:
    """Bring a database to a revision, making it first where it is missing and the engine can.

    `before` is called while nobody else can migrate, if there is something to do and the database holds
    rows. Returns its status before. Raises SchemaForeign, SchemaAhead, SchemaForked or InvalidInput
    before anything is changed; a revision that fails leaves nothing behind.
    """
    from alembic import command

    _require_known(to)
    with database.migration(create=True) as (connection, observer), _resolving(to):
        found = _status(observer)
        if steps := _steps_up(found.current, to):
            _prepare(database, observer, before)
            move = partial(command.upgrade, _config(connection), steps[-1].revision)
            database.backend.run_revisions(connection, move)
        return found


def downgrade(
    database: Database, *, to: str = "-1", before: Callable[[Database], None] | None = None
) -> SchemaStatus:
    """Take a database back to an older revision, by default by one step; return its status before.

    `before` is called, and errors are raised, as by `upgrade`.
    """
    from alembic import command

    _require_known(to)
    with database.migration() as (connection, observer), _resolving(to):
        found = _status(observer)
        if steps := _steps_down(found.current, to):
            _prepare(database, observer, before)
            move = partial(command.downgrade, _config(connection), _below(steps))
            database.backend.run_revisions(connection, move)
        return found


def preview_downgrade(database: Database, *, to: str = "-1") -> Downgrade:
    """Return where `downgrade` would go, and what would be lost; change nothing.

    Raises as `downgrade` does.
    """
    _require_known(to)
    with database.connect() as connection, _resolving(to):
        start = _status(connection).current
        steps = _steps_down(start, to)
        if not (start and steps):
            return Downgrade(start, start, [])
        target = _below(steps)
        # The revisions lose the same on every engine, and only this one can do all of it offline.
        script = offline_sql("postgresql", revision_range=f"{start}:{target}")
        return Downgrade(start, target, losses(connection, script))


def status(database: Database) -> SchemaStatus:
    """Return where a database stands; change nothing.

    Raises SchemaForeign for tables that taskdb did not make.
    """
    with database.connect() as connection:
        stamped = stamped_revisions(connection)
    known = {step.revision for step in revisions().walk_revisions()}
    pending = [step for step in _chain(stamped) if not step.applied] if known.issuperset(stamped) else []
    return SchemaStatus(", ".join(stamped) or None, head_revision(), pending)


def history(database: Database) -> list[Revision]:
    """Return every known revision, oldest first, and whether the database has it.

    Raises SchemaForeign, or SchemaAhead for a database of which that cannot be said.
    """
    with database.connect() as connection:
        return _chain(_stamp(_status(connection).current))


def check(database: Database) -> SchemaStatus:
    """Return the status of a database that is at head and holds exactly the schema of the models.

    Raises SchemaBehind, SchemaAhead, SchemaForeign, SchemaForked, or SchemaDrift, which names every
    difference.
    """
    with database.connect() as connection:
        current = current_revision(connection)
        if problem := compare_revision(current):
            raise problem
        found = list(differences(connection, database.backend))
    if found:
        raise SchemaDrift(
            f"the live schema differs from revision {current}: {'; '.join(found)}",
            "undo the change that was made by hand, or restore a backup into a new database",
        )
    return SchemaStatus(current, head_revision(), [])


def require_head(database: Database) -> None:
    """Raise SchemaBehind, SchemaAhead or SchemaForeign unless a database is at the newest revision.

    Its tables are not compared with the models, so that this is quick.
    """
    with database.connect() as connection:
        if problem := compare_revision(current_revision(connection)):
            raise problem


def offline_sql(dialect: str, *, revision_range: str = "head") -> str:
    """Return the SQL of an upgrade, or of a downgrade if the range goes down, for review; touch nothing."""
    from alembic import command

    ends = revision_range.split(":")
    if len(ends) > 2 or not all(ends):  # noqa: PLR2004 (a range has two)
        raise InvalidInput(f"{revision_range!r} is not a range of revisions", "write FROM:TO, or TO")
    config = alembic_config()
    config.output_buffer = buffer = StringIO()
    config.attributes["dialect"] = dialect
    with _resolving(revision_range):
        move = command.downgrade if _goes_down(ends) else command.upgrade
        move(config, revision_range, sql=True)
    return buffer.getvalue()


def _goes_down(ends: Sequence[str]) -> bool:
    if len(ends) == 1:
        return False
    start, end = (revisions().get_revision(name) for name in ends)
    return bool(start) and start.revision not in _ancestry(end.revision if end else "base")


def _ancestry(revision: str) -> set[str]:
    return {step.revision for step in revisions().iterate_revisions(revision, "base")}


def _config(connection: Connection) -> Config:
    config = alembic_config()
    config.attributes["connection"] = connection
    return config


def _require_known(revision: str) -> None:
    if not revision:
        raise InvalidInput("no revision was named", "'taskdb migrate history' lists the revisions")
    head_revision()
    if not revision.startswith(("+", "-")):
        with _resolving(revision):
            revisions().get_revision(revision)


def _steps_up(current: str | None, to: str) -> list[Script]:
    return list(revisions().iterate_revisions(to, current or (), implicit_base=True))[::-1]


def _steps_down(current: str | None, to: str) -> list[Script]:
    return list(revisions().iterate_revisions(current or (), to, select_for_downgrade=True))


def _below(steps: Sequence[Script]) -> str:
    below = steps[-1].down_revision
    return below if isinstance(below, str) else "base"


def _prepare(database: Database, observer: Connection, before: Callable[[Database], None] | None) -> None:
    if before and _holds_rows(observer):
        before(database)


def _holds_rows(connection: Connection) -> bool:
    # In a fixed order, so that two runs send the same statements.
    ours = sorted(OUR_TABLES & set(inspect(connection).get_table_names()))
    first = (select(literal(1)).select_from(table(name)).limit(1) for name in ours)
    return any(connection.execute(query).first() for query in first)


@contextmanager
def _resolving(revision: str) -> Iterator[None]:
    """Turn Alembic's refusal of a revision that is not on the way into ours."""
    from alembic.script.revision import RevisionError
    from alembic.util.exc import CommandError

    try:
        yield
    except (CommandError, RevisionError) as exc:
        raise InvalidInput(
            f"{revision!r} is not a revision on this way: {exc}",
            "'taskdb migrate history' lists the revisions",
        ) from exc


def _status(connection: Connection) -> SchemaStatus:
    current, head = current_revision(connection), head_revision()
    problem = compare_revision(current)
    if isinstance(problem, SchemaAhead):
        raise problem
    return SchemaStatus(current, head, [step for step in _chain(_stamp(current)) if not step.applied])


def _stamp(current: str | None) -> list[str]:
    return [current] if current else []


def _chain(stamped: Collection[str]) -> list[Revision]:
    applied = {revision for each in stamped for revision in _ancestry(each)}
    steps = reversed(list(revisions().walk_revisions()))
    return [_revision(step, step.revision in applied) for step in steps]


def _revision(step: Script, applied: bool) -> Revision:
    lines = (step.module.__doc__ or "").splitlines()
    date = next((line.partition(":")[2].strip() for line in lines if line.startswith("Date:")), "")
    return Revision(step.revision, date, applied, lines[0].rstrip(".") if lines else "")
