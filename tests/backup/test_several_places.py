"""One run that writes several places, and what becomes of a place that fails."""

from contextlib import contextmanager
from datetime import timedelta

import pytest

from taskdb_cli.backup.create import read_back, take_everywhere
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.file_names import parse_name
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.errors import BackupRunning, DatabaseUnavailable, StorageFailed, StoreUnavailable
from tests.conftest import NOW
from tests.samples import add_task, add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


class FailingStore(LocalStore):
    """A place that fails at one step, as a bucket that goes away."""

    step = ""

    def fail(self, step):
        if step == self.step:
            raise StoreUnavailable(f"{self} went away")

    def make(self):
        self.fail("make")
        super().make()

    def list_files(self):
        self.fail("sweep")
        return super().list_files()

    @contextmanager
    def create(self, name):
        self.fail("create")
        with super().create(name) as new:
            yield FailingFile(new, self)
            self.fail("publish")


class FullStore(LocalStore):
    """A disk without room."""

    def create(self, name):
        raise StorageFailed(f"{self.location(name)} cannot be written: no room")


class FailingFile:
    def __init__(self, new, store):
        self.new, self.store = new, store

    def write(self, data):
        if self.store.step == "another":
            data = b"x" * len(data)
        self.store.fail("write")
        return self.new.write(data)

    def reopen(self):
        self.store.fail("reopen")
        return self.new.reopen()


@pytest.fixture
def filled(database):
    add_user(database)
    for number in range(3):
        add_task(database, title=f"Task {number}")
    return database


@pytest.fixture
def places(tmp_path):
    """Two directories, of which the second can be made to fail."""
    store = FailingStore(tmp_path / "far")
    return BackupDirectory(LocalStore(tmp_path / "near")), BackupDirectory(store)


def at(places, step):
    class Failing(FailingStore):
        pass

    Failing.step = step
    return places[0], BackupDirectory(Failing(places[1].store.directory))


def archives(directory):
    return sorted(name for name in names(directory) if parse_name(name))


def names(directory):
    path = directory.store.directory
    return [each.name for each in path.iterdir()] if path.exists() else []


def test_the_same_bytes_in_each_place(filled, places):
    """Each place holds the same archive, and a record that it was verified."""
    outcomes = take_everywhere(filled, places, label="work", now=NOW)
    assert [(each.directory, each.failure) for each in outcomes] == [(each, None) for each in places]
    one, other = (each.backup for each in outcomes)
    assert one.file.path.read_bytes() == other.file.path.read_bytes()
    for directory, backup in zip(places, (one, other), strict=True):
        assert directory.record("work").verified.seal == backup.seal


@pytest.mark.parametrize("step", ["make", "sweep", "create", "write", "reopen", "publish", "another"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_place_that_fails(filled, places, step, reverse):
    """Wherever it fails, nothing of the archive is there, and the other place has it."""
    good, bad = at(places, step)
    both = [bad, good] if reverse else [good, bad]
    found = {each.directory: each for each in take_everywhere(filled, both, label="work", now=NOW)}
    assert found[good].failure is None
    assert read_back(found[good].backup.file).manifest.rows == 4
    assert found[bad].backup is None
    assert isinstance(found[bad].failure, StoreUnavailable) == (step != "another")
    assert not [name for name in names(bad) if not name.endswith("lock")]
    # The lock of the place that failed is free.
    again = BackupDirectory(LocalStore(bad.store.directory))
    take_everywhere(filled, [again], label="work", now=NOW + timedelta(seconds=1))


def test_a_place_that_another_run_holds(filled, places):
    """The label is locked in each place by itself."""
    places[1].store.make()
    with BackupDirectory(places[1].store).lock("work"):
        one, other = take_everywhere(filled, places, label="work", now=NOW)
    assert one.backup
    assert isinstance(other.failure, BackupRunning)
    assert archives(places[1]) == []


@pytest.mark.parametrize("step", ["make", "write", "publish"])
def test_all_places_fail(filled, places, step):
    """The error of the first place is raised, with the reasons of all, whenever each fails."""
    full = BackupDirectory(FullStore(places[0].store.directory))
    with pytest.raises(StorageFailed) as caught:
        take_everywhere(filled, [full, at(places, step)[1]], label="work", now=NOW)
    assert type(caught.value) is StorageFailed
    assert str(places[0]) in caught.value.message
    assert str(places[1]) in caught.value.message


def test_a_database_that_goes_away(filled, places, monkeypatch):
    """If the rows cannot be read, no place has an archive or a part of one."""

    def fail(*_):
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr("taskdb_cli.backup.archive.ArchiveWriter.close", fail)
    with pytest.raises(DatabaseUnavailable):
        take_everywhere(filled, places, label="work", now=NOW)
    assert [name for place in places for name in names(place) if not name.endswith("lock")] == []


def test_a_record_that_cannot_be_written(filled, places):
    """The archive is good, so it stays, and the outcome says both."""
    places[1].store.make()
    (places[1].store.directory / "work.taskdb.json").mkdir()
    one, other = take_everywhere(filled, places, label="work", now=NOW)
    assert one.failure is None
    assert other.failure is not None
    assert archives(places[1]) == [other.backup.file.name] == [one.backup.file.name]
