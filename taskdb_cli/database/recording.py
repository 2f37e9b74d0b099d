"""Change rows, and record in the history how they change, in the same transaction.

PostgreSQL does both in one statement. SQLite has no queries over what a statement returns: there an update or
a deletion is recorded first, from the rows as they are. Nobody else writes meanwhile.

A session without a Recorder, such as that of a dry run, records nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import SessionTransaction
from sqlmodel import Session

import taskdb_cli
from taskdb_cli.database.alike import Parts, execute_alike
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.changes import Expressions, bound, created, deleted, labelled, updated, updating
from taskdb_cli.database.options import Origin
from taskdb_cli.models.history import CHANGES, OPERATIONS

Rows = Sequence[tuple[Any, ...]]

Change = sa.Insert | sa.Update | sa.Delete

_ID = sa.bindparam("recorded_id", type_=OPERATIONS.c.id.type)
_ROW = {
    name: sa.bindparam(f"recorded_{name}", type_=OPERATIONS.c[name].type)
    for name in ("at", "actor", "command", "program_version", "undoes")
}


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

    @property
    def values(self) -> Mapping[str, Any]:
        """The values of the operation's row, except how many rows changed."""
        return {
            "at": datetime.now(UTC),
            "actor": self.origin.actor,
            "command": self.origin.command,
            "program_version": taskdb_cli.__version__,
            "undoes": self.undoes,
        }

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of a statement that records changes: the operation's id, or the row if it has none."""
        if self.id is not None:
            return {_ID.key: self.id}
        return {_ROW[name].key: value for name, value in self.values.items()}

    def row(self, rows: sa.ColumnElement[int]) -> Expressions:
        """Return the row of the operation, which says that so many rows changed."""
        row = {name: sa.literal(value, OPERATIONS.c[name].type) for name, value in self.values.items()}
        return {**row, "rows_changed": rows}

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
        return _changed_rows(session, recorder, statement, lambda: (statement, created(table)), returning)
    connection = session.connection()
    rows = connection.execute(statement.returning(table.c.id, *returning)).all()
    if recorder and rows:
        ids = [row[0] for row in rows]
        which = table.c.id == ids[0] if len(ids) == 1 else table.c.id.in_(ids)
        _record(connection, recorder, table, lambda: created(table), [which], parts=[which])
    return [tuple(row[1:]) for row in rows]


def insert_many(session: Session, statement: sa.Insert) -> int:
    """Run an INSERT of any number of rows that get new ids; return how many there are."""
    table = _table_of(statement)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_number(session, recorder, statement, created(table))
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
        again = {} if same_as is None else {"same_as": same_as}
        _record(session.connection(), recorder, table, lambda: {**created(table), **again}, [which])


def update(
    session: Session,
    table: sa.Table,
    values: Mapping[str, Any],
    *which: sa.ColumnElement[bool],
    returning: Sequence[sa.ColumnElement[Any]],
) -> Rows:
    """Set values of the rows that meet all conditions; return these values of each.

    Conditions are about this table alone.
    """
    recorder: Recorder | None = session.info.get(Recorder)
    values = {name: bound(table, name, value) for name, value in values.items()}
    statement = sa.update(table).where(*which).values(values)
    if recorder and _is_one_statement(session):

        def recorded() -> tuple[sa.Update, Expressions]:
            changing, kept = updating(table, values, which, None)
            # Said once more, or PostgreSQL would read the whole table to join it with the locked rows.
            return changing.where(*which), kept

        return _changed_rows(session, recorder, statement, recorded, returning)
    statement, connection = statement.returning(*returning), session.connection()
    if recorder and not _record(
        connection, recorder, table, lambda: updated(table, values, None), which, parts=[statement]
    ):
        return []
    return [tuple(row) for row in connection.execute(statement).all()]


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
        return _changed_number(session, recorder, *updating(table, values, which, same_as))
    connection = session.connection()
    if recorder and not _record(connection, recorder, table, lambda: updated(table, values, same_as), which):
        return 0
    number: int = connection.execute(sa.update(table).where(*which).values(values)).rowcount
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
        return _changed_rows(session, recorder, statement, lambda: (statement, deleted(table)), returning)
    asked, connection = statement.returning(*returning), session.connection()
    if recorder and not _record(connection, recorder, table, lambda: deleted(table), which, parts=[asked]):
        return []
    return [tuple(row) for row in connection.execute(asked).all()]


def delete_many(session: Session, table: sa.Table, *which: sa.ColumnElement[bool]) -> int:
    """Delete any number of rows; return how many there were."""
    statement = sa.delete(table).where(*which)
    recorder: Recorder | None = session.info.get(Recorder)
    if recorder and _is_one_statement(session):
        return _changed_number(session, recorder, statement, deleted(table))
    connection = session.connection()
    if recorder and not _record(connection, recorder, table, lambda: deleted(table), which):
        return 0
    number: int = connection.execute(statement).rowcount
    return number


def _table_of(statement: sa.Insert) -> sa.Table:
    assert isinstance(statement.table, sa.Table)
    return statement.table


def _is_one_statement(session: Session) -> bool:
    backend: Backend = session.info[Backend]
    return backend.returns_into_queries


def _record(
    connection: sa.Connection,
    recorder: Recorder,
    table: sa.Table,
    values: Callable[[], Expressions],
    which: Sequence[sa.ColumnElement[bool]],
    *,
    parts: Parts | None = None,
) -> int:
    """Record rows that are in the table now, by statements of their own; return how many there are.

    The parts are what the values and conditions are made of, if such rows will be recorded often.
    """
    begun = None

    def begin() -> sa.Executable:
        row = {**_ROW, "rows_changed": sa.func.count(table.c.id)}
        some = sa.select(*labelled(row)).where(*which).having(row["rows_changed"] > 0)
        return sa.insert(OPERATIONS).from_select([*row], some).returning(OPERATIONS.c.id)

    def record() -> sa.Executable:
        named = {"operation_id": _ID, "table_name": sa.literal(table.name), **values()}
        rows = sa.select(*labelled(named)).where(*which).order_by(table.c.id)
        return sa.insert(CHANGES).from_select([*named], rows).execution_options(preserve_rowcount=True)

    if recorder.id is None:
        begun = execute_alike(connection, begin, parts, recorder.parameters).scalar()
        if begun is None:
            return 0
    id = {_ID.key: begun or recorder.id}
    number: int = execute_alike(connection, record, parts, id).rowcount
    recorder.add(number, id=begun)
    return number


def _changed_rows(
    session: Session,
    recorder: Recorder,
    statement: Change,
    recorded: Callable[[], tuple[Change, Expressions]],
    returning: Sequence[sa.ColumnElement[Any]],
) -> Rows:
    """Run and record a statement in one; return these values of each row."""

    def make() -> sa.Executable:
        asked = [value.label(f"asked_{at}") for at, value in enumerate(returning)]
        statement, values = recorded()
        changed = statement.returning(*labelled(values), *asked).cte("changed")
        query = _recording(recorder, statement.table, changed, [*values])
        return query.add_columns(*(changed.c[label.name] for label in asked))

    parts = [statement, *returning]
    rows = execute_alike(session.connection(), make, parts, recorder.parameters).all()
    if rows:
        recorder.add(len(rows), id=rows[0][0])
    return [tuple(row[1:]) for row in rows]


def _changed_number(session: Session, recorder: Recorder, statement: Change, recorded: Expressions) -> int:
    """Run and record a statement in one; return how many rows it changed."""
    changed = statement.returning(*labelled(recorded)).cte("changed")
    number = sa.select(sa.func.count()).select_from(changed).scalar_subquery()
    query = _recording(recorder, statement.table, changed, [*recorded]).add_columns(number)
    id, rows = session.connection().execute(query, recorder.parameters).one()
    if rows:
        recorder.add(rows, id=id)
    return int(rows)


def _recording(
    recorder: Recorder, table: sa.FromClause, changed: sa.CTE, names: Sequence[str]
) -> sa.Select[Any]:
    """Return the beginning of a query that records what a statement changed: the operation's id."""
    operation: sa.ColumnElement[Any] = _ID
    if recorder.id is None:
        number = sa.func.count(changed.c.row_id)
        row = {**_ROW, "rows_changed": number}
        begun = sa.insert(OPERATIONS).from_select([*row], sa.select(*labelled(row)).having(number > 0))
        written = begun.returning(OPERATIONS.c.id).cte("operation")
        operation = sa.select(written.c.id).scalar_subquery()
    named: dict[str, sa.ColumnElement[Any]] = {
        "operation_id": operation,
        "table_name": sa.literal(table.description),
    }
    named |= {name: changed.c[name] for name in names}
    rows = sa.select(*labelled(named)).order_by(changed.c.row_id)
    recorded = sa.insert(CHANGES).from_select([*named], rows).cte("recorded")
    return sa.select(operation.label("operation_id")).add_cte(recorded)
