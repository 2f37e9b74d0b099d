"""Records out of CSV: which delimiter it has, which field each column is, then one record a row."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from itertools import compress, islice
from typing import TextIO

from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.csv_rows import read_cells, wrong_number
from taskdb_cli.transfer.lines import CHUNK, Found, HeaderFaults, unread
from taskdb_cli.transfer.options import listed, resolve

_DELIMITERS = ",;\t|"
_MOST_NAMES, _LONGEST_NAMES = 8, 150
"""How many columns at fault are named at most, and with how many characters."""

_HINTS = {"user": " (add --user)"}
"""What a file without this column needs instead."""

# Excel writes such a line and hides it.
_SEPARATOR = re.compile(r'\ufeff?"?sep=([^"\r\n])"?[\r\n]', re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Which columns a file may and must have, and which fields the names of `--map` stand for."""

    known: Sequence[str]
    required: Sequence[str]
    renamed: dict[str, str] = field(default_factory=dict)
    ignore_unknown: bool = False

    def fields(self, header: Sequence[str]) -> list[str | None]:
        """Return the field of each column, or None for an unknown one."""
        found = resolve(dict.fromkeys(header), self.renamed, self.known)
        known = {*self.known}
        return [found.get(name, name if name in known else None) for name in header]

    def faults(self, header: Sequence[str]) -> Iterator[str]:
        """Yield all that is wrong with a header."""
        fields = self.fields(header)
        pairs = [*zip(header, fields, strict=True)]
        if not self.ignore_unknown:
            if unknown := [name for name, field in pairs if field is None and name]:
                yield self._unknown(unknown, all_names=not any(fields))
            if nameless := [str(number) for number, name in enumerate(header, 1) if not name]:
                more = " …" if nameless[_MOST_NAMES:] else ""
                numbers = f"{', '.join(nameless[:_MOST_NAMES])}{more}"
                column = "column" if len(nameless) == 1 else "columns"
                yield f"has no name for {column} {numbers} (--ignore-unknown leaves such columns out)"
        yield from named_twice(name for name, field in pairs if name and (field or not self.ignore_unknown))
        columns: dict[str, list[str]] = {}
        for name, of in dict(pairs).items():
            if of:
                columns.setdefault(of, []).append(name)
        for each, names in columns.items():
            if len(names) > 1:
                yield f"has two columns for {each}: {listed(names)}"
        if absent := [name for name, field in self.renamed.items() if field not in columns]:
            yield f"has no column {listed(absent)} (--map)"
        if missing := [name for name in self.required if name not in columns]:
            named = [f"{name!r}{_HINTS.get(name, '')}" for name in missing]
            yield f"must name a column {' and a column '.join(named)}"

    def _unknown(self, names: Sequence[str], *, all_names: bool) -> str:
        likely = [
            (f"{brief(name, 40)!r}", get_close_matches(name[:100].lower(), self.known, n=1, cutoff=0.75))
            for name in names[:_MOST_NAMES]
        ]
        [(name, near), *_] = likely
        if len(names) == 1 and near:
            return f"{name} is not a known field, did you mean {near[0]!r}?"
        told: list[str] = []
        for name, near in likely:
            if len("".join(told)) <= _LONGEST_NAMES:
                told.append(f"{name} (did you mean {near[0]!r}?)" if near else name)
        more = f" and {len(names) - len(told):,} more" if len(names) > len(told) else ""
        are = "is not a known field" if len(names) == 1 else "are not known fields"
        # A file without any of our names may be no CSV at all.
        other = "; --from names another format" if all_names else ""
        return (
            f"{', '.join(told)}{more} {are} (these are: {', '.join(self.known)}; "
            f"--map 'NAME=FIELD' renames, --ignore-unknown leaves out{other})"
        )


def named_twice(header: Iterable[str]) -> Iterator[str]:
    """Yield a fault of a header that has two columns of the same name."""
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        yield f"names the {'column' if len(twice) == 1 else 'columns'} {listed(twice)} twice"


def find_delimiter(beginning: str, columns: Columns) -> tuple[str, bool]:
    """Return the delimiter of CSV that begins like this, and whether its first line says so (`sep=;`).

    It is the first one with which the header is right. If it is never right, most columns decide.
    """
    if said := _SEPARATOR.match(beginning):
        return said[1], True
    headers = {}
    for delimiter in _DELIMITERS:
        _, header = next(read_cells(StringIO(beginning, newline=""), delimiter), (1, ""))
        if not isinstance(header, str):
            if not any(columns.faults(header)):
                return delimiter, False
            known = sum(field is not None for field in columns.fields(header))
            headers[delimiter] = known, len(header)
    return max(headers, key=lambda delimiter: headers[delimiter], default=","), False


def read_rows(
    text: TextIO, columns: Columns, delimiter: str | None, left_out: dict[str, None]
) -> Iterator[Found]:
    """Yield a record for each row behind the header, or all faults of the header.

    Names of columns that are ignored become keys of `left_out`.
    """
    found, said = find_delimiter(text.read(CHUNK), columns)
    text.seek(0)
    rows = read_cells(text, delimiter or found)
    if said:
        next(rows)
    number, header = next(rows, (1, list[str]()))
    if faults := [header] if isinstance(header, str) else [*columns.faults(header)]:
        yield number, HeaderFaults(faults + [unread(f"line {line}") for line, _ in islice(rows, 1)])
        return
    fields = columns.fields(header)
    placed = enumerate(zip(header, fields, strict=True), 1)
    left_out |= {name or f"column {place}": None for place, (name, field) in placed if field is None}
    names = [field for field in fields if field is not None]
    for number, row in rows:
        if isinstance(row, str):
            yield number, row
        elif len(row) != len(fields):
            yield number, wrong_number(len(row), len(fields))
        else:
            kept = compress(row, fields) if left_out else row
            yield number, {name: cell or None for name, cell in zip(names, kept, strict=True)}
