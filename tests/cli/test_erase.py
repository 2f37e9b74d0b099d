"""taskdb user erase, from the outside."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.conftest import open_database
from tests.operations import operations

ANN = "ann@example.com"


@pytest.fixture
def filled(taskdb, shelf):
    """The command line on Ann, with a task, and Bob."""
    shelf.mkdir()
    for name in ("ann", "bob"):
        taskdb("user", "create", "--email", f"{name}@example.com", "--name", name)
    taskdb("task", "create", "Secret", "-u", ANN)
    return taskdb


def erased(taskdb, *words, expect=0):
    return json.loads(taskdb("user", "erase", *words, "--yes", "-o", "json", expect=expect).out)


def test_erase(filled, url):
    """The user is gone, and one operation says that somebody was erased, and by whom."""
    would = json.loads(filled("user", "erase", ANN, "--dry-run", "-o", "json").out)
    assert erased(filled, ANN) == {**would, "dry_run": False}
    assert would == {
        "user": 1,
        "tasks": 1,
        "tokens": 0,
        "changes": 2,
        "operations": 2,
        "actors": 0,
        "archives": [],
        "unread": [],
        "dry_run": True,
    }
    filled("user", "show", ANN, expect=3)
    assert [each.command for each in operations(open_database(url))] == ["user create", "user erase"]
    filled("user", "erase", ANN, "--yes", expect=3)


def test_nobody_is_erased_without_an_answer(filled):
    """Without --yes, and nobody to ask, nothing is erased; what would go is said."""
    err = filled("user", "erase", ANN, expect=9).err
    assert "user 1, ann@example.com, with 1 task, no tokens and 2 changes in the history" in err
    filled("user", "show", ANN)


def test_archives_are_named(filled, shelf, tmp_path):
    """Archives that were taken since the user was there are named, also those of another directory."""
    other = tmp_path / "other"
    filled("backup", "--dir", shelf, "--dir", other)
    filled("user", "create", "--email", "eve@example.com", "--name", "Eve")
    filled("backup", "--label", "safe")
    [first] = shelf.glob("work-*.zip")
    [second] = shelf.glob("safe-*.zip")
    [copy] = other.glob("*.zip")
    assert erased(filled, "eve@example.com", "--dry-run")["archives"] == [str(second)]
    assert sorted(erased(filled, "2", "--dry-run")["archives"]) == sorted([str(first), str(second)])
    told = filled("user", "erase", ANN, "--yes", "--dir", other).err
    assert str(copy) in told
    assert str(first) not in told


def test_where_no_archive_was_found_is_told(filled, shelf, tmp_path):
    """Without an archive of the user, the places that were looked at are named."""
    filled("user", "create", "--email", "eve@example.com", "--name", "Eve")
    assert f"no archive in {shelf} " in filled("user", "erase", "eve@example.com", "--dry-run").err
    missing = tmp_path / "missing"
    told = filled("user", "erase", ANN, "--yes", "--dir", shelf, "--dir", missing, expect=8).err
    assert f"no archive in {shelf} " in told
    assert f"{missing} may hold the user too" in told
    filled("backup")
    assert "no archive" not in filled("user", "erase", "eve@example.com", "--yes").err


def test_archives_of_another_database_are_not_named(filled, shelf, new_url, use):
    """An archive of a database with another identity holds nothing of the user."""
    filled("backup")
    use(new_url())
    filled("user", "create", "--email", ANN, "--name", "Ann")
    assert erased(filled, ANN)["archives"] == []


def test_a_place_that_does_not_answer(filled, shelf, url, monkeypatch):
    """A bucket that cannot be reached, or a directory that is missing, is told (8); the user is erased."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    places = ("--dir", "s3://bucket/taskdb", "--dir", shelf / "missing")
    assert "s3://bucket" in filled("user", "erase", ANN, "--dry-run", *places).err
    result = filled("user", "erase", ANN, "--yes", *places, "-o", "json", expect=8)
    assert [each["place"] for each in json.loads(result.out)["unread"]] == [
        "s3://bucket/taskdb",
        str(shelf / "missing"),
    ]
    filled("user", "show", ANN, expect=3)


def test_a_file_that_is_being_read(filled, url, monkeypatch):
    """Whoever still reads the file keeps the deleted bytes in it, which is told (8)."""
    if url.drivername != "sqlite":
        pytest.skip("a server has no file of ours")
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    with closing(sqlite3.connect(url.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM users").fetchall()
        assert "VACUUM" in filled("user", "erase", ANN, "--yes", expect=8).err
    filled("user", "show", ANN, expect=3)
