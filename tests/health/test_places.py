"""Whether a database could be got back from each of two places: a directory and a bucket."""

import threading
from datetime import timedelta

import pytest

from taskdb_cli.backup.create import take, take_everywhere
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Drill
from taskdb_cli.backup.ownership import Owner
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.health.archives import Backups
from taskdb_cli.health.runner import run
from tests.conftest import NOW, open_database
from tests.samples import add_user

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CHECKS = ("backup", "backup_archive", "drill", "shrinkage", "backup_space", "backup_strays")

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def places(tmp_path, bucket):
    """A directory and a bucket."""
    return [
        BackupDirectory(store_at(each, patient=False)) for each in (str(tmp_path / "near"), bucket.address)
    ]


@pytest.fixture
def back_up(database, places):
    """Takes a backup to both places, two hours ago, and records a test restore in both."""
    add_user(database)

    def back_up(at=NOW - 2 * HOUR):
        for outcome in take_everywhere(database, places, label="work", now=at):
            name, identity = outcome.backup.file.name, outcome.backup.manifest.origin.identity
            outcome.directory.note("work", Drill(name, at, identity))

    return back_up


@pytest.fixture
def look(url, places):
    """Returns the results of the checks of archives by their names."""

    def look(**options):
        backups = [Backups(each, Owner(None, None, "work"), configured=True) for each in places]
        options = {"now": NOW, "backups": backups, "only": CHECKS} | options
        return {each.name: each for each in run(open_database(url), **options).checks}

    return look


def test_both_are_well(look, back_up, places):
    """There is one result a check. The room of a bucket has no limit, and is no warning."""
    back_up(NOW - DAY)
    back_up()
    found = look()
    assert {name: str(result.status) for name, result in found.items()} == dict.fromkeys(CHECKS, "ok")
    for name in ("backup", "backup_archive", "drill"):
        assert all(str(place) in found[name].message for place in places), name
    assert str(places[1]) not in found["backup_space"].message


@pytest.mark.parametrize("number", [0, 1])
def test_one_is_not_well(look, back_up, places, database, number):
    """The worst status counts, and only the place that is not well is named."""
    back_up(NOW - 3 * DAY)
    take(database, places[1 - number], label="work", now=NOW - HOUR)
    found = look()["backup"]
    assert found.status == "critical"
    assert found.value == timedelta(days=3).total_seconds()
    assert str(places[number]) in found.message
    assert str(places[1 - number]) not in found.message


def test_what_is_in_the_bucket_only(look, back_up, bucket, places):
    """An archive that changed there, and an upload that was never finished, are told."""
    back_up()
    [key] = filter(lambda key: key.endswith(".zip"), bucket.keys())
    bucket.begin_upload("backups/work-20200101T000000.000000Z.taskdb.zip")
    data = bytearray(bucket.get(key))
    data[len(data) // 2] ^= 1
    bucket.put(key, bytes(data))
    found = look()
    told = {name: str(result.status) for name, result in found.items() if not result.is_fine}
    assert told == {"backup_archive": "critical", "backup_strays": "warning"}
    for name in told:
        assert str(places[1]) in found[name].message
        assert str(places[0]) not in found[name].message


@pytest.mark.parametrize("alone", [False, True])
def test_a_bucket_that_cannot_be_reached(look, back_up, places, monkeypatch, alone):
    """Every check of it is unknown, and the rest of the time is left for the other checks."""
    back_up()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    far = str(places[1])
    if alone:
        del places[0]
    places[-1] = BackupDirectory(store_at(far, patient=False))
    found = look(timeout=8, only=(*CHECKS, "connection"))
    assert {str(found[name].status) for name in CHECKS} == {"unknown"}
    assert all(far in found[name].message for name in CHECKS)
    # It comes after them.
    assert found["connection"].status == "ok"


def test_a_place_that_does_not_answer(look, back_up, places, monkeypatch):
    """It is waited for once, for a share of the time."""
    back_up()
    asked, answered = [], threading.Event()

    def hang(*_):
        asked.append(1)
        answered.wait(30)

    monkeypatch.setattr(type(places[1].store), "list_files", hang)
    found = look(timeout=2)
    answered.set()
    assert {str(found[name].status) for name in CHECKS} == {"unknown"}
    assert len(asked) == 1


def test_a_bucket_that_is_missing(look, places):
    """It is critical, and said with its endpoint; it cannot be mounted."""
    places[:] = [BackupDirectory(store_at("s3://no-such-bucket/x", patient=False))]
    found = look()["backup"]
    assert found.status == "critical"
    assert all(each in found.message for each in ("s3://no-such-bucket/x", "http://127.0.0.1:"))
    assert "bucket" in found.remedy
    assert "mount" not in found.remedy
