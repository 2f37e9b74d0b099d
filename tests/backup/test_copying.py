"""Copies of archives in another place, of either kind, encrypted on the way or not."""

import pytest

from taskdb_cli.backup.copying import Target
from taskdb_cli.backup.create import read_back, take
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.history import Drill, Record
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.errors import ArchiveCorrupt, Conflict, StoreUnavailable
from tests.conftest import NOW
from tests.samples import add_user

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def near(tmp_path):
    return BackupDirectory(store_at(str(tmp_path / "near")))


@pytest.fixture(params=["directory", "bucket"])
def far(request, tmp_path):
    """A place of either kind."""
    if request.param == "directory":
        return BackupDirectory(store_at(str(tmp_path / "far")))
    return BackupDirectory(store_at(request.getfixturevalue("bucket").address))


@pytest.fixture
def backup(database, near):
    """A verified backup, of which a test restore is recorded."""
    add_user(database)
    made = take(database, near, label="work", now=NOW)
    near.note("work", Drill(made.file.name, NOW, made.manifest.origin.identity))
    return made


def test_a_copy_is_verified_and_recorded(backup, near, far):
    """It has the same bytes and name, and its record says what the record of the source says."""
    known = near.record("work")
    copied = Target(far, now=NOW).copy(backup.file, known)
    assert (copied.made, copied.known, copied.size) == (True, True, backup.size)
    assert read_back(copied.target).seal == backup.seal
    there = far.record("work")
    assert (there.verified.seal, there.verified.rows) == (backup.seal, backup.manifest.counts())
    assert there.drilled == known.drilled
    assert not Target(far, now=NOW).copy(backup.file, known).made


def test_a_copy_that_was_not_recorded(backup, near, far):
    """As after a run that was killed: the next one compares the bytes, and records it."""
    known = near.record("work")
    Target(far, now=NOW).copy(backup.file, known)
    far.store.delete("work.taskdb.json")
    assert not Target(far, now=NOW).copy(backup.file, known).made
    assert far.record("work").verified.seal == backup.seal


def test_another_file_has_the_name(backup, near, far):
    """It is told, and stays."""
    far.store.make()
    with far.store.create(backup.file.name) as new:
        new.write(b"something else")
    with pytest.raises(Conflict):
        Target(far, now=NOW).copy(backup.file, near.record("work"))
    assert far.store.read(backup.file.name, 100) == b"something else"


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("position", [0.5, 0.999])
def test_a_damaged_archive_is_not_copied(backup, near, far, recorded, position):
    """No part of it is left there."""
    data = bytearray(backup.file.path.read_bytes())
    data[int(len(data) * position)] ^= 1
    backup.file.path.write_bytes(data)
    with pytest.raises(ArchiveCorrupt):
        Target(far, now=NOW).copy(backup.file, near.record("work") if recorded else Record())
    assert far.entries() == []
    assert far.strays(NOW) == []


def test_what_is_stored_is_compared(backup, near, far, monkeypatch):
    """A place that gives back other bytes than it got has no archive."""
    monkeypatch.setattr("taskdb_cli.backup.copying.digest_of", lambda _: "sha256:0")
    with pytest.raises(ArchiveCorrupt):
        Target(far, now=NOW).copy(backup.file, near.record("work"))
    assert far.entries() == []


def test_a_place_that_goes_away(backup, near, far, monkeypatch):
    """If it fails when the last bytes are written, nothing is left."""

    def fail(*_):
        raise StoreUnavailable("gone")

    monkeypatch.setattr("taskdb_cli.backup.copying._send", fail)
    with pytest.raises(StoreUnavailable):
        Target(far, now=NOW).copy(backup.file, near.record("work"))
    assert far.entries() == []


def test_a_plain_archive_is_encrypted_on_the_way(backup, near, far):
    """Where recipients are set, none goes out in clear; the next copy knows it again without a key."""
    pyrage = pytest.importorskip("pyrage")
    key, known = pyrage.x25519.Identity.generate(), near.record("work")
    copied = Target(far, now=NOW, recipients=(key.to_public(),)).copy(backup.file, known)
    assert copied.target.name == backup.file.name + ".age"
    assert far.store.read(copied.target.name, 21) == b"age-encryption.org/v1"
    opened = read_back(copied.target, (key,))
    assert (opened.seal, opened.digest) == (backup.seal, far.record("work").verified.digest)
    assert not Target(far, now=NOW, recipients=(key.to_public(),)).copy(backup.file, known).made
    # With its key it is known even if it was not recorded.
    far.store.delete("work.taskdb.json")
    again = Target(far, now=NOW, recipients=(key.to_public(),), identities=(key,))
    assert not again.copy(backup.file, known).made
    with pytest.raises(Conflict):
        Target(far, now=NOW, recipients=(key.to_public(),)).copy(backup.file, known)


def test_an_encrypted_archive_is_copied_as_it_is(database, near, far):
    """No key is needed. Without a record nothing is known of the copy, unless a key opens it."""
    pyrage = pytest.importorskip("pyrage")
    key = pyrage.x25519.Identity.generate()
    add_user(database)
    made = take(database, near, label="work", now=NOW, recipients=(key.to_public(),))
    target = Target(far, now=NOW, recipients=(pyrage.x25519.Identity.generate().to_public(),))
    copied = target.copy(made.file, Record())
    assert not copied.known
    assert far.record("work").verified is None
    assert not Target(far, now=NOW).copy(made.file, near.record("work")).made
    assert far.record("work").verified.digest == made.digest


def test_a_name_that_lies(backup, near, far):
    """A plain archive with the name of an encrypted one does not go out in clear."""
    lie = backup.file.path.rename(backup.file.path.with_name(backup.file.name + ".age"))
    with pytest.raises(ArchiveCorrupt):
        Target(far, now=NOW, recipients=("unused",)).copy(near.file(lie.name), Record())
    assert far.entries() == []
