"""Commands that cannot write what they read: they end at once, and leave no session and no lock.

The databases are so large that what is read does not fit into the buffers between server and command.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.backups import archives, leftovers
from tests.conftest import SERVERS, connect, open_database
from tests.contents import fill, hashes
from tests.processes import command, limited, run_process
from tests.schemas import execute
from tests.sessions import settle

TASKS = 60_000
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
FULL = limited(200_000)

pytestmark = ENDS


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of archives that the settings name."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    return tmp_path / "shelf"


@pytest.fixture
def large(url: URL, taskdb, shelf) -> URL:
    """The test's database, with many rows and one archive of them."""
    fill(url, users=2000, tasks=TASKS)
    taskdb("backup")
    return url


def text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def into_closed_pipe(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run taskdb for a reader that takes a few bytes and goes away."""
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
    return subprocess.CompletedProcess(process.args, process.returncode, "", err)


def require_one_line(done: subprocess.CompletedProcess[str], code: int, url: URL) -> None:
    """Fail unless a command left with that code and one line, and its sessions are gone."""
    assert done.returncode == code, done
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done
    assert "Exception" not in done.stderr
    settle(url)


def require_unlocked(url: URL) -> None:
    """Fail if anybody has a lock on the tables."""
    if url.drivername == "sqlite":
        execute(url, "BEGIN EXCLUSIVE")
        return
    with connect(url) as connection, connection.transaction():
        connection.execute("LOCK TABLE users, tasks IN ACCESS EXCLUSIVE MODE NOWAIT")


def test_a_backup(large, shelf, taskdb, tmp_path):
    """A full disk, a full stream or a reader that goes away: 1, and the next backup works at once."""
    file, before = tmp_path / "one.taskdb.zip", archives(shelf)
    require_one_line(run_process("backup", first=FULL), 1, large)
    require_one_line(run_process("backup", "--file", file, first=FULL), 1, large)
    with Path("/dev/full").open("w") as full:
        require_one_line(run_process("backup", "--file", "-", stdout=full), 1, large)
    require_one_line(into_closed_pipe("backup", "--file", "-"), 1, large)
    assert archives(shelf) == before
    assert leftovers(shelf) == leftovers(tmp_path) == []
    assert not file.exists()
    taskdb("backup")
    assert len(archives(shelf)) == len(before) + 1


def test_a_safety_backup(large, shelf, taskdb, tmp_path):
    """A restore, a copy or a migration that finds no room to keep what is there changes nothing."""
    before = hashes(open_database(large))
    [archive] = shelf.glob("*.zip")
    origin = f"sqlite:///{tmp_path}/origin.sqlite3"
    taskdb("--database-url", origin, "migrate")
    for words in (
        ("restore", archive, "--replace", "--yes"),
        ("--database-url", origin, "copy", "--to", text(large), "--replace", "--yes"),
        ("migrate", "down", "--yes"),
    ):
        require_one_line(run_process(*words, first=FULL), 1, large)
        require_unlocked(large)
        assert list(archives(shelf)) == [archive.name]
        assert leftovers(shelf) == []
    assert hashes(open_database(large)) == before


def test_a_load(large, shelf, tmp_path):
    """A restore or a copy into a file that cannot grow leaves no such file, and lets go of the origin."""
    target = tmp_path / "target.sqlite3"
    copy = ("copy", "--to", f"sqlite:///{target}")
    for words in (copy, ("--database-url", f"sqlite:///{target}", "restore", "latest")):
        require_one_line(run_process(*words, first=FULL), 1, large)
        assert not target.exists()
        assert leftovers(tmp_path) == []
    require_unlocked(large)


def test_a_drill(large, shelf, tmp_path, monkeypatch):
    """A drill that finds no room for its scratch file: 1, or 8 after a backup that is good."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    [archive] = shelf.glob("*.zip")
    room = limited(archive.stat().st_size + 100_000)
    require_one_line(run_process("backup", "verify", "latest", "--drill", first=room), 1, large)
    require_one_line(run_process("backup", "--drill", first=room), 8, large)
    assert list(scratch.iterdir()) == []


LISTS = [
    *(("task", "list", "--limit", "0", "-o", output) for output in ("table", "json", "tsv")),
    *(("task", "export", "-o", output) for output in ("json", "ndjson", "csv")),
    ("user", "list", "--limit", "0", "-o", "csv"),
    ("user", "export", "-o", "ndjson"),
]


def test_a_list_that_nobody_reads(large):
    """A listing or an export whose reader goes away ends quietly; one that cannot be written with 1."""
    for words in LISTS:
        done = into_closed_pipe(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        settle(large)
    with Path("/dev/full").open("w") as full:
        for words in (LISTS[0], LISTS[-1]):
            require_one_line(run_process(*words, stdout=full), 1, large)


def test_a_report(large):
    """A report that cannot be written: 1, or what a monitor takes for unknown."""
    with Path("/dev/full").open("w") as full:
        for words, code in ((("stats",), 1), (("health",), 3), (("backup", "list"), 1)):
            require_one_line(run_process(*words, stdout=full), code, large)
