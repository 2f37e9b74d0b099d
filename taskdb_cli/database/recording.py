"""Change rows, and record in the history how they change, in the same transaction.

PostgreSQL does both in one statement. SQLite has no queries over what a statement returns: there an update or
a deletion is recorded first, from the rows as they are. Nobody else writes meanwhile.

A session without a Recorder, such as that of a dry run, records nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import SessionTransaction
from sqlmodel import Session

import taskdb_cli
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.options import Origin
from taskdb_cli.models.history import CHANGES, RECORDED_FIELDS, Operation

OPERATIONS: sa.Table = Operation.__table__  # type: ignore[attr-defined]

_OWNERS = {"users": "id", "tasks": "user_id", "access_tokens": "user_id"}

Expressions = Mapping[str, sa.ColumnElement[Any]]
"""Values of a row by the names of its columns."""

Rows = Sequence[tuple[Any, ...]]


class Recorder:
    """The operation of one transaction. It is written with the first row that changes."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.undoes: int | None = None
        """The operation that this one undoes."""
        self.id: int | None = None
        """The operation's id, once a row has changed."""
        self.rows = 0
        """How many rows have changed."""
        self._written = 0
        self._before: dict[SessionTransaction, tuple[int | None, int, int]] = {}

    def row(self, rows: sa.ColumnElement[int]) -> Expressions:
        """Return the row of the operation, which says that so many rows changed."""
        values = {
            "at": datetime.now(UTC),
            "actor": self.origin.actor,
            "command": self.origin.command,
            "program_version": taskdb_cli.__version__,
            "undoes": self.undoes,
        }
        bound = {name: sa.literal(value, OPERATIONS.c[name].type) for name, value in values.items()}
        return {**bound, "rows_changed": rows}

    def add(self, rows: int, *, id: int | None) -> None:
        """Count rows that changed; the first of them were written with the operation, whose `id` this is."""
        self.rows += rows
        if self.id is None:
            self.id, self._written = id, rows

    def finish(self, session: Session) -> None:
        """Write how many rows have changed in the end."""
        if self.rows != self._written:
            session.execute(
                sa.update(OPERATIONS).where(OPERATIONS.c.id == self.id).values(rows_changed=self.rows)
            )

    def enter(self, savepoint: SessionTransaction) -> None:
        """Keep what was recorded before a savepoint."""
        self._before[savepoint] = self.id, self.rows, self._written

    def take_back(self, savepoint: SessionTransaction) -> None:
        """Forget what was recorded in a savepoint that was rolled back."""
        if savepoint in self._before:
            self.id, self.rows, self._written = self._before.pop(savepoint)


@sa.event.listens_for(Session, "after_transaction_create")
def _enter(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested and (recorder := session.info.get(Recorder)):
        recorder.enter(transaction)


@sa.event.listens_for(Session, "after_soft_rollback")
def _take_back(session: Session, transaction: SessionTransaction) -> None:
    if recorder := session.info.get(Recorder):
        recorder.take_back(transaction)


def insert(session: Session, statement: sa.Insert, returning: Sequence[sa.ColumnElement[Any]]) -> Rows:
    """Run an INSERT; return these values of each new row."""
    table = _table_of(statement)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_rows(session, table, statement, _created(table), returning)
    rows = session.execute(statement.returning(table.c.id, *returning)).all()
    if recorder and rows:
        record_created(session, table, table.c.id.in_([row[0] for row in rows]))
    return [tuple(row[1:]) for row in rows]


def insert_many(session: Session, statement: sa.Insert) -> int:
    """Run an INSERT of any number of rows that get new ids; return how many there are."""
    table = _table_of(statement)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_number(session, table, statement, _created(table))
    highest = session.scalar(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))) if recorder else 0
    # Otherwise PostgreSQL's count of an INSERT is not kept.
    counted = statement.execution_options(preserve_rowcount=True)
    number: int = session.connection().execute(counted).rowcount
    if recorder and number:
        record_created(session, table, table.c.id > highest)
    return number


def record_created(
    session: Session,
    table: sa.Table,
    which: sa.ColumnElement[bool],
    *,
    same_as: sa.ColumnElement[Any] | None = None,
) -> None:
    """Record that these rows were created by this transaction.

    `same_as` is the version whose values a row got back.
    """
    if recorder := session.info.get(Recorder):
        values = {**_created(table), **({} if same_as is None else {"same_as": same_as})}
        _record(session, recorder, table, values, [which])


def update(
    session: Session,
    table: sa.Table,
    values: Mapping[str, Any],
    *which: sa.ColumnElement[bool],
    returning: Sequence[sa.ColumnElement[Any]],
) -> Rows:
    """Set values of the rows that meet all conditions; return these values of each."""
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        statement, recorded = _updating(table, values, which, None)
        return _changed_rows(session, table, statement, recorded, returning)
    if recorder and not _record(session, recorder, table, _updated(table, values, None), which):
        return []
    statement = sa.update(table).where(*which).values(values)
    return [tuple(row) for row in session.execute(statement.returning(*returning))]


def update_many(
    session: Session,
    table: sa.Table,
    values: Mapping[str, Any],
    *which: sa.ColumnElement[bool],
    same_as: sa.ColumnElement[Any] | None = None,
) -> int:
    """Set values of any number of rows; return how many there are.

    Conditions and values may be about other tables too. `same_as` is the version whose values a row gets
    back.
    """
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        statement, recorded = _updating(table, values, which, same_as)
        return _changed_number(session, table, statement, recorded)
    if recorder and not _record(session, recorder, table, _updated(table, values, same_as), which):
        return 0
    number: int = session.connection().execute(sa.update(table).where(*which).values(values)).rowcount
    return number


def delete(
    session: Session,
    table: sa.Table,
    *which: sa.ColumnElement[bool],
    returning: Sequence[sa.ColumnElement[Any]],
) -> Rows:
    """Delete the rows that meet all conditions; return these values of each as it was."""
    statement = sa.delete(table).where(*which)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_rows(session, table, statement, _deleted(table), returning)
    if recorder and not _record(session, recorder, table, _deleted(table), which):
        return []
    return [tuple(row) for row in session.execute(statement.returning(*returning))]


def delete_many(session: Session, table: sa.Table, *which: sa.ColumnElement[bool]) -> int:
    """Delete any number of rows; return how many there were."""
    statement = sa.delete(table).where(*which)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_number(session, table, statement, _deleted(table))
    if recorder and not _record(session, recorder, table, _deleted(table), which):
        return 0
    number: int = session.connection().execute(statement).rowcount
    return number


def _table_of(statement: sa.Insert) -> sa.Table:
    assert isinstance(statement.table, sa.Table)
    return statement.table


def _is_one_statement(session: Session) -> bool:
    backend: Backend = session.info[Backend]
    return backend.returns_into_queries


def _version(table: sa.Table) -> sa.ColumnElement[int]:
    return table.c.version if "version" in table.c else sa.literal(1)


def _about(table: sa.Table) -> Expressions:
    return {"row_id": table.c.id, "owner_id": table.c[_OWNERS[table.name]]}


def _created(table: sa.Table) -> Expressions:
    """Return what is recorded of a new row."""
    return {**_about(table), "version_after": _version(table)}


def _deleted(table: sa.Table) -> Expressions:
    """Return what is recorded of a row that is deleted: all of it."""
    old = {f"old_{name}": table.c[name] for name in RECORDED_FIELDS[table.name]}
    return {**_about(table), "version_before": _version(table), **old}


def _updated(
    table: sa.Table, values: Mapping[str, Any], same_as: sa.ColumnElement[Any] | None
) -> Expressions:
    """Return what is recorded of a row that is about to get these values: those that differ."""
    recorded = {**_about(table), "version_before": _version(table), "version_after": values["version"]}
    if same_as is not None:
        recorded["same_as"] = same_as
    for name in _recorded_of(table, values):
        old, new = table.c[name], _bound(table, name, values[name])
        recorded |= {f"old_{name}": _if_differs(old, new, old), f"new_{name}": _if_differs(old, new, new)}
    return recorded


def _updating(
    table: sa.Table,
    values: Mapping[str, Any],
    which: Sequence[sa.ColumnElement[bool]],
    same_as: sa.ColumnElement[Any] | None,
) -> tuple[sa.Update, Expressions]:
    """Return an UPDATE and what is recorded of each row, from its old values and its new ones.

    The rows are locked first, so that the old values are those of the row that is updated.
    """
    names = _recorded_of(table, values)
    kept: dict[str, sa.ColumnElement[Any]] = {
        "row_id": table.c.id,
        "version_before": table.c.version,
        "owner_id": table.c[_OWNERS[table.name]],
    }
    kept |= {f"old_{name}": table.c[name] for name in names}
    kept |= {f"set_{name}": _bound(table, name, value) for name, value in values.items()}
    if same_as is not None:
        kept["same_as"] = same_as
    rows = sa.select(*_labelled(kept)).where(*which).order_by(table.c.id).with_for_update(of=table)
    before = rows.cte("before")
    new = {name: before.c[f"set_{name}"] for name in values}
    statement = sa.update(table).where(table.c.id == before.c.row_id).values(new)
    recorded: dict[str, sa.ColumnElement[Any]] = {
        name: before.c[name] for name in ("row_id", "owner_id", "version_before")
    }
    recorded["version_after"] = table.c.version
    if same_as is not None:
        recorded["same_as"] = before.c.same_as
    for name in names:
        old, now = before.c[f"old_{name}"], table.c[name]
        recorded |= {f"old_{name}": _if_differs(old, now, old), f"new_{name}": _if_differs(old, now, now)}
    return statement, recorded


def _recorded_of(table: sa.Table, values: Mapping[str, Any]) -> list[str]:
    # Every update sets updated_at, and so does one that undoes it.
    return [name for name in RECORDED_FIELDS[table.name] if name in values and name != "updated_at"]


def _bound(table: sa.Table, name: str, value: Any) -> sa.ColumnElement[Any]:
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value, table.c[name].type)


def _if_differs(
    old: sa.ColumnElement[Any], new: sa.ColumnElement[Any], value: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    return sa.case((old.is_distinct_from(new), value))


def _labelled(values: Expressions) -> list[sa.Label[Any]]:
    return [value.label(name) for name, value in values.items()]


def _record(
    session: Session,
    recorder: Recorder,
    table: sa.Table,
    values: Expressions,
    which: Sequence[sa.ColumnElement[bool]],
) -> int:
    """Record rows that are in the table now, by statements of their own; return how many there are."""
    connection, begun = session.connection(), None
    if recorder.id is None:
        counted = sa.func.count(table.c.id)
        row = recorder.row(counted)
        some = sa.select(*_labelled(row)).where(*which).having(counted > 0)
        begin = sa.insert(OPERATIONS).from_select([*row], some)
        begun = connection.execute(begin.returning(OPERATIONS.c.id)).scalar()
        if begun is None:
            return 0
    named: dict[str, sa.ColumnElement[Any]] = {
        "operation_id": sa.literal(begun or recorder.id, OPERATIONS.c.id.type),
        "table_name": sa.literal(table.name),
        **values,
    }
    rows = sa.select(*_labelled(named)).where(*which).order_by(table.c.id)
    changes = sa.insert(CHANGES).from_select([*named], rows).execution_options(preserve_rowcount=True)
    number: int = connection.execute(changes).rowcount
    recorder.add(number, id=begun)
    return number


def _changed_rows(
    session: Session,
    table: sa.Table,
    statement: sa.Insert | sa.Update | sa.Delete,
    recorded: Expressions,
    returning: Sequence[sa.ColumnElement[Any]],
) -> Rows:
    """Run and record a statement in one; return these values of each row."""
    recorder: Recorder = session.info[Recorder]
    asked = [value.label(f"asked_{at}") for at, value in enumerate(returning)]
    changed = statement.returning(*_labelled(recorded), *asked).cte("changed")
    query = _recording(recorder, table, changed, [*recorded])
    rows = session.execute(query.add_columns(*(changed.c[label.name] for label in asked))).all()
    if rows:
        recorder.add(len(rows), id=rows[0][0] if recorder.id is None else None)
    return [tuple(row[1:]) for row in rows]


def _changed_number(
    session: Session,
    table: sa.Table,
    statement: sa.Insert | sa.Update | sa.Delete,
    recorded: Expressions,
) -> int:
    """Run and record a statement in one; return how many rows it changed."""
    recorder: Recorder = session.info[Recorder]
    changed = statement.returning(*_labelled(recorded)).cte("changed")
    number = sa.select(sa.func.count()).select_from(changed).scalar_subquery()
    query = _recording(recorder, table, changed, [*recorded]).add_columns(number)
    id, rows = session.connection().execute(query).one()
    if rows:
        recorder.add(rows, id=id if recorder.id is None else None)
    return int(rows)


def _recording(recorder: Recorder, table: sa.Table, changed: sa.CTE, names: Sequence[str]) -> sa.Select[Any]:
    """Return the beginning of a query that records what a statement changed: the operation's id."""
    operation: sa.ColumnElement[Any] = sa.literal(recorder.id, OPERATIONS.c.id.type)
    if recorder.id is None:
        number = sa.func.count(changed.c.row_id)
        row = recorder.row(number)
        begun = sa.insert(OPERATIONS).from_select([*row], sa.select(*_labelled(row)).having(number > 0))
        written = begun.returning(OPERATIONS.c.id).cte("operation")
        operation = sa.select(written.c.id).scalar_subquery()
    named: dict[str, sa.ColumnElement[Any]] = {
        "operation_id": operation,
        "table_name": sa.literal(table.name),
    }
    named |= {name: changed.c[name] for name in names}
    rows = sa.select(*_labelled(named)).order_by(changed.c.row_id)
    recorded = sa.insert(CHANGES).from_select([*named], rows).cte("recorded")
    return sa.select(operation.label("operation_id")).add_cte(recorded)
