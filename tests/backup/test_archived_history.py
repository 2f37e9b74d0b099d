"""The history in archives and copies: it goes with its rows, and a restore writes down that it happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database import Database
from taskdb_cli.database.schema import HISTORY_TABLES
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.services import migrate, task, user
from tests.conftest import NOW, PAIRS, open_database
from tests.operations import operations
from tests.samples import add_task, add_token, add_user, titles
from tests.schemas import execute

EACH_PAIR = pytest.mark.parametrize(("origin", "engine"), PAIRS, indirect=["engine"])
DATA = Path(__file__).parents[1] / "data"
OLDER = [*sorted((DATA / "0.1.0").glob("*.zip"))[::2], *sorted((DATA / "format-2").glob("*.zip"))]


def history(database: Database) -> list[bytes]:
    """Return the rows of the history, alike whichever engine it is of."""
    found = []
    with database.snapshot() as content:
        for layout in content.layouts:
            if layout.table in HISTORY_TABLES:
                with content.chunks(layout) as chunks:
                    found.append(b"".join(chunks))
    return found


def live(database: Database) -> None:
    """Let a database have a history with every kind of change, and users and tasks that are gone."""
    add_user(database)
    add_user(database, "bob@example.com", name="B\u00f6b \N{GRINNING FACE}")
    add_token(database, "cron", "bob@example.com")
    add_task(database, description="Two\n\tlines \\N", due_at=NOW)
    kept = add_task(database, title="Keep")
    gone = add_task(database, "bob@example.com")
    database.write(lambda session: task.change(session, [kept], TaskUpdate(title="Kept"), now=NOW))
    database.write(lambda session: task.remove(session, [gone]))
    database.write(lambda session: user.remove(session, ["bob@example.com"], now=NOW))


def archive_of(database: Database, path: Path):
    """Back a database up into a file."""
    with database.snapshot() as content:
        return taking.save(content, file_at(path), label="work", now=NOW)


@EACH_PAIR
def test_a_restore_brings_the_history(make_url_of, url, origin, tmp_path):
    """Every operation of the archive is there, and one more, which names the archive and counts its rows."""
    source, target = open_database(make_url_of(origin)), open_database(url)
    live(source)
    add_user(target, "new@example.com")
    backup = archive_of(source, tmp_path / "work.taskdb.zip")
    target.options = replace(target.options, actor="eve")
    restore.restore(target, backup.file, replace=True)
    before, (had, changes) = history(source), history(target)
    assert changes == before[1]
    assert had.startswith(before[0])
    *_, last = operations(target)
    assert (last.id, last.actor, last.command) == (len(operations(source)) + 1, "eve", "restore")
    assert (last.restored_from, last.rows_changed, last.undoes) == ("work.taskdb.zip", 3, None)
    migrate.check(target)


@pytest.mark.parametrize("remote", [False, True], ids=["directory", "bucket"])
def test_the_command_writes_down_where_the_rows_are_from(request, taskdb, database, shelf, remote):
    """It is the name of a file, or the address in a bucket, and undo goes back no further."""
    place = request.getfixturevalue("bucket").address if remote else shelf
    live(database)
    taskdb("backup", "--dir", place)
    taskdb("task", "update", 2, "--title", "Lost")
    taskdb("restore", "latest", "--dir", place, "--replace", "--yes", "--no-safety-backup")
    *before, restored = json.loads(taskdb("history", "-o", "json").out)[::-1]
    [archive] = json.loads(taskdb("backup", "list", "--dir", place, "-o", "json").out)
    name = archive["archive"].rpartition("/")[2]
    assert restored["restored_from"] == (f"{place}/{name}" if remote else name)
    assert (restored["command"], restored["rows"]) == ("restore", 3)
    for operation in (restored["id"], before[-1]["id"]):
        error = taskdb("undo", operation, "--yes", expect=ExitCode.CONFLICT).err
        assert name in error
    taskdb("task", "update", 2, "--title", "New")
    taskdb("undo", "--yes")
    assert titles(database) == ["Write", "Kept"]


@EACH_PAIR
def test_a_copy_carries_the_history(make_url_of, url, origin):
    """It is the same on both sides, and what is deleted there keeps its id for itself."""
    source, target = open_database(make_url_of(origin)), open_database(url)
    live(source)
    restore.restore(target, source)
    assert history(target) == history(source)
    assert (add_user(target, "new@example.com").id, add_task(target)) == (3, 4)
    assert len(operations(target)) == len(operations(source)) + 2


def test_ids_of_a_history_without_rows(make_url_of, url, tmp_path):
    """Ids follow those in the history even if every row is gone."""
    source = open_database(make_url_of("sqlite"))
    live(source)
    source.write(lambda session: user.remove(session, ["ann@example.com"], now=NOW))
    restore.restore(open_database(url), archive_of(source, tmp_path / "work.taskdb.zip").file)
    assert (add_user(open_database(url)).id, add_task(open_database(url))) == (3, 4)


@pytest.mark.parametrize("sample", OLDER, ids=lambda sample: sample.name.partition("-")[0])
def test_an_archive_without_a_history(database, sample):
    """What an older taskdb wrote comes without a history, which begins with the restore."""
    restore.restore(database, file_at(sample))
    [only] = operations(database)
    assert (only.restored_from, only.rows_changed) == (sample.name, manifest_of(file_at(sample)).rows)
    assert history(database)[1] == b""


def test_a_test_restore_adds_nothing(database, tmp_path):
    """A drill and a dry run leave the history as it is."""
    live(database)
    backup, before = archive_of(database, tmp_path / "work.taskdb.zip"), history(database)
    restore.drill(backup.file)
    restore.restore(database, backup.file, replace=True, dry_run=True)
    assert history(database) == before


def test_the_history_is_not_counted(database, url, tmp_path):
    """What is said of an archive, and whether it has shrunk, is about users and tasks."""
    live(database)
    first = archive_of(database, tmp_path / "first.taskdb.zip")
    assert first.manifest.counts() == {"users": 1, "tasks": 2}
    execute(url, "DELETE FROM taskdb_operations")
    proof = archive_of(database, tmp_path / "pruned.taskdb.zip").proof(NOW)
    assert (proof.rows, proof.bytes) == (first.proof(NOW).rows, first.proof(NOW).bytes)


def test_a_history_whose_rows_are_gone_is_kept(taskdb, database, shelf):
    """A restore into a database without users and tasks first backs their history up."""
    add_user(database)
    taskdb("backup")
    taskdb("user", "delete", "ann@example.com", "--yes")
    before = history(database)
    said = taskdb("restore", "latest").err.splitlines()
    assert said[0].startswith("restored 1 user and 0 tasks from ")
    assert said[1].startswith("backed up the history to be replaced to ")
    [kept] = shelf.glob("*-before-restore-*.zip")
    restore.restore(database, file_at(kept), replace=True)
    assert history(database)[1] == before[1]
    taskdb("user", "delete", "ann@example.com", "--yes", expect=3)
    assert len(list(shelf.glob("*.zip"))) == 2


def test_rows_that_come_back_leave_the_history(taskdb, database, shelf):
    """--only-user writes an operation of its own, and takes nothing from the history of the archive."""
    live(database)
    taskdb("backup")
    database.write(lambda session: user.remove(session, ["ann@example.com"], now=NOW))
    before = history(database)
    taskdb("restore", "latest", "--only-user", "ann@example.com")
    assert all(now.startswith(then) for now, then in zip(history(database), before, strict=True))
    *_, last = operations(database)
    assert (last.restored_from, last.rows_changed) == (None, 3)
