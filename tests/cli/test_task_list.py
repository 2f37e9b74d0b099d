"""taskdb task list, from the outside."""

import csv
import io
import json
import random
from datetime import timedelta

import pytest

from taskdb_cli.cli.context import Invocation
from taskdb_cli.database import Database
from taskdb_cli.models.vocabulary import TASK_FIELDS
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from tests.conftest import NOW
from tests.forgery import forged
from tests.listings import add_tasks, add_users, make_row, random_rows

COUNT = 40
INSTANT = "2026-11-22T12:30:15.123456Z"


@pytest.fixture
def filled(taskdb, database: Database):
    """The command on a database with three users and some tasks."""
    database.write(add_users)
    database.write(lambda session: add_tasks(session, random_rows(random.Random(9), COUNT)))
    return taskdb


def records(taskdb, *options):
    return json.loads(taskdb("task", "list", "--limit", 0, "-o", "json", *options).out)


def next_cursor(result):
    """Return the cursor that stderr gives on a line of its own, or None."""
    lines = [line for line in result.err.splitlines() if line.startswith("next: ")]
    if not lines:
        assert result.err == ""
        return None
    [line] = lines
    words = line.split(" ")
    assert words[:2] == ["next:", "--after"]
    assert len(words) == 3
    return words[2]


def walk(taskdb, *options):
    """Return the ids of each page, following the printed cursors to the end."""
    pages, cursor = [], None
    while cursor is not None or not pages:
        after = ["--after", cursor] if cursor else []
        result = taskdb("task", "list", "--fields", "id", "-o", "tsv", *options, *after)
        pages.append([int(line) for line in result.out.splitlines()])
        cursor = next_cursor(result)
    return pages


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sort", "-due"],
        ["--sort", "title,-completed,user"],
        ["--user", "1", "--status", "open", "--sort", "-priority,due"],
        ["--sort", "-status,user", "--user", "ann@example.com", "--user", "2"],
    ],
)
def test_printed_cursors_lead_to_the_end(filled, options):
    """Page after page, the printed cursors give what one listing without a limit gives."""
    everything = [record["id"] for record in records(filled, *options)]
    for limit in (3, len(everything)):
        pages = walk(filled, "--limit", limit, *options)
        assert [id for page in pages for id in page] == everything
        assert {len(page) for page in pages[:-1]} <= {limit}


def test_a_full_last_page_promises_no_other(filled):
    """When the limit is exactly what there is, nothing is said of more."""
    result = filled("task", "list", "--limit", COUNT)
    assert len(result.out.splitlines()) == COUNT
    assert result.err == ""


def test_fifty_are_shown_unless_told(taskdb, database):
    """Without a limit fifty are shown, newest first, and stderr says that there are more."""
    database.write(add_users)
    rows = [make_row(created=NOW + timedelta(minutes=minute)) for minute in range(51)]
    database.write(lambda session: add_tasks(session, rows))
    result = taskdb("task", "list")
    assert [int(line.split("\t")[0]) for line in result.out.splitlines()] == list(range(51, 1, -1))
    assert "50 shown, more follow" in result.err
    assert next_cursor(result)
    assert taskdb("-q", "task", "list").err == ""
    assert len(taskdb("task", "list", "--limit", 0).out.splitlines()) == 51


FILTERS = [
    (["--user", "2"], lambda t: t["user"] == "bob@example.com"),
    (["--user", "2", "--user", "CY@example.com"], lambda t: t["user_id"] in (2, 3)),
    (["--status", "open"], lambda t: t["status"] in ("todo", "in_progress")),
    (["--status", "closed", "--status", "todo"], lambda t: t["status"] != "in_progress"),
    (["--priority", "low", "--priority", "urgent"], lambda t: t["priority"] in ("low", "urgent")),
    (["--no-due"], lambda t: t["due_at"] is None),
    (["--search", "APPLE"], lambda t: t["title"].lower() == "apple"),
    (["--search", "_"], lambda t: "_" in t["title"]),
    (["--search", "ABOUT"], lambda t: t["description"] is not None),
    (["--created-before", INSTANT], lambda t: t["created_at"] < INSTANT),
    (["--created-after", INSTANT], lambda t: t["created_at"] >= INSTANT),
    (["--updated-before", "2026-11-22"], lambda t: t["updated_at"] < "2026-11-22"),
    (["--updated-after", "2026-11-22"], lambda t: t["updated_at"] >= "2026-11-22"),
    (["--due-before", "2026-11-22"], lambda t: (t["due_at"] or "9") < "2026-11-22"),
    (["--due-after", "2026-11-22"], lambda t: (t["due_at"] or "0") >= "2026-11-22"),
    (["--completed-before", "2026-11-23"], lambda t: (t["completed_at"] or "9") < "2026-11-23"),
    (["--completed-after", "2026-11-23"], lambda t: (t["completed_at"] or "0") >= "2026-11-23"),
]  # fmt: skip


def test_each_filter_option(filled):
    """Every filter of the command line finds what it says, and --count says how many."""
    everything = records(filled, "--sort", "id")
    for options, rule in FILTERS:
        expected = [record["id"] for record in everything if rule(record)]
        assert 0 < len(expected) < COUNT, options
        assert [record["id"] for record in records(filled, "--sort", "id", *options)] == expected, options
        assert filled("task", "list", "--count", *options).out == f"{len(expected)}\n"


def test_count_as_json(filled):
    """--count is an object in JSON, and heeds no limit."""
    assert json.loads(filled("task", "list", "--count", "--limit", 1, "-o", "json").out) == {"count": COUNT}


def test_what_now_means_stays_from_page_to_page(taskdb, database, monkeypatch):
    """A cursor carries the time of its first page, for --overdue and for offsets such as +1h."""
    database.write(add_users)
    rows = [make_row(due=NOW + timedelta(minutes=minute)) for minute in (-3, -2, -1, 1, 59, 61)]
    database.write(lambda session: add_tasks(session, rows))

    def at(moment):
        monkeypatch.setattr(Invocation, "now", moment)

    for options, first, rest in (
        (["--overdue"], [1, 2], [3]),
        (["--due-before", "+1h"], [1, 2], [3, 4, 5]),
        (["--due-after", "now"], [4, 5], [6]),
    ):
        command = ["task", "list", "--sort", "due", "--fields", "id", *options]
        at(NOW)
        page = taskdb(*command, "--limit", 2)
        assert page.out == "".join(f"{id}\n" for id in first)
        at(NOW + timedelta(days=9))
        cursor = next_cursor(page)
        assert taskdb(*command, "--limit", 0, "--after", cursor).out == "".join(f"{id}\n" for id in rest)


@pytest.mark.soak
def test_forged_cursors_are_refused(filled):
    """A cursor that was made up is exit 2, whatever it holds."""
    order = Order.parse("title", TASK_SORT_KEYS)
    for cursor in forged({"sort": "title"}, order, number=30):
        assert "cursor" in filled("task", "list", "--sort", "title", "--after", cursor, expect=2).err


def test_fields_in_every_format(filled):
    """--fields chooses the fields and their order in every format."""
    chosen = ["--fields", "title, id", "--limit", 2, "--sort", "id"]
    first, second = (record["title"] for record in records(filled, "--sort", "id")[:2])
    assert filled("task", "list", *chosen, "-o", "tsv").out == f"{first}\t1\n{second}\t2\n"
    parsed = json.loads(filled("task", "list", *chosen, "-o", "json").out)
    assert [list(record.items()) for record in parsed] == [
        [("title", first), ("id", 1)],
        [("title", second), ("id", 2)],
    ]
    lines = filled("task", "list", *chosen, "-o", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == parsed
    rows = list(csv.reader(io.StringIO(filled("task", "list", *chosen, "-o", "csv").out)))
    assert rows == [["title", "id"], [first, "1"], [second, "2"]]
    table = filled("task", "list", *chosen, "-o", "table").out
    assert table.split()[:2] == ["Title", "ID"]
    assert first in table


def test_every_field_can_be_chosen(filled):
    """Each field of a task's record can be asked for by name."""
    first, *_ = records(filled, "--fields", ",".join(TASK_FIELDS))
    assert list(first) == list(TASK_FIELDS)


def test_an_empty_list(taskdb):
    """Nothing to list is no error, in any format."""
    assert taskdb("task", "list").out == ""
    assert taskdb("task", "list", "--limit", 0, "-o", "json").out == "[]\n"
    assert taskdb("task", "list", "-o", "csv").out == ",".join(TASK_FIELDS) + "\n"
    assert taskdb("task", "list", "--count").out == "0\n"


BAD = [
    (["--limit", "-1"], "--limit takes a whole number from 0 to"),
    (["--limit", "many"], "--limit takes a whole number from 0 to"),
    (["--sort", "colour"], "id, title, status, priority, due, created, updated, completed, user"),
    (["--sort", ""], "sort keys are id, title"),
    (["--fields", "colour"], ", ".join(TASK_FIELDS)),
    (["--fields", ""], "fields are id"),
    (["--fields", "id,"], "fields are id"),
    (["--status", "finished"], "todo, in_progress, done, cancelled, open or closed"),
    (["--priority", "top"], "low, medium, high or urgent"),
    (["--due-before", "someday"], "2026-12-01"),
    (["--completed-after", "2026-13-01"], "2026-12-01"),
    (["--after", "garbage"], "cursor"),
    (["--after", ""], "cursor"),
    (["--search", "\udcff"], "search"),
    (["-o", "yaml"], "yaml"),
]


def test_bad_options_say_what_is_accepted(filled):
    """A bad value exits 2 with one line that names what is accepted."""
    for options, named in BAD:
        result = filled("task", "list", *options, expect=2)
        assert named in result.err
        assert result.out == ""
        assert result.err.count("\n") == 1


def test_a_cursor_serves_its_own_listing_only(filled):
    """A damaged cursor, and one of another sort, other filters or of users, exits 2."""
    cursor = next_cursor(filled("task", "list", "--limit", 2, "--status", "open"))
    assert filled("task", "list", "--limit", 2, "--status", "open", "--after", cursor).out
    for options in (
        ["task", "list", "--after", cursor],
        ["task", "list", "--status", "open", "--sort", "due", "--after", cursor],
        ["task", "list", "--status", "open", "--status", "done", "--after", cursor],
        ["task", "list", "--status", "open", "--overdue", "--after", cursor],
        ["task", "list", "--status", "open", "--after", cursor[:-1]],
        ["user", "list", "--after", cursor],
    ):
        result = filled(*options, expect=2)
        assert "cursor is damaged" in result.err
        assert result.out == ""


@pytest.mark.parametrize(
    ("words", "begin", "end"),
    [
        *(
            (["task", "list"], f"--{time}-after", f"--{time}-before")
            for time in ("due", "created", "updated", "completed")
        ),
        (["task", "update", "--title", "A", "--yes"], "--where-due-after", "--where-due-before"),
        (["history"], "--since", "--until"),
    ],
)
def test_a_period_that_ends_before_it_begins(filled, words, begin, end):
    """The two options are named, unless there is a moment between them or --quiet is given."""
    period = (begin, "2026-11-02", end, "2026-11-02")
    backwards = filled(*words, *period)
    assert f"nothing can match: {begin} is not before {end}\n" in backwards.err
    assert filled("-q", *words, *period).err == ""
    assert "nothing can" not in filled(*words, begin, "2126-11-01", end, "2126-11-02").err


def test_an_unknown_user_is_not_found(filled):
    """A filter by a user who does not exist exits 3 and prints nothing."""
    for options in ([], ["--count"], ["--limit", "0"], ["--explain"]):
        result = filled("task", "list", "--user", "nobody@example.com", *options, expect=3)
        assert "user nobody@example.com not found" in result.err
        assert result.out == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--sort", "-due"],
        ["--sort", "title", "--search", "100%_\\'"],
        ["--user", "1", "--status", "open", "--priority", "low", "--created-after", "2026-11-20"],
        ["--count", "--overdue"],
    ],
)
def test_explained_sql_can_be_pasted(filled, database, options):
    """--explain prints SQL that, run by itself, finds the very rows of the listing."""
    plans = json.loads(filled("task", "list", *options, "--explain", "-o", "json").out)
    assert [list(plan) for plan in plans] == [["sql", "plan", "summary"]] * len(plans)
    with database.connect() as connection:
        raw = connection.connection.driver_connection
        found = [row[0] for plan in plans for row in raw.cursor().execute(plan["sql"]).fetchall()]
    if "--count" in options:
        assert found == [int(filled("task", "list", *options).out)]
    else:
        assert found == [record["id"] for record in records(filled, *options)]
    for plan in plans:
        assert plan["plan"]
        assert plan["summary"].endswith("no sort") or "sorts " in plan["summary"]


def test_explain_says_in_words_what_the_engine_does(filled):
    """--explain prints the SQL, the plan and the words, and no record."""
    out = filled("task", "list", "--user", "1", "--sort", "title", "--explain").out
    assert out.startswith("SELECT tasks.id")
    assert "LIMIT" in out
    summary = out.rstrip().splitlines()[-1]
    assert "tasks: " in summary
    theirs = filled("task", "list", "--user", "1", "--count").out.strip()
    assert summary.endswith(f"sorts {theirs} rows")
