"""Cursors: where the next page begins, as a word to hand back."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from taskdb_cli.errors import InvalidInput
from taskdb_cli.services.listing.sorting import Order, Position

LONGEST = 8000
"""Characters that a cursor has at most. One that holds a title and an address has some 5000."""

_CHECKSUM_BYTES = 6


class CursorUnusable(InvalidInput):
    """A cursor is damaged, or was made by another list."""

    def __init__(self) -> None:
        super().__init__(
            "the cursor is damaged, or was made by a listing with another sort or other filters",
            "give --after with the very options that printed it, or start again without it",
        )


@dataclass(frozen=True)
class Cursor:
    """The position of a page's last row, and the time at which the first page was asked for.

    It is no secret. The checksum finds damage, and binds the cursor to the filters and the sort of its list.
    """

    position: Position
    now: datetime

    def encode(self, listing: object) -> str:
        """Return the cursor as text for a URL or a shell; `listing` is what the caller asked for."""
        content = [self.position, self.now.isoformat()]
        # A time becomes an object, which tells it from a text.
        body = json.dumps(
            content, ensure_ascii=False, separators=(",", ":"), default=lambda time: {"t": time.isoformat()}
        ).encode()
        return _to_text(_checksum(body, listing) + body)

    @classmethod
    def decode(cls, text: str, listing: object, order: Order) -> Cursor:
        """Read a cursor of that order back; raise CursorUnusable if it is damaged, or another list's.

        A cursor that is returned holds a value of the right type and range for each key of the order.
        """
        raw = _from_text(text) if len(text) <= LONGEST else b""
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if not body or checksum != _checksum(body, listing):
            raise CursorUnusable
        try:
            position, now = json.loads(body, object_hook=lambda value: _decode_time(value["t"]))
            found = cls(tuple(position), _decode_time(now))
        except (ValueError, OverflowError, TypeError, KeyError, RecursionError) as exc:
            raise CursorUnusable from exc
        if not order.holds(found.position):
            raise CursorUnusable
        return found


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _from_text(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
    # Some damage decodes to the same bytes: spare bits of the last character, + for -, padding.
    return raw if _to_text(raw) == text else b""


def _checksum(body: bytes, listing: object) -> bytes:
    asked = json.dumps(listing, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(asked).digest() + body).digest()[:_CHECKSUM_BYTES]


def _decode_time(text: str) -> datetime:
    """Return a point in time in UTC; raise OverflowError if it is not one between the years 1 and 9999."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)
