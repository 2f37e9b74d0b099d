"""Move a database along its chain of revisions, and say where on it the database stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, literal, select, table

from taskdb_cli.database import Database
from taskdb_cli.database.identity import read_identity
from taskdb_cli.database.schema import (
    IDENTITY_TABLE,
    OUR_TABLES,
    alembic_config,
    compare_revision,
    current_revision,
    head_revision,
    revisions,
)
from taskdb_cli.errors import (
    DatabaseMissing,
    Interrupted,
    InvalidInput,
    SchemaAhead,
    SchemaDrift,
    TaskdbError,
)
from taskdb_cli.services.drift import differences
from taskdb_cli.services.losses import Loss, losses
from taskdb_cli.text.escaping import LONGEST_ECHO, brief

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
    end: str | None = None
    """The revision that a migration took it to; only `upgrade` and `downgrade` set it."""


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
    rows. Returns its status before. Raises SchemaForeign, SchemaUnstamped, SchemaAhead, SchemaForked or
    InvalidInput before anything is changed; a revision that fails leaves nothing behind, and a note of the
    error says which revisions before it are done.
    """
    from alembic import command

    require_known(to)
    with (
        _noting_how_far(database) as way,
        database.migration(create=True) as (connection, observer),
        resolving(to),
    ):
        found = _status(observer)
        if steps := _steps_up(found.current, to):
            _prepare(database, observer, before)
            way.stops = [found.current, *(step.revision for step in steps)]
            move = partial(command.upgrade, _config(connection), steps[-1].revision)
            database.backend.run_revisions(connection, move)
    return replace(found, end=way.stops[-1] if way.stops else found.current)


def downgrade(
    database: Database, *, to: str = "-1", before: Callable[[Database], None] | None = None
) -> SchemaStatus:
    """Take a database back to an older revision, by default by one step; return its status before.

    `before` is called, and errors are raised, as by `upgrade`.
    """
    from alembic import command

    require_known(to)
    with _noting_how_far(database) as way, database.migration() as (connection, observer), resolving(to):
        found = _status(observer)
        if steps := _steps_down(found.current, to):
            _prepare(database, observer, before)
            way.stops = [found.current, *(_below(step) for step in steps)]
            move = partial(command.downgrade, _config(connection), _below(steps[-1]) or "base")
            database.backend.run_revisions(connection, move)
    return replace(found, end=way.stops[-1] if way.stops else found.current)


def preview_downgrade(database: Database, *, to: str = "-1") -> Downgrade:
    """Return where `downgrade` would go, and what would be lost; change nothing.

    Raises as `downgrade` does.
    """
    require_known(to)
    with database.connect() as connection, resolving(to):
        start = _status(connection).current
        steps = _steps_down(start, to)
        if not (start and steps):
            return Downgrade(start, start, [])
        target = _below(steps[-1]) or "base"
        # The revisions lose the same on every engine, and only this one can do all of it offline.
        script = offline_sql("postgresql", revision_range=f"{start}:{target}")
        return Downgrade(start, target, losses(connection, script))


def status(database: Database) -> SchemaStatus:
    """Return where a database stands; change nothing.

    Raises SchemaForeign, SchemaUnstamped or SchemaForked for a database of which that cannot be said. A
    revision that this version does not know has no steps to the newest one.
    """
    with database.connect() as connection:
        current = current_revision(connection)
    head = head_revision()
    if isinstance(compare_revision(current), SchemaAhead):
        return SchemaStatus(current, head, [])
    return SchemaStatus(current, head, [step for step in _chain(current) if not step.applied])


def history(database: Database) -> list[Revision]:
    """Return every known revision, oldest first, and whether the database has it.

    Raises as `status` does, and SchemaAhead.
    """
    with database.connect() as connection:
        return _chain(_status(connection).current)


def check(database: Database) -> SchemaStatus:
    """Return the status of a database that is at head and holds exactly the schema of the models.

    Raises SchemaBehind, SchemaAhead, SchemaForeign, SchemaUnstamped, SchemaForked, or SchemaDrift, which
    names every difference.
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


def identify(database: Database) -> tuple[str | None, bool]:
    """Return the identity of a database, or None, and whether it holds any rows.

    Raises DatabaseMissing and DatabaseUnavailable; its revision does not matter.
    """
    with database.connect() as connection:
        return read_identity(connection), _holds_rows(connection)


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
    from alembic.util.exc import CommandError

    ends = revision_range.split(":")
    if len(ends) > 2 or not all(ends):  # noqa: PLR2004 (a range has two)
        raise InvalidInput(f"{revision_range!r} is not a range of revisions", "write FROM:TO, or TO")
    for end in ends:
        _require_no_branch(end)
    config = alembic_config()
    config.output_buffer = buffer = StringIO()
    config.attributes["dialect"] = dialect
    with resolving(revision_range):
        move = command.downgrade if _goes_down(ends) else command.upgrade
        try:
            move(config, revision_range, sql=True)
        except AssertionError as exc:
            # Alembic takes it for granted that 0001-9, a revision by its distance, exists.
            raise CommandError("no revision is at this distance") from exc
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


def require_known(revision: str) -> None:
    """Raise InvalidInput for a revision that does not exist, SchemaForked for a chain with several heads."""
    if not revision:
        raise InvalidInput("no revision was named", "'taskdb migrate history' lists the revisions")
    _require_no_branch(revision)
    head_revision()
    if not revision.startswith(("+", "-")):
        with resolving(revision):
            revisions().get_revision(revision)


def _require_no_branch(revision: str) -> None:
    # Alembic fails on an @ without a branch, and Python on thousands of digits.
    if "@" in revision or len(revision) > LONGEST_ECHO:
        raise InvalidInput(
            f"{brief(revision)!r} is not a revision", "'taskdb migrate history' lists the revisions"
        )


def _steps_up(current: str | None, to: str) -> list[Script]:
    return list(revisions().iterate_revisions(to, current or (), implicit_base=True))[::-1]


def _steps_down(current: str | None, to: str) -> list[Script]:
    return list(revisions().iterate_revisions(current or (), to, select_for_downgrade=True))


def _below(step: Script) -> str | None:
    below = step.down_revision
    return below if isinstance(below, str) else None


@dataclass
class _Way:
    """The revisions that a migration passes, from where it starts; none before it starts."""

    stops: list[str | None] = field(default_factory=list)


@contextmanager
def _noting_how_far(database: Database) -> Iterator[_Way]:
    """Add to the error of a migration which revisions are done."""
    way = _Way()
    try:
        yield way
    except Exception as exc:
        if way.stops:
            exc.add_note(_how_far(database, way.stops))
        raise
    except KeyboardInterrupt as exc:
        if not way.stops:
            raise
        raise Interrupted(f"interrupted; {_how_far(database, way.stops)}") from exc


def _how_far(database: Database, stops: list[str | None]) -> str:
    try:
        with database.connect() as connection:
            current = current_revision(connection)
    except DatabaseMissing:
        current = None
    except TaskdbError:
        return "'taskdb migrate status' shows how far it came"
    if current == stops[0] and database.backend.migrates_in_one_transaction:
        return "nothing was changed"
    done = stops[: stops.index(current) + 1] if current in stops else []
    names = [name or "nothing" for name in done]
    if len(names) < 2:  # noqa: PLR2004 (a step has two ends)
        return f"no revision is done: it is still at {current or 'nothing'}"
    return f"stopped at {names[-1]}; {' → '.join(names)} is done"


def _prepare(database: Database, observer: Connection, before: Callable[[Database], None] | None) -> None:
    if before and _holds_rows(observer):
        before(database)


def _holds_rows(connection: Connection) -> bool:
    # In a fixed order, so that two runs send the same statements.
    # The identity is not counted: every database has one.
    ours = sorted((OUR_TABLES - {IDENTITY_TABLE}) & set(inspect(connection).get_table_names()))
    first = (select(literal(1)).select_from(table(name)).limit(1) for name in ours)
    return any(connection.execute(query).first() for query in first)


@contextmanager
def resolving(revision: str) -> Iterator[None]:
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
    return SchemaStatus(current, head, [step for step in _chain(current) if not step.applied])


def _chain(current: str | None) -> list[Revision]:
    applied = _ancestry(current) if current else set()
    steps = reversed(list(revisions().walk_revisions()))
    return [_revision(step, step.revision in applied) for step in steps]


def _revision(step: Script, applied: bool) -> Revision:
    lines = (step.module.__doc__ or "").splitlines()
    date = next((line.partition(":")[2].strip() for line in lines if line.startswith("Date:")), "")
    return Revision(step.revision, date, applied, lines[0].rstrip(".") if lines else "")
