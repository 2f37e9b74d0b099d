"""Files of todo.txt, Todoist and TickTick, and what every format of another program promises."""

import io
import tracemalloc
from datetime import UTC, datetime

import pytest

from taskdb_cli.models.vocabulary import FileFormat, TaskPriority
from taskdb_cli.transfer.files import Source
from tests.conftest import NOW
from tests.transfer.test_files import read
from tests.transfer.test_programs import IMPORTS, noted

TODOTXT, TODOIST, TICKTICK = FileFormat.TODOTXT, FileFormat.TODOIST, FileFormat.TICKTICK
TODOIST_HEADER = "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE"
TICKTICK_HEADER = (
    "List Name,Title,Content,Due Date,Priority,Status,Created Time,Timezone,Is All Day,taskId,parentId"
)


def only(content, format):
    """Return the one task of a file without problems, and its notes."""
    notes = []
    [row], problems = read(content, format, notes=notes)
    assert problems == []
    return row, notes


@pytest.mark.parametrize(
    ("line", "title", "status", "priority"),
    [
        ("plain +project @context", "plain +project @context", "todo", None),
        ("(A) first", "first", "todo", "urgent"),
        ("(B) 2026-01-02 second", "second", "todo", "high"),
        ("(C) third", "third", "todo", "medium"),
        ("(Z)  last ", "last", "todo", "low"),
        ("(a) no priority", "(a) no priority", "todo", None),
        ("(A)no priority", "(A)no priority", "todo", None),
        ("x 2026-01-03 2026-01-02 over pri:B", "over", "done", "high"),
        ("x (A) over", "over", "done", "urgent"),
        ("x 2026-01-03 (B) 2026-01-02 over", "over", "done", "high"),
        ("x 2026-01-03 2026-01-02  (D) over", "over", "done", "low"),
        ("x 2026-01-03 over x 2026-01-03 (B) a", "over x 2026-01-03 (B) a", "done", None),
        ("X over", "X over", "todo", None),
        ("xerox the form", "xerox the form", "todo", None),
        ("x 2026-02-30 over", "2026-02-30 over", "done", None),
        ("2026-01-02 2026-01-03 two dates", "2026-01-02 2026-01-03 two dates", "todo", None),
        ("2026-01-02", "2026-01-02", "todo", None),
        ("due:2026-12-24 wrap it rec:1y", "wrap it rec:1y", "todo", None),
        ("see overdue:2026-12-24", "see overdue:2026-12-24", "todo", None),
        ("due:2026-12-24", "due:2026-12-24", "todo", None),
    ],
)  # fmt: skip
def test_todotxt_lines(line, title, status, priority):
    """A line of todo.txt gives up x, the priority, its dates and due:, and keeps all else in the title."""
    row, _ = only(f"{line}\r\n\n", TODOTXT)
    assert (row["title"], row["status"]) == (title, status)
    assert row["priority"] == (priority and TaskPriority.from_word(priority).value)


def test_todotxt_sample():
    """Dates, ids of equal lines, and what todo.txt has but taskdb has not."""
    rows, problems, notes = noted("todotxt", (IMPORTS / "todo.txt").read_bytes())
    assert problems == []
    done = rows["Return the library books +Town @errands"]
    assert [moment.date().day for moment in (done["completed_at"], done["created_at"])] == [20, 2]
    assert rows["Book the train to Porto +Holiday @phone"]["due_at"].date().isoformat() == "2026-12-04"
    assert ["below D" in notes[0], "due:" in notes[1]] == [True, True]
    ids = [row["external_id"] for row in read("Buy\nBuy\nx Buy\n", TODOTXT)[0]]
    assert ids[1] == f"{ids[0]}-2"
    assert len({each.partition("-")[0] for each in ids}) == 2


@pytest.mark.parametrize(
    ("cell", "due"),
    [
        ("2026-12-24", "2026-12-24"),
        ("2026-12-24 17:30", "2026-12-24T13:30"),
        ("2026-12-24T17:30:00Z", "2026-12-24T17:30"),
        ("Dec 24 2027", "2027-12-24"),
        ("24 December 2027 at 5pm", "2027-12-24T13:00"),
        ("Sept 3", f"{NOW.year}-09-03"),
        ("3 Sep 09:15", f"{NOW.year}-09-03T05:15"),
        ("Feb 30", None),
        ("tomorrow", None),
        ("every day at 9:00", None),
        ("24. Dezember", None),
        ("3 Sep 9", None),
    ],
)
def test_todoist_dates(cell, due):
    """A date of Todoist is a due time if it means one day, in the zone of its row, and else it is text."""
    row, notes = only(f"{TODOIST_HEADER}\ntask,a,,1,1,,,{cell},en,Asia/Dubai\n", TODOIST)
    found = row["due_at"]
    if due is None:
        assert (found, row["description"]) == (None, f"date: {cell}")
        assert "text" in notes[0]
    elif "T" in due:
        assert f"{found.astimezone(UTC):%Y-%m-%dT%H:%M}" == due
    else:
        assert f"{found.astimezone():%Y-%m-%d %H:%M:%S}" == f"{due} 23:59:59"


def test_todoist_of_an_older_header():
    """A header of other names and fewer columns is read, with semicolons too."""
    row, _ = only("TYPE;CONTENT;PRIORITY;INDENT;DUE_DATE;DUE_DATE_LANG\ntask;a;;1;2026-12-24;en\n", TODOIST)
    assert (row["due_at"].astimezone().day, row["priority"], row["description"]) == (24, None, None)
    row, _ = only("TYPE,CONTENT,PRIORITY,INDENT,DATE,DUE_DATE,\ntask,a,,1,2026-12-24,soon,b\n", TODOIST)
    assert (row["due_at"].astimezone().day, row["description"]) == (24, "due date: soon\ncolumn 7: b")


def test_todoist_columns_of_comments():
    """A column of a comment that has no place is kept with it. A unit of no duration is none."""
    header = f"{TODOIST_HEADER},DURATION,DURATION_UNIT,ATTACHMENTS"
    row, notes = only(f"{header}\ntask,a,,1,1,,,,,,,None,\nnote,b,,,1,Al,,,en,,,None,https://x\n", TODOIST)
    assert (row["description"], notes) == ("Al: b\nattachments: https://x", [])


def test_todoist_many_comments():
    """Comments cost linear time, however many a task has, and its text is cut."""
    row, _ = only("TYPE,CONTENT,PRIORITY\ntask,a,1\n" + 60_000 * "note,x,\n", TODOIST)
    assert len(row["description"]) > 19_900


def test_todoist_sample():
    """Sections, parents, comments and the four priorities; a deadline stands in for a date."""
    rows, problems, notes = noted("todoist.csv")
    assert problems == []
    first, lamp = rows["Hand over the keys @moving"], rows["Register at the town hall"]
    assert [row["priority"] for row in rows.values()] == [4, 3, 1, 2, 1, None]
    assert "ring twice\n\nMaren (40211), 2026-11-20T09:15:00Z: Tobi has" in first["description"]
    assert rows["Water and gas"]["description"].startswith("parent: Photograph the meters")
    assert "section: New flat" in lamp["description"]
    assert lamp["due_at"].date().isoformat() == "2027-01-15"
    assert len(notes) == 5


def test_ticktick_sample():
    """Every status, the day of a task in its own zone, the parent, and a task without a title."""
    rows, problems, notes = noted("ticktick.csv")
    assert problems == []
    statuses = [row["status"] for row in rows.values()]
    assert statuses == ["todo", "done", "todo", "todo", "cancelled", "todo"]
    assert rows["Prune the pear tree"]["due_at"].astimezone().date().isoformat() == "2026-12-05"
    assert rows["Borrow the ladder"]["completed_at"] == datetime(2026, 10, 9, 15, 40, 2, tzinfo=UTC)
    assert "parent: Prune the pear tree" in rows["Borrow the ladder"]["description"]
    assert "▫Charger" in rows["Pack for the trip"]["description"]
    assert "The café by the river opens at ten" in rows
    assert len(notes) == 2


def test_ticktick_numbers_are_no_ids():
    """A number that TickTick gives to a task of one file is no id of it, but an id of its own is one."""
    one = "Home,{},,,0,0,2026-01-01T00:00:00+0000,,,{},\n"
    ids = {
        read(f"{TICKTICK_HEADER}\n{one.format('a', number)}", TICKTICK)[0][0]["external_id"]
        for number in (1, 2)
    }
    assert len(ids) == 1
    own = read(f"{TICKTICK_HEADER}\n{one.format('a', '65f0c0ffee')}", TICKTICK)[0][0]
    assert own["external_id"] == "ticktick:65f0c0ffee"


@pytest.mark.parametrize("ids", [None, ",", " , "])
def test_ticktick_without_ids(ids):
    """A task whose id is absent is the parent of no other, and is known by its list, time and title."""
    header = TICKTICK_HEADER if ids else TICKTICK_HEADER.partition(",taskId")[0]
    row = "Home,{},,,0,0,,," + (f",{ids}" if ids else "")
    rows, problems = read(f"{header}\n{row.format('a')}\n{row.format('b')}\n", TICKTICK)
    assert problems == []
    assert [(row["title"], row["description"]) for row in rows] == [
        ("a", "List Name: Home"),
        ("b", "List Name: Home"),
    ]
    assert len({row["external_id"] for row in rows}) == 2


@pytest.mark.parametrize(
    ("format", "content", "problem"),
    [
        (TODOIST, "TYPE,CONTENT\n", "line 1: must name the columns TYPE, CONTENT, PRIORITY"),
        (TODOIST, f"{TODOIST_HEADER}\ntask,a,,9,1\n", "line 2: PRIORITY must be 1, 2, 3 or 4, not '9'"),
        (
            TODOIST,
            f"{TODOIST_HEADER}\ntask,a, b,,1,1\ntask,a, b, c,1,1\n",
            "line 3: PRIORITY must be 1, 2, 3 or 4, not ' c' (a comma in CONTENT needs quotes",
        ),
        (TODOIST, f"{TODOIST_HEADER}\ntask,,,1,1\n", "line 2: CONTENT is missing"),
        (TODOIST, f"{TODOIST_HEADER}\nchore,a,,1,1\n", "line 2: TYPE must be task, section or note, n"),
        (TODOIST, f"{TODOIST_HEADER}\ntask,a,,1,1,,,2026-02-30\n", "line 2: DATE "),
        (TICKTICK, "a,b\n", "line 1: must name the columns List Name, Title, Status"),
        (TICKTICK, f"{TICKTICK_HEADER}\nHome,a,,,0,7\n", "line 2: Status must be one of 0, 1, 2, -1, n"),
        (TICKTICK, f"{TICKTICK_HEADER}\nHome,a,,soon,0,0\n", "line 2: Due Date "),
        (TODOIST, f"{TODOIST_HEADER},DATE,AUTHOR\n", "line 1: names the columns 'AUTHOR', 'DATE' twice"),
        (TICKTICK, f",,,\n{TICKTICK_HEADER},Title\n", "line 2: names the column 'Title' twice"),
        (TODOTXT, b"fine\n\xff\n", "line 2: byte 0xFF"),
        (TODOTXT, "x" * 5_000_000 + "\nfine\n", "line 1: is longer than"),
    ],
)  # fmt: skip
def test_a_bad_record_of_another_program(format, content, problem):
    """A fault names the field as the other program does."""
    _, problems = read(content, format)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize("path", sorted(IMPORTS.iterdir()), ids=lambda path: path.name)
def test_recognised(path):
    """Each sample is recognised by its content, or todo.txt by its name, with other line ends too."""
    content = path.read_bytes()
    name = {"tasks": path.suffix[1:], "todo": "todotxt"}.get(path.stem, path.stem)
    for changed in (content, content.replace(b"\n", b"\r\n")):
        assert source_format(changed, path.name) is FileFormat(name)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("todo.txt", "title,status\nMilk,todo\n", FileFormat.CSV),
        ("todo.txt", '{"title":"a"}\n', FileFormat.NDJSON),
        ("todo.txt", "email,name\na@example.com,A\n", FileFormat.CSV),
        ("done.txt", "titel,status,notes\nMilk,todo,\n", FileFormat.CSV),
        ("done.txt", '"Task name";Title;prio\nMilk;;\n', FileFormat.CSV),
        ("todo.txt", "Call Ann, mend the title, pay\n", FileFormat.TODOTXT),
        ("todo.txt", "title\n", FileFormat.CSV),
        ("todo.txt", "Status | +Work\n", FileFormat.TODOTXT),
        ("tasks.csv", "title;status\nMilk;todo\n", FileFormat.CSV),
        ("tasks.csv", "title,description\nType,CONTENT\n", FileFormat.CSV),
        ("tasks.json", '[{"title":"a","external_id":"u"}]', FileFormat.JSON),
        ("todoist.csv", "title\nTYPE\n", FileFormat.CSV),
        ("export.csv", f"{TODOIST_HEADER.replace(',', ';')}\n", FileFormat.TODOIST),
        ("done.txt", "x 2026-01-01 a\n", FileFormat.TODOTXT),
        ("todo (1).txt", "a\n", FileFormat.TODOTXT),
        ("done-2024.txt", "a\n", FileFormat.TODOTXT),
        ("todos.txt", "a\n", FileFormat.CSV),
        ("one.ics", "BEGIN:VTODO\nSUMMARY:a\nEND:VTODO\n", FileFormat.ICS),
    ],
)
def test_ours_stay_ours(name, content, format):
    """A file with our fields is never taken for another program's, whatever its name."""
    assert source_format(content.encode(), name) is format


def source_format(content, name):
    return Source.open(io.BytesIO(content), name, None).format


def test_memory_of_other_formats_is_constant():
    """A large file without ids is read without being held in memory, the ids of equal lines neither."""
    content = "".join(f"task {number}\n" for number in range(20_000)).encode()
    tracemalloc.start()
    records = Source.open(io.BytesIO(content), "todo.txt", TODOTXT).records((), ())
    assert sum(1 for _ in records) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
