"""`history`, `task history` and `user history`, from the outside."""

import csv
import io
import json
from functools import partial

import pytest

from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.vocabulary import CHANGE_FIELDS, LIFE_FIELDS, OPERATION_FIELDS
from taskdb_cli.system.account import system_user
from tests.completion import ask_for_words
from tests.conftest import SERVERS
from tests.operations import prune
from tests.samples import add_task, add_user
from tests.terminals import open_terminal

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
LONG = "word " * 90
LINES = "\n".join(f"line {number}" for number in range(50))


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request):
    """A file and a server."""
    return request.param


@pytest.fixture
def told(taskdb, monkeypatch):
    """A history: two users, two tasks, changes by two actors, deletions."""
    monkeypatch.setenv("TASKDB_ACTOR", "kim")
    for name in ("ann", "bob"):
        taskdb("user", "create", "--email", f"{name}@example.com", "--name", name)  # 1, 2
    taskdb("task", "create", "Buy [red]milk", "-u", "1", "--description", "two\nlitres")  # 3
    taskdb("task", "create", f"{LONG}winter", "-u", "2")  # 4
    monkeypatch.setenv("TASKDB_ACTOR", "lee")
    taskdb("task", "update", "1", "--description", "three\nlitres", "--status", "done", "--user", "2")  # 5
    taskdb("task", "update", "2", "--title", f"{LONG}summer")  # 6
    taskdb("task", "update", "2", "--description", LINES)  # 7
    taskdb("task", "delete", "2", "--yes")  # 8
    taskdb("user", "delete", "2", "--yes")  # 9
    return taskdb


def ids(result):
    return [int(line.split("\t")[0]) for line in result.out.splitlines()]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], [9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (["--user", "bob@example.com"], [9, 8, 7, 6, 5, 4, 2]),
        (["-u", "1,2", "--actor", "kim"], [4, 3, 2, 1]),
        (["--task", "1"], [9, 5, 3]),
        (["--task", "1,2", "--command", "DELETE"], [9, 8]),
        (["--command", "user", "--since", "yesterday", "--until", "tomorrow"], [9, 2, 1]),
        (["--since", "tomorrow"], []),
        (["--until", "2020-01-01"], []),
        (["--actor", "lee,kim"], []),
    ],
)
def test_filters(told, options, found):
    """Each filter narrows the list, which `history list` prints too."""
    assert ids(told("history", *options)) == found
    assert ids(told("history", "list", *options)) == found
    assert told("history", *options, "--count").out == f"{len(found)}\n"


@pytest.mark.parametrize("actor", ["lee,kim", "lead  singer", "-x", "%"])
def test_an_actor_of_any_name(taskdb, monkeypatch, actor):
    """An actor is found by the name in full, whatever characters it has."""
    for name in ("kim", actor):
        monkeypatch.setenv("TASKDB_ACTOR", name)
        taskdb("user", "create", "--email", f"{name == actor}@example.com", "--name", "N")
    assert ids(taskdb("history", f"--actor={actor}")) == [2]


def test_formats(told):
    """Every format has the operations."""
    records = json.loads(told("history", "-o", "json").out)
    assert {tuple(record) for record in records} == {OPERATION_FIELDS}
    assert records[0] | {"at": None, "program_version": None} == {
        **dict.fromkeys(OPERATION_FIELDS),
        "id": 9,
        "actor": "lee",
        "command": "user delete",
        "rows": 2,
    }
    lines = told("history", "-o", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == records
    rows = [*csv.DictReader(io.StringIO(told("history", "-o", "csv").out))]
    assert [row["command"] for row in rows] == [record["command"] for record in records]
    assert told("history", "-n", "1").out.split("\t")[2:] == ["lee", "user delete", "2", "", "\n"]
    assert told("history", "-n", "1", "--fields", "rows,id").out == "2\t9\n"


def test_pages(told):
    """A cursor leads from page to page, and belongs to its filters."""
    found, options = [], []
    while True:
        page = told("history", "--actor", "lee", "-n", "2", *options)
        found.append(ids(page))
        if "next: " not in page.err:
            break
        options = page.err.splitlines()[-1].removeprefix("next: ").split()
    assert found == [[9, 8], [7, 6], [5]]
    assert ids(told("history", "--page", "3", "-n", "4")) == [1]
    refused = told("history", "--actor", "kim", *options, expect=ExitCode.USAGE)
    assert "cursor" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--user", "carl@example.com"], 3, "user carl@example.com not found (the history begins at 20"),
        (["--user", "7"], 3, "user 7 not found"),
        (["--task", "7"], 3, "task 7 not found"),
        (["--task", "x"], 2, "id of a task"),
        (["--task", "9" * 5000], 3, "not found"),
        (["--since", "blue"], 2, "blue"),
        (["--command", "x" * 201], 2, "201 characters"),
        (["show"], 2, "OPERATION"),
        (["show", "10"], 3, "operation 10 not found ('taskdb history' shows the operations)"),
        (["show", "0"], 3, "operation 0 not found"),
        (["show", "9" * 30], 3, "not found"),
        (["show", "x"], 2, "x"),
        (["--user", "1", "show", "1"], 2, "--user before 'show' would have no effect"),
    ],
)
def test_bad_input(told, words, code, message):
    """What cannot be meant is told in one line, with the exit code of its kind."""
    refused = told("history", *words, expect=code)
    assert message in refused.err
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize("words", [["task", "history", "7"], ["user", "history", "7"]])
def test_unknown_lives(told, words):
    """Nothing is known of a row that never existed."""
    assert "not found (the history begins at 20" in told(*words, expect=ExitCode.NOT_FOUND).err


def test_changes_for_programs(told):
    """JSON is the operation with its changes, NDJSON a row a line, and CSV and TSV a field a line."""
    found = json.loads(told("history", "show", "5", "-o", "json").out)
    assert tuple(found) == (*OPERATION_FIELDS, "changes")
    [change] = found["changes"]
    assert tuple(change) == CHANGE_FIELDS
    assert (change["table"], change["id"], change["action"], change["owner_id"]) == ("task", 1, "updated", 1)
    assert change["fields"].pop("completed_at")["old"] is None
    assert change["fields"] == {
        "user_id": {"old": 1, "new": 2},
        "description": {"old": "two\nlitres", "new": "three\nlitres"},
        "status": {"old": "todo", "new": "done"},
    }
    deleted = told("history", "show", "9", "-o", "ndjson").out.splitlines()
    assert [(each["table"], each["action"]) for each in map(json.loads, deleted)] == [
        ("task", "deleted"),
        ("user", "deleted"),
    ]
    assert json.loads(deleted[0])["fields"]["priority"] == {"old": "medium", "new": None}
    rows = [*csv.DictReader(io.StringIO(told("history", "show", "5", "-o", "csv").out))]
    assert [(row["field"], row["old"], row["new"]) for row in rows][:3] == [
        ("user_id", "1", "2"),
        ("description", "two\nlitres", "three\nlitres"),
        ("status", "todo", "done"),
    ]
    assert told("history", "show", "3").out == "task\t1\tcreated\t\t1\t\t\t\n"


def test_lives_for_programs(told):
    """Each change of a life has its operation, also that of a deleted row."""
    life = json.loads(told("task", "history", "1", "-o", "json").out)
    assert {tuple(each) for each in life} == {LIFE_FIELDS}
    assert [(each["operation"], each["actor"], each["action"]) for each in life] == [
        (3, "kim", "created"),
        (5, "lee", "updated"),
        (9, "lee", "deleted"),
    ]
    lines = told("task", "history", "1", "-o", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == life
    fields = [line.split("\t")[7] for line in told("user", "history", "BOB@example.com").out.splitlines()]
    assert fields == ["", "email", "name", "is_active", "created_at", "updated_at"]


def show(monkeypatch, taskdb, *words, width=80):
    """Return the lines that a terminal shows."""
    with monkeypatch.context() as patch:
        terminal = open_terminal(patch, "stdout", width=width)
        patch.setenv("LINES", "500")
        patch.setenv("TASKDB_PAGER", "cat")
        taskdb(*words)
    assert max(map(len, terminal.lines)) <= width
    return [line.rstrip() for line in terminal.lines]


@SQLITE_ONLY
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal(told, monkeypatch, width):
    """A terminal shows each row, and below it what changed, on lines that fit."""
    look = partial(show, monkeypatch, told, width=width)
    lines = look("history", "show", "5")
    assert "command          task update" in lines
    begin = lines.index("")
    assert lines[begin + 1 : begin + 7] == [
        "~ task 1  Buy [red]milk  version 1 → 2",
        "    user: ann@example.com → bob@example.com",
        "    description:",
        "      - two",
        "      + three",
        "    status: todo → done",
    ]
    lines = look("history", "show", "6")
    title = lines.index("    title:")
    assert lines[title + 1].startswith("      - …")
    assert lines[title + 1].endswith("winter")
    assert lines[title + 2].endswith("summer")
    lines = look("history", "show", "7")
    assert "      + line 0" in lines
    assert lines[-1] == "      + … 31 lines more"
    lines = look("task", "history", "1")
    assert lines[0].startswith("operation 3  20")
    assert lines[0].endswith("  task create, kim")
    assert lines[1:3] == ["+ created, version 1", ""]
    assert "~ updated, version 1 → 2" in lines
    assert "- deleted, version 2" in lines
    assert look("history", "show", "4")[-1].startswith("+ task 2  word word")
    lines = look("history", "--limit", "3")
    assert lines[0] == "all: actor lee"


@SQLITE_ONLY
@pytest.mark.parametrize("width", [50, 60])
def test_a_narrow_terminal(taskdb, monkeypatch, width):
    """A list fits, whatever the names of actors and commands are."""
    for name in ("an actor with a very long name", "another actor with a very long name"):
        monkeypatch.setenv("TASKDB_ACTOR", name)
        taskdb("user", "create", "--email", f"{name[:7].strip()}@example.com".replace(" ", ""), "--name", "N")
    taskdb("task", "create", "T", "-u", "1")
    taskdb("undo", "--yes")
    assert any("undo" in line for line in show(monkeypatch, taskdb, "history", width=width))


@SQLITE_ONLY
def test_what_is_not_there(taskdb, monkeypatch):
    """An empty history, an erasure without rows, and a row that came back are told as what they are."""
    assert "the history is empty" in taskdb("history", "-o", "table").err
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("user", "delete", "1", "--yes")
    taskdb("undo", "--yes")
    assert "+ brought back, version 2" in show(monkeypatch, taskdb, "user", "history", "1")
    taskdb("user", "erase", "1", "--yes")
    assert "erased" in show(monkeypatch, taskdb, "history", "show", "4")[-1]
    assert "nothing matches" in taskdb("history", "--actor", "x", "-o", "table").err


@SQLITE_ONLY
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_diff_of_lines(taskdb, monkeypatch, width):
    """No equal lines are shown as removed and added, and a line that is cut shows the difference."""
    long = "a very long line wo" * 20
    old = ["one", f"two {long}", "three", *[f"l{number}" for number in range(40)]]
    new = ["one", f"two {long}!", "three", *old[3:6], "L3", *old[7:], "the end"]
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("task", "create", "x " * 90, "-u", "1", "--description", "\n".join(old))
    taskdb("task", "update", "1", "--description", "\n".join(new))
    lines = show(monkeypatch, taskdb, "history", "show", "3", width=width)
    [title] = [line for line in lines if line.startswith("~ task 1  x x x")]
    assert title.endswith("version 1 → 2")
    [gone, come] = [line for line in lines if line.endswith(("wo", "wo!"))]
    assert (gone[:9], come[:9]) == ("      - …", "      + …")
    assert come.replace("+", "-") == gone + "!"
    begin = lines.index(come)
    assert lines[begin + 1 :] == [
        "        …",
        "        l2",
        "      - l3",
        "      + L3",
        "        …",
        "        l39",
        "      + the end",
    ]


@SQLITE_ONLY
def test_many_places_of_a_text(taskdb, monkeypatch):
    """A terminal shows twenty lines that differ, and how many places more there are."""
    old = [f"{number}" for number in range(100)]
    new = [f"{line}!" if int(line) % 2 else line for line in old]
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("task", "create", "T", "-u", "1", "--description", "\n".join(old))
    taskdb("task", "update", "1", "--description", "\n".join(new))
    lines = show(monkeypatch, taskdb, "history", "show", "3")
    assert sum(line.startswith("      - ") for line in lines) == 20
    assert lines[-1] == "      … and 30 places more"
    whole = taskdb("history", "show", "3", "-o", "table").out
    assert whole.count("      + ") == 50


@SQLITE_ONLY
def test_colours(told, monkeypatch):
    """What goes is red and what comes is green, unless there are to be no colours."""
    with monkeypatch.context() as patch:
        terminal = open_terminal(patch, "stdout")
        patch.delenv("NO_COLOR")
        patch.setenv("TASKDB_PAGER", "cat")
        told("history", "show", "5")
    shown = terminal.getvalue()
    for part in ("\x1b[31m      - two", "\x1b[32m      + three", "\x1b[31mtodo\x1b[0m → \x1b[32mdone\x1b[0m"):
        assert part in shown


@SQLITE_ONLY
def test_where_the_history_begins(told, url):
    """What a pruned history cannot know is said on stderr."""
    prune(url, 5)
    assert "the history begins at 20" in told("history", "show", "3", expect=ExitCode.NOT_FOUND).err
    begins = told("task", "history", "1").err
    assert "with operation 5; what task 1 was before is not known" in begins
    assert "nothing is recorded of user 1: the history begins at 20" in told("user", "history", "1").err
    assert "the history begins at 20" in told("history", "--since", "2020-01-01").err
    assert told("history", "--since", "tomorrow").err == ""
    prune(url, 10)
    assert "the history is empty" in told("user", "history", "1").err
    assert "the history is empty" in told("history", "show", "9", expect=ExitCode.NOT_FOUND).err
    assert told("history", "-o", "json").out == "[]\n"


@SQLITE_ONLY
def test_operations_are_offered(use, url, database, capfd, monkeypatch):
    """Tab offers ids of operations, newest first, with who did what."""
    use(url)
    add_user(database)
    for _ in range(11):
        add_task(database)
    offer = partial(ask_for_words, capfd, monkeypatch, "fish", "history", "show")
    who = f"library, 1 row, {system_user()}"
    assert offer("1").splitlines() == [f"{id}\t{who}" for id in (12, 11, 10, 1)]
    assert len(offer("").splitlines()) == 12
    assert offer("x") == ""
    assert ask_for_words(capfd, monkeypatch, "fish", "history", "li").startswith("list\t")
    assert ask_for_words(capfd, monkeypatch, "fish", "undo", "12").splitlines() == [f"12\t{who}"]


@SQLITE_ONLY
def test_the_list_has_a_name(taskdb):
    """The help knows `history list`, as it knows what the other groups do."""
    assert "\n  list   List the operations" in taskdb("history", "--help").out
    assert taskdb("history", "list", "--help").out.splitlines()[2] == (
        "  List the operations that changed rows, newest first."
    )
