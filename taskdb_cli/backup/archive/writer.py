"""Write archives in one pass to a file or a pipe."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import zstandard

from taskdb_cli import __version__
from taskdb_cli.backup.archive import layout
from taskdb_cli.backup.archive.layout import Member
from taskdb_cli.backup.archive.manifest import (
    FORMAT_VERSION,
    ArchivedColumn,
    Digest,
    Manifest,
    Origin,
    TableContent,
)

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

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
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
        self._add(name + layout.SUFFIX, _compressed(chunks, digest))
        content = digest.content(name, columns)
        self._tables.append(content)
        return content

    def close(self, origin: Origin) -> Manifest:
        """Write the manifest, the directory and the seal, which complete the archive."""
        manifest = Manifest(FORMAT_VERSION, f"taskdb {__version__}", origin, tuple(self._tables))
        self._add(layout.MANIFEST, [manifest.encode()])
        self._write(layout.tail(self._members))
        self._write(b"sha256:" + self._hash.hexdigest().encode())
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
        # An unbuffered stream may take a part; one that says nothing has taken everything.
        while data and (taken := self._stream.write(data)) is not None:
            data = data[taken:]


def _compressed(chunks: Iterable[bytes], digest: Digest) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION).compressobj()
    for chunk in chunks:
        digest.update(chunk)
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()
