"""Archives: one sealed ZIP file that holds the rows of every table, and proves that it holds them.

An archive knows no database. Each member is one zstd frame of PostgreSQL's COPY text; the last one,
`manifest.json`, says what the others hold; the ZIP comment is a SHA-256 of every byte before it.
"""

import hashlib
import math
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import IO, Self, cast

import zstandard

from taskdb_cli import __version__
from taskdb_cli.backup import layout
from taskdb_cli.backup.encryption import MAGIC, DecryptedFile, decrypted, is_encrypted
from taskdb_cli.backup.keys import Identities
from taskdb_cli.backup.layout import ArchivedColumn, Digest, Manifest, Member, Origin, TableContent
from taskdb_cli.backup.stores import ReadableFile, Sink, StoredFile, write_all
from taskdb_cli.errors import ArchiveCorrupt

# Rows resemble the rows just before them: long matches in a short window, whose tables stay in the
# processor's cache, are found faster than by level 3 and come out smaller. The worker takes the
# compression off the thread that reads the rows.
_COMPRESSION = zstandard.ZstdCompressionParameters.from_level(
    3,
    strategy=zstandard.STRATEGY_DFAST,
    min_match=6,
    window_log=18,
    chain_log=16,
    hash_log=17,
    write_checksum=True,
    threads=1,
)


class ArchiveWriter:
    """An archive that grows on a stream, which is never read, sought or closed.

    Memory stays the same however many rows there are. A failure of the stream passes up as it is.
    Before `close`, what was written is not an archive, and no reader accepts it.
    """

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.seal = ""
        """The seal that `close` has written."""
        self._members: list[Member] = []
        self._tables: list[TableContent] = []

    def add_table(
        self, name: str, columns: Sequence[ArchivedColumn], chunks: Iterable[bytes]
    ) -> TableContent:
        """Write the COPY text of a table, and return its rows, bytes and hash.

        The chunks may begin and end anywhere, but each is hashed and compressed by itself, so many small
        ones are slow. Raises ValueError for a name that no archive may have.
        """
        digest = Digest()
        planned = digest.content(name, columns)
        if planned.name in {table.name for table in self._tables}:
            raise ValueError(f"the table {name} is there twice")
        self._add(name + layout.SUFFIX, _compressed(digest.counting(chunks)))
        content = digest.content(name, columns)
        self._tables.append(content)
        return content

    def close(self, origin: Origin) -> Manifest:
        """Write the manifest, the directory and the seal, which complete the archive."""
        manifest = Manifest(layout.FORMAT_VERSION, f"taskdb {__version__}", origin, tuple(self._tables))
        self._add(layout.MANIFEST, [manifest.encode()])
        self._write(layout.tail(self._members))
        self.seal = f"sha256:{self._hash.hexdigest()}"
        self._write(self.seal.encode())
        return manifest

    def _add(self, name: str, pieces: Iterable[bytes]) -> None:
        self._write(layout.local_header(name))
        crc = size = 0
        for piece in pieces:
            self._write(piece)
            crc, size = zlib.crc32(piece, crc), size + len(piece)
        self._members.append(Member(name, crc, size))
        self._write(layout.descriptor(self._members[-1]))

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        write_all(self._stream, data)


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION).compressobj()
    for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()


MAX_WINDOW = 8 << 20
"""The largest window, in bytes, that a frame may need: what RFC 8878 recommends readers to accept."""

_PIECE = 1 << 20
_ROWS_PIECE = 128 << 10


class Archive:
    """An archive in a file that is open for reading, by `Archive.open`; `place` names it in errors.

    `size` counts the bytes of the file, which are encrypted or not. All of it is read in order after its end.
    Nothing in it is used before it is checked. Memory is bounded whatever the file holds, and nothing is
    written. All that reads it raises StorageFailed if the file cannot be read, ArchiveCorrupt with what is
    wrong, and ArchiveTooNew.
    """

    def __init__(self, place: object, file: ReadableFile) -> None:
        self.place, self._file = place, file
        self.size = file.encrypted_size if isinstance(file, DecryptedFile) else file.size
        self._sealed_bytes = max(0, file.size - layout.SEAL_SIZE)
        # The hash of the first bytes, and how many bytes of the file it covers.
        self._hash, self._hashed = hashlib.sha256(), 0

    @classmethod
    @contextmanager
    def open(cls, file: StoredFile, identities: Identities = (), *, all_bytes: bool = True) -> Iterator[Self]:
        """Open an archive and compare all its bytes with its seal; raise also FileMissing.

        One that is encrypted is opened by one of the identities; raises ArchiveEncrypted if none opens it.
        Without `all_bytes` only what is used of it is read and checked.
        """
        with ExitStack() as stack:
            opened: ReadableFile = stack.enter_context(file.open())
            if is_encrypted(file.name) or opened.read_at(0, len(MAGIC)) == MAGIC:
                opened = stack.enter_context(decrypted(opened, file, identities))
            archive = cls(file, opened)
            if all_bytes:
                archive.require_seal()
            yield archive

    def require_seal(self) -> None:
        """Compare all bytes with the seal."""
        # In this order an encrypted file is decrypted once.
        if self.matching_seal() != self.seal:
            raise ArchiveCorrupt(self.place, "its bytes do not match its seal")

    def read(self, position: int, size: int) -> bytes:
        """Return as many bytes of the file as are asked for."""
        data = self._file.read_at(position, size)
        if len(data) < size:
            raise ArchiveCorrupt(self.place, "it became shorter while it was read")
        if position == self._hashed < self._sealed_bytes:
            self._hash.update(data)
            self._hashed += size
        return data

    @cached_property
    def seal(self) -> str:
        """The seal at the end of the file: `sha256:` and 64 digits."""
        size = self._file.size
        seal = self.read(max(0, size - layout.SEAL_SIZE), min(size, layout.SEAL_SIZE))
        if not layout.SEAL.fullmatch(seal):
            raise ArchiveCorrupt(
                self.place, "it does not end in a seal, so it was cut short or is no archive"
            )
        return seal.decode("ascii")

    def matching_seal(self, *, seconds: float = math.inf) -> str | None:
        """Return the seal that fits the bytes, or None if that takes longer than `seconds`.

        Bytes that were read in order before are not read again.
        """
        deadline = time.monotonic() + seconds
        while self._hashed < self._sealed_bytes:
            if time.monotonic() > deadline:
                return None
            self.read(self._hashed, min(_PIECE, self._sealed_bytes - self._hashed))
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def encrypted(self) -> bool:
        """Whether what is read was encrypted, so that no row may get to a disk on its way."""
        return isinstance(self._file, DecryptedFile)

    @property
    def digest(self) -> str:
        """The digest of an encrypted file, once its end was read; empty for a file that is not encrypted."""
        return self._file.digest if isinstance(self._file, DecryptedFile) else ""

    @cached_property
    def manifest(self) -> Manifest:
        """What the archive holds. The directory of the file is checked first, then this with its checksum."""
        with self._damage(layout.MANIFEST):
            if layout.MANIFEST not in self._members:
                raise ValueError("it is missing")
            member, position = self._members[layout.MANIFEST]
            if member.size > layout.MAX_BYTES:
                raise ValueError(f"it is larger than {layout.MAX_BYTES >> 20} MiB")
            source, data = _MemberBytes(self, member, position), b""
            while source.remaining or source.head:
                data += source.read(layout.MAX_BYTES)
            manifest = layout.decode(data, self.place)
        named = [table.name + layout.SUFFIX for table in manifest.tables]
        if [*self._members] != [*named, layout.MANIFEST]:
            raise ArchiveCorrupt(self.place, "its members are not those that its manifest names")
        return manifest

    def chunks(self, table: str) -> Generator[bytes, None, None]:
        """Yield the COPY text of a table, in pieces of at most 128 KiB.

        Raises KeyError if the archive has no such table, and ArchiveCorrupt, at the latest after the
        last piece, unless the member is exactly one frame, and rows, bytes and hash are those of the
        manifest. A reader that stops earlier has checked nothing. No more bytes are yielded than the
        manifest names, so a bomb is stopped after a piece too many.
        """
        content, digest = self.manifest.table(table), Digest()
        member, position = self._members[table + layout.SUFFIX]
        with self._damage(member.name):
            try:
                source = _MemberBytes(self, member, position)
                frame = zstandard.get_frame_parameters(source.head)
                if frame.window_size > MAX_WINDOW:
                    raise ValueError(f"its zstd frame needs a window of more than {MAX_WINDOW >> 20} MiB")
                if frame.dict_id or not frame.has_checksum:
                    raise ValueError("its zstd frame has a dictionary, or no checksum")
                for piece in zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).read_to_iter(
                    cast("IO[bytes]", source), read_size=_ROWS_PIECE, write_size=_ROWS_PIECE
                ):
                    digest.update(piece)
                    if digest.bytes > content.bytes:
                        raise ValueError("it holds more bytes than its manifest says")
                    yield piece
            except zstandard.ZstdError as exc:
                raise ValueError("its zstd frame cannot be decompressed") from exc
            if source.remaining:
                raise ValueError("it does not end where its zstd frame ends")
            if digest.content(table, content.columns) != content:
                raise ValueError("it does not hold the rows that its manifest says")

    def verify(self) -> None:
        """Read every table to its end, and compare all bytes with the seal; raise as `chunks` does."""
        for table in self.manifest.tables:
            for _ in self.chunks(table.name):
                pass
        self.require_seal()

    @cached_property
    def _members(self) -> dict[str, tuple[Member, int]]:
        """The members by the ZIP directory, and where each begins; they fill the file up to the directory."""
        end_at = self._file.size - len(self.seal) - layout.END_SIZE
        with self._damage():
            if end_at < 0:
                raise ValueError("it is too short for an archive")
            end = self.read(end_at, layout.END_SIZE)
            size = layout.directory_size(end)
            if size > min(end_at, layout.MAX_DIRECTORY):
                raise ValueError("its directory has an impossible size")
            directory = self.read(end_at - size, size)
            members = layout.members_of(directory)
            if end_at - size != sum(member.span for member in members):
                raise ValueError("there are bytes before, between or behind its members, or too few")
            if layout.tail(members) != directory + end:
                raise ValueError("its ZIP directory is not one that taskdb writes")
            found, position = {}, 0
            for member in members:
                if member.name in found:
                    raise ValueError(f"it has {member.name} twice")
                found[member.name] = member, position
                position += member.span
        return found

    @contextmanager
    def _damage(self, member: str = "") -> Iterator[None]:
        """Name the file and the member in what a check raises."""
        try:
            yield
        except ValueError as exc:
            what = f"{member}: {exc}" if member else str(exc)
            raise ArchiveCorrupt(self.place, what) from exc


class _MemberBytes:
    """The bytes of one member, read in order and compared with its checksum and the headers around them."""

    def __init__(self, archive: Archive, member: Member, position: int) -> None:
        self._archive, self._member, self._position = archive, member, position
        self._crc, self.remaining = 0, member.size
        self._compare(layout.local_header(member.name))
        self.head = self._next(_ROWS_PIECE) if member.size else b""
        """The first bytes, which `read` has yet to return."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, and the last byte of the member by itself; `size` is at least _ROWS_PIECE.

        So a frame that ends earlier leaves bytes behind, and one that does not end asks for too many.
        """
        if head := self.head:
            self.head = b""
            return head
        if not self.remaining:
            raise ValueError("it ends too early")
        return self._next(size)

    def _next(self, size: int) -> bytes:
        data = self._archive.read(self._position, min(size, self.remaining - 1) or 1)
        self._position += len(data)
        self.remaining -= len(data)
        self._crc = zlib.crc32(data, self._crc)
        if not self.remaining:
            if self._crc != self._member.crc:
                raise ValueError("its bytes do not match its checksum")
            self._compare(layout.descriptor(self._member))
        return data

    def _compare(self, header: bytes) -> None:
        if self._archive.read(self._position, len(header)) != header:
            raise ValueError("its ZIP header is not one that taskdb writes")
        self._position += len(header)


def manifest_of(file: StoredFile, identities: Identities = ()) -> Manifest:
    """Return the manifest of an archive without checking its rows; raise as `Archive.open` does."""
    with Archive.open(file, identities, all_bytes=False) as archive:
        return archive.manifest


def seal_of(file: StoredFile) -> str:
    """Return the seal of an archive without checking its bytes; raise as `Archive` does."""
    with Archive.open(file, all_bytes=False) as archive:
        return archive.seal
