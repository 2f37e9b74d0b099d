"""A signal anywhere in a change: the one line that is left behind says what became of the change."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.conftest import SERVERS
from tests.interruption import Places, Stopped
from tests.processes import command
from tests.samples import add_user, emails, titles
from tests.sessions import settle
from tests.waiting import PATIENCE, wait_until

SOAK = os.environ.get("TASKDB_SOAK") == "1"
PLACES = 150 if SOAK else 1
"""At how many places each command is stopped."""

LATE = 400
"""So many places before its end a command begins to write, at the latest."""

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
# The suite has time for one engine: a server here, and SQLite for the other commands.
ENDS = pytest.mark.parametrize("engine", ["sqlite", *SERVERS] if SOAK else SERVERS[-1:], indirect=True)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# The suite has time for some of them.
SOME_SIGNALS = pytest.mark.parametrize("number", [*SIGNALS] if SOAK else [signal.SIGINT])
IMPORTS = ENDS if SOAK else SQLITE_ONLY

MADE = "error: interrupted, but the change was made"
NOT_MADE = "error: interrupted; the change was not made"
CREATE = ("user", "create", "--email", "bob@example.com", "--name", "Bob")


def require_true(stopped: Stopped, number: int, *, before: object, after: object, complete: object) -> None:
    """Fail unless a command that a signal reached says whether the change was made."""
    assert after in (before, complete), stopped
    errors = [line for line in stopped.err.splitlines() if line.startswith("error: ")]
    if stopped.code == 0:
        assert after == complete, stopped
        return
    assert stopped.code == SIGNALS[number], stopped
    [error] = errors
    if MADE in error:
        assert after == complete, stopped
    elif NOT_MADE in error or "was left alone" in error:
        assert after == before, stopped
    else:
        # A signal before the command has begun its change, which needs no word.
        assert (error, after) == ("error: interrupted", before), stopped


def late_places(places: Places) -> list[int]:
    """Return some places of a command, all in its last part, where the commit is; the same ones each time."""
    assert places.run().code == 0
    return random.Random(places.count).sample(range(max(1, places.count - LATE), places.count + 1), PLACES)


@pytest.mark.soak
@ENDS
@SOME_SIGNALS
def test_one_change(taskdb, url, database, tmp_path, number):
    """A user that is made, and a signal anywhere: the user is there if, and only if, the command says so."""
    places = Places(tmp_path, *CREATE)
    for place in late_places(places):
        taskdb("user", "delete", "bob@example.com", "--yes", expect=None)
        stopped = places.stop(place, number)
        settle(url)
        require_true(stopped, number, before=[], after=emails(database), complete=["bob@example.com"])


@pytest.mark.soak
@IMPORTS
def test_an_import(taskdb, url, database, tmp_path):
    """An import of many rows that a signal stops is there entirely or not at all, as the command says."""
    add_user(database)
    names = [f"task {number}" for number in range(3000 if SOAK else 300)]
    file = tmp_path / "tasks.csv"
    file.write_text("title\n" + "\n".join(names))
    places = Places(tmp_path, "task", "import", file, "--user", "ann@example.com")
    for place in late_places(places):
        taskdb("user", "delete", "ann@example.com", "--yes")
        add_user(database)
        stopped = places.stop(place, signal.SIGINT)
        settle(url)
        require_true(stopped, signal.SIGINT, before=[], after=titles(database), complete=names)


@pytest.mark.soak
@SQLITE_ONLY
def test_a_restore_into_a_new_file(taskdb, database, tmp_path):
    """A file that a restore builds has its name if, and only if, the interrupted command says so."""
    add_user(database)
    taskdb("backup", "--file", tmp_path / "archive")
    target = tmp_path / "new.sqlite3"
    places = Places(tmp_path, "--database-url", f"sqlite:///{target}", "restore", tmp_path / "archive")
    for place in late_places(places):
        target.unlink(missing_ok=True)
        stopped = places.stop(place, signal.SIGTERM)
        require_true(stopped, signal.SIGTERM, before=False, after=target.exists(), complete=True)
        assert list(tmp_path.glob(".*new*")) == []


@SQLITE_ONLY
@pytest.mark.parametrize("dry_run", [False, True])
def test_while_an_import_is_read(taskdb, database, dry_run):
    """An import that is stopped while it still reads its file says that nothing was imported."""
    add_user(database)
    options = ["--dry-run"] if dry_run else []
    with subprocess.Popen(
        command("task", "import", "-", "--from", "ndjson", "--user", "ann@example.com", *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        # More than a pipe holds: when it is written, the import has begun to read.
        process.stdin.write(b'{"title": "x"}\n' * 100_000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.decode().strip() == ("error: interrupted" if dry_run else NOT_MADE)
    assert titles(database) == []


@SQLITE_ONLY
def test_a_migration_that_is_done(taskdb, url, database, tmp_path):
    """A migration asks nothing of the database after its end, and a signal then says that it was made."""
    places = Places(tmp_path, "-v", "migrate", "--no-backup")
    taskdb("migrate", "down", "--yes")
    done = places.run()
    assert (done.code, done.err.count(": connected in ")) == (0, 1)
    taskdb("migrate", "down", "--yes")
    stopped = places.stop(places.count - 8, signal.SIGINT)
    assert stopped.code == 130
    assert MADE in stopped.err
    taskdb("migrate", "check")


# A process of its own: SQLite does not see the locks of a writer through a process that holds a lock itself.
READER = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("PRAGMA journal_mode = DELETE")  # without a WAL a commit waits for readers
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM users").fetchone()
print("reading", flush=True)
sys.stdin.readline()
"""


@SQLITE_ONLY
@pytest.mark.parametrize(("number", "lets_go"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_within_the_commit(taskdb, url, database, monkeypatch, number, lets_go):  # noqa: PLR0917 (fixtures)
    """A signal while SQLite commits waits for the outcome, and the command tells it."""
    # A commit that waits in vain is tried again, so that there is one to be met.
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "60")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([sys.executable, "-c", READER, url.database], **pipes) as reader,
        closing(sqlite3.connect(url.database, isolation_level=None, timeout=0)) as observer,
    ):
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"

        def is_committing() -> bool:
            try:
                observer.execute("SELECT count(*) FROM users").fetchone()
            except sqlite3.OperationalError:
                return True
            return False

        with subprocess.Popen(command(*CREATE), stderr=subprocess.PIPE, **pipes) as process:
            wait_until(is_committing)
            process.send_signal(number)
            if lets_go:
                reader.communicate("stop\n")
            out, err = process.communicate(timeout=PATIENCE)
        reader.communicate()
    stopped = Stopped(process.returncode, out, err)
    require_true(stopped, number, before=[], after=emails(database), complete=["bob@example.com"])
    assert (MADE if emails(database) else NOT_MADE) in err
    if not lets_go:
        assert emails(database) == []
