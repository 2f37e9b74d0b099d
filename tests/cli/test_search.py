"""taskdb search, from the outside, on the servers that have pg_trgm."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK
from taskdb_cli.exit_codes import ExitCode
from tests.conftest import FAULT_SERVERS, SERVERS, connect
from tests.database.test_interrupts import interrupted
from tests.pooler import PGBOUNCER, start_pooler
from tests.processes import command
from tests.schemas import execute, insert_rows
from tests.waiting import wait_until

SOAK = os.environ.get("TASKDB_SOAK") == "1"
WITH_TRIGRAMS = FAULT_SERVERS[len(SERVERS) :] if SOAK else FAULT_SERVERS[len(SERVERS) :][-1:]
"""The servers whose packages have the extension, or the newest; one from elsewhere may have it or not."""

WITHOUT_TRIGRAMS = [name for name in SERVERS if name != "server"]

pytestmark = pytest.mark.soak
TITLE, DESCRIPTION = "tasks_title_search", "tasks_description_search"


@pytest.fixture(params=WITH_TRIGRAMS)
def engine(request):
    """The engine that this run of the test is about."""
    return request.param


def status(taskdb):
    return json.loads(taskdb("search", "status", "-o", "json").out)


def health(taskdb):
    return json.loads(taskdb("health", "--only", "indexes,drift", "-o", "json", expect=None).out)


def add_tasks(url, number):
    """Add so many tasks, of which one in a thousand says so."""
    insert_rows(url)
    execute(
        url,
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        " SELECT 1, 'Task ' || n || CASE WHEN n % 1000 = 0 THEN ' is rare' ELSE '' END, 'todo', 2, 1,"
        f" now(), now() FROM generate_series(1, {number}) AS n",
        "ANALYZE tasks",
    )


def test_on_and_off(taskdb, url):
    """Each is done once and then said to be so already; neither is a difference of the schema."""
    insert_rows(url)
    assert status(taskdb)["state"] == "off"
    assert status(taskdb)["size"] == 0
    for word, said in (("on", "on, and"), ("on", "on already"), ("off", "off\n"), ("off", "off already\n")):
        assert f" is {said}" in taskdb("search", word).err
        found = status(taskdb)
        assert (found["state"], found["size"] > 0) == (word, word == "on")
        assert (found["tasks"], found["pays"], found["problem"]) == (1, False, None)
        taskdb("migrate", "check")
        assert health(taskdb)["status"] == "ok"
        taskdb("migrate", "stamp")


def test_status_in_every_format(taskdb):
    """A table, a line and a record for programs say the same; the advice is for people, on stderr."""
    taskdb("search", "on", "-q")
    assert re.search(r"state +on\s+size +[0-9.]+ kB\s", taskdb("search", "status", "-o", "table").out)
    assert taskdb("search", "status", "-q").err == ""
    result = taskdb("search", "status")
    assert result.out.startswith("on\t")
    assert "0 tasks are too few" in result.err
    assert "MB" not in result.err
    assert taskdb("search", "status", "-o", "csv").out.startswith("state,size,tasks,tasks_size,write_factor,")
    assert json.loads(taskdb("search", "status", "-o", "ndjson").out)["state"] == "on"


def test_a_search_uses_it_and_finds_the_same(taskdb, url):
    """A rare text is read from the index, and --explain says so; one without a word is searched as before."""
    add_tasks(url, 20_000)
    texts = ["is rare", "nowhere", "k 1", "---", "%", "Task"]
    search = ("task", "list", "--all-users", "--fields", "id", "--limit", "0", "--search")
    explain = ("--explain", "-o", "json")
    before = {text: (taskdb(*search, text).out, taskdb(*search, text, *explain).out) for text in texts}
    taskdb("search", "on")
    for text, (found, plan) in before.items():
        assert taskdb(*search, text).out == found, text
        summary = json.loads(taskdb(*search, text, *explain).out)[0]["summary"]
        assert (f"search index {TITLE}" in summary) == (text in ("is rare", "nowhere")), (text, summary)
        if text in ("k 1", "---", "%"):
            assert summary == json.loads(plan)[0]["summary"]
            assert 'COLLATE "POSIX"' in json.loads(plan)[0]["sql"]
    assert execute(url, f"SELECT count(*) > 0 FROM pg_stats WHERE tablename = '{TITLE}'") == [(True,)]


def test_a_user_with_few_tasks(taskdb, url):
    """Such a user is searched as without the index: a phrase may be rare here and frequent among all."""
    add_tasks(url, 20_000)
    taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    execute(url, "UPDATE tasks SET user_id = 2 WHERE id < 1500", "ANALYZE tasks")
    search = ("task", "list", "--search", "is rare", "--fields", "id")
    before = taskdb(*search, "--user", "bob@example.com").out
    taskdb("search", "on")
    for user, used in (("ann@example.com", True), ("bob@example.com", False)):
        assert ("search index" in taskdb(*search, "--user", user, "--explain").out) == used
    assert taskdb(*search, "--user", "bob@example.com").out == before != ""


def test_a_user_with_many_tasks(taskdb, url):
    """A rare text is looked for in the index, and one that many tasks have in those of the user."""
    add_tasks(url, 20_000)
    search = ("task", "list", "--user", "ann@example.com", "--fields", "id", "--limit", "0", "--search")
    before = {text: taskdb(*search, text).out for text in ("Task 12", "is rare")}
    taskdb("search", "on")
    for text, found in before.items():
        plan = taskdb(*search, text, "--explain").out
        assert (f"search index {TITLE}" in plan) == (text == "is rare"), plan
        assert taskdb(*search, text).out == found != ""


def test_a_rare_text_that_the_planner_knows(taskdb, url, tmp_path):
    """A text that the statistics happen to hold is taken for rare nevertheless, also after a restore."""
    add_tasks(url, 20_000)
    # The title in the middle of their order is always among them.
    middle = 'SELECT id FROM tasks ORDER BY lower(title) COLLATE "C" OFFSET 9999 LIMIT 3'
    execute(url, f"UPDATE tasks SET title = title || ' of them' WHERE id IN ({middle})")
    archive = str(tmp_path / "all.taskdb")
    taskdb("search", "on")
    taskdb("backup", "--file", archive)
    for _ in range(2):
        plan = taskdb("task", "list", "--all-users", "--search", "of them", "--limit", "15", "--explain").out
        assert f"search index {TITLE}" in plan
        taskdb("restore", archive, "--replace", "--yes", "--no-safety-backup")
        # PostgreSQL 15 takes the setting of a new index into account after the transaction only.
        execute(url, "ANALYZE tasks")


def test_another_index_of_that_name(taskdb, url):
    """An index that search would not make is a difference, which health tells once; on replaces it."""
    execute(url, f"CREATE INDEX {TITLE} ON tasks (title)")
    assert f"index {TITLE} is CREATE INDEX" in taskdb("migrate", "check", expect=ExitCode.SCHEMA).err
    assert status(taskdb)["state"] == "incomplete"
    checks = {each["name"]: each for each in health(taskdb)["checks"]}
    assert (checks["drift"]["status"], checks["indexes"]["status"]) == ("ok", "warning")
    taskdb("search", "on")
    taskdb("migrate", "check")
    assert status(taskdb)["state"] == "on"


def test_something_else_of_that_name(taskdb, url):
    """A table that has the name of the index is left alone (4)."""
    execute(url, f"CREATE TABLE {DESCRIPTION} (id int)")
    assert DESCRIPTION in taskdb("search", "on", expect=ExitCode.CONFLICT).err
    taskdb("search", "off")
    assert execute(url, f"SELECT count(*) FROM {DESCRIPTION}") == [(0,)]


def test_an_invalid_index(taskdb, url):
    """Status, health and the next run know an index that answers no query, and how to mend it."""
    taskdb("search", "on")
    execute(url, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{TITLE}'::regclass")
    found = status(taskdb)
    assert (found["state"], found["problem"]) == ("incomplete", f"{TITLE} is invalid")
    taskdb("migrate", "check")
    [check] = [each for each in health(taskdb)["checks"] if each["name"] == "indexes"]
    assert check["status"] == "warning"
    assert TITLE in check["message"]
    assert "taskdb search on" in check["remedy"]
    assert "REINDEX" not in check["remedy"]
    taskdb("search", "on")
    assert (status(taskdb)["state"], health(taskdb)["status"]) == ("on", "ok")
    execute(url, f"DROP INDEX {DESCRIPTION}")
    assert status(taskdb)["problem"] == f"{DESCRIPTION} is missing"
    taskdb("search", "off")
    assert status(taskdb)["state"] == "off"


BUILDING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
)
WAITING = f"{BUILDING} AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_stopped(taskdb, url, number):
    """Ctrl-C leaves nothing; after SIGKILL the server notices, and the next run builds it anew."""
    insert_rows(url)
    with connect(url) as older, connect(url) as observer:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT * FROM users")
        process = subprocess.Popen(
            command("search", "on"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: observer.execute(WAITING).fetchone() == (1,))
        assert "is building" in status(taskdb)["problem"]
        code, _, err = interrupted(process, number)
        # Whoever waits for a lock looks up now and then: that is not the end of it.
        wait_until(lambda: observer.execute(BUILDING).fetchone() == (0,))
        if number == signal.SIGINT:
            assert (code, err.splitlines()[-1]) == (130, "error: interrupted; the search index is off")
            assert status(taskdb)["state"] == "off"
        else:
            assert code == -signal.SIGKILL
            assert f"{TITLE} is invalid" in status(taskdb)["problem"]
        older.execute("COMMIT")
    taskdb("search", "on")
    assert status(taskdb)["state"] == "on"


@pytest.mark.parametrize(
    ("setting", "hint"), [("TASKDB_MIGRATION_WAIT", "taskdb health"), ("TASKDB_MIGRATION_TIMEOUT", "raise")]
)
def test_an_old_transaction_in_the_way(taskdb, url, monkeypatch, setting, hint):
    """The limits of a migration are those of a build, which leaves nothing when they end it (5)."""
    monkeypatch.setenv(setting, "1")
    with connect(url) as older:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT * FROM users")
        err = taskdb("search", "on", expect=ExitCode.UNAVAILABLE).err
        assert setting in err
        assert hint in err
        assert "the search index is off" in err
    assert status(taskdb)["state"] == "off"


def test_while_others_maintain_the_database(taskdb, url, monkeypatch):
    """A second build waits as a migration does, and a backup is refused meanwhile; each names the holder."""
    monkeypatch.setenv("TASKDB_MIGRATION_WAIT", "0")
    with connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        for line in (("search", "on"), ("search", "off"), ("backup", "--file", "x.taskdb")):
            err = taskdb(*line, expect=ExitCode.UNAVAILABLE).err
            assert f"session {other.info.backend_pid}" in err


def test_restore_and_copy_keep_it(taskdb, url, new_url, tmp_path):
    """All rows are replaced below an index that is there, and none is made where there was none."""
    add_tasks(url, 100)
    archive = str(tmp_path / "all.taskdb")
    taskdb("backup", "--file", archive)
    other = new_url()
    for word in ("on", "off"):
        taskdb("search", word)
        before = execute(url, "SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%_search' ORDER BY 1")
        taskdb("restore", archive, "--replace", "--yes", "--no-safety-backup")
        taskdb(
            "copy",
            "--to",
            other.render_as_string(hide_password=False),
            "--replace",
            "--yes",
            "--no-safety-backup",
        )
        assert (
            execute(url, "SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%_search' ORDER BY 1")
            == before
        )
        assert status(taskdb)["state"] == word
        assert execute(other, "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%_search'") == []
        taskdb("migrate", "check")
        assert len(taskdb("task", "list", "--all-users", "--search", "task 10").out.splitlines()) == 2


@pytest.fixture
def role(url):
    """A role that owns a schema of the database and nothing else."""
    name = f"taskdb_test_search_{os.getpid()}"
    execute(
        url,
        f"CREATE ROLE {name} LOGIN",
        f"CREATE SCHEMA ours AUTHORIZATION {name}",
        "CREATE SCHEMA extensions",
    )
    yield name
    execute(
        url,
        "DROP EXTENSION IF EXISTS pg_trgm CASCADE",
        "DROP SCHEMA ours CASCADE",
        f"DROP OWNED BY {name}",
        f"DROP ROLE {name}",
    )


def test_what_the_role_may_not_do(taskdb, url, role, monkeypatch):
    """Each missing right is told with the SQL that grants it, and nothing is done without it."""
    theirs = url.set(username=role, query={**url.query})
    monkeypatch.setenv("TASKDB_DATABASE_URL", theirs.render_as_string(hide_password=False))
    monkeypatch.setenv("TASKDB_SCHEMA", "ours")
    taskdb("migrate")
    err = taskdb("search", "on", expect=ExitCode.SCHEMA).err
    assert "CREATE EXTENSION pg_trgm SCHEMA public" in err
    execute(url, "CREATE EXTENSION pg_trgm SCHEMA extensions")
    err = taskdb("search", "on", expect=ExitCode.SCHEMA).err
    assert f"GRANT USAGE ON SCHEMA extensions TO {role}" in err
    execute(url, f"GRANT USAGE ON SCHEMA extensions TO {role}", "ALTER SCHEMA ours OWNER TO postgres")
    execute(url, f"GRANT USAGE ON SCHEMA ours TO {role}")
    assert f"GRANT CREATE ON SCHEMA ours TO {role}" in taskdb("search", "on", expect=ExitCode.FAILURE).err
    execute(url, f"GRANT CREATE ON SCHEMA ours TO {role}")
    taskdb("search", "on")
    assert status(taskdb)["state"] == "on"
    taskdb("migrate", "check")
    assert health(taskdb)["status"] == "ok"
    execute(url, "ALTER TABLE ours.tasks OWNER TO postgres", f"GRANT ALL ON ours.tasks TO {role}")
    for word in ("off", "on"):
        assert ("postgres" in taskdb("search", word, expect=None).err) == (word == "off")
    assert status(taskdb)["state"] == "on"


def test_a_role_that_may_create_the_extension(taskdb, url, role, monkeypatch):
    """The extension is trusted: who may create schemas may create it, where others find it too."""
    execute(url, f'GRANT CREATE ON DATABASE "{url.database}" TO {role}')
    monkeypatch.setenv("TASKDB_DATABASE_URL", url.set(username=role).render_as_string(hide_password=False))
    monkeypatch.setenv("TASKDB_SCHEMA", "ours")
    taskdb("migrate")
    taskdb("search", "on")
    taskdb("migrate", "check")
    where = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'"
    assert execute(url, where) == [("public",)]


@pytest.mark.parametrize("engine", WITHOUT_TRIGRAMS, indirect=True)
def test_a_server_without_the_extension(taskdb):
    """It is told what the server lacks (6), and everything else goes on."""
    err = taskdb("search", "on", expect=ExitCode.SCHEMA).err
    assert "pg_trgm" in err
    assert "postgresql-contrib" in err
    taskdb("search", "off")
    assert status(taskdb)["state"] == "off"


@pytest.mark.skipif(PGBOUNCER is None and os.environ.get("CI") != "true", reason="pgbouncer is not installed")
@pytest.mark.parametrize("engine", WITH_TRIGRAMS[-1:], indirect=True)
def test_behind_a_pooler(bare_taskdb, url, monkeypatch):
    """The index is built over the direct address, and used through the pooler."""
    add_tasks(url, 20_000)
    directory = Path(url.query["host"])
    pooler, stop = start_pooler(PGBOUNCER, url.set(database="postgres"), directory, owner=directory / "data")
    try:
        monkeypatch.setenv("TASKDB_DATABASE_URL", pooler.set(database=url.database).render_as_string())
        monkeypatch.setenv("TASKDB_POOLED", "1")
        monkeypatch.setenv("TASKDB_DIRECT_URL", url.render_as_string(hide_password=False))
        bare_taskdb("search", "on")
        assert status(bare_taskdb)["state"] == "on"
        found = bare_taskdb("task", "list", "--all-users", "--search", "is rare", "--explain").out
        assert f"search index {TITLE}" in found
    finally:
        stop()


def test_a_hot_standby(standby, isolated, bare_taskdb, replication, monkeypatch):
    """The index comes to a standby with everything else; there it is looked at and used, but not built."""
    primary, replica = standby
    monkeypatch.setenv("TASKDB_DATABASE_URL", primary.render_as_string(hide_password=False))
    bare_taskdb("search", "on")
    replication.catch_up()
    monkeypatch.setenv("TASKDB_DATABASE_URL", replica.render_as_string(hide_password=False))
    assert status(bare_taskdb)["state"] == "on"
    bare_taskdb("migrate", "check")
    assert "primary" in bare_taskdb("search", "off", expect=ExitCode.FAILURE).err
