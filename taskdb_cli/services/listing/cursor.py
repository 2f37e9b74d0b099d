"""Cursors: where the next page begins, as a word to hand back."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from taskdb_cli.errors import InvalidInput
from taskdb_cli.services.listing.sorting import Order, Position

LONGEST = 8000
"""Characters that a cursor has at most: one that holds a title and an address has some 5000."""

_CHECKSUM_BYTES = 6


class CursorUnusable(InvalidInput):
    """A cursor is damaged, or was made by another listing."""


@dataclass(frozen=True)
class Cursor:
    """The position of a page's last row, and the time that its first page was asked at.

    It is no secret. The checksum finds damage; `listing` binds it to the sort and filters that it
    was made for.
    """

    position: Position
    now: datetime

    def encode(self, listing: object) -> str:
        """Return the cursor as text for a URL or a shell; `listing` is what the caller asked for."""
        values = [_encode(value) for value in self.position]
        body = json.dumps([values, self.now.isoformat()], ensure_ascii=False, separators=(",", ":")).encode()
        return _to_text(_checksum(body, listing) + body)

    @classmethod
    def decode(cls, text: str, listing: object, order: Order) -> Cursor:
        """Read a cursor of that order back; raise CursorUnusable if it is damaged, or another listing's.

        A cursor that is returned holds a value of the right type and range for each key of the order.
        """
        raw = _from_text(text) if len(text) <= LONGEST else b""
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if not body or checksum != _checksum(body, listing):
            raise _unusable()
        try:
            values, now = json.loads(body)
            found = cls(tuple(map(_decode, values)), _moment(now))
        except (ValueError, OverflowError, TypeError, KeyError, RecursionError) as exc:
            raise _unusable() from exc
        if not order.holds(found.position):
            raise _unusable()
        return found


def _unusable() -> CursorUnusable:
    return CursorUnusable(
        "the cursor is damaged, or was made by a listing with another sort or other filters",
        "give --after with the very options that printed it, or start again without it",
    )


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


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"t": value.isoformat()}
    return value.value if isinstance(value, Enum) else value


def _decode(value: Any) -> Any:
    return _moment(value["t"]) if isinstance(value, dict) else value


def _moment(text: str) -> datetime:
    """Return a point in time in UTC; raise OverflowError if it is not one between the years 1 and 9999."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)
