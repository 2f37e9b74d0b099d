"""taskdb stats on a terminal; what programs get is in tests/cli/test_output.py."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import open_database
from tests.samples import add_task, add_user
from tests.terminals import open_terminal

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def add(database, weeks, **fields):
    """Add a task that was created so many weeks ago."""
    add_task(database, created_at=datetime.now(UTC) - timedelta(weeks=weeks), **fields)


def test_an_empty_database_says_so(taskdb, url, monkeypatch):
    """Without tasks a sentence says so, and names the user if one was asked for."""
    add_user(open_database(url))
    terminal = open_terminal(monkeypatch, "stdout")
    open_terminal(monkeypatch, "stderr")
    taskdb("stats")
    taskdb("stats", "--user", "ann@example.com")
    monkeypatch.setenv("TASKDB_USER", "ann@example.com")
    taskdb("stats")
    everybody, one, default = terminal.lines
    assert "no tasks" in everybody
    assert default == one
    assert "ann@example.com has no tasks" in one


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_chart_fits(taskdb, url, monkeypatch, width):
    """The chart begins with the first week that has something; all bars are on one scale."""
    database = open_database(url)
    add_user(database)
    for weeks, number in ((3, 4), (1, 1)):
        for _ in range(number):
            add(database, weeks)
    add(database, 1, status="done", completed_at=datetime.now(UTC))
    assert len(json.loads(taskdb("stats", "-o", "json").out)["weeks"]) == 12
    terminal = open_terminal(monkeypatch, "stdout", width=width)
    taskdb("stats")
    lines = [line.rstrip() for line in terminal.lines]
    assert all(len(line) <= width for line in lines)
    [head] = [number for number, line in enumerate(lines) if line.startswith("Week of")]
    chart = lines[head + 1 : head + 5]
    numbers = [[word for word in line.split() if not set(word) <= set("█▏▎▍▌▋▊▉")][1:] for line in chart]
    assert numbers == [["4", "0"], ["0", "0"], ["2", "0"], ["0", "1"]]
    assert {line.index(word, 12) for line, (word, _) in zip(chart, numbers, strict=True)} == {18}
    longest, _, shorter, last = (line.count("█") for line in chart)
    assert longest >= 2 * shorter - 1 > 0
    assert last <= shorter
    assert lines[-1].startswith("oldest open: task 1, 21 day")


def test_weeks_without_anything(taskdb, url, monkeypatch):
    """If nothing happened for months there is a sentence in place of a chart."""
    database = open_database(url)
    add_user(database)
    add(database, 20)
    terminal = open_terminal(monkeypatch, "stdout")
    taskdb("stats")
    assert any("last 12 weeks" in line for line in terminal.lines)
    assert not any("Week of" in line for line in terminal.lines)
