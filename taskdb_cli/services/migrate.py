"""Move a database along its chain of revisions, and say where on it the database stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, literal, select, table

from taskdb_cli import errors
from taskdb_cli.database import Database
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.schema import (
    IDENTITY_TABLE,
    OUR_TABLES,
    alembic_config,
    compare_revision,
    current_revision,
    head_revision,
    read_identity,
    recorded_facts,
    revisions,
)
from taskdb_cli.database.search_index import SEARCH_PARTS
from taskdb_cli.text.escaping import LONGEST_ECHO, brief

if TYPE_CHECKING:
    from alembic.script import Script

_LIST_THEM = "'taskdb migrate history' lists the revisions"
_RANGE = f"give one revision, or FROM:TO such as 0001:head; {_LIST_THEM}"
UNDO = "undo the change that was made by hand, or restore an archive into a new database"


@dataclass(frozen=True)
class Revision:
    """One step of the chain, and whether a database has taken it."""

    revision: str
    date: str
    applied: bool
    message: str


@dataclass(frozen=True)
class SchemaStatus:
    """The revision of a database, the newest known one, and the steps between."""

    current: str | None
    head: str
    pending: list[Revision]
    end: str | None = None
    """The revision that a migration takes the database to; only migrations set it."""
    losses: Sequence[str] = ()
    """What a downgrade loses, with its amount if that can be counted; only `preview_downgrade` sets it."""


def upgrade(
    database: Database, *, to: str = "head", before: Callable[[Database], None] | None = None
) -> SchemaStatus:
    """Bring a database to a revision; create the database if it is missing and the engine can.

    `before` is called while nobody else can migrate, if there is something to do and the database holds
    rows. Returns the status before the upgrade. Raises SchemaForeign, SchemaUnstamped, SchemaAhead,
    SchemaForked or InvalidInput before anything is changed. A revision that fails leaves nothing behind, and
    a note of its error says which revisions before it are done.
    """
    return _move(database, to, before, up=True)


def downgrade(
    database: Database, *, to: str = "-1", before: Callable[[Database], None] | None = None
) -> SchemaStatus:
    """Take a database back to an older revision, by default by one step; return the status before.

    `before` is called, and errors are raised, as by `upgrade`.
    """
    return _move(database, to, before, up=False)


def _move(
    database: Database, to: str, before: Callable[[Database], None] | None, *, up: bool
) -> SchemaStatus:
    from alembic import command

    require_known(to)
    stops: list[str | None] = []
    try:
        with database.migration(create=up) as (connection, observer):
            try:
                found = _status(observer)
                holds_rows = bool(before and found.current) and _holds_rows(observer)
            except errors.NotPermitted:
                _require_migratable(database, observer, [None, head_revision()])
                raise
            if steps := _steps(found.current, to, up=up):
                way = [found.current, *(step.revision if up else _below(step) for step in steps)]
                if before and holds_rows:
                    _require_migratable(database, observer, way)
                    before(database)
                stops = way
                run = command.upgrade if up else command.downgrade
                move = partial(run, alembic_config(connection=connection), stops[-1] or "base")
                database.backend.run_revisions(connection, move)
    except KeyboardInterrupt as exc:
        if not stops:
            raise
        raise errors.Interrupted(f"interrupted; {_how_far(database, stops)}") from exc
    except Exception as exc:
        if stops:
            exc.add_note(_how_far(database, stops))
        raise
    return replace(found, end=stops[-1] if stops else found.current)


def _require_migratable(database: Database, connection: Connection, way: Sequence[str | None]) -> None:
    """Raise NotPermitted for a migration that will fail, before a backup takes long."""
    backend, ends = database.backend, f"{way[0] or 'base'}:{way[-1] or 'base'}"
    backend.require_migratable(connection, lambda: offline_sql(backend.dialect, revision_range=ends))


def _steps(current: str | None, to: str, *, up: bool) -> list[Script]:
    with resolving(to):
        if up:
            return list(revisions().iterate_revisions(to, current or (), implicit_base=True))[::-1]
        _require_below(current, to)
        return list(revisions().iterate_revisions(current or (), to, select_for_downgrade=True))


def _require_below(current: str | None, to: str) -> None:
    """Raise InvalidInput for a revision that a database at the current one has not reached."""
    above = to.startswith("+")
    if not to.startswith(("+", "-")):
        names, target = [None, *known_revisions()], revisions().get_revision(to)
        above = names.index(target.revision if target else None) > names.index(current)
    if above:
        problem = f"{brief(to)!r} is not below {current or 'nothing'}"
        raise errors.InvalidInput(problem, f"'taskdb migrate up {brief(to)}' upgrades")


def _below(step: Script) -> str | None:
    below = step.down_revision
    return below if isinstance(below, str) else None


def _holds_rows(connection: Connection) -> bool:
    # Every run sends the same statements, because the names are sorted. Every database has an identity.
    ours = sorted((OUR_TABLES - {IDENTITY_TABLE}) & set(inspect(connection).get_table_names()))
    return any(
        connection.execute(select(literal(1)).select_from(table(name)).limit(1)).first() for name in ours
    )


def _how_far(database: Database, stops: list[str | None]) -> str:
    current = None
    try:
        with suppress(errors.DatabaseMissing), database.connect() as connection:
            current = current_revision(connection)
        done = [name or "nothing" for name in stops[: stops.index(current) + 1]]
    except (errors.TaskdbError, ValueError):
        return "'taskdb migrate status' shows the revision now"
    if len(done) == 1:
        return f"no revision is done: it is still at {done[0]}"
    return f"stopped at {done[-1]}; {' → '.join(done)} is done"


def preview_downgrade(database: Database, *, to: str = "-1") -> SchemaStatus:
    """Return the status, where `downgrade` would go, and what the revisions on the way declare as lost.

    Nothing is changed. Raises as `downgrade` does.
    """
    require_known(to)
    losses = []
    with database.connect() as connection:
        found = _status(connection)
        steps = _steps(found.current, to, up=False)
        for loss, query in (each for step in steps for each in step.module.LOSES.items()):
            amount = None
            # A later revision may have renamed the table.
            with suppress(errors.TableMissing, errors.TimedOut), connection.begin_nested():
                amount = connection.exec_driver_sql(query).scalar_one() if query else None
            if amount != 0:
                losses.append(loss + ("" if amount is None else f" ({amount:,})"))
    return replace(found, end=_below(steps[-1]) if steps else found.current, losses=losses)


def status(database: Database) -> SchemaStatus:
    """Return where a database stands; change nothing.

    Raises SchemaForeign, SchemaUnstamped or SchemaForked if its revision cannot be told. A revision that
    this version does not know has no pending steps.
    """
    with database.connect() as connection:
        return _status(connection, even_ahead=True)


def history(database: Database) -> list[Revision]:
    """Return every known revision, oldest first, and whether the database has it.

    Raises as `status` does, and SchemaAhead.
    """
    with database.connect() as connection:
        return _chain(_status(connection).current)


def _status(connection: Connection, *, even_ahead: bool = False) -> SchemaStatus:
    current, head = current_revision(connection), head_revision()
    problem = compare_revision(current)
    if not isinstance(problem, errors.SchemaAhead):
        return SchemaStatus(current, head, [step for step in _chain(current) if not step.applied])
    if not even_ahead:
        raise problem
    return SchemaStatus(current, head, [])


def _chain(current: str | None) -> list[Revision]:
    names = known_revisions()
    applied = names[: names.index(current) + 1] if current else []
    found = []
    for step in map(revisions().get_revision, names):
        date = step.longdoc.partition("Date: ")[2].partition("\n")[0]
        found.append(Revision(step.revision, date, step.revision in applied, step.doc.rstrip(".")))
    return found


def known_revisions() -> list[str]:
    """Return the names of the revisions that this version knows, oldest first."""
    return [step.revision for step in revisions().walk_revisions()][::-1]


def check(database: Database) -> SchemaStatus:
    """Return the status of a database that is at head and holds exactly the schema of the models.

    Raises SchemaAhead, SchemaForeign, SchemaUnstamped, SchemaForked, or SchemaDrift, which
    names every difference.
    """
    with database.connect() as connection:
        current = current_revision(connection)
        if problem := compare_revision(current):
            raise problem
        found = list(differences(connection, database.backend))
    if found:
        raise errors.SchemaDrift(f"the live schema differs from revision {current}: {'; '.join(found)}", UNDO)
    return SchemaStatus(current, head_revision(), [])


def differences(connection: Connection, backend: Backend) -> Iterator[str]:
    """Yield every difference between the schema of a database and the newest revision; change nothing."""
    live = backend.facts(connection, OUR_TABLES)
    wanted = recorded_facts(head_revision(), backend.dialect)
    yield from compare(live, wanted)
    if f"table {IDENTITY_TABLE}" in live.keys() & wanted.keys() and read_identity(connection) is None:
        yield f"the row of {IDENTITY_TABLE} is missing"


def compare(live: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Yield every difference between the facts of a database and those that it should have."""
    for name in sorted(wanted.keys() | live.keys()):
        if name not in live:
            yield f"{name} is missing"
        elif name in SEARCH_PARTS - wanted.keys():
            yield f"{name} is {live[name]}, not what 'taskdb search on' makes"
        elif name not in wanted:
            yield f"{name} is not of taskdb"
        elif live[name] != wanted[name]:
            yield f"{name} is {live[name]}, not {wanted[name]}"


def identify(database: Database) -> tuple[str | None, bool]:
    """Return the identity of a database, or None, and whether it holds any rows.

    Raises DatabaseMissing and DatabaseUnavailable; its revision does not matter.
    """
    with database.connect() as connection:
        return read_identity(connection), _holds_rows(connection)


def require_head(database: Database) -> None:
    """Raise SchemaAhead or SchemaForeign unless a database is at the newest revision.

    The tables are not compared with the revision, so this is quick.
    """
    with database.connect() as connection:
        if problem := compare_revision(current_revision(connection)):
            raise problem


def offline_sql(dialect: str, *, revision_range: str = "head") -> str:
    """Return the SQL of an upgrade, or of a downgrade if the range goes down, for review; touch nothing."""
    from alembic import command

    config = alembic_config(dialect=dialect)
    config.output_buffer = buffer = StringIO()
    with resolving(revision_range, _RANGE):
        start, _, target = revision_range.rpartition(":")
        ends = [revisions().get_revision(name) for name in (start, target)] if start else []
        places = [known_revisions().index(end.revision) + 1 if end else 0 for end in ends]
        run = command.upgrade if places == sorted(places) else command.downgrade
        run(config, revision_range, sql=True)
    return buffer.getvalue()


def require_known(revision: str) -> None:
    """Raise InvalidInput for a revision that does not exist, and SchemaForked for several heads.

    A number of steps such as -1 is not looked at.
    """
    head_revision()
    with resolving(revision):
        if not revision.startswith(("+", "-")):
            revisions().get_revision(revision)


@contextmanager
def resolving(revision: str, hint: str = _LIST_THEM) -> Iterator[None]:
    """Turn Alembic's refusal of a revision into InvalidInput with this hint."""
    from alembic.script.revision import RevisionError
    from alembic.util.exc import CommandError

    # Alembic fails on an @ without a branch, and Python on thousands of digits.
    if "@" in revision or len(revision) > LONGEST_ECHO:
        raise errors.InvalidInput(f"{brief(revision)!r} is not a revision", hint)
    try:
        yield
    except (AssertionError, CommandError, RevisionError) as exc:
        # Alembic asserts that a revision has a name, and that one named by its distance exists. Its own words
        # are about branches, which taskdb does not have.
        raise errors.InvalidInput(f"there is no revision {revision!r}", hint) from exc
