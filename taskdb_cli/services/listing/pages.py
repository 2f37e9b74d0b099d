"""Orders of records, and pages of them by keyset: a page begins after the last row of the one before.

The depth of a page does not slow it down, as OFFSET would. Rows that come or go between two pages
neither repeat a row nor hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, tuple_
from sqlmodel import Session

from taskdb_cli.database.search_index import NothingSoon
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

STREAM_ROWS = 1000
"""How many rows a stream fetches at a time."""

ROWS_SOON = 10
"""How many rows a query that may raise NothingSoon finds at a time. Then only the last of them are lost."""

ROWS_AT_ONCE = 101
"""How many rows of a page that may end early are fetched at a time."""

Record = Mapping[str, Any]
Position = tuple[Any, ...]
"""Where a row stands in an order: its value for each key, and its id."""


@dataclass(frozen=True, eq=False)
class SortKey:
    """Something to sort by in one direction: its expression in SQL, and its value in a record."""

    name: str
    expression: ColumnElement[Any]
    value: Callable[[Record], Any]
    accepts: Callable[[Any], bool]
    """Whether a record can have this value. It is not asked about absent values."""
    nullable: bool = False
    descending: bool = False

    @cached_property
    def reversed(self) -> SortKey:
        """The same key in the other direction."""
        return replace(self, descending=not self.descending)

    @cached_property
    def term(self) -> ColumnElement[Any]:
        """The ORDER BY term. Absent values come last in both directions."""
        term: ColumnElement[Any] = self.expression.desc() if self.descending else self.expression.asc()
        return term.nulls_last() if self.nullable else term


@dataclass(frozen=True)
class Order:
    """A total order of records: some keys, then the id, in the direction of the last of them."""

    keys: tuple[SortKey, ...]
    equal: frozenset[str] = frozenset()
    """The names of keys by which all rows are equal: their values are in a position, but sort nothing."""

    @classmethod
    def parse(cls, text: str, known: Mapping[str, SortKey]) -> Order:
        """Read comma-separated keys, each with a leading `-` for descending.

        Raises InvalidInput that names the valid keys.
        """
        keys: list[SortKey] = []
        for word in text.split(","):
            name = word.strip().removeprefix("-")
            if name not in known:
                raise InvalidInput(
                    f"cannot sort by {brief(name) or 'nothing'}", f"sort keys are {', '.join(known)}"
                )
            if name in [key.name for key in keys]:
                raise InvalidInput(f"{name} is given twice as a sort key", "name each key once")
            keys.append(known[name].reversed if word.strip().startswith("-") else known[name])
        keys.append(known["id"].reversed if keys[-1].descending else known["id"])
        # Ids differ, so a key behind the id decides nothing.
        return cls(tuple(keys[: [key.name for key in keys].index("id") + 1]))

    def position(self, record: Record) -> Position:
        """Return where a record stands."""
        return tuple(key.value(record) for key in self.keys)

    def holds(self, position: Position) -> bool:
        """Return whether a position, which may come from anywhere, can be one in this order."""
        return len(position) == len(self.keys) and all(
            key.nullable if value is None else key.accepts(value)
            for key, value in zip(self.keys, position, strict=True)
        )

    def parts(self, query: Select[Any], after: Position | None = None) -> Iterator[Select[Any]]:
        """Yield queries that together return the rows after a position, in order.

        One index delivers the rows of a part sorted. No index can be entered at the position where a
        condition has an OR, or a descending key has NULLS LAST: the database would sort every row. So rows
        without a value for a key are a part of their own. Rows that equal the position by the first key are
        another one where a single row comparison cannot say what comes after.
        """
        differing = [number for number, key in enumerate(self.keys) if key.name not in self.equal]
        keys = tuple(self.keys[number] for number in differing)
        start = None if after is None else tuple(after[number] for number in differing)
        for conditions, sorted_by in _segments((), keys, start):
            yield query.where(*conditions).order_by(*[key.term for key in sorted_by])


def _segments(
    fixed: tuple[ColumnElement[bool], ...], keys: tuple[SortKey, ...], after: Position | None
) -> Iterator[tuple[tuple[ColumnElement[bool], ...], tuple[SortKey, ...]]]:
    """Yield the conditions and the sort keys of each part that one index can deliver sorted."""
    first, others = keys[0], keys[1:]
    expression = first.expression
    if first.nullable:
        present = replace(first, nullable=False)
        if after is None or after[0] is not None:
            yield from _segments((*fixed, expression.is_not(None)), (present, *others), after)
            after = None
        # PostgreSQL sees that an index on the key and the id has the rows without a value in order only if
        # ORDER BY names the key, too.
        named = (replace(present, descending=others[0].descending),) if len(others) == 1 else ()
        absent = (*fixed, expression.is_(None))
        for conditions, rest in _segments(absent, others, after[1:] if after else None):
            yield conditions, (*named, *rest)
    elif after is None:
        yield fixed, keys
    elif len({key.descending for key in keys}) == 1 and not any(key.nullable for key in keys):
        # A single row comparison says what comes after the position.
        row = tuple_(*[key.expression for key in keys])
        bounds = tuple_(
            *[literal(value, key.expression.type) for key, value in zip(keys, after, strict=True)]
        )
        yield (*fixed, row < bounds if first.descending else row > bounds), keys
    else:
        bound = literal(after[0], expression.type)
        yield from _segments((*fixed, expression == bound), others, after[1:])
        yield (*fixed, expression < bound if first.descending else expression > bound), keys


@dataclass(frozen=True)
class Page:
    """Some records in order."""

    records: list[Record]
    next: Position | None
    """The position after which more follow, or None if none do."""
    query: Select[Any]
    """The query that found the last of them."""


def page(
    session: Session,
    query: Select[Any],
    order: Order,
    *,
    limit: int,
    after: Position | None = None,
    skip: int = 0,
    fits: Callable[[Record], bool] | None = None,
    slow: Callable[[], Select[Any]] | None = None,
) -> Page:
    """Return the first `limit` records after a position and after `skip` more records.

    If the query raises NothingSoon, `slow` returns another one, which finds the rest of the same records.

    The page ends before the first record that does not fit, and few of the rows behind it are read. `fits` is
    asked about one record after the other, and must accept the first, so that each page makes progress.
    """
    records: list[Record] = []

    def fill(at_once: int | None) -> Page:
        most = limit + 1 - len(records)
        walk = stream(session, query, order, after=after, skip=skip, most=most, at_once=at_once)
        with closing(walk) as rows:
            for record in rows:
                if len(records) == limit or not (fits is None or fits(record)):
                    return Page(records, order.position(records[-1]), query)
                records.append(record)
        return Page(records, None, query)

    if slow is not None:
        try:
            return fill(ROWS_SOON)
        except NothingSoon:
            query = slow()
            if records:
                after, skip = order.position(records[-1]), 0
    return fill(ROWS_AT_ONCE if fits is not None and limit >= ROWS_AT_ONCE else None)


def stream(
    session: Session,
    query: Select[Any],
    order: Order,
    *,
    after: Position | None = None,
    skip: int = 0,
    most: int | None = None,
    at_once: int | None = STREAM_ROWS,
) -> Generator[Record, None, None]:
    """Yield every record after a position, or at most so many, without the first `skip`.

    `at_once` rows are fetched at a time, so that memory stays constant. None fetches all of them at once.
    """
    options = {"yield_per": at_once} if at_once else {}
    for part in order.parts(query, after):
        statement = part.limit(most).offset(skip) if skip else part.limit(most)
        # The connection returns plain rows in two thirds of the time that the session takes.
        with session.connection().execute(statement, execution_options=options) as rows:
            names = tuple(rows.keys())
            for row in rows if at_once else rows.all():
                yield dict(zip(names, row, strict=True))
                skip = 0
                if most:
                    most -= 1
        if skip:
            # The part has no more rows than were to be skipped.
            skipped = part.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
            skip -= session.execute(skipped).scalar_one()
        if most == 0:
            return
