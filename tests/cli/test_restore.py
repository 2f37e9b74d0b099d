"""taskdb restore and taskdb copy, from the outside."""

import json
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from taskdb_cli.backup import restore as service
from taskdb_cli.exit_codes import ExitCode
from tests.conftest import TaskdbCommand, open_database
from tests.proxy import Proxy
from tests.samples import add_task, add_user, emails, task_records, titles
from tests.schemas import execute, set_revision


@pytest.fixture
def archived(taskdb: TaskdbCommand, database, shelf) -> list[dict]:
    """What a backup of the database has: one user with two tasks."""
    add_user(database)
    for title in ("Write", "Read"):
        add_task(database, title=title)
    taskdb("backup")
    return task_records(database)


def text(url) -> str:
    return url.render_as_string(hide_password=False)


def test_what_was_deleted_comes_back(taskdb, database, archived):
    """An archive brings back every row with its id, and new ids follow the highest."""
    taskdb("user", "delete", "ann@example.com", "--yes")
    result = taskdb("restore", "latest")
    assert result.err.startswith("restored 1 user and 2 tasks from ")
    assert task_records(database) == archived
    assert add_task(database, title="Next") > max(record["id"] for record in archived)
    taskdb("migrate", "check")


def test_rows_that_are_there_are_not_lost_unasked(taskdb, database, archived):
    """A target with rows is exit 4 with their counts; --replace asks, and is refused without an answer."""
    add_task(database, title="Newer")
    result = taskdb("restore", "latest", expect=ExitCode.CONFLICT)
    assert "1 user and 3 tasks" in result.err
    assert (
        "delete 1 user and 3 tasks" in taskdb("restore", "latest", "--replace", expect=ExitCode.REFUSED).err
    )
    assert titles(database) == ["Write", "Read", "Newer"]


def test_rows_that_nobody_was_asked_about_stay(taskdb, database, archived, monkeypatch):
    """What comes into a target that was empty when it was looked at is not replaced: exit 4."""
    taskdb("user", "delete", "ann@example.com", "--yes")
    plan = service.preview

    @contextmanager
    def plan_and_let_in(*arguments, **options):
        with plan(*arguments, **options) as found:
            add_user(database, "bob@example.com")
            yield found

    monkeypatch.setattr(service, "preview", plan_and_let_in)
    taskdb("restore", "latest", "--replace", expect=ExitCode.CONFLICT)
    assert emails(database) == ["bob@example.com"]


def test_what_is_replaced_is_kept(taskdb, database, archived, shelf):
    """--replace --yes saves what was there first, and that archive brings it back."""
    add_task(database, title="Newer")
    result = taskdb("restore", "latest", "--replace", "--yes")
    assert "-before-restore-" in result.err
    assert task_records(database) == archived
    [safety] = shelf.glob("*-before-restore-*.taskdb.zip")
    # The safety archive is the newer one, but not what 'latest' means.
    taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup")
    assert task_records(database) == archived
    taskdb("restore", safety, "--replace", "--yes", "--no-safety-backup")
    assert titles(database) == ["Write", "Read", "Newer"]
    assert len(list(shelf.glob("*-before-restore-*.taskdb.zip"))) == 1


def test_a_dry_run_changes_nothing(taskdb, database, archived, shelf):
    """--dry-run says what would be deleted and restored, and does neither."""
    add_task(database, title="Newer")
    files = sorted(shelf.iterdir())
    result = taskdb("restore", "latest", "--replace", "--dry-run")
    assert "would delete 1 user and 3 tasks" in result.err
    assert "would restore 1 user and 2 tasks" in result.err
    assert titles(database) == ["Write", "Read", "Newer"]
    assert sorted(shelf.iterdir()) == files


def test_a_damaged_archive_touches_nothing(taskdb, database, archived, shelf):
    """An archive that does not verify is exit 7 before anything is changed."""
    [archive] = shelf.glob("*.zip")
    data = bytearray(archive.read_bytes())
    data[100] ^= 1
    archive.write_bytes(data)
    result = taskdb("restore", "latest", "--replace", "--yes", expect=ExitCode.CORRUPT)
    assert "is damaged" in result.err
    assert task_records(database) == archived
    assert not list(shelf.glob("*-before-restore-*"))


def test_a_new_database_gets_its_tables(taskdb, bare_taskdb, archived, empty_url, use):
    """A restore into a database that holds nothing at all makes the tables first."""
    use(empty_url)
    bare_taskdb("restore", "latest")
    assert task_records(open_database(empty_url)) == archived
    bare_taskdb("migrate", "check")


def test_a_target_behind_is_refused(taskdb, bare_taskdb, archived, new_url, use):
    """A restore does not migrate a database that is at an older revision: exit 6."""
    target = new_url()
    use(target)
    bare_taskdb("migrate", "down", "0001", "--yes")
    assert "taskdb migrate" in bare_taskdb("restore", "latest", expect=ExitCode.SCHEMA).err


def test_an_unknown_archive_is_not_found(taskdb, shelf):
    """A name that no archive has is exit 3; nothing is made."""
    taskdb("restore", "latest", expect=ExitCode.NOT_FOUND)
    assert "nowhere.zip" in taskdb("restore", "nowhere.zip", expect=ExitCode.NOT_FOUND).err


def test_latest_of_several_labels_is_asked_about(taskdb, archived, shelf, monkeypatch):
    """'latest' is refused (2) where the directory holds archives of several databases and none is named."""
    taskdb("backup", "--label", "other")
    monkeypatch.delenv("TASKDB_BACKUP_LABEL")
    assert "--label" in taskdb("restore", "latest", "--replace", "--yes", expect=ExitCode.USAGE).err
    taskdb("restore", "latest", "--label", "other", "--replace", "--yes")


def test_a_copy_brings_everything_into_another_database(taskdb, database, archived, empty_url):
    """`copy` fills another database, tables included, and leaves the first as it is."""
    result = taskdb("copy", "--to", text(empty_url))
    assert result.err.startswith("copied 1 user and 2 tasks from ")
    assert task_records(open_database(empty_url)) == archived == task_records(database)
    assert (
        taskdb("copy", "--to", text(empty_url), expect=ExitCode.CONFLICT).err.count("1 user and 2 tasks") == 1
    )
    taskdb("copy", "--to", text(empty_url), "--replace", expect=ExitCode.REFUSED)
    taskdb("copy", "--to", text(empty_url), "--replace", "--yes")
    assert task_records(open_database(empty_url)) == archived


def test_a_copy_crosses_engines(taskdb, archived, engine, urls, tmp_path):
    """What is on one engine can be moved to SQLite, and from there back."""
    path = tmp_path / "elsewhere.sqlite3"
    taskdb("copy", "--to", f"sqlite:///{path}")
    there = open_database(make_url(f"sqlite:///{path}"))
    assert task_records(there) == archived
    assert emails(there) == ["ann@example.com"]


def test_a_copy_onto_itself_is_refused(taskdb, archived, url):
    """A database is not copied onto itself."""
    assert (
        "both ends" in taskdb("copy", "--to", text(url), "--replace", "--yes", expect=ExitCode.CONFLICT).err
    )


def other_names(url, tmp_path, port):
    """Other ways to write the URL of the same database."""
    if url.drivername != "sqlite":
        return [url.set(host=host, port=port, query={}) for host in ("127.0.0.1", "localhost")]
    path = Path(str(url.database))
    (tmp_path / "hard.db").hardlink_to(path)
    (tmp_path / "soft.db").symlink_to(path)
    (tmp_path / "directory").symlink_to(path.parent, target_is_directory=True)
    names = ["hard.db", "soft.db", f"directory/{path.name}", f"cwd/../{path.name}"]
    relative = Path(os.path.relpath(path))
    return [url.set(database=str(each)) for each in (relative, *(tmp_path / name for name in names))]


def test_a_copy_onto_itself_under_another_name(taskdb, archived, url, tmp_path):
    """One database that is named in two ways is found out at once, and keeps its rows."""
    before = task_records(open_database(url))
    with ExitStack() as stack:
        port = None if url.drivername == "sqlite" else stack.enter_context(Proxy(url)).port
        for other in other_names(url, tmp_path, port):
            failed = taskdb("copy", "--to", text(other), "--replace", "--yes", expect=ExitCode.CONFLICT)
            assert "both ends" in failed.err
    assert task_records(open_database(url)) == before


def test_databases_of_one_server_are_told_apart(taskdb, archived, new_url):
    """Another database of the same server, or another file of the same content, is another one."""
    taskdb("copy", "--to", text(new_url()))


def test_a_copy_says_what_it_would_do(taskdb, archived, new_url):
    """--dry-run of a copy counts, and changes nothing."""
    target = new_url()
    assert "would copy 1 user and 2 tasks" in taskdb("copy", "--to", text(target), "--dry-run").err
    assert emails(open_database(target)) == []


@pytest.mark.usefixtures("archived", "shelf")
def test_an_archive_of_a_later_version_is_refused(taskdb, url, use, new_url):
    """An archive of a revision that this version does not know is exit 6, and names the version."""
    set_revision(url, "9999")
    taskdb("backup")
    use(new_url())
    assert "9999" in taskdb("restore", "latest", expect=ExitCode.SCHEMA).err
    assert json.loads(taskdb("backup", "show", "latest", "-o", "json").out)["revision"] == "9999"


def test_an_archive_of_an_older_revision_is_brought_up(taskdb, database, archived, url, shelf):
    """An archive that was taken at an older revision is migrated on its way into the target."""
    taskdb("migrate", "down", "0001", "--yes")
    taskdb("backup")
    taskdb("migrate")
    execute(url, "DELETE FROM tasks", "DELETE FROM users")
    taskdb("restore", "latest")
    assert task_records(database) == archived
    taskdb("migrate", "check")


@pytest.mark.usefixtures("archived")
def test_what_is_replaced_is_kept_under_its_own_name(taskdb, new_url, shelf, use):
    """The label of the archive that is restored says nothing of whose rows are replaced."""
    target = new_url()
    add_user(open_database(target), email="bob@example.com")
    taskdb("copy", "--to", text(target), "--replace", "--yes")
    [safety] = shelf.glob("*-before-restore-*.taskdb.zip")
    assert safety.name.startswith(str(Path(target.database).stem))
    use(target)
    taskdb("restore", "latest", "--label", "work", "--replace", "--yes")
    assert not list(shelf.glob("work-before-restore-*"))
