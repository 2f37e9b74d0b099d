"""taskdb backup copy, from the outside."""

import json

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from tests.backups import archives
from tests.samples import add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def near(tmp_path):
    return tmp_path / "near"


@pytest.fixture
def far(tmp_path):
    return tmp_path / "far"


@pytest.fixture
def backup(taskdb, database, near, monkeypatch):
    """Runs a command about backups, on a directory with two archives."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(near))
    taskdb("backup")
    taskdb("backup", "--drill")
    return lambda *words, **options: taskdb("backup", *words, **options)


def listed(backup, place):
    return json.loads(backup("list", "--dir", place, "-o", "json").out)


def test_all_that_is_not_there(backup, near, bucket):
    """Every archive of the database is copied once, with what is known of it; nothing is said to cron."""
    result = backup("copy", "--to", bucket.address)
    assert (result.out, result.err) == ("", "")
    here, there = (listed(backup, place) for place in (near, bucket.address))
    assert [{**each, "verified_at": None} for each in here] == [
        {**each, "verified_at": None} for each in there
    ]
    backup()
    found = json.loads(backup("copy", "--to", bucket.address, "-o", "json").out)
    assert [each["copied"] for each in found] == [False, False, True]
    backup("verify", "latest", "--dir", bucket.address)


def test_those_that_are_named(backup, near, far):
    """A dry run says what would be copied, and makes nothing."""
    would = json.loads(backup("copy", "latest", "--to", far, "--dry-run", "-o", "json").out)
    assert [each["copied"] for each in would] == [True]
    assert "copied" not in backup("copy", "--to", far, "--dry-run", "-o", "table").out
    assert not far.exists()
    backup("copy", "latest", "--to", far)
    [(name, _)] = archives(far).items()
    assert name == max(archives(near))


def test_a_file_of_any_name(backup, near, far, tmp_path):
    """It gets the name that the archive had."""
    [name, _] = archives(near)
    (near / name).rename(tmp_path / "usb.zip")
    backup("copy", tmp_path / "usb.zip", "--to", far)
    assert [*archives(far)] == [name]


def test_what_fails(backup, near, far, tmp_path):
    """A damaged archive is 7 and another file of the name is 4, after all others were copied; a lock is 5."""
    first, second = sorted(near.glob("*.zip"))
    data = first.read_bytes()
    first.write_bytes(data[:200] + b"x" + data[201:])
    failed = backup("copy", "--to", far, expect=7)
    assert str(first) in failed.err
    assert [*archives(far)] == [second.name]
    first.write_bytes(data)
    (far / first.name).write_bytes(b"mine")
    failed = backup("copy", "--to", far, expect=4)
    assert str(far / first.name) in failed.err
    assert (far / first.name).read_bytes() == b"mine"
    (far / first.name).unlink()
    with BackupDirectory(LocalStore(far)).lock("work"):
        backup("copy", "--to", far, expect=5)
    backup("copy", "none", "--to", far, expect=3)


@pytest.mark.parametrize("to", ["near", "link", "postgresql://me:secret@host/db", "gs://bucket/x"])
def test_a_place_that_is_refused(backup, near, tmp_path, to):
    """The same place, a database, and what is no place are refused, and no password is said."""
    (tmp_path / "link").symlink_to(near)
    failed = backup("copy", "--to", to if ":" in to else tmp_path / to, expect=2)
    assert "secret" not in failed.err


def test_recipients_of_the_setting(backup, far, tmp_path, monkeypatch):
    """While recipients are set, no copy goes out in clear."""
    pyrage = pytest.importorskip("pyrage")
    recipients = tmp_path / "recipients"
    recipients.write_text(str(pyrage.x25519.Identity.generate().to_public()))
    monkeypatch.setenv("TASKDB_BACKUP_RECIPIENTS", str(recipients))
    backup("copy", "--to", far)
    assert len([*far.glob("*.age")]) == 2
    assert not [*far.glob("*.zip")]
    backup("copy", "--to", far)
