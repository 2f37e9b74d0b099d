"""Rows loaded as COPY text: the tables hold every one of them against their rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from taskdb_cli.database.sqlite.copy_text import CONVERTERS, rows, texts
from taskdb_cli.errors import CheckViolation, DataCorrupt
from tests.contents import COLUMNS
from tests.samples import add_user
from tests.schemas import execute

STAMP = "2026-11-22 12:30:15+00"
ANN = f"1\tann@example.com\tAnn\tt\t1\t{STAMP}\t{STAMP}\n".encode()
_TASK = ["1", r"\N", "Write", r"Two\nlines", "todo", "2", r"\N", r"\N", "1", STAMP, STAMP]
_ADDED = len(COLUMNS["tasks"]) - len(["id", *_TASK])
TASK = ("\t".join([*_TASK, *[r"\N"] * _ADDED]) + "\n").encode()
MANY = b"".join(b"%d\t%s" % (number, TASK) for number in range(1, 3001))
BAD_ID = b"\n2900\t"


def load(content, users=ANN, tasks=MANY):
    """Put rows in place of those that are there, in pieces that end anywhere."""
    content.clear()
    for layout in content.layouts:
        text = {"users": users, "tasks": tasks}.get(layout.table, b"")
        content.load(layout, (text[at : at + 10_007] for at in range(0, len(text), 10_007)))
    with content.finishing():
        pass


def with_a_bad_row(old, new):
    """Return many tasks of which one, far behind, is another."""
    before, id, after = MANY.partition(BAD_ID)
    return before + id + after.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"todo", b"lost", "tasks_status_known"),
        (b"todo", b"done", "tasks_completed_when_done"),
        (b"todo\t2", b"todo\t5", "tasks_priority_known"),
        (b"Write", b" ", "tasks_title_not_blank"),
        (b"Write", b"x" * 501, "tasks_title_length"),
        (b"Write", b"Two\\nlines", "tasks_title_one_line"),
        (b"Two", b"\x01", "tasks_description_plain_text"),
        (b"Two", "\x85".encode(), "tasks_description_plain_text"),
    ],
)
def test_the_rule_that_one_row_of_many_breaks_is_named(database, old, new, rule):
    """A row that a CHECK refuses is found among thousands, and the message says which rule it breaks."""
    with pytest.raises(DataCorrupt, match=rule), database.replacement() as content:
        load(content, tasks=with_a_bad_row(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"2026-11-22", b"2026-02-30"), (b"Write", b"\\N"), (b"\ttodo", b""), (b"Two", b"\xff")],
)
def test_one_malformed_row_of_many_is_found(database, old, new):
    """What is no row of the table, or no value of its column, is refused too."""
    with pytest.raises(DataCorrupt), database.replacement() as content:
        load(content, tasks=with_a_bad_row(old, new))


def test_a_fraction_of_any_length_is_read_as_it_was_loaded(database):
    """Times with none to six digits after the second stand in a row's text as they did before."""
    fractions = [b"", b".1", b".02", b".003", b".0004", b".00005", b".000006", b".123456"]
    text = b"".join(
        b"%d\t%s" % (id, TASK.replace(b":15+00", b":15%s+00" % fraction))
        for id, fraction in enumerate(fractions, start=1)
    )
    with database.replacement(dry_run=True) as content:
        load(content, tasks=text)
        with content.chunks(content.layouts[1]) as chunks:
            assert b"".join(chunks) == text


ODD_TIMES = [
    *("0000-01-01 00:00:00+00", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"),
    *("2026-02-29 12:00:00+00", "2024-02-29 12:00:00+00", "2026-00-10 12:00:00+00", "2026-13-10 12:00:00+00"),
    *("2026-11-22 24:00:00+00", "2026-11-22 23:60:00+00", "2026-11-22 23:59:60+00"),
    *(
        "20261122 12:00:00.0000+00",
        "2026-W10-1 12:00:00+00",
        "2026-1-022 12:00:00+00",
        "202-611-22 12:00:00+00",
    ),
    *("2026-11-22 120000.0000+00", "2026-11-22 12:00:00,123+00", "2026-11-22 12:00:00.12x+00"),
    *("2026-11-22 12:00:00.12\u0663+00", "2026-11-22T12:00:00+00", "2026-11-22 12:00:00Z", "now"),
]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("time", ODD_TIMES)
def test_what_is_read_as_a_time_is_one_by_the_rules(database, url, time):
    """The rules of the tables need not look at times again: none that they refuse gets as far as that."""
    try:
        [[value]] = rows("tasks", [f"{time}\n".encode()], [CONVERTERS["timestamp"]])
    except DataCorrupt:
        value = time.replace(" ", "T")
    else:
        assert len(value) == len("2026-11-22T12:30:15.000000Z")
    add_user(database)
    refused = False
    try:
        execute(url, f"UPDATE users SET created_at = '{value}'")
    except sqlite3.IntegrityError:
        refused = True
    assert refused is (value == time.replace(" ", "T"))


@pytest.mark.parametrize(
    "time", ["", "2026-11-22", "2026-11-22 12:30:15", "2026-11-22 12:30:15.1234567+00", STAMP[:-1] + "1"]
)
def test_a_time_of_another_form_is_malformed(time):
    """What PostgreSQL would not write is refused, with the number of its row."""
    text = f"{STAMP}\n{time}\n\\N\n".encode()
    with pytest.raises(DataCorrupt, match="row 2 of tasks is malformed"):
        list(rows("tasks", [text], [CONVERTERS["timestamp"]]))


def test_a_field_too_few_is_not_made_good_by_one_too_many():
    """The fields of a row never move into the next one."""
    with pytest.raises(DataCorrupt, match="row 2 of tasks is malformed"):
        list(rows("tasks", [b"a\tb\nc\nd\te\tf\n"], [texts, texts]))


def test_the_rules_hold_after_a_load(database):
    """The transaction that has loaded rows is bound by the rules as any other."""
    with database.replacement(dry_run=True) as content:
        load(content)
        with pytest.raises(CheckViolation):
            content.connection.exec_driver_sql("UPDATE tasks SET priority = 5")


def test_the_rules_hold_after_a_load_that_failed(database):
    """A connection on which a load was refused refuses what it did before."""
    with database.replacement(dry_run=True) as content:
        content.clear()
        with pytest.raises(DataCorrupt), content.connection.begin_nested():
            content.load(content.layouts[0], [ANN + ANN])
        content.load(content.layouts[0], [ANN])
        with pytest.raises(CheckViolation):
            content.connection.exec_driver_sql("UPDATE users SET name = ' '")


def test_a_line_without_an_end_is_given_up():
    """Text that is no row at all is refused before it fills the memory."""
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(len(taken))
            yield b"a" * 65536

    with pytest.raises(DataCorrupt, match="row 1 of tasks is malformed"):
        list(rows("tasks", endless(), [texts]))
    assert len(taken) < 100
