"""Orders of records, and pages of them by keyset: a page begins after the last row of the one before.

The depth of a page does not slow it down, as OFFSET would. Rows that come or go between two pages
neither repeat a row nor hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, tuple_

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

Position = tuple[Any, ...]
"""Where a row stands in an order: its value for each key, and its id."""


@dataclass(frozen=True, eq=False)
class SortKey:
    """Something to sort by: its expression in SQL, and its value in a record."""

    expression: ColumnElement[Any]
    value: Callable[[Mapping[str, Any]], Any]
    accepts: Callable[[Any], bool]
    """Whether a record can have this value. It is not asked about absent values."""
    nullable: bool = False

    @cached_property
    def terms(self) -> list[ColumnElement[Any]]:
        """The ORDER BY terms, ascending and descending. Absent values come last either way."""
        terms: list[ColumnElement[Any]] = [self.expression.asc(), self.expression.desc()]
        return [term.nulls_last() for term in terms] if self.nullable else terms

    @cached_property
    def present(self) -> SortKey:
        """The same key of rows that all have a value for it."""
        return replace(self, nullable=False)


@dataclass(frozen=True)
class Directed:
    """A sort key and its direction."""

    key: SortKey
    descending: bool


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
        # Ids differ, so a key behind the id decides nothing.
        return cls(tuple(keys[: names.index("id") + 1]))

    def without(
        self, constant: Collection[SortKey], position: Position | None
    ) -> tuple[Order, Position | None]:
        """Return the order and the position without keys by which all rows are equal.

        Rows that are equal by a key need no sorting by it.
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
            directed.key.nullable if value is None else directed.key.accepts(value)
            for directed, value in zip(self.keys, position, strict=True)
        )

    def parts(self, query: Select[Any], after: Position | None = None) -> Iterator[Select[Any]]:
        """Yield queries that together return the rows after a position, in order.

        One index delivers the rows of a part sorted. No index can be entered at the position where a
        condition has an OR, or a descending key has NULLS LAST: the database would sort every row. So rows
        without a value for a key are a part of their own. Rows that equal the position by the first key are
        another one where a single row comparison cannot say what comes after.
        """
        for conditions, keys in _segments((), self.keys, after):
            yield query.where(*conditions).order_by(*[each.key.terms[each.descending] for each in keys])


def _segments(
    fixed: tuple[ColumnElement[bool], ...], keys: tuple[Directed, ...], after: Position | None
) -> Iterator[tuple[tuple[ColumnElement[bool], ...], tuple[Directed, ...]]]:
    """Yield the conditions and the sort keys of each part that one index can deliver sorted."""
    first, others = keys[0], keys[1:]
    expression = first.key.expression
    if first.key.nullable:
        present = Directed(first.key.present, first.descending)
        if after is None or after[0] is not None:
            yield from _segments((*fixed, expression.is_not(None)), (present, *others), after)
            after = None
        # PostgreSQL sees that an index on the key and the id has the rows without a value in order only if
        # ORDER BY names the key, too.
        named = (replace(present, descending=others[0].descending),) if len(others) == 1 else ()
        for conditions, rest in _segments(
            (*fixed, expression.is_(None)), others, after[1:] if after else None
        ):
            yield conditions, (*named, *rest)
        return
    if after is None:
        yield fixed, keys
        return
    values = [literal(value, each.key.expression.type) for each, value in zip(keys, after, strict=True)]
    one_way = len({each.descending for each in keys}) == 1
    if one_way and not any(each.key.nullable for each in keys):
        # A single row comparison says what comes after the position.
        row, bounds = tuple_(*[each.key.expression for each in keys]), tuple_(*values)
        yield (*fixed, row < bounds if first.descending else row > bounds), keys
    else:
        bound = values[0]
        yield from _segments((*fixed, expression == bound), others, after[1:])
        yield (*fixed, expression < bound if first.descending else expression > bound), keys
