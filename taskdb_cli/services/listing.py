"""Run a listing: one page of it, all of it as a stream, or an account of how the engine finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlmodel import Session

from taskdb_cli.services.ordering import Order, Position

STREAM_ROWS = 1000
"""How many rows a stream fetches at a time."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Some records in order, and the position after which more follow, or None if none do."""

    records: list[Record]
    next: Position | None


def page(
    session: Session,
    query: Select[Any],
    order: Order,
    fields: Sequence[str],
    *,
    limit: int,
    after: Position | None = None,
) -> Page:
    """Return the first `limit` records after a position; `fields` name the columns of the query."""
    records: list[Record] = []
    for segment in order.segments(after):
        wanted = limit + 1 - len(records)
        rows = session.connection().execute(segment.apply(query).limit(wanted)).all()
        records += [dict(zip(fields, row, strict=True)) for row in rows]
        if len(records) > limit:
            return Page(records[:limit], order.position(records[limit - 1]))
    return Page(records, None)


def queries(
    query: Select[Any], order: Order, *, limit: int, after: Position | None = None
) -> list[Select[Any]]:
    """Return the queries that a page may take; the later ones run only if the earlier fill no page."""
    parts = [segment.apply(query) for segment in order.segments(after)]
    return [part.limit(limit + 1) if limit else part for part in parts]


def stream(
    session: Session,
    query: Select[Any],
    order: Order,
    fields: Sequence[str],
    *,
    after: Position | None = None,
) -> Iterator[Record]:
    """Yield every record after a position, at constant memory."""
    for segment in order.segments(after):
        part = segment.apply(query).execution_options(yield_per=STREAM_ROWS)
        for row in session.connection().execute(part):
            yield dict(zip(fields, row, strict=True))
