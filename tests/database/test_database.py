"""Transactions, and the errors of a driver as ours."""

import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from taskdb_cli.database.options import Options
from taskdb_cli.database.sqlite import engine as sqlite
from taskdb_cli.errors import DatabaseUnavailable, TaskdbError
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.user import UserCreate, user_record
from taskdb_cli.services import task
from taskdb_cli.services import user as service
from tests.conftest import NOW, SERVERS, connect, open_database
from tests.processes import WITHOUT_PRIVILEGE, command, limited, run_process
from tests.samples import add_task, add_user, emails, titles, user_records

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)
ANN = UserCreate(email="ann@example.com", name="Ann")


def create_ann(session):
    return service.create(session, ANN, now=NOW)


def test_write_commits(database):
    """What a write returns is committed, and others see it."""
    created = database.write(create_ann)
    assert user_records(open_database(database.url)) == [user_record(created)]


def test_write_rolls_back_on_any_exception(database):
    """An exception leaves nothing of its transaction behind, and comes out as it was raised."""

    def fail(session):
        create_ann(session)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        database.write(fail)
    assert emails(database) == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_one_transaction(database, dry_run):
    """What goes past the ORM, before and after it is used, is kept or undone with what the ORM does."""

    def work(session):
        session.connection().execute(text("UPDATE users SET name = 'Bob'"))
        create_ann(session)
        session.connection().execute(text("UPDATE users SET name = name || '!'"))

    add_user(database, "bob@example.com")
    before = user_records(database)
    database.write(work, dry_run=dry_run)
    names = [record["name"] for record in user_records(database)]
    assert names == ([before[0]["name"]] if dry_run else ["Bob!", "Ann!"])


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_driver_is_in_that_transaction(database, dry_run):
    """So is what goes to the driver, before the ORM is used, after that, and in a savepoint that fails."""

    def name(session, title):
        task.change(session, [1], TaskUpdate(title=title), now=NOW)

    def work(session):
        name(session, "First")
        create_ann(session)
        name(session, "Second")
        with suppress(RuntimeError), session.begin_nested():
            name(session, "Undone")
            raise RuntimeError
        return [record["title"] for record in task.get_all(session, [1])]

    add_user(database, "bob@example.com")
    add_task(database, "bob@example.com")
    before = titles(database)
    assert database.write(work, dry_run=dry_run) == ["Second"]
    assert titles(database) == (before if dry_run else ["Second"])
    assert ("ann@example.com" in emails(database)) is not dry_run


def test_a_write_of_nothing(database):
    """A unit of work that asks nothing of the database has nothing to commit."""
    assert database.write(lambda _: 7) == 7


def test_dry_run_returns_and_keeps_nothing(database):
    """A dry run returns what a write would, and changes nothing."""
    created = database.write(create_ann, dry_run=True)
    assert (created.id, created.email) == (1, "ann@example.com")
    assert emails(database) == []


def test_read_keeps_nothing(database):
    """What is written in a read is never kept."""
    with suppress(TaskdbError):
        database.read(create_ann)
    assert emails(database) == []


def test_stream_is_one_transaction(database):
    """A stream sees the rows of the moment it began with."""
    add_user(database)

    def scan(session):
        yield from session.execute(text("SELECT email FROM users ORDER BY id")).scalars()

    with database.stream(scan) as rows:
        assert next(rows) == "ann@example.com"
        add_user(open_database(database.url), "bob@example.com")
        assert list(rows) == []


def test_nested_failure_leaves_the_rest(database):
    """An address that is taken does not spoil the transaction that asked for it."""

    def work(session):
        service.create(session, UserCreate(email="bob@example.com", name="Bob"), now=NOW)
        return service.create_unless_exists(session, ANN, now=NOW)

    add_user(database)
    assert database.write(work).id == 1
    assert emails(database) == ["ann@example.com", "bob@example.com"]


@SQLITE_ONLY
def test_sqlite_obeys_foreign_keys(database):
    """Every connection obeys foreign keys."""
    assert database.read(lambda session: session.execute(text("PRAGMA foreign_keys")).scalar()) == 1


@SQLITE_ONLY
def test_new_sqlite_database(empty_url, bare_taskdb):
    """A database that `user create` makes is in WAL mode, and nobody but its owner may read it."""
    path = Path(empty_url.database).parent / "new" / "deep" / "taskdb.sqlite3"
    address = f"sqlite:///{path}"
    made = bare_taskdb(
        "--database-url", address, "user", "create", "--email", "ann@example.com", "--name", "Ann"
    )
    assert made.err == f"created {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    bare_taskdb("--database-url", address, "migrate", "check")


@SQLITE_ONLY
def test_sqlite_creation_that_another_began(empty_url, bare_taskdb):
    """A database that another process has made, and not migrated yet, is as good as missing."""
    open_database(empty_url).backend.create()
    bare_taskdb("--database-url", empty_url, "user", "list", expect=3)
    bare_taskdb("--database-url", empty_url, "user", "create", "--email", "ann@example.com", "--name", "Ann")
    assert emails(open_database(empty_url)) == ["ann@example.com"]


@SQLITE_ONLY
def test_sqlite_creation_by_several_processes(empty_url, isolated):
    """Processes that make the same database at once all succeed."""
    addresses = [f"user{number}@example.com" for number in range(4)]
    processes = [
        subprocess.Popen(
            command("--database-url", empty_url, "user", "create", "--email", address, "--name", "U"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in addresses
    ]
    failures = [process.communicate(timeout=60)[1] for process in processes if process.wait(60)]
    for process in processes:
        process.stderr.close()
    assert failures == []
    assert sorted(emails(open_database(empty_url))) == addresses


@SQLITE_ONLY
def test_locked_sqlite(database, taskdb, monkeypatch):
    """A database that another process keeps locked is readable, and unavailable to writers."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.01)
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    path = database.url.database
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        taskdb("user", "list")
        refused = taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann", expect=5)
    assert refused.err.startswith(f"error: {path} is locked by process {os.getpid()} ")


def test_not_a_sqlite_database(tmp_path, bare_taskdb):
    """A file of something else is named as such, and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("shopping list\n" * 100)
    for arguments in (
        ["user", "list"],
        ["user", "create", "--email", "a@example.com", "--name", "A"],
        ["migrate"],
    ):
        refused = bare_taskdb("--database-url", f"sqlite:///{path}", *arguments, expect=6)
        assert refused.err.startswith(f"error: {path} is not a SQLite database")
    assert path.read_text() == "shopping list\n" * 100
    assert [entry.name for entry in tmp_path.glob("notes*")] == ["notes.txt"]


def test_directory_as_database(tmp_path, bare_taskdb):
    """A directory is refused by name."""
    for arguments in (
        ["user", "list"],
        ["user", "create", "--email", "a@example.com", "--name", "A"],
        ["migrate"],
    ):
        refused = bare_taskdb("--database-url", f"sqlite:///{tmp_path}", *arguments, expect=2)
        assert refused.err.startswith(f"error: {tmp_path} is a directory")


@pytest.mark.parametrize("name", ["absent", "empty", "file/below"])
def test_missing_sqlite_database(tmp_path, bare_taskdb, name):
    """A file that is absent or empty is not found, and not made by looking."""
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_text("x")
    path = tmp_path / name
    before = sorted(tmp_path.rglob("*"))
    refused = bare_taskdb("--database-url", f"sqlite:///{path}", "user", "list", expect=3)
    assert refused.err.startswith(f"error: no database at {path} (")
    assert sorted(tmp_path.rglob("*")) == before


@SQLITE_ONLY
def test_damaged_sqlite(url, taskdb):
    """Damage in the file is reported as corrupt data."""
    path = Path(url.database)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    damaged = taskdb("user", "list", expect=7)
    assert damaged.err.startswith(f"error: {path} is damaged")


@SQLITE_ONLY
def test_full_disk(database, isolated):
    """A write that the disk has no room for fails with the path, and leaves the data as it was."""
    path = database.url.database
    add_user(database)
    add_task(database, title="Before")
    failed = run_process(
        *("--database-url", database.url, "task", "create", "--user", "1", "After"),
        *("--description", "\N{GRINNING FACE}" * 20_000),
        first=limited(40_000),
    )
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith(f"error: {path} cannot ")
    assert failed.stderr.count("\n") == 1
    assert titles(database) == ["Before"]


def test_full_disk_while_making_the_database(tmp_path, isolated, bare_taskdb):
    """A database that there is no room for stays missing, and can be made later."""
    path = tmp_path / "new.sqlite3"
    create = (
        "--database-url",
        f"sqlite:///{path}",
        "user",
        "create",
        "--email",
        "a@example.com",
        "--name",
        "A",
    )
    failed = run_process(*create, first=limited(40_000))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {path} cannot ")
    bare_taskdb("--database-url", f"sqlite:///{path}", "user", "list", expect=3)
    bare_taskdb(*create)


@SQLITE_ONLY
def test_read_only_file(url, isolated):
    """A file that may not be written can be read, and a write fails with its path."""
    path = Path(url.database)
    path.chmod(0o400)
    listed = run_process("--database-url", url, "user", "list", first=WITHOUT_PRIVILEGE)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")
    failed = run_process(
        *("--database-url", url, "user", "create", "--email", "a@example.com", "--name", "A"),
        first=WITHOUT_PRIVILEGE,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {path} cannot be written: the file is read-only")


def test_read_only_directory(tmp_path, isolated):
    """A database that cannot be made fails with the path."""
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o500)
    for path in (directory / "new.sqlite3", directory / "deep" / "new.sqlite3"):
        failed = run_process(
            *(
                "--database-url",
                f"sqlite:///{path}",
                "user",
                "create",
                "--email",
                "a@example.com",
                "--name",
                "A",
            ),
            first=WITHOUT_PRIVILEGE,
        )
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"error: {path} cannot be created: Permission denied (")


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_refused_connection(bare_taskdb):
    """A server that is not there is reported with host and port."""
    with closed_port() as port:
        failed = bare_taskdb(
            "--database-url", f"postgresql://me:s3cret@127.0.0.1:{port}/work", "user", "list", expect=5
        )
    assert failed.err.startswith(f"error: cannot connect to PostgreSQL at 127.0.0.1:{port}/work: ")
    assert failed.err.count("\n") == 1
    assert "s3cret" not in failed.err


def test_missing_socket(bare_taskdb, tmp_path):
    """A socket that is not there is reported with its directory and port."""
    failed = bare_taskdb("--database-url", f"postgresql:///work?host={tmp_path}", "user", "list", expect=5)
    assert failed.err.startswith(f"error: cannot connect to PostgreSQL at {tmp_path}:5432/work: ")
    assert failed.err.count("\n") == 1


def test_silent_server(bare_taskdb, monkeypatch):
    """A server that accepts a connection and says nothing is given up on."""
    monkeypatch.setenv("TASKDB_CONNECT_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        failed = bare_taskdb(
            "--database-url", f"postgresql://127.0.0.1:{port}/work", "user", "list", expect=5
        )
    assert failed.err.startswith(f"error: cannot connect to PostgreSQL at 127.0.0.1:{port}/work: ")
    assert failed.err.count("\n") == 1


@POSTGRESQL_ONLY
def test_unknown_database_and_role(url, taskdb):
    """A server without that database or role is unavailable, and says which it misses."""
    for wrong, missing in ((url.set(database="no_such"), "no_such"), (url.set(username="nobody"), "nobody")):
        failed = taskdb(
            "--database-url", wrong.render_as_string(hide_password=False), "user", "list", expect=5
        )
        assert f'"{missing}" does not exist' in failed.err
        assert failed.err.count("\n") == 1


@POSTGRESQL_ONLY
def test_read_only_server(url, taskdb):
    """A database that only reads answers a read and fails a write."""
    with connect(url) as connection:
        connection.execute(f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')
    taskdb("user", "list")
    failed = taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann", expect=1)
    assert "default_transaction_read_only" in failed.err
    assert failed.err.count("\n") == 1


@POSTGRESQL_ONLY
@pytest.mark.parametrize(
    ("limits", "reason"), [(("1", "0"), "lock timeout"), (("0", "0.2"), "statement timeout")]
)
def test_locked_table(url, taskdb, monkeypatch, limits, reason):
    """A statement that waits longer than the settings allow is worth trying again later."""
    for name, seconds in zip(("TASKDB_LOCK_TIMEOUT", "TASKDB_STATEMENT_TIMEOUT"), limits, strict=True):
        monkeypatch.setenv(name, seconds)
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    with connect(url) as other, other.transaction():
        other.execute("LOCK TABLE users")
        failed = taskdb("user", "list", expect=5)
    assert reason in failed.err
    assert "try again later" in failed.err


@POSTGRESQL_ONLY
def test_connection_lost(database, url):
    """A session that the server ends in the middle is unavailable, and leaves nothing behind."""

    def work(session):
        create_ann(session)
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailable):
        open_database(url, Options(retry_budget=0.2)).write(work)
    assert emails(database) == []


@POSTGRESQL_ONLY
def test_missing_privilege(url, taskdb):
    """A role without the right to write is told so."""
    role = f"reader_{url.database}"
    with connect(url) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN")
        try:
            owner.execute(f"GRANT SELECT ON users, tasks TO {role}")
            limited = url.set(username=role).render_as_string(hide_password=False)
            taskdb("--database-url", limited, "user", "list")
            failed = taskdb(
                *("--database-url", limited, "user", "create", "--email", "a@example.com", "--name", "A"),
                expect=1,
            )
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")
    assert "permission denied" in failed.err


def test_missing_table(database, taskdb):
    """A table that somebody dropped is a matter of the schema."""
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE tasks"))
    failed = taskdb("task", "list", expect=6)
    assert "'taskdb migrate check' names the differences" in failed.err


@SQLITE_ONLY
def test_no_connection_is_kept(database):
    """Between two units of work no connection is held, so that nothing lies beside the file."""
    add_user(database)
    assert not Path(f"{database.url.database}-wal").exists()
