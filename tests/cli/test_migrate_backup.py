"""The backup that taskdb migrate makes before it changes a database with rows."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.conftest import SERVERS, connect
from tests.processes import WITHOUT_PRIVILEGE, run_process
from tests.samples import add_task, add_user, task_records


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of archives that the settings name."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def filled(database) -> None:
    """One user with a task."""
    add_user(database)
    add_task(database)


@pytest.mark.usefixtures("filled")
def test_rows_are_backed_up_before_each_way(taskdb, shelf):
    """An upgrade and a downgrade of a database with rows print the archive that they made first."""
    for words, revision in ((("migrate", "down", "0001", "--yes"), "head"), (("migrate",), "0001")):
        said = re.search(r"^backed up .* to (.+\.taskdb\.zip)$", taskdb(*words).err, flags=re.MULTILINE)
        shown = json.loads(taskdb("backup", "show", said[1], "-o", "json").out)
        history = {"taskdb_operations": 2, "taskdb_changes": 2} if revision == "head" else {}
        held = {table["name"]: table["rows"] for table in shown["tables"]}
        assert held == {"users": 1, "tasks": 1, **history}
        assert revision == "head" or shown["revision"] == revision
    assert len(list(shelf.glob("*.taskdb.zip"))) == 2


@pytest.mark.usefixtures("filled")
def test_a_downgrade_that_lost_rows_is_undone_by_its_backup(taskdb, database, shelf):
    """What a downgrade to nothing drops comes back from the archive that it made."""
    before = task_records(database)
    taskdb("migrate", "down", "base", "--yes")
    taskdb("migrate")
    assert task_records(database) == []
    taskdb("restore", "latest")
    assert task_records(database) == before


@pytest.mark.usefixtures("filled")
def test_no_backup_is_made_where_none_is_wanted_or_needed(taskdb, shelf):
    """--no-backup does without, and so does a migration that has nothing to do."""
    taskdb("migrate", "down", "0001", "--yes", "--no-backup")
    taskdb("migrate", "--no-backup")
    taskdb("migrate")
    assert not shelf.exists()


def owned_by(url, role: str) -> str:
    """Let a role that may log in own the tables; return the name of the role that owned them."""
    with connect(url) as connection:
        connection.autocommit = True
        tables = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = current_schema()"
        for table, _ in connection.execute(tables).fetchall():
            connection.execute(f'ALTER TABLE {table} OWNER TO "{role}"')
        return str(connection.execute("SELECT quote_ident(current_user)").fetchone()[0])


@pytest.fixture
def role(url) -> Iterator[str]:
    """A role that may read the tables; its database is that of the test."""
    name = f"{url.database}_reader"
    with connect(url) as connection:
        connection.autocommit = True
        connection.execute(f'CREATE ROLE "{name}" LOGIN')
        connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{name}"')
        yield name
        connection.execute(f'REASSIGN OWNED BY "{name}" TO CURRENT_USER')
        connection.execute(f'DROP OWNED BY "{name}"')
        connection.execute(f'DROP ROLE "{name}"')


ON_A_SERVER = pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
ON_FILES = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@ON_A_SERVER
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("words", [("down", "0001", "--yes"), ("up",)])
def test_a_role_without_rights_is_refused_before_the_backup(taskdb, url, role, shelf, words):
    """What the role lacks is named, and no archive is made in vain."""
    if words == ("up",):
        taskdb("migrate", "down", "0001", "--yes", "--no-backup")
    reader = url.set(username=role).render_as_string(hide_password=False)
    told = taskdb("--database-url", reader, "migrate", *words, expect=ExitCode.FAILURE).err
    assert f"the role {role} may not migrate" in told
    assert "does not own" in told
    assert "run it as postgres" in told
    assert not list(shelf.glob("*.zip"))


@ON_A_SERVER
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("unread", ["ALL TABLES IN SCHEMA public", "taskdb_alembic_version", "users"])
@pytest.mark.parametrize("words", [("down", "0001", "--yes"), ("up",)])
def test_a_role_that_may_not_read_is_told_the_owner(taskdb, url, role, words, unread):
    """Who may not even read a table is refused as who may not change it, and nothing is changed."""
    if words == ("up",):
        taskdb("migrate", "down", "0001", "--yes", "--no-backup")
    before = taskdb("migrate", "status").out
    with connect(url) as connection:
        connection.execute(f'REVOKE SELECT ON {unread} FROM "{role}"')
    reader = url.set(username=role).render_as_string(hide_password=False)
    told = taskdb("--database-url", reader, "migrate", *words, expect=ExitCode.FAILURE).err
    assert f"the role {role} may not migrate" in told
    assert "run it as postgres" in told
    assert taskdb("migrate", "status").out == before


@ON_A_SERVER
@pytest.mark.usefixtures("filled")
def test_an_owner_who_may_not_create_is_refused_before_the_backup(taskdb, url, role, shelf):
    """A privilege on the schema that the migration needs is named, with what grants it."""
    taskdb("migrate", "down", "0001", "--yes", "--no-backup")
    owned_by(url, role)
    owner = url.set(username=role).render_as_string(hide_password=False)
    told = taskdb("--database-url", owner, "migrate", expect=ExitCode.FAILURE).err
    assert f"GRANT CREATE ON SCHEMA public TO {role}" in told
    assert not list(shelf.glob("*.zip"))


@ON_A_SERVER
@pytest.mark.usefixtures("filled", "shelf")
def test_a_member_of_the_owner_may_migrate(taskdb, url, role):
    """Who inherits the rights of the owner, or owns the schema, is not refused."""
    member = f"{role}_member"
    owned_by(url, role)
    with connect(url) as connection:
        connection.autocommit = True
        connection.execute(f'CREATE ROLE "{member}" LOGIN IN ROLE "{role}"')
        connection.execute(f'GRANT CREATE ON SCHEMA public TO "{role}"')
        connection.execute(f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "{role}"')
        try:
            way = (
                "--database-url",
                url.set(username=member).render_as_string(hide_password=False),
                "migrate",
            )
            taskdb(*way, "down", "0001", "--yes")
            taskdb(*way)
        finally:
            connection.execute(f'REASSIGN OWNED BY "{member}" TO "{role}"')
            connection.execute(f'DROP ROLE "{member}"')


@ON_FILES
@pytest.mark.usefixtures("filled")
def test_a_file_in_a_read_only_directory_is_refused_before_the_backup(url, shelf):
    """A journal that cannot be made is met before the backup and not after it."""
    with closing(sqlite3.connect(url.database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    directory = Path(url.database).parent
    directory.chmod(0o500)
    try:
        way = ("--database-url", url.render_as_string(), "migrate", "down", "0001", "--yes")
        told = run_process(*way, first=WITHOUT_PRIVILEGE)
    finally:
        directory.chmod(0o700)
    assert told.returncode == ExitCode.FAILURE
    assert "backed up" not in told.stderr
    assert not list(shelf.glob("*.zip"))


def test_a_database_without_rows_is_not_backed_up(taskdb, shelf):
    """There is nothing to save in empty tables."""
    taskdb("migrate", "down", "0001", "--yes")
    taskdb("migrate")
    assert not shelf.exists()


@pytest.mark.usefixtures("filled")
def test_nothing_is_migrated_without_the_backup(taskdb, shelf):
    """A backup that cannot be written stops the migration before it changes anything."""
    taskdb("migrate", "down", "0001", "--yes", "--no-backup")
    shelf.write_text("a file where the directory should be")
    assert "shelf" in taskdb("migrate", expect=ExitCode.FAILURE).err
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == "0001"
    taskdb("migrate", "--no-backup")


@pytest.mark.usefixtures("filled")
def test_a_backup_that_cannot_be_recorded_stops_nothing(taskdb, shelf, monkeypatch):
    """The archive is there and good, and the migration goes on."""
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    (shelf / "work.taskdb.json").mkdir(parents=True)
    assert "is good, but" in taskdb("migrate", "down", "0001", "--yes").err
    assert json.loads(taskdb("migrate", "status", "-o", "json").out)["current"] == "0001"
    taskdb("migrate")
