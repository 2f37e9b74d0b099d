"""The cells of CSV, line by line."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from threading import Lock
from typing import TextIO

from taskdb_cli.transfer.lines import LONGEST_RECORD, TOO_LONG, undecodable

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
