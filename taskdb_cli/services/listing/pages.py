"""Pages of lists: which one a caller asks for, and the records on it; all records as a stream, too."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self

from sqlalchemy import Select
from sqlmodel import Session

from taskdb_cli.services.listing.cursor import Cursor
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, USER_SORT_KEYS
from taskdb_cli.services.listing.query import Filter, ListQuery, TaskFilter
from taskdb_cli.services.listing.sorting import Order, Position

STREAM_ROWS = 1000
"""How many rows a stream fetches at a time."""

ROWS_AT_ONCE = 101
"""How many rows of a page that may end early are fetched at a time."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Some records in order, and the position after which more follow, or None if none do."""

    records: list[Record]
    next: Position | None


@dataclass(frozen=True)
class ListRequest(Generic[Filter]):
    """One page of a list, its words understood."""

    filter: Filter
    order: Order
    limit: int
    after: Position | None
    now: datetime
    """The time of the first page, which `overdue` and offsets such as +1h mean on all later ones."""
    asked: Mapping[str, object]
    """What a cursor is bound to: the filters and the sort that were given."""

    @classmethod
    def read(
        cls,
        query: ListQuery[Filter],
        given: Mapping[str, Any],
        *,
        now: datetime,
        parse_time: Callable[..., datetime],
        **path: object,
    ) -> Self:
        """Return the request that these values of the query's parameters make; None is not given.

        `path` is what else a cursor is bound to. Raises InvalidInput for a cursor that is damaged or another
        list's and for a word that is not known, and what `parse_time` raises.
        """
        asked = dict(path)
        for each in query.bound:
            if (value := given.get(each.name)) not in (None, [], each.default):
                asked[each.name] = value
        order = Order.parse(given["sort"], TASK_SORT_KEYS if query.filter is TaskFilter else USER_SORT_KEYS)
        after = None
        if given.get("after") is not None:
            cursor = Cursor.decode(given["after"], asked, order)
            now, after = cursor.now, cursor.position
        values = {
            name: parameter.convert(asked[parameter.name], now, parse_time)
            for name, parameter in query.filters.items()
            if parameter.name in asked
        }
        return cls(query.filter(**values), order, given.get("limit", 0), after, now, asked)

    def cursor(self, page: Page) -> str | None:
        """Return the cursor of the page after this one, or None after the last."""
        return None if page.next is None else Cursor(page.next, self.now).encode(self.asked)


def page(
    session: Session,
    query: Select[Any],
    order: Order,
    *,
    limit: int,
    after: Position | None = None,
    fits: Callable[[Record], bool] | None = None,
) -> Page:
    """Return the first `limit` records after a position.

    The page ends before the first record that does not fit, and few of the rows behind it are read. `fits` is
    asked about one record after the other, and must accept the first, so that each page makes progress.
    """
    records: list[Record] = []
    streamed = fits is not None and limit >= ROWS_AT_ONCE
    at_once = ROWS_AT_ONCE if streamed else None
    with closing(stream(session, query, order, after=after, most=limit + 1, at_once=at_once)) as rows:
        for record in rows:
            if len(records) == limit or not (fits is None or fits(record)):
                return Page(records, order.position(records[-1]))
            records.append(record)
    return Page(records, None)


def queries(
    query: Select[Any], order: Order, *, limit: int, after: Position | None = None
) -> list[Select[Any]]:
    """Return the queries that a page may take; the later ones run only if the earlier fill no page."""
    return [part.limit(limit + 1) if limit else part for part in order.parts(query, after)]


def stream(
    session: Session,
    query: Select[Any],
    order: Order,
    *,
    after: Position | None = None,
    most: int | None = None,
    at_once: int | None = STREAM_ROWS,
) -> Generator[Record, None, None]:
    """Yield every record after a position, or at most so many.

    `at_once` rows are fetched at a time, so that memory stays constant. None fetches all of them at once.
    """
    options = {"yield_per": at_once} if at_once else {}
    for part in order.parts(query, after):
        # The connection returns plain rows in two thirds of the time that the session takes.
        with session.connection().execute(part.limit(most), execution_options=options) as rows:
            names = tuple(rows.keys())
            for row in rows if at_once else rows.all():
                yield dict(zip(names, row, strict=True))
                if most:
                    most -= 1
        if most == 0:
            return
