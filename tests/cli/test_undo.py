"""taskdb undo, from the outside."""

import json
import re

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.conftest import SERVERS
from tests.schemas import execute
from tests.terminals import open_terminal

ANN, BOB = "ann@example.com", "bob@example.com"

ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def records(taskdb, noun):
    return json.loads(taskdb(noun, "list", "--limit", "0", "--sort", "id", "-o", "json").out)


def contents(taskdb):
    """Return everything that a person wrote."""
    left_out = ("version", "updated_at")
    every = [*records(taskdb, "user"), *records(taskdb, "task")]
    return [{name: record[name] for name in record if name not in left_out} for record in every]


def last(taskdb):
    """Return the number of the newest operation."""
    found = json.loads(taskdb("undo", "--yes", "-o", "json").out)
    taskdb("undo", found["operation"], "--yes")
    return found["undoes"]


def refused(taskdb, *words):
    """Return the error of an undo that changes nothing, with its details."""
    before = contents(taskdb)
    result = taskdb("undo", *words, "--yes", "-o", "json", expect=ExitCode.CONFLICT)
    assert contents(taskdb) == before
    return json.loads(result.err)["error"]


def rows(left):
    return [f"{row['kind']} {row['id']}" for row in left]


@pytest.fixture
def people(taskdb):
    """Two users; the first one has two tasks."""
    for address in (ANN, BOB):
        taskdb("user", "create", "--email", address, "--name", address[:3].title())
    taskdb("task", "create", "--user", ANN, "One", "--external-id", "x", "--due", "2026-12-01")
    taskdb("task", "create", "--user", ANN, "Two", "--status", "done")
    return contents(taskdb)


LINES = [
    ("user", "create", "--email", "carl@example.com", "--name", "Carl"),
    ("user", "update", ANN, "--name", "New", "--inactive"),
    ("user", "delete", ANN, "--yes"),
    ("user", "delete", ANN, BOB, "--yes"),
    ("user", "delete", ANN, "--reassign-to", BOB, "--yes"),
    ("task", "create", "--user", BOB, "Three"),
    ("task", "update", 1, 2, "--title", "New", "--due", "none", "--priority", "high"),
    ("task", "update", "--where-user", ANN, "--user", BOB, "--yes"),
    ("task", "done", "--user", ANN, "--yes"),
    ("task", "delete", 1),
    ("task", "delete", "--user", ANN, "--yes"),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(map(str, line)))
def test_what_a_command_did(taskdb, people, line):
    """The last command of this user is undone as a whole, redone and undone again."""
    taskdb(*line, *(["--yes"] if line[:2] == ("task", "delete") else []))
    after = contents(taskdb)
    assert after != people
    for state in (people, after, people):
        taskdb("undo", "--yes")
        assert contents(taskdb) == state


def test_an_import(taskdb, people, tmp_path):
    """Of an import the new tasks go, and the changed ones are as before."""
    file = tmp_path / "tasks.ndjson"
    tasks = [{"title": "Changed", "external_id": "x", "user": ANN}, {"title": "New", "user": BOB}]
    file.write_text("\n".join(map(json.dumps, tasks)))
    taskdb("task", "import", file)
    assert len(contents(taskdb)) == 5
    done = json.loads(taskdb("undo", "--yes", "-o", "json").out)
    assert done["tasks"] == {"deleted": 1, "restored": 0, "changed": 1}
    assert contents(taskdb) == people


def test_a_partial_restore(taskdb, people, shelf):
    """What --only-user brought back and replaced is undone like any other change."""
    taskdb("backup")
    taskdb("task", "update", 1, "--title", "New")
    taskdb("task", "delete", 2, "--yes")
    before = contents(taskdb)
    taskdb("restore", "latest", "--only-user", ANN, "--replace", "--yes", "--no-safety-backup")
    assert contents(taskdb) == people
    taskdb("undo", "--yes")
    assert contents(taskdb) == before


def test_a_partial_restore_again(taskdb, people, shelf):
    """A partial restore that was undone is redone, and what was deleted before it stays as it came back."""
    taskdb("backup")
    taskdb("task", "update", 1, "--title", "New", "--user", BOB)
    older = last(taskdb)
    taskdb("task", "delete", 1, "--yes")
    for _ in range(2):
        taskdb("restore", "latest", "--only-task", 1)
        taskdb("undo", "--yes")
        taskdb("undo", "--yes")
        assert contents(taskdb) == people
        # Now it has the number of a version that the history knows with other values, if any is given twice.
        taskdb("task", "update", 1, "--title", "New", "--user", BOB)
        [row] = refused(taskdb, older)["details"]
        assert (row["kind"], row["id"]) == ("task", 1)
        taskdb("task", "delete", 1, "--yes")
    changes = json.loads(taskdb("task", "history", 1, "-o", "json").out)
    given = [change["version_after"] for change in changes if change["version_after"]]
    assert given == sorted(set(given))


def test_an_erasure(taskdb, people, shelf):
    """An erasure is not undone, and the error says so and where the other operations are."""
    shelf.mkdir()
    taskdb("user", "erase", ANN, "--yes")
    error = refused(taskdb)
    assert "erased" in error["message"]
    assert "taskdb history" in error["hint"]


def test_the_one_before(taskdb, people, shelf, monkeypatch):
    """After operations that cannot be undone the hint names the newest one of the actor that can."""
    shelf.mkdir()
    taskdb("user", "update", BOB, "--name", "New")
    with monkeypatch.context() as patch:
        patch.setenv("TASKDB_ACTOR", "lee")
        taskdb("task", "update", 1, "--title", "New")
    taskdb("token", "create", "--name", "robot", "--user", BOB)
    assert "'taskdb undo 5'" in refused(taskdb)["hint"]
    taskdb("user", "erase", ANN, "--yes")
    assert "'taskdb undo 5'" in refused(taskdb)["hint"]
    taskdb("undo", 5, "--yes")
    assert records(taskdb, "user")[0]["name"] == "Bob"


def test_a_deleted_user_whose_address_is_taken(taskdb, people):
    """Exit 4 names the user, the address and who has it now; nothing of the operation is undone."""
    taskdb("user", "delete", ANN, "--yes")
    id = last(taskdb)
    taskdb("user", "create", "--email", ANN, "--name", "Other")
    error = refused(taskdb, id)
    assert error["code"] == "conflict"
    reason = f"had the address {ANN}, which user 3 has now"
    assert error["details"][0] == {"kind": "user", "id": 1, "reason": reason}
    assert rows(error["details"]) == ["user 1", "task 1", "task 2"]
    for named in (ANN, "user 1", "user 3", "task 1", "task 2"):
        assert named in error["message"]


def test_changed_since(taskdb, people):
    """A row that has changed since is named; --skip-changed undoes the others and says which were left."""
    taskdb("task", "update", 1, 2, "--title", "New")
    id = last(taskdb)
    taskdb("task", "update", 2, "--title", "Newer")
    details = refused(taskdb, id)["details"]
    assert rows(details) == ["task 2"]
    assert "would not be undone" in taskdb("undo", id, "--dry-run", expect=ExitCode.CONFLICT).err
    result = taskdb("undo", id, "--yes", "--skip-changed", "-o", "json")
    assert json.loads(result.out)["left"] == details
    assert f"1 row left unchanged: task 2 {details[0]['reason']}" in result.err
    assert [task["title"] for task in records(taskdb, "task")] == ["One", "Newer"]


def test_plain_sql(taskdb, people, url):
    """A value that was written past taskdb is not lost."""
    taskdb("user", "update", ANN, "--name", "New")
    id = last(taskdb)
    execute(url, "UPDATE users SET name = 'Plain' WHERE id = 1")
    assert rows(refused(taskdb, id)["details"]) == ["user 1"]


def test_dry_run(taskdb, people):
    """A dry run says what would be done, and changes nothing."""
    taskdb("user", "delete", ANN, "--yes")
    before = contents(taskdb)
    result = taskdb("undo", "--dry-run", "-o", "json")
    done = json.loads(result.out)
    assert (done["operation"], done["dry_run"], done["tasks"]["restored"]) == (None, True, 2)
    assert "1 user and 2 tasks would be brought back" in result.err
    assert re.search(r"T\d\d:\d\d:\d\dZ, 3 rows$", result.err, re.MULTILINE)
    assert contents(taskdb) == before
    assert "(user delete): 1 user and 2 tasks brought back" in taskdb("undo", "--yes").err
    told = taskdb("undo", "--dry-run").err
    assert re.search("^operation 6: undo of operation 5 \\(user delete\\) by ", told, re.MULTILINE)
    told = taskdb("undo", "--yes").err
    assert (
        "operation 6, the undo of operation 5 (user delete), which redoes it: 1 user and 2 tasks deleted"
        in told
    )


@ON_SQLITE
def test_nobody_to_ask(taskdb, people):
    """Without --yes nothing is undone where nobody can be asked, with or without a number."""
    for words in ([], [4]):
        assert "--yes" in taskdb("undo", *words, expect=ExitCode.REFUSED).err
    assert contents(taskdb) == people


def type_in(monkeypatch, typed, *words):
    """Run a command whose question is answered on a terminal; return the exit code and what was shown."""
    from taskdb_cli.cli.run import run
    from tests.cli.test_protected import Typed

    with monkeypatch.context() as patch:
        stderr = open_terminal(patch, "stderr")
        patch.setattr("sys.stdin", Typed(typed))
        code = run([*words])
    return code, "\n".join(stderr.lines)


def test_asked_about_an_undo(taskdb, people, monkeypatch):
    """The preview and the question of the undo of an undo say which operation it redoes."""
    taskdb("task", "update", 1, "--title", "New")
    after = contents(taskdb)
    taskdb("undo", "--yes")
    code, text = type_in(monkeypatch, "y\n", "undo")
    assert code == ExitCode.OK
    assert "operation 6: undo of operation 5 (task update) by " in text
    assert "operation 6, the undo of operation 5 (task update), which redoes it (1 task would be" in text
    assert re.search("^task +1 +gets old values +One *$", text, re.MULTILINE)
    assert contents(taskdb) == after


def test_asked_about_what_is_left(taskdb, people, monkeypatch):
    """Before it asks, a terminal names the rows that are left, with the reason of each, ten at most."""
    for number in range(12):
        taskdb("task", "create", "--user", BOB, number)
    everything = ["task", "update", "--where-status", "todo", "--title", "New", "--yes"]
    taskdb(*everything)
    id = last(taskdb)
    taskdb("task", "update", *range(3, 15), "--title", "Newer", "--yes")
    before = contents(taskdb)
    code, text = type_in(monkeypatch, "n\n", "undo", str(id), "--skip-changed")
    assert code == ExitCode.REFUSED
    told, question = text.split("12 rows left unchanged: ")[1].split("Undo operation")
    assert told.count("task ") == 10
    assert "2 more" in told
    assert "12 rows left" in question
    assert contents(taskdb) == before


@ON_SQLITE
def test_asked(taskdb, people, monkeypatch):
    """A terminal shows the operation and its first rows before it asks."""
    taskdb("user", "delete", ANN, "--yes")
    before = contents(taskdb)
    for typed, code in (("n\n", ExitCode.REFUSED), ("y\n", ExitCode.OK)):
        shown, text = type_in(monkeypatch, typed, "undo")
        assert shown == code
        assert re.search(f"^user +1 +comes back +{ANN} *$", text, re.MULTILINE)
        for word in (ANN, "user delete: 1 user and 2 tasks would be brought back"):
            assert word in text
        assert contents(taskdb) == (before if code else people)


@ON_SQLITE
def test_what_is_not_there(taskdb):
    """Without an operation there is nothing to undo, and a number that is none is a bad argument."""
    assert "is empty" in taskdb("undo", "--yes", expect=ExitCode.NOT_FOUND).err
    for number in (1, 0, 2**63, 10**30):
        taskdb("undo", number, "--yes", expect=ExitCode.NOT_FOUND)
    taskdb("undo", "x", expect=ExitCode.USAGE)


def test_tokens(taskdb, people):
    """Access tokens do not come back: alone they are refused, and beside a user they are counted."""
    taskdb("token", "create", "--name", "robot", "--user", ANN)
    result = taskdb("undo", "--yes", expect=ExitCode.CONFLICT)
    assert "taskdb token" in result.err
    taskdb("user", "delete", ANN, "--yes")
    assert json.loads(taskdb("undo", "--yes", "-o", "json").out)["tokens_left"] == 1
    assert contents(taskdb) == people
    assert json.loads(taskdb("token", "list", "-o", "json").out) == []


@pytest.mark.parametrize("engine", ["pgbouncer"], indirect=True)
def test_through_a_pooler(taskdb, people):
    """Undo needs nothing of a session that a pooler does not give."""
    taskdb("user", "delete", ANN, "--yes")
    taskdb("undo", "--yes")
    assert contents(taskdb) == people


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_a_row_that_is_held(taskdb, people, url):
    """An undo that waits for a row longer than it may ends as unavailable, and undoes nothing."""
    from tests.conftest import connect

    taskdb("task", "update", 1, 2, "--title", "New")
    before = contents(taskdb)
    with connect(url) as other:
        other.execute("BEGIN")
        other.execute("UPDATE tasks SET title = 'Held' WHERE id = 2")
        taskdb("undo", "--yes", expect=ExitCode.UNAVAILABLE)
        other.execute("ROLLBACK")
    assert contents(taskdb) == before
