"""Bring some users and tasks of an archive back into a database that is in use.

They are loaded into temporary tables first, while nobody has to wait. Then a few statements compare them with
the rows of the database, and write what is missing, in one transaction.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.backup import matching
from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.archived_tables import BATCH_ROWS, OLD_TASKS, OLD_USERS, TASKS, USERS, load_archived
from taskdb_cli.backup.create import Progress, silent
from taskdb_cli.backup.matching import LEFT, REPLACED, RESTORED
from taskdb_cli.backup.restore import rows_at_head
from taskdb_cli.database import Database, recording
from taskdb_cli.database.changes import labelled
from taskdb_cli.database.schema import compare_revision
from taskdb_cli.database.statements import give_ids, insert_with_ids, many_inserted
from taskdb_cli.models.history import CHANGES
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.text.escaping import brief

Record = dict[str, Any]

_KEPT = ("id", "user_id", "version", "updated_at")
"""What is not compared, because it is not what a person wrote."""

_COMPARED = ("users_pkey", "users_email_key", "tasks_pkey", "tasks_user_id_external_id_key")
"""Constraints that only rows which came after the comparison break."""


@dataclass(frozen=True)
class Report:
    """How many users and tasks came back, were replaced or left, differ although left, and got a new id.

    `obstacle` says why those that differ cannot be replaced; it is empty if they can.
    """

    restored: dict[str, int]
    replaced: dict[str, int]
    left: dict[str, int]
    differing: dict[str, int]
    new_ids: dict[str, int]
    obstacle: str = ""


class Selection:
    """Users and tasks of an archive in temporary tables of a connection."""

    def __init__(self, target: Database, connection: sa.Connection) -> None:
        self._target, self._connection = target, connection

    def bring_back(
        self,
        *,
        replace: bool,
        now: datetime,
        dry_run: bool = False,
        safety: Callable[[], object] | None = None,
        note: Callable[[Iterator[Sequence[Record]]], object] | None = None,
    ) -> Report:
        """Write the rows that the database does not have, in one transaction, and return what was done.

        Rows that it has are left, or get the archived values if they are to be `replace`d and differ. Before
        that `safety` is called, while nobody can change them. `note` gets what was done with each row. A
        dry run finds out what would be done, and gives no ids.

        Raises NotFound for a task whose owner is gone, Conflict for a value that another row has now,
        DataCorrupt for rows that break a rule, and DatabaseUnavailable if others are in the way for long.
        """

        def attempt(session: Session) -> Report:
            saved = False
            try:
                obstacle = _find_users(session, replace=replace, write=not dry_run)
                obstacle = _find_tasks(session, replace=replace, write=not dry_run) or obstacle
                if not dry_run:
                    if safety and (_has(session, OLD_USERS, REPLACED) or _has(session, OLD_TASKS, REPLACED)):
                        saved = True
                        safety()
                    _write(session, now)
                if note:
                    note(_rows(session))
                return replaced(_report(session), obstacle=obstacle)
            except errors.CheckViolation as exc:
                what = f"an archived row breaks a rule: {exc.message}"
                raise errors.DataCorrupt(what, "nothing was changed; use another archive") from exc
            except errors.UniqueViolation as exc:
                if exc.constraint not in _COMPARED:
                    exc.hint = "nothing was changed; look at the row of the database that has these values"
                    raise
                conflict = errors.TransactionConflict(f"{exc.message}; the row was added meanwhile")
                conflict.passing = not saved
                raise conflict from exc
            except errors.TransactionConflict as exc:
                # Rows may change before another attempt, and would not be in the safety backup.
                exc.passing = not saved
                raise

        return self._target.write(attempt, dry_run=dry_run, bulk=True, over=self._connection)


@contextmanager
def open_selection(
    target: Database,
    archive: Archive,
    *,
    users: Sequence[str | range] = (),
    tasks: Sequence[int | range] = (),
    progress: Progress = silent,
) -> Iterator[Selection]:
    """Read users with their tasks, and single tasks, of an archive.

    Each table is read once, to its end, which verifies it. Raises NotFound for what the archive does not
    hold, SchemaBehind or SchemaAhead for a database that is not at the newest revision, and what
    `rows_at_head` raises.
    """
    if archive.encrypted:
        target = target.keeping_secrets()
    with rows_at_head(archive) as rows, target.connect(bulk=True) as connection:
        # The archive takes long to read. Where nothing can be written, say so before.
        target.write(lambda _: None, dry_run=True)
        content = target.backend.content(connection)
        if problem := compare_revision(content.revision):
            raise problem
        load_archived(content, rows, archive.place, users=users, tasks=tasks, progress=progress)
        yield Selection(target, connection)


def _find_users(session: Session, *, replace: bool, write: bool) -> str:
    """Find the users that are in the database already, and keep them as they are until the commit.

    Two users are the same if they have the same id and time of creation, or else the same address. Returns
    why a user that differs cannot be replaced. Raises Conflict for a user that is to be written, and cannot
    be.
    """
    old, live = OLD_USERS.c, USERS.c
    same, same_address = (live.id == old.id) & (live.created_at == old.created_at), live.email == old.email
    matching.match(session, OLD_USERS, USERS, same, same_address)
    if write:
        _lock(session, OLD_USERS, USERS, old.live_id.is_not(None), same | same_address)
    _decide(session, OLD_USERS, USERS, {}, replace=replace, among=old.asked)
    obstacle = ""
    found = matching.find_holder(session, OLD_USERS, USERS, same_address)
    matching.require_matched(session, OLD_USERS, USERS, same | same_address)
    if found:
        obstacle = (
            f"user {found.holder} now has the address {brief(found.email)} of the archived user {found.id}"
        )
        _require_left(found, obstacle, "give that user another address", replace=replace)
    gone = sa.select(OLD_TASKS.c.id, old.email).join(OLD_USERS, old.id == OLD_TASKS.c.user_id)
    gone = gone.where(old.outcome.is_(None), old.live_id.is_(None)).order_by(OLD_TASKS.c.id)
    if found := session.execute(gone.limit(1)).first():
        email = brief(found.email)
        raise errors.NotFound(
            f"the archived task {found.id} belongs to {email}, and the database has no such user",
            f"add --only-user {shlex.quote(email)} to bring back that user with all tasks, "
            "or make the user with 'taskdb user create'",
        )
    if write:
        give_ids(session, USERS, OLD_USERS)
    return obstacle


def _find_tasks(session: Session, *, replace: bool, write: bool) -> str:
    """Find the tasks that are in the database already. Return and raise as `_find_users`.

    Two tasks are the same if they have the same id and time of creation, or else the same owner and external
    id, or are alike.
    """
    old, live = OLD_TASKS.c, TASKS.c
    owner = sa.select(sa.func.coalesce(OLD_USERS.c.live_id, OLD_USERS.c.new_id))
    owner = owner.where(OLD_USERS.c.id == old.user_id)
    session.execute(sa.update(OLD_TASKS).values(owner=owner.scalar_subquery()))
    same = (live.id == old.id) & (live.created_at == old.created_at)
    same_external_id = (live.user_id == old.owner) & (live.external_id == old.external_id)
    matching.match(session, OLD_TASKS, TASKS, same, same_external_id)
    matching.match_alike(session, "title", "description")
    matching.match_alike(session, "title")
    if write and replace:
        _lock(session, OLD_TASKS, TASKS, old.live_id.is_not(None), sa.true())
    _decide(session, OLD_TASKS, TASKS, {"user_id": old.owner}, replace=replace, among=sa.true())
    obstacle = ""
    if found := matching.find_holder(session, OLD_TASKS, TASKS, same_external_id):
        name = brief(found.external_id)
        obstacle = f"task {found.holder} now has the external id {name} of the archived task {found.id}"
        _require_left(found, obstacle, "delete that task", replace=replace)
    if write:
        give_ids(session, TASKS, OLD_TASKS)
    return obstacle


def _require_left(found: sa.Row[Any], obstacle: str, way: str, *, replace: bool) -> None:
    """Raise Conflict for a row that is to be written."""
    if found.outcome != LEFT:
        other = "" if replace else ", or use --replace"
        if found.outcome == REPLACED:
            other = ", or leave --replace out"
        raise errors.Conflict(obstacle, f"nothing was changed; {way}{other}")


def _lock(
    session: Session,
    old: sa.Table,
    live: sa.Table,
    which: sa.ColumnElement[bool],
    still: sa.ColumnElement[bool],
) -> None:
    """Lock the rows that were found, in the order of their ids, as every writer of several rows does."""
    expected = _count(session, sa.select(old.c.id).where(which))
    rows = sa.select(live.c.id).join(old, old.c.live_id == live.c.id).where(which, still)
    if _count(session, rows.order_by(live.c.id).with_for_update(of=live)) != expected:
        raise errors.TransactionConflict("rows have changed while they were compared with the archive")


def _decide(
    session: Session,
    old: sa.Table,
    live: sa.Table,
    changed: Mapping[str, sa.ColumnElement[Any]],
    *,
    replace: bool,
    among: sa.ColumnElement[bool],
) -> None:
    """Decide which id each archived row has, and what is done with it.

    It has no id yet if another row has its own. `changed` are its values that differ from the archive's.
    """
    there = sa.select(live.c.id).where(live.c.id == old.c.id).correlate(old).exists()
    session.execute(
        sa.update(old).values(new_id=sa.case((old.c.live_id.is_not(None), old.c.live_id), (~there, old.c.id)))
    )
    values = _values(old, live, changed)
    different = sa.or_(*(live.c[name].is_distinct_from(value) for name, value in values.items()))
    differs = sa.select(live.c.id).where(live.c.id == old.c.live_id, different).correlate(old).exists()
    session.execute(sa.update(old).where(among).values(differs=differs))
    cases: list[tuple[sa.ColumnElement[bool], str]] = [(old.c.live_id.is_(None), RESTORED)]
    if replace:
        cases.append((old.c.differs, REPLACED))
    session.execute(sa.update(old).where(among).values(outcome=sa.case(*cases, else_=LEFT)))


def _values(
    old: sa.Table, live: sa.Table, changed: Mapping[str, sa.ColumnElement[Any]]
) -> dict[str, sa.ColumnElement[Any]]:
    return {each.name: old.c[each.name] for each in live.c if each.name not in _KEPT} | {**changed}


def _has(session: Session, old: sa.Table, outcome: str) -> bool:
    return session.execute(sa.select(old.c.id).where(old.c.outcome == outcome).limit(1)).first() is not None


def _write(session: Session, now: datetime) -> None:
    """Write users and then tasks. None gets a version that it has had with other values."""
    moment = sa.literal(now, USERS.c.updated_at.type)
    for old, live, changed in (
        (OLD_USERS, USERS, {}),
        (OLD_TASKS, TASKS, {"user_id": OLD_TASKS.c.owner}),
    ):
        version = sa.case((live.c.version > old.c.version, live.c.version), else_=old.c.version) + 1
        replaced = (old.c.outcome == REPLACED) & (live.c.id == old.c.live_id)
        values = _values(old, live, changed) | {"version": version, "updated_at": moment}
        recording.update_many(session, live, values, replaced)
        new = {"id": old.c.new_id, "version": _unused_version(old, live)}
        given: dict[str, Any] = {each.name: old.c[each.name] for each in live.c} | changed | new
        rows = sa.select(*labelled(given)).where(old.c.outcome == RESTORED)
        if restored := _count(session, rows):
            with many_inserted(session, live, restored):
                for some in _batches(session, old):
                    insert_with_ids(session, live, rows.where(some).order_by(old.c.id))
                ids = sa.select(old.c.new_id).where(old.c.outcome == RESTORED)
                recording.record_created(session, live, live.c.id.in_(ids))


def _batches(session: Session, old: sa.Table) -> Iterator[sa.ColumnElement[bool]]:
    """Yield conditions for archived rows that come back, some at a time, in the order of their ids.

    SQLite keeps what it needs to undo a statement, and what it sorts, in memory.
    """
    number = sa.func.row_number().over(order_by=old.c.id).label("number")
    restored = sa.select(old.c.id, number).where(old.c.outcome == RESTORED).subquery()
    ends = sa.select(restored.c.id).where(restored.c.number % BATCH_ROWS == 0).order_by(restored.c.id)
    last = -MAX_ID
    for end in [*session.scalars(ends), MAX_ID]:
        yield (old.c.id > last) & (old.c.id <= end)
        last = end


def _unused_version(old: sa.Table, live: sa.Table) -> sa.ColumnElement[int]:
    """Return the version of a row that comes back: the archived one, or the next that the history lacks.

    Otherwise undo would take what came back for what was there before.
    """
    change = CHANGES.c
    last = sa.func.max(sa.func.coalesce(change.version_after, change.version_before))
    known = change.table_name == live.name, change.row_id == old.c.new_id
    following = sa.select(last + 1).where(*known).having(last >= old.c.version).correlate(old)
    return sa.func.coalesce(following.scalar_subquery(), old.c.version)


def _rows(session: Session) -> Iterator[Sequence[Record]]:
    """Yield what was done with each archived row, users first; addresses are those of the database."""
    users, tasks = OLD_USERS.c, OLD_TASKS.c
    kept = sa.select(USERS.c.email).where(
        USERS.c.id == users.live_id, users.outcome.is_distinct_from(REPLACED)
    )
    email = sa.func.coalesce(kept.correlate(OLD_USERS).scalar_subquery(), users.email)
    who = sa.select(sa.literal("user"), users.outcome, users.differs, users.id, users.new_id, email)
    what = sa.select(sa.literal("task"), tasks.outcome, tasks.differs, tasks.id, tasks.new_id, email)
    queries = (
        who.add_columns(sa.null()).where(users.outcome.is_not(None)).order_by(users.id),
        what.add_columns(tasks.title).join(OLD_USERS, users.id == tasks.user_id).order_by(tasks.id),
    )
    names = ("kind", "outcome", "differs", "archived_id", "id", "user", "title")
    for query in queries:
        with session.connection().execute(query, execution_options={"yield_per": BATCH_ROWS}) as found:
            for rows in found.partitions():
                yield [dict(zip(names, row, strict=True)) for row in rows]


def _report(session: Session) -> Report:
    report = Report({}, {}, {}, {}, {})
    for table, old in (("users", OLD_USERS), ("tasks", OLD_TASKS)):
        for outcome in (RESTORED, REPLACED, LEFT):
            number = _count(session, sa.select(old.c.id).where(old.c.outcome == outcome))
            getattr(report, outcome)[table] = number
        restored = old.c.outcome == RESTORED
        renumbered = restored & old.c.new_id.is_distinct_from(old.c.id)
        report.new_ids[table] = _count(session, sa.select(old.c.id).where(renumbered))
        differing = (old.c.outcome == LEFT) & old.c.differs
        report.differing[table] = _count(session, sa.select(old.c.id).where(differing))
    return report


def _count(session: Session, query: sa.Select[Any]) -> int:
    """Return how many rows a query has. A locking query locks them all."""
    return int(session.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())
