"""Encrypt and decrypt archives in the age format (age-encryption.org), so that `age -d` opens them too.

Nothing but ciphertext reaches a store or a disk.
"""

import hashlib
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from taskdb_cli.backup import layout
from taskdb_cli.backup.keys import Identities, Recipients, load_pyrage
from taskdb_cli.backup.stores import ReadableFile, Sink, write_all
from taskdb_cli.errors import ArchiveCorrupt, ArchiveEncrypted
from taskdb_cli.system.piping import PIECE, Filter, Output, Pipe

MAGIC = b"age-encryption.org/v1\n"
"""How an encrypted file begins."""

SUFFIX = ".age"
"""How the name of an encrypted file ends."""

# The format: a header that ends so, a nonce, and pieces of the plaintext, each with an authentication tag.
_HEADER_END = re.compile(rb"\n--- [A-Za-z0-9+/]{43}\n")
_NONCE, _CHUNK, _TAG = 16, 64 << 10, 16
_HEADER_SIZES = (16 << 10, 1 << 20)
"""So much is read to find the end of the header; the second is the largest header."""

_REMEMBERED = layout.MAX_BYTES + layout.MAX_DIRECTORY + layout.END_SIZE + layout.SEAL_SIZE + 1000
"""The bytes at the end of an archive that may be asked for more than once: all that follows its rows."""


class Encryption:
    """A context in which what is written goes to a stream, encrypted; memory stays the same.

    `finish` must be the last call. After an error, the stream has no complete file, which must not get its
    name. All methods raise what the stream raises.
    """

    def __init__(self, stream: Sink, recipients: Recipients) -> None:
        self._stream, self._recipients = stream, list(recipients)
        self._encrypt, self._hash = load_pyrage().encrypt_io, hashlib.sha256()
        self._filter = Filter(self._run)

    def __enter__(self) -> Self:
        self._filter.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._filter.stop()

    def write(self, data: bytes) -> int:
        """Take all of the plaintext, and write ciphertext to the stream."""
        self._filter.write(data)
        self._pass_on()
        return len(data)

    def finish(self) -> str:
        """Write the rest, and return the digest of the ciphertext: `sha256:` and 64 digits."""
        self._filter.finish()
        self._pass_on()
        return _named(self._hash)

    def _run(self, plaintext: Pipe, ciphertext: Output) -> None:
        self._encrypt(plaintext, ciphertext, self._recipients)

    def _pass_on(self) -> None:
        data = self._filter.take()
        self._hash.update(data)
        write_all(self._stream, data)


def is_encrypted(name: str) -> bool:
    """Return whether a file of this name is encrypted."""
    return name.endswith(SUFFIX)


def digest_of(file: ReadableFile) -> str:
    """Return the digest of the bytes of a file, as `Encryption` does."""
    return digest_within(file, math.inf) or ""


def digest_within(file: ReadableFile, seconds: float) -> str | None:
    """Return the same, or None if it takes longer than `seconds`."""
    digest, position, deadline = hashlib.sha256(), 0, time.monotonic() + seconds
    while data := file.read_at(position, PIECE):
        if time.monotonic() > deadline:
            return None
        digest.update(data)
        position += len(data)
    return _named(digest)


def _named(digest: "hashlib._Hash") -> str:
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def decrypted(file: ReadableFile, name: object, identities: Identities) -> Iterator["DecryptedFile"]:
    """Open the plaintext of an encrypted file, of this name in errors, for reading in order.

    Reading backwards decrypts it once more from its first byte, but its end is remembered. Nothing of the
    end is given out before all of the file was found to be as it was encrypted. Raises ArchiveEncrypted if
    no identity opens the file, ArchiveCorrupt if it was cut short or altered, and what the file raises.
    """
    if not identities:
        hint = "name the file with its secret key by --identity or TASKDB_BACKUP_IDENTITY"
        raise ArchiveEncrypted(f"{name} is encrypted, and no identity is given", hint)
    plaintext = DecryptedFile(file, name, identities)
    try:
        yield plaintext
    finally:
        plaintext.close()


class DecryptedFile:
    """The plaintext of an encrypted file, by `decrypted`; `size` counts the bytes of the plaintext.

    `encrypted_size` and `digest` are those of the ciphertext; there is a digest once its end was read.
    """

    def __init__(self, file: ReadableFile, name: object, identities: Identities) -> None:
        self._file, self._name, self._identities = file, name, identities
        self.size, self.encrypted_size = self._plaintext_size(), file.size
        self.digest = ""
        self._source: _Decryption | None = None
        self._position = 0
        self._end_from = max(0, self.size - _REMEMBERED)
        self._end = bytearray()
        self._end_is_good = False

    def read_at(self, position: int, size: int) -> bytes:
        """Return plaintext from a position on; raise as `decrypted` does."""
        if self._end_is_good and position >= self._end_from:
            start = position - self._end_from
            return bytes(self._end[start : start + size])
        if self._source is None or position < self._position:
            self._start()
        while self._position < min(position, self.size):
            self._next(min(PIECE, position - self._position))
        data = bytearray()
        while len(data) < size and self._position < self.size:
            data += self._next(size - len(data))
        return bytes(data)

    def close(self) -> None:
        """End the thread that decrypts."""
        if self._source:
            self._source.stop()
            self._source = None

    def _start(self) -> None:
        self.close()
        self._position = 0
        if not self._end_is_good:
            self._end.clear()
        self._source = _Decryption(self._file, self._name, self._identities)
        if not self.size:
            self._check_end()

    def _next(self, size: int) -> bytes:
        """Return the next bytes, up to `size` of them."""
        assert self._source
        data = self._source.read(min(size, self.size - self._position))
        if not data:
            raise _corrupt(self._name)
        start, self._position = self._position, self._position + len(data)
        if not self._end_is_good:
            self._end += data[max(0, self._end_from - start) :]
        if self._position == self.size:
            self._check_end()
        return data

    def _check_end(self) -> None:
        assert self._source
        if self._source.read(1):
            raise _corrupt(self._name)
        self._end_is_good, self.digest = True, self._source.digest

    def _plaintext_size(self) -> int:
        for most in _HEADER_SIZES:
            if end := _HEADER_END.search(self._file.read_at(0, most)):
                size = self._file.size - end.end() - _NONCE
                plain = size - _TAG * -(-size // (_CHUNK + _TAG))
                if plain >= 0 and size >= _TAG:
                    return plain
                break
        raise _corrupt(self._name)


class _Decryption:
    """One decryption of a file from its first byte on."""

    def __init__(self, file: ReadableFile, name: object, identities: Identities) -> None:
        self._file, self._name, self._identities = file, name, list(identities)
        self._position, self._ended, self._unread = 0, False, memoryview(b"")
        self._hash = hashlib.sha256()
        self._filter = Filter(self._run).__enter__()

    @property
    def digest(self) -> str:
        """The digest of the ciphertext that was read."""
        return _named(self._hash)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, and none only at the end of a file that is as it was encrypted."""
        while not self._unread and not self._ended:
            if piece := self._file.read_at(self._position, PIECE):
                self._position += len(piece)
                self._hash.update(piece)
                self._filter.write(piece)
            else:
                self._filter.finish()
                self._ended = True
            self._unread = memoryview(self._filter.take())
        data = bytes(self._unread[:size])
        self._unread = self._unread[len(data) :]
        return data

    def stop(self) -> None:
        """End the thread."""
        self._filter.stop()

    def _run(self, ciphertext: Pipe, plaintext: Output) -> None:
        pyrage = load_pyrage()
        try:
            pyrage.decrypt_io(ciphertext, plaintext, self._identities)
        except (pyrage.DecryptError, OSError) as exc:
            if "No matching keys" in str(exc):
                what = f"none of the given identities opens {self._name}: it is encrypted for other keys"
                raise ArchiveEncrypted(what, "name the identity of one of its recipients") from None
            raise _corrupt(self._name) from None


def _corrupt(name: object) -> ArchiveCorrupt:
    return ArchiveCorrupt(name, "it cannot be decrypted, because it was cut short or altered")
