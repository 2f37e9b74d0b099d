"""The temporary table that an import goes through, and what both kinds of records ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Insert,
    MetaData,
    Result,
    Select,
    Table,
    Update,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlmodel import Session

from taskdb_cli.database import bulk_insert
from taskdb_cli.models.types import BigNumber, timestamp_type
from taskdb_cli.transfer.batch import Row

FETCHED_ROWS = 1000


def staging_table(*columns: Column[Any]) -> Table:
    """Return the definition of a temporary table; `number` is the place of the record in its file."""
    return Table("taskdb_import", MetaData(), Column("number", BigNumber), *columns, prefixes=["TEMPORARY"])


@contextmanager
def staged(session: Session, table: Table, rows: Iterable[Row]) -> Iterator[None]:
    """Make the table and fill it; it is gone afterwards."""
    connection = session.connection()
    table.create(connection, checkfirst=False)
    bulk_insert(session, table, list(table.c.keys()), rows)
    yield
    # After an error the rollback takes the table away.
    table.drop(connection, checkfirst=False)


def repeated(
    session: Session, table: Table, *key: ColumnElement[Any], among: ColumnElement[bool] | None = None
) -> Result[Any, Any]:
    """Find each row with the key of an earlier row; yield its number and the number of the first one.

    Read them as those of `fetch`.
    """
    first = func.min(table.c.number).over(partition_by=key)
    numbered = select(table.c.number, first.label("first")).where(*(part.is_not(None) for part in key))
    ranked = (numbered if among is None else numbered.where(among)).subquery()
    query = select(ranked).where(ranked.c.number > ranked.c.first).order_by(ranked.c.number)
    return fetch(session, query)


def fetch(session: Session, query: Select[Any, Any]) -> Result[Any, Any]:
    """Open the rows of a query, to be read at constant memory in a `with` statement, which closes them."""
    return session.execute(query.execution_options(yield_per=FETCHED_ROWS))


def count(session: Session, query: Select[Any]) -> int:
    """Return how many rows a query has, without fetching them; a locking query locks them all."""
    rows: int = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    return rows


def update_differing(
    session: Session,
    table: Table,
    same: ColumnElement[bool],
    contents: dict[str, ColumnElement[Any]],
    *,
    now: datetime,
) -> int:
    """Give rows the contents of the `same` ones in the file where they differ; return how many did."""
    differing = or_(*(table.c[name].is_distinct_from(value) for name, value in contents.items()))
    concerned = same & differing
    # In the order of ids, as every writer of several rows, so that two of them cannot deadlock.
    locked = select(table.c.id).where(concerned).order_by(table.c.id).with_for_update(of=table)
    if not count(session, locked):
        return 0
    changes = contents | {"version": table.c.version + 1, "updated_at": literal(now, timestamp_type())}
    return change(session, update(table).where(concerned).values(changes))


def change(session: Session, statement: Insert | Update) -> int:
    """Run a statement and return how many rows it changed."""
    # Otherwise PostgreSQL's count of an INSERT is not kept.
    result = session.connection().execute(statement.execution_options(preserve_rowcount=True))
    return result.rowcount
