"""Files of other programs, without any database."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.files import Source
from tests.transfer.test_files import read

IMPORTS = Path(__file__).parent.parent / "data" / "import"


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


def noted(name, content=None):
    """Return the rows of a sample or of what was made of it, by their titles, its problems and its notes."""
    format = FileFormat(Path(name).stem)
    notes = []
    rows, problems = read(content or (IMPORTS / name).read_bytes(), format, notes=notes)
    return {row["title"]: row for row in rows}, problems, notes


def test_trello():
    """A card keeps its state, times and texts. Cards that are archived are done or cancelled."""
    cards, problems, notes = noted("trello.json")
    assert problems == []
    assert {title[:9]: row["status"] for title, row in cards.items()} == {
        "Order see": "todo", "Dig the p": "todo", "Paint the": "done", "Fix the g": "done",
        "Build a g": "cancelled", "Swim": "cancelled", "Two lines": "todo",
    }  # fmt: skip
    order = cards["Order seeds"]
    assert order["external_id"] == "trello:67eb9d000000000000000001"
    assert order["created_at"] == datetime(2025, 4, 1, 8, tzinfo=UTC)
    assert order["due_at"] == datetime(2026, 12, 1, 17, tzinfo=UTC)
    assert cards["Paint the fence"]["completed_at"] == datetime(2025, 5, 31, 16, 20, tzinfo=UTC)
    assert cards["Fix the gate"]["completed_at"] == datetime(2025, 8, 1, 12, tzinfo=UTC)
    assert order["description"] == (
        "Tomatoes, beans.\n\nAsk **Tomás** which beans.\n\n"
        "Seeds:\n[x] tomatoes\n[ ] beans (due 2026-11-15 12:00:00 UTC)\n\n"
        "2025-04-03 08:00:00 UTC Mira Holt: Which beans?\n"
        "2025-09-02 08:00:00 UTC Tomás Ekström: Runner beans.\nThe old kind.\n\n"
        "list: Ideas\nlabels: garden, red_dark\nmembers: Mira Holt\nstart: 2026-11-01 08:00:00 UTC\n"
        "custom fields: Beds: 3, Season: spring, Paid: true\n"
        "attachments: https://seeds.example.com/catalogue, "
        "https://trello.com/1/cards/0/attachments/1/download/bed.png\n"
        "shortUrl: https://trello.com/c/Qx01Lmnp"
    )
    for what in ("archived", "comments", "attached files", "reminder", "coordinates", "votes"):
        assert any(what in note for note in notes)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"cards":[{"id":"a","name":"b"}', "cut off"),
        ('{"cards":[{"id":"a","name":"b"},]}', "in cards, item 2"),
        ('{"cards":[{"id":"a","name":"b"}]} x', "followed by more"),
        ('{"lists":[]}', "no export of a board"),
        ("[]", "expecting {"),
        ('{"cards":[3,{"id":[],"name":"b","idList":{},"labels":[1],"attachments":5}]}', "not a JSON object"),
        ('{"actions":[{"data":5,"type":[]},{"data":{"card":[]}}],"checklists":[[]],"cards":[5]}', "object"),
        ('{"cards":[{"id":"a","name":{}}]}', "name: must be text"),
        ('{"cards":[{"id":"a","name":"b","due":"soon"}]}', "due"),
        ('{"a":' + 100_000 * "[", "nested too deeply"),
    ],
)  # fmt: skip
def test_trello_faults(content, problem):
    """What is no board, or not JSON, is one problem that says so."""
    _, problems, _ = noted("trello.json", content)
    assert problem in problems[0]


def test_github():
    """An issue keeps its state, times, body, comments and whatever has a name."""
    issues, problems, notes = noted("github.json")
    assert problems == []
    assert notes == ["reactions were not kept"]
    assert {title: row["status"] for title, row in issues.items()} == {
        "Pond leaks": "todo", "Plant a hedge": "done", "Build a moat": "cancelled",
        "Leaking pond": "cancelled", "Prune the roses": "todo",
    }  # fmt: skip
    leak = issues["Pond leaks"]
    assert leak["external_id"] == "https://github.com/example-org/garden/issues/14"
    assert leak["description"] == (
        "It loses 2 cm a day.\r\n\r\n- [ ] find the hole\r\n\n\n"
        "2026-01-06 08:00:00 UTC tekstrom: Found it.\n\n"
        "labels: bug, water\nassignees: tekstrom, miraholt\nmilestone: Spring (due 2026-04-30 07:00:00 UTC)\n"
        "author: miraholt\nprojectItems: Garden 2026 (In Progress)\nisPinned: true"
    )
    assert issues["Plant a hedge"]["completed_at"] == datetime(2026, 1, 20, 9, tzinfo=UTC)
    assert "closedAt: 2026-01-21 09:00:00 UTC" in issues["Build a moat"]["description"]


PULL = "https://github.com/a/b/pull/7"


@pytest.mark.parametrize(
    ("values", "id", "status"),
    [
        ({"number": 7}, "#7", "todo"),
        ({"number": 7, "repository": {"name": "b", "nameWithOwner": "a/b"}}, "a/b#7", "todo"),
        ({"url": "u", "state": "CLOSED"}, "u", "done"),
        ({"url": "u", "closed": True}, "u", "done"),
        ({"url": "u", "closedAt": "2026-01-01T00:00:00Z"}, "u", "done"),
        ({"url": "u", "closedAt": "0001-01-01T00:00:00Z"}, "u", "todo"),
        ({"url": "u", "stateReason": "NOT_PLANNED"}, "u", "cancelled"),
        ({"url": "u", "stateReason": "REOPENED"}, "u", "todo"),
        ({"url": PULL, "state": "MERGED", "mergedAt": "2026-01-01T00:00:00Z"}, PULL, "done"),
        ({"url": PULL, "state": "CLOSED", "files": [{}], "labels": ["x"]}, PULL, "cancelled"),
        ({"url": "api", "html_url": "h", "state": "closed", "state_reason": "not_planned"}, "h", "cancelled"),
        ({"html_url": "h", "state": "closed", "pull_request": {"merged_at": "x"}, "x_y": 2}, "h", "done"),
        ({"html_url": "h", "state": "closed", "pull_request": {"merged_at": None}}, "h", "cancelled"),
    ],
)  # fmt: skip
def test_github_subsets(values, id, status):
    """Any fields that were asked for are enough with the title and the address or number, also of the API."""
    rows, problems, _ = noted("github.json", json.dumps([{"title": "t", **values}]))
    assert problems == []
    assert (rows["t"]["external_id"], rows["t"]["status"]) == (id, status)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"title": "t"}, "record 1: url is missing, and so is number"),
        ({"url": "u"}, "record 1: title is missing"),
        ({"title": "t", "url": "u", "state": "HALF"}, "record 1: state must be one of"),
        ({"title": "t", "url": "u", "createdAt": [1]}, "record 1: createdAt is not"),
        ({"title": "t", "url": ["u"]}, "record 1: url"),
    ],
)
def test_github_faults(values, problem):
    """A fault names GitHub's field."""
    _, problems, _ = noted("github.json", json.dumps([values]))
    assert problems[0].startswith(problem)


@pytest.mark.parametrize("name", ["trello.json", "github.json"])
@pytest.mark.parametrize("written", [lambda value: json.dumps(value, indent=2), json.dumps])
def test_files_are_recognised(name, written):
    """A file is known by its content, whether it is one line or many."""
    content = written(json.loads((IMPORTS / name).read_bytes())).encode()
    assert Source.open(io.BytesIO(content), "export.json", None).format is FileFormat(Path(name).stem)
