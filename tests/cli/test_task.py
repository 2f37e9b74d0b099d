"""taskdb task, from the outside."""

import csv
import json
from io import StringIO

import pytest

from taskdb_cli.models.vocabulary import TASK_FIELDS
from tests.conftest import open_database
from tests.samples import add_task, add_user, titles
from tests.schemas import execute

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def database(url):
    """A database with two users."""
    opened = open_database(url)
    add_user(opened)
    add_user(opened, "bob@example.com")
    return opened


def record(result):
    return json.loads(result.out)


def test_create_prints_the_record(taskdb, database):
    """A created task is printed with every field."""
    made = taskdb(
        *("task", "create", "--user", "ann@example.com", "Write it", "--description", "Two\nlines"),
        *("--status", "DONE", "--priority", "high", "--due", "2026-12-01T17:00Z", "--external-id", "x-1"),
        *("-o", "json"),
    )
    now = record(made)["created_at"]
    expected = dict.fromkeys(TASK_FIELDS) | {
        "id": 1,
        "user_id": 1,
        "user": "ann@example.com",
        "external_id": "x-1",
        "title": "Write it",
        "description": "Two\nlines",
        "status": "done",
        "priority": "high",
        "due_at": "2026-12-01T17:00:00Z",
        "completed_at": now,
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items())
    assert made.out == "{\n" + ",\n".join(lines) + "\n}\n"
    assert made.err == ""


def test_create_defaults(taskdb, database):
    """A task needs a title and an owner only."""
    made = record(taskdb("task", "create", "Write", "--user", "2", "-o", "json"))
    assert (made["user"], made["status"], made["priority"]) == ("bob@example.com", "todo", "medium")
    absent = ("external_id", "description", "due_at", "completed_at")
    assert [made[field] for field in absent] == [None] * 4


def test_create_with_external_id(taskdb, database):
    """An external id that the owner has is a conflict, unless the existing task will do."""
    create = ("task", "create", "--user", "1", "--external-id", "x")
    made = record(taskdb(*create, "Old", "-o", "json"))
    taken = "error: user 1 has a task with external id x already"
    assert taskdb(*create, "New", expect=4).err == f"{taken} (an external id is unique per user)\n"
    assert record(taskdb(*create, "New", "--if-not-exists", "-o", "json")) == made
    taskdb(*create[:3], "2", *create[4:], "Bob's", "--if-not-exists")
    assert titles(database) == ["Old", "Bob's"]


TITLES = ["[bold]x[/oops]", "\N{GRINNING FACE}" * 500, "--", "=1+1", "a\\tb", "%s{}", 'a"b,c', "a\u202e"]


def test_any_text_is_a_title(taskdb, database):
    """A title comes back as it was given, in every format."""
    for id, title in enumerate(TITLES, 1):
        assert record(taskdb("task", "create", "--user", "1", "-o", "json", "--", title))["title"] == title
        shown = taskdb("task", "show", id, "-o", "table").out
        assert title.replace("\u202e", r"\u202e") in shown
    listed = ("task", "list", "--sort", "id", "-o")
    assert [task["title"] for task in record(taskdb(*listed, "json"))] == TITLES
    assert [json.loads(line)["title"] for line in taskdb(*listed, "ndjson").out.splitlines()] == TITLES
    assert [row["title"] for row in csv.DictReader(StringIO(taskdb(*listed, "csv").out))] == TITLES
    table = taskdb(*listed, "table").out
    assert [title for title in TITLES if title.replace("\u202e", r"\u202e") not in table] == []


def test_list_filters_and_sorts(taskdb, database):
    """Filters and sort keys mean what the reference says."""
    for owner, fields in (
        ("1", {"title": "A", "created_at": "2026-01-01T00:00:00Z", "status": "done", "priority": "low"}),
        (
            "1",
            {
                "title": "B",
                "created_at": "2026-01-02T00:00:00Z",
                "status": "in_progress",
                "priority": "urgent",
            },
        ),
        ("2", {"title": "C", "created_at": "2026-01-03T00:00:00Z", "priority": "high"}),
        ("2", {"title": "D", "created_at": "2026-01-04T00:00:00Z", "status": "cancelled"}),
    ):
        add_task(database, owner, **fields)

    def listed(*options):
        found = taskdb("task", "list", *options, "-o", "json")
        return "".join(task["title"] for task in json.loads(found.out))

    assert listed() == "DCBA"
    assert listed("--sort", "title") == "ABCD"
    assert listed("--sort", "-priority,title") == "BCDA"
    assert listed("--user", "ann@example.com") == "BA"
    assert listed("--user", "1", "--user", "2", "--sort", "id") == "ABCD"
    assert listed("--status", "open") == "CB"
    assert listed("--status", "closed") == listed("--status", "CLOSED") == "DA"
    assert listed("--status", "done", "--status", "todo") == "CA"
    assert listed("--priority", "high", "--priority", "low") == "CA"
    assert listed("--priority", "urgent", "--status", "closed") == ""
    assert listed("--limit", "0") == "DCBA"


def test_list_says_when_there_is_more(taskdb, database):
    """A list that was cut says so on stderr, unless quiet."""
    for title in "ABC":
        add_task(database, title=title)
    cut = taskdb("task", "list", "--limit", "2")
    assert cut.out.count("\n") == 2
    assert cut.err.startswith("2 shown, more follow; --limit 0 shows all\nnext: --after ")
    assert taskdb("-q", "task", "list", "--limit", "2").err == ""
    assert taskdb("task", "list", "--limit", "3").err == ""


def test_list_takes_long_limits_and_searches(taskdb, database):
    """The largest limit and the longest text to search for are no trouble to either engine."""
    add_task(database)
    taskdb("task", "list", "--limit", 10**9)
    assert taskdb("task", "list", "--search", "\N{GRINNING FACE}" * 200).out == ""
    assert taskdb("task", "list", "--search", "%" * 200).out == ""


def test_update(taskdb, database):
    """What is named changes, for every id; what is not stays."""
    for title in "ABC":
        add_task(database, title=title, description="Long", due_at="2026-12-01T00:00:00Z")
    changed = taskdb(
        *(
            "task",
            "update",
            3,
            1,
            "--title",
            "New",
            "--description",
            "",
            "--status",
            "done",
            "--priority",
            "low",
        ),
        *("--due", "none", "--user", "bob@example.com", "-o", "json"),
    )
    for task, id in zip(record(changed), (3, 1), strict=True):
        assert {
            field: task[field] for field in ("id", "user", "title", "description", "due_at", "version")
        } == {
            "id": id,
            "user": "bob@example.com",
            "title": "New",
            "description": None,
            "due_at": None,
            "version": 2,
        }
        assert (task["status"], task["priority"]) == ("done", "low")
        assert task["completed_at"] == task["updated_at"]
    assert titles(database) == ["New", "B", "New"]
    one = record(taskdb("task", "update", "2", "--due", "2026-12-24", "-o", "json"))
    assert (one["title"], one["due_at"]) == ("B", "2026-12-24T23:59:59Z")
    assert record(taskdb("task", "update", "2", "--due", "2026-12-24", "-o", "json")) == one


def test_update_is_all_or_nothing(taskdb, database):
    """A missing or stale task, or a conflict, keeps all of them as they were."""
    add_task(database, title="A", external_id="x")
    add_task(database, title="B")
    add_task(database, "2", title="C", external_id="x")
    taskdb("task", "update", "2", "--title", "B2")
    before = taskdb("task", "list", "-o", "json").out
    update = ("task", "update", "--title", "Moved")
    missing = taskdb(*update, "1", "8", "2", "9", expect=3)
    assert missing.err == "error: tasks 8, 9 not found ('taskdb task list' shows the tasks)\n"
    stale = taskdb(*update, "1", "2", "--if-version", "1", expect=4)
    assert stale.err.startswith("error: task 2 is at version 2, not 1 (")
    impossible = taskdb(*update, "1", "2", "--if-version", 10**30, expect=4)
    assert impossible.err.startswith(f"error: task 1 is at version 1, not {10**30} (")
    assert "external id" in taskdb(*update, "1", "2", "--user", "2", expect=4).err
    assert "user 7 not found" in taskdb(*update, "1", "--user", "7", expect=3).err
    assert taskdb("task", "list", "-o", "json").out == before


def test_statuses(taskdb, database):
    """Each verb sets its status, and a done task keeps the time it was first done."""
    add_task(database)

    def after(verb):
        task = record(taskdb("task", verb, "1", "-o", "json"))
        return task["status"], task["completed_at"] is not None, task["version"]

    assert after("start") == ("in_progress", False, 2)
    assert after("done") == ("done", True, 3)
    done = taskdb("task", "show", "1", "-o", "json").out
    assert taskdb("task", "done", "1", "-o", "json").out == done
    assert after("reopen") == ("todo", False, 4)
    assert after("cancel") == ("cancelled", False, 5)


def test_several_ids_are_all_or_nothing(taskdb, database):
    """A verb that misses one task touches none, and names those it misses."""
    add_task(database, title="A")
    add_task(database, title="B", status="done")
    before = taskdb("task", "list", "-o", "json").out
    for verb in (["start"], ["done"], ["reopen"], ["cancel"], ["delete", "--yes"]):
        missing = taskdb("task", *verb, "1", "9", "2", "8", expect=3)
        assert missing.err == "error: tasks 9, 8 not found ('taskdb task list' shows the tasks)\n"
        assert taskdb("task", "list", "-o", "json").out == before


def test_delete(taskdb, database):
    """Tasks are deleted when that is confirmed, and a dry run only says so."""
    for title in "ABC":
        add_task(database, title=title)
    assert taskdb("task", "delete", "1", expect=9).err == (
        "error: will not delete task 1, 'A' without a confirmation (add --yes to go ahead)\n"
    )
    assert taskdb("task", "delete", "3", "1", "--dry-run").err == "would delete 2 tasks (3, 1)\n"
    assert titles(database) == ["A", "B", "C"]
    gone = taskdb("task", "delete", "3", "1", "-y", "-o", "json")
    assert gone.err == "deleted 2 tasks (3, 1)\n"
    assert record(gone) == {"tasks_deleted": [3, 1], "dry_run": False}
    assert titles(database) == ["B"]


def test_unknown_task_and_owner(taskdb, database):
    """A task or owner that does not exist is not found."""
    for id in ("1", "0", "-1", str(2**63), str(-(2**63) - 1), "9" * 40):
        failed = taskdb("task", "show", "--", id, expect=3)
        assert failed.err == f"error: task {id} not found ('taskdb task list' shows the tasks)\n"
    assert (
        "user cid@example.com not found" in taskdb("task", "list", "--user", "cid@example.com", expect=3).err
    )
    assert "user 7 not found" in taskdb("task", "create", "--user", "7", "A", expect=3).err


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "--user", "1", ""], "title is empty"),
        (["create", "--user", "1", "t" * 501], "title has 501 characters"),
        (["create", "--user", "1", "a\x00b"], "title contains the control character U+0000"),
        (["create", "--user", "1", "a\nb"], "title contains the control character U+000A"),
        (["create", "--user", "1", "\udcff"], "title is not valid UTF-8"),
        (["create", "--user", "1", "A", "--description", "d" * 20_001], "description has 20001 characters"),
        (
            ["create", "--user", "1", "A", "--description", "\x07"],
            "description contains the control character U+0007",
        ),
        (["create", "--user", "1", "A", "--external-id", "e" * 201], "external_id has 201 characters"),
        (
            ["create", "--user", "1", "A", "--status", "open"],
            "--status takes todo, in_progress, done or cancelled, not 'open'",
        ),
        (
            ["create", "--user", "1", "A", "--priority", "top"],
            "priority must be one of low, medium, high, urgent",
        ),
        (["create", "--user", "1", "A", "--due", "2026-02-30"], "'2026-02-30' is not a time"),
        (["create", "--user", "1", "A", "--due", "soon"], "'soon' is not a time"),
        (["create", "--user", "1"], "missing argument 'TITLE…'"),
        (["create", "A"], "missing option '--user'"),
        (["create", "--user", "1", "A", "--if-not-exists"], "external id"),
        (["update", "1", "--title", " "], "title is empty"),
        (["update", "1", "--priority", ""], "priority must be one of"),
        (["update", "1", "--due", ""], "'' is not a time"),
        (["update", "x"], "'x' is not an id"),
        (["update", "9" * 5000], "is not an id"),
        (["done", "1,9-3"], "'9-3' runs backwards; write 3-9"),
        (["done", "1-10001"], "'1-10001' has more than 10,000 ids"),
        (["update", "--title", "A"], "neither by ids nor by filters"),
        (["update", "1", "--if-version", "-1"], "--if-version takes a whole number from 1 on, not '-1'"),
        (["show", "1.5"], "'1.5' is not an id"),
        (["done"], "neither by ids nor by filters"),
        (["list", "--status", "late"], "there is no status 'late'"),
        (["list", "--priority", "top"], "there is no priority 'top'"),
        (["list", "--sort", "size"], "cannot sort by size"),
        (["list", "--sort", ""], "cannot sort by nothing"),
        (["list", "--sort", "\udcff"], "cannot sort by"),
        (["list", "--limit", "-1"], "--limit takes"),
        (["list", "--limit", "9" * 19], "--limit takes"),
        (["list", "--limit", str(2**63 - 1)], "--limit takes"),
        (["list", "--search", "\udcff"], "is not valid UTF-8"),
        (["list", "--search", "\N{GRINNING FACE}" * 10_001], "the search text has 10001 characters"),
    ],
)
def test_bad_input(taskdb, database, arguments, named):
    """Input that breaks a rule is a usage error that names what is wrong, and changes nothing."""
    add_task(database)
    failed = taskdb("task", *arguments, expect=2)
    assert failed.err.startswith("error: ")
    assert named in failed.err
    assert failed.err.count("\n") == 1
    assert failed.out == ""
    assert titles(database) == ["Write"]


def test_ids_used_up(taskdb, database, url, engine):
    """That there is no id left is told as such, with what to do, by a command and by an import."""
    add_task(database)
    if engine == "sqlite":
        execute(url, f"UPDATE sqlite_sequence SET seq = {2**63 - 2} WHERE name = 'tasks'")
    else:
        execute(url, f"SELECT setval('tasks_id_seq', {2**63 - 2})")
    records = "".join(f'{{"title": "Task {number}"}}\n' for number in range(2))
    imported = taskdb("task", "import", "-", "--user", "1", stdin=records, expect=1)
    if engine == "sqlite":
        # What a sequence gave out it does not take back.
        taskdb("task", "create", "--user", "1", "Last")
    failed = taskdb("task", "create", "--user", "1", "None", expect=1)
    for each in (imported, failed):
        assert each.err.count("\n") == 1
        assert "tasks" in each.err
        assert "identity_left" in each.err
        assert "disk" not in each.err
    assert taskdb("task", "update", "1", "--title", "Changed").out.endswith("Changed\n")


def test_ids_that_nothing_has(taskdb, database):
    """An id beyond those that there can be is a task that is not there, or no id; never a driver's error."""
    for id in (2**63 - 1, 2**63, 10**40, -1, 0):
        for arguments in (
            ["task", "show", "--", id],
            ["task", "done", "--", id],
            ["task", "delete", "--yes", "--", id],
            ["user", "show", "--", id],
            ["task", "create", "--user", id, "A"],
            ["task", "list", "--user", id],
            ["task", "list", "--after", id],
            ["user", "list", "--after", id],
        ):
            failed = taskdb(*arguments, expect=None)
            assert failed.code in (2, 3), failed
            assert failed.err.count("\n") == 1


def test_an_import_takes_no_ids_over(taskdb, database):
    """Whatever ids are in a file, new tasks get those that follow."""
    records = "".join(f'{{"id": {id}, "title": "A"}}\n' for id in (2**63 - 1, 2**63, 10**30))
    taskdb("task", "import", "-", "--user", "1", stdin=records)
    assert taskdb("task", "create", "--user", "1", "B", "-o", "tsv").out.startswith("4\t")
