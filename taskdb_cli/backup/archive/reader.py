"""Archives as they are read: nothing in them is believed before it is checked."""

from __future__ import annotations

import hashlib
import stat
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from taskdb_cli.backup.archive import layout
from taskdb_cli.backup.archive.frame import decompressed
from taskdb_cli.backup.archive.layout import Member
from taskdb_cli.backup.archive.manifest import (
    FORMAT_VERSION,
    MAX_BYTES,
    Digest,
    Manifest,
    NewerFormat,
    decode,
)
from taskdb_cli.errors import ArchiveCorrupt, ArchiveTooNew, FileMissing, StorageFailed

_PIECE = 1 << 20


class _File:
    """A file that gives as many bytes as it is asked for, or an error that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise StorageFailed(f"{path} cannot be read: it is not a regular file")
            self._file = path.open("rb")
        self.size = status.st_size

    def read(self, position: int, size: int) -> bytes:
        with _readable(self.path):
            self._file.seek(position)
            data = self._file.read(size)
        if len(data) < size:
            raise ArchiveCorrupt(self.path, "it became shorter while it was read")
        return data

    def read_seal(self) -> str:
        if not self.size:
            raise ArchiveCorrupt(self.path, "it is empty")
        seal = self.read(max(0, self.size - layout.SEAL_SIZE), min(self.size, layout.SEAL_SIZE))
        if not layout.SEAL.fullmatch(seal):
            raise ArchiveCorrupt(self.path, "it does not end in a seal, so it was cut short or is no archive")
        return seal.decode("ascii")

    def close(self) -> None:
        self._file.close()


class _MemberSource:
    """The bytes of one member, read in order and checked against its checksum."""

    def __init__(self, file: _File, member: Member, position: int) -> None:
        self._file = file
        self._position = position
        self._expected = member.crc
        self._crc = 0
        self.remaining = member.size

    def peek(self, size: int) -> bytes:
        return self._file.read(self._position, min(size, self.remaining))

    def read(self, size: int) -> bytes:
        if size > self.remaining:
            raise ValueError("it ends too early")
        data = self._file.read(self._position, size)
        self._position += size
        self.remaining -= size
        self._crc = zlib.crc32(data, self._crc)
        if not self.remaining and self._crc != self._expected:
            raise ValueError("its bytes do not match its checksum")
        return data


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise FileMissing(path) from exc
    except OSError as exc:
        raise StorageFailed(f"{path} cannot be read: {exc.strerror or exc}") from exc


class Archive:
    """An archive in a file, open for reading; made by `Archive.open`.

    `manifest` says what it holds, `seal` is the text of its seal, and `size` counts its bytes.
    """

    manifest: Manifest
    seal: str

    def __init__(self, file: _File) -> None:
        self._file = file
        self._members: dict[str, tuple[Member, int]] = {}
        self.size = file.size

    @classmethod
    def open(cls, path: Path, *, all_bytes: bool = True) -> Self:
        """Open an archive and check its seal, its structure and its manifest, in this order.

        The seal covers every byte, so all are read to check it. Without `all_bytes` it only has to be
        there, which is quick for an archive of any size.
        The rows are checked as they are read. Memory is bounded whatever the file holds, and nothing
        is written. Raises FileMissing, StorageFailed if the file cannot be read, ArchiveCorrupt with
        what is wrong, and ArchiveTooNew.
        """
        archive = cls(_File(path))
        try:
            archive._check(all_bytes=all_bytes)
        except BaseException:
            archive.close()
            raise
        return archive

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self, table: str) -> Generator[bytes, None, None]:
        """Yield the COPY text of a table, in pieces of at most 128 KiB.

        Raises KeyError if the archive has no such table, and ArchiveCorrupt, at the latest after the
        last piece, unless rows, bytes and hash are those of the manifest. A reader that stops earlier
        has checked nothing. No more bytes are yielded than the manifest names.
        """
        content, digest = self.manifest.table(table), Digest()
        name = table + layout.SUFFIX
        with self._damage(name):
            for piece in decompressed(self._source(name)):
                digest.update(piece)
                if digest.bytes > content.bytes:
                    raise ValueError("it holds more bytes than its manifest says")
                yield piece
            if digest.content(table, content.columns) != content:
                raise ValueError("it does not hold the rows that its manifest says")

    def verify(self) -> None:
        """Read every table to its end; raises as `chunks` does."""
        for table in self.manifest.tables:
            for _ in self.chunks(table.name):
                pass

    def _check(self, *, all_bytes: bool) -> None:
        self.seal = self._checked_seal() if all_bytes else self._file.read_seal()
        with self._damage():
            members = self._checked_members()
        with self._damage(layout.MANIFEST):
            self.manifest = decode(self._manifest_bytes())
        named = [table.name + layout.SUFFIX for table in self.manifest.tables]
        if [member.name for member in members] != [*named, layout.MANIFEST]:
            raise ArchiveCorrupt(self._file.path, "its members are not those that its manifest names")

    def _checked_seal(self) -> str:
        beginning = self.size - layout.SEAL_SIZE
        seal = self._file.read_seal()
        digest = hashlib.sha256()
        for position in range(0, beginning, _PIECE):
            digest.update(self._file.read(position, min(_PIECE, beginning - position)))
        if seal != f"sha256:{digest.hexdigest()}":
            raise ArchiveCorrupt(self._file.path, "its bytes do not match its seal")
        return seal

    def _checked_members(self) -> list[Member]:
        end_at = self.size - layout.SEAL_SIZE - layout.END_SIZE
        if end_at < 0:
            raise ValueError("it is too short for an archive")
        end = self._file.read(end_at, layout.END_SIZE)
        size = layout.directory_size(end)
        if size > min(end_at, layout.MAX_DIRECTORY):
            raise ValueError("its directory has an impossible size")
        directory = self._file.read(end_at - size, size)
        members = layout.members_of(directory)
        if end_at - size != sum(member.span for member in members):
            raise ValueError("there are bytes before, between or behind its members, or too few")
        if layout.directory(members) != directory or layout.end(members) != end:
            raise ValueError("its ZIP directory is not one that taskdb writes")
        for member, offset in zip(members, layout.offsets(members), strict=True):
            self._check_surroundings(member, offset)
        return members

    def _check_surroundings(self, member: Member, offset: int) -> None:
        header, descriptor = layout.local_header(member.name), layout.descriptor(member)
        behind = offset + member.span - len(descriptor)
        found = self._file.read(offset, len(header)), self._file.read(behind, len(descriptor))
        if found != (header, descriptor):
            raise ValueError(f"the ZIP header of {member.name} is not one that taskdb writes")
        if member.name in self._members:
            raise ValueError(f"it has {member.name} twice")
        self._members[member.name] = member, offset + len(header)

    def _manifest_bytes(self) -> bytes:
        source = self._source(layout.MANIFEST)
        if source.remaining > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
        return source.read(source.remaining)

    def _source(self, name: str) -> _MemberSource:
        if name not in self._members:
            raise ValueError("it is missing")
        return _MemberSource(self._file, *self._members[name])

    @contextmanager
    def _damage(self, member: str = "") -> Iterator[None]:
        """Say of which file, and which member of it, a check complains."""
        try:
            yield
        except ValueError as exc:
            what = f"{member}: {exc}" if member else str(exc)
            raise ArchiveCorrupt(self._file.path, what) from exc
        except NewerFormat as exc:
            raise ArchiveTooNew(self._file.path, exc.found, FORMAT_VERSION) from exc


def verify(path: Path) -> Manifest:
    """Read a whole archive, and return its manifest if everything is as it was written.

    Raises as `Archive.open` and `Archive.chunks` do.
    """
    with Archive.open(path) as archive:
        archive.verify()
        return archive.manifest


def reseal(path: Path, *, seconds: float) -> str | None:
    """Return the seal that fits the bytes of an archive now, or None if that takes longer than `seconds`.

    Raises FileMissing and StorageFailed.
    """
    deadline = time.monotonic() + seconds
    file, digest = _File(path), hashlib.sha256()
    try:
        end = max(0, file.size - layout.SEAL_SIZE)
        for position in range(0, end, _PIECE):
            if time.monotonic() > deadline:
                return None
            digest.update(file.read(position, min(_PIECE, end - position)))
    finally:
        file.close()
    return f"sha256:{digest.hexdigest()}"


def manifest_of(path: Path) -> Manifest:
    """Return the manifest of an archive, which has a checksum of its own, without reading the rows.

    Raises as `Archive.open` does.
    """
    with Archive.open(path, all_bytes=False) as archive:
        return archive.manifest


def seal_of(path: Path) -> str:
    """Return the seal of an archive, `sha256:` and 64 digits, without checking it.

    Raises ArchiveCorrupt if the file does not end in one, FileMissing and StorageFailed.
    """
    file = _File(path)
    try:
        return file.read_seal()
    finally:
        file.close()
