"""taskdb health on a disk that is really getting full."""

import json
import shutil

import pytest

from tests.disks import MEGABYTE, fill, small_disk

FINE = {"ok", "skipped"}


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("check", "leave", "status"), [("disk", 0.03, "critical"), ("backup_space", 0.07, "warning")]
)
@pytest.mark.usefixtures("isolated")
def test_a_disk_that_gets_full(url, tmp_path, monkeypatch, *, check, leave, status):
    """The room under the file is one check, and the room under the backups is another."""
    with small_disk(tmp_path / "disk", 4 * MEGABYTE) as disk:
        if check == "disk":
            shutil.move(url.database, disk.outside / "taskdb.sqlite3")
            url = url.set(database=str(disk.place / "taskdb.sqlite3"))
        else:
            monkeypatch.setenv("TASKDB_BACKUP_DIR", str(disk.place))
        fill(disk.outside, leave=leave)
        address = url.render_as_string()
        told = disk.taskdb("--database-url", address, "health", "-o", "json", "--skip", "backup")
    statuses = {found["name"]: found["status"] for found in json.loads(told.stdout)["checks"]}
    assert {name: found for name, found in statuses.items() if found not in FINE} == {check: status}
