"""taskdb backup with several --dir, from the outside."""

import json

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from tests.backups import archives
from tests.conftest import SERVERS
from tests.samples import add_user

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)


@pytest.fixture
def near(tmp_path):
    return tmp_path / "near"


@pytest.fixture
def back_up(taskdb, database, near, bucket, monkeypatch):
    """Runs a backup to a directory and to a bucket."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    return lambda *words, **options: taskdb(
        "backup", "--dir", near, "--dir", bucket.address, *words, **options
    )


def listed(taskdb, place):
    return json.loads(taskdb("backup", "list", "--dir", place, "-o", "json").out)


@ENDS
def test_a_directory_and_a_bucket(back_up, taskdb, near, bucket, tmp_path):
    """Both get the same archive, verified and drilled in each record, pruned alike, and in the metrics."""
    metrics = tmp_path / "work.prom"
    back_up()
    words = ("--drill", "--keep-last", "1", "--keep-at-least", "1", "--metrics-file", metrics, "-o", "json")
    found = json.loads(back_up(*words).out)
    [(name, data)] = archives(near).items()
    assert [each["archive"] for each in found] == [str(near / name), f"{bucket.address}/{name}"]
    for place in (near, bucket.address):
        [known] = listed(taskdb, place)
        assert known["archive"] == name
        assert known["verified_at"] == known["drilled_at"] == known["taken_at"]
    key = next(filter(lambda key: key.endswith(name), bucket.keys()))
    assert bucket.get(key) == data
    lines = [line for line in metrics.read_text().splitlines() if not line.startswith("#")]
    assert sum(f'dir="{near}"' in line for line in lines) * 2 == len(lines)
    assert sum(f'dir="{bucket.address}"' in line for line in lines) * 2 == len(lines)


@SQLITE_ONLY
def test_a_place_that_fails_is_told_and_left_alone(back_up, taskdb, near, bucket, tmp_path):
    """8 with the place and the reason. The other place is pruned, and the failed one is not."""
    metrics = tmp_path / "work.prom"
    back_up()
    with BackupDirectory(LocalStore(near)).lock("work"):
        words = ("--keep-last", "1", "--keep-at-least", "1", "--metrics-file", metrics)
        failed = back_up(*words, expect=8)
    assert f"the backup in {bucket.address} is good, but" in failed.err
    assert str(near / ".work.lock") in failed.err
    assert failed.err.count("\n") == 1
    assert len(archives(near)) == len(listed(taskdb, bucket.address)) == 1
    assert listed(taskdb, near)[0]["taken_at"] < listed(taskdb, bucket.address)[0]["taken_at"]
    assert f'duration_seconds{{dir="{near}"' not in metrics.read_text()
    assert metrics.read_text().count("last_success_timestamp_seconds{") == 2


@SQLITE_ONLY
def test_all_places_fail(taskdb, database, near, bucket):
    """The first error and its exit code, with the reason of each place; nothing is there."""
    near.touch()
    failed = taskdb("backup", "--dir", "s3://no-such-bucket/backups", "--dir", near, expect=3)
    assert "no-such-bucket" in failed.err
    assert str(near) in failed.err
    failed = taskdb("backup", "--dir", near, "--dir", "s3://no-such-bucket/backups", expect=1)
    assert "no-such-bucket" in failed.err


@SQLITE_ONLY
@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/../near", "link", "other/../near"])
def test_the_same_place_twice(taskdb, near, spelling, tmp_path):
    """It is refused by any spelling, before anything is done."""
    (tmp_path / "link").symlink_to(near)
    (tmp_path / "other").mkdir()
    again = spelling.format(near) if "{" in spelling else tmp_path / spelling
    taskdb("backup", "--dir", near, "--dir", again, expect=2)
    assert not near.exists()


@SQLITE_ONLY
def test_the_same_bucket_twice(taskdb, bucket):
    """A slash at the end, or capitals in the scheme, make it no other place."""
    for again in (f"{bucket.address}/", bucket.address.replace("s3:", "S3:")):
        taskdb("backup", "--dir", bucket.address, "--dir", again, expect=2)


@pytest.mark.parametrize(
    "words",
    [
        ("backup", "list"),
        ("backup", "show", "latest"),
        ("backup", "verify", "latest"),
        ("backup", "prune", "--keep-last", "1"),
        ("backup", "--file", "x"),
        ("restore", "latest"),
        ("copy", "--to", "other.sqlite3"),
    ],
)
@SQLITE_ONLY
def test_other_commands_take_one_place(taskdb, words, tmp_path):
    """They refuse several instead of using the last one."""
    taskdb(*words, "--dir", tmp_path / "one", "--dir", tmp_path / "two", expect=2)


@ENDS
def test_health_looks_at_each_place(back_up, taskdb, near, bucket):
    """There is one result a check, which names the place that is not well."""
    back_up("--drill")
    words = ("health", "--dir", near, "--dir", bucket.address, "-o", "json", "--only", "backup,drill")
    assert taskdb(*words, expect=0)
    for archive in near.glob("*.zip"):
        archive.unlink()
    (near / "work.taskdb.json").unlink()
    found = {each["name"]: each for each in json.loads(taskdb(*words, expect=1).out)["checks"]}
    assert str(near) in found["backup"]["message"]
    assert bucket.address not in found["backup"]["message"]
