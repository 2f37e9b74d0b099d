"""Times as people type them, from the outside."""

import json
import sys
import time
from datetime import UTC, datetime

import pytest

from taskdb_cli.cli.context import Invocation
from tests.conftest import open_database
from tests.samples import add_user

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
NOW = datetime(2026, 11, 26, 14, 0, 30, tzinfo=UTC)
"""A Thursday, 15:00:30 in Berlin."""

MOMENTS = ("due_at", "completed_at", "created_at", "updated_at")


@pytest.fixture
def berlin(monkeypatch, url):
    """Makes it Thursday afternoon in Berlin, with one user."""
    add_user(open_database(url))
    monkeypatch.setattr(Invocation, "now", NOW)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=["America/New_York", "Asia/Tokyo"])
def zone(request, monkeypatch):
    """The name of the local zone: one in which the year 1 begins too early, or 9999 ends too late."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def due(taskdb, text):
    made = taskdb("task", "create", "--user", "1", "A", "--due", text, "-o", "json")
    return json.loads(made.out)["due_at"]


def count(taskdb, *filters):
    return int(taskdb("task", "list", *filters, "--count").out)


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("friday", "2026-11-27T22:59:59Z"),
        ("thursday 17:00", "2026-12-03T16:00:00Z"),
        ("in 1 month", "2026-12-26T22:59:59Z"),
        ("5pm", "2026-11-26T16:00:00Z"),
        ("2026-W49-2", "2026-12-01T22:59:59Z"),
        ("+3d", "2026-11-29T14:00:30Z"),
        ("2h", "2026-11-26T16:00:30Z"),
        ("eoy", "2026-12-31T22:59:59Z"),
    ],
)
def test_due(taskdb, berlin, text, stored):
    """A due date is stored as it was meant, by `create` and by `update`."""
    assert due(taskdb, text) == stored
    due(taskdb, "2030-01-01")
    changed = taskdb("task", "update", "2", "--due", text, "-o", "json")
    assert json.loads(changed.out)["due_at"] == stored


@SQLITE_ONLY
@pytest.mark.parametrize(
    "text", ["friday at 5", "january 32", "monday december 1", "5m", "2027-03-28 02:30", "in 9000 years"]
)
def test_refused(taskdb, berlin, text):
    """What is ambiguous or unknown is refused in one line, and nothing is stored."""
    lines = (["create", "--user", "1", "A", "--due", text], ["list", "--due-before", text])
    for line in lines:
        refused = taskdb("task", *line, expect=2)
        assert refused.out == ""
        assert refused.err.count("\n") == 1
    asked = taskdb("task", "list", "--due-after", "friday at 5", expect=2).err
    assert "try 'friday 5am' or 'friday 5pm' or 'friday 05:00'; accepted are 2026-12-01," in asked
    assert count(taskdb) == 0


def test_directions(taskdb, berlin, monkeypatch):
    """Filters by due date look forward, and those by what has happened look back."""
    due(taskdb, "next monday 12:00")
    monkeypatch.setattr(Invocation, "now", datetime(2026, 11, 24, 9, tzinfo=UTC))
    due(taskdb, "friday")
    taskdb("task", "done", "2")
    monkeypatch.setattr(Invocation, "now", NOW)
    assert count(taskdb, "--status", "done", "--completed-after", "monday") == 1
    assert count(taskdb, "--status", "done", "--completed-after", "wednesday") == 0
    assert count(taskdb, "--created-before", "wednesday") == 1
    assert count(taskdb, "--updated-after", "thursday") == 1
    assert count(taskdb, "--due-before", "monday") == 1
    due(taskdb, "end of week")
    assert count(taskdb, "--due-before", "eow") == 2
    assert count(taskdb, "--due-after", "monday") == 1
    for name in ("created", "updated"):
        assert count(taskdb, f"--{name}-after", "3d") == count(taskdb, f"--{name}-after", "-3d") > 0


@SQLITE_ONLY
def test_what_was_understood_is_said(taskdb, berlin, monkeypatch):
    """A terminal is told how each time was understood, unless it wants quiet."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    made = taskdb("task", "create", "--user", "1", "A", "--due", "tomorrow 17:00")
    assert made.err == "due Fri 27 Nov 2026 17:00 (tomorrow)\n"
    listed = taskdb("task", "list", "--due-before", "eow", "--completed-after", "monday", "--count")
    assert listed.err == (
        "due before Sun 29 Nov 2026 23:59 (in 3 days)\ncompleted after Mon 23 Nov 2026 00:00 (3 days ago)\n"
    )
    assert taskdb("-q", "task", "update", "1", "--due", "friday").err == ""
    assert taskdb("task", "update", "1", "--due", "None").err == ""


@SQLITE_ONLY
def test_a_due_date_in_the_past(taskdb, berlin):
    """A due date in the past is accepted, with a note that scripts see too."""
    made = taskdb("task", "create", "--user", "1", "A", "--due", "yesterday", "-o", "json")
    assert json.loads(made.out)["due_at"] == "2026-11-25T22:59:59Z"
    assert made.err == "due Wed 25 Nov 2026 23:59 (yesterday), which is in the past\n"
    assert taskdb("task", "update", "1", "--due", "today").err == ""


@SQLITE_ONLY
def test_show_names_the_whole_due_date(taskdb, berlin):
    """`task show` shows people the time of day of a due date that is far away."""
    due(taskdb, "2126-12-24 17:00")
    shown = taskdb("task", "show", "1", "-o", "table").out
    assert "Tue 24 Dec 2126 17:00 (in " in shown


def test_the_ends_of_time(taskdb, url, zone, monkeypatch, tmp_path):
    """The first and the last moment are listed, filtered, exported and edited, whatever the zone is."""
    add_user(open_database(url))
    for moment in (first := "0001-01-01T00:00:00Z", last := "9999-12-31T23:59:59.999999Z"):
        record = {"title": "A", "status": "done", **dict.fromkeys(MOMENTS, moment)}
        (tmp_path / "tasks.ndjson").write_text(json.dumps(record))
        taskdb("task", "import", str(tmp_path / "tasks.ndjson"), "--user", "1")
    (editor := tmp_path / "editor").write_text("#!/bin/sh\nsed -i 's/^title: A/title: B/' $1\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.setattr(Invocation, "may_ask", True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for id in ("1", "2"):
        taskdb("task", "edit", id)
    listed = [json.loads(line) for line in taskdb("task", "export").out.splitlines()]
    assert [(each["title"], each["due_at"]) for each in listed] == [("B", first), ("B", last)]
    assert taskdb("task", "list", "-o", "table", "--wide").out.count("Z ") == 3
    assert "9999" in taskdb("task", "show", "2", "-o", "table").out
    for field in ("due", "created", "completed"):
        for day, before in {"0001-01-01": int("York" in zone), "9999-12-31": 1}.items():
            assert count(taskdb, f"--{field}-before", day) == before
            assert count(taskdb, f"--{field}-after", day) == 2 - before
    for text in ("in 9000 years", "-3000y", "+999999999w"):
        taskdb("task", "list", "--due-after", text, expect=2)
    taskdb("stats", "-o", "table")
    assert due(taskdb, "9999-12-31").startswith("9999-12-31")
