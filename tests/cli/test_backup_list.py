"""`backup list` and `backup show` on terminals of several widths."""

import json
import re
import sys
import time
from datetime import timedelta

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.cli.context import Invocation
from tests.backups import archive, old_archive, old_record
from tests.conftest import NOW

LABEL = "app-3d0c7b"


@pytest.fixture(params=["sqlite"])
def engine(request):
    """No engine decides what is shown."""
    return request.param


@pytest.fixture
def shelf(isolated, tmp_path, monkeypatch):
    """Three archives: an old one, one that was tested, and a safety backup; it is an afternoon in Tokyo."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(shelf))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", LABEL)
    monkeypatch.setattr(Invocation, "now", NOW)
    paths = [old_archive(shelf, LABEL, NOW - timedelta(days=days)) for days in (40, 3)]
    old_record(shelf, LABEL, paths)
    old_archive(shelf, f"{LABEL}-before-restore", NOW - timedelta(hours=5))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield shelf
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def show(taskdb, monkeypatch):
    """Runs a command on a terminal of some width, and returns its lines on stdout without colours."""

    def run(width, *words):
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            for name, value in {"COLUMNS": width, "LINES": 24, "TERM": "xterm-256color"}.items():
                patch.setenv(name, str(value))
            out = taskdb(*words).out
        lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
        assert max(map(len, lines), default=0) <= width
        assert "…" not in "".join(lines)
        return lines

    return run


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_list_is_whole_on_each_terminal(show, shelf, taskdb, width):
    """Every archive shows its short name, time, age, size, rows, verification and test restore."""
    lines = show(width, "backup", "list")
    text = " ".join(" ".join(lines).split())
    assert f"names begin with {LABEL}-" in text
    assert text.count(LABEL) == 1
    assert "sha256" not in text.lower()
    for words in (
        ("20261013T1230", "2026-10-13 21:30", "6 w", "21"),
        ("20261119T1230", "2026-11-19 21:30", "3 d", "kB", "21", "3 d ago", "3 d ago"),
        ("before-restore-", "2026-11-22 16:30", "5 h", "kB", "21", "never", "never"),
    ):
        assert re.search(".*?".join(map(re.escape, words)), text), words
    assert "20261122T0730" in text
    for name in ("20261013T1230", "20261119T1230", "before-restore-20261122T0730"):
        taskdb("backup", "show", name)


def test_a_list_of_one_label(show, shelf, taskdb):
    """If all archives have the label in use, their names are only times, in one line each."""
    lines = show(80, "backup", "list", "--label", LABEL)[-4:]
    assert lines[0].split() == ["Archive", "Taken", "Age", "Size", "Rows", "Verified", "Test", "restore"]
    assert [line.split()[0] for line in lines[2:]] == ["20261013T1230", "20261119T1230"]


@pytest.mark.parametrize("width", [60, 200])
def test_a_list_says_which_archives_are_encrypted(show, shelf, width):
    """If only some are encrypted, each of them says so."""
    assert "Encrypted" not in " ".join(show(width, "backup", "list"))
    [safety] = shelf.glob("*-before-restore-*.zip")
    safety.rename(f"{safety}.age")
    lines = " ".join(show(width, "backup", "list", "--label", f"{LABEL}-before-restore"))
    assert "all encrypted" in lines
    text = "\n".join(show(width, "backup", "list"))
    assert "1 encrypted" in text.replace("\n", " ")
    assert re.findall(r"\b(no|yes) *$", text, re.MULTILINE) == ["no", "no", "yes"]


def test_machine_formats_are_as_before(shelf, taskdb):
    """JSON, TSV and CSV have the whole names and no number of rows."""
    names = sorted(path.name for path in shelf.glob("*.zip"))
    records = json.loads(taskdb("backup", "list", "-o", "json").out)
    assert sorted(record["archive"] for record in records) == names
    assert list(records[0]) == [
        *("archive", "label", "taken_at", "size", "verified_at", "drilled_at", "identity", "place")
    ]
    rows = [line.split("\t") for line in taskdb("backup", "list").out.splitlines()]
    assert sorted(row[0] for row in rows) == names
    assert {len(row) for row in rows} == {6}


def test_what_cannot_be_read_is_listed(show, shelf):
    """An archive without a readable manifest has its row; one of the future and an empty list are said."""
    directory = BackupDirectory(LocalStore(shelf))
    archive(directory, LABEL, NOW - timedelta(days=1))
    archive(directory, LABEL, NOW + timedelta(days=9))
    text = "\n".join(show(100, "backup", "list"))
    assert re.search(r"20261121T1230 .* 24 h .*unknown +never +never", text)
    assert re.search(r"20261201T1230 .* future ", text)
    assert show(80, "backup", "list", "--dir", shelf / "none") == []


@pytest.mark.parametrize("width", [60, 80, 200])
def test_one_archive_in_detail(show, shelf, width):
    """`show` tells the path, times, place, versions, rows, verification and test restore; no hash."""
    lines = show(width, "backup", "show", "20261119")
    facts = {line[:13].strip(): line[13:].strip() for line in lines}
    assert facts["taken"] == "2026-11-19 21:30 (3 d ago)"
    assert facts["verified"] == facts["test restore"] == facts["taken"]
    assert facts["label"] == LABEL
    assert facts["database"] == "unknown"
    assert facts["revision"] == "0003"
    joined = re.sub(r"\s", "", "".join(lines))
    assert str(shelf) in joined
    assert f"{LABEL}-20261119T123015.123456Z.taskdb.zip" in joined
    assert [line.split()[:2] for line in lines if line.startswith(("users", "tasks"))] == [
        ["users", "3"],
        ["tasks", "18"],
    ]
    assert "sha256" not in joined


def test_an_archive_elsewhere_in_detail(show, shelf, tmp_path):
    """Of a copy outside of the directory nothing is known, and it is shown."""
    copy = tmp_path / "copy.zip"
    copy.write_bytes(next(shelf.glob("*.zip")).read_bytes())
    assert "never" in "\n".join(show(80, "backup", "show", copy))
