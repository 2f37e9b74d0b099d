"""How the problems of a file are counted, whatever stands in its records."""

import io
import json
import tracemalloc

import pytest

from taskdb_cli.times import parse_written
from taskdb_cli.transfer.batch import Batch
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.problems import MOST_KINDS, Problems
from taskdb_cli.transfer.tasks import read_tasks
from taskdb_cli.transfer.users import read_users

ESCAPE = "\x1b]0;pwned\x07"


def problems_of(records, read, **options):
    """Return the kinds of problems of NDJSON, and how many problems are of other kinds."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    source = Source.open(io.BytesIO(lines.encode()), "t.ndjson", None)
    with Batch(source, parse_time=parse_written, problems=Problems(), progress=lambda _: None) as batch:
        read(batch, **options)
        return batch.problems.most_frequent(10)


VALUES = {
    "status": ["nope", "it's", 'say "x"', "a, b; c", "\\", "\\'", f"'{ESCAPE}", "x" * 5000, "'" * 300],
    "priority": ["1", "top", "x@y"],
    "due_at": ["tomorrow", "x", "2026-02-30x"],
    "title": ["x" * number for number in range(501, 511)],
    "external_id": ["x" * number for number in range(201, 211)],
    "description": [f"{'a' * number}\x07" for number in range(5)],
}


@pytest.mark.parametrize("field", VALUES)
def test_values_of_tasks_make_no_kinds(field):
    """A field that breaks a rule is one kind of problem, with any value, told short and escaped."""
    values = VALUES[field]
    found, more = problems_of([{"title": "t", field: value} for value in values], read_tasks, owned=True)
    assert [(each.records, each.first, more) for each in found] == [(len(values), "line 1", 0)]
    assert found[0].reason.isprintable()
    assert len(found[0].reason) < 250


def test_addresses_make_no_kinds():
    """Addresses that are none for one reason are one kind, for users and for the users of tasks."""
    records = [{"email": f"u{number}", "name": "u", "user": f"u{number}"} for number in range(50)]
    [(user, *_), _] = problems_of(records, read_users)
    assert user.records == 50
    [(owner, *_), _] = problems_of([{"title": "t", **each} for each in records], read_tasks, owned=False)
    assert (owner.records, owner.varies) == (50, False)


def test_problems_of_each_field_are_counted():
    """A record with several problems counts for each of them, and different fields are different kinds."""
    records = [{"title": "", "status": "x"}, {"title": "", "due_at": "x"}, {"title": "t", "status": "y"}]
    found, _ = problems_of(records, read_tasks, owned=True)
    counted = [(each.reason.split()[0], each.records, each.first, each.varies) for each in found]
    assert counted == [
        ("title", 2, "line 1", False),
        ("status", 2, "line 1", True),
        ("due_at", 1, "line 2", False),
    ]


def test_a_record_with_one_problem_in_many_fields():
    """A kind counts each record once, however many fields of it have it."""
    wide = {"title": "t", **{f"c{number}": number for number in range(15)}}
    [found, *_], more = problems_of([wide, {"title": "u"}, wide], read_tasks, owned=True)
    assert (found.records, found.first, found.last, found.varies, more) == (2, "line 1", "line 3", True, 0)


@pytest.mark.parametrize("value", ["y" * 300, "it's " * 50, "y" * 5000])
def test_a_long_value_keeps_its_quotes(value):
    """A value that is cut still ends with the quote that it begins with."""
    [[found], _] = problems_of([{"title": "t", "status": value}], read_tasks, owned=True)
    shown = found.reason.partition(", not ")[2]
    assert shown[0] == shown[-1]
    assert shown[0] in "'\""
    assert shown[-2] == "\N{HORIZONTAL ELLIPSIS}"


def test_memory_is_constant():
    """Any number of kinds takes the memory of a thousand, and those beyond are counted."""
    problems = Problems()
    tracemalloc.start()
    for number in range(20_000):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        problems.add(f"line {number}", f"{name * 100} is not a known field")
        problems.add(f"line {number}", "title is empty")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    [first, *_], more = problems.most_frequent(1)
    assert (first.records, more) == (20_000, 20_000)
    assert peak < 2000 * MOST_KINDS


def test_a_hidden_password_takes_nothing_else():
    """What stands behind a value is kept, also if the value's closing quote was hidden with a password."""
    problems = Problems()
    problems.add("line 1", "'root:x:0:0:root:/root:/bin/bash' is not a known field (these are: id, title)")
    [[only], _] = problems.most_frequent(1)
    assert only.reason.endswith(" is not a known field (these are: id, title)")


def test_an_attempt_is_forgotten():
    """What was found behind the mark is forgotten, so that a second attempt does not count it again."""
    problems = Problems(keep=True)
    problems.add("line 1", "title is empty", "status is wrong")
    problems.mark()
    for attempt in range(3):
        problems.back()
        problems.add(f"line {attempt + 2}", "title is empty")
    found, more = problems.most_frequent(10)
    assert [(each.records, each.first, each.last) for each in found] == [
        (2, "line 1", "line 4"),
        (1, "line 1", "line 1"),
    ]
    details = [*problems.details()]
    assert details == [
        {"place": "line 1", "reason": "title is empty; status is wrong"},
        {"place": "line 4", "reason": "title is empty"},
    ]
    assert more == 0
