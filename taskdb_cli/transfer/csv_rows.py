"""The cells of CSV, line by line."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from threading import Lock
from typing import TextIO

from taskdb_cli.transfer.lines import LONGEST_RECORD, TOO_LONG, undecodable, unread

_NEVER_CLOSED = "is not valid CSV: a quote is opened and never closed"
_BAD_QUOTE = (
    "is not valid CSV: there is text after the closing quote of a cell "
    "(write a quote inside a quoted cell twice)"
)
_MOST_REREAD = 16 * LONGEST_RECORD
"""How many characters are read again, because quotes are never closed, before reading stops."""

_limit = Lock()


def read_cells(text: TextIO, delimiter: str = ",") -> Iterator[tuple[int, list[str] | str]]:
    """Yield the cells of each record, or what is wrong with it, and the line in which it begins.

    Empty lines, and records of empty cells, are skipped. The text must keep its line ends (newline=""), which
    may be of any kind. A record with a bad quote ends at its first line, and reading goes on with the next
    one. If that would take very long, because quotes are never closed, it stops and says so.
    """
    readline, number = text.readline, 0
    encoding = text.encoding or "utf-8"
    quoted = _Quoted(readline, delimiter)
    while line := quoted.next_line() if quoted.again else readline(LONGEST_RECORD):
        number += 1
        first, cells = number, list[str]()
        if len(line) >= LONGEST_RECORD:
            yield number, TOO_LONG
            while line and line[-1] not in "\r\n":
                line = readline(LONGEST_RECORD)
            continue
        fault = undecodable(line, number, encoding)
        if '"' in line:
            cells, reason = quoted.read(line)
            fault = fault or reason
            for more in quoted.taken:
                number += 1
                fault = fault or undecodable(more, number, encoding)
        elif record := line.rstrip("\r\n"):
            cells = record.split(delimiter)
        if quoted.reread > _MOST_REREAD and quoted.again:
            yield first, f"{fault}; {unread(f'line {first + 1}')}"
            return
        # Spreadsheets leave rows of delimiters behind.
        if fault or any(cells):
            yield first, fault or cells


def wrong_number(cells: int, columns: int) -> str:
    """Say that a record has more or fewer cells than there are columns."""
    there = "is 1 column" if columns == 1 else f"are {columns} columns"
    return f"has too {'few' if cells < columns else 'many'} cells: {cells}, but there {there}"


class _Quoted:
    """The records with quotes, which may take several lines each."""

    def __init__(self, readline: Callable[[int], str], delimiter: str) -> None:
        self.again: list[str] = []
        """Lines that must be read again, the next one at the end."""
        self.taken: list[str] = []
        """The lines of the record behind its first one."""
        self.reread = 0
        """How many characters had to be read again."""
        self._readline = readline
        self._delimiter = delimiter
        self._first = ""
        self._size = 0
        # One reader for all records is much faster than one for each.
        self._reader = csv.reader(map(self._give, repeat(None)), delimiter=delimiter, strict=True)

    def next_line(self) -> str:
        """Return the next line of the text, or '' at the end."""
        return self.again.pop() if self.again else self._readline(LONGEST_RECORD)

    def _give(self, _: None) -> str:
        """Return the first line, then each next one while a cell goes on. Raise EOFError if there is none."""
        if self._first:
            line, self._first = self._first, ""
        elif self._size >= LONGEST_RECORD or not (line := self.next_line()):
            raise EOFError
        else:
            self.taken.append(line)
        self._size += len(line)
        return line

    def _put_back(self) -> None:
        self.reread += self._size
        self.again += reversed(self.taken)
        self.taken.clear()

    def _never_closed(self) -> str:
        """Put the lines back, and return why the record has no end."""
        too_long = self._size >= LONGEST_RECORD
        self._put_back()
        return f"{TOO_LONG}, or a quote is never closed" if too_long else _NEVER_CLOSED

    def read(self, first: str, *, any_size: bool = False) -> tuple[list[str], str]:
        """Return the cells of the record that begins with this line, or what is wrong with it."""
        self.taken.clear()
        self._first, self._size = first, 0
        try:
            return next(self._reader), ""
        except EOFError:
            return [], self._never_closed()
        except csv.Error:
            self._put_back()
        if any_size:
            return [], _BAD_QUOTE
        # A cell may only be longer than the csv module takes.
        with _cells_of_any_size():
            return self.read(first, any_size=True)


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    """Lift the limit of the csv module for a moment; it is one for the whole process."""
    with _limit:
        before = csv.field_size_limit(2 * LONGEST_RECORD)
        try:
            yield
        finally:
            csv.field_size_limit(before)
