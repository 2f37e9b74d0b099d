"""Tasks that are changed by lists and ranges of ids and by filters, and the line that a person gets."""

import io
import json
import sys

import pytest
from rich.cells import cell_len

from taskdb_cli.cli.run import run
from tests.conftest import open_database
from tests.samples import add_task, add_user, emails, task_records

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
CHANGES = ("start", "done", "reopen", "cancel", "delete")


@pytest.fixture
def database(url):
    """A database with nine tasks of two users; the third is missing."""
    opened = open_database(url)
    for owner in ("ann@example.com", "bob@example.com"):
        add_user(opened, owner)
    for number in range(1, 11):
        add_task(opened, "ann@example.com" if number < 6 else "bob@example.com", f"Task {number}")
    opened.write(lambda session: session.connection().exec_driver_sql("DELETE FROM tasks WHERE id = 3"))
    return opened


def ids(result):
    return [task["id"] for task in json.loads(result.out)]


def with_status(database, status):
    return [record["id"] for record in task_records(database) if record["status"] == status]


class Screen(io.StringIO):
    """What a terminal shows, or what is typed there."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(database, use, url, monkeypatch):
    """Runs a command line on a terminal, and returns what it shows."""
    use(url)
    monkeypatch.setenv("TERM", "dumb")

    def shown(*words, answer="", columns=80, expect=0):
        with monkeypatch.context() as patch:
            screen = Screen()
            for name, stream in (("stdin", Screen(answer)), ("stdout", screen), ("stderr", screen)):
                patch.setattr(sys, name, stream)
            patch.setenv("COLUMNS", str(columns))
            code = run([str(word) for word in words])
        assert code == expect, screen.getvalue()
        return screen.getvalue()

    return shown


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["1,2,7"], [1, 2, 7]),
        (["7,1", "2"], [7, 1, 2]),
        (["1,", "2"], [1, 2]),
        (["1-5"], [1, 2, 4, 5]),
        (["1,3-5", "9"], [1, 4, 5, 9]),
        (["5-9,8-12", "8", "8"], [5, 6, 7, 8, 9, 10]),
        (["4-4", "9-10000"], [4, 9, 10]),
        (["3-4"], [4]),
        (["10-10009"], [10]),
        (["9-9999999999999999999"], None),
        (["9223372036854775800-9223372036854775900"], 3),
        (["3-3"], 3),
        (["1", "11-20"], 3),
        (["1-5", "3"], 3),
        (["1-10001"], None),
        (["5-1"], None),
        (["1-"], None),
        (["1-2-3"], None),
        (["1,,2"], None),
        ([","], None),
        ([""], None),
        (["1;2"], None),
        (["\u0661-\u0663"], None),
    ],
)
def test_ids(taskdb, database, words, taken):
    """Lists and ranges of ids mean each task once; what is single must exist, and of a range one."""
    expect = 0 if isinstance(taken, list) else taken or 2
    for command in (["show"], ["done"], ["update", "--title", "New"], ["delete", "--dry-run"]):
        done = taskdb("task", *command, *words, "-o", "json", expect=expect)
        if expect:
            assert done.out == ""
        elif command[0] == "delete":
            assert json.loads(done.out)["tasks_deleted"] == taken
        else:
            assert ids(done) == taken
    if expect:
        assert with_status(database, "done") == []


@SQLITE_ONLY
def test_the_missing_ids_are_named(taskdb, database):
    """Every id and range that there is nothing of is named."""
    assert "tasks 3, 20-29, 12 not found" in taskdb("task", "done", "1,3", "4-8,20-29", "12", expect=3).err


@SQLITE_ONLY
def test_users_by_lists_of_ids(taskdb, database):
    """Users are deleted by lists and ranges too; an address is never taken for one."""
    add_user(database, "3-4@example.com")
    taskdb("user", "delete", "9-12", "--yes", expect=3)
    taskdb("user", "delete", "1,9", "--yes", expect=3)
    gone = taskdb("user", "delete", "1,2-2", "--yes", "-o", "json")
    assert json.loads(gone.out)["users"] == [1, 2]
    taskdb("user", "delete", "3-4@example.com", "--yes")
    assert emails(database) == []


def test_change_by_filter(taskdb, database):
    """The filters of a list say which tasks are changed, however many; those that are so already are left."""
    for number in range(60):
        add_task(database, title=f"More {number}")
    assert len(taskdb("task", "start", "--search", "more", "--yes").out.splitlines()) == 60
    assert ids(taskdb("task", "done", "--user", "bob@example.com", "--yes", "-o", "json")) == [6, 7, 8, 9, 10]
    assert ids(
        taskdb("task", "done", "--user", "2", "--user", "1", "--search", "Task", "-y", "-o", "json")
    ) == [*(1, 2, 4, 5)]
    assert (
        taskdb("task", "cancel", "--status", "todo", "--status", "done", "--search", "9", "-y").out.count(
            "\n"
        )
        == 1
    )
    assert with_status(database, "cancelled") == [9]
    changed = taskdb(
        "task", "update", "--where-status", "cancelled", "--where-user", "2", "--status", "todo", "-y"
    )
    assert changed.out == "9\ttodo\tmedium\t\tbob@example.com\tTask 9\n"
    assert changed.err == ""
    gone = taskdb("task", "delete", "--status", "in_progress", "--yes", "-o", "json")
    assert len(json.loads(gone.out)["tasks_deleted"]) == 60
    assert taskdb("task", "reopen", "--overdue", "--yes", "-o", "json").out == "[]\n"


def test_a_change_by_filter_needs_a_yes(taskdb, database):
    """Without a terminal and --yes a change by filter is refused, and --dry-run changes nothing."""
    before = task_records(database)
    for verb in CHANGES:
        taskdb(
            "task",
            verb,
            "--user",
            "bob@example.com",
            *(["--status", "todo"] if verb != "reopen" else []),
            "--dry-run",
        )
        assert taskdb("task", verb, "--priority", "high").out == ""
    for verb in ("start", "done", "cancel", "delete"):
        assert "5 tasks" in taskdb("task", verb, "--user", "bob@example.com", expect=9).err
        assert "task" in taskdb("task", verb, "1", "2", "--dry-run").err
    taskdb("task", "update", "--where-user", "1", "--title", "New", expect=9)
    assert (
        "would update 4 tasks"
        in taskdb("task", "update", "--where-user", "1", "--title", "New", "--dry-run").err
    )
    assert task_records(database) == before


@SQLITE_ONLY
def test_no_room_for_a_temporary_file(taskdb, database, monkeypatch):
    """A change by filter whose records find no room on the way says where, and is rolled back."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
    assert "TMPDIR" in taskdb("task", "done", "--user", "1", "--yes", expect=1).err
    assert with_status(database, "done") == []


@SQLITE_ONLY
def test_no_default_user_applies(taskdb, database, monkeypatch):
    """A change by filter is about everybody's tasks, whoever the default user is."""
    monkeypatch.setenv("TASKDB_USER", "1")
    assert len(ids(taskdb("task", "done", "--status", "todo", "--yes", "-o", "json"))) == 9


@SQLITE_ONLY
def test_ids_or_filters(taskdb, database):
    """Neither ids nor filters, or both, are a usage error, as are filters that say nothing."""
    for verb in CHANGES:
        for words in ([], ["1", "--status", "todo"], ["--search", ""], ["--yes"]):
            assert "ids" in taskdb("task", verb, *words, expect=2).err
        for option in ("--limit", "--sort", "--after"):
            taskdb("task", verb, "--status", "todo", option, "1", expect=2)
    taskdb("task", "update", "--title", "New", expect=2)
    taskdb("task", "update", "1", "--where-overdue", "--title", "New", expect=2)
    taskdb("task", "update", "--where-status", "todo", "--yes", expect=2)
    taskdb(
        "task", "update", "--where-status", "todo", "--title", "New", "--if-version", "1", "--yes", expect=2
    )
    taskdb("task", "done", "--status", "late", "--yes", expect=2)
    taskdb("task", "done", "--user", "nobody@example.com", "--yes", expect=3)
    assert {record["version"] for record in task_records(database)} == {1}


@SQLITE_ONLY
def test_a_person_is_asked(terminal, database):
    """A terminal shows how many tasks are meant and the first of them, and takes no for an answer."""
    asked = terminal("task", "done", "--user", "2", answer="n\n", expect=9)
    assert "Task 6" in asked
    assert "5 tasks" in asked
    assert with_status(database, "done") == []
    assert terminal("task", "done", "--user", "2", answer="y\n").endswith("done 5 tasks (6, 7, 8, 9, 10)\n")
    assert terminal("task", "done", "--user", "2") == "5 tasks were done already\n"
    assert terminal("task", "done", "--overdue") == "no task matches\n"
    for number in range(20):
        add_task(database, title=f"More {number}")
    asked = terminal("task", "delete", "--search", "more", answer="y\n")
    assert "and 10 more\n" in asked
    assert asked.endswith("deleted 20 tasks (11, 12, 13, 14, 15, 16, 17, 18 and 12 more)\n")
    assert "9 tasks (1, 2, 4, 5, 6, 7, 8, 9 and 1 more) in " in terminal(
        "task", "delete", "1-20", answer="y\n"
    )
    assert task_records(database) == []


@SQLITE_ONLY
def test_one_line(terminal, database):
    """A change is answered with one line on a terminal; the record comes with -o and -v."""
    assert terminal("task", "create", "--user", "1", "Water") == 'created task 11 "Water"\n'
    due = terminal("task", "create", "--user", "1", "Water", "--due", "2001-01-02 12:00")
    assert due.startswith('created task 12 "Water", due Tue 2 Jan 2001 12:00 (')
    assert due.count("\n") == 1
    assert terminal("task", "done", "4") == 'done task 4 "Task 4"\n'
    assert terminal("task", "done", "4") == "task 4 was done already\n"
    assert terminal("task", "done", "4,5", "1") == "done 2 tasks (5, 1); task 4 was done already\n"
    assert terminal("task", "reopen", "4", "5", "2") == "reopened 2 tasks (4, 5); task 2 was open already\n"
    assert terminal("task", "update", "1", "--title", "One") == 'updated task 1 "One"\n'
    assert terminal("task", "cancel", "2", "--dry-run") == 'would cancel task 2 "Task 2"\n'
    assert terminal("task", "delete", "2", answer="y\n").endswith('deleted task 2 "Task 2"\n')
    assert json.loads(terminal("task", "start", "4", "-o", "json"))["status"] == "in_progress"
    assert "version" in terminal("-v", "task", "done", "4")
    assert terminal("-q", "task", "start", "4") == ""
    assert terminal("user", "create", "--email", "cid@example.com", "--name", "C") == (
        "created user 3 cid@example.com\n"
    )
    assert terminal("user", "update", "3", "--name", "Cid") == "updated user 3 cid@example.com\n"
    assert "already" in terminal("user", "update", "3", "--name", "Cid")
    for words, told in (
        (("deactivate", "3"), "deactivated user 3 cid@example.com\n"),
        (("deactivate", "3"), "user 3 cid@example.com was inactive already\n"),
        (("update", "3", "--active", "--name", "C"), "updated user 3 cid@example.com\n"),
        (("update", "3", "--inactive"), "deactivated user 3 cid@example.com\n"),
        (("activate", "3"), "activated user 3 cid@example.com\n"),
    ):
        assert terminal("user", *words) == told
    assert "already" in terminal(
        *("user", "create", "--email", "cid@example.com", "--name", "C", "--if-not-exists")
    )
    assert "token create" in terminal("token", "list")
    secret, said = terminal("token", "create", "--name", "dash").splitlines()
    assert secret.startswith("taskdb_")
    assert said.startswith('created token 1 "dash"')
    assert terminal("token", "revoke", "dash") == 'revoked token 1 "dash"\n'


@SQLITE_ONLY
@pytest.mark.parametrize("columns", [30, 60, 80, 200])
@pytest.mark.parametrize("title", ["x" * 500, "\u6f22" * 100, "a\u0301" * 100, "x" + "\u202e" * 60])
def test_a_title_fits(terminal, database, columns, title):
    """However wide the letters of a title are, the line fits, and shows no control character."""
    line = terminal("task", "update", "1", "--title", title, columns=columns)
    assert cell_len(line.rstrip("\n")) <= columns
    assert "\u202e" not in line
    assert ("\u2026" in line) == (columns < 200 or title[0] in "x\u6f22")
