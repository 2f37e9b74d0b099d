r"""The fields of COPY text as SQLite's values, and the other way round, for a column of many rows at a time.

Whatever can be done to all of a column's text at once is done so: a call for each field would cost more
than all that SQLite does with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from taskdb_cli.database.copy_text import NULL, Converter, texts

_NULL = NULL.encode()
_FLAGS = {"t": 1, "f": 0, NULL: None}
_FLAG_FIELDS = {b"1": b"t", b"0": b"f", None: _NULL}
_ESCAPED = {b"\\": rb"\\", b"\t": rb"\t", b"\n": rb"\n", b"\r": rb"\r"}
"""What COPY writes with a backslash, which comes first; the rules of the tables admit no others."""

_LENGTH = len("2026-11-22T12:00:00.000000Z")
_ENDINGS = {len("2026-11-22T12:00:00Z"): ".000000Z"} | {_LENGTH - cut: "0" * cut + "Z" for cut in range(1, 6)}
"""What stands for the Z of a time, of which the fraction was trimmed to that length."""

_TRIMMED = {b".000000Z": b"+00", b"000Z": b"Z", b"00Z": b"Z", b"0Z": b"Z", b"Z": b"+00"}
"""What trims the fractions of times, one after the other: 3, 2 and 1 zeros are 1 to 5 in any case."""

Values = Sequence[bytes | None]
Writer = Callable[[Values], Sequence[bytes]]
"""Makes the fields of one column, of many rows, from the bytes of its values."""


def written(rows: Iterable[Sequence[bytes | None]], writers: Sequence[Writer]) -> bytes:
    """Return the lines of some rows, of which there is at least one; there is a writer for each column."""
    columns = [write(values) for write, values in zip(writers, zip(*rows, strict=True), strict=True)]
    return b"\n".join(map(b"\t".join, zip(*columns, strict=True))) + b"\n"


def _write_texts(values: Values) -> Sequence[bytes]:
    fields = _write_plainly(values)
    everything = b"".join(filter(None, values))
    if not any(character in everything for character in _ESCAPED):
        return fields
    return [_NULL if value is None else _escape(value) for value in values]


def _escape(value: bytes) -> bytes:
    for character, escaped in _ESCAPED.items():
        value = value.replace(character, escaped)
    return value


def _write_times(values: Values) -> Sequence[bytes]:
    joined = b"\t".join(_write_plainly(values)).replace(b"T", b" ")
    for ending, shorter in _TRIMMED.items():
        joined = joined.replace(ending, shorter)
    return joined.split(b"\t")


def _write_flags(values: Values) -> Sequence[bytes]:
    return [_FLAG_FIELDS[value] for value in values]


def _write_plainly(values: Values) -> Sequence[bytes]:
    return [_NULL if value is None else value for value in values]


def _times(fields: Sequence[str]) -> list[str | None]:
    joined = "\t".join(fields).replace(" ", "T").replace("+00", "Z")
    times = [
        None if time == NULL else time if len(time) == _LENGTH else time[:-1] + _ENDINGS[len(time)]
        for time in joined.split("\t")
    ]
    _require_times([time for time in times if time is not None])
    return times


def _require_times(times: Sequence[str]) -> None:
    """Raise ValueError for what the rules of the tables would not take for a time.

    The parser allows other forms, in which the marks between the digits differ or stand elsewhere, and
    from Python 3.13 on the hour 24.
    """
    everything = "".join(times)
    if everything.encode().translate(None, b"0123456789") != b"--T::.Z" * len(times) or "T24" in everything:
        raise ValueError(times)
    deque(map(datetime.fromisoformat, times), maxlen=0)


def _flags(fields: Sequence[str]) -> list[int | None]:
    return [_FLAGS[field] for field in fields]


CONVERTERS: dict[str, Converter] = {
    # A STRICT column takes digits for the number that they are, and refuses other text.
    "integer": texts,
    "text": texts,
    "boolean": _flags,
    "timestamp": _times,
}
WRITERS: dict[str, Writer] = {
    "integer": _write_plainly,
    "text": _write_texts,
    "boolean": _write_flags,
    "timestamp": _write_times,
}
