"""Files of other programs, without any database."""

import json
from datetime import UTC, datetime

import pytest

from taskdb_cli.models.vocabulary import FileFormat
from tests.transfer.test_files import read


def taskwarrior(**values):
    rows, problems = read(json.dumps([{"description": "a", **values}]), FileFormat.TASKWARRIOR)
    assert problems == []
    return rows[0]


@pytest.mark.parametrize("moment", ["20180914T103257Z", "2018-09-14T10:32:57Z", "2018-09-14T12:32:57+02:00"])
def test_taskwarrior_dates(moment):
    """A date has the basic or the extended form. One in an attribute without a field becomes readable."""
    row = taskwarrior(entry=moment, status="completed", end=moment)
    assert row["created_at"] == row["completed_at"] == datetime(2018, 9, 14, 10, 32, 57, tzinfo=UTC)
    if moment.endswith("Z"):
        assert taskwarrior(wait=moment)["description"] == "wait: 2018-09-14 10:32:57 UTC"


@pytest.mark.parametrize("values", [{}, {"status": None}, {"status": " Pending "}])
def test_taskwarrior_without_a_status(values):
    """A task without a status is pending, and a status may be written in any case."""
    assert taskwarrior(**values)["status"] == "todo"


def test_taskwarrior_long_annotation():
    """An annotation that is too long is cut, and what stands below it is kept."""
    row = taskwarrior(
        annotations=[{"entry": "20180914T103257Z", "description": 30_000 * "x"}], project="garden"
    )
    assert len(row["description"]) == 20_000
    assert row["description"].endswith("x…\n\nproject: garden")


def test_control_characters_do_not_stop_an_import():
    """A control character that no field accepts is replaced in titles and descriptions."""
    row = taskwarrior(description="a\x1bb", annotations=["c\x00d\ne"])
    assert (row["title"], row["description"]) == ("a\ufffdb", "c\ufffdd\ne")
