"""taskdb task export and taskdb user export, from the outside."""

import json
from pathlib import Path

import pytest

from taskdb_cli.models.vocabulary import TASK_FIELDS

TITLES = [
    "[bold]x[/oops]",
    'a "quoted", comma\'d title; -- DROP TABLE tasks',
    "  spaces around  ",
    "=1+1 \\N \\t \\\\",
    "NULL",
    "café e\u0301 \u202e \U0001f600 \u2028 \ufeff",
]
DESCRIPTION = 'one\r\ntwo\rthree\n\tfour, "five"\n\n'


@pytest.fixture
def filled(taskdb):
    """The command line on two users and tasks with text that is easily mangled."""
    for name in ("ann", "bob"):
        taskdb("user", "create", "--email", f"{name}@example.com", "--name", f'{name} "x", y')
    records = [
        {
            "user": "ann@example.com" if number % 2 else "bob@example.com",
            "external_id": f'{number},"',
            "title": title,
            "description": DESCRIPTION if number % 2 else None,
            "status": ["todo", "in_progress", "done", "cancelled"][number % 4],
            "priority": ["low", "medium", "high", "urgent"][number % 4],
            "due_at": "0001-01-01T00:00:00Z" if number % 2 else "9999-12-31T23:59:59.999999Z",
        }
        for number, title in enumerate(TITLES)
    ]  # fmt: skip
    taskdb("task", "import", "-", stdin="".join(json.dumps(each) + "\n" for each in records))
    return taskdb


@pytest.mark.parametrize("format", ["ndjson", "json", "csv"])
def test_round_trip(filled, format):
    """What is exported imports unchanged, and into an empty database as the same records."""
    users, tasks = (filled(noun, "export", "-o", format).out for noun in ("user", "task"))
    for noun, text in (("user", users), ("task", tasks)):
        result = filled(noun, "import", "-", "--from", format, "-o", "json", stdin=text)
        assert json.loads(result.out)["created"] == json.loads(result.out)["updated"] == 0
    filled("user", "delete", "ann@example.com", "bob@example.com", "--yes")
    filled("user", "import", "-", "--from", format, stdin=users)
    filled("task", "import", "-", "--from", format, stdin=tasks)
    for noun, text in (("user", users), ("task", tasks)):
        again = filled(noun, "export", "-o", "ndjson").out
        assert without_ids(again) == without_ids(converted(text, format))


def converted(text: str, format: str) -> str:
    """Return an export as NDJSON; from CSV only through this project's own words for what is empty."""
    if format == "ndjson":
        return text
    if format == "json":
        return "".join(json.dumps(each) + "\n" for each in json.loads(text))
    import csv
    import io

    rows = csv.DictReader(io.StringIO(text, newline=""))
    return "".join(
        json.dumps({name: _typed(name, cell) for name, cell in row.items()}) + "\n" for row in rows
    )


def _typed(name: str, cell: str) -> object:
    if name in ("id", "user_id", "version"):
        return int(cell)
    return {"true": True, "false": False}[cell] if name == "is_active" else cell or None


def without_ids(text: str) -> list[dict]:
    records = map(json.loads, text.split("\n")[:-1])
    return [{name: each[name] for name in each if name not in ("id", "user_id")} for each in records]


def test_tasks_in_full(filled):
    """An export holds every field of every task by default, as NDJSON, in the order of ids."""
    records = [json.loads(line) for line in filled("task", "export").out.split("\n")[:-1]]
    assert [each["title"] for each in records] == TITLES
    assert [each["id"] for each in records] == sorted(each["id"] for each in records)
    assert all(tuple(each) == TASK_FIELDS for each in records)


def test_filters_and_sort(filled):
    """An export takes the filters and the order of a list."""
    options = ("--user", "ann@example.com", "--status", "open", "--priority", "medium", "--sort", "-title")
    records = [json.loads(line) for line in filled("task", "export", *options).out.split("\n")[:-1]]
    assert [each["title"] for each in records] == [TITLES[5], TITLES[1]]


def test_csv_has_a_header(filled):
    """CSV begins with the names of the fields."""
    assert filled("task", "export", "-o", "csv").out.startswith(",".join(TASK_FIELDS) + "\n")
    assert filled("user", "export", "-o", "csv").out.startswith("id,email,name,is_active,version,")


def test_nothing_to_export(taskdb):
    """An export of nothing is an empty list of its format, which imports as nothing."""
    outputs = {format: taskdb("task", "export", "-o", format).out for format in ("ndjson", "json", "csv")}
    assert outputs == {"ndjson": "", "json": "[]\n", "csv": ",".join(TASK_FIELDS) + "\n"}
    for format, text in outputs.items():
        Path("t").write_text(text)
        result = taskdb("task", "import", "t", "--from", format, "-o", "json")
        assert json.loads(result.out) == {"created": 0, "updated": 0, "unchanged": 0}


@pytest.mark.parametrize("noun", ["task", "user"])
def test_only_formats_that_import_reads(taskdb, noun):
    """A table is no export."""
    taskdb(noun, "export", "-o", "table", expect=2)
