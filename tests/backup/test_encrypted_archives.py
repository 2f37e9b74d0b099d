"""Archives that are encrypted: written for recipients, and read in order from the decrypted stream."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from taskdb_cli.backup import create, encryption, restore
from taskdb_cli.backup.archive import Archive, manifest_of
from taskdb_cli.backup.file_names import archive_name
from taskdb_cli.backup.history import from_json, to_json
from taskdb_cli.backup.stores.local import LocalFile
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.errors import ArchiveCorrupt, ArchiveEncrypted
from taskdb_cli.exit_codes import ExitCode
from tests.archives import archive_bytes, sealed, unsealed
from tests.backups import proof, visible
from tests.conftest import NOW, open_database
from tests.contents import fill, hashes

pyrage = pytest.importorskip("pyrage")

SECRET = pyrage.x25519.Identity.generate()
RECIPIENTS = (SECRET.to_public(),)
NAME = archive_name("tasks", NOW, encrypted=True)


@pytest.fixture
def source(make_url_of):
    url = make_url_of("sqlite")
    fill(url, users=5, tasks=200)
    return open_database(url)


@pytest.fixture
def target(make_url_of):
    return open_database(make_url_of("sqlite"))


@pytest.fixture
def taken(source, directory):
    """Return the encrypted archive of a database, as it was backed up."""
    return create.take(source, directory, label="tasks", now=NOW, recipients=RECIPIENTS)


def encrypted(data):
    return pyrage.encrypt(data, list(RECIPIENTS))


def test_a_backup_for_recipients_is_encrypted_and_proven_by_its_digest(taken, directory):
    assert [name for name in visible(directory) if not name.startswith(".")] == [NAME, "tasks.taskdb.json"]
    stored = taken.file.path.read_bytes()
    assert stored.startswith(encryption.MAGIC)
    assert not any(word in stored for word in (b"PK\3\4", b"manifest", b"users"))
    [entry] = directory.entries()
    assert entry.encrypted
    [known] = directory.record("tasks").proofs
    assert replace(known, tag="") == taken.proof(NOW)
    assert (known.size, known.archive) == (entry.size, NAME) == (len(stored), NAME)
    with taken.file.open() as file:
        assert known.digest == encryption.digest_of(file)


def test_the_key_proves_what_was_written(taken):
    assert create.read_back(taken.file, (SECRET,)) == taken
    assert manifest_of(taken.file, (SECRET,)) == taken.manifest
    for identities in ((), (pyrage.x25519.Identity.generate(),)):
        with pytest.raises(ArchiveEncrypted) as refusal:
            create.read_back(taken.file, identities)
        assert refusal.value.exit_code == ExitCode.USAGE


def test_rows_come_back_with_the_key(taken, source, target):
    restore.drill(taken.file, identities=(SECRET,))
    with restore.preview(target, taken.file, identities=(SECRET,), trial=True) as (archive, _):
        restore.restore(target, archive)
    assert hashes(target) == hashes(source)


def test_age_opens_an_archive_and_one_that_age_encrypted_is_opened(taken, source, target, tmp_path):
    if not shutil.which("age"):
        lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lacking("age is needed")
    key, plain, again = (tmp_path / name for name in ("key", "plain.taskdb.zip", NAME))
    key.write_text(f"{SECRET}\n")
    subprocess.run(["age", "-d", "-i", key, "-o", plain, taken.file.path], check=True)
    opened = create.read_back(file_at(plain))
    assert (opened.manifest, opened.seal) == (taken.manifest, taken.seal)
    subprocess.run(["age", "-r", str(RECIPIENTS[0]), "-o", again, plain], check=True)
    assert create.read_back(file_at(again), (SECRET,)).seal == taken.seal
    with Archive.open(file_at(again), (SECRET,)) as archive:
        restore.restore(target, archive)
    assert hashes(target) == hashes(source)


def test_what_is_stored_is_what_was_encrypted_or_there_is_no_archive(source, directory, monkeypatch):
    """A disk that stores something else is noticed without a key."""
    read_at = LocalFile.read_at

    def flipped(self, position, size):
        data = read_at(self, position, size)
        return data[:-1] + bytes([data[-1] ^ 1]) if data else data

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "read_at", flipped)
        with pytest.raises(ArchiveCorrupt, match="what was written"):
            create.take(source, directory, label="tasks", now=NOW, recipients=RECIPIENTS)
    assert directory.entries() == []


SMALL = archive_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n" * 5000,
        SMALL[:-1],
        SMALL + b"\0",
        SMALL.replace(b'"rows": 3', b'"rows": 4'),
        sealed(unsealed(SMALL).replace(b'"rows": 3', b'"rows": 4')),
        sealed(unsealed(SMALL).replace(b"PK\3\4", b"PK\3\5", 1)),
        sealed(unsealed(SMALL).replace(b"PK\7\x08", b"PK\7\x09", 1)),
        sealed(b"\xff" * 5000),
        encrypted(SMALL),
    ],
    ids=range(10),
)
def test_damage_inside_of_what_was_encrypted_is_noticed(tmp_path, data):
    """An archive that was damaged before somebody encrypted it."""
    path = tmp_path / NAME
    path.write_bytes(encrypted(data))
    with pytest.raises(ArchiveCorrupt) as refusal:
        create.read_back(file_at(path), (SECRET,))
    assert refusal.value.message.startswith(f"{path} is damaged: ")


def test_damage_of_any_byte_outside_is_noticed(tmp_path):
    data, path = encrypted(SMALL), tmp_path / NAME
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises((ArchiveCorrupt, ArchiveEncrypted)):
            create.read_back(file_at(path), (SECRET,))


def test_it_is_decrypted_once_for_the_seal_and_once_for_the_rows(tmp_path, monkeypatch):
    path, starts = tmp_path / NAME, []
    path.write_bytes(encrypted(archive_bytes({"users": b"", "tasks": os.urandom(4_000_000).hex().encode()})))
    decrypt_io = pyrage.decrypt_io
    monkeypatch.setattr(pyrage, "decrypt_io", lambda *args: starts.append(1) or decrypt_io(*args))
    with Archive.open(file_at(path), (SECRET,)) as archive:
        assert len(starts) == 1
        archive.verify()
        assert len(starts) == 2


def test_an_encrypted_archive_is_known_by_its_content_too(tmp_path):
    path = tmp_path / "download"
    path.write_bytes(encrypted(SMALL))
    assert create.read_back(file_at(path), (SECRET,)).manifest.rows == 5
    with pytest.raises(ArchiveEncrypted):
        create.read_back(file_at(path))
    path.write_bytes(SMALL)
    assert create.read_back(file_at(path), (SECRET,)).digest == ""


def test_a_stream_that_takes_a_part_of_what_it_gets_has_everything_in_the_end(source):
    class Part(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data)[:1000])

    with source.snapshot() as content:
        stream = Part()
        written = create.write(content, stream, label="tasks", now=NOW, recipients=RECIPIENTS)
    plain = pyrage.decrypt(stream.getvalue(), [SECRET])
    assert plain.endswith(written.seal.encode())


def test_a_record_without_encrypted_archives_is_as_it_was(directory):
    directory.note("tasks", proof())
    text = directory.store.read("tasks.taskdb.json", 10_000)
    assert b"digest" not in text
    directory.note("tasks", proof("second", digest="sha256:1"))
    record = directory.record("tasks")
    assert [each.digest for each in record.proofs] == ["", "sha256:1"]
    # A later version may know more of an archive.
    known = json.loads(to_json(record))
    known["proofs"][0]["more"] = 1
    assert from_json(json.dumps(known)) == record
