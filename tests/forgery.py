"""Cursors that nobody was given, with the checksum that makes them look like ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random
from typing import Any

from taskdb_cli.services.listing import cursor
from taskdb_cli.services.listing.pages import Order
from tests.conftest import NOW

# None of these is a value of any sort key.
_VALUES: list[Any] = [
    0,
    -1,
    2**63,
    10**400,
    1.5,
    1e308,
    True,
    False,
    "nul\0",
    "line\nbreak",
    "\x1b[31m",
    "\ud800",
    "x" * 501,
    [],
    {},
    [[[]]],
    {"t": "2026-12-01T17:00:00"},
    {"t": "x"},
    {"t": 5},
    {"t": None},
    {"t": "9999-12-31T23:59:59-99:00"},
    {"x": 1},
]


TIMES = 20 if os.environ.get("TASKDB_SOAK") == "1" else 1
"""How many times as many cursors a long run forges."""


def forged(listing: object, order: Order, *, number: int) -> Iterator[str]:
    """Yield cursors of a listing that hold too few values, too many, or one that no record has.

    With TASKDB_SOAK=1 there are TIMES as many.
    """
    random, count = Random(number), len(order.keys)
    for _ in range(number * TIMES):
        values = [random.choice(_VALUES) for _ in range(count)]
        now: Any = NOW.isoformat()
        match random.randrange(6):
            case 0:
                values = values[:-1]
            case 1:
                values.append(random.choice(_VALUES))
            case 2:
                now = random.choice(["2026-12-01", "2026-12-01T17:00:00", "", None, 5, "x" * 100])
        yield _text(json.dumps([values, now]).encode(), listing)
    for body in (b"[", b"[]", b"5", b"null", b"[1,2,3]", b"\xff", b"[" * 3000, b"[null,null]", b"[{}, {}]"):
        yield _text(body, listing)


def _text(body: bytes, listing: object) -> str:
    return cursor._to_text(cursor._checksum(body, listing) + body)
