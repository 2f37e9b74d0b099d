"""A row that breaks the rules of its table gives a plain error that names the value and the way on."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.conftest import ENGINES, connect
from tests.schemas import drop_checks

BROKEN = [
    ("status", "'we\x1bird'", "status"),
    ("priority", "9", "priority"),
]
TIMES = {
    "sqlite": ["'garbage'", "'2026-11-22'", "'2026-99-99T00:00:00.000000Z'", "'0001-01-01T00:00:00+05:00'"],
    "server": ["'infinity'", "'-infinity'", "'0044-03-15 BC'"],
}


@pytest.fixture(params=[ENGINES[0], ENGINES[-1]])
def engine(request):
    """A file and a server are enough: the values are read by the same code of each version."""
    return request.param


@pytest.fixture
def spoil(url, taskdb):
    """Changes one value of the only task, or of the only token, past every rule."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann")
    taskdb("task", "create", "--user", "1", "x")

    def change(table, column, value):
        sql = f"UPDATE {table} SET {column} = {value}"
        if url.get_backend_name() == "sqlite":
            with closing(sqlite3.connect(url.database, isolation_level=None)) as connection:
                connection.execute("PRAGMA ignore_check_constraints = on")
                connection.execute(sql)
            return
        with connect(url) as connection:
            drop_checks(connection, "timestamp|known")
            connection.execute(sql)

    return change


def broken(engine):
    return [*BROKEN, *(("due_at", value, "time") for value in TIMES.get(engine, TIMES["server"]))]


def test_every_command_that_reads_it_says_what_is_stored(engine, spoil, taskdb):
    """Listings, exports and figures exit 7, name the value and the check that finds it, in every format."""
    for column, value, noun in broken(engine):
        spoil("tasks", column, value)
        for arguments in (
            ["task", "list"],
            ["task", "list", "-o", "tsv"],
            ["task", "show", "1"],
            ["task", "export"],
            ["stats"] if column != "due_at" else ["task", "update", "1", "--title", "y"],
        ):
            said = taskdb(*arguments, expect=7).err
            assert noun in said
            assert "taskdb health --only rules" in said
            assert "\x1b" not in said
        error = json.loads(taskdb("task", "list", "-o", "json", expect=7).err)["error"]
        assert error["code"] == "corrupt"
        assert "health" in error["hint"]
        taskdb("health", "--only", "rules", expect=2)
        spoil("tasks", column, {"status": "'todo'", "priority": "2"}.get(column, "NULL"))
        taskdb("task", "show", "1")


def test_the_api_says_that_data_is_corrupt(api, engine, spoil, url):
    """A client gets 500 with the code `corrupt`, and nothing of the value."""
    for column, value, _ in broken(engine):
        spoil("tasks", column, value)
        for path in ("/tasks", "/tasks/1"):
            answer = api.get(path)
            assert answer.status_code == 500
            assert answer.json()["code"] == "corrupt"
            assert "ird" not in answer.text
            assert "rules" in answer.json()["detail"]
        spoil("tasks", column, {"status": "'todo'", "priority": "2"}.get(column, "NULL"))
    spoil("access_tokens", "scope", "'all'")
    answer = api.get("/tasks")
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt")
