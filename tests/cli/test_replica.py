"""taskdb … --replica: what it reads, what it says, and what it refuses. The standby is a real one."""

import json
import os
from urllib.parse import quote

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.conftest import SERVERS, SOAK, connect, open_database, plain_url
from tests.pooler import PGBOUNCER, start_pooler
from tests.samples import add_task, add_user

CANARY = "c4n4ry"
NOWHERE = f"postgresql://ann:{CANARY}@127.0.0.1:1/work"

LINES = [
    "user list",
    "user list --limit 0",
    "user list --count",
    "user export",
    "user export 2 --everything",
    "task list",
    "task list --limit 0",
    "task list --count",
    "task list --explain",
    "task export",
    "stats",
    "history",
    "history --count",
    "history list --limit 0",
]


def text(url):
    return url.render_as_string(hide_password=False)


@pytest.fixture
def both(standby, replication, bare_taskdb, monkeypatch):
    """The command line's database on the primary, with a user and a task, and its replica."""
    primary, other = standby
    database = open_database(primary)
    add_user(database)
    add_task(database)
    replication.catch_up()
    monkeypatch.setenv("TASKDB_DATABASE_URL", text(primary))
    monkeypatch.setenv("TASKDB_READ_URL", text(other))
    monkeypatch.setenv("TASKDB_READ_LAG", "0")
    return database


@pytest.fixture
def paused(both, replication):
    """The replica lacks the second user and her task."""
    replication.pause()
    add_user(both, "bea@example.com")
    add_task(both, "bea@example.com", title="Read")
    yield
    replication.resume()


def test_what_reads_many_rows_reads_the_replica(both, bare_taskdb, replication):
    """Every command with the option says the same from the replica as from the primary."""
    add_user(both, "bea@example.com")
    replication.catch_up()
    for line in LINES:
        shown = [bare_taskdb(*line.split(), *more, "-v") for more in ([], ["--replica"])]
        assert "as of" not in shown[1].err, line
        assert str(replication.standby.directory) in shown[1].err
        assert str(replication.standby.directory) not in shown[0].err
        if "--explain" not in line and "--everything" not in line:
            assert shown[0].out == shown[1].out, line


def test_only_with_the_option(paused, bare_taskdb):
    """What was just written is seen without the option, and the replica has it a moment later."""
    for line in ("user list --count", "task list --count"):
        assert bare_taskdb(*line.split()).out == "2\n"
        assert bare_taskdb(*line.split(), "--replica").out == "1\n"
    assert bare_taskdb("user", "list").err == ""


@pytest.mark.soak
@pytest.mark.parametrize("line", ["task export", "stats", "user list", "history"][: 4 if SOAK else 2])
def test_a_lag_is_told(paused, bare_taskdb, monkeypatch, line):
    """A notice on stderr says how old the rows are, if that is over the limit and -q was not given."""
    told = bare_taskdb(*line.split(), "--replica")
    assert told.err.startswith("as of ")
    assert told.err.count("\n") == 1
    assert "as of" not in told.out
    assert bare_taskdb("-q", *line.split(), "--replica").err == ""
    monkeypatch.setenv("TASKDB_READ_LAG", "600")
    assert bare_taskdb(*line.split(), "--replica").err == ""


def test_a_replica_that_is_gone(both, bare_taskdb, monkeypatch):
    """The error names the host and the setting, and nobody is told a password; the primary is not read."""
    monkeypatch.setenv("TASKDB_READ_URL", NOWHERE)
    failed = bare_taskdb("user", "list", "--replica", expect=ExitCode.UNAVAILABLE)
    assert failed.out == ""
    assert failed.err.count("\n") == 1
    assert "127.0.0.1:1" in failed.err
    assert "TASKDB_READ_URL" in failed.err
    assert CANARY not in failed.err
    bare_taskdb("user", "list")
    error = json.loads(bare_taskdb("user", "list", "--replica", "-o", "json", expect=5).err)
    assert "TASKDB_READ_URL" in error["error"]["message"]
    [check] = json.loads(bare_taskdb("health", "--only", "replica", "-o", "json", expect=None).out)["checks"]
    assert "TASKDB_READ_URL" in check["remedy"]


def test_a_replica_of_the_primary_before_a_failover(both, bare_taskdb, fork, monkeypatch, tmp_path):
    """A standby that has replayed what the new primary never wrote is not read, listed or backed up."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", text(fork))
    for line in ("user list", "task export", f"backup --dir {tmp_path}"):
        failed = bare_taskdb(*line.split(), "--replica", expect=ExitCode.UNAVAILABLE)
        assert failed.out == ""
        assert "another server" in failed.err
    assert not [*tmp_path.glob("*.zip")]
    assert "another server" in bare_taskdb("config", "--check", expect=2).err
    assert "another server" in bare_taskdb("health", "-o", "json", expect=None).out


def test_a_primary_that_is_gone(both, bare_taskdb, monkeypatch):
    """The replica answers, with a warning that nothing could be compared; it is an error if both are gone."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", NOWHERE)
    shown = bare_taskdb("user", "list", "--count", "--replica")
    assert shown.out == "1\n"
    assert shown.err.startswith("warning: ")
    assert shown.err.count("\n") == 1
    assert "127.0.0.1:1" in shown.err
    assert CANARY not in shown.err
    monkeypatch.setenv("TASKDB_READ_URL", NOWHERE.replace(":1/", ":2/"))
    failed = bare_taskdb("user", "list", "--replica", expect=ExitCode.UNAVAILABLE)
    assert failed.err.count("\n") == 1
    assert "127.0.0.1:2" in failed.err
    assert CANARY not in failed.err


def test_the_rows_are_those_of_the_server_that_was_compared(both, two_standbys, bare_taskdb, monkeypatch):
    """Where the address leads to several replicas, rows without the newest ones come with the notice."""
    add_user(both, "bea@example.com")
    for times in range(4):
        monkeypatch.setenv("TASKDB_READ_URL", text(two_standbys(times)))
        shown = bare_taskdb("user", "list", "--count", "--replica")
        assert shown.out == "2\n" or "as of" in shown.err, times
    assert shown.out == "2\n"


def test_another_revision(paused, both, bare_taskdb):
    """While the replica has not replayed a migration of the primary, it is not read."""
    bare_taskdb("migrate", "down", "--yes", "--no-backup")
    assert "revision" in bare_taskdb("user", "list", "--replica", expect=ExitCode.SCHEMA).err
    assert "at revision" in bare_taskdb("config", "--check", expect=ExitCode.USAGE).err


@pytest.mark.parametrize("engine", SERVERS[:1], indirect=True)
def test_another_database(taskdb, new_url, empty_url, monkeypatch):
    """A database of another identity is refused, and so is one without tables, and one that takes writes."""
    other = new_url()
    monkeypatch.setenv("TASKDB_READ_URL", text(other))
    assert "promoted" in taskdb("user", "list", "--replica", expect=ExitCode.UNAVAILABLE).err
    with connect(other) as connection:
        connection.execute("UPDATE taskdb_identity SET identity = gen_random_uuid()::text")
    failed = taskdb("user", "list", "--replica", expect=ExitCode.USAGE)
    assert "another database" in failed.err
    assert other.database in failed.err
    assert "another database" in taskdb("config", "--check", expect=ExitCode.USAGE).err
    monkeypatch.setenv("TASKDB_READ_URL", text(empty_url))
    failed = taskdb("user", "list", "--replica", expect=ExitCode.SCHEMA)
    assert "TASKDB_READ_URL" in failed.err
    assert "taskdb migrate" not in failed.err


@pytest.mark.parametrize("line", LINES)
def test_no_replica_is_set(both, bare_taskdb, monkeypatch, line):
    """Without the setting, with another database, or with a file, the option is a mistake."""
    words = [*line.split(), "--replica"]
    given = bare_taskdb("--database-url", text(both.url), *words, expect=ExitCode.USAGE)
    assert "TASKDB_READ_URL in the environment is not used" in given.err
    monkeypatch.setenv("TASKDB_DATABASE_URL", "tasks.db")
    assert "PostgreSQL" in bare_taskdb(*words, expect=ExitCode.USAGE).err
    monkeypatch.delenv("TASKDB_READ_URL")
    failed = bare_taskdb(*words, expect=ExitCode.USAGE)
    assert "TASKDB_READ_URL" in failed.err
    assert failed.err.count("\n") == 1


def test_the_option_before_another_command(both, bare_taskdb):
    """In front of a command of the history that has no such option, it is refused instead of ignored."""
    assert "--replica" in bare_taskdb("history", "--replica", "show", "1", expect=ExitCode.USAGE).err


def test_a_replica_among_hosts(both, bare_taskdb, replication, monkeypatch):
    """A list of hosts that prefers a standby leads to it, and to the primary where no other answers."""
    hosts = [replication.primary.directory, replication.standby.directory]
    address = f"postgresql://postgres@/{both.url.database}?host={{}},{{}}&target_session_attrs=prefer-standby"
    monkeypatch.setenv("TASKDB_READ_URL", address.format(*hosts))
    assert f"{hosts[1]}:5432" in bare_taskdb("user", "list", "--replica", "-v").err
    monkeypatch.setenv("TASKDB_READ_URL", address.format(hosts[0], "/nowhere"))
    assert bare_taskdb("user", "list", "--replica", "--count").out == "1\n"


def test_a_replica_in_a_profile(both, bare_taskdb, replication, tmp_path, monkeypatch):
    """A profile names the replica beside its database, in a schema of its own."""
    path = tmp_path / "home/.config/taskdb/config.toml"
    path.parent.mkdir(parents=True)
    given = {"database_url": "TASKDB_DATABASE_URL", "read_url": "TASKDB_READ_URL"}
    lines = [f"{key} = '{os.environ[name]}'" for key, name in given.items()]
    path.write_text("\n".join(["[profiles.prod]", *lines, "schema = 'work'", ""]))
    path.chmod(0o600)
    for name in given.values():
        monkeypatch.delenv(name)
    with connect(plain_url(text(both.url))) as connection:
        connection.execute("CREATE SCHEMA work")
    bare_taskdb("--profile", "prod", "migrate")
    replication.catch_up()
    assert bare_taskdb("--profile", "prod", "user", "list", "--count", "--replica").out == "0\n"
    settings = json.loads(bare_taskdb("--profile", "prod", "config", "--check", "-o", "json").out)["settings"]
    [found] = [each for each in settings if each["name"] == "read_url"]
    assert (found["source"], str(path) in found["origin"]) == ("profile", True)
    assert quote(str(replication.standby.directory), safe="") in found["value"]
    path.write_text(
        path.read_text() + "[profiles.gone]\n" + lines[0] + "\nread_url = 'postgresql://127.0.0.1:1/x'\n"
    )
    failed = bare_taskdb("--profile", "gone", "user", "list", "--replica", expect=ExitCode.UNAVAILABLE).err
    assert "error: read_url: " in failed


@pytest.mark.skipif(PGBOUNCER is None and os.environ.get("CI") != "true", reason="pgbouncer is not installed")
def test_a_pooler_in_front_of_the_replica(both, bare_taskdb, replication, shelf, monkeypatch):
    """A pooler hands out the sessions of the replica, whichever way the primary is reached."""
    standby = plain_url(replication.standby.url)
    directory = replication.standby.directory
    url, stop = start_pooler(PGBOUNCER, standby, directory, owner=directory / "data")
    try:
        monkeypatch.setenv("TASKDB_READ_URL", text(url.set(database=both.url.database)))
        assert "TASKDB_POOLED=1" in bare_taskdb("stats", "--replica", expect=ExitCode.UNAVAILABLE).err
        monkeypatch.setenv("TASKDB_POOLED", "1")
        for line in LINES:
            bare_taskdb(*line.replace("export 2", "export 1").split(), "--replica")
        monkeypatch.setenv("TASKDB_DIRECT_URL", text(both.url.update_query_dict({"port": "5432"})))
        add_task(both, title="Read")
        assert json.loads(bare_taskdb("backup", "--replica", "-o", "json").out)["rows"] == 3
    finally:
        stop()
