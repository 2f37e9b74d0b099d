"""What real files of other programs hold that their authors did not plan, and the next step that is told."""

import io
import json

import pytest

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.files import Source
from tests.transfer.test_files import read
from tests.transfer.test_programs import noted, todo


def test_trello_of_one_card():
    """The JSON of one card is said to be that. An agent without any value is none."""
    card = {"id": 24 * "a", "name": "b", "idBoard": 24 * "b", "shortUrl": "https://trello.com/c/Qx01Lmnp"}
    assert Source.open(io.BytesIO(json.dumps(card).encode()), "a.json", None).format is FileFormat.TRELLO
    _, problems, _ = noted("trello.json", json.dumps(card))
    assert problems == ["card 1: is alone: the file is the JSON of one card (export the board)"]
    agent = {"name": None, "conversationId": None}
    assert noted("trello.json", json.dumps({"cards": [card | {"agent": agent}]}))[2] == []


def test_ics_start_in_an_unknown_zone():
    """A start decides nothing, so one that is no time here becomes text, and that is said."""
    row, problems, notes = todo("SUMMARY:a", "DUE:20260101T000000Z", "DTSTART;TZID=CST:20260101T000000")
    assert (row["description"], problems) == ("dtstart: 20260101T000000 (CST)", [])
    assert notes == ["DTSTART is not a time, or its time zone is unknown: it was kept as text"]


def test_ics_of_another_encoding():
    """A byte that is not of the encoding is told with its line and the likely encoding; others are read."""
    text = "BEGIN:VTODO\nUID:1\nSUMMARY:{}\nEND:VTODO\n"
    rows, problems, _ = noted("ics.ics", (text.format("Müll") + text.format("b")).encode("latin-1"))
    assert [*rows] == ["b"]
    assert len(problems) == 1
    assert problems[0].startswith(
        "line 1: byte 0xFC at character 10 of line 3 is not UTF-8 (if a program of W"
    )


@pytest.mark.parametrize(("header", "other"), [("(A) a", True), ("Task,Due", True), ("title,prio", False)])
def test_csv_that_is_none(header, other):
    """Where no name of a header is known, the file may be of another format, which is said."""
    _, problems = read(f"{header}\n", FileFormat.CSV)
    assert ("--from names another format" in problems[0]) is other


def test_no_format_helps_an_empty_file():
    """An empty file named as JSON is told what an empty array is."""
    with pytest.raises(InvalidInput) as caught:
        Source.open(io.BytesIO(b""), "a.json", None)
    assert "[]" in caught.value.hint


@pytest.mark.parametrize(
    ("charset", "text", "title"),
    [
        (";CHARSET=UTF-8", "M=C3=BCll", "Müll"),
        (";charset=iso-8859-1", "M=FCll", "Müll"),
        ("", "M=FC", "M\ufffd"),
        (";CHARSET=hex", "M=C3=BCll", "M=C3=BCll"),
    ],
)
def test_ics_of_vcalendar(charset, text, title):
    """A quoted-printable text, as vCalendar 1.0 wrote it, is decoded if its character set is known."""
    row, problems, _ = todo(f"SUMMARY;ENCODING=QUOTED-PRINTABLE{charset}:{text}")
    assert (row["title"], problems) == (title, [])
