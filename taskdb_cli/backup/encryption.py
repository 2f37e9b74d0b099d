"""Encrypt and decrypt archives in the age format (age-encryption.org), so that `age -d` opens them too.

Nothing but ciphertext reaches a store or a disk.
"""

import hashlib
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskdb_cli.backup import layout
from taskdb_cli.backup.keys import Identities, Recipients, load_pyrage
from taskdb_cli.backup.stores import ReadableFile, Sink
from taskdb_cli.errors import ArchiveCorrupt, ArchiveEncrypted
from taskdb_cli.system.piping import PIECE, Consumer, Pipe, Producer

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


def encryption(file: Sink, recipients: Recipients) -> Consumer[str]:
    """Return a context in which what is written goes to a new file, encrypted; memory stays the same.

    `finish` returns the digest of the ciphertext: `sha256:` and 64 digits. All of it raise what the file
    raises. After an error in the context, the file is not complete and must not get its name.
    """
    pyrage, out = load_pyrage(), _Hashed(file)

    def encrypt(plaintext: Pipe) -> str:
        try:
            pyrage.encrypt_io(plaintext, out, list(recipients))
        except pyrage.EncryptError as exc:
            # It holds only the words of what a stream has raised.
            raise out.error or exc from None
        return out.digest

    return Consumer(encrypt)


class _Hashed:
    """A new file whose bytes are hashed while they are written."""

    def __init__(self, file: Sink) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.error: BaseException | None = None

    @property
    def digest(self) -> str:
        return _named(self._hash)

    def write(self, data: bytes) -> int:
        try:
            taken = self._file.write(data)
        except BaseException as exc:
            self.error = exc
            raise
        # An unbuffered stream may take a part; one that says nothing has taken everything.
        self._hash.update(data if taken is None else data[:taken])
        return len(data) if taken is None else taken

    def flush(self) -> None:
        """Do nothing: whoever made the file finishes it."""


def is_encrypted(name: str) -> bool:
    """Return whether a file of this name is encrypted."""
    return name.endswith(SUFFIX)


def digest_of(file: ReadableFile) -> str:
    """Return the digest of the bytes of a file, as `encryption` does."""
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
        self._file, self._name, self._identities = file, name, list(identities)
        self._pyrage = load_pyrage()
        self.size, self.encrypted_size = self._plaintext_size(), file.size
        self.digest = ""
        self._thread: Producer | None = None
        self._position = 0
        self._end_from = max(0, self.size - _REMEMBERED)
        self._end = bytearray()
        self._end_is_good = False

    def read_at(self, position: int, size: int) -> bytes:
        """Return plaintext from a position on; raise as `decrypted` does."""
        if self._end_is_good and position >= self._end_from:
            start = position - self._end_from
            return bytes(self._end[start : start + size])
        if self._thread is None or position < self._position:
            self._start()
        while self._position < min(position, self.size):
            self._next(min(PIECE, position - self._position))
        data = bytearray()
        while len(data) < size and self._position < self.size:
            data += self._next(size - len(data))
        return bytes(data)

    def close(self) -> None:
        """End the thread that decrypts."""
        if self._thread:
            self._thread.close()
            self._thread = None

    def _start(self) -> None:
        self.close()
        self._position = 0
        if not self._end_is_good:
            self._end.clear()
        self._thread = Producer(self._decrypt).__enter__()
        if not self.size:
            self._check_end()

    def _next(self, size: int) -> bytes:
        """Return the next bytes, up to `size` of them."""
        assert self._thread
        data = self._thread.read(min(size, self.size - self._position))
        if not data:
            raise self._corrupt()
        start, self._position = self._position, self._position + len(data)
        if not self._end_is_good:
            self._end += data[max(0, self._end_from - start) :]
        if self._position == self.size:
            self._check_end()
        return data

    def _check_end(self) -> None:
        assert self._thread
        if self._thread.read():
            raise self._corrupt()
        self._end_is_good = True

    def _decrypt(self, plaintext: Pipe) -> None:
        ciphertext = _InOrder(self._file)
        try:
            self._pyrage.decrypt_io(ciphertext, plaintext, self._identities)
            self.digest = ciphertext.digest
        except (self._pyrage.DecryptError, OSError) as exc:
            if ciphertext.error:
                # The other one holds only the words of it.
                raise ciphertext.error from None
            if "No matching keys" in str(exc):
                what = f"no identity that is given opens {self._name}: it is encrypted for others"
                raise ArchiveEncrypted(what, "name the identity of one of its recipients") from None
            raise self._corrupt() from None

    def _plaintext_size(self) -> int:
        for most in _HEADER_SIZES:
            if end := _HEADER_END.search(self._file.read_at(0, most)):
                size = self._file.size - end.end() - _NONCE
                plain = size - _TAG * -(-size // (_CHUNK + _TAG))
                if plain >= 0 and size >= _TAG:
                    return plain
                break
        raise self._corrupt()

    def _corrupt(self) -> ArchiveCorrupt:
        return ArchiveCorrupt(self._name, "it cannot be decrypted, because it was cut short or altered")


class _InOrder:
    """The bytes of a file from the first one on, in larger pieces than they are asked for."""

    def __init__(self, file: ReadableFile) -> None:
        self._file, self._position, self._piece = file, 0, memoryview(b"")
        self._hash = hashlib.sha256()
        self.error: BaseException | None = None

    @property
    def digest(self) -> str:
        return _named(self._hash)

    def read(self, size: int) -> bytes:
        if not self._piece:
            try:
                self._piece = memoryview(self._file.read_at(self._position, PIECE))
            except BaseException as exc:
                self.error = exc
                raise
            self._position += len(self._piece)
            self._hash.update(self._piece)
        data = bytes(self._piece[:size])
        self._piece = self._piece[len(data) :]
        return data
