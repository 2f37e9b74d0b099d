"""What every reader of a file shares: its lines, the form of a record, and the length that one may have."""

from collections.abc import Iterator
from functools import partial
from typing import Any, TextIO

CHUNK = 1 << 16
LONGEST_RECORD = 1 << 22
"""How many characters one record may have; it is far more than the longest valid one needs."""

TOO_LONG = f"is longer than {LONGEST_RECORD} characters"

Found = tuple[int, dict[str, Any] | str]
"""The number of a record in the file, and its values or the reason why it has none."""


def read_lines(text: TextIO) -> Iterator[str]:
    """Yield the lines of a text. One that is longer than a record may be comes in parts."""
    return iter(partial(text.readline, LONGEST_RECORD), "")
