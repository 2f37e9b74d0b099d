"""Values as other programs write them, and what is said of those that nobody can read."""

import json
import re

import pytest
from pydantic import TypeAdapter, ValidationError

from taskdb_cli.backup.layout import Manifest
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.token import TokenCreate
from taskdb_cli.models.user import UserCreate, UserUpdate
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.output.formats import timestamp
from taskdb_cli.text.faults import reasons
from taskdb_cli.transfer.users import read_users
from tests.test_times import zone  # noqa: F401 (a fixture)
from tests.transfer.test_files import read

SECOND = "2026-12-01T17:00:00Z"
DAY = "2026-12-01T23:59:59Z"
TIMES = {
    "2026-12-01 17:00:00+00": SECOND,
    "2026-12-01 17:00:00 UTC": SECOND,
    "2026-12-01 17:00:00 +0000 UTC": SECOND,
    "2026-12-01T17:00GMT": SECOND,
    "2026-12-01t17:00:00z": SECOND,
    "20261201T170000Z": SECOND,
    "20261201T1700+0000": SECOND,
    "2026-12-01 18:00:00.000 +0100": SECOND,
    "2026-12-01T18:30:15+01:30:15": SECOND,
    "2026-12-01 17:00": SECOND,
    " \u00a02026-12-01\u00a017:00:00\u202f\t": SECOND,
    "2026-W49-2T17:00Z": SECOND,
    "2026W492T17Z": None,
    "2026-12-01T17:00:00.1234567Z": "2026-12-01T17:00:00.123456Z",
    "2026-12-01T23:59:59,9999999999999Z": "2026-12-01T23:59:59.999999Z",
    "2026-12-01T17:00:00." + 5000 * "9" + "Z": "2026-12-01T17:00:00.999999Z",
    "20261201": DAY,
    "2026-W49-2": DAY,
    "2026w492": DAY,
    "2026-335": DAY,
    "2026335": DAY,
    "2026-12-01T24:00": "2026-12-02T00:00:00Z",
    "2026-12-31 24:00:00.00+01": "2026-12-31T23:00:00Z",
    "9999-12-31T24:00Z": None,
    "2026-12-01T24:01": None,
    "2016-12-31T23:59:60Z": None,
    "2026-12-01T17:00+24:00": None,
    "2026-02-30": None,
    "2026-W54-1": None,
    "2025-366": None,
    "2026-W49": None,
    "01/12/2026": None,
    "infinity": None,
    "1764608400": None,
    "\u0662\u0660\u0662\u0666-12-01": None,
}


@pytest.mark.parametrize("text", TIMES, ids=lambda text: text[:30])
def test_times_of_other_programs(zone, text):  # noqa: F811
    """A time is read in every form of ISO 8601, a fraction is never rounded up, and a refusal repeats it."""
    zone("UTC")
    for format in (FileFormat.CSV, FileFormat.NDJSON):
        values = {"title": "t", "due_at": text}
        csv = f'title,due_at\nt,"{text}"\n'
        rows, problems = read(csv if format is FileFormat.CSV else json.dumps(values), format)
        if TIMES[text]:
            assert [timestamp(row["due_at"]) for row in rows] == [TIMES[text]]
        else:
            assert rows == []
            assert ascii(text)[1:-1] in ascii(problems[0])
            assert "time" in problems[0]


@pytest.mark.parametrize("value", [1764608400, 1764608400000, 1.5, 20261201, True, [SECOND], {}])
def test_a_time_that_is_no_text(value):
    """A number may count anything from any day, so it is refused, as other types are."""
    _, [problem] = read(json.dumps({"title": "t", "due_at": value}), FileFormat.NDJSON)
    assert "due_at" in problem
    assert ("number" in problem) == (type(value) in (int, float))


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("status", ("in progress", "In-Progress", "IN_PROGRESS", " in\u00a0 progress "), "in_progress"),
        ("status", ("Todo", "To Do", "to-do"), "todo"),
        ("status", ("Canceled", "CANCELLED"), "cancelled"),
        ("status", ("", " \u00a0"), None),
        ("priority", ("URGENT", " urgent\t"), 4),
        ("external_id", (5, "5"), "5"),
        ("external_id", (-(10**20),), "-100000000000000000000"),
        ("due_at", ("", " "), None),
    ],
)
def test_words_of_other_programs(field, written, meant):
    """A word means the same in any case, with blanks around it, and with any mark between its parts."""
    lines = "".join(json.dumps({"title": "t", field: value}) + "\n" for value in written)
    rows, problems = read(lines, FileFormat.NDJSON)
    assert problems == []
    assert [row[field] for row in rows] == [meant] * len(written)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "open"),
        ("priority", "h\u0131gh"),
        ("priority", 2),
        ("priority", "2"),
        ("external_id", 1.0),
        ("external_id", True),
        ("title", 5),
        ("status", ["todo"]),
    ],
)
def test_what_may_mean_anything_is_refused(field, value):
    """A word that is not known, and a number where a word belongs, is never guessed."""
    rows, [problem] = read(json.dumps({"title": "t", field: value}), FileFormat.NDJSON)
    assert rows == []
    assert field in problem


def test_flags_of_other_programs():
    """A user is active or not by any pair of words that programs write, and by 1 and 0."""
    words = ["true", "T", " yes", "y", "ON", "1", "false", "F", "no ", "n", "off", "0"]
    csv = "email,name,is_active\n" + "".join(f"u{word.strip()}@example.com,U,{word}\n" for word in words)
    rows, problems = read(csv, FileFormat.CSV, kind=read_users)
    assert problems == []
    assert [row["is_active"] for row in rows] == [True] * 6 + [False] * 6
    given = [{"email": f" u{number}@example.com ", "name": "U", "is_active": number} for number in (0, 1, 2)]
    rows, [problem] = read(json.dumps(given), FileFormat.JSON, kind=read_users)
    assert [(row["email"], row["is_active"]) for row in rows] == [
        ("u0@example.com", False),
        ("u1@example.com", True),
    ]
    assert "is_active" in problem


OF_EVERY_TYPE = [None, True, 5, -1.5, 1e300, "", "x", "\ud800", "x" * 50_000, [], ["x"], {}, {"a": 1}]
PYDANTIC = re.compile("[Ii]nput|should|[Vv]alue error|unable|valid (str|int|bool)|Field|pars|None|dict")


@pytest.mark.parametrize("model", [TaskCreate, TaskUpdate, UserCreate, UserUpdate, TokenCreate, Manifest])
def test_no_sentence_of_pydantic(model):
    """Whatever stands in whichever field, it is refused in our words."""
    schema = TypeAdapter(model)
    fields = schema.json_schema()["properties"]
    cases = [{name: value} for name in [*fields, "strange"] for value in OF_EVERY_TYPE]
    cases += [{name: text} for name in fields for text in ("2026-13-01", "2026-12-01", "2026-12-01T17:00")]
    said = set()
    for values in [*cases, None, 5, "x", [], [{}]]:
        try:
            schema.validate_python(values)
        except ValidationError as error:
            said.update(reasons(error, known=tuple(fields)))
    assert said
    assert [sentence for sentence in said if PYDANTIC.search(sentence)] == []


@pytest.mark.parametrize(
    ("status", "completed", "found"),
    [
        (None, "2026-01-01", "done"),
        (" ", "2026-01-01", "done"),
        (None, " ", None),
        ("cancelled", None, "cancelled"),
    ],
)
def test_a_time_of_completion_without_a_status(status, completed, found):
    """A record that was completed and has no status is done."""
    record = {"title": "a", "status": status, "completed_at": completed}
    [row], problems = read(json.dumps([record]), FileFormat.JSON)
    assert (row["status"], problems) == (found, [])
