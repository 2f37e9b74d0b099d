"""Ctrl-C and SIGTERM at every place where a command may wait: one line, and nothing changed."""

import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import pexpect
import pytest

from tests.conftest import SERVERS, connect
from tests.forked import SOAK, start_on_terminal
from tests.processes import command
from tests.samples import add_user, emails
from tests.sessions import until_waiting
from tests.waiting import PATIENCE, wait_until

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
# The suite has time for one server.
SOME_SERVERS = pytest.mark.parametrize("engine", SERVERS if SOAK else SERVERS[-1:], indirect=True)
SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
CREATE = ("user", "create", "--email", "bob@example.com", "--name", "Bob")


@pytest.fixture
def start(taskdb, monkeypatch) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command as a process on the test's database; it waits for locks and for longer."""
    monkeypatch.setenv("TASKDB_LOCK_TIMEOUT", "60")
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "60")
    started = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")


def interrupted(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    """Send the signal, and return what the process leaves behind."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@SOME_SERVERS
@SIGNALS
def test_waiting_for_a_lock(url, database, start, number, code):
    """A statement that waits for a lock is cancelled on the server at once."""
    add_user(database)
    with connect(url) as other, connect(url) as observer, other.transaction():
        other.execute("SELECT FROM users FOR UPDATE")
        process = start("user", "update", "1", "--name", "Bob")
        until_waiting(url)
        assert interrupted(process, number) == (code, "", "error: interrupted; the change was not made\n")
        ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        ours += " AND application_name = 'taskdb'"
        wait_until(lambda: observer.execute(ours).fetchone() == (0,))
        assert other.execute("SELECT name FROM users").fetchone() == ("Ann",)


@SQLITE_ONLY
@SIGNALS
def test_long_statement_of_sqlite(url, start, number, code):
    """A statement that SQLite would run for ever ends."""
    with closing(sqlite3.connect(url.database, isolation_level=None, timeout=0)) as other:
        other.executescript(
            "PRAGMA journal_mode = DELETE; ALTER TABLE tasks RENAME TO some;"
            " CREATE VIEW tasks AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
            " SELECT some.* FROM n LEFT JOIN some ON some.id = n.i;"
        )

        def is_read() -> bool:
            # Whoever reads keeps others from having the file for themselves.
            try:
                other.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return True
            other.execute("ROLLBACK")
            return False

        process = start("task", "list", "--search", "nothing")
        wait_until(is_read)
        left = interrupted(process, number)
    assert left[:2] == (code, "")
    assert left[2].startswith("error: ")
    assert left[2].endswith("interrupted\n")
    assert left[2].count("\n") == 1


@SQLITE_ONLY
@SIGNALS
def test_waiting_for_sqlite(url, database, start, number, code):
    """A command that waits for another process to let go of the file gives up."""
    with closing(sqlite3.connect(url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = start("--verbose", *CREATE)
        log = list(takewhile(lambda line: "trying again" not in line, process.stderr))
        returncode, out, err = interrupted(process, number)
    errors = [line for line in err.splitlines() if " INFO " not in line]
    assert (returncode, out, errors) == (code, "", ["error: interrupted; the change was not made"]), log
    assert emails(database) == []


@SQLITE_ONLY
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_closed(url, database, start, ignored):
    """SIGHUP, which may come twice, is one more interruption; under nohup the command goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN) if ignored else None
    with closing(sqlite3.connect(url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = start("--verbose", *CREATE)
        if ignored:
            signal.signal(signal.SIGHUP, before)
        assert any("trying again" in line for line in process.stderr)
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
        if not ignored:
            process.wait()
        other.execute("ROLLBACK")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == (0 if ignored else 129), err
    assert ("error: interrupted; the change was not made" in err) != ignored
    assert len(emails(database)) == ignored


@SIGNALS
def test_waiting_for_an_answer(database, taskdb, number, code):
    """A command that asks before it destroys something can be left, and holds no connection meanwhile."""
    add_user(database)
    child = start_on_terminal("user", "delete", "1")
    child.expect(r"\[y/N\] ")
    # A signal between the prompt and the read behind it would wait for the answer, as Python handles them.
    wait_until(lambda: is_asleep(child.pid))
    child.kill(number)
    child.expect(pexpect.EOF)
    child.close()
    assert child.before.split() == ["error:", "interrupted"]
    assert child.exitstatus == code
    assert emails(database) == ["ann@example.com"]
