"""A disk that is really full: a small file system of its own, where mounting one is permitted."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import URL

from tests.conftest import ENGINES, connect, open_database
from tests.samples import add_task, add_user, titles

# Nothing that a server could compress until it fits.
LONG = "".join(Random(1).choices([chr(number) for number in range(0x4E00, 0x9F00)], k=20_000))
CREATE = ("task", "create", "--user", "1", "After", "--description", LONG)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mounts a file system of some megabytes at a new directory."""
    mounted: list[Path] = []

    def mount(place: Path, megabytes: int) -> None:
        place.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "taskdb-test", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            place.rmdir()
            pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
        mounted.append(place)

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only")
    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


@pytest.fixture
def disk(engine: str, url: URL, small_disk: Callable[[Path, int], None], tmp_path: Path) -> Iterator[Path]:
    """The small disk on which the test's database lies from now on; the URL stays the same."""
    if engine == "sqlite":
        path = Path(str(url.database))
        small_disk(tmp_path / "disk", 2)
        path.rename(moved := tmp_path / "moved")
        shutil.move(moved, tmp_path / "disk" / path.name)
        path.symlink_to(tmp_path / "disk" / path.name)
        yield tmp_path / "disk"
        return
    with connect(url.set(database="postgres")) as server:
        [data] = server.execute("SHOW data_directory").fetchone()
        place = Path(data).parent / str(url.database)
        small_disk(place, 32)
        owner = Path(data).stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        server.execute(f"CREATE TABLESPACE {url.database} LOCATION '{place}'")
        server.execute(f"ALTER DATABASE {url.database} SET TABLESPACE {url.database}")
        yield place
        (place / "ballast").unlink()
        server.execute(f"ALTER DATABASE {url.database} SET TABLESPACE pg_default")
        server.execute(f"DROP TABLESPACE {url.database}")


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)
    assert os.statvfs(disk).f_bavail == 0


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "server"], indirect=True)
def test_full_disk(disk, url, taskdb):
    """A write that the disk has no room for fails in one line and leaves nothing; with room it succeeds."""
    database = open_database(url)
    add_user(database)
    add_task(database, title="Before")
    fill(disk)
    failed = taskdb(*CREATE, expect=1)
    assert failed.out == ""
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1
    # SQLite needs room even to read, for the index of its log.
    (disk / "ballast").write_bytes(b"")
    assert titles(database) == ["Before"]
    taskdb(*CREATE)
    assert titles(database) == ["Before", "After"]
