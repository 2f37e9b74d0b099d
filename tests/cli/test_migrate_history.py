"""The migration that makes the history, there and back, on databases with real rows."""

import json
from pathlib import Path

import pytest

from taskdb_cli.exit_codes import ExitCode
from tests.contents import get_rows

DATA = Path(__file__).parents[1] / "data"
SAMPLES = {
    "0003": min((DATA / "0.1.0").glob("app-*.zip")),
    "0005": next((DATA / "format-2").glob("postgresql-*.zip")),
}
"""An archive of each older revision. The first is what 0.1.0 wrote."""


def lasting(url):
    """Return the rows without their versions, and when they were changed."""
    return {table: [row[:-3] + row[-2:-1] for row in rows] for table, rows in get_rows(url).items()}


def history(taskdb):
    return json.loads(taskdb("history", "-o", "json").out)


@pytest.fixture(params=SAMPLES)
def older(request, taskdb, shelf):
    """A database at an older revision with the rows that were kept of one."""
    taskdb("restore", SAMPLES[request.param])
    taskdb("migrate", "down", request.param, "--yes")


@pytest.mark.usefixtures("older")
def test_an_older_database_gets_a_history(taskdb, url):
    """An upgrade leaves every row as it was; what is changed from then on is written down and undone."""
    before = get_rows(url)
    taskdb("history", expect=ExitCode.SCHEMA)
    taskdb("undo", "--yes", expect=ExitCode.SCHEMA)
    taskdb("migrate")
    taskdb("migrate", "check")
    assert get_rows(url) == before
    assert history(taskdb) == []
    assert "oldest" not in taskdb("health", "--only", "history").out
    task, user = before["tasks"][0][0], before["users"][0][1]
    old = lasting(url)
    taskdb("task", "update", task, "--title", "New")
    taskdb("user", "delete", user, "--yes")
    for operation in history(taskdb):
        taskdb("undo", operation["id"], "--yes")
    assert lasting(url) == old


@pytest.mark.usefixtures("older")
def test_down_and_up_again(taskdb, url):
    """The way down names the operations that it deletes, and leaves users and tasks as they are."""
    taskdb("migrate")
    task = get_rows(url)["tasks"][0][0]
    taskdb("task", "update", task, "--title", "New")
    taskdb("task", "update", task, "--title", "Newer")
    rows = get_rows(url)
    error = taskdb("migrate", "down", "0005", expect=ExitCode.REFUSED).err
    assert "the history of changes, and with it the way to undo them (2)" in error
    taskdb("migrate", "down", "0005", "--yes")
    assert get_rows(url) == rows
    taskdb("migrate", "down", "0005", "--yes")
    taskdb("migrate")
    taskdb("migrate", "check")
    assert (history(taskdb), get_rows(url)) == ([], rows)
    taskdb("undo", "--yes", expect=ExitCode.NOT_FOUND)
    taskdb("task", "update", task, "--title", "Newest")
    taskdb("undo", "--yes")
    assert lasting(url)["tasks"][0][3] == "Newer"
