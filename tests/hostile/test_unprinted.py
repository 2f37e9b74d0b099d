"""Answers that cannot be printed: what was changed is told, and no token is left that nobody saw."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskdb_cli.models.task import TaskCreate
from taskdb_cli.services import task, token
from tests.conftest import NOW, SERVERS
from tests.processes import Outcome, command, run_process
from tests.samples import add_task, add_user, emails
from tests.schemas import execute

ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

CREATE_USER = ("user", "create", "--email", "cy@example.com", "--name", "Cy")
KEEP_ONE = ("--keep-last", "1", "--keep-at-least", "1")
CREATE_TOKEN = ("token", "create", "--name", "cron")


@pytest.fixture
def rows(taskdb, database, tmp_path, monkeypatch):
    """Two users with a task each, a file to import and a directory for archives."""
    for name in ("ann", "bob"):
        add_user(database, f"{name}@example.com")
        add_task(database, f"{name}@example.com")
    Path("users.csv").write_text("email,name\ndee@example.com,Dee\n")
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))


FULL, GONE, READING = "a full disk", "a pipe whose reader has gone", "a file opened for reading"


@pytest.fixture
def prints(taskdb, monkeypatch):
    """Runs a command line in this process, whose stdout leads for that time where nothing can be written."""

    def run(place: str, *words: object, buffered: bool = True) -> Outcome:
        usual = os.dup(1)
        os.dup2(opened := unwritable(place), 1)
        os.close(opened)
        raw = io.FileIO(1, "w", closefd=False)
        stdout = io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw, write_through=not buffered)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stdout)
                done = taskdb(*words, expect=None)
        finally:
            os.dup2(usual, 1)
            os.close(usual)
        return Outcome(done.code, done.out, done.err)

    return run


def unwritable(place: str) -> int:
    """Return a descriptor of that kind."""
    if place == FULL:
        return os.open("/dev/full", os.O_WRONLY)
    if place == READING:
        return os.open(os.devnull, os.O_RDONLY)
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def process_prints(place: str, *words: object) -> Outcome:
    """Run taskdb as a process with such a stdout."""
    with os.fdopen(unwritable(place), "wb", 0) as stdout:
        return outcome(run_process(*words, stdout=stdout))


def on_nothing(*words: object) -> Outcome:
    """Run taskdb without a stdout."""
    close = ["sh", "-c", 'exec "$@" >&-', "sh", *command(*words)]
    return outcome(subprocess.run(close, stderr=subprocess.PIPE, text=True, check=False))


def outcome(done: subprocess.CompletedProcess[str]) -> Outcome:
    return Outcome(done.returncode, "", done.stderr)


def error_of(done: Outcome) -> str:
    """What failed and the next step, from the one error that was told."""
    if "{" in done.err:
        error = json.loads(done.err[done.err.index("{") :])["error"]
        assert error["code"] == ("incomplete" if done.code == 8 else "failure")
        return f"{error['message']} ({error['hint']})"
    [line] = [each for each in done.err.splitlines() if each.startswith("error: ")]
    return line


def names(database) -> list[str]:
    return [record["name"] for record in database.read(token.find)]


CHANGES = (
    (CREATE_USER, "created user 3", "taskdb user show 3"),
    (("user", "update", "2", "--name", "Bo"), "updated user 2", "taskdb user show 2"),
    (("task", "create", "--user", "1", "Call"), "created task 3", "taskdb task show 3"),
    (("task", "done", "2"), "updated task 2", "taskdb task show 2"),
    (("task", "update", "1", "2", "--title", "Call"), "updated 2 tasks (1, 2)", "taskdb task list"),
    (("task", "delete", "1", "--yes", "-o", "json"), "deleted task 1", "taskdb task list"),
    (("user", "delete", "2", "--yes", "-o", "json"), "deleted bob@example.com", "taskdb user list"),
    (("user", "import", "users.csv", "-o", "json"), "1 created, 0 updated", "taskdb user list"),
    (("backup", "-o", "tsv"), "backed up", "taskdb backup show"),
    (
        ("backup", "prune", "--keep-last", "1", "--keep-at-least", "1"),
        "deleted 1 archive",
        "taskdb backup list",
    ),
)
NO_CHANGES = (
    (*CREATE_USER[:3], "ann@example.com", "--name", "Ann", "--if-not-exists"),
    ("user", "update", "1", "--name", "Ann"),
    ("task", "reopen", "1", "2"),
    ("user", "delete", "1", "--dry-run", "-o", "json"),
    ("user", "import", "users.csv", "--dry-run", "-o", "json"),
    ("task", "list"),
    ("user", "list", "-o", "json"),
    ("token", "list", "-o", "json"),
    ("migrate", "history"),
    ("migrate", "sql"),
    ("stats",),
    ("--version",),
    ("user", "--help"),
)


@ENDS
def test_a_change_is_told(rows, taskdb, database, prints):
    """What was committed is named with the next step, and the exit code is 8."""
    taskdb("backup")
    for words, change, look in CHANGES:
        done = prints(FULL, *words)
        assert done.code == 8, done
        for part in (change, "stdout: No space left", look):
            assert part in error_of(done)
    assert emails(database) == [f"{name}@example.com" for name in ("ann", "cy", "dee")]


@ON_SQLITE
def test_nothing_was_changed(rows, prints):
    """What only reads, or found everything as it was to be, fails with 1 and names stdout."""
    for words in NO_CHANGES:
        done = prints(FULL, *words)
        assert done.code == 1, done
        assert "the answer could not be written to stdout: No space left" in error_of(done)


@ON_SQLITE
def test_processes(rows, database):
    """A process ends in the same way; a reader who has gone wanted no answer, but a token is revoked."""
    done = process_prints(FULL, *CREATE_USER)
    assert (done.code, done.err.count("\n")) == (8, 1)
    assert "created user 3" in error_of(done)
    assert process_prints(GONE, "user", "update", "3", "--name", "Cyd") == (0, "", "")
    for words, code in (("backup", "-o", "tsv"), 8), (CREATE_TOKEN, 1):
        done = on_nothing(*words)
        assert done.code == code
        assert "stdout is closed" in error_of(done)
    assert (len(emails(database)), names(database)) == (3, [])


@ON_SQLITE
def test_other_reasons(rows, prints):
    """A stdout for reading only is told in the same way; a reader who has gone wanted no answer."""
    done = prints(READING, *CREATE_USER)
    assert done.code == 8
    assert "created user 3" in error_of(done)
    assert prints(GONE, "user", "update", "3", "--name", "Cyd") == (0, "", "")


@ON_SQLITE
def test_a_long_answer(rows, database, prints):
    """An answer that is longer than any buffer is no different, nor one that is not buffered."""
    database.write(
        lambda session: [
            task.create(session, "1", TaskCreate(title=f"{number} ".ljust(400, "x")), now=NOW)
            for number in range(50)
        ]
    )
    words = (*range(3, 53), "-o", "ndjson")
    for done in prints(FULL, "task", "done", *words), prints(FULL, "task", "start", *words, buffered=False):
        assert done.code == 8
        assert "updated 50 tasks" in error_of(done)


@ON_SQLITE
def test_an_exit_code_survives_a_full_stderr(rows):
    """The lines on stderr are comments: without room for them the exit code still tells."""
    for words, code in ((CREATE_TOKEN, 0), (("user", "show", "99", "-o", "json"), 3)):
        with Path("/dev/full").open("w") as full:
            assert run_process(*words, stderr=full).returncode == code, words


@ENDS
def test_a_token_that_nobody_saw_is_revoked(rows, database, prints):
    """Whatever keeps a token from being printed, it is not left in force: 1."""
    for place, output in (FULL, ()), (FULL, ("-o", "json")), (GONE, ()), (READING, ()):
        done = prints(place, *CREATE_TOKEN, *output)
        assert done.code == 1, done
        assert "so it was revoked" in error_of(done)
        assert "not shown again" not in done.err
    assert names(database) == []


@ENDS
def test_a_token_that_cannot_be_revoked(rows, database, url, prints):
    """If the token can be neither printed nor revoked, its id is named: 8."""
    execute(url, *FORBID_DELETING[url.get_backend_name()])
    done = prints(FULL, *CREATE_TOKEN)
    assert done.code == 8
    assert "token 1 could not be revoked" in error_of(done)
    assert "taskdb token revoke 1" in error_of(done)
    assert names(database) == ["cron"]


FORBID_DELETING = {
    "sqlite": ["CREATE TRIGGER keep BEFORE DELETE ON access_tokens BEGIN SELECT RAISE(ABORT, 'kept'); END"],
    "postgresql": [
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept'; END $$",
        "CREATE TRIGGER keep BEFORE DELETE ON access_tokens FOR EACH ROW EXECUTE FUNCTION keep()",
    ],
}
