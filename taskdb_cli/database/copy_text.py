r"""Rows out of PostgreSQL's COPY text, for an engine that does not read it by itself.

The format is that of PostgreSQL's documentation, "COPY", file formats, text format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from taskdb_cli.errors import DataCorrupt

NULL = r"\N"
Converter = Callable[[Sequence[str]], Iterable[object]]
"""Makes the values of one column, of many rows, from their fields."""

LONGEST_LINE = 1 << 20
"""Bytes: several times what a row can have by the rules of the tables."""

_LAST_ID = b"%d" % (2**63 - 1)

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def rows(
    table: str, chunks: Iterable[bytes], converters: Sequence[Converter]
) -> Iterator[tuple[object, ...]]:
    """Read the rows of a text; there is a converter for each column.

    Raises DataCorrupt, naming the row, for one with another number of fields, a value that its
    converter refuses with ValueError or KeyError, or text that is not UTF-8.
    """
    done = 0
    for lines, ended in _lines(chunks):
        if not ended:
            raise _malformed(table, done + 1)
        try:
            values = _values(lines, converters)
        except (ValueError, KeyError):
            raise _malformed(table, done + _first_malformed(lines, converters)) from None
        yield from values
        done += len(values)


def with_ids_left(table: str, columns: Sequence[str], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks; raise DataCorrupt for a row with the highest possible id: no row could follow it."""
    before = rb"[^\t\n]*\t" * columns.index("id")
    row = re.compile(rb"\n" + before + _LAST_ID + rb"[\t\n]")
    line = b"\n"
    for chunk in chunks:
        seen = line + chunk
        if _LAST_ID in seen and row.search(seen):
            raise DataCorrupt(
                f"a row of {table} has the highest possible id, {_LAST_ID.decode()}",
                "give it a lower id in its own database, or use another archive",
            )
        line = seen[seen.rindex(b"\n") :]
        yield chunk


def texts(fields: Sequence[str]) -> Sequence[str | None]:
    """Return a column of text: nulls are None, and what was escaped is itself again."""
    if "\\" not in "".join(fields):
        return fields
    return [None if field == NULL else unescape(field) if "\\" in field else field for field in fields]


def unescape(field: str) -> str:
    """Return a field with its backslash sequences replaced by what they stand for."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), field)


def _values(lines: bytes, converters: Sequence[Converter]) -> list[tuple[object, ...]]:
    # Column by column: a call for each field would cost more than all that SQLite does with it.
    # The end of a line is made a field of its own, so that one cut gives all columns, and that of the ends.
    width = len(converters)
    fields = lines.decode().replace("\n", "\t\n\t").split("\t")
    ends = lines.count(b"\n")
    if len(fields) != width * (ends + 1) + ends or fields[width :: width + 1].count("\n") != ends:
        raise ValueError(lines)
    columns = [fields[position :: width + 1] for position in range(width)]
    values = [convert(column) for convert, column in zip(converters, columns, strict=True)]
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


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of whole lines; and last, not ended, what is no line or too long for one."""
    rest = b""
    for chunk in chunks:
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield lines, True
        if len(rest) > LONGEST_LINE:
            break
    if rest:
        yield rest, False
