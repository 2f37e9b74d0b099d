"""Which page of a list a caller asks for, and the cursor that says where the next page begins."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Self

from taskdb_cli.errors import InvalidInput
from taskdb_cli.services.listing.filters import SORT_KEYS
from taskdb_cli.services.listing.pages import Order, Page, Position
from taskdb_cli.services.listing.query import Filter, ListQuery

LONGEST = 8000
"""Characters that a cursor has at most. One that holds a title and an address has some 5000."""

_CHECKSUM_BYTES = 6


class CursorUnusable(InvalidInput):
    """A cursor is damaged, or was made by another list."""

    def __init__(self) -> None:
        super().__init__(
            "the cursor is damaged, or was made by a listing with another sort or other filters",
            "repeat the options of the list that printed it, or start again without --after",
        )


def encode(position: Position, now: datetime, listing: object) -> str:
    """Return the cursor of a position as text for a URL or a shell.

    `now` is when the first page was asked for, and `listing` is what the caller asked for. A cursor is no
    secret. Its checksum finds damage, and binds it to the filters and the sort of its list.
    """
    # A time becomes an object, which tells it from a text.
    body = json.dumps(
        [position, now.isoformat()],
        ensure_ascii=False,
        separators=(",", ":"),
        default=lambda time: {"t": time.isoformat()},
    ).encode()
    return _to_text(_checksum(body, listing) + body)


def decode(text: str, listing: object, order: Order) -> tuple[Position, datetime]:
    """Read a cursor of that order back; raise CursorUnusable if it is damaged, or another list's.

    The position that is returned holds a value of the right type and range for each key of the order.
    """
    try:
        raw = base64.b64decode(text[:LONGEST] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        # Some damage decodes to the same bytes: spare bits of the last character, + for -, padding.
        if _to_text(raw) != text or checksum != _checksum(body, listing):
            raise CursorUnusable
        values, now = json.loads(body, object_hook=lambda value: _decode_time(value["t"]))
        position, moment = tuple(values), _decode_time(now)
    except (ValueError, OverflowError, TypeError, KeyError, RecursionError) as exc:
        raise CursorUnusable from exc
    if not order.holds(position):
        raise CursorUnusable
    return position, moment


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
        """Return the request that these values of the query's parameters make. None counts as not given.

        `path` is what else a cursor is bound to. Raises InvalidInput for a cursor that is damaged or another
        list's and for a word that is not known, and what `parse_time` raises.
        """
        asked = dict(path)
        for each in query.bound:
            if (value := given.get(each.name)) not in (None, [], each.default):
                asked[each.name] = value
        order = Order.parse(given.get("sort", query.sort), SORT_KEYS[query.filter])
        after = None
        if given.get("after") is not None:
            after, now = decode(given["after"], asked, order)
        values = {
            name: parameter.convert(asked[parameter.name], now, parse_time)
            for name, parameter in query.filters.items()
            if parameter.name in asked
        }
        return cls(query.filter(**values), order, given.get("limit", 0), after, now, asked)

    def cursor(self, page: Page) -> str | None:
        """Return the cursor of the page after this one, or None after the last."""
        return None if page.next is None else encode(page.next, self.now, self.asked)


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _checksum(body: bytes, listing: object) -> bytes:
    asked = json.dumps(listing, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(asked).digest() + body).digest()[:_CHECKSUM_BYTES]


def _decode_time(text: str) -> datetime:
    """Return a point in time in UTC; raise ValueError or OverflowError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)
