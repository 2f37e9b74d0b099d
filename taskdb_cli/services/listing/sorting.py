"""Orders of records, and pages of them by keyset: a page begins after the last row of the one before.

The depth of a page does not slow it down, as OFFSET would, and rows that come or go between two pages
neither repeat a row nor hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, tuple_

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

Position = tuple[Any, ...]
"""Where a row stands in an order: its value for each key, and its id."""

Bounds = Sequence[ColumnElement[Any] | None]
"""A position as the parameters of a statement; None is a value that is absent."""


@dataclass(frozen=True, eq=False)
class SortKey:
    """Something to sort by: its expression in SQL, and its value in a record."""

    expression: ColumnElement[Any]
    value: Callable[[Mapping[str, Any]], Any]
    accepts: Callable[[Any], bool]
    """Whether a value can be that of a record. Absent values are not asked about."""
    nullable: bool = False


@dataclass(frozen=True)
class Directed:
    """A sort key and its direction; what is absent comes last either way."""

    key: SortKey
    descending: bool

    def term(self) -> ColumnElement[Any]:
        """Return the ORDER BY term."""
        expression = self.key.expression
        directed = expression.desc() if self.descending else expression.asc()
        return directed.nulls_last() if self.key.nullable else directed

    def without_nulls(self) -> Directed:
        """Return the same key where a condition excludes its nulls."""
        return Directed(replace(self.key, nullable=False), self.descending)


@dataclass(frozen=True)
class Segment:
    """A contiguous part of an order, which one index can deliver sorted."""

    conditions: tuple[ColumnElement[bool], ...]
    keys: tuple[Directed, ...]

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Return the query of this part alone, in order."""
        return query.where(*self.conditions).order_by(*[key.term() for key in self.keys])


@dataclass(frozen=True)
class Order:
    """A total order of records: some keys, then the id, in the direction of the last of them."""

    keys: tuple[Directed, ...]

    @classmethod
    def parse(cls, text: str, known: Mapping[str, SortKey]) -> Order:
        """Read comma-separated keys, each with a leading `-` for descending.

        Raises InvalidInput that names the valid keys.
        """
        words = [word.strip() for word in text.split(",")]
        names = [word.removeprefix("-") for word in words]
        for name in names:
            if name not in known:
                raise InvalidInput(
                    f"cannot sort by {brief(name) or 'nothing'}", f"sort keys are {', '.join(known)}"
                )
            if names.count(name) > 1:
                raise InvalidInput(f"{name} is given twice as a sort key", "name each key once")
        keys = [Directed(known[name], word.startswith("-")) for name, word in zip(names, words, strict=True)]
        if "id" not in names:
            return cls((*keys, Directed(known["id"], keys[-1].descending)))
        # Ids differ: a key behind them decides nothing.
        return cls(tuple(keys[: names.index("id") + 1]))

    def without(
        self, constant: Collection[SortKey], position: Position | None
    ) -> tuple[Order, Position | None]:
        """Return the same order of rows that are all equal by these keys, which then need no sorting.

        With it comes the same position in that order.
        """
        kept = [number for number, directed in enumerate(self.keys) if directed.key not in constant]
        order = Order(tuple(self.keys[number] for number in kept))
        return order, None if position is None else tuple(position[number] for number in kept)

    def position(self, record: Mapping[str, Any]) -> Position:
        """Return where a record stands."""
        return tuple(directed.key.value(record) for directed in self.keys)

    def holds(self, position: Position) -> bool:
        """Return whether a position, which may come from anywhere, can be one in this order."""
        return len(position) == len(self.keys) and all(
            key.nullable if value is None else key.accepts(value)
            for (key, value) in zip((directed.key for directed in self.keys), position, strict=True)
        )

    def segments(self, after: Sequence[bool] | None = None) -> Iterator[Segment]:
        """Yield the parts of the order that lie after a position, in order.

        Of the position it is said which values it has: these are parameters, see `values`.

        One index delivers a part sorted. In a condition with OR, or with NULLS LAST on a descending
        key, no index can be entered at the position, and the database would sort every row. Hence
        rows without a value for a key are a part of their own; and where one row comparison cannot
        say what comes after, rows that equal the position by the first key are one, too.
        """
        bounds = None if after is None else [*map(_bound, range(len(after)), self.keys, after)]
        yield from _segments((), self.keys, bounds)

    def values(self, after: Position | None) -> dict[str, Any]:
        """Return the values of a position for the parameters of the parts that lie after it."""
        return {_name(place): value for place, value in enumerate(after or ())}


def _name(place: int) -> str:
    return f"after_{place}"


def _bound(place: int, directed: Directed, present: bool) -> ColumnElement[Any] | None:
    return bindparam(_name(place), type_=directed.key.expression.type) if present else None


def _segments(
    fixed: tuple[ColumnElement[bool], ...], keys: tuple[Directed, ...], after: Bounds | None
) -> Iterator[Segment]:
    first, expression = keys[0], keys[0].key.expression
    if first.key.nullable:
        if after is None or after[0] is not None:
            yield from _segments((*fixed, expression.is_not(None)), (first.without_nulls(), *keys[1:]), after)
            after = None
        yield from _absent((*fixed, expression.is_(None)), first, keys[1:], after[1:] if after else None)
    elif after is None:
        yield Segment(fixed, keys)
    elif _comparable(keys):
        yield Segment((*fixed, _row_after(keys, after)), keys)
    else:
        yield from _segments((*fixed, expression == after[0]), keys[1:], after[1:])
        yield Segment((*fixed, expression < after[0] if first.descending else expression > after[0]), keys)


def _absent(
    fixed: tuple[ColumnElement[bool], ...],
    absent: Directed,
    keys: tuple[Directed, ...],
    after: Bounds | None,
) -> Iterator[Segment]:
    """Yield the parts of rows that are null by a key.

    Where they go by id alone the null key is named first in their order: otherwise PostgreSQL would not
    see that an index on that key and the id has them in order.
    """
    named = (Directed(absent.without_nulls().key, keys[0].descending),) if len(keys) == 1 else ()
    for part in _segments(fixed, keys, after):
        yield Segment(part.conditions, (*named, *part.keys))


def _comparable(keys: Sequence[Directed]) -> bool:
    one_way = len({directed.descending for directed in keys}) == 1
    return one_way and not any(directed.key.nullable for directed in keys)


def _row_after(keys: Sequence[Directed], after: Bounds) -> ColumnElement[bool]:
    row, bounds = tuple_(*[directed.key.expression for directed in keys]), tuple_(*after)
    return row < bounds if keys[0].descending else row > bounds
