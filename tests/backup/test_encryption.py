"""Encrypted files: what `age` reads and writes, and every damage noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import tracemalloc
from contextlib import contextmanager
from itertools import repeat

import pytest

from taskdb_cli.backup import encryption
from taskdb_cli.backup.encryption import decrypted, digest_of
from taskdb_cli.backup.keys import identities_of, recipients_of
from taskdb_cli.errors import ArchiveCorrupt, ArchiveEncrypted, StorageFailed
from taskdb_cli.exit_codes import ExitCode

pyrage = pytest.importorskip("pyrage")

SECRET = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
CHUNK = 64 << 10
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3_000_000]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Stored:
    """A file in memory that is new, or open for reading, and that fails behind its first bytes."""

    def __init__(self, data=b"", *, fails_at=1 << 60):
        self.data, self.fails_at, self.reads = bytearray(data), fails_at, []

    @property
    def size(self):
        return len(self.data)

    def read_at(self, position, size):
        # Ctrl-C interrupts nothing else.
        assert threading.current_thread() is threading.main_thread()
        self.reads.append((position, size))
        if position + size > self.fails_at:
            raise StorageFailed("the disk is broken", "take another")
        return bytes(self.data[position : position + size])

    def write(self, data):
        assert threading.current_thread() is threading.main_thread()
        # As an unbuffered stream does, it takes a part.
        data = data[:40_000]
        if len(self.data) + len(data) > self.fails_at:
            raise StorageFailed("the disk is full", "make room")
        self.data += data
        return len(data)


def encrypted(plaintext, *recipients):
    """Return the ciphertext, whose digest is compared."""
    file = Stored()
    with encryption.Encryption(file, recipients or (SECRET.to_public(),)) as stream:
        for start in range(0, len(plaintext), 100_000):
            stream.write(plaintext[start : start + 100_000])
        assert stream.finish() == digest_of(file)
    return bytes(file.data)


@contextmanager
def opened(data, *identities):
    with decrypted(Stored(data), "X", identities or (SECRET,)) as file:
        yield file


def read_all(data, *identities):
    with opened(data, *identities) as file:
        return file.read_at(0, file.size)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_encrypted_is_read_again(size):
    plaintext = os.urandom(size)
    data = encrypted(plaintext)
    assert plaintext[:40] not in data or size < 40
    with opened(data) as file:
        assert file.size == size
        assert b"".join(file.read_at(start, 70_001) for start in range(0, size, 70_001)) == plaintext
        assert file.read_at(size, 10) == b""
        assert (file.encrypted_size, file.digest) == (len(data), digest_of(Stored(data)))
        for start in (size // 2, 0, max(0, size - 500)):
            assert file.read_at(start, 1000) == plaintext[start : start + 1000]


def test_the_end_is_remembered_after_one_pass():
    plaintext = os.urandom(5_000_000)
    stored = Stored(encrypted(plaintext))
    with decrypted(stored, "X", (SECRET,)) as file:
        assert file.read_at(file.size - 71, 71) == plaintext[-71:]
        stored.reads.clear()
        assert file.read_at(file.size - (1 << 20), 1 << 20) == plaintext[-(1 << 20) :]
        assert stored.reads == []
        assert file.read_at(0, 4_000_000) == plaintext[:4_000_000]
    assert [position for position, _ in stored.reads].count(0) == 1


def test_memory_does_not_grow_with_the_file():
    data = encrypted(bytes(30_000_000))
    tracemalloc.start()
    try:
        with opened(data) as file:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for start in range(0, file.size, 1 << 20):
                assert not any(file.read_at(start, 1 << 20))
            assert tracemalloc.get_traced_memory()[1] - before < 12 << 20
    finally:
        tracemalloc.stop()


def test_age_opens_what_was_encrypted_and_the_other_way_round(tmp_path):
    if not shutil.which("age"):
        lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lacking("age is needed")
    plaintext = os.urandom(200_000)
    for kind in ("ed25519", "rsa", None):
        key = tmp_path / str(kind)
        if kind:
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
            public = key.with_suffix(".pub").read_text()
        else:
            subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
            command = ["age-keygen", "-y", key]
            public = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        data = encrypted(plaintext, *recipients_of([str(OTHER.to_public()), public]))
        assert run("age", "-d", "-i", key, stdin=data) == plaintext
        theirs = run("age", "-r", public.strip(), "-r", str(OTHER.to_public()), stdin=plaintext)
        assert read_all(theirs, *identities_of(key)) == read_all(theirs, OTHER) == plaintext


def run(*command, stdin):
    return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


def refused(data, *identities):
    with pytest.raises((ArchiveCorrupt, ArchiveEncrypted)) as refusal:
        read_all(data, *identities)
    return refusal.value


def test_no_identity_and_one_of_somebody_else_are_told_from_damage():
    data = encrypted(b"rows")
    with pytest.raises(ArchiveEncrypted) as refusal, decrypted(Stored(data), "X", ()):
        pass
    assert "--identity" in refusal.value.hint
    assert refused(data, OTHER).exit_code == ExitCode.USAGE
    assert "identities" in refused(data, OTHER).message


def test_a_flip_of_any_byte_is_noticed():
    data = encrypted(os.urandom(100))
    header = data.index(b"\n--- ")
    for position, byte in enumerate(data):
        error = refused(data[:position] + bytes([byte ^ 1]) + data[position + 1 :])
        assert position < header or isinstance(error, ArchiveCorrupt)


def test_a_file_cut_short_anywhere_or_with_bytes_behind_is_damaged():
    data = encrypted(os.urandom(2 * CHUNK + 100))
    body = data.index(b"\n", data.index(b"\n--- ") + 1) + 1 + 16
    whole = CHUNK + 16
    ends = [
        *range(body + 40),
        body + whole - 1,
        body + whole,
        body + whole + 1,
        body + 2 * whole,
        len(data) - 1,
    ]
    for end in ends:
        error = refused(data[:end])
        assert isinstance(error, ArchiveCorrupt)
    for behind in (b"\0", data, bytes(CHUNK)):
        assert isinstance(refused(data + behind), ArchiveCorrupt)


@pytest.mark.parametrize(
    "data", [b"rows" * 1000, b"age-encryption.org/v1\n", b"-" * 2_000_000, b"\n--- " * 9999]
)
def test_what_is_not_encrypted_is_damaged(data):
    assert isinstance(refused(data), ArchiveCorrupt)


def test_no_end_is_given_out_before_all_was_checked():
    plaintext = os.urandom(CHUNK * 2)
    data = encrypted(plaintext)
    with opened(data + bytes(100)) as file, pytest.raises(ArchiveCorrupt):
        file.read_at(file.size - 10, 10)


def test_the_error_of_a_store_passes_as_it_is():
    stored = Stored(encrypted(os.urandom(1_000_000)), fails_at=500_000)
    with decrypted(stored, "X", (SECRET,)) as file, pytest.raises(StorageFailed, match="is broken"):
        file.read_at(0, file.size)
    with pytest.raises(StorageFailed, match="is full"):
        write_until_error(Stored(fails_at=500_000), repeat(bytes(100_000)))


def write_until_error(file, pieces):
    with encryption.Encryption(file, (SECRET.to_public(),)) as stream:
        for piece in pieces:
            stream.write(piece)


def test_an_error_while_writing_leaves_a_file_without_its_end():
    file = Stored()
    with pytest.raises(TypeError):
        write_until_error(file, [bytes(1_000_000), None])
    assert isinstance(refused(bytes(file.data)), ArchiveCorrupt)


def test_what_was_encrypted_for_several_is_opened_by_each():
    data = encrypted(b"rows", SECRET.to_public(), OTHER.to_public())
    assert read_all(data, SECRET) == read_all(data, OTHER) == read_all(data, OTHER, SECRET) == b"rows"
    assert data.startswith(encryption.MAGIC)
