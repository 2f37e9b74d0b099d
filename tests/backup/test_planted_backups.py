"""Faults of the backups, each planted for real, and what health says of them.

Each fault says which checks are neither ok nor skipped, and what they must name.
"""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from taskdb_cli.backup import create as taking
from taskdb_cli.backup.atomic import open_partial
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.ownership import Owner
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.health.archives import Backups
from taskdb_cli.health.checks import backups as checks
from taskdb_cli.health.runner import run
from tests.backups import partial_name, restore_as_test
from tests.conftest import NOW, SERVERS, open_database
from tests.contents import fill

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LABEL = "work"
OWNER = Owner(None, None, LABEL)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "health.md"
ON_FILES = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@dataclass
class Place:
    """A database with two verified backups, the last one drilled."""

    url: URL
    directory: BackupDirectory
    archives: list[Path]

    @property
    def last(self) -> Path:
        return self.archives[-1]

    @property
    def shelf(self) -> Path:
        return self.directory.store.directory

    @property
    def record(self) -> Path:
        return self.shelf / f"{LABEL}.taskdb.json"

    def change_record(self, old: str, new: str) -> None:
        text = self.record.read_text()
        assert old in text
        self.record.write_text(text.replace(old, new))

    def report(self, **options: Any) -> dict[str, Any]:
        found = run(
            open_database(self.url),
            **{"now": NOW, "backups": [Backups(self.directory, OWNER, configured=True)]} | options,
        )
        return {check.name: check for check in found.checks if not check.is_fine}


@pytest.fixture
def place(url, tmp_path):
    directory, database = BackupDirectory(LocalStore(tmp_path / "shelf")), open_database(url)
    fill(url, tasks=300)
    archives = [
        taking.take(database, directory, label=LABEL, now=at).file.path for at in (NOW - DAY, NOW - HOUR)
    ]
    restore_as_test(archives[-1], directory, now=NOW - HOUR)
    return Place(url, directory, archives)


def flip(path: Path, at: int) -> None:
    """Change one bit of a file, and not its time."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replace_by(path: Path, make) -> None:
    path.unlink(missing_ok=True)
    make(path)


def as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def strays(place: Place) -> None:
    for number in range(300):
        (place.shelf / f"copy-{number}.taskdb.zip").touch()


FUTURE = archive_name(LABEL, NOW + DAY)

# The fault, how it is planted, and the status and a word of each check that is not ok then.
FAULTS = [
    (
        "the directory is missing",
        lambda p: shutil.rmtree(p.shelf),
        {"backup": ("critical", "missing")},
    ),
    (
        "the directory is a file",
        lambda p: as_file(p.shelf),
        {"backup": ("critical", "Not a directory")},
    ),
    (
        "the directory is a link to nowhere",
        lambda p: (
            shutil.rmtree(p.shelf),
            p.shelf.symlink_to("nowhere"),
        ),
        {"backup": ("critical", "missing")},
    ),
    ("the last archive is gone", lambda p: p.last.unlink(), {"backup_archive": ("critical", "gone")}),
    (
        "the last archive is empty",
        lambda p: p.last.write_bytes(b""),
        {"backup_archive": ("critical", "0 bytes")},
    ),
    (
        "the last archive is cut short",
        lambda p: p.last.write_bytes(p.last.read_bytes()[:-1]),
        {"backup_archive": ("critical", "bytes")},
    ),
    (
        "the last archive is another one",
        lambda p: shutil.copy(p.archives[0], p.last),
        {"backup_archive": ("critical", "")},
    ),
    ("a bit at the start flipped", lambda p: flip(p.last, 0), {"backup_archive": ("critical", "damaged")}),
    ("a bit in the rows flipped", lambda p: flip(p.last, 2000), {"backup_archive": ("critical", "damaged")}),
    ("a bit of the seal flipped", lambda p: flip(p.last, -1), {"backup_archive": ("critical", "seal")}),
    (
        "the last archive is a link",
        lambda p: replace_by_link(p.last),
        {"backup_archive": ("critical", "not a regular"), "backup_strays": ("warning", LABEL)},
    ),
    (
        "the last archive is a directory",
        lambda p: replace_by(p.last, Path.mkdir),
        {"backup_archive": ("critical", "not a regular"), "backup_strays": ("warning", LABEL)},
    ),
    (
        "the last archive is a pipe",
        lambda p: replace_by(p.last, os.mkfifo),
        {"backup_archive": ("critical", "not a regular"), "backup_strays": ("warning", LABEL)},
    ),
    (
        "an older archive was damaged when it was last read",
        lambda p: p.directory.note_damage(p.directory.file(p.archives[0].name), "a flipped bit", NOW),
        {"backup_archive": ("warning", "damaged")},
    ),
    (
        "a copy whose name has the date of tomorrow",
        lambda p: shutil.copy(p.last, p.shelf / FUTURE),
        {"backup": ("warning", FUTURE)},
    ),
    (
        "the same copy, and the last backup is too old",
        lambda p: (
            shutil.copy(p.last, p.shelf / FUTURE),
            p.change_record('"taken_at": "2026-11', '"taken_at": "2026-10'),
        ),
        {"backup": ("critical", FUTURE)},
    ),
    (
        "the record is garbage",
        lambda p: p.record.write_text("{"),
        {"backup": ("unknown", "record")},
    ),
    ("the record is empty", lambda p: p.record.write_text(""), {"backup": ("unknown", "record")}),
    (
        "the record is a directory",
        lambda p: replace_by(p.record, Path.mkdir),
        {"backup": ("unknown", "record")},
    ),
    (
        "the record is gone",
        lambda p: p.record.unlink(),
        {"backup": ("warning", "2 archives")},
    ),
    (
        "the record names a file elsewhere",
        lambda p: p.change_record(p.last.name, "../../etc/passwd"),
        {"backup": ("unknown", "../../etc/passwd")},
    ),
    (
        "the record names another database's archive",
        lambda p: p.change_record(p.last.name, p.last.name.replace(LABEL, "home")),
        {"backup": ("unknown", "home")},
    ),
    (
        "the last test restore is dated tomorrow",
        lambda p: p.change_record('"at": "2026-11-22', '"at": "2026-11-29'),
        {"drill": ("unknown", "clock")},
    ),
    (
        "the verification is dated tomorrow",
        lambda p: p.change_record('"verified_at": "2026-11-22T1', '"verified_at": "2026-11-29T1'),
        {"backup": ("warning", "future")},
    ),
    (
        "the lock is a directory",
        lambda p: replace_by(p.shelf / f".{LABEL}.lock", Path.mkdir),
        {"backup": ("critical", ".lock")},
    ),
    (
        "a dead run left a part, and its process id runs again",
        lambda p: (p.shelf / partial_name(p.last.name, os.getpid())).touch(),
        {"backup_strays": ("warning", str(os.getpid()))},
    ),
    ("hundreds of strays", strays, {"backup_strays": ("warning", "295 more")}),
]


@ON_FILES
@pytest.mark.parametrize(("plant", "expected"), [fault[1:] for fault in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_planted_fault_is_seen(place, plant, expected):
    """The fault is told by its check and no other, in one short line that names it."""
    assert place.report() == {}
    plant(place)
    found = place.report()
    assert {name: str(check.status) for name, check in found.items()} == {
        name: status for name, (status, _) in expected.items()
    }, found
    for name, (_, word) in expected.items():
        assert word in found[name].message
        assert found[name].remedy
        assert len(found[name].message) < 1000


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_a_flipped_bit_in_a_large_archive(url, tmp_path, monkeypatch):
    """It is found by reading all; what is too large, or has no time, is called not re-read since then."""
    directory, database = BackupDirectory(LocalStore(tmp_path / "shelf")), open_database(url)
    fill(url, tasks=60_000)
    archive = taking.take(database, directory, label=LABEL, now=NOW - HOUR).file.path
    assert archive.stat().st_size > 1_000_000

    def look(**options: Any):
        backups = [Backups(directory, OWNER)]
        [check] = run(database, now=NOW, backups=backups, only=["backup_archive"], **options).checks
        return str(check.status), check.message

    assert "every byte" in look()[1]
    flip(archive, archive.stat().st_size // 2)
    assert look()[0] == "critical"
    monkeypatch.setattr(checks, "REREAD_AT_MOST", 1_000_000)
    status, message = look()
    assert status == "ok"
    assert "not re-read since 2026-11-22 11:30 UTC" in message
    monkeypatch.undo()
    monkeypatch.setattr(checks, "REREAD_SHARE", 10**12)
    assert "not re-read since" in look()[1]


@ON_FILES
def test_a_file_that_is_being_written_is_no_stray(place):
    """What a run holds locked is left alone, whatever its name says."""
    with open_partial(place.last) as stream:
        Path(stream.name).rename(place.shelf / partial_name(place.last.name))
        assert place.report() == {}
    assert set(place.report()) == {"backup_strays"}


@ON_FILES
def test_the_first_day(url, tmp_path):
    """Who has never made a backup, in a directory that nobody chose, is told to take one."""
    backups = [Backups(BackupDirectory(LocalStore(tmp_path / "shelf")), OWNER)]
    [found] = run(open_database(url), now=NOW, backups=backups, only=["backup"]).checks
    assert (str(found.status), found.remedy) == ("warning", "taskdb backup")


@ON_FILES
@pytest.mark.parametrize("there", [True, False], ids=["beside the file", "without the file"])
def test_what_a_killed_restore_left(url, there):
    """Its unfinished file and that one's journals are told, until they are deleted; one at work is not."""
    file = Path(str(url.database))
    if not there:
        file.unlink()
    partial = file.with_name(partial_name(file.name, os.getpid()))
    left = [partial, *(partial.with_name(partial.name + suffix) for suffix in ("-wal", "-journal"))]
    for path in (*left, file.with_name(partial_name("other.sqlite3"))):
        path.touch()

    def look():
        [found] = run(open_database(url), now=NOW, only=["leftovers"]).checks
        return found

    found = look()
    assert (str(found.status), found.value) == ("warning", 3)
    assert all(str(path) in found.message for path in left)
    partial.unlink()
    assert look().value == 2
    left[1].unlink()
    left[2].unlink()
    with open_partial(file):
        assert str(look().status) == "ok"


@ON_FILES
def test_the_record_of_a_stranger_is_not_followed(place, tmp_path):
    """A path in the record is not opened, not even to find out its size."""
    content = json.loads(place.record.read_text())
    content["proofs"][-1]["archive"] = str(tmp_path / "secret")
    content["proofs"][-1]["size"] = 3
    (tmp_path / "secret").write_text("abc")
    place.record.write_text(json.dumps(content))
    found = place.report()
    assert set(found) == {"backup"}
    assert "not an archive of work" in found["backup"].message


def table():
    """The faults and what is said of them, as a table of Markdown."""
    lines = ["| fault | result |", "|---|---|"]
    for name, _, expected in FAULTS:
        verdict = ", ".join(f"`{check}` {status}" for check, (status, _) in expected.items())
        lines.append(f"| {name} | {verdict} |")
    return "\n".join(lines) + "\n"


def test_the_docs_show_the_planted_faults():
    """The table in the documentation is that of the faults which are planted here."""
    assert table() in DOCS.read_text(encoding="utf-8"), table()
