"""Run a listing: one page of it, all of it as a stream, or an account of how the engine finds it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam
from sqlmodel import Session

from taskdb_cli.services.listing.sorting import Order, Position

STREAM_ROWS = 1000
"""How many rows a stream fetches at a time."""

ROWS_AT_ONCE = 101
"""How many rows of a page that may end early are fetched at a time."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """A statement, which is made once for all queries of its form, and the values of its parameters."""

    statement: Select[Any]
    values: Mapping[str, Any]

    def with_values(self) -> Select[Any]:
        """Return a statement that holds the values."""
        return self.statement.params(self.values)


@dataclass(frozen=True)
class Page:
    """Some records in order, and the position after which more follow, or None if none do."""

    records: list[Record]
    next: Position | None


def page(
    session: Session,
    query: Query,
    order: Order,
    fields: Sequence[str],
    *,
    limit: int,
    after: Position | None = None,
    fits: Callable[[Record], bool] | None = None,
) -> Page:
    """Return the first `limit` records after a position; `fields` name the columns of the query.

    The page ends before the first record that does not fit, and few of the rows behind it are read. `fits` is
    asked about one record after the other, and must accept the first, so that each page makes progress.
    """
    records: list[Record] = []
    parts = _limited_parts(query.statement, order, _presence(after))
    values = {**query.values, **order.values(after)}
    at_once = limit + 1 if fits is None else ROWS_AT_ONCE
    with closing(_rows(session, parts, values, limit + 1, at_once)) as rows:
        for row in rows:
            record = dict(zip(fields, row, strict=True))
            if len(records) == limit or not (fits is None or fits(record)):
                return Page(records, order.position(records[-1]))
            records.append(record)
    return Page(records, None)


def _rows(
    session: Session, parts: Sequence[Select[Any]], values: dict[str, Any], most: int, at_once: int
) -> Generator[Sequence[Any], None, None]:
    for part in parts:
        values["rows"] = most
        if most <= at_once:
            # The connection returns plain rows in two thirds of the time that the session takes.
            rows = session.connection().execute(part, values).all()
            most -= len(rows)
            yield from rows
        else:
            options = {"stream_results": True, "max_row_buffer": at_once}
            with session.connection().execute(part, values, execution_options=options) as found:
                for row in found:
                    most -= 1
                    yield row
        if not most:
            return


def queries(query: Query, order: Order, *, limit: int, after: Position | None = None) -> list[Select[Any]]:
    """Return the queries that a page may take; the later ones run only if the earlier fill no page."""
    parts = _parts(query.with_values(), order, after)
    return [part.limit(limit + 1) if limit else part for part in parts]


def stream(
    session: Session,
    query: Query,
    order: Order,
    fields: Sequence[str],
    *,
    after: Position | None = None,
) -> Generator[Record, None, None]:
    """Yield every record after a position, at constant memory."""
    for part in _parts(query.with_values(), order, after):
        with session.connection().execute(part.execution_options(yield_per=STREAM_ROWS)) as rows:
            for row in rows:
                yield dict(zip(fields, row, strict=True))


def _parts(statement: Select[Any], order: Order, after: Position | None) -> Iterator[Select[Any]]:
    for segment in order.segments(_presence(after)):
        yield segment.apply(statement).params(order.values(after))


# Making a statement takes SQLAlchemy about as long as running it; the forms that clients use are few.
@lru_cache(maxsize=128)
def _limited_parts(
    statement: Select[Any], order: Order, after: tuple[bool, ...] | None
) -> tuple[Select[Any], ...]:
    rows = bindparam("rows", type_=Integer)
    return tuple(segment.apply(statement).limit(rows) for segment in order.segments(after))


def _presence(after: Position | None) -> tuple[bool, ...] | None:
    return None if after is None else tuple(value is not None for value in after)
