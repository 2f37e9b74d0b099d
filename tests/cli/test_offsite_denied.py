"""A bucket whose policy denies one kind of request: each command says so and leaves nothing half done."""

import pytest

from tests.samples import add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def deny(middleman):
    """Denies requests of a method whose path has a text in it."""

    def deny(method, text):
        def before(method_of_it, path):
            middleman.answers = [(403, "AccessDenied")] if (method_of_it == method and text in path) else []

        middleman.before = before

    return deny


@pytest.fixture
def offsite(taskdb, database, bucket, deny, monkeypatch):
    """The command line with an archive in the bucket."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    taskdb("backup")
    return taskdb


@pytest.mark.parametrize(
    ("method", "text", "code"),
    [
        ("GET", "list-type", 1),
        ("GET", "uploads", 0),
        ("PUT", ".work.lock", 1),
        ("PUT", ".zip", 1),
        ("GET", ".zip", 1),
        ("HEAD", ".zip", 1),
        ("PUT", "work.taskdb.json", 8),
        ("DELETE", ".zip", 8),
    ],
)
def test_a_backup_that_may_not_do_one_thing(offsite, bucket, deny, method, text, code):  # noqa: PLR0917
    """There is a whole archive more or none, and no lock."""
    deny(method, text)
    keep = ("--keep-last", "1", "--keep-at-least", "1")
    ended = offsite("backup", *keep, expect=code)
    assert ended.err.count("error:") == bool(code)
    assert "AKIA" not in ended.err
    assert ended.err.count(" is good, but ") == (code == 8)
    if code:
        assert "denies access" in ended.err
    deny("", "")
    archives = [key for key in bucket.keys() if key.endswith(".zip")]  # noqa: SIM118
    assert len(archives) == (2 if code == 8 else 1)
    assert len(bucket.keys()) == len(archives) + 1
    offsite("backup", "verify", *(key.rpartition("/")[2] for key in archives))


@pytest.mark.parametrize(
    ("words", "method", "text"),
    [
        (("backup", "list"), "GET", "list-type"),
        (("backup", "verify", "latest"), "GET", ".zip"),
        (("backup", "show", "latest"), "GET", ".zip"),
        (("restore", "latest", "--replace", "--yes"), "GET", ".zip"),
    ],
)
def test_what_may_not_be_read(offsite, deny, words, method, text):
    """It is told as a denial, and the archive is not taken for damaged."""
    deny(method, text)
    assert "denies access" in offsite(*words, expect=1).err
    deny("", "")
    offsite("backup", "verify", "latest")


def test_a_lock_that_may_not_be_deleted(offsite, deny):
    """The backup is good, with a warning; the lock stays until it expires."""
    deny("DELETE", ".work.lock")
    assert "lock" in offsite("backup").err
