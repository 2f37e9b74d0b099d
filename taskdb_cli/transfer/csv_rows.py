"""Records out of CSV: a header, then one record a row."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TextIO

from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.lines import Found, read_lines


def read_rows(text: TextIO, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
    """Yield a record for each row behind the header. Stop at a fault of the header or of the quotes."""
    rows = csv.reader(read_lines(text), strict=True)
    number = 1
    try:
        header = next(rows, [])
        if reason := next(_header_faults(header, known, required), ""):
            yield number, reason
            return
        number = rows.line_num + 1
        for row in rows:
            if row and len(row) != len(header):
                many = "few" if len(row) < len(header) else "many"
                yield number, f"has too {many} cells: {len(row)}, but there are {len(header)} columns"
            elif row:
                yield number, {name: cell or None for name, cell in zip(header, row, strict=True)}
            number = rows.line_num + 1
    except csv.Error as exc:
        yield number, f"is not valid CSV: {str(exc).partition(' - ')[0]}"


def _header_faults(header: Sequence[str], known: Sequence[str], required: Sequence[str]) -> Iterator[str]:
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if not header:
        yield "must name the columns, but is empty"
    if twice:
        yield f"names the column {brief(twice[0])} twice"
    for name in header:
        if name not in known:
            how = ", with commas between them" if re.search("^$|[;\t]", name) else ""
            unknown = f"{brief(name)!r} is not a known field"
            if meant := get_close_matches(name.lower(), known, n=1, cutoff=0.75):
                yield f"{unknown}, did you mean {meant[0]!r}?"
            yield f"must name the columns{how}: {unknown} (these are: {', '.join(known)})"
    for name in required:
        if name not in header:
            yield f"must name a column {name!r}"
