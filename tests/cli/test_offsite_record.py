"""A bucket that does not give an object for a while: that is not taken for no record, or for damage."""

import pyrage
import pytest

from taskdb_cli.backup.stores import objects
from taskdb_cli.backup.stores.connections import Patience
from tests.samples import add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

RECORD = "work.taskdb.json"


@pytest.fixture
def fail(middleman, monkeypatch):
    """Lets reads of an object fail from some number on, and returns a function that counts them."""
    monkeypatch.setattr(objects, "PATIENT", Patience(1, 5, 5, 0, 5))

    def fail(name, first=1):
        reads = []

        def before(method, path):
            reads.extend([path] * (method == "GET" and path.partition("?")[0].endswith(name)))
            fails = len(reads) >= first and path == reads[-1]
            middleman.answers = [(503, "SlowDown")] if fails else []

        middleman.before = before
        return lambda: len(reads)

    return fail


@pytest.fixture
def offsite(taskdb, database, bucket, fail, monkeypatch):
    """The command line with an archive in the bucket, which was restored as a test."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    taskdb("backup", "--drill")
    return taskdb


KEEP = ("--keep-last", "1", "--keep-at-least", "1")


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (("backup", "list"), {5}),
        (("backup", "verify", "latest", "--drill"), {5, 8}),
        (("backup", "show", "latest"), {5}),
        (("backup", "copy", "--to", "copies"), {5}),
        (("backup", "prune", *KEEP), {5, 8}),
        (("backup", "prune", *KEEP, "--dry-run"), {5}),
        (("backup", *KEEP, "--metrics-file", "metrics.prom"), {8}),
        (("backup", "--drill", "--metrics-file", "metrics.prom"), {8}),
        (("restore", "latest", "--replace", "--yes", "--no-safety-backup"), {5}),
    ],
)
def test_a_record_that_cannot_be_read_now(offsite, fail, words, codes):
    """Whichever read of it fails, the command ends by 5 or 8 in one line."""
    for first in range(1, 9):
        reads = fail(RECORD, first)
        ended = offsite(*words, expect=None)
        if reads() < first:
            break
        assert ended.code in codes, (first, ended)
        assert ended.err.count("error:") == 1, (first, ended)
        assert "503 SlowDown" in ended.err
        assert "is not used" not in ended.err
    assert first > 1
    assert ended.code == 0


def test_an_encrypted_archive_whose_record_cannot_be_read_now(offsite, fail, tmp_path, monkeypatch):
    """It is not taken for one of which nothing is known."""
    keys = tmp_path / "recipients"
    keys.write_text(f"{pyrage.x25519.Identity.generate().to_public()}\n")
    monkeypatch.setenv("TASKDB_BACKUP_RECIPIENTS", str(keys))
    offsite("backup")
    for first in (1, 2, 3):
        fail(RECORD, first)
        assert "no record" not in offsite("backup", "verify", "latest", expect=5).err
    assert "no record" not in offsite("backup", "list", expect=None).err


def test_the_newest_archive_cannot_be_read_now(offsite, bucket, fail):
    """An older one is not restored in its place."""
    offsite("backup")
    newest = max(key for key in bucket.keys() if key.endswith(".zip"))  # noqa: SIM118
    bucket.server.request("DELETE", f"/{bucket.name}/backups/{RECORD}")
    fail(newest, 2)
    failed = offsite("restore", "latest", "--replace", "--yes", "--no-safety-backup", expect=5)
    assert "503 SlowDown" in failed.err
    assert "skipped" not in failed.err
