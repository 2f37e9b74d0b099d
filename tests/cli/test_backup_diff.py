"""`backup diff`: what changed between two archives, or between an archive and the database."""

import csv
import io
import json
from datetime import timedelta

import pytest

from taskdb_cli.cli.context import Invocation
from tests.backups import new_archive
from tests.conftest import NOW, SERVERS
from tests.processes import run_process
from tests.terminals import open_terminal

LONG = "word " * 90
IDENTITIES = ["0a1b2c3d-0000-4000-8000-0123456789ab", "0a1b2c3d-0000-4000-8000-0123456789ac"]


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request):
    """A file and a server."""
    return request.param


@pytest.fixture
def before(taskdb, tmp_path):
    """An archive of two users and three tasks, of which a user and two tasks have changed since."""
    for name in ("ann", "bob"):
        taskdb("user", "create", "--email", f"{name}@example.com", "--name", name)
    for title in ("One", f"{LONG}winter", "Three"):
        taskdb("task", "create", title, "--user", "ann@example.com")
    path = tmp_path / "before.taskdb.zip"
    taskdb("backup", "--file", path)
    taskdb("user", "update", "2", "--inactive")
    taskdb("task", "update", "2", "--title", f"{LONG}summer", "--priority", "high")
    taskdb("task", "delete", "3", "--yes")
    taskdb("task", "create", "[red]Four[/red]", "--user", "bob@example.com")
    return path


COUNTS = {
    "users": {"added": 0, "removed": 0, "changed": 1, "unchanged": 1},
    "tasks": {"added": 1, "removed": 1, "changed": 1, "unchanged": 1},
}


def test_counts_and_details(taskdb, before):
    """JSON has `equal`, the counts and the details; NDJSON, CSV and TSV have counts, or one detail a line."""
    found = json.loads(taskdb("backup", "diff", before, "live", "-o", "json").out)
    assert {name: found[name] for name in COUNTS} == COUNTS
    assert (found["equal"], found["same_database"], "details" in found) == (False, True, False)
    found = json.loads(taskdb("backup", "diff", before, "live", "--details", "-o", "json").out)
    assert {name: found[name] for name in COUNTS} == COUNTS
    details = found["details"]
    assert [(each["table"], each["id"], each["change"]) for each in details] == [
        ("users", 2, "changed"),
        ("tasks", 2, "changed"),
        ("tasks", 3, "removed"),
        ("tasks", 4, "added"),
    ]
    assert (details[1]["old"]["title"], details[1]["new"]["title"]) == (f"{LONG}winter", f"{LONG}summer")
    assert (details[1]["old"]["priority"], details[1]["new"]["priority"]) == ("medium", "high")
    assert (details[2]["new"], details[3]["old"]) == (None, None)
    assert details[3]["new"]["title"] == "[red]Four[/red]"
    out = taskdb("backup", "diff", before, "live", "--details", "-o", "ndjson").out
    assert [json.loads(line) for line in out.splitlines()] == details
    rows = csv.DictReader(io.StringIO(taskdb("backup", "diff", before, "live", "--details", "-o", "csv").out))
    [changed] = [row for row in rows if row["field"] == "is_active"]
    assert [*changed.values()] == ["users", "2", "changed", "is_active", "true", "false"]
    assert taskdb("backup", "diff", before, "live").out == "users\t0\t0\t1\t1\ntasks\t1\t1\t1\t1\n"


def test_exit_codes(taskdb, before, tmp_path):
    """A difference is 0, or 4 if asked; no difference is 0; both sides live is 2; a damaged side is 7."""
    taskdb("backup", "--file", tmp_path / "after.zip")
    after = tmp_path / "after.zip"
    taskdb("backup", "diff", before, after, expect=0)
    taskdb("backup", "diff", before, after, "--exit-code", expect=4)
    for sides in ((after, "live"), ("live", after), (after, after)):
        assert json.loads(taskdb("backup", "diff", *sides, "--exit-code", "-o", "json").out)["equal"] is True
        assert taskdb("backup", "diff", *sides, "--details", "-o", "ndjson").out == ""
    assert "both" in taskdb("backup", "diff", "live", "live", expect=2).err
    taskdb("backup", "diff", before, tmp_path / "none.zip", expect=3)
    data = bytearray(before.read_bytes())
    data[200] ^= 1
    before.write_bytes(data)
    for output in ("table", "json", "tsv"):
        assert taskdb("backup", "diff", before, "live", "--details", "-o", output, expect=7).out == ""


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal(before, taskdb, monkeypatch, width):
    """A terminal shows signs, titles and fields on lines that fit, and of long texts the end that differs."""
    with monkeypatch.context() as patch:
        terminal = open_terminal(patch, "stdout", width=width)
        patch.setenv("LINES", "200")
        patch.setenv("TASKDB_PAGER", "cat")
        taskdb("backup", "diff", before, "live", "--details")
        lines = terminal.lines
    assert max(map(len, lines)) <= width
    for line in ("~ 2  bob@example.com", "- 3  Three", "+ 4  [red]Four[/red]", "    priority: medium → high"):
        assert line in lines
    title = lines.index("    title:")
    assert lines[title + 1].startswith("      - …")
    assert lines[title + 1].endswith("winter")
    assert lines[title + 2].endswith("summer")
    assert lines[-1] == "The rows differ."


@pytest.mark.parametrize("engine", ["sqlite"])
def test_archives_of_two_databases(taskdb, tmp_path):
    """They are compared, and a line says that they are of two databases."""
    one, two = (
        new_archive(tmp_path, f"l{id[-1]}", NOW, identity=id, place=f"/{id[-1]}") for id in IDENTITIES
    )
    done = taskdb("backup", "diff", one, two, "-o", "json")
    assert "two databases" in done.err
    assert (json.loads(done.out)["same_database"], json.loads(done.out)["equal"]) == (False, True)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_names_of_archives(taskdb, tmp_path, monkeypatch):
    """Both sides are named as for `backup show`."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    for days in (1, 0):
        monkeypatch.setattr(Invocation, "now", NOW - timedelta(days=days))
        taskdb("backup")
    monkeypatch.setattr(Invocation, "now", NOW)
    done = taskdb("backup", "diff", "yesterday", "latest", "-o", "json")
    assert json.loads(done.out)["equal"] is True
    assert json.loads(done.out)["a"]["taken_at"].startswith("2026-11-21")


@pytest.mark.parametrize("engine", ["sqlite"])
def test_live_is_offered(taskdb, monkeypatch):
    """The shell offers `live`, also where there are no archives."""
    monkeypatch.setenv("_TASKDB_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "taskdb backup diff latest l")
    assert "live" in run_process().stdout
