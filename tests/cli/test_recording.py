"""What commands leave in the history, from the outside."""

import json

import pytest

from taskdb_cli.cli.context import Invocation
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.system.account import system_user
from tests.conftest import ENGINES, POOLERS
from tests.operations import assert_explained, changes, operations

EVERYWHERE = pytest.mark.parametrize("engine", [*ENGINES, *POOLERS], indirect=True)
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def ann(taskdb):
    """A user with two tasks."""
    taskdb("user", "create", "--email", ANN, "--name", "Ann")
    taskdb("task", "create", "Write", "--user", "1", "--external-id", "a")
    taskdb("task", "create", "Read", "--user", "1")


def last(database):
    """Who wrote the newest operation, and by what."""
    newest = operations(database)[-1]
    return newest.actor, newest.command


@pytest.mark.usefixtures("ann")
def test_who_did_it(taskdb, database, monkeypatch):
    """The history has TASKDB_ACTOR, and else the user of the system; a bad name stops the command."""
    assert last(database) == (system_user(), "task create")
    monkeypatch.setenv("TASKDB_ACTOR", "Ann Lee")
    taskdb("task", "done", "1")
    assert last(database) == ("Ann Lee", "task done")
    monkeypatch.setenv("TASKDB_ACTOR", "a\nb")
    failed = taskdb("task", "reopen", "1", expect=ExitCode.USAGE)
    assert "TASKDB_ACTOR" in failed.err
    assert len(operations(database)) == 4


USERS = [{"email": ANN, "name": "Ann Lee"}, {"email": "carol@example.com", "name": "Carol"}]
TASKS = [
    {"external_id": "a", "title": "Write more"},
    {"external_id": "n", "title": "New"},
    {"title": "Newer"},
]

STEPS = [
    ("user create", ["--email", ANN, "--name", "Ann"], 1),
    ("user create", ["--email", BOB, "--name", "Bob", "--inactive"], 1),
    ("user update", [BOB, "--active"], 1),
    ("user update", [ANN, "--name", "Ann L", "--email", "ann.l@example.com"], 1),
    ("user update", ["1", "--email", ANN], 1),
    ("task create", ["Write", "--user", ANN, "--external-id", "a"], 1),
    ("task create", ["Read", "--user", ANN, "--due", "2026-12-01"], 1),
    ("task create", ["Sing", "--user", BOB], 1),
    ("task update", ["1", "--title", "Write it", "--priority", "high"], 1),
    ("task edit", ["1"], 1),
    ("task start", ["1,2"], 2),
    ("task done", ["1-3"], 3),
    ("task reopen", ["--status", "done", "--yes"], 3),
    ("task cancel", ["1"], 1),
    ("task update", ["--where-user", ANN, "--user", BOB, "--yes"], 2),
    ("task update", ["1,2", "--user", ANN], 2),
    ("user import", ["-", "--from", "json"], 2),
    ("task import", ["-", "--from", "json", "--user", ANN], 3),
    ("token create", ["--name", "cron"], 1),
    ("token create", ["--name", "ann", "--user", ANN], 1),
    ("token revoke", ["cron"], 1),
    ("backup create", [], 0),
    ("task delete", ["2", "--yes"], 1),
    ("task delete", ["--search", "New", "--yes"], 2),
    ("restore", ["latest", "--only-task", "2"], 1),
    ("user delete", ["carol@example.com", "--yes"], 1),
    ("user delete", [ANN, "--reassign-to", BOB, "--yes"], 4),
    ("restore", ["latest", "--only-user", ANN, "--replace", "--yes"], 5),
    ("user delete", ["1,2", "--yes"], 7),
]


@EVERYWHERE
@pytest.mark.usefixtures("shelf")
def test_every_command(taskdb, database, monkeypatch, tmp_path):
    """Each command that changes rows is one operation, which has the number of them."""
    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\nsed -i 's/^title: .*/title: Edited/' \"$1\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    told = {"user import": json.dumps(USERS), "task import": json.dumps(TASKS)}
    expected = []
    for command, options, rows in STEPS:
        with monkeypatch.context() as patch:
            if command == "task edit":
                patch.setattr(Invocation, "on_terminal", True)
            taskdb(*command.split(), *options, stdin=told.get(command, ""))
        expected += [(command, rows)] * (rows > 0)
        written = [(each.command, each.rows_changed) for each in operations(database)]
        assert written == expected
        assert_explained(database)
    assert len({(each.actor, each.program_version) for each in operations(database)}) == 1


TRIED = [
    ["user", "update", "1", "--name", "Ann"],
    ["user", "delete", "1", "--dry-run"],
    ["task", "reopen", "1,2"],
    ["task", "done", "1,2", "--dry-run"],
    ["task", "done", "--status", "todo", "--dry-run"],
    ["task", "done", "--status", "done", "--yes"],
    ["task", "delete", "1", "--dry-run"],
    ["task", "delete", "--status", "done", "--yes"],
    ["task", "import", "-", "--from", "json", "--user", "1", "--dry-run"],
    ["backup"],
    ["restore", "latest", "--only-user", "1"],
    ["restore", "latest", "--only-user", "1", "--replace", "--dry-run"],
    ["migrate", "check"],
]
REFUSED = [
    (["user", "update", "9", "--name", "Ann"], ExitCode.NOT_FOUND),
    (["user", "update", "1", "--name", "Bob", "--if-version", "9"], ExitCode.CONFLICT),
    (["user", "create", "--email", ANN, "--name", "Ann"], ExitCode.CONFLICT),
    (["user", "delete", "1"], ExitCode.REFUSED),
    (["task", "done", "1,2,9"], ExitCode.NOT_FOUND),
    (["task", "create", "Read", "--user", "1", "--external-id", "a"], ExitCode.CONFLICT),
    (["user", "import", "-", "--from", "json"], ExitCode.USAGE),
    (["token", "revoke", "cron"], ExitCode.NOT_FOUND),
    (["token", "create", "--name", "7"], ExitCode.USAGE),
]


@EVERYWHERE
@pytest.mark.usefixtures("shelf", "ann")
def test_what_changes_nothing(taskdb, database):
    """What changes no row, or is only tried, leaves nothing and takes no number. A refusal leaves nothing."""
    before = operations(database)
    for words in TRIED:
        taskdb(*words, stdin=json.dumps(TASKS))
        assert operations(database) == before, words
    taskdb("task", "done", "1")
    *rest, done = operations(database)
    assert (rest, done.id) == (before, before[-1].id + 1)
    for words, code in REFUSED:
        taskdb(*words, stdin=json.dumps(TASKS), expect=code)
        assert operations(database) == [*rest, done], words
    assert_explained(database)


@pytest.mark.usefixtures("ann")
def test_values_of_a_change(taskdb, database):
    """A change has the old and the new value of each field that changed, and of no other."""
    taskdb("task", "update", "1", "--title", "Sing", "--status", "done", "--priority", "high")
    taskdb("task", "update", "1", "--description", "Loud", "--due", "2026-12-01T10:00Z", "--title", "Sing")
    taskdb("task", "update", "1", "--due", "none", "--description", "")
    taskdb("user", "update", "1", "--inactive")
    *_, first, second, third, fourth = operations(database)
    [change] = changes(database, first.id)
    done_at = change.pop("new_completed_at")
    about = {"table_name": "tasks", "row_id": 1, "owner_id": 1}
    assert done_at.tzinfo is not None
    assert change == {
        **about,
        "version_before": 1,
        "version_after": 2,
        "old_title": "Write",
        "new_title": "Sing",
        "old_status": TaskStatus.TODO,
        "new_status": TaskStatus.DONE,
        "old_priority": TaskPriority.MEDIUM,
        "new_priority": TaskPriority.HIGH,
    }
    [change] = changes(database, second.id)
    due_at = change.pop("new_due_at")
    assert change == {**about, "version_before": 2, "version_after": 3, "new_description": "Loud"}
    [change] = changes(database, third.id)
    assert change == {
        **about,
        "version_before": 3,
        "version_after": 4,
        "old_due_at": due_at,
        "old_description": "Loud",
    }
    [change] = changes(database, fourth.id)
    about |= {"table_name": "users", "version_before": 1, "version_after": 2}
    assert change == {**about, "old_is_active": True, "new_is_active": False}


@pytest.mark.usefixtures("ann")
def test_a_user_goes_with_everything(taskdb, database):
    """The tasks and tokens of a deleted user are recorded row by row, whole, but no secret of a token."""
    secret = taskdb("token", "create", "--name", "ann", "--user", ANN).out.strip()
    taskdb("user", "delete", ANN, "--yes")
    deleted = changes(database, operations(database)[-1].id)
    rows = [(each["table_name"], each["row_id"], each["owner_id"]) for each in deleted]
    assert rows == [("tasks", 1, 1), ("tasks", 2, 1), ("access_tokens", 1, 1), ("users", 1, 1)]
    assert not any("version_after" in each for each in deleted)
    task, _, token, user = deleted
    assert (task["old_title"], task["old_external_id"], task["old_user_id"]) == ("Write", "a", 1)
    assert {"old_created_at", "old_updated_at", "old_status", "old_priority"} < {*task}
    assert token == {
        "table_name": "access_tokens",
        "row_id": 1,
        "owner_id": 1,
        "version_before": 1,
        "old_name": "ann",
    }
    assert (user["old_email"], user["old_name"], user["old_is_active"]) == (ANN, "Ann", True)
    assert {"old_created_at", "old_updated_at"} < {*user}
    assert secret not in str(deleted)
