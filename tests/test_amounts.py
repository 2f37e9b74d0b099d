"""Amounts in texts for people have one form each."""

import ast
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import taskdb_cli
from taskdb_cli.text.amounts import in_age, in_one_size, in_one_unit, in_words


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"users": 1, "tasks": 0}, "1 user and 0 tasks"),
        ({"sessions": 2}, "2 sessions"),
        ({"tasks": 60_021}, "60,021 tasks"),
    ],
)
def test_counts(rows, words):
    """A count is grouped by commas, and its noun fits it."""
    assert in_words(rows) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (62_100, "62.1 kB"),
        (4e6, "4.0 MB"),
        (3e15, "3,000.0 TB"),
    ],
)
def test_sizes(size, words):
    """A size has the largest decimal unit that fits."""
    assert in_one_size(size) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "0 s"),
        (0.0123, "12 ms"),
        (119, "119 s"),
        (120, "2 min"),
        (timedelta(days=13), "13 d"),
        (timedelta(days=20), "3 w"),
        (-7200, "-2 h"),
        (timedelta(days=400), "13 mo"),
        (timedelta(days=1447), "4 y"),
    ],
)
def test_lengths_of_time(length, words):
    """A length of time is a whole number of one unit, the nearest one."""
    assert in_one_unit(length) == words


def test_ages():
    """An age has no milliseconds."""
    assert in_age(timedelta(milliseconds=95)) == "0 s"
    assert in_age(timedelta(days=4)) == "4 d"


ABOVE_ONE = {"len(archives)", "len(copies) + len(failures)"}
"""Numbers that are told only if there are several."""

MODULES = [*Path(taskdb_cli.__file__).parent.rglob("*.py")]


def test_one_form():
    """No text of the product groups digits, or writes a size, in another way."""
    others = re.compile(r'replace\(",", " "\)(?!\.split)|filesize|/ 1e[369]')
    assert [str(path) for path in MODULES if others.search(path.read_text())] == []


def test_nouns_fit_their_counts():
    """No text has a number before a plural that is wrong for one."""
    nouns = re.compile(r" (rows|tasks|users|sessions|archives|operations|changes|records|values)\b(?!/)")
    found = set()
    for tree in [ast.parse(path.read_text()) for path in MODULES]:
        for text in [each for each in ast.walk(tree) if isinstance(each, ast.JoinedStr)]:
            for value, after in pairwise(text.values):
                is_counted = isinstance(after, ast.Constant) and nouns.match(after.value)
                if isinstance(value, ast.FormattedValue) and is_counted:
                    found.add(ast.unparse(value.value))
    assert found - ABOVE_ONE == set()
