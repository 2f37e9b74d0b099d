"""Questions at a terminal, and what is said of missing options without one."""

import sys

import pytest

from taskdb_cli.cli.context import Invocation
from tests.conftest import open_database
from tests.forked import start_on_terminal
from tests.samples import add_task, add_user, emails, task_records, titles, user_records

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def terminal(monkeypatch):
    """Stdin and stderr are a terminal, on which the standard input is typed."""
    monkeypatch.setattr(Invocation, "on_terminal", True)


def test_a_user_is_asked_for(taskdb, url, terminal):
    """What is missing is asked for on stderr, and what is given is not."""
    made = taskdb("user", "create", stdin="Ann@example.com\nAnn Lee\n")
    assert made.out == "1\tann@example.com\tAnn Lee\ttrue\n"
    assert [line.split(":")[0] for line in made.err.split(": ")[:2]] == ["Email", "Name"]
    asked = taskdb("user", "create", "--name", "Bob", stdin="bob@example.com\n").err
    assert "Name" not in asked
    assert emails(open_database(url)) == ["ann@example.com", "bob@example.com"]


def test_a_title_is_asked_for(taskdb, url, terminal):
    """A task needs a title; the other fields are those of the options."""
    add_user(database := open_database(url))
    taskdb("task", "create", "--priority", "high", stdin="  Water the plants \n")
    [task] = task_records(database)
    assert (task["title"], task["priority"].word) == ("Water the plants", "high")


@SQLITE_ONLY
@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        (b"ann\n\n\x1b[A@example.com\nann@example.com\nAnn\n", 0, "Name: "),
        (b"\xff@example.com\nann@example.com\nAnn", 0, "not valid UTF-8"),
        (b"1\n2\n3\n4\nann@example.com\nAnn\n", 2, "error: email is not an e-mail address"),
        (b"", 9, "error: declined"),
        (b"ann@example.com\n", 9, "error: declined"),
    ],
)
def test_answers_that_are_refused(taskdb, url, answers, code, said):
    """An answer that breaks a rule is explained and asked for again, a few times."""
    result = taskdb("user", "create", stdin=answers, expect=code)
    assert said in result.err
    assert "\x1b" not in result.err
    assert len(emails(open_database(url))) == (code == 0)


@SQLITE_ONLY
@pytest.mark.parametrize(
    "words",
    [
        ["user", "create", "--email", "nonsense"],
        ["task", "create", "--priority", "highest"],
        ["task", "create", "--due", "someday"],
        ["task", "create", "--description", "\x1b"],
        ["task", "create", "--user", "7"],
        ["task", "create", "--external-id", "x" * 201],
    ],
)
def test_nobody_is_asked_in_vain(taskdb, url, terminal, words):
    """What is given is checked before anything is asked."""
    add_user(open_database(url))
    refused = taskdb(*words, expect=3 if "7" in words else 2)
    assert "Title:" not in refused.err
    assert "Name:" not in refused.err


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["user", "create"], "options '--email', '--name'"),
        (["user", "create", "--name", "Ann"], "option '--email'"),
        (["task", "create"], "argument 'title…' and option '--user'"),
        (["task", "create", "--user", "1"], "argument 'title…'"),
        (["user", "import"], "argument 'file'"),
        (["token", "create"], "option '--name'"),
    ],
)
def test_everything_that_is_missing_is_named(taskdb, monkeypatch, words, missing):
    """Without a terminal, and with --no-input on one, the error names all options and arguments at once."""
    for line in (words, ["--no-input", *words]):
        failed = taskdb(*line, stdin="ann@example.com\nAnn\n", expect=2)
        assert failed.err.lower().startswith(
            f"error: missing {missing} ('taskdb {words[0]} {words[1]} --help'"
        )
        monkeypatch.setattr(Invocation, "on_terminal", True)


@SQLITE_ONLY
def test_no_input_turns_off_confirmations(taskdb, url, monkeypatch):
    """With --no-input nothing is deleted without --yes, although somebody could be asked."""
    add_user(database := open_database(url))
    add_task(database)
    for words in (["task", "delete", "1"], ["user", "delete", "1"], ["migrate", "down", "base"]):
        child = start_on_terminal("--no-input", *words)
        assert "--yes" in child.read()
        child.close()
        assert child.exitstatus == 9
    assert titles(database) == ["Write"]
    taskdb("--no-input", "task", "delete", "1", "--yes")


@SQLITE_ONLY
@pytest.mark.parametrize(("keys", "code"), [("\x03", 130), ("\x04", 9), ("Ann\n", 0)])
def test_a_real_terminal(taskdb, url, keys, code):
    """Ctrl-C and Ctrl-D end the questions with their codes, and nothing is written."""
    child = start_on_terminal("user", "create")
    child.expect_exact("Email: ")
    child.send("x@\n")
    child.expect_exact("Email: ")
    child.send("ann@example.com\n")
    child.expect_exact("Name: ")
    child.send(keys)
    child.read()
    child.close()
    assert child.exitstatus == code
    assert len(user_records(open_database(url))) == (code == 0)


@SQLITE_ONLY
@pytest.mark.parametrize("closed", ["stdin", "stderr"])
def test_streams_that_are_closed(taskdb, monkeypatch, closed):
    """Without stdin or stderr nobody can be asked."""
    monkeypatch.setattr(sys, closed, None)
    assert Invocation().may_ask is False
