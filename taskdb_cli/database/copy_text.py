r"""Rows out of PostgreSQL's COPY text, for an engine that does not read it by itself.

The format is that of PostgreSQL's documentation, "COPY", file formats, text format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from taskdb_cli.errors import DataCorrupt

NULL = r"\N"
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def rows(
    table: str, chunks: Iterable[bytes], converters: Sequence[Callable[[str], object]]
) -> Iterator[list[object]]:
    """Read the rows of a text; a converter for each column makes its value from the unescaped field.

    Raises DataCorrupt, naming the row, for one with another number of fields, a value that its
    converter refuses with ValueError or KeyError, or text that is not UTF-8.
    """
    done = 0
    try:
        for line in _lines(chunks):
            fields = line.split("\t")
            if "\\" in line:
                yield [
                    None if field == NULL else convert(unescape(field) if "\\" in field else field)
                    for convert, field in zip(converters, fields, strict=True)
                ]
            else:
                yield [convert(field) for convert, field in zip(converters, fields, strict=True)]
            done += 1
    except (ValueError, KeyError) as exc:
        raise DataCorrupt(f"row {done + 1} of {table} is malformed", "use another archive") from exc


def unescape(field: str) -> str:
    """Return a field with its backslash sequences replaced by what they stand for."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), field)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield from b"\n".join(lines).decode().split("\n")
    if rest:
        raise ValueError("the last row has no end")
