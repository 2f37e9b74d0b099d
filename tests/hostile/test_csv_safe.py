"""CSV for spreadsheets: no text of the data becomes a formula, and CSV for programs stays as it is."""

from __future__ import annotations

import csv
import inspect
import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from taskdb_cli.cli.app import app
from taskdb_cli.output.formats import Format, View, write_records
from tests.samples import add_task, add_user

DANGEROUS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\u3000\uff1d1",
    "\ufeff=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    '="a",b',
    "=cmd|' /C calc'!A0",
)
HARMLESS = ("", "a=1", "'=1", "1-1", '"=1"', "ann@example.com", "x\n=1")
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


def written(value, **options):
    """Return the one cell of the CSV of a value, as a reader finds it, and its text."""
    stream = StringIO(newline="")
    write_records([{"a": value}], View(["a"]), Format.CSV, stream, **options)
    text = stream.getvalue()
    # A reader skips a line without a cell.
    rows = list(csv.reader(StringIO(text, newline="")))[1:]
    return (rows[0][0] if rows and rows[0] else ""), text


@pytest.mark.parametrize("text", DANGEROUS)
def test_formulas_get_an_apostrophe(text):
    """What a spreadsheet would compute has an apostrophe before it, and nothing else changes."""
    assert written(text, csv_safe=True)[0] == f"'{text}"
    assert written(text)[0] == text


@pytest.mark.parametrize("value", [*HARMLESS, -1, True, None])
def test_everything_else_stays(value):
    """Other text, numbers and what is absent are written as ever."""
    assert written(value, csv_safe=True) == written(value)


@given(TEXT)
def test_no_text_stays_a_formula(text):
    """Whatever the text, its cell begins with none of the signs, and only an apostrophe is added."""
    cell, _ = written(text, csv_safe=True)
    assert cell in (text, f"'{text}")
    assert not cell.strip().startswith(("=", "+", "-", "@"))


@given(st.lists(st.tuples(TEXT, TEXT | st.none()), max_size=5))
def test_hostile_text_round_trips(rows):
    """CSV, TSV and NDJSON give back every text that a database can hold."""
    records = [{"a": f"x{first}", "b": second} for first, second in rows]
    view = View(["a", "b"])
    stream = StringIO(newline="")
    write_records(records, view, Format.CSV, stream)
    read = list(csv.DictReader(StringIO(stream.getvalue(), newline="")))
    assert read == [{"a": record["a"], "b": record["b"] or ""} for record in records]
    stream = StringIO(newline="")
    write_records(records, view, Format.NDJSON, stream)
    assert [json.loads(line) for line in stream.getvalue().split("\n")[:-1]] == records
    stream = StringIO(newline="")
    write_records(records, view, Format.TSV, stream)
    lines = stream.getvalue().split("\n")[:-1]
    assert [tuple(unescaped(cell) for cell in line.split("\t")) for line in lines] == [
        (record["a"], record["b"] or "") for record in records
    ]


def unescaped(cell):
    """Read a cell of TSV."""
    meanings = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
    characters = iter(cell)
    return "".join(meanings[next(characters)] if each == "\\" else each for each in characters)


def test_commands_write_safe_csv(taskdb, database):
    """Lists, single records and exports take the option; without it they are unchanged."""
    add_user(database, name="=1+1")
    task = add_task(database, title="@SUM(A1)", description="-1\n+2")
    for words in (
        ("user", "list"),
        ("user", "show", "ann@example.com"),
        ("user", "export"),
        ("task", "list"),
        ("task", "list", "--limit", 0),
        ("task", "show", task),
        ("task", "export"),
    ):
        plain = taskdb(*words, "-o", "csv").out
        safe = taskdb(*words, "--csv-safe", "-o", "csv").out
        expected = plain.replace("=1+1", "'=1+1").replace("@SUM", "'@SUM").replace("-1\n", "'-1\n")
        assert safe == expected != plain


@pytest.mark.parametrize(
    "words", [("user", "list"), ("task", "list"), ("task", "export"), ("task", "show", "1"), ("stats",)]
)
@pytest.mark.parametrize("output", [(), ("-o", "json")])
def test_only_csv_can_be_safe(taskdb, words, output):
    """The option without CSV is a usage error, on either side of -o."""
    for arguments in (("--csv-safe", *output), (*output, "--csv-safe")):
        assert "-o csv" in taskdb(*words, *arguments, expect=2).err


def test_nothing_is_changed_before_the_usage_error(taskdb):
    """A command that writes refuses the option before it writes."""
    taskdb("user", "create", "--email", "ann@example.com", "--name", "Ann", "--csv-safe", expect=2)
    assert taskdb("user", "list").out == ""


def test_every_command_that_writes_csv_has_the_option():
    """Each command that shows records knows the option."""

    def commands(command, path):
        for name, each in getattr(command, "commands", {}).items():
            yield from commands(each, f"{path} {name}")
        yield path, command

    lacking = set()
    for path, command in commands(get_command(app), "taskdb"):
        options = {option for parameter in command.params for option in parameter.opts}
        source = inspect.getsource(inspect.unwrap(command.callback)) if command.callback else ""
        if "--output" in options and "--csv-safe" not in options and "show_json" not in source:
            lacking.add(path)
    counting = {"taskdb task import", "taskdb user import", "taskdb user delete", "taskdb task delete"}
    assert lacking <= {"taskdb health", *counting}


def test_write_records_passes_it_on():
    """The one function for all formats heeds the option for CSV."""
    from taskdb_cli.output.formats import USERS

    record = dict.fromkeys(USERS.fields, "=1")
    stream = StringIO()
    write_records([record], USERS, Format.CSV, stream, csv_safe=True)
    assert stream.getvalue().splitlines()[1] == ",".join(["'=1"] * len(USERS.fields))
