"""Archives named by the beginning of a name or by a date, in every command that takes one."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.cli.context import Invocation
from taskdb_cli.exit_codes import ExitCode
from tests.backups import archive, new_archive, old_archive
from tests.conftest import SERVERS, open_database
from tests.samples import add_user
from tests.schemas import execute

NOW = datetime(2026, 11, 26, 14, 0, 30, tzinfo=UTC)
"""A Thursday, 15:00:30 in Berlin."""

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
MOMENTS = [
    datetime(2026, 11, 23, 2, 17, 5, tzinfo=UTC),
    datetime(2026, 11, 24, 23, 30, tzinfo=UTC),  # already the 25th in Berlin
    datetime(2026, 11, 26, 2, 17, 5, tzinfo=UTC),
    datetime(2026, 11, 26, 13, 5, 30, tzinfo=UTC),
]


@pytest.fixture
def shelf(isolated, tmp_path, monkeypatch):
    """The directory of archives that the settings name, on a Thursday afternoon in Berlin."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    monkeypatch.setattr(Invocation, "now", NOW)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    (tmp_path / "shelf").mkdir()
    yield tmp_path / "shelf"
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def nights(shelf):
    """Archives of the label in use, oldest first."""
    return [old_archive(shelf, "work", moment) for moment in MOMENTS]


def shown(taskdb, word):
    return json.loads(taskdb("backup", "show", word, "-o", "json").out)["archive"]


@SQLITE_ONLY
def test_names_that_mean_one_archive(taskdb, nights):
    """A beginning of a name, a day and a time of day in the local zone name an archive."""
    for word, number in {
        "20261123": 0,
        "work-20261123": 0,
        "2026-11-23": 0,
        "monday": 0,
        "2026-11-23 03:17": 0,
        "2026-11-23T02:17:05Z": 0,
        "2026-11-25": 1,
        "yesterday": 1,
        "25 nov": 1,
        "20261124T2330": 1,
        "20261125": 1,
        "today 14:05": 3,
        "14:05": 3,
        "2026-11-26 14:05:30": 3,
        nights[3].name[:-11]: 3,
    }.items():
        result = taskdb("backup", "show", word, "-o", "json")
        assert json.loads(result.out)["archive"] == str(nights[number]), word
        assert result.err == f"{word} is {nights[number]}\n"


@SQLITE_ONLY
def test_names_that_mean_several_archives_or_none(taskdb, nights):
    """Several archives are exit 2 with their names, and none is exit 3 with the nearest ones."""
    for word in ("today", "2026-11-26", "20261126", "work-20261126"):
        for command in (("backup", "show"), ("backup", "verify"), ("restore",)):
            asked = taskdb(*command, word, expect=ExitCode.USAGE).err
            assert all(path.name in asked for path in nights[2:])
            assert nights[0].name not in asked
    for word, number in {"2026-11-22": 0, "2026-11-24": 1, "work-20261127T": 3}.items():
        asked = taskdb("backup", "show", word, expect=ExitCode.NOT_FOUND).err
        assert f"{word!r}" in asked
        assert f"the nearest are {nights[number].name}" in asked
    for word in ("2026-02-30", "20261345"):
        assert "no such day" in taskdb("backup", "show", word, expect=ExitCode.NOT_FOUND).err
    for word in ("", "2026-13-45", "wrok", "3d", "*", ".", "x" * 100_000):
        failed = taskdb("restore", word, "--replace", "--yes", expect=ExitCode.NOT_FOUND)
        assert len(failed.err) < 2000


@SQLITE_ONLY
def test_a_file_goes_before_the_beginning_of_a_name(taskdb, nights, tmp_path):
    """A file in the working directory is meant if its name is typed, whatever else the word fits."""
    Path("2026-11-23").write_bytes(nights[1].read_bytes())
    assert shown(taskdb, "2026-11-23") == "2026-11-23"
    assert shown(taskdb, "./2026-11-23") == "2026-11-23"
    taskdb("backup", "show", "./2026", expect=ExitCode.NOT_FOUND)


@SQLITE_ONLY
def test_another_directory(taskdb, nights, tmp_path):
    """With --dir only its archives are looked through."""
    (tmp_path / "else").mkdir()
    there = old_archive(tmp_path / "else", "work", MOMENTS[2])
    for words in (("backup", "show", "today", "--dir"), ("restore", "20261126", "--dry-run", "--dir")):
        assert str(there) in taskdb(*words, tmp_path / "else").err
    missing = taskdb("backup", "show", "today", "--dir", tmp_path / "none", expect=ExitCode.NOT_FOUND)
    assert str(tmp_path / "none") in missing.err


@SQLITE_ONLY
def test_verifying_by_day(taskdb, nights, shelf):
    """A verification and a test restore are recorded for the archive that a day names."""
    taskdb("backup", "verify", "monday", "yesterday", "--drill")
    records = BackupDirectory(LocalStore(shelf)).records(say=print)
    assert [record["drilled_at"] == NOW for record in records] == [True, True, False, False]
    broken = bytearray(nights[1].read_bytes())
    broken[500] ^= 1
    nights[1].write_bytes(broken)
    assert nights[1].name in taskdb("backup", "verify", "yesterday", expect=ExitCode.CORRUPT).err


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_archives_of_other_databases(taskdb, url, shelf):
    """A day or a time never means another database's archive; a label does, and is then refused."""
    add_user(open_database(url))
    identity = execute(url, "SELECT identity FROM taskdb_identity")[0][0]
    day = timedelta(days=1)
    mine = new_archive(shelf, "work", MOMENTS[0], identity=identity)
    same_label = new_archive(shelf, "work", MOMENTS[0] + day, identity=str(uuid.uuid4()))
    copy = new_archive(shelf, "copy", MOMENTS[0] + 2 * day, identity=identity)
    new_archive(shelf, "other", MOMENTS[0], identity=str(uuid.uuid4()))
    again = ("--replace", "--yes", "--no-safety-backup")
    for word in ("2026-11-23", "20261123", "work-20261123"):
        assert str(mine) in taskdb("restore", word, "--dry-run", "--replace").err
    for word in ("2026-11-24", "2026-11-25", "20261125"):
        missing = taskdb("restore", word, *again, expect=ExitCode.NOT_FOUND).err
        assert mine.name in missing
    for word in ("20261124", same_label.name):
        assert "another" in taskdb("restore", word, *again, expect=ExitCode.CONFLICT).err
    assert "other" in taskdb("restore", "other-2026", *again, expect=ExitCode.CONFLICT).err
    assert str(copy) in taskdb("restore", "copy-2026", *again).err


@SQLITE_ONLY
def test_a_new_database(bare_taskdb, new_url, shelf, monkeypatch):
    """An empty database is restored from the archives of one database by day, and of several by label."""
    target = ("--database-url", new_url().render_as_string(), "restore")
    monkeypatch.delenv("TASKDB_BACKUP_LABEL")
    prod = new_archive(shelf, "prod", MOMENTS[0], identity=str(uuid.uuid4()))
    assert str(prod) in bare_taskdb(*target, "2026-11-23", "--dry-run").err
    new_archive(shelf, "test", MOMENTS[1], identity=str(uuid.uuid4()))
    assert "test" in bare_taskdb(*target, "2026-11-23", "--dry-run", expect=ExitCode.USAGE).err
    assert str(prod) in bare_taskdb(*target, "2026-11-23", "--dry-run", "--label", "prod").err
    assert str(prod) in bare_taskdb(*target, "prod", "--dry-run").err


def test_a_word_that_fits_nothing_needs_no_database(bare_taskdb, shelf, monkeypatch):
    """What names no archive is not found at once, even where the database cannot be reached."""
    archive(BackupDirectory(LocalStore(shelf)), "work", MOMENTS[0])
    monkeypatch.setenv("TASKDB_DATABASE_URL", "postgresql://ann@db.invalid/work")
    bare_taskdb("backup", "show", "today", expect=ExitCode.NOT_FOUND)
