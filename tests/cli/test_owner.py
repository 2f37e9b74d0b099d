"""Whose tasks are meant if no user is named: TASKDB_USER, and the only active user."""

import json
import sys
from pathlib import Path

import pytest

from taskdb_cli.cli.context import Invocation
from tests.conftest import open_database
from tests.samples import add_task, add_user, task_records, titles, user_records

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
TABLE = ("-o", "table")


@pytest.fixture
def database(url):
    """A database with two users, of whom each has a task."""
    opened = open_database(url)
    for address in ("ann@example.com", "bob@example.com"):
        add_user(opened, address)
        add_task(opened, address, f"Task of {address}")
    return opened


@pytest.fixture
def terminal(taskdb, monkeypatch):
    """All streams are a terminal."""
    monkeypatch.setattr(Invocation, "on_terminal", True)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)


@pytest.mark.parametrize("ref", ["bob@example.com", "BOB@example.com", "2"])
def test_new_tasks_are_the_default_users(taskdb, database, monkeypatch, ref):
    """Without --user a new task is the default user's, also in a script; --user goes first."""
    monkeypatch.setenv("TASKDB_USER", ref)
    taskdb("task", "create", "Mine")
    taskdb("task", "create", "Hers", "--user", "1")
    assert [task["user"] for task in task_records(database)[2:]] == ["bob@example.com", "ann@example.com"]


@SQLITE_ONLY
@pytest.mark.parametrize("ref", ["nobody@example.com", "77", "bob", "\udcff", "x" * 5000, "a\x1b[31m", " "])
def test_a_default_user_who_does_not_exist(taskdb, database, monkeypatch, terminal, ref):
    """One line names the setting, whatever its value is."""
    monkeypatch.setenv("TASKDB_USER", ref)
    for words in (["task", "create", "Mine"], ["task", "list"], ["stats"]):
        failed = taskdb(*words, expect=3)
        assert failed.out == ""
        assert failed.err.count("\n") == 1
        assert "TASKDB_USER" in failed.err
    taskdb("task", "list", "--all-users")
    assert "TASKDB_USER" not in taskdb("task", "create", "Mine", "--user", "77", expect=3).err
    assert len(titles(database)) == 2


def test_a_terminal_shows_the_default_users_tasks(taskdb, database, monkeypatch, terminal):
    """A list and the statistics are about the default user, and say so; two options turn that off."""
    monkeypatch.setenv("TASKDB_USER", "2")
    for words in (["task", "list"], ["stats"], ["task", "list", "--limit", "0"]):
        shown = taskdb(*words)
        assert "Task of bob" in shown.out
        assert "Task of ann" not in shown.out
        assert "bob@example.com (TASKDB_USER)" in shown.err
    assert taskdb("task", "list", "--count").out == "1\n"
    everybody = taskdb("task", "list", "--all-users")
    assert all(f"Task of {name}" in everybody.out for name in ("ann", "bob"))
    for words in (["task", "list", "--user", "1"], ["stats", "--user", "1"]):
        shown = taskdb(*words)
        assert "Task of ann" in shown.out
        assert "TASKDB_USER" not in shown.err


@SQLITE_ONLY
def test_programs_get_everybodys_tasks(taskdb, database, monkeypatch, terminal):
    """A format for programs, an export and a pipe do not change with the setting."""
    lines = [
        *(["task", "list", "--sort", "id", "-o", format] for format in ("json", "ndjson", "csv", "tsv")),
        ["task", "list", "--count", "-o", "json"],
        *(["stats", "-o", format] for format in ("json", "tsv")),
        ["task", "export"],
        ["user", "list", "--with-counts"],
    ]
    before = [taskdb(*words) for words in lines]
    monkeypatch.setenv("TASKDB_USER", "2")
    assert [taskdb(*words) for words in lines] == before
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: False)
    for words in (["task", "list"], ["task", "list", *TABLE], ["stats", *TABLE], ["task", "list", "--count"]):
        shown = taskdb(*words)
        assert "TASKDB_USER" not in shown.err
        assert "Task of ann" in shown.out or words[0] == "stats" or shown.out == "2\n"


@SQLITE_ONLY
@pytest.mark.parametrize("words", [["task", "list"], ["stats"], ["task", "list", "--count"]])
def test_nothing_is_left_out_without_a_word(taskdb, database, monkeypatch, terminal, words):
    """If stderr is no terminal, nobody would see the note, so the list is everybody's."""
    before = taskdb(*words, "--all-users")
    monkeypatch.setenv("TASKDB_USER", "2")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert taskdb(*words) == before


@SQLITE_ONLY
@pytest.mark.parametrize("name", ["user of the profile work", "TASKDB_USER in the dotenv file"])
def test_a_default_user_of_a_file(taskdb, url, database, terminal, name):
    """The note and the error name the setting as it is called where it stands."""
    file, text, options = Path(".env"), "TASKDB_USER={}\n", ()
    if "profile" in name:
        file = Path("../home/.config/taskdb/config.toml")
        file.parent.mkdir(parents=True)
        text, options = f'[profiles.work]\ndatabase_url = "{url}"\nuser = "{{}}"\n', ("--profile", "work")
    file.write_text(text.format("ann@example.com"))
    assert f"ann@example.com ({name}" in taskdb(*options, "task", "list").err
    file.write_text(text.format("77"))
    for words in (["task", "list"], ["task", "create", "Mine"]):
        assert taskdb(*options, *words, expect=3).err.startswith(f"error: {name}")


@SQLITE_ONLY
@pytest.mark.parametrize("words", [["task", "list"], ["stats"]])
def test_all_users_contradict_one(taskdb, words):
    """--all-users with --user is an error, with a terminal or without."""
    assert "--all-users" in taskdb(*words, "--all-users", "--user", "1", expect=2).err


def test_the_only_active_user(taskdb, url, database, monkeypatch, terminal):
    """A terminal takes the only active user and says so; a script must name one."""
    taskdb("user", "update", "1", "--inactive", "-o", "json")
    made = taskdb("task", "create", "Hers", "-o", "json")
    assert json.loads(made.out)["user"] == "bob@example.com"
    assert "bob@example.com, the only active user" in made.err
    assert json.loads(taskdb("--no-input", "task", "create", "Hers", "-o", "json").out)["user_id"] == 2
    taskdb("task", "create", "Hers", "--user", "", expect=3)
    monkeypatch.setattr(Invocation, "on_terminal", False)
    assert "--user" in taskdb("task", "create", "Hers", expect=2).err
    assert len(titles(database)) == 4


def test_several_active_users(taskdb, database, terminal):
    """A terminal names them and asks for one, again if nobody is called so."""
    made = taskdb("task", "create", "His", "-o", "json", stdin="carl@example.com\n\n2\n")
    assert json.loads(made.out)["user"] == "bob@example.com"
    assert "ann@example.com, bob@example.com" in made.err
    assert made.err.count("not found") == 2
    assert "user '' not found" in made.err
    unasked = taskdb("--no-input", "task", "create", "His", expect=2).err
    assert "ann@example.com, bob@example.com" in unasked
    for number in range(9):
        add_user(database, f"c{number}@example.com")
    assert "and more" in taskdb("task", "create", "His", stdin="", expect=9).err
    assert len(titles(database)) == 3


@SQLITE_ONLY
def test_no_active_user(taskdb, url, terminal):
    """Without any user, or any active one, the next step is named before anything is asked."""
    assert "user create" in taskdb("task", "create", expect=3).err
    add_user(open_database(url), is_active=False)
    refused = taskdb("task", "create", expect=3).err
    assert "user create" in refused
    assert "user activate" in refused
    assert len(user_records(open_database(url))) == 1
