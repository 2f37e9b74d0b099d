"""A disk that is really full: a small file system of its own, where that is permitted."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import URL

from tests.conftest import SERVERS, connect, open_database
from tests.disks import MEGABYTE, fill, small_disk
from tests.processes import run_lines
from tests.samples import add_task, add_user, titles

# Nothing that a server could compress until it fits.
LONG = "".join(Random(1).choices([chr(number) for number in range(0x4E00, 0x9F00)], k=20_000))
CREATE = ("task", "create", "--user", "1", "After", "--description", LONG)

READS = [("task", "list"), ("task", "export"), ("migrate", "check"), ("health", "--only", "connection")]


@pytest.fixture
def mounted_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mounts a file system of some megabytes at a new directory, where a server that runs already sees it."""
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
def disk(url: URL, mounted_disk: Callable[[Path, int], None]) -> Iterator[Path]:
    """The small disk on which the server keeps the test's database from now on."""
    with connect(url.set(database="postgres")) as server:
        [data] = server.execute("SHOW data_directory").fetchone()
        place = Path(data).parent / str(url.database)
        mounted_disk(place, 32)
        owner = Path(data).stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        server.execute(f"CREATE TABLESPACE {url.database} LOCATION '{place}'")
        server.execute(f"ALTER DATABASE {url.database} SET TABLESPACE {url.database}")
        yield place
        (place / "ballast").unlink()
        server.execute(f"ALTER DATABASE {url.database} SET TABLESPACE pg_default")
        server.execute(f"DROP TABLESPACE {url.database}")


@pytest.mark.parametrize("engine", [name for name in SERVERS if name != "server"], indirect=True)
def test_full_disk_of_a_server(disk, url, taskdb):
    """A write that the disk has no room for fails in one line and leaves nothing; with room it succeeds."""
    database = open_database(url)
    add_user(database)
    add_task(database, title="Before")
    fill(disk)
    failed = taskdb(*CREATE, expect=1)
    assert failed.out == ""
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1
    assert titles(database) == ["Before"]
    (disk / "ballast").write_bytes(b"")
    taskdb(*CREATE)
    assert titles(database) == ["Before", "After"]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("isolated")
def test_full_disk_under_a_file(database, tmp_path):
    """So does one to a file."""
    add_user(database)
    add_task(database, title="Before")
    with small_disk(tmp_path / "disk", 2 * MEGABYTE) as disk:
        path = disk.place / "taskdb.sqlite3"
        shutil.move(str(database.url.database), disk.outside / path.name)
        fill(disk.outside)
        failed = disk.taskdb("--database-url", f"sqlite:///{path}", *CREATE)
        read = run_lines(
            [("--database-url", f"sqlite:///{path}", *words) for words in READS], enter=disk.enter
        )
        (disk.outside / "ballast").unlink()
        done = disk.taskdb("--database-url", f"sqlite:///{path}", *CREATE)
        shutil.move(disk.outside / path.name, str(database.url.database))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"error: {path} cannot ")
    assert failed.stderr.endswith(f"the disk under {path.parent} is full (make room on it)\n")
    assert failed.stderr.count("\n") == 1
    # SQLite has no room for the files by which readers and writers of a file meet.
    assert [each.code for each in read] == [0] * len(READS), read
    assert done.returncode == 0, done.stderr
    assert titles(database) == ["Before", "After"]
