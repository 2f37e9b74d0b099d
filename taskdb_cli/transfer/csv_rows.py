"""Records out of CSV: a header, then one record a row."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import repeat
from threading import Lock
from typing import TextIO

from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.lines import LONGEST_RECORD, TOO_LONG, Found, undecodable

_NEVER_CLOSED = "is not valid CSV: a quote is opened and never closed"
_BAD_QUOTE = (
    "is not valid CSV: text stands behind the closing quote of a cell "
    "(a quote inside a quoted cell is written twice)"
)
_limit = Lock()


def read_cells(text: TextIO, delimiter: str = ",") -> Iterator[tuple[int, list[str] | str]]:
    """Yield the cells of each record, or what is wrong with it, and the line in which it begins.

    Lines without any character are skipped. The text must keep its line ends (newline=""), of which any
    kind will do. A record with a bad quote ends at its first line, and reading goes on with the next one.
    The time is linear, because a line in which a quoted cell can go on opens none itself.
    """
    readline, number = text.readline, 0
    again: list[str] = []
    encoding = text.encoding or "utf-8"
    waiting: list[str] = []
    # It takes one line at a time, and raises IndexError for a cell that goes on in the next one.
    quoted = csv.reader(map(list.pop, repeat(waiting)), delimiter=delimiter, strict=True)

    def next_line() -> str:
        return again.pop() if again else readline(LONGEST_RECORD)

    while line := next_line() if again else readline(LONGEST_RECORD):
        number += 1
        first, fault = number, ""
        if len(line) >= LONGEST_RECORD:
            yield number, TOO_LONG
            while line and line[-1] not in "\r\n":
                line = readline(LONGEST_RECORD)
            continue
        if not line.isascii():
            fault = undecodable(line, number, encoding)
        cells: list[str] = []
        if '"' not in line:
            if record := line.rstrip("\r\n"):
                cells = record.split(delimiter)
        else:
            waiting.append(line)
            try:
                cells = next(quoted)
            except (csv.Error, IndexError):
                cells, reason, taken = _read_long(line, next_line, delimiter)
                if reason:
                    again += reversed(taken)
                    fault = fault or reason
                else:
                    number += len(taken)
                    found = (undecodable(each, first + n, encoding) for n, each in enumerate(taken, 1))
                    fault = fault or next(filter(None, found), "")
        if fault or cells:
            yield first, fault or cells


def _read_long(first: str, next_line: Callable[[], str], delimiter: str) -> tuple[list[str], str, list[str]]:
    """Return the cells of a record that begins with this line, or what is wrong with it, and its other lines.

    A cell may be as long as a record.
    """
    taken: list[str] = []
    reason = _BAD_QUOTE

    def lines() -> Iterator[str]:
        nonlocal reason
        yield first
        size = len(first)
        while size < LONGEST_RECORD and (line := next_line()):
            taken.append(line)
            size += len(line)
            yield line
        reason = _NEVER_CLOSED if size < LONGEST_RECORD else f"{TOO_LONG}, or a quote is never closed"

    with _cells_of_any_size():
        try:
            return next(csv.reader(lines(), delimiter=delimiter, strict=True)), "", taken
        except csv.Error:
            return [], reason, taken


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    """Lift the limit of the csv module for a moment; it is one for the whole process."""
    with _limit:
        before = csv.field_size_limit(2 * LONGEST_RECORD)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def read_rows(text: TextIO, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
    """Yield a record for each row behind the header. Stop at a fault of the header."""
    rows = read_cells(text)
    number, header = next(rows, (1, list[str]()))
    faults = [header] if isinstance(header, str) else [*_header_faults(header, known, required)][:1]
    if faults or isinstance(header, str):
        yield number, faults[0]
        return
    for number, row in rows:
        if isinstance(row, str):
            yield number, row
        elif len(row) != len(header):
            many = "few" if len(row) < len(header) else "many"
            yield number, f"has too {many} cells: {len(row)}, but there are {len(header)} columns"
        else:
            yield number, {name: cell or None for name, cell in zip(header, row, strict=True)}


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
