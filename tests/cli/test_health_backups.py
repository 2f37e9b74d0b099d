"""taskdb health on backups that are not what they should be, from the outside."""

import json
import shutil
import subprocess

import pytest

from tests.contents import fill
from tests.disks import MEGABYTE, small_disk
from tests.processes import WITHOUT_PRIVILEGE, run_process

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("taskdb"),
]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A directory for archives that the settings name."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def worst(output):
    """The checks that are neither ok nor skipped, nor about a drill, and how they ended."""
    found = {check["name"]: check["status"] for check in json.loads(output)["checks"]}
    return {
        name: status for name, status in found.items() if status not in {"ok", "skipped"} and name != "drill"
    }


def test_a_directory_that_was_chosen_and_is_missing(taskdb, shelf):
    """It is critical (2), because its disk may not be mounted; the default one may still be made (1)."""
    result = taskdb("health", expect=2)
    assert f"{shelf} is missing" in result.out
    taskdb("backup")
    assert worst(taskdb("health", "-o", "json", expect=1).out) == {}
    shutil.rmtree(shelf)
    assert worst(taskdb("health", "-o", "json", expect=2).out) == {"backup": "critical"}


def test_a_default_directory_that_was_never_made(taskdb):
    """Who has taken no backup yet is told to: a warning."""
    assert "no backup has been taken" in taskdb("health", expect=1).out


@pytest.mark.parametrize(
    ("pattern", "mode", "expected"),
    [
        ("*.taskdb.zip", 0o000, {"backup_archive": "critical"}),
        ("*.taskdb.json", 0o000, {"backup": "unknown"}),
        (".", 0o000, {"backup": "critical"}),
    ],
    ids=["the archive", "the record", "the directory"],
)
def test_what_may_not_be_read(taskdb, shelf, pattern, mode, expected):
    """What this user may not read is not called fine, and what depends on it is not guessed."""
    taskdb("backup")
    [path] = shelf.glob(pattern) if pattern != "." else [shelf]
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        done = run_process("health", "-o", "json", first=WITHOUT_PRIVILEGE)
    finally:
        path.chmod(before)
    assert worst(done.stdout) == expected


def test_a_disk_that_is_read_only(url, tmp_path, monkeypatch):
    """No backup can be taken on it, however much room there is."""
    with small_disk(tmp_path / "disk", 16 * MEGABYTE) as disk:
        monkeypatch.setenv("TASKDB_BACKUP_DIR", str(disk.place / "shelf"))
        assert disk.taskdb("backup").returncode == 0
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", f"--target={disk.process}"]
        subprocess.run([*enter, "mount", "-o", "remount,ro", str(disk.place)], check=True)
        found = disk.taskdb("health", "-o", "json")
    assert worst(found.stdout) == {"backup_space": "critical"}


def test_a_flipped_bit(taskdb, url, shelf):
    """One bit among the rows of many tasks: critical, without reading the database again."""
    fill(url, tasks=6000, width=10)
    taskdb("backup")
    [archive] = shelf.glob("*.taskdb.zip")
    assert "every byte matches" in taskdb("health", "--only", "backup_archive").out
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0x10
    archive.write_bytes(data)
    assert "damaged" in taskdb("health", "--only", "backup_archive", expect=2).out
