"""Backups as cron runs them: with next to no environment, and nobody who reads along."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import verify
from tests.conftest import SERVERS
from tests.contents import fill
from tests.processes import WITHOUT_PRIVILEGE, command

ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def archives(shelf: Path) -> list[Path]:
    return sorted(shelf.glob("*.taskdb.zip"))


@pytest.fixture
def filled(url):
    """A database with some thousand rows."""
    fill(url)
    return url


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A directory of archives that nothing has made yet."""
    return tmp_path / "some" / "shelf"


@pytest.fixture
def cron(filled, shelf):
    """Runs taskdb as a job of cron: in /, without a home, with umask 000 and closed streams."""

    def run(*words, first: str = "", **options) -> subprocess.CompletedProcess[bytes]:
        arguments = ["--database-url", filled.render_as_string(hide_password=False), *words, "--dir", shelf]
        return subprocess.run(
            command(*arguments, first=f"os.umask(0)\nos.close(0)\n{first}"),
            cwd="/",
            # A checkout is not installed where it is tested.
            env={"LANG": "C", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            timeout=60,
            **options,
        )

    return run


@ENDS
@pytest.mark.parametrize("closed", ["", "os.close(1)", "os.close(1)\nos.close(2)"])
def test_a_job_with_nothing_around_it(cron, shelf, closed):
    """Nothing is printed that cron would mail, and only the owner can read what is written."""
    done = cron("backup", "--label", "work", "--keep-last", "2", first=closed, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [archive] = archives(shelf)
    assert verify(archive).table("tasks").rows == 3000
    assert {mode(path) for path in shelf.iterdir()} == {0o600}
    assert {mode(shelf), mode(shelf.parent)} == {0o700}


@SQLITE_ONLY
def test_a_job_whose_label_is_the_name_of_the_database(cron, shelf, filled):
    """Without any setting the archive is named after the database."""
    assert cron("backup", capture_output=True).returncode == 0
    [archive] = archives(shelf)
    assert archive.name.startswith(Path(filled.database).stem)


@ENDS
def test_an_archive_through_a_pipe(cron, tmp_path):
    """An archive that went to stdout is whole at the other end."""
    copy = tmp_path / "copy.zip"
    code = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, open(sys.argv[1], 'wb'))"
    with subprocess.Popen([sys.executable, "-c", code, str(copy)], stdin=subprocess.PIPE) as reader:
        done = cron("backup", "--file", "-", stdout=reader.stdin, stderr=subprocess.PIPE)
        reader.stdin.close()
    assert (done.returncode, done.stderr) == (0, b"")
    assert verify(copy).table("tasks").rows == 3000


@SQLITE_ONLY
def test_metrics(cron, shelf, tmp_path):
    """A collector that runs as another user reads what the last backup came to."""
    from prometheus_client.parser import text_string_to_metric_families

    file = tmp_path / "taskdb.prom"
    for _ in range(2):
        words = ("backup", "--label", "work", "--drill", "--metrics-file", file)
        assert cron(*words, capture_output=True).returncode == 0
    assert mode(file) == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    archive = archives(shelf)[-1]
    found = {
        (sample.name.removeprefix("taskdb_backup_"), sample.labels.get("table")): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    assert found.pop(("duration_seconds", None)) > 0
    taken_at = verify(archive).origin.created_at.timestamp()
    assert found.pop(("last_success_timestamp_seconds", None)) == pytest.approx(taken_at, abs=0.001)
    assert found.pop(("last_drill_timestamp_seconds", None)) == pytest.approx(taken_at, abs=0.001)
    assert found == {
        ("size_bytes", None): archive.stat().st_size,
        ("rows", "users"): 20,
        ("rows", "tasks"): 3000,
    }


@SQLITE_ONLY
@pytest.mark.parametrize("place", ["missing/taskdb.prom", "file/taskdb.prom", "directory"])
def test_metrics_that_cannot_be_written(cron, shelf, tmp_path, place):
    """The backup is good all the same: 8, and one line."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    done = cron("backup", "--metrics-file", tmp_path / place, capture_output=True)
    assert done.returncode == 8
    assert done.stderr.count(b"\n") == 1
    assert b"the backup is good" in done.stderr
    verify(archives(shelf)[0])


@SQLITE_ONLY
def test_old_metrics_stay_when_a_backup_fails(cron, shelf, tmp_path):
    """A failed run leaves the metrics of the last good one, so that its age shows."""
    file = tmp_path / "taskdb.prom"
    assert cron("backup", "--label", "work", "--metrics-file", file, capture_output=True).returncode == 0
    before = file.read_text()
    shelf.chmod(0o500)
    try:
        words = ("backup", "--label", "work", "--metrics-file", file)
        assert cron(*words, first=WITHOUT_PRIVILEGE, capture_output=True).returncode == 1
    finally:
        shelf.chmod(0o700)
    assert file.read_text() == before


@SQLITE_ONLY
def test_a_prune_that_fails(taskdb, filled, shelf, monkeypatch):
    """An archive that cannot be deleted does not make the new one worse: 8, and one line names it."""
    for _ in range(3):
        taskdb("backup", "--dir", shelf, "--label", "work")
    oldest = archives(shelf)[0]
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path == oldest:
            raise PermissionError(1, os.strerror(1))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    failed = taskdb("backup", "--dir", shelf, "--label", "work", "--keep-last", "1", expect=8)
    assert failed.err.count("\n") == 1
    assert oldest.name in failed.err
    assert "the backup is good" in failed.err
    assert len(archives(shelf)) == 4
