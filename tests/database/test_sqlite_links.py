"""A SQLite file that is named through symbolic links: SQLite works beside the file that they lead to."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from taskdb_cli.database.sqlite.locks import LOCKS
from taskdb_cli.health.report import Limits
from taskdb_cli.health.runner import run
from tests.conftest import NOW, open_database
from tests.disks import MEGABYTE, small_disk
from tests.samples import add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
KINDS = pytest.mark.parametrize("kind", ["absolute", "relative", "chain", "middle"])


def link_to(file: Path, kind: str, near: Path) -> Path:
    """Return another path of a file, which need not exist, by links in a new directory."""
    near.mkdir()
    path = near / "named.db"
    match kind:
        case "absolute":
            path.symlink_to(file)
        case "relative":
            path.symlink_to(os.path.relpath(file, near))
        case "chain":
            (near / "other.db").symlink_to(file)
            path.symlink_to("other.db")
        case "middle":
            (near / "directory").symlink_to(file.parent, target_is_directory=True)
            path = near / "directory" / file.name
    return path


@pytest.fixture
def file(url):
    """The file itself, with one user, in a directory of its own."""
    add_user(open_database(url))
    path = Path(url.database)
    (path.parent / "own").mkdir()
    return path.rename(path.parent / "own" / path.name)


@pytest.fixture
def named(url, file, tmp_path, kind):
    """The URL by another path of the file."""
    return url.set(database=str(link_to(file, kind, tmp_path / "links")))


def look(url, name, **options):
    """How one check ended, and what it says with its remedy."""
    [found] = run(open_database(url), now=NOW, only=[name], **options).checks
    return str(found.status), f"{found.message} {found.remedy}"


@KINDS
def test_leftovers_are_beside_the_file(named, file, tmp_path):
    """What a killed restore has left is found where restores write."""
    assert look(named, "leftovers")[0] == "ok"
    left = file.with_name(f".{file.name}.4194305-00000000.partial")
    left.touch()
    status, told = look(named, "leftovers")
    assert status == "warning"
    assert str(left) in told


@KINDS
def test_permissions_are_those_of_the_file(named, file, tmp_path):
    """The file's directory, its sidecar files and the link's directory are looked at."""
    assert look(named, "permissions")[0] == "ok"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # Who may write there could make the link lead elsewhere.
        links = [tmp_path / "links"] if Path(named.database).is_symlink() else []
        for place in (file, file.parent, Path(f"{file}-shm"), *links):
            before = place.stat().st_mode
            place.chmod(before | 0o002)
            status, told = look(named, "permissions")
            place.chmod(before)
            assert status == "critical", place
            assert f"chmod o-w {place}" in told


@KINDS
def test_the_size_has_the_log(named, file):
    """The log beside the file is counted."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE others AS SELECT zeroblob(1000000)")
        assert file.stat().st_size < 1_000_000
        assert look(named, "size", thresholds={"size": Limits(1_000_000, None)})[0] == "warning"


@pytest.mark.parametrize("kind", ["absolute"])
@pytest.mark.usefixtures("isolated")
def test_the_disk_is_that_of_the_file(file, tmp_path, kind):
    """Free space is measured where the file is."""
    with small_disk(tmp_path / "disk", 4 * MEGABYTE) as disk:
        (disk.outside / "real.db").write_bytes(file.read_bytes())
        link = link_to(disk.place / "real.db", kind, tmp_path / "links")
        told = disk.taskdb("--database-url", f"sqlite:///{link}", "health", "--only", "disk", "-o", "json")
    assert " of 4.2 MB are free" in told.stdout


@pytest.mark.skipif(not LOCKS.exists(), reason="the system does not tell who holds a lock")
@KINDS
def test_who_holds_a_lock(taskdb, named, file, monkeypatch):
    """The process that writes is named."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "0")
    add = ("user", "create", "--email", "bob@example.com", "--name", "Bob")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        failed = taskdb("--database-url", f"sqlite:///{named.database}", *add, expect=5)
    assert f"is locked by process {os.getpid()} " in failed.err


@KINDS
@pytest.mark.parametrize(
    "words", [("migrate",), ("restore", "{archive}", "--yes"), ("copy", "--to", "sqlite:///{link}")]
)
def test_a_missing_directory_behind_a_link(taskdb, database, tmp_path, kind, words):
    """A database that is made by a link that leads nowhere is where the link leads, and nowhere else."""
    add_user(database)
    taskdb("backup", "--file", tmp_path / "archive.taskdb.zip")
    real = tmp_path / "missing" / "deep" / "real.db"
    link = link_to(real, kind, tmp_path / "links")
    before = sorted(link.parent.iterdir()) if kind != "middle" else []
    place = ("--database-url", f"sqlite:///{link}")
    told = taskdb(*place, "user", "list", expect=3).err
    assert f"no database at {link}" in told
    assert (f"leads to {real}" in told) == (kind != "middle")
    words = [word.format(archive=tmp_path / "archive.taskdb.zip", link=link) for word in words]
    taskdb(*([] if "--to" in words else place), *words)
    assert [path.name for path in real.parent.iterdir()] == ["real.db"]
    assert kind == "middle" or sorted(link.parent.iterdir()) == before
    taskdb(*place, "migrate", "check")


@pytest.mark.parametrize("kind", ["absolute"])
@pytest.mark.parametrize("name", ["x" * 248, f"{'x' * 250}/{'y' * 250}/z.db"])
@pytest.mark.usefixtures("engine")
def test_a_path_that_is_too_long_behind_a_link(taskdb, tmp_path, kind, name):
    """It is refused as it is without a link, and nothing is made."""
    link = link_to(tmp_path / name, kind, tmp_path / "links")
    failed = taskdb("--database-url", f"sqlite:///{link}", "migrate", expect=2)
    assert "too long" in failed.err
    assert not os.path.lexists(tmp_path / name)
