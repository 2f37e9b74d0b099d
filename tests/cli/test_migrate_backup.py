"""The backup that taskdb migrate makes before it changes a database with rows."""

import json
import re
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
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
