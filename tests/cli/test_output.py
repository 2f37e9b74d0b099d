"""What stands on stdout, format by format, and on the streams of a real process."""

import csv
import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest

from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS
from taskdb_cli.output.formats import write_error
from taskdb_cli.text.escaping import escape_json
from tests.conftest import open_database
from tests.forked import run_forked, start_on_terminal
from tests.processes import command
from tests.samples import add_task, add_user, emails

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
AWKWARD = 'tab\there\nline\r\nquote " comma, backslash \\n'


@pytest.fixture
def database(url):
    """A database with a user, and a task that has every field and one that has few."""
    opened = open_database(url)
    add_user(opened, created_at="2026-01-01T00:00:00Z", updated_at="2026-01-02T00:00:00.5Z")
    add_task(
        opened,
        title='Say "hi", \\o/',
        description=AWKWARD,
        external_id="x-1",
        priority="urgent",
        due_at="2026-12-01T17:00:00+01:00",
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-02T00:00:00.5Z",
    )
    add_task(
        opened,
        title="\u00e9t\u00e9",
        status="done",
        completed_at="2026-01-03T00:00:00Z",
        created_at="2026-01-02T00:00:00Z",
        updated_at="2026-01-02T00:00:00Z",
    )
    return opened


FIRST = dict.fromkeys(TASK_FIELDS) | {
    "id": 1,
    "user_id": 1,
    "user": "ann@example.com",
    "external_id": "x-1",
    "title": 'Say "hi", \\o/',
    "description": AWKWARD,
    "status": "todo",
    "priority": "urgent",
    "due_at": "2026-12-01T16:00:00Z",
    "completed_at": None,
    "version": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-02T00:00:00.500000Z",
}
SECOND = dict.fromkeys(TASK_FIELDS) | {
    "id": 2,
    "user_id": 1,
    "user": "ann@example.com",
    "external_id": None,
    "title": "\u00e9t\u00e9",
    "description": None,
    "status": "done",
    "priority": "medium",
    "due_at": None,
    "completed_at": "2026-01-03T00:00:00Z",
    "version": 1,
    "created_at": "2026-01-02T00:00:00Z",
    "updated_at": "2026-01-02T00:00:00Z",
}
USER = dict.fromkeys(USER_FIELDS) | {
    "id": 1,
    "email": "ann@example.com",
    "name": "Ann",
    "is_active": True,
    "version": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-02T00:00:00.500000Z",
}


def test_json(taskdb, database):
    """JSON is one object for one record and an array for many, with every field in one order."""
    shown = json.loads(taskdb("task", "show", "1", "-o", "json").out)
    assert (shown, list(shown)) == (FIRST, list(FIRST))
    listed = json.loads(taskdb("task", "list", "--sort", "id", "-o", "json").out)
    assert (listed, list(listed[1])) == ([FIRST, SECOND], list(SECOND))
    assert json.loads(taskdb("user", "show", "1", "-o", "json").out) == USER
    users = taskdb("user", "list", "--output=json").out
    assert (json.loads(users), list(json.loads(users)[0])) == ([USER], list(USER))
    assert json.loads(taskdb("task", "start", "1", "2", "-o", "json").out)[1]["status"] == "in_progress"


def test_empty_lists(taskdb):
    """An empty list is an empty array in JSON, a header in CSV, and nothing to other programs."""
    for noun, fields in (("user", USER), ("task", FIRST)):
        assert taskdb(noun, "list", "-o", "json").out == "[]\n"
        assert taskdb(noun, "list", "-o", "ndjson").out == ""
        assert taskdb(noun, "list").out == ""
        assert taskdb(noun, "list", "-o", "csv").out == ",".join(fields) + "\n"
    assert taskdb("task", "list", "--limit", "0", "-o", "json").out == "[]\n"


@SQLITE_ONLY
def test_ndjson(taskdb, database):
    """NDJSON is one object a line, whatever the texts hold."""
    lines = taskdb("task", "list", "--sort", "id", "-o", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == [FIRST, SECOND]
    assert json.loads(taskdb("task", "show", "2", "-o", "ndjson").out) == SECOND
    assert "\u00e9t\u00e9" in lines[1]


@SQLITE_ONLY
def test_csv(taskdb, database):
    """CSV has a header and every field, and reads back as it went in."""
    out = taskdb("task", "list", "--sort", "id", "-o", "csv").out
    assert out.partition("\n")[0] == ",".join(FIRST)
    rows = list(csv.DictReader(StringIO(out, newline="")))
    assert rows == [
        {field: "" if value is None else str(value) for field, value in task.items()}
        for task in (FIRST, SECOND)
    ]
    assert taskdb("user", "show", "1", "-o", "csv").out.splitlines()[1] == (
        "1,ann@example.com,Ann,true,1,2026-01-01T00:00:00Z,2026-01-02T00:00:00.500000Z"
    )


@SQLITE_ONLY
def test_tsv(taskdb, database):
    r"""Off a terminal a record is one line of fixed columns, with tab, newline and backslash escaped."""
    taskdb("user", "create", "--email", "b@example.com", "--name", "back\\slash", "--inactive")
    assert taskdb("task", "list", "--sort", "id").out == (
        '1\ttodo\turgent\t2026-12-01T16:00:00Z\tann@example.com\tSay "hi", \\\\o/\n'
        "2\tdone\tmedium\t\tann@example.com\t\u00e9t\u00e9\n"
    )
    assert taskdb("user", "list", "-o", "tsv").out == (
        "1\tann@example.com\tAnn\ttrue\n2\tb@example.com\tback\\\\slash\tfalse\n"
    )
    assert taskdb("task", "show", "2").out == "2\tdone\tmedium\t\tann@example.com\t\u00e9t\u00e9\n"


@SQLITE_ONLY
def test_table_off_a_terminal(taskdb, database):
    """A table that is asked for is whole and without colour."""
    add_task(database, title="[bold]x[/oops] " + "long " * 90 + "end")
    out = taskdb("task", "list", "--sort", "id", "-o", "table").out
    assert out.strip().split("\n")[0].split() == ["ID", "Status", "Priority", "Due", "User", "Title"]
    assert "[bold]x[/oops] " + "long " * 90 + "end" in out
    assert "\x1b" not in out
    shown = taskdb("task", "show", "1", "-o", "table").out
    assert [line.split()[0] for line in shown.splitlines() if line[:1].strip()] == list(FIRST)


def terminal(*arguments, **environment):
    """Run on a terminal of 60 columns until the end; return what it showed and the exit code."""
    env = {**os.environ, "TERM": "xterm-256color", **environment}
    # It would overrule the size of the terminal.
    env.pop("COLUMNS", None)
    child = start_on_terminal(*arguments, env=env, dimensions=(24, 60))
    shown = child.read()
    child.close()
    return shown, child.exitstatus


@SQLITE_ONLY
def test_terminal_gets_a_table(taskdb, database):
    """A terminal gets a table that fits, in colour unless NO_COLOR is set."""
    add_task(database, title="[bold]x[/oops] " + "long " * 90)
    shown, code = terminal("task", "list")
    assert code == 0
    assert "\x1b[" in shown
    plain, _ = terminal("task", "list", NO_COLOR="1")
    styles = set(re.findall(r"\x1b\[([0-9;]*)m", plain))
    assert styles <= {"0", "1", "2"}, "only bold, dim and their end"
    said, *lines = re.sub(r"\x1b\[[0-9;]*m", "", plain).strip().splitlines()
    assert said == "all: user ann@example.com"
    assert lines[0].split() == ["ID", "Status", "Priority", "Due", "Title"]
    assert re.match(r" *3 +todo +medium +\[bold\]x", lines[2])
    assert len(lines) == 6
    assert lines[-1] == "3 shown, and that is all"
    assert max(map(len, lines)) <= 60
    assert "[bold]x" in plain


@SQLITE_ONLY
def test_a_narrow_terminal_shows_whole_archives(taskdb, database, tmp_path):
    """Where a terminal is narrow, an archive takes more lines, and its name and verification are shown."""
    taskdb("task", "delete", "1", "2", "--yes")
    taskdb("backup", "--dir", tmp_path, "--label", "a-label-that-is-longer-than-others")
    [archive] = tmp_path.glob("*.zip")
    shown, code = terminal("backup", "list", "--dir", tmp_path, NO_COLOR="1")
    assert code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    [name] = [line.split()[0] for line in lines if line.startswith("a-label")]
    assert archive.name.startswith(name)
    assert re.search(r", 1 row, verified \d+ \w+ ago, test restore never", " ".join(" ".join(lines).split()))
    assert max(map(len, lines)) <= 60


@SQLITE_ONLY
def test_terminal_is_told_the_end_of_a_list(taskdb, database):
    """On a terminal a list of everything ends as a page does, also when there is nothing to show."""
    for limit in ("0", "50"):
        shown, _ = terminal("task", "list", "--limit", limit)
        assert shown.splitlines()[-1] == "2 shown, and that is all"
        shown, _ = terminal("task", "list", "--limit", limit, "--search", "nowhere")
        assert shown == "nothing matches\r\n"
    assert taskdb("task", "list", "--limit", "0").err == ""


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("age", "said"), [(-40, "0 days"), (0, "0 days"), (25, "1 day"), (49, "2 days"), (24_000, "1,000 days")]
)
def test_age_of_the_oldest_task(taskdb, url, age, said):
    """The table of stats says how many days the oldest open task has waited."""
    database = open_database(url)
    add_user(database, "bob@example.com")
    add_task(database, "bob@example.com", created_at=datetime.now(UTC) - timedelta(hours=age))
    shown = taskdb("stats", "--user", "bob@example.com", "-o", "table").out
    assert f", {said} old, Write" in shown


@pytest.fixture
def prompt(taskdb, url):
    """A deletion that asks on a terminal, with the question shown."""
    database = open_database(url)
    add_user(database)
    add_task(database)
    child = start_on_terminal("user", "delete", "1")
    child.expect_exact(f"Delete ann@example.com and 1 task in {url.database}? [y/N] ")
    yield child
    child.close(force=True)


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("y\n", 0, "deleted ann@example.com and 1 task"),
        ("YES\n", 0, "deleted ann@example.com and 1 task"),
        ("n\n", 9, "error: declined: nothing was changed"),
        ("\n", 9, "error: declined: nothing was changed"),
        ("\x04", 9, "error: declined: nothing was changed"),
        ("\x03", 130, "error: interrupted"),
    ],
)
def test_answers(prompt, url, answer, code, said):
    """Only yes deletes; no, nothing, the end of input and Ctrl-C leave everything as it was."""
    prompt.send(answer)
    assert said in prompt.read()
    prompt.close()
    assert prompt.exitstatus == code
    assert emails(open_database(url)) == ([] if code == 0 else ["ann@example.com"])


@SQLITE_ONLY
def test_closed_pipe(taskdb, database):
    """A reader that leaves early ends the command quietly, with success."""
    for _ in range(12):
        add_task(database, description="long " * 4000)
    for arguments in (["task", "list", "--limit", "0", "-o", "json"], ["task", "show", "1"], ["--help"]):
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
        )
        process.stdout.close()
        with process.stderr as stderr:
            assert stderr.read() == b""
        assert process.wait(60) == 0


@SQLITE_ONLY
def test_full_stdout(taskdb, database):
    """Output that cannot be written is a failure of one line."""
    for _ in range(5):
        add_task(database, description="long " * 4000)
    for arguments in (["task", "list", "-o", "csv"], ["user", "list"], ["--version"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            failed = run_forked(*arguments, stdout=full)
        assert (failed.returncode, failed.stderr) == (
            1,
            "error: the answer could not be written to stdout: No space left on device\n",
        )


@SQLITE_ONLY
def test_closed_stdout(taskdb, url):
    """Without any stdout nothing is done, and that is said."""
    words = ["user", "create", "--email", "a@example.com", "--name", "A"]
    for arguments in (words, ["--version"]):
        failed = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *command(*arguments)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert failed.returncode == 1
        assert failed.stderr.startswith("error: ")
        assert "stdout is closed" in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert emails(open_database(url)) == []


@SQLITE_ONLY
def test_closed_stderr(taskdb):
    """Without any stderr the exit code still tells."""
    for arguments in (["user", "show", "7"], ["user", "show", "7", "-o", "json"]):
        failed = subprocess.run(
            ["sh", "-c", 'exec "$@" 2>&-', "sh", *command(*arguments)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (failed.returncode, failed.stdout) == (3, "")


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("taskdb task list --user a", ["ann@example.com"]),
        ("taskdb task create --user ", ["ann@example.com", "bob@example.com"]),
        ("taskdb user show b", ["bob@example.com"]),
        ("taskdb user delete ann@example.com b", ["bob@example.com"]),
        ("taskdb user delete 1 --reassign-to z", []),
        ("taskdb task list --status ", ["todo", "in_progress", "done", "cancelled", "open", "closed"]),
        ("taskdb task create --status d", ["done"]),
        ("taskdb task list --priority u", ["urgent"]),
        ("taskdb task update 1 --priority ", ["low", "medium", "high", "urgent"]),
    ],
)
def test_completion(taskdb, database, words, offered):
    """The shell completes users, statuses and priorities."""
    add_user(database, "bob@example.com")
    assert complete(words) == offered


@pytest.mark.parametrize("number", [0, 1, 2500])
def test_details_of_an_error(number):
    """An error has any number of details, written as Python indents them."""
    body = {"code": "usage", "message": "a [] b"}
    details = [{"place": f"line {n}", "reason": 'a "b" \x1b \N{SNOWMAN}'} for n in range(number)]
    stream = StringIO()
    write_error(body, iter(details), stream)
    expected = {"error": {**body, "details": details} if details else body}
    assert json.loads(stream.getvalue()) == expected
    assert stream.getvalue() == escape_json(json.dumps(expected, ensure_ascii=False, indent=2)) + "\n"


def complete(words):
    position = words.count(" ")
    environment = {"_TASKDB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        done = run_forked()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    "url", ["sqlite:////no/such/file.sqlite3", "postgresql://127.0.0.1:1/work", "nonsense", "sqlite:////tmp"]
)
def test_completion_without_a_database(isolated, monkeypatch, url):
    """Completion of users stays silent when there is no database to ask."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", url)
    assert complete("taskdb user show a") == []
