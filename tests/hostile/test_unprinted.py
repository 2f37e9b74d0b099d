"""Answers that cannot be printed: what was changed is told, and no token is left that nobody saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from taskdb_cli.services import token
from tests.conftest import SERVERS
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


# One process runs all command lines: to start takes longer than most of them.
_MANY_LINES = """
import io, json, os, sys
from taskdb_cli.cli import run
answer, full, done = os.dup(1), os.open("/dev/full", os.O_WRONLY), []
for line in json.loads(sys.argv[1]):
    os.dup2(full, 1)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(io.BytesIO(), write_through=True)
    done.append([int(run(line)), "", sys.stderr.buffer.getvalue().decode()])
os.write(answer, json.dumps(done).encode())
os._exit(0)
"""


def on_full_disk(*lines: Sequence[object]) -> list[Outcome]:
    """Run command lines with a stdout that takes nothing."""
    words = json.dumps([[str(word) for word in line] for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", _MANY_LINES, words], capture_output=True, text=True, check=True, timeout=60
    )
    return [Outcome(*each) for each in json.loads(done.stdout)]


def on_no_reader(*words: object) -> Outcome:
    """Run taskdb with a pipe as stdout whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        return outcome(run_process(*words, stdout=pipe))


def on_reading_only(*words: object) -> Outcome:
    """Run taskdb with a stdout that was opened for reading."""
    with Path(os.devnull).open() as unwritable:
        return outcome(run_process(*words, stdout=unwritable))


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
def test_a_change_is_told(rows, taskdb, database):
    """What was committed is named with the next step, and the exit code is 8."""
    taskdb("backup")
    outcomes = on_full_disk(*(words for words, *_ in CHANGES))
    for done, (_, change, look) in zip(outcomes, CHANGES, strict=True):
        assert done.code == 8, done
        for part in (change, "stdout: No space left", look):
            assert part in error_of(done)
    assert emails(database) == [f"{name}@example.com" for name in ("ann", "cy", "dee")]


@ON_SQLITE
def test_nothing_was_changed(rows):
    """What only reads, or found everything as it was to be, fails with 1 and names stdout."""
    for done in on_full_disk(*NO_CHANGES):
        assert done.code == 1, done
        assert "the answer could not be written to stdout: No space left" in error_of(done)


@ON_SQLITE
def test_other_reasons(rows, database):
    """A stdout for reading only is told in the same way; a reader who has gone wanted no answer."""
    done = on_reading_only(*CREATE_USER)
    assert done.code == 8
    assert "created user 3" in error_of(done)
    assert on_no_reader("user", "update", "3", "--name", "Cyd") == (0, "", "")
    done = on_nothing("backup", "-o", "tsv")
    assert done.code == 8
    assert "stdout is closed" in error_of(done)
    assert len(emails(database)) == 3


@ON_SQLITE
def test_a_long_answer(rows, database, monkeypatch):
    """An answer that is longer than any buffer is no different, nor one that is not buffered."""
    for number in range(50):
        add_task(database, "1", f"{number} ".ljust(400, "x"))
    words = ("task", "done", *range(3, 53), "-o", "ndjson")
    [done] = on_full_disk(words)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    [again] = on_full_disk(("task", "start", *words[2:]))
    assert (done.code, again.code) == (8, 8)
    assert "updated 50 tasks" in error_of(again)


@ON_SQLITE
def test_an_exit_code_survives_a_full_stderr(rows):
    """The lines on stderr are comments: without room for them the exit code still tells."""
    for words, code in (
        (CREATE_TOKEN, 0),
        (("task", "delete", "1", "--yes"), 0),
        (("user", "show", "99"), 3),
        (("user", "show", "99", "-o", "json"), 3),
    ):
        with Path("/dev/full").open("w") as full:
            assert run_process(*words, stderr=full).returncode == code, words


@ENDS
def test_a_token_that_nobody_saw_is_revoked(rows, database):
    """Whatever keeps a token from being printed, it is not left in force: 1."""
    lost = on_full_disk(CREATE_TOKEN, (*CREATE_TOKEN, "-o", "json"))
    lost += [lose(*CREATE_TOKEN) for lose in (on_no_reader, on_reading_only)]
    for done in lost:
        assert done.code == 1, done
        assert "so it was revoked" in error_of(done)
        assert "not shown again" not in done.err
    done = on_nothing(*CREATE_TOKEN)
    assert (done.code, names(database)) == (1, [])
    assert "stdout is closed" in error_of(done)


@ENDS
def test_a_token_that_cannot_be_revoked(rows, database, url):
    """If the token can be neither printed nor revoked, its id is named: 8."""
    execute(url, *FORBID_DELETING[url.get_backend_name()])
    [done] = on_full_disk(CREATE_TOKEN)
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
