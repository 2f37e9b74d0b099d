"""Files of other programs, without any database."""

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.foreign import digest
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
        ('{"cards":[{"id":"a","name":"b"}', "card 2: is cut off: the file ends before the JSON does (in c"),
        ('{"a":[1],"cards', "card 1: is cut off: the file ends before the JSON does"),
        ('{"cards":[{"id":"a"},{"id":"b"', "card 1: name is missing"),
        ('{"a":\n5 6}', "expecting , or } at line 2, character 3 (in a); the rest of the file, from line 2"),
        (" ", "card 1: is empty"),
        ('{"cards":[{"id":"a","name":"b"},]}', "in cards, item 2"),
        ('{"cards":[{"id":"a","name":"b"}]} x', "followed by more"),
        ('{"lists":[]}', "no export of a board"),
        ("[]", "card 1: is not a JSON object"),
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


def test_trello_without_ids():
    """What has no id belongs to no card, and a card without one to no list; an id must be a text."""
    board = {
        "cards": [{"name": "a", "labels": [{"name": "", "color": None}], "customFieldItems": [{}]}],
        "lists": [{"name": "Stray", "closed": True}],
        "checklists": [{"name": "Stray"}, {"idCard": None, "name": "Stray"}],
        "actions": [{"type": "commentCard", "data": {"text": "Stray"}}],
        "customFields": [{"name": "Stray", "options": [{"value": "Stray"}]}],
    }
    cards, problems, _ = noted("trello.json", json.dumps(board))
    assert problems == []
    assert (cards["a"]["status"], cards["a"]["external_id"]) == ("todo", None)
    assert "Stray" not in (cards["a"]["description"] or "")
    for id in (True, {"a": 1}, ["a"]):
        _, problems, _ = noted("trello.json", json.dumps({"cards": [{"id": id, "name": "a"}]}))
        assert problems[0].startswith("card 1: id: must be text")
    digits = 24 * "1"
    cards, _, _ = noted("trello.json", f'{{"cards":[{{"id":{digits},"name":"a"}}]}}')
    assert cards["a"]["external_id"] == f"trello:{digits}"


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
        ({"title": "t", "url": " ", "number": {"a": 1}}, "record 1: url is missing, and so is number"),
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


@pytest.mark.parametrize("name", ["trello.json", "github.json", "ics.ics"])
@pytest.mark.parametrize("indent", [None, 2])
def test_files_are_recognised(name, indent):
    """A file is known by its content, whether it is one line or many."""
    content = (IMPORTS / name).read_text(encoding="utf-8")
    if name != "ics.ics":
        content = json.dumps(json.loads(content), indent=indent)
    assert Source.open(io.BytesIO(content.encode()), "export", None).format is FileFormat(Path(name).stem)


def test_ics():
    """A VTODO keeps its state, times in any zone and texts; what is no task is counted."""
    todos, problems, notes = noted("ics.ics")
    assert problems == []
    passport = todos["Renew the passport, before the trip"]
    assert passport["external_id"] == "ics:4d3e9a52-9d0b-4f7e-8a2f-5a6d0c1b7e01"
    assert (passport["status"], passport["priority"]) == ("in_progress", 3)
    assert passport["due_at"] == datetime(2026, 7, 1, 15, tzinfo=UTC)
    assert passport["created_at"] == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert passport["description"] == (
        "Bring:\n- two photos\n- the old passport\n\n"
        "The office is closed on Wednesdays; ask for Mr. Jäger.\n\n"
        "categories: papers, Trip, 2026, town\ndtstart: 2026-03-01 08:00:00 UTC\nlocation: Town hall\n"
        "percent-complete: 30\nurl: https://example.org/passport?a=1,2"
    )
    assert todos["Photos"]["status"] == "done"
    assert todos["Photos"]["completed_at"] == datetime(2026, 1, 11, 15, tzinfo=UTC)
    assert todos["Photos"]["description"] == "related-to: 4d3e9a52-9d0b-4f7e-8a2f-5a6d0c1b7e01"
    # Another VTODO of the same series stands for one day of it.
    assert todos["Water the plants"]["external_id"] == "ics:0b7c4f3e-thunderbird/20260108T080000"
    assert todos["Call Tomás"]["due_at"] == datetime(2026, 6, 1, 11, tzinfo=UTC)
    for what in (
        "reminder (VALARM)",
        "X-APPLE-SORT-ORDER",
        "VEVENT is not a task",
        "SUMMARY is missing",
        "attached",
    ):
        assert any(what in note for note in notes)


def todo(*lines):
    """Return the task of a VTODO with these lines, its problems and its notes."""
    content = "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VTODO", *lines, "END:VTODO", "END:VCALENDAR", ""])
    rows, problems, notes = noted("ics.ics", content)
    return next(iter(rows.values()), None), problems, notes


ZONE = (
    "BEGIN:VTIMEZONE\nTZID:Mine\nBEGIN:STANDARD\nDTSTART:16010101T000000\n"
    "TZOFFSETFROM:-0330\nTZOFFSETTO:-0330\n{}END:STANDARD\nEND:VTIMEZONE\n"
)


@pytest.mark.parametrize(
    ("line", "hour"),
    [
        ("DUE:20260701T120000Z", 12),
        ("DUE;TZID=Europe/Berlin:20260701T120000Z", 12),
        ("DUE;TZID=Europe/Berlin:20260701T120000", 10),
        ('DUE;TZID="W. Europe Standard Time":20260701T120000', 10),
        ("DUE;TZID=Mine:20260701T120000", 15),
        ("due;value=date-time:2026-07-01T12:00:00Z", 12),
        ("DTSTART:20260701T100000Z\r\nDURATION:PT2H", 12),
    ],
)
def test_ics_times(line, hour):
    """A time may be in UTC, in a zone by its name in several programs, or in one that the file defines."""
    content = f"BEGIN:VTODO\nSUMMARY:a\n{line}\nEND:VTODO\n" + ZONE.format("")
    rows, problems, _ = noted("ics.ics", content)
    assert problems == []
    assert (rows["a"]["due_at"].day, rows["a"]["due_at"].hour) == (1, hour)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], "todo"),
        (["STATUS: in-process "], "in_progress"),
        (["STATUS:NEEDS-ACTION", "COMPLETED:20260101T000000Z"], "todo"),
        (["COMPLETED:20260101T000000Z"], "done"),
        (["PERCENT-COMPLETE:100"], "done"),
        (["PERCENT-COMPLETE:50"], "in_progress"),
        (["STATUS:CANCELLED", "COMPLETED:20260101T000000Z"], "cancelled"),
        (["STATUS:FINAL"], "todo"),
    ],
)
def test_ics_status(lines, status):
    """STATUS says the status. Without it, what is done of the task does."""
    row, problems, notes = todo("SUMMARY:a", *lines)
    assert (row["status"], problems) == (status, [])
    assert (lines == ["STATUS:FINAL"]) == any("unknown" in note for note in notes)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["SUMMARY:a", "DUE:20261301T000000Z"], "line 2: DUE is not"),
        (["SUMMARY:a", "DUE;TZID=Atlantis:20260101T000000"], "'Atlantis' (replace it by a known one, such"),
        (["SUMMARY:a", "DUE;TZID=../../etc/passwd:20260101T000000"], "unknown time zone"),
        (["SUMMARY:a", "DUE;TZID=America:20260101T000000"], "unknown time zone"),
        (["SUMMARY:a", f"DUE;TZID={5000 * 'x'}:20260101T000000"], "unknown time zone"),
        (["SUMMARY:a", "DUE;TZID=Europe/Berlin:00010101T000000"], "not a time of its time zone"),
        (["SUMMARY:a", "DTSTART:20260101T000000Z", "DURATION:P999999999999D"], "DURATION is not"),
        (["SUMMARY:a", "DTSTART:20260101T000000Z", "DURATION:soon"], "DURATION is not"),
        (["SUMMARY:a", "no property"], "has a line that is not a property: 'no property'"),
        (["SUMMARY:a", "END:VCALENDAR"], "is not closed: END:VTODO"),
        (["SUMMARY:a", "BEGIN:VEVENT"], "is not closed: END:VTODO"),
        (["SUMMARY:a", "DTSTART:20260101T000000Z", "DURATION:P9999999D"], "DURATION is not"),
        (["SUMMARY:a", *20_000 * ["x"]], "has more than 10000 lines"),
        (["SUMMARY:" + 5_000_000 * "a"], "is longer than"),
        (["SUMMARY:a", *["X:" + 900_000 * "a"] * 5], "is longer than"),
    ],
)  # fmt: skip
def test_ics_faults(lines, problem):
    """A broken VTODO is told with its line, and reading goes on."""
    broken = "\n".join(["BEGIN:VTODO", *lines, "END:VTODO"])
    fine = "BEGIN:VTODO\nSUMMARY:fine\nEND:VTODO"
    rows, problems, _ = noted("ics.ics", f"BEGIN:VCALENDAR\n{broken}\n{fine}\nEND:VCALENDAR\n")
    assert [*rows] == ["fine"]
    assert problems[0].startswith("line 2: ")
    assert problem in problems[0]


def test_ics_hostile_files():
    """Deep nesting, zones whose rules have no end, and what is no iCalendar take no time and no traceback."""
    deep = 50_000 * "BEGIN:VALARM\n"
    row, problems, notes = todo("SUMMARY:a", deep)
    assert (row["title"], problems, notes) == ("a", [], ["the reminder (VALARM) was not kept"])
    slow = ZONE.format("RRULE:FREQ=SECONDLY\n")
    content = f"{slow}BEGIN:VTODO\nSUMMARY:a\nDUE;TZID=Mine2:20260101T000000\nEND:VTODO\n"
    assert "unknown time zone" in noted("ics.ics", content.replace("TZID:Mine", "TZID:Mine2"))[1][0]
    assert "is not iCalendar" in noted("ics.ics", "title,due\na,b\n")[1][0]
    assert "is cut off" in noted("ics.ics", "BEGIN:VTODO\nSUMMARY:a\n")[1][0]
    assert noted("ics.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR\n") == ({}, [], ["no task was found"])


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        ("RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10", True),
        ("RRULE:FREQ=YEARLY;WKST=MO;INTERVAL=1;BYMONTH=11;BYDAY=1SU;UNTIL=20301101T060000Z", True),
        ("RRULE:FREQ=YEARLY;BYMONTH=10;BYMONTHDAY=25,26,27,28,29,30,31;BYDAY=SU", True),
        ("RRULE:FREQ=YEARLY", True),
        ("RRULE:FREQ=YEARLY;BYDAY=MO", False),
        ("RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=MO", False),
        ("RRULE:FREQ=YEARLY;BYYEARDAY=1,2,3", False),
        ("RRULE:FREQ=YEARLY;BYMONTHDAY=31;BYMONTH=2", False),
        ("RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=1;BYDAY=5MO", False),
        ('RRULE:FREQ=YEARLY;X-A="BYHOUR=1";FREQ=SECONDLY', False),
        ("EXRULE:FREQ=YEARLY", False),
        ("\n".join(60 * ["RRULE:FREQ=YEARLY"]), False),
    ],
)
def test_ics_rules_of_time_zones(rule, known):
    """The rule of a time zone names a day of a month. No other is tried, since it may take any time."""
    id = digest(rule)
    content = ZONE.replace("Mine", id).format(f"{rule}\n")
    content += f"BEGIN:VTODO\nSUMMARY:a\nDUE;TZID={id}:20260701T120000\nEND:VTODO\n"
    rows, problems, _ = noted("ics.ics", content)
    assert [*rows] == (["a"] if known else [])
    assert known or "unknown time zone" in problems[0]


def test_ics_line_ends():
    """Lines may end in any way, and in several in one file."""
    content = (IMPORTS / "ics.ics").read_text()
    expected = noted("ics.ics", content)
    assert noted("ics.ics", content.replace("\n", "\r")) == expected
    assert noted("ics.ics", content.replace("\n", "\r\n")) == expected


def test_ics_that_is_cut_off():
    """Wherever a file is cut off, that is told."""
    content = "BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\nEND:VTODO\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR"
    assert noted("ics.ics", content)[1] == []
    assert all(noted("ics.ics", content[:end])[1] for end in range(1, len(content)))
    twice = content.removesuffix("END:VCALENDAR") + content
    assert "END:VCALENDAR is missing" in noted("ics.ics", twice)[1][0]


@pytest.mark.parametrize("line", ["X-A:1", "UID:", "UID: "])
def test_ics_without_a_uid(line):
    """A VTODO whose UID is absent or blank is known by its content."""
    ids = {todo(f"SUMMARY:{title}", line, "LOCATION: ")[0]["external_id"] for title in "aba"}
    assert len(ids) == 2
    assert all(id.startswith("ics:") and len(id) == 36 for id in ids)
    alike = 2 * f"BEGIN:VTODO\nSUMMARY:a\n{line}\nEND:VTODO\n"
    rows, problems = read(alike, FileFormat.ICS)
    assert (len({row["external_id"] for row in rows}), problems) == (2, [])


def test_ics_without_the_extra(monkeypatch):
    """Where the extra is not installed, reading such a file says how to install it."""
    monkeypatch.setitem(sys.modules, "icalendar", None)
    with pytest.raises(InvalidConfiguration) as caught:
        noted("ics.ics")
    assert "pip install '.[ics]'" in caught.value.hint
