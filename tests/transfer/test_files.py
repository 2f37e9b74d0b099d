"""Records out of files: every fault of a file or a record, without any database."""

import csv
import io
import json
import re
import tracemalloc
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskdb_cli.errors import InvalidInput, InvalidRecords
from taskdb_cli.models.vocabulary import TASK_FIELDS, FileFormat
from taskdb_cli.output.formats import TASKS, Format, write_records
from taskdb_cli.text.escaping import BLANK
from taskdb_cli.times import parse_written
from taskdb_cli.transfer import tasks, users
from taskdb_cli.transfer.batch import Batch
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.lines import CHUNK, LONGEST_RECORD
from taskdb_cli.transfer.problems import Problems
from taskdb_cli.transfer.tasks import read_tasks
from taskdb_cli.transfer.users import read_users
from tests.conftest import NOW

GOOD = '{"title":"good"}'
ISO = "is not an ISO 8601 time such as 2026-12-01T17:00:00Z"
REAL = "is not a real point in time between the years 1 and 9999"
STATUSES = "status must be one of todo, in_progress, done, cancelled"
KNOWN = f"is not a known field (these are: {', '.join(TASK_FIELDS)};"
PRIORITIES = "priority must be one of low, medium, high, urgent"
CSV, JSON, NDJSON, TASKWARRIOR = (FileFormat(name) for name in ("csv", "json", "ndjson", "taskwarrior"))


def parse_time(text, end_of_day):
    return parse_written(text, end_of_day=end_of_day)


def read(content, format=None, *, kind=read_tasks, notes=None, **options):
    """Return the rows of a file by the names of their fields, and its problems."""
    data = content.encode() if isinstance(content, str) else content
    source = Source.open(io.BytesIO(data), "file", format)
    found = Problems(keep=True)
    options = {"owned": True, "now": NOW, **options} if kind is read_tasks else options
    with Batch(source, parse_time=parse_time, problems=found, progress=lambda _: None) as batch:
        kind(batch, **options)
        if notes is not None:
            notes += [each.reason for each in batch.notes.most_frequent(100)[0]]
        staging = tasks.STAGING if kind is read_tasks else users.STAGING
        rows = [dict(zip(staging.table.c.keys(), row, strict=True)) for row in batch.rows()]
        assert batch.valid == len(rows)
        problems = [f"{each['place']}: {each['reason']}" for each in found.details() or ()]
        with pytest.raises(InvalidRecords) if problems else nullcontext():
            batch.require_all_valid(0)
    return rows, problems


@pytest.mark.parametrize(
    ("format", "content", "problem"),
    [
        (CSV, "title\n\x00\n", "line 2: title contains the control character U+0000"),
        (CSV, b"title\nfine\n\xff\n", "line 3: byte 0xFF at character 1 of line 3 is not UTF-8"),
        (CSV, 'title\n"two\nlines"\n', "line 2: title contains the control character U+000A"),
        (CSV, 'title,description\n"a","b\nb"\n,c\n', "line 4: title is missing"),
        (CSV, "title\n   \n", "line 2: title is empty"),
        (CSV, "title,status\na,b,c\n", "line 2: has too many cells: 3, but there are 2 columns"),
        (CSV, "title\na,b\n", "line 2: has too many cells: 2, but there is 1 column"),
        (CSV, "title,status\na\n", "line 2: has too few cells: 1, but there are 2 columns"),
        (CSV, "title\n" + 501 * "x", "line 2: title has 501 characters; at most 500 are allowed"),
        (CSV, 'title\n"\n', "line 2: is not valid CSV: a quote is opened and never closed"),
        (CSV, 'title\n"a"b\n', "line 2: is not valid CSV: there is text after the closing quote"),
        (CSV, 'title\n"' + 200_000 * "x", "line 2: is not valid CSV: a quote is opened and never closed"),
        (CSV, "Buy milk\n", f"line 1: 'Buy milk' {KNOWN}"),
        (CSV, "Title\n", "line 1: 'Title' is not a known field, did you mean 'title'?"),
        (CSV, "title,prio\n", f"line 1: 'prio' {KNOWN}"),
        (CSV, "prio,staus,x\n", "line 1: 'prio', 'staus' (did you"),
        (CSV, "title,staus\n", "line 1: 'staus' is not a known field, did you mean 'status'?"),
        (NDJSON, '{"title":"a","staus":"todo"}\n', "line 1: staus is not a known field, did you mean sta"),
        (CSV, "title,\n", "line 1: has no name for column 2 (--ignore-unknown"),
        (CSV, "title,status,,\n", "line 1: has no name for columns 3, 4 (--ignore-unknown"),
        (CSV, "title,title\n", "line 1: names the column 'title' twice"),
        (CSV, "status\ntodo\n", "line 1: must name a column 'title'"),
        (CSV, "title,status\na,open\n", f"line 2: {STATUSES}, not 'open'"),
        (CSV, "title,priority\na,2\n", f"line 2: {PRIORITIES}, not '2'"),
        (CSV, "title,due_at\na,tomorrow\n", f"line 2: due_at {ISO}"),
        (CSV, "title,due_at\na,2026-02-30\n", f"line 2: due_at {REAL}: '2026-02-30'"),
        (NDJSON, GOOD + "\n{\n", "line 2: is not valid JSON: its end is missing"),
        (NDJSON, '"title"\n', "line 1: is not a JSON object"),
        (NDJSON, '{"title":5}\n', "line 1: title: must be text, not the number 5"),
        (NDJSON, '{"title":"a","title":"b"}\n', "line 1: is not valid JSON: names title twice"),
        (JSON, '[{"title":"a","title":"b"}]\n', "record 1: is not valid JSON: names title twice"),
        (NDJSON, '{"title":null}\n', "line 1: title is missing"),
        (NDJSON, '{"title":"a","priority":2}\n', f"line 1: {PRIORITIES}, not the number 2"),
        (NDJSON, '{"title":"a","due_at":1764608400}\n', f"line 1: due_at {ISO}"),
        (NDJSON, '{"title":"\\ud800"}\n', "line 1: title is not valid UTF-8"),
        (NDJSON, '{"title":"a","x\\ny":1}\n', r"line 1: x\ny is not a known field"),
        (NDJSON, '{"title":"a","status":"todo\\u001b"}\n', rf"line 1: {STATUSES}, not 'todo\x1b'"),
        (
            NDJSON,
            '{"title":"a","status":"todo","completed_at":"2026-01-01"}',
            "line 1: completed_at is set, but the status is todo, not done",
        ),
        (NDJSON, GOOD + "\n" + "9" * 5000, "line 2: is not valid JSON: holds a number of more than"),
        (NDJSON, '{"title":' + 100_000 * "[", "line 1: is nested too deeply"),
        (NDJSON, "x" * LONGEST_RECORD, f"line 1: is longer than {LONGEST_RECORD} characters"),
        (JSON, f"[{GOOD},3]", "record 2: is not a JSON object"),
        (JSON, f'[{GOOD},{{"title":"b', "record 2: is cut off: the file ends before the JSON does"),
        (JSON, f"[{GOOD},", "record 2: is cut off: the file ends before the JSON does"),
        (JSON, f'[{GOOD},"{2 * LONGEST_RECORD * "x"}"]', f"record 2: is longer than {LONGEST_RECORD}"),
        (JSON, f"[{GOOD}", "record 1: is not followed by a comma or the end of the array"),
        (JSON, f"[{GOOD} {GOOD}]", "record 1: is not followed by a comma or the end of the array"),
        (JSON, f"[{GOOD}] x", "record 1: is the last of the array, but the file goes on behind it"),
        (JSON, f"[{GOOD},x]", "record 2: is not valid JSON: x without quotes at line 1, character 19"),
        (JSON, 100_000 * "[", "record 1: is nested too deeply"),
        (JSON, '[{"title":"\\ud800"}]', "record 1: title is not valid UTF-8"),
        (JSON, b'[{"title":"\xc3"}]', "record 1: byte 0xC3 at character 12 of line 1 is not UTF-8"),
        (
            TASKWARRIOR,
            '{"description":"a","status":"open"}',
            "line 1: status must be one of pending, waiting, recurring, completed, deleted, not 'open'",
        ),
        (TASKWARRIOR, '[{"description":"a","due":"20261301T000000Z"}]', "record 1: due is not a"),
        (TASKWARRIOR, '{"status":"pending"}', "line 1: description is missing"),
    ],
)  # fmt: skip
def test_a_bad_record(format, content, problem):
    """Every kind of bad record is one problem, with its place and a reason on one line."""
    _, problems = read(content, format)
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    assert "\n" not in problems[0]


def test_a_long_header_keeps_the_hints():
    """However long the names of the columns are, what mends the header is said, a missing user too."""
    header = ",".join(f"Custom field ({number}{60 * 'x'})" for number in range(40))
    _, [problem] = read(f"{header}\n", CSV, owned=False)
    assert "and 36 more are not known fields" in problem
    assert "; --map 'NAME=FIELD' renames, --ignore-unknown leaves out; --from names" in problem
    assert problem.endswith("must name a column 'user' (add --user) and a column 'title'")


def test_a_bad_line_does_not_hide_the_next_one():
    """Reading goes on after a bad line, and the good records are kept."""
    rows, problems = read('{"title":"a"}\n{\n{"title":""}\n{"title":"b"}\n', NDJSON)
    assert [row["number"] for row in rows] == [1, 4]
    assert [problem.partition(":")[0] for problem in problems] == ["line 2", "line 3"]


def test_a_long_reason_is_cut():
    """A reason does not repeat a file's own text without end."""
    _, problems = read(json.dumps({"title": "a", "x" * 10_000: 1}), NDJSON)
    assert len(problems[0]) < 600


@pytest.mark.parametrize("gap", [CHUNK - 30, CHUNK - 10, CHUNK - 3, CHUNK, 3 * CHUNK])
def test_records_across_chunks(gap):
    """A record of a JSON array is whole wherever the file is cut into chunks."""
    first = {"title": "é\U0001f600" * 3, "description": "x" * 100}
    text = "[" + " " * gap + json.dumps(first, ensure_ascii=False) + "," + GOOD + "]"
    rows, problems = read(text, JSON)
    assert problems == []
    assert [row["title"] for row in rows] == [first["title"], "good"]


def test_memory_is_constant():
    """A large file of any format is read without being held in memory."""
    for format in (CSV, NDJSON, JSON):
        data = many(format, 20_000)
        tracemalloc.start()
        source = Source.open(io.BytesIO(data), "file", format)
        with Batch(source, parse_time=parse_time, problems=Problems(), progress=lambda _: None) as batch:
            read_tasks(batch, owned=True)
            assert sum(1 for _ in batch.rows()) == 20_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3_000_000 < len(data)


def many(format, count):
    record = {"title": "A title", "description": "x" * 150}
    if format is CSV:
        return (",".join(record) + "\n" + count * (",".join(record.values()) + "\n")).encode()
    text = json.dumps(record)
    return (count * (text + "\n") if format is NDJSON else "[" + ",\n".join(count * [text]) + "]").encode()


def test_taskwarrior_attributes_become_text():
    """What has no field here is in the description: annotations, project, tags, and any other attribute."""
    theirs = {
        "id": 7, "urgency": 3.5, "uuid": "u", "description": "Title", "status": "waiting",
        "entry": "20260101T000000Z", "modified": "20260102T000000Z", "wait": "20270101T000000Z",
        "project": "home.garden", "tags": ["a", "b"], "depends": "x,y", "recur": "weekly", "priority": "X",
        "estimate": 0, "empty": "", "none": None, "nested": {"k": [1, "é"]},
        "annotations": [{"entry": "20260103T000000Z", "description": "first\nline"}, "odd"],
    }  # fmt: skip
    rows, problems = read(json.dumps([theirs]), TASKWARRIOR)
    assert problems == []
    assert rows[0]["description"] == (
        "2026-01-03 00:00:00 UTC: first\nline\nodd\n\n"
        "project: home.garden\ntags: a, b\ndepends: x,y\nestimate: 0\n"
        'nested: {"k": [1, "é"]}\npriority: X\nrecur: weekly\nstatus: waiting\nwait: 2027-01-01 00:00:00 UTC'
    )
    assert rows[0]["status"] == "todo"


@pytest.mark.parametrize(
    ("values", "status", "completed"),
    [
        ({"status": "pending"}, "todo", None),
        ({"status": "pending", "start": "20260101T000000Z"}, "in_progress", None),
        ({"status": "recurring"}, "todo", None),
        ({"status": "completed", "end": "20260101T000000Z"}, "done", 2026),
        ({"status": "completed"}, "done", None),
        ({"status": "deleted", "end": "20260101T000000Z"}, "cancelled", None),
    ],
)
def test_taskwarrior_status(values, status, completed):
    """Each of Taskwarrior's statuses has one of ours; the end of a deleted task is kept as text."""
    rows, problems = read(json.dumps([{"description": "a", **values}]), TASKWARRIOR)
    assert problems == []
    moment = rows[0]["completed_at"]
    assert rows[0]["status"] == status
    assert (moment and moment.year) == completed
    if status == "cancelled":
        assert rows[0]["description"] == "end: 2026-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
        ("first\nsecond", "first…"),
        ("\r\n  \n a\tb\r\nc", " a b…"),
        ("\t a\tb \r\n \n", " a b "),
    ],
)
def test_taskwarrior_long_description(text, title):
    """A description that is too long for a title, or has several lines, is cut there and kept whole below."""
    rows, _ = read(json.dumps([{"description": text, "status": "pending", "project": "p"}]), TASKWARRIOR)
    assert rows[0]["title"] == title
    whole = f"{text}\n\n" if title.endswith("…") else ""
    assert rows[0]["description"] == f"{whole}project: p"


def test_users_are_not_in_another_programs_tasks():
    """Tasks of another program are refused as a whole where users are wanted."""
    with pytest.raises(InvalidInput, match="taskwarrior"):
        read('{"uuid":"u","entry":"20260101T000000Z","description":"a"}', kind=read_users)


ONE_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    re.compile(f"[^{BLANK}]").search
)
MANY_LINES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\t\n\r",;\\'), min_size=1, max_size=40
)


@given(
    texts=st.lists(st.tuples(st.none() | ONE_LINE, ONE_LINE, st.none() | MANY_LINES), max_size=4),
    format=st.sampled_from([Format.CSV, Format.JSON, Format.NDJSON]),
)
@settings(max_examples=100, deadline=None)
def test_any_text_survives(texts, format):
    """Whatever text the rules of the data allow comes back from every format as it was."""
    records = [
        dict.fromkeys(TASKS.fields) | {"external_id": external_id, "title": title, "description": description}
        for external_id, title, description in texts
    ]
    stream = io.StringIO(newline="")
    write_records(records, TASKS, format, stream)
    rows, problems = read(stream.getvalue(), FileFormat(format))
    assert problems == []
    assert [(row["external_id"], row["title"], row["description"]) for row in rows] == texts


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
@settings(max_examples=100, deadline=None)
def test_csv_as_others_read_it(cells):
    """Python's csv module reads our CSV as it was."""
    stream = io.StringIO(newline="")
    view = type(TASKS)(("a", "b"), ())
    write_records([dict(zip("ab", row, strict=True)) for row in cells], view, Format.CSV, stream)
    stream.seek(0)
    assert list(csv.reader(stream, strict=True))[1:] == cells
