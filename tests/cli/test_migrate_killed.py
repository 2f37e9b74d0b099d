"""Migrations that are killed: the next run finishes the job.

TASKDB_SOAK=1 kills at every statement and every commit (`.ci/soak`); otherwise at some of them.
"""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from taskdb_cli.database.schema import revisions
from tests.conftest import SERVERS, connect
from tests.forked import run_forked
from tests.processes import command
from tests.schemas import execute, insert_rows
from tests.waiting import wait_until

SOAK = os.environ.get("TASKDB_SOAK") == "1"
HEAD = revisions().get_current_head()
PARTS = 3

# Becomes taskdb, which kills itself when it comes to its nth statement or commit, or counts them all.
KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event

last, count, leave = int(sys.argv.pop(1)), 0, os._exit

def pass_one(*_):
    global count
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)

def tell(code):
    print(count, file=sys.stderr, flush=True)
    leave(code)

for moment in ("before_cursor_execute", "commit"):
    event.listen(Engine, moment, pass_one)
os._exit = tell

from taskdb_cli.__main__ import main
main()
"""


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request):
    """The engine that this run of the test is about; no migration goes through a pooler."""
    return request.param


def run_killed(last: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run taskdb until it is killed at that statement, or to its end."""
    return run_forked(last, *arguments, code=KILLED)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_killed_migration_is_finished_by_the_next(new_url, use, bare_taskdb, way):
    """Wherever it was killed, the same command succeeds, and the schema is as it should be."""
    arguments = ("migrate", "up") if way == "up" else ("migrate", "down", "base", "--yes")

    def prepare():
        url = new_url(migrated=way == "down")
        use(url)
        if way == "down":
            insert_rows(url)

    prepare()
    whole = run_killed(0, *arguments)
    assert whole.returncode == 0, whole.stderr
    count = int(whole.stderr.splitlines()[-1])
    assert count > PARTS
    moments = range(1, count + 1) if SOAK else {count * part // PARTS for part in range(1, PARTS + 1)}
    for moment in moments:
        prepare()
        killed = run_killed(moment, *arguments)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        result = bare_taskdb(*arguments, expect=None)
        assert result.code == 0, (moment, result)
        assert f" {HEAD if way == 'up' else 'nothing'}" in result.err, moment
        bare_taskdb("migrate")
        bare_taskdb("migrate", "check")


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_killed_index_build_is_finished_by_the_next(url, taskdb):
    """A build that the server goes on with after its client was killed is in nobody's way."""
    insert_rows(url)
    taskdb("migrate", "down", "0001", "--yes")
    with connect(url) as older, connect(url) as observer:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT * FROM tasks")
        process = subprocess.Popen(
            command("migrate"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        building = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
        )
        waiting = f"{building} AND wait_event_type = 'Lock'"
        wait_until(lambda: observer.execute(waiting).fetchone() == (1,))
        process.kill()
        process.wait()
        assert observer.execute(building).fetchone() == (1,)
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert observer.execute(invalid).fetchone() == (1,)
        # What the killed one left goes on only when the older transaction has ended.
        older.execute("COMMIT")
        taskdb("migrate")
    taskdb("migrate", "check")
    assert execute(url, invalid) == [(0,)]
