"""taskdb migrate stamp, and what a migration says that stopped on its way, from the outside."""

import json

import pytest

from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK
from taskdb_cli.database.schema import VERSION_TABLE, revisions
from taskdb_cli.exit_codes import ExitCode
from tests.conftest import SERVERS, connect
from tests.contents import fill
from tests.forked import SOAK
from tests.schemas import execute, write_revision

HEAD = revisions().get_current_head()
CHAIN = [step.revision for step in revisions().walk_revisions()][::-1]
TASKS = 60_000 if SOAK else 6_000
ON_SERVERS = pytest.mark.parametrize("engine", SERVERS, indirect=True)


def error(result):
    """The one line that a command left on stderr."""
    assert result.out == ""
    assert result.err.count("\n") == 1
    return result.err


def test_a_lost_revision_is_written_down_again(taskdb, url):
    """Every command that misses the revision exits 6 and names `migrate stamp`, which then mends it."""
    fill(url, tasks=TASKS)
    execute(url, f"DROP TABLE {VERSION_TABLE}")
    for words in (("status",), ("history",), ("check",), (), ("down",), ("down", "--yes"), ("stamp", "0001")):
        assert "taskdb migrate stamp" in error(taskdb("migrate", *words, expect=ExitCode.SCHEMA))
    assert "migrate stamp" in error(taskdb("backup", expect=ExitCode.SCHEMA))
    health = json.loads(taskdb("health", "--only", "revision", "-o", "json", expect=2).out)
    assert "migrate stamp" in health["checks"][0]["remedy"]
    assert "before: nothing" in error(taskdb("migrate", "stamp"))
    assert f"at {HEAD} already" in error(taskdb("migrate", "stamp"))
    taskdb("migrate", "check")
    assert taskdb("task", "list", "--count").out == f"{TASKS}\n"


def test_two_revisions_are_made_one(taskdb, url):
    """The revision that is named stays, if it is the right one."""
    execute(url, f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")
    assert f"revision {HEAD}, not 0001" in error(taskdb("migrate", "stamp", "0001", expect=ExitCode.SCHEMA))
    assert f"before: 0001, {HEAD}" in error(taskdb("migrate", "stamp", HEAD))
    assert execute(url, f"SELECT version_num FROM {VERSION_TABLE}") == [(HEAD,)]


def test_what_cannot_be_stamped(taskdb, url):
    """Tables that differ are refused by name (6), and so is an unknown revision (2)."""
    execute(url, f"DROP TABLE {VERSION_TABLE}", "ALTER TABLE tasks RENAME COLUMN title TO label")
    refused = error(taskdb("migrate", "stamp", expect=ExitCode.SCHEMA))
    assert "tasks.label" in refused
    assert "tasks.title" in refused
    error(taskdb("migrate", "stamp", "nonsense", expect=ExitCode.USAGE))


def test_a_file_that_is_missing_is_not_stamped(bare_taskdb, tmp_path):
    """It is not made either: 3."""
    nowhere = ("--database-url", f"sqlite:///{tmp_path}/absent.sqlite3")
    error(bare_taskdb(*nowhere, "migrate", "stamp", expect=ExitCode.NOT_FOUND))
    assert not (tmp_path / "absent.sqlite3").exists()


@ON_SERVERS
def test_a_stamp_waits_for_its_turn(taskdb, url, monkeypatch):
    """While somebody migrates or backs up, it waits, and then exits 5 with who that is."""
    monkeypatch.setenv("TASKDB_MIGRATION_WAIT", "0")
    with connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        assert f"session {other.info.backend_pid}" in error(
            taskdb("migrate", "stamp", expect=ExitCode.UNAVAILABLE)
        )


@ON_SERVERS
def test_a_downgrade_that_is_blocked_on_its_way(taskdb, url, monkeypatch):
    """It exits 5 and says where it stopped and what is done; the next run goes on from there."""
    monkeypatch.setenv("TASKDB_MIGRATION_WAIT", "0")
    fill(url, tasks=TASKS)
    down = ("migrate", "down", "base", "--yes", "--no-backup")
    with connect(url) as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM tasks")
        way = " → ".join(CHAIN[:0:-1])
        assert f"stopped at 0002; {way} is done" in error(taskdb(*down, expect=ExitCode.UNAVAILABLE))
        assert "still at 0002" in error(taskdb(*down, expect=ExitCode.UNAVAILABLE))
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == "0002"
    assert "from 0002 to nothing" in error(taskdb(*down))


@ON_SERVERS
def test_a_downgrade_that_others_depend_on(taskdb, url):
    """What depends on a table that is to go is named, so that somebody can act."""
    execute(url, "CREATE TABLE visits (token bigint CONSTRAINT of_token REFERENCES access_tokens (id))")
    told = error(taskdb("migrate", "down", "base", "--yes", "--no-backup", expect=ExitCode.FAILURE))
    assert "visits" in told
    assert "stopped at 0003" in told


def test_a_revision_that_is_too_old(taskdb, url):
    """Tables that are there already lead to `migrate stamp`, which mends it."""
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '0002'")
    assert "migrate stamp" in error(taskdb("migrate", "--no-backup", expect=ExitCode.FAILURE))
    taskdb("migrate", "stamp")
    taskdb("migrate", "check")


FAULTS = {
    'op.execute("SELECT * FROM no_such_table")': None,
    "raise KeyboardInterrupt": ExitCode.INTERRUPTED,
    'raise RuntimeError("x")': ExitCode.FAILURE,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_migration_that_fails_on_its_way(taskdb, url, chain, fault, way):
    """What is done is said with the cause, and it is true; SQLite takes all of it back."""
    write_revision(chain, "9001", after=HEAD, upgrade="pass", downgrade=fault if way == "down" else "pass")
    write_revision(chain, "9002", after="9001", upgrade=fault if way == "up" else "pass")
    start, stop, words = HEAD, "9001", ("up",)
    if way == "down":
        taskdb("migrate")
        start, words = "9002", ("down", "base", "--yes", "--no-backup")
    result = taskdb("migrate", *words, expect=FAULTS[fault])
    assert result.code not in (0, ExitCode.SCHEMA)
    if url.drivername == "sqlite":
        stop = start
    assert (f"stopped at {stop}; {start} → {stop} is done" if stop != start else f"still at {stop}") in error(
        result
    )
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == stop
    assert f"still at {stop}" in error(taskdb("-q", "migrate", *words, expect=FAULTS[fault]))
