"""Cells out of CSV, whatever the quotes and line ends are."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskdb_cli.transfer import csv_rows
from taskdb_cli.transfer.csv_rows import read_cells
from taskdb_cli.transfer.lines import LONGEST_RECORD, unread


def cells(content, delimiter=","):
    """Return the line and the cells of each record; for a bad one, the first words of what is wrong."""
    data = content.encode() if isinstance(content, str) else content
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    found = read_cells(text, delimiter)
    return [(line, each if isinstance(each, list) else each[:20]) for line, each in found]


BAD = "is not valid CSV: th"
OPEN = "is not valid CSV: a "
LONG = f"is longer than {LONGEST_RECORD}"[:20]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\r1,2\r", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ('a\r\n"x\r\ny\rz"\n\nb\rc', [(1, ["a"]), (2, ["x\r\ny\rz"]), (6, ["b"]), (7, ["c"])]),
        ('t\n"abc"def,todo\nx,y', [(1, ["t"]), (2, BAD), (3, ["x", "y"])]),
        ('t\n"open\na\n"b"\n', [(1, ["t"]), (2, BAD), (3, ["a"]), (4, ["b"])]),
        ('t\n"open\na\n""b""\n', [(1, ["t"]), (2, OPEN), (3, ["a"]), (4, BAD)]),
        (',,\na,b\n,,,\n"",""\n ,\n', [(2, ["a", "b"]), (5, [" ", ""])]),
        ('5" pipe,b\n', [(1, ['5" pipe', "b"])]),
        (f't\n"{"x" * 200_000}",b\nc\n', [(1, ["t"]), (2, ["x" * 200_000, "b"]), (3, ["c"])]),
        (f"{'x' * 2 * LONGEST_RECORD}\nc\n", [(1, LONG), (2, ["c"])]),
        (f'"a\n{"x" * LONGEST_RECORD}\nc"\n', [(1, LONG), (2, LONG), (3, ['c"'])]),
        (b'a\n"\n\xff"\nb', [(1, ["a"]), (2, "byte 0xFF at charact"), (4, ["b"])]),
    ],
)
def test_reading_goes_on(content, expected):
    """A bad record is told with the line in which it begins, and the next line is read as a record."""
    assert cells(content) == expected
    assert csv.field_size_limit() == 131_072


@given(st.text(st.sampled_from('a",\n\r '), max_size=20))
@settings(max_examples=300, deadline=None)
def test_valid_csv_is_read_as_python_does(content):
    """Whatever Python's csv module accepts has the same cells."""
    try:
        expected = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if any(row)]
    except csv.Error:
        return
    assert [found for _, found in cells(content)] == expected


@pytest.mark.parametrize("line", ['"a\n', 'x,"\n', '"\n', '"","",a\n', '"a""\n'])
def test_quotes_cost_linear_time(line):
    """However the quotes of many lines stand, each line is read a few times at most."""
    assert len(cells('"open\n' + line * 30_000)) >= 10_000


def test_quotes_that_are_never_closed_stop_reading(monkeypatch):
    """When each of many lines opens a quote that is never closed, the rest is not read."""
    monkeypatch.setattr(csv_rows, "_MOST_REREAD", 99_000)
    text = io.TextIOWrapper(io.BytesIO(20_000 * b'x","\n'), newline="")
    assert [*read_cells(text)] == [(1, f"{csv_rows._NEVER_CLOSED}; {unread('line 2')}")]
