"""What every reader of a file shares: its lines, the form of a record, and the length that one may have."""

from collections.abc import Iterator
from functools import partial
from typing import Any, TextIO

CHUNK = 1 << 16
LONGEST_RECORD = 1 << 22
"""How many characters one record may have; it is far more than the longest valid one needs."""

TOO_LONG = f"is longer than {LONGEST_RECORD} characters"


class HeaderFaults(list[str]):
    """What is wrong with the header of a file. No record of such a file is read."""


Found = tuple[int, dict[str, Any] | str | list[str]]
"""The number of a record in the file, and its values or the reason why it has none, or several of them."""


def read_lines(text: TextIO) -> Iterator[str]:
    """Yield the lines of a text. One that is longer than a record may be comes in parts."""
    return iter(partial(text.readline, LONGEST_RECORD), "")


def unread(place: str) -> str:
    """Return what is said of a file when reading stops before its end; `place` is where, such as `line 7`."""
    return f"the rest of the file, from {place} on, was not read"


def undecodable(line: str, number: int, encoding: str) -> str:
    """Return which byte of a line is not of the encoding of the file, or '' if all are."""
    at = find_undecoded(line)
    return "" if at is None else undecoded(line[at], number, at, encoding)


def find_undecoded(text: str) -> int | None:
    """Return the position of the first byte that could not be decoded, or None.

    Such bytes are lone surrogates, which the error handler KEEP_BYTES of `decoding` makes.
    """
    if text.isascii():
        return None  # Most texts are, and to encode them takes longer.
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return exc.start
    return None


def undecoded(character: str, line: int, column: int, encoding: str) -> str:
    """Return what is said of such a byte, which stands behind `column` characters of a line."""
    encoding = encoding.removesuffix("-sig")
    likely = encoding == "utf-8"
    hint = " (if a program of Windows wrote the file, add --encoding windows-1252)" if likely else ""
    byte = f"byte 0x{ord(character) & 0xFF:02X} at character {column + 1} of line {line}"
    return f"{byte} is not {encoding.upper() if likely else encoding}{hint}"
