"""taskdb restore into a SQLite file whose disk is full."""

import shutil

import pytest

from tests.contents import fill as fill_tables
from tests.disks import MEGABYTE, fill, small_disk
from tests.processes import run_lines


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("leave", [0, 0.01])
@pytest.mark.usefixtures("isolated")
def test_a_full_disk_is_no_damage(url, tmp_path, *, leave):
    """With no room or too little the disk is named, and the sound file is not called damaged."""
    fill_tables(url, tasks=60_000)
    with small_disk(tmp_path / "disk", 32 * MEGABYTE) as disk:
        path = disk.place / "taskdb.sqlite3"
        shutil.move(str(url.database), disk.outside / path.name)
        address, archives = f"sqlite:///{path}", str(tmp_path / "archives")
        restore = ("restore", "latest", "--dir", archives, "--replace")
        run_lines([("--database-url", address, "backup", "--dir", archives)], enter=disk.enter)
        fill(disk.outside, leave=leave)
        lines = [("--database-url", address, *restore, option) for option in ("--dry-run", "--yes")]
        for done in run_lines(lines, enter=disk.enter):
            assert done.code == 1, done
            assert done.err.startswith(f"error: {path} cannot ")
            assert "full" in done.err
            assert "damaged" not in done.err
            assert "savepoint" not in done.err
            assert done.err.count("\n") == 1
        names = sorted(file.name for file in disk.outside.iterdir())
    assert not [name for name in names if "damaged" in name]
