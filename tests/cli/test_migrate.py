"""taskdb migrate, from the outside."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pexpect
import pytest

from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK
from taskdb_cli.database.schema import VERSION_TABLE, migrations_directory, revisions
from taskdb_cli.exit_codes import ExitCode
from tests.conftest import TaskdbCommand, connect
from tests.forked import ForkedProcess, run_forked, start_on_terminal
from tests.schemas import execute, insert_rows, set_revision, write_revision

HEAD = revisions().get_current_head()
CREATE_ANN = ("user", "create", "--email", "ann@example.com", "--name", "Ann")


@pytest.fixture
def empty_taskdb(bare_taskdb: TaskdbCommand, use, empty_url) -> TaskdbCommand:
    """The command line on a database that no migration has touched."""
    use(empty_url)
    return bare_taskdb


def test_up_down_up(empty_taskdb):
    """The schema goes up, down and up again, and each step says on stderr from where to where."""
    assert f"from nothing to {HEAD}" in empty_taskdb("migrate").err
    assert "as it should be" in empty_taskdb("migrate", "check").err
    empty_taskdb(*CREATE_ANN)
    result = empty_taskdb("migrate", "down", "base", "--yes")
    assert f"from {HEAD} to nothing" in result.err
    assert result.out == ""
    empty_taskdb("migrate", "up")
    empty_taskdb("migrate", "check")
    assert empty_taskdb("user", "list").out == ""


def test_nothing_to_do_is_said(taskdb):
    """A migration that has nothing to do claims no upgrade and no downgrade."""
    for arguments in (("migrate",), ("migrate", "up", "0001"), ("migrate", "down", HEAD, "--yes")):
        assert taskdb(*arguments).err.endswith(f" is at {HEAD} already\n")
        assert "graded" not in taskdb(*arguments).err


def test_down_takes_a_number_of_steps(taskdb):
    """`down -1` is one step, as the help says, and needs no `--` in front."""
    steps = len(list(revisions().walk_revisions()))
    taskdb("migrate", "down", f"-{steps}", "--yes")
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] is None
    taskdb("migrate", "up")
    taskdb("migrate", "down", "--yes")
    assert len(json.loads(taskdb("migrate", "status", "-o", "json").out)["pending"]) == 1


def test_status_says_where_the_database_stands(taskdb):
    """Status gives the current revision, the newest, and the pending steps with date and message."""
    status = json.loads(taskdb("migrate", "status", "-o", "json").out)
    assert status == {"current": HEAD, "head": HEAD, "pending": []}
    taskdb("migrate", "down", "base", "--yes")
    status = json.loads(taskdb("migrate", "status", "-o", "json").out)
    assert (status["current"], status["head"]) == (None, HEAD)
    assert status["pending"][0] == {
        "revision": "0001",
        "date": "2026-11-22",
        "applied": False,
        "message": "Create users and tasks",
    }
    result = taskdb("migrate", "status")
    assert result.out.startswith("0001\t2026-11-22\tfalse\tCreate users and tasks\n")
    assert f"current none; head {HEAD}; {len(status['pending'])} pending" in result.err


def test_history_lists_every_revision(taskdb):
    """History begins with the oldest revision and ends with the newest."""
    rows = json.loads(taskdb("migrate", "history", "-o", "json").out)
    assert (rows[0]["revision"], rows[-1]["revision"]) == ("0001", HEAD)
    assert all(row["applied"] for row in rows)


def test_sql_is_what_migrate_does(taskdb, new_url, use):
    """The printed SQL makes, when it is run by hand, a database that passes the check."""
    script = taskdb("migrate", "sql").out
    by_hand = new_url(migrated=False)
    execute(by_hand, *[statement for statement in script.split(";\n") if statement.strip()])
    use(by_hand)
    taskdb("migrate", "check")


def test_sql_touches_nothing(bare_taskdb, tmp_path):
    """Printing the SQL needs no database and makes none."""
    before = set(tmp_path.rglob("*"))
    assert "CREATE TABLE users" in bare_taskdb("migrate", "sql").out
    remote = ["--database-url", "postgresql://127.0.0.1:1/d"]
    assert "TIMESTAMP WITH TIME ZONE" in bare_taskdb(*remote, "migrate", "sql", f"base:{HEAD}").out
    assert "users" not in bare_taskdb(*remote, "migrate", "sql", f"{HEAD}:head").out
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "nonsense"),
        ("up", "+99"),
        ("down", "nonsense", "--yes"),
        ("down", "-99", "--yes"),
        ("sql", "a:b"),
    ],
)
def test_an_unknown_revision_is_a_usage_error(taskdb, arguments):
    """A revision that does not exist exits 2, and the database stays at head."""
    assert "migrate history" in taskdb("migrate", *arguments, expect=ExitCode.USAGE).err
    taskdb("migrate", "check")


def test_down_asks_first(taskdb, url):
    """Without --yes and without a terminal nothing is undone (9)."""
    insert_rows(url)
    result = taskdb("migrate", "down", "base", expect=ExitCode.REFUSED, stdin="y\n")
    assert "--yes" in result.err
    assert execute(url, "SELECT title FROM tasks") == [("Write",)]


def test_down_says_what_is_lost(taskdb, url):
    """What would go is named, also when nobody can be asked."""
    insert_rows(url)
    result = taskdb("migrate", "down", "base", expect=ExitCode.REFUSED)
    for words in (f"from {HEAD} to nothing", "all tasks (1)", "all users (1)"):
        assert words in result.err
    taskdb("migrate", "down", "0002", "--yes")
    result = taskdb("migrate", "down", "0001", expect=ExitCode.REFUSED)
    assert "from 0002 to 0001 (no data is lost)" in result.err
    taskdb("migrate")
    assert taskdb("migrate", "down", HEAD).err.endswith(f" is at {HEAD} already\n")
    taskdb("migrate", "check")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_down_goes_where_the_question_said(taskdb, url):
    """What somebody else undoes while a person thinks is not undone once more."""
    steps = [step.revision for step in revisions().walk_revisions()]
    child = start_on_terminal("migrate", "down", dimensions=(24, 400))
    child.expect(rf"from {steps[0]} to {steps[1]} .*\? \[y/N\] ")
    taskdb("migrate", "down", "--yes")
    child.sendline("y")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == steps[1]


def test_down_asks_with_what_is_lost(taskdb, url):
    """On a terminal the question names it, and only yes goes ahead."""
    insert_rows(url)
    for answer, code, left in (("n", ExitCode.REFUSED, [("Write",)]), ("y", ExitCode.OK, None)):
        child = start_on_terminal("migrate", "down", "base", dimensions=(24, 400))
        child.expect(r"from \w+ to nothing \(.*all users \(1\); all tasks \(1\)\)\? \[y/N\] ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
        if left:
            assert execute(url, "SELECT title FROM tasks") == left
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] is None


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_wrong_direction_is_refused(taskdb):
    """A way down to a newer revision names the command that goes there, and nothing is changed."""
    taskdb("migrate", "down", "0003", "--yes")
    for there in (HEAD, "+1"):
        error = taskdb("migrate", "down", there, expect=ExitCode.USAGE).err
        assert f"'taskdb migrate up {there}'" in error
    for word, nowhere in (("down", "-9"), ("up", "+9"), ("up", "nonsense"), ("sql", "nonsense")):
        error = taskdb("migrate", word, nowhere, expect=ExitCode.USAGE).err
        assert error.startswith(f"error: there is no revision '{nowhere}'")
        assert ("FROM:TO" in error) is (word == "sql")
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == "0003"


def test_sql_of_a_way_back(bare_taskdb):
    """A range that goes down prints the SQL of the downgrade."""
    out = bare_taskdb("--database-url", "postgresql://127.0.0.1:1/d", "migrate", "sql", f"{HEAD}:base").out
    assert out.index("DROP INDEX") < out.index("DROP TABLE tasks") < out.index("DROP TABLE users")


ORDINARY = [
    ("task", "list"),
    ("task", "list", "--limit", "0", "-o", "ndjson"),
    ("user", "list"),
    ("user", "show", "ann@example.com"),
    CREATE_ANN,
    ("task", "create", "--user", "ann@example.com", "Write"),
    ("user", "delete", "ann@example.com", "--yes"),
]


def assert_schema_error(taskdb, command, *words):
    """The command exits 6 with one line that has these words, also as JSON, and prints no data."""
    result = taskdb(*command, expect=ExitCode.SCHEMA)
    assert result.out == ""
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def test_a_database_behind_names_the_upgrade(taskdb):
    """Every command on a database that is behind exits 6, and none migrates it implicitly."""
    taskdb("migrate", "down", "base", "--yes")
    for command in (*ORDINARY, ("migrate", "check")):
        assert_schema_error(taskdb, command, "no tables yet", "'taskdb migrate'")
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] is None


def test_an_empty_server_database_names_the_upgrade(empty_taskdb, empty_url):
    """A database without any table, other than an absent file, is behind and not missing."""
    if empty_url.drivername == "sqlite":
        execute(empty_url, "PRAGMA journal_mode = WAL")
    for command in ORDINARY:
        assert_schema_error(empty_taskdb, command, "no tables yet", "'taskdb migrate'")


def test_a_database_ahead_names_the_newer_version(taskdb, url):
    """What a newer taskdb made is not touched: 6, also from ordinary commands that stumble on it."""
    set_revision(url, "f00d")
    execute(url, "ALTER TABLE users RENAME COLUMN email TO address")
    for command in (
        *ORDINARY,
        ("migrate",),
        ("migrate", "up"),
        ("migrate", "down", "--yes"),
        ("migrate", "check"),
        ("migrate", "history"),
    ):
        assert_schema_error(taskdb, command, "f00d", "upgrade taskdb")
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == "f00d"


def test_a_database_at_several_revisions_is_named(taskdb, url):
    """Two rows in the version table: 6 from all of migrate, both named, and so is what repairs it."""
    execute(url, f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")
    for arguments in ((), ("up",), ("down", "--yes"), ("down",), ("check",), ("history",), ("status",)):
        assert_schema_error(
            taskdb, ("migrate", *arguments), f"0001, {HEAD}", "'taskdb migrate stamp REVISION'"
        )
    result = taskdb("migrate", "status", "-o", "json", expect=ExitCode.SCHEMA)
    assert json.loads(result.err)["error"]["code"] == "schema"


def test_several_heads_are_named(taskdb, chain):
    """A chain of revisions that forks: 6 from all of migrate, each head named."""
    for revision in ("9001", "9002"):
        write_revision(chain, revision, after=HEAD, upgrade="pass")
    for arguments in ((), ("up",), ("down", "--yes"), ("check",), ("history",), ("status",)):
        assert_schema_error(taskdb, ("migrate", *arguments), "several heads: 9001, 9002", "alembic merge")


def test_a_foreign_database_is_named(empty_taskdb, empty_url):
    """Tables of our names that taskdb did not make: 6 from every command, and nothing is changed."""
    execute(empty_url, "CREATE TABLE users (login text)", "CREATE TABLE tasks (what text)")
    for command in (
        *ORDINARY,
        ("migrate",),
        ("migrate", "down", "--yes"),
        ("migrate", "check"),
        ("migrate", "status"),
        ("migrate", "history"),
    ):
        assert_schema_error(empty_taskdb, command, "users", "taskdb did not make", "of its own")
    assert execute(empty_url, "SELECT login FROM users") == []


def test_a_drifted_database_names_the_check(taskdb, url):
    """A schema that was changed by hand: 6, and ordinary commands point to the check that says how."""
    execute(url, "ALTER TABLE users RENAME COLUMN email TO address")
    for command in ORDINARY:
        assert_schema_error(taskdb, command, "differ", "'taskdb migrate check'")
    assert_schema_error(taskdb, ("migrate", "check"), "column users.email is missing", "by hand")


def test_a_schema_error_is_json_where_asked(taskdb, url):
    """With -o json the error is an object that names its code."""
    execute(url, "ALTER TABLE users RENAME COLUMN email TO address")
    result = taskdb("user", "list", "-o", "json", expect=ExitCode.SCHEMA)
    assert json.loads(result.err)["error"]["code"] == "schema"


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_file_is_made_by_migrate_and_user_create_only(bare_taskdb, tmp_path, content):
    """A SQLite file that is absent or empty is no empty success: 3, with its path, from all the rest."""
    path = tmp_path / "deep" / "d.sqlite3"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    where = ("--database-url", f"sqlite:///{path}")
    for command in (
        *[command for command in ORDINARY if command != CREATE_ANN],
        ("task", "show", "1"),
        ("task", "done", "1"),
        ("migrate", "status"),
        ("migrate", "history"),
        ("migrate", "check"),
        ("migrate", "down", "--yes"),
    ):
        result = bare_taskdb(*where, *command, expect=ExitCode.NOT_FOUND)
        assert str(path) in result.err
        assert "'taskdb migrate'" in result.err
        assert not path.exists() or path.read_bytes() == b""
        assert path.parent.exists() is (content is not None)
    for maker in (("migrate",), ("migrate", "up"), CREATE_ANN):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert str(path) in bare_taskdb(*where, *maker).err
        bare_taskdb(*where, "migrate", "check")
    assert "ann@example.com" in bare_taskdb(*where, "user", "list").out


def test_a_new_file_is_private(bare_taskdb, tmp_path):
    """The embedded default database, and the directory made for it, are its owner's alone."""
    result = bare_taskdb(*CREATE_ANN)
    path = tmp_path / "data" / "taskdb" / "taskdb.sqlite3"
    assert f"created {path}" in result.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def run_together(*lines):
    """The completed processes of several command lines that were started at once."""
    with ThreadPoolExecutor(len(lines)) as threads:
        return list(threads.map(lambda line: run_forked(*line), lines))


def test_migrations_at_once_wait_for_each_other(empty_taskdb):
    """Of several migrations started together one does the work, and all succeed."""
    results = run_together(*[["migrate"]] * 3)
    assert [each.returncode for each in results] == [0, 0, 0], results
    assert sum("from nothing to" in each.stderr for each in results) == 1
    empty_taskdb("migrate", "check")


def test_a_second_migration_waits_and_finds_nothing_to_do(empty_taskdb, empty_url):
    """Two that are started while something holds both up: one works, the other has nothing left to do."""
    with holding_up_migrations(empty_url):
        started = [ForkedProcess("-v", "migrate", environment=dict(os.environ)) for _ in "12"]
        for process in started:
            assert any("waiting" in line or "trying again" in line for line in process.stderr)
    said = []
    for process in started:
        with process.stderr as stderr:
            said.append(stderr.read())
    assert [process.wait(60) for process in started] == [0, 0]
    assert sorted("from nothing to" in text for text in said) == [False, True]
    assert sorted(f"is at {HEAD} already" in text for text in said) == [False, True]
    empty_taskdb("migrate", "check")


@contextmanager
def holding_up_migrations(url):
    """Hold what every migration waits for."""
    if url.drivername == "sqlite":
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    with connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        yield


def test_who_keeps_a_migration_waiting_is_named(taskdb, url, monkeypatch):
    """When the wait is over in vain, the command exits 5 and names who is in the way."""
    monkeypatch.setenv("TASKDB_MIGRATION_WAIT", "0")
    with holding_up_migrations(url):
        result = taskdb("migrate", "down", "--yes", expect=ExitCode.UNAVAILABLE)
    assert "by session " in result.err or "by process " in result.err
    assert result.err.count("\n") == 1


def test_first_users_at_once_share_one_new_file(bare_taskdb):
    """Several commands that find no embedded database make one between them, and lose nothing."""
    create = [[*CREATE_ANN[:3], f"ann{number}@example.com", *CREATE_ANN[4:]] for number in range(3)]
    results = run_together(*create)
    assert [each.returncode for each in results] == [0, 0, 0], results
    assert len(bare_taskdb("user", "list").out.splitlines()) == 3


def test_maintainers_use_the_alembic_command(isolated, tmp_path, monkeypatch):
    """In a checkout, alembic works on the configured database: made, upgraded, given a new revision."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(migrations_directory(), checkout / "migrations", ignore=ignored)
    shutil.copy(migrations_directory().parent / "alembic.ini", checkout)
    monkeypatch.chdir(checkout)
    database = tmp_path / "d.sqlite3"
    (checkout / ".env").write_text(f"DATABASE_URL=sqlite:///{database}\n")

    def alembic(*arguments):
        words = [sys.executable, "-m", "alembic", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    alembic("upgrade", "head")
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    alembic("revision", "--autogenerate", "--rev-id", "9001", "-m", "Try it")
    [written] = Path("migrations/versions").glob("9001*")
    assert written.name == "9001_try_it.py"
    assert f"Revision: 9001, after {HEAD}\n" in written.read_text()
    assert "op." not in written.read_text().partition("def upgrade")[2]
    alembic("upgrade", "head")
    assert "9001 (head)" in alembic("current")
    assert "INSERT INTO" in alembic("upgrade", "head", "--sql")
    from sqlalchemy import make_url

    assert execute(make_url(f"sqlite:///{database}"), f"SELECT * FROM {VERSION_TABLE}") == [("9001",)]


def test_a_new_revision_is_one_command(isolated, tmp_path):
    """`.ci/revision` writes the next revision from the models; it names no type that may change."""
    root, checkout = migrations_directory().parent, tmp_path / "checkout"
    for part in ("taskdb_cli", "migrations", ".ci"):
        shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "alembic.ini", checkout)
    models = checkout / "taskdb_cli" / "models" / "user.py"
    flag = "    vip: bool | None = Field(default=None, sa_column=Column(types.Flag()))\n"
    seen = "    seen_at: datetime | None = Field(default=None, sa_column=Column(types.timestamp_type()))\n"
    models.write_text(models.read_text().replace("    version: int", f"{flag}{seen}    version: int", 1))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(checkout)}
    script = ["bash", str(checkout / ".ci" / "revision")]
    subprocess.run([*script, "Add a flag"], env=environment, check=True, capture_output=True)
    [written] = (checkout / "migrations" / "versions").glob("*_add_a_flag.py")
    assert written.name.startswith(f"{int(HEAD) + 1:04d}_")
    text = written.read_text()
    assert 'sa.Boolean().with_variant(sa.Integer(), "sqlite")' in text
    assert 'sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")' in text
    assert "taskdb_cli" not in text
    database = f"sqlite:///{tmp_path}/d.sqlite3"
    environment["DATABASE_URL"] = database
    subprocess.run([sys.executable, "-m", "taskdb_cli", "migrate"], env=environment, check=True)
    subprocess.run(["alembic", "check"], cwd=checkout, env=environment, check=True, capture_output=True)
    refused = subprocess.run(script, env=environment, check=False, capture_output=True)
    assert refused.returncode == 2
