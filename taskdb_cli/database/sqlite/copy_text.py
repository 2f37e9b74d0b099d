r"""The rows of a SQLite table as the text of PostgreSQL's COPY, in both directions.

The format is that of PostgreSQL's documentation, "COPY", file formats, text format. Rows are converted a
column at a time, because a call for each field would take longer than all that SQLite does with it.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from taskdb_cli.errors import DataCorrupt

Fields = Sequence[str]
Converter = Callable[[Fields], Iterable[object]]
"""Makes the values of one column from their fields, for many rows."""

Values = Sequence[bytes | None]
Writer = Callable[[Values], Sequence[bytes]]
"""Makes the fields of one column from the bytes of its values, for many rows."""

_NULL = r"\N"
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED = {b"\\": rb"\\", b"\t": rb"\t", b"\n": rb"\n", b"\r": rb"\r"}
"""What COPY writes with a backslash, which comes first; the rules of the tables admit no others."""

_FLAGS = {"t": 1, "f": 0, _NULL: None}
_FLAG_FIELDS = {b"1": b"t", b"0": b"f", None: _NULL.encode()}

_LENGTH = len("2026-11-22T12:00:00.000000Z")
_ENDINGS = {len("2026-11-22T12:00:00Z"): ".000000Z"} | {_LENGTH - cut: "0" * cut + "Z" for cut in range(1, 6)}
"""What replaces the Z of a time whose fraction was trimmed to that length."""

_TRIMMED = {b".000000Z": b"+00", b"000Z": b"Z", b"00Z": b"Z", b"0Z": b"Z", b"Z": b"+00"}
"""What trims the fractions of times, one after the other: 3, 2 and 1 zeros are 1 to 5 in any case."""


def rows(
    table: str, chunks: Iterable[bytes], converters: Sequence[Converter]
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a text. There is a converter for each column.

    Raises DataCorrupt, naming the row, for one with another number of fields, a value that its
    converter refuses with ValueError or KeyError, or text that is not UTF-8.
    """
    done, rest = 0, b""
    for chunk in chunks:
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            try:
                values = _values(lines, converters)
            except (ValueError, KeyError):
                raise _malformed(table, done + _first_malformed(lines, converters)) from None
            yield from values
            done += len(values)
        # That is several times what a row can have by the rules of the tables.
        if len(rest) > 1 << 20:
            break
    if rest:
        # It is too long for a row, or the end of the text cuts it off.
        raise _malformed(table, done + 1)


def _values(lines: bytes, converters: Sequence[Converter]) -> list[tuple[object, ...]]:
    # The end of a line becomes a separate field, so that one split gives all columns and all ends.
    width = len(converters)
    fields = lines.decode().replace("\n", "\t\n\t").split("\t")
    ends = lines.count(b"\n")
    if len(fields) != width * (ends + 1) + ends or fields[width :: width + 1].count("\n") != ends:
        raise ValueError(lines)
    values = [convert(fields[position :: width + 1]) for position, convert in enumerate(converters)]
    return list(zip(*values, strict=True))


def _first_malformed(lines: bytes, converters: Sequence[Converter]) -> int:
    for number, line in enumerate(lines.split(b"\n"), start=1):
        try:
            _values(line, converters)
        except (ValueError, KeyError):
            return number
    raise AssertionError(lines)


def _malformed(table: str, number: int) -> DataCorrupt:
    return DataCorrupt(f"row {number} of {table} is malformed", "use another archive")


def texts(fields: Fields) -> Sequence[str | None]:
    """Return a column of text, with None for NULL and without backslash sequences."""
    if "\\" not in "".join(fields):
        return fields
    return [None if field == _NULL else _ESCAPE.sub(_unescape, field) for field in fields]


def _unescape(match: re.Match[str]) -> str:
    return _CONTROLS.get(match[1], match[1])


def _times(fields: Fields) -> list[str | None]:
    joined = "\t".join(fields).replace(" ", "T").replace("+00", "Z")
    times = [
        None if time == _NULL else time if len(time) == _LENGTH else time[:-1] + _ENDINGS[len(time)]
        for time in joined.split("\t")
    ]
    found = [time for time in times if time is not None]
    everything = "".join(found)
    # The parser would accept other marks between the digits, and from Python 3.13 on the hour 24.
    if everything.encode().translate(None, b"0123456789") != b"--T::.Z" * len(found) or "T24" in everything:
        raise ValueError(found)
    deque(map(datetime.fromisoformat, found), maxlen=0)
    return times


def written(rows: Iterable[Sequence[bytes | None]], writers: Sequence[Writer]) -> bytes:
    """Return the lines of one or more rows. There is a writer for each column."""
    columns = [write(values) for write, values in zip(writers, zip(*rows, strict=True), strict=True)]
    return b"\n".join(map(b"\t".join, zip(*columns, strict=True))) + b"\n"


def _write_texts(values: Values) -> Sequence[bytes]:
    everything, texts = b"".join(filter(None, values)), values
    for character, escaped in _ESCAPED.items():
        if character in everything:
            texts = [text and text.replace(character, escaped) for text in texts]
    return _write_plainly(texts)


def _write_times(values: Values) -> Sequence[bytes]:
    joined = b"\t".join(_write_plainly(values)).replace(b"T", b" ")
    for ending, shorter in _TRIMMED.items():
        joined = joined.replace(ending, shorter)
    return joined.split(b"\t")


def _write_plainly(values: Values) -> Sequence[bytes]:
    return [b"\\N" if value is None else value for value in values]


CONVERTERS: dict[str, Converter] = {
    # A STRICT column takes digits for the number that they are, and refuses other text.
    "integer": texts,
    "text": texts,
    "boolean": lambda fields: [_FLAGS[field] for field in fields],
    "timestamp": _times,
}
WRITERS: dict[str, Writer] = {
    "integer": _write_plainly,
    "text": _write_texts,
    "boolean": lambda values: [_FLAG_FIELDS[value] for value in values],
    "timestamp": _write_times,
}
