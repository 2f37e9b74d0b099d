"""Commands that cannot write what they read: they end at once, and leave no session and no lock.

The databases are so large that what is read does not fit into the buffers between server and command.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.backups import archives, leftovers
from tests.conftest import SERVERS, connect, open_database
from tests.contents import fill, hashes
from tests.disks import small_disk
from tests.forked import run_forked
from tests.interruption import Places
from tests.processes import command, limited
from tests.schemas import execute
from tests.sessions import settle

SOAK = os.environ.get("TASKDB_SOAK") == "1"
TASKS, WIDTH = (60_000, 1) if SOAK else (6_000, 6)
STOPS = 50 if SOAK else 1
"""How often a backup is stopped in each of the ways; the suite has time for the middle only."""
WAYS = [("backup",), ("backup", "--file", "-")] if SOAK else [("backup",)]
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
FULL = limited(200_000)
PIPE = 4096
"""Bytes that a pipe holds: a command that still has more to write sees that its reader went away."""

pytestmark = ENDS


@pytest.fixture
def shelf(isolated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of archives that the settings name."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    return tmp_path / "shelf"


@pytest.fixture
def large(url: URL, taskdb, shelf) -> URL:
    """The test's database, with many rows and one archive of them."""
    fill(url, users=2000, tasks=TASKS, width=WIDTH)
    taskdb("backup")
    return url


def text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def into_closed_pipe(*arguments: object, after: int = 10) -> subprocess.CompletedProcess[str]:
    """Run taskdb for a reader that takes some bytes and goes away."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)

    def read() -> None:
        with open(reading, "rb") as file:  # noqa: PTH123
            file.read(after)

    reader = threading.Thread(target=read)
    reader.start()
    with open(writing, "wb") as file:  # noqa: PTH123
        done = run_forked(*arguments, stdout=file)
    reader.join()
    return done


def require_one_line(done: subprocess.CompletedProcess[str], code: int, url: URL) -> None:
    """Fail unless a command left with that code and one line, and its sessions are gone."""
    assert done.returncode == code, done
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done
    assert "Exception" not in done.stderr
    settle(url)


def require_unlocked(url: URL) -> None:
    """Fail if anybody keeps a lock on the tables."""
    if url.drivername == "sqlite":
        execute(url, "BEGIN EXCLUSIVE")
        return
    with connect(url) as connection, connection.transaction():
        # Autovacuum, which may be at work, gives way to who waits for a second.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        connection.execute("LOCK TABLE users, tasks IN ACCESS EXCLUSIVE MODE")


def test_a_backup(large, shelf, taskdb, tmp_path):
    """A full disk, a full stream or a reader that goes away: 1, and the next backup works at once."""
    file, before = tmp_path / "one.taskdb.zip", archives(shelf)
    require_one_line(run_forked("backup", first=FULL), 1, large)
    require_one_line(run_forked("backup", "--file", file, first=FULL), 1, large)
    with Path("/dev/full").open("w") as full:
        require_one_line(run_forked("backup", "--file", "-", stdout=full), 1, large)
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
    replace = ("--replace", "--yes", "--dir")
    with small_disk(tmp_path / "disk", 200_000) as disk:
        for words in (
            ("restore", archive, *replace, disk.outside),
            ("--database-url", origin, "copy", "--to", text(large), *replace, disk.outside),
        ):
            require_one_line(run_forked(*words), 1, large)
            require_unlocked(large)
            assert archives(disk.outside) == {}
            assert leftovers(disk.outside) == []
    require_one_line(run_forked("migrate", "down", "--yes", first=FULL), 1, large)
    require_unlocked(large)
    assert list(archives(shelf)) == [archive.name]
    assert leftovers(shelf) == []
    assert hashes(open_database(large)) == before


def test_a_load_or_a_drill(large, shelf, tmp_path, monkeypatch):
    """A file that cannot grow is not left behind: 1, or 8 for a drill after a backup that is good."""
    target, scratch = tmp_path / "target.sqlite3", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    [archive] = shelf.glob("*.zip")
    room = limited(archive.stat().st_size + 100_000)
    for words, code in (
        (("copy", "--to", f"sqlite:///{target}"), 1),
        (("--database-url", f"sqlite:///{target}", "restore", "latest"), 1),
        (("backup", "verify", "latest", "--drill"), 1),
        (("backup", "--drill"), 8),
    ):
        require_one_line(run_forked(*words, first=room), code, large)
        assert not target.exists()
        assert leftovers(tmp_path) == list(scratch.iterdir()) == []
    require_unlocked(large)


LISTS = (
    ("task", "list", "--limit", "0", "-o", "table"),
    ("task", "list", "--limit", "0", "-o", "tsv"),
    ("task", "export", "-o", "json"),
    ("task", "export", "-o", "csv"),
    ("user", "list", "--limit", "0", "-o", "ndjson"),
    ("user", "export", "-o", "csv"),
)


def test_a_list_that_nobody_reads(large):
    """A listing or an export whose reader goes away ends quietly; what cannot be written fails."""
    for words in LISTS:
        done = into_closed_pipe(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        settle(large)
    with Path("/dev/full").open("w") as full:
        for words, code in ((LISTS[0], 1), (("stats",), 1), (("health",), 3), (("backup", "list"), 1)):
            require_one_line(run_forked(*words, stdout=full), code, large)


def spread(whole: int) -> list[int]:
    """Return places from the beginning of a whole to its end, evenly apart."""
    return [round(whole * (step + 0.5) / STOPS) for step in range(STOPS)]


@pytest.fixture
def require_stopped(large, shelf, taskdb):
    """Fails unless a stopped backup left no session and no half archive, and the next one works at once."""

    def require(done: subprocess.CompletedProcess[str], code: int, published: int = 0) -> None:
        require_one_line(done, code, large)
        assert leftovers(shelf) == []
        before = archives(shelf)
        assert 1 <= len(before) <= 1 + published
        taskdb("backup", "--keep-last", "1", "--keep-at-least", "1")
        assert len(archives(shelf)) == 1

    return require


@pytest.mark.soak
def test_a_backup_that_is_cut_off_sooner_or_later(shelf, tmp_path, require_stopped):
    """A reader that goes away, or a disk that is full, at any phase: 1."""
    [archive] = shelf.glob("*.zip")
    size = archive.stat().st_size
    for taken in spread(size - 2 * PIPE):
        require_stopped(into_closed_pipe("backup", "--file", "-", after=taken), 1)
    for number, room in enumerate(spread(size)):
        if number % 2 == 0:
            require_stopped(run_forked("backup", first=limited(room)), 1)
            continue
        with small_disk(tmp_path / f"disk{number}", room) as disk:
            require_stopped(run_forked("backup", "--dir", disk.outside), 1)
            assert archives(disk.outside) == {}
            assert leftovers(disk.outside) == []


@pytest.mark.soak
@pytest.mark.parametrize("words", WAYS)
def test_a_backup_that_is_interrupted_sooner_or_later(tmp_path, require_stopped, words):
    """Ctrl-C and SIGTERM at any phase: 130 and 143; the archive is there whole, or not at all."""
    places = Places(tmp_path, *words)
    assert places.run().code == 0
    for place in spread(places.count)[:: len(WAYS)]:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            done = places.stop(place, number)
            require_stopped(subprocess.CompletedProcess(place, done.code, "", done.err), code, published=1)


def test_an_import_whose_faults_nobody_reads(url, taskdb, tmp_path):
    """An import that is refused says so with its code, even if the reader of its reports goes away."""
    file = tmp_path / "tasks.ndjson"
    file.write_text('{"user": "nobody@example.com", "title": "Write"}\n' * 4_000)
    with subprocess.Popen(command("task", "import", file), stderr=subprocess.PIPE, pipesize=PIPE) as process:
        process.stderr.read(10)
        process.stderr.close()
    assert process.returncode == 2
    settle(url)
