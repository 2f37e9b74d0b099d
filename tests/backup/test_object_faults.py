"""A bucket whose service fails, lies or is far away."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores import LeftoversUnknown, lease, objects
from taskdb_cli.backup.stores.connections import Patience
from taskdb_cli.backup.stores.object_files import PART
from taskdb_cli.backup.stores.objects import ObjectStore
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import (
    ArchiveCorrupt,
    BackupRunning,
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    StorageFailed,
    StoreUnavailable,
)
from tests.azurite import KEY
from tests.buckets import Bucket
from tests.s3 import Middleman, on_each_service
from tests.waiting import wait_until


@pytest.fixture
def store(middleman: Middleman, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(objects, "PATIENT", Patience(1, 5, 5, 2, 5))
    return store_at(bucket.address)


def _write(store, data):
    with store.create("file") as new:
        new.write(data)
        with new.reopen() as file:
            assert file.read_at(0, len(data)) == data


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((403, "AccessDenied"), StorageFailed),
        ((403, "InvalidAccessKeyId"), StorageFailed),
        ((403, "RequestTimeTooSkewed"), StorageFailed),
        ((404, "NoSuchBucket"), NotFound),
        ((503, "SlowDown"), StoreUnavailable),
        ((500, "InternalError"), StoreUnavailable),
    ],
)
@on_each_service
def test_each_refusal_has_its_error(store, middleman, answer, error):
    """No refusal is taken for another, and no key is told."""
    middleman.answers, middleman.always = [answer], True
    for ask in (store.list_files, lambda: store.put("x", b"1", instead_of=None)):
        with pytest.raises(error) as refused:
            ask()
        assert type(refused.value) is error
        assert "AKIA" not in refused.value.message
        assert KEY not in refused.value.message
    if answer[1] == "RequestTimeTooSkewed":
        assert "clock" in refused.value.message


def test_an_answer_of_something_else_is_no_missing_bucket(store, middleman):
    """A wrong path in the endpoint is told as such."""
    middleman.answers, middleman.always = [(404, "NotFound")], True
    with pytest.raises(StorageFailed) as refused:
        store.list_files()
    assert "AWS_ENDPOINT_URL" in refused.value.hint


def test_a_program_that_gives_no_credentials(tmp_path, monkeypatch):
    """What it says instead is not repeated."""
    (tmp_path / "config").write_text("[profile odd]\ncredential_process = /bin/echo secret\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "odd")
    with pytest.raises(InvalidConfiguration) as refused:
        ObjectStore.at("s3://bucket").list_files()
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("place", ["s3:bucket/backups", "S3:/bucket", "az:x"])
def test_half_an_address_is_no_directory(place):
    """Archives that should leave the machine are never kept on it."""
    with pytest.raises(InvalidInput):
        store_at(place)


@on_each_service
def test_a_service_that_is_not_there(store, middleman):
    """A refused connection is told as such."""
    middleman.stop()
    for ask in (store.list_files, lambda: store.size("x")):
        with pytest.raises(StoreUnavailable):
            ask()


@on_each_service
@pytest.mark.parametrize("size", [9, PART + 9])
def test_passing_faults_are_survived(store, middleman, bucket, size):
    """Two answers of 503, and the loss of an answer to what was done, change nothing."""
    middleman.answers = [(503, "SlowDown")] * 2
    store.list_files()
    posted = []

    def lose_once(method, path):
        completes = (method == "POST" and "uploadId" in path) or "comp=blocklist" in path
        if not posted and (completes or (method == "PUT" and size < PART)):
            posted.append(path)
            middleman.lose = 1

    middleman.before = lose_once
    _write(store, os.urandom(size))
    assert posted
    assert bucket.keys() == ["backups/file"]


def test_an_upload_that_the_service_refuses_leaves_nothing(store, middleman, bucket):
    """Refused parts are aborted."""

    def refuse_parts(method, path):
        middleman.answers = [(403, "AccessDenied")] if "partNumber" in path else []

    middleman.before = refuse_parts
    with pytest.raises(StorageFailed):
        _write(store, bytes(PART))
    assert bucket.keys() == []
    assert bucket.uploads() == 0


@on_each_service
def test_an_object_that_changes_while_it_is_read(store, bucket):
    """Bytes of two versions are never put together."""
    bucket.put("backups/file", bytes(2 << 20))
    with store.open("file") as file:
        file.read_at(0, 10)
        bucket.put("backups/file", b"1" * (2 << 20))
        with pytest.raises(ArchiveCorrupt, match="changed") as caught:
            file.read_at(2_000_000, 10)
    assert "again" in caught.value.hint


@pytest.mark.parametrize("ignored", [("if-match",), ("if-none-match",), ("if-match", "if-none-match")])
def test_a_service_without_conditions_is_refused(store, middleman, bucket, ignored):
    """It has to keep both conditions. Nothing stays behind the question."""
    middleman.unconditional = ignored
    with pytest.raises(InvalidConfiguration, match="conditions"), store.lock("label"):
        pass
    assert bucket.keys() == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_that_are_denied_are_no_ignored_conditions(store, middleman, bucket, method):
    """A key that may only write is told as such."""

    def deny(method_of_it, path):
        denied = method_of_it in ("GET", method) and path.endswith(".lock")
        middleman.answers = [(403, "AccessDenied")] if denied else []

    middleman.before = deny
    with pytest.raises(StorageFailed, match="denies"), store.lock("label"):
        pass
    assert bucket.keys() == []


def test_a_lock_that_this_process_could_not_delete(store, middleman):
    """It is not taken for that of another run."""

    def deny(method, _):
        middleman.answers = [(403, "AccessDenied")] if method == "DELETE" else []

    middleman.before = deny
    for _ in range(2):
        with store.lock("label"):
            pass


def test_uploads_that_may_not_be_listed(store, middleman):
    """Nobody says then that there are none, and a backup goes on."""
    directory = BackupDirectory(store)
    middleman.before = lambda _, path: setattr(
        middleman, "answers", [(403, "AccessDenied")] if "uploads" in path else []
    )
    with pytest.raises(LeftoversUnknown):
        directory.strays(datetime.now(UTC))
    with directory.lock("label"):
        directory.sweep("label")


def test_a_lock_that_nobody_removes(store, bucket):
    """It is a stray once it has expired, and not before."""
    bucket.put("backups/.label.lock", b"{}")
    directory, now = BackupDirectory(store), datetime.now(UTC)
    assert directory.strays(now) == []
    [stray] = directory.strays(now + timedelta(seconds=lease.EXPIRY + 60))
    assert ".label.lock" in stray


def test_a_panic_of_the_library(store, monkeypatch):
    """It becomes an error of the store, which names no value."""
    import obstore

    class PanicException(BaseException):
        pass

    def panic(*_, **__):
        raise PanicException("hidden")

    monkeypatch.setattr(obstore, "put", panic)
    for size in (9, PART + 9):
        with pytest.raises(StorageFailed, match="PanicException") as refused, store.create("file") as new:
            new.write(bytes(size))
        assert "hidden" not in refused.value.message


def _plant(store, owner):
    store.put(".label.lock", json.dumps(owner).encode(), instead_of=None)


@on_each_service
def test_the_lock_of_a_dead_process_is_taken_over_at_once(store, bucket):
    """That of a process of another machine is not."""
    dead = lease._this_process() | {"started": "1", "run": "x"}
    _plant(store, dead)
    with store.lock("label"):
        pass
    assert bucket.keys() == []
    _plant(store, dead | {"boot": "another"})
    with pytest.raises(BackupRunning), store.lock("label"):
        pass


@on_each_service
def test_a_lock_that_nobody_renews_is_taken_over(store, monkeypatch):
    """The clock of the store decides, and the run that lost the lock finds out."""
    with store.lock("label") as require:
        monkeypatch.setattr(lease, "EXPIRY", -1)
        monkeypatch.setattr(lease, "_FRESH", -1)
        with store.lock("label") as other:
            other()
            with pytest.raises(BackupRunning):
                require()
            other()


@pytest.fixture
def renewed(monkeypatch, middleman):
    """Lets locks be renewed all the time; returns a function that waits until it was done from now on."""
    monkeypatch.setattr(lease, "RENEWAL", 0.01)
    monkeypatch.setattr(lease, "_PAUSE", 0.01)

    def wait():
        done = len(middleman.requests)
        wait_until(lambda: sum(each.endswith(".lock") for each in middleman.requests[done:]) >= 2)

    return wait


def test_a_lock_is_renewed(store, bucket, renewed):
    """Its object changes, and it is still ours."""
    with store.lock("label") as require:
        before = bucket.get("backups/.label.lock")
        renewed()
        assert bucket.get("backups/.label.lock") != before
        require()
    assert bucket.keys() == []


def test_a_lock_that_others_took_is_left_to_them(store, bucket, renewed, monkeypatch):
    """The thread that renews it finds out, and the object of the others stays."""
    monkeypatch.setattr(lease, "_FRESH", 600)
    with store.lock("label") as require:
        bucket.put("backups/.label.lock", b"{}")
        renewed()
        with pytest.raises(BackupRunning):
            require()
    assert bucket.get("backups/.label.lock") == b"{}"


@pytest.mark.parametrize("lost", [False, True])
def test_a_service_that_is_away_while_a_lock_is_renewed(store, middleman, bucket, renewed, lost, monkeypatch):  # noqa: PLR0917
    """When it is back the lock is ours still, also if the service has done what it did not answer."""
    monkeypatch.setattr(lease, "_FRESH", 0)
    with store.lock("label") as require:
        if lost:
            middleman.lose = 1_000
        else:
            middleman.answers, middleman.always = [(503, "SlowDown")], True
        renewed()
        with pytest.raises(StoreUnavailable):
            require()
        middleman.lose, middleman.answers, middleman.always = 0, [], False
        require()
    assert bucket.keys() == []


def test_a_lock_that_was_made_without_an_answer(store, middleman, bucket):
    """It does not stay."""

    def lose_all(method, path):
        middleman.lose = 1_000 if method == "PUT" else 0

    middleman.before = lose_all
    store.list_files()
    with pytest.raises(StoreUnavailable), store.lock("label"):
        pass
    assert bucket.keys() == []
