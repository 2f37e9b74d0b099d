"""A bucket as a store of files, beside a real server over HTTP."""

import os
from contextlib import nullcontext
from datetime import timedelta
from multiprocessing.pool import ThreadPool

import pytest

from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.stores import Store
from taskdb_cli.backup.stores.object_files import PART
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import BackupRunning, Conflict, FileMissing, InvalidInput, NotFound
from tests.buckets import Bucket
from tests.conftest import NOW
from tests.s3 import on_each_service


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return store_at(bucket.address)


@on_each_service
@pytest.mark.parametrize("data", [b"", b"small", os.urandom(PART + 5)], ids=["empty", "small", "parts"])
def test_what_is_uploaded_is_read_back_and_refused_a_second_time(store, bucket, data):
    """A file of any size appears under its name, once."""
    with store.create("file") as new:
        new.write(data[:7])
        new.write(data[7:])
        assert store.read("file", 10) is None
        with new.reopen() as file:
            assert file.read_at(max(0, len(data) - 3), 9) == data[-3:]
            assert b"".join(file.read_at(at, 1 << 20) for at in range(0, file.size, 1 << 20)) == data
    assert [(found.name, found.size) for found in store.list_files()] == [("file", len(data))]
    with pytest.raises(Conflict), store.create("file"):
        pass
    assert bucket.uploads() == 0


@on_each_service
@pytest.mark.parametrize("size", [9, PART])
def test_an_error_while_a_file_is_written_leaves_nothing(store, bucket, size):
    """Neither an object nor an upload in parts stays behind an error."""
    for reopened in (False, True):
        with pytest.raises(KeyboardInterrupt):
            _break_off(store, size, reopened=reopened)
    assert bucket.keys() == []
    assert bucket.uploads() == 0


def _break_off(store, size, *, reopened):
    with store.create("file") as new:
        new.write(bytes(size))
        with new.reopen() if reopened else nullcontext():
            raise KeyboardInterrupt


@on_each_service
def test_one_lock_at_a_time(store, bucket):
    """A second run is told who has the lock, and nothing stays when it is left."""
    with store.lock("label") as require:
        require()
        with pytest.raises(BackupRunning, match=str(os.getpid())), store.lock("label"):
            pass
        with store.lock("other"):
            pass
        assert bucket.keys() == ["backups/.label.lock"]
    assert bucket.keys() == []


def test_archives_on_a_second_page_of_the_list(store, bucket):
    """More archives than a service lists at once are all there, in the order of their times."""
    names = [archive_name("label", NOW + timedelta(hours=hours)) for hours in range(1003)]
    with ThreadPool(8) as pool:
        pool.map(lambda name: bucket.put(f"backups/{name}", b"x"), names)
    assert [entry.name for entry in BackupDirectory(store).entries("label")] == names


@on_each_service
def test_a_small_file_is_updated_from_what_is_there(store):
    """The change gets the content, or nothing where there is none."""
    store.update("record", 100, lambda data: (data or b"") + b"x")
    store.update("record", 100, lambda data: (data or b"") + b"y")
    assert store.read("record", 100) == b"xy"
    assert store.read("record", 1) == b"x"


def test_uploads_of_dead_runs_are_found_and_discarded(store, bucket):
    """An upload in parts is abandoned unless its label is locked."""
    for key in ("backups/label-1", "backups/other-1", "elsewhere"):
        bucket.begin_upload(key)
    with store.lock("label"):
        assert {left.final: left.abandoned for left in store.leftovers()} == {
            "label-1": False,
            "other-1": True,
        }
    for left in store.leftovers():
        store.discard(left)
    assert store.leftovers() == []
    assert bucket.uploads() == 1


@on_each_service
def test_files_and_buckets_that_are_missing(store, bucket):
    """A missing file and a missing bucket are told apart."""
    assert store.exists()
    assert store.read("nothing", 5) is None
    store.delete("nothing")
    for name in ("nothing", "..", "", "a\nb"):
        with pytest.raises(FileMissing):
            store.size(name)
    other = store_at(bucket.address.replace("bucket", "no-such-bucket", 1))
    assert not other.exists()
    for ask in (other.make, other.list_files, lambda: other.update("record", 5, lambda _: b"")):
        with pytest.raises(NotFound, match="bucket"):
            ask()


@pytest.mark.parametrize(
    "address", ["S3://b-1", "s3://b-1/", "s3://b-1/a b/é%20//", "s3://B_1.x/a@b:c/d", "AZ://b-1/a"]
)
def test_addresses_that_name_a_bucket(address):
    """A prefix is taken as it is written, but for the slashes at its end."""
    assert str(store_at(address)) == address[:2].lower() + address[2:].rstrip("/")


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3:///x",
        "s3://hidden:secret@bucket/x",
        "s3://hidden:sec/ret@bucket/x",
        "s3://bucket/x?key=secret",
        "s3://bucket/x#secret",
        "s3://bucket/../secret",
        "s3://bucket/a//secret",
        "s3://bucket/a\nsecret",
        "s3://bu cket/secret",
        "az://account:secret@container",
        "az://container/secret?sig=secret",
        "az://Container/secret",
        "az://a--b/secret",
        "gs://bucket/secret",
    ],
)
def test_addresses_that_are_refused_without_being_repeated(address):
    """What may hold a password is never said."""
    with pytest.raises(InvalidInput) as refused:
        store_at(address)
    assert "secret" not in f"{refused.value.message} {refused.value.hint}"
