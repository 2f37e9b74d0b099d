"""The layout of an archive: the bytes of the ZIP structure around its members, and its manifest.

There is one way to write an archive of given members, so a reader need not interpret headers: it
compares them with what they must be, and no disagreement between two ZIP readers is left to exploit.
`zipfile` cannot keep this promise: its headers differ between versions of Python (before 3.11.4 those with
forced ZIP64 are wrong, and small directories have none), and its reader seeks and accepts other headers.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from taskdb_cli.errors import ArchiveTooNew
from taskdb_cli.text.faults import reasons

MANIFEST = "manifest.json"
UNCOUNTED = "taskdb_"
"""How the names of the tables begin whose rows are not counted, because taskdb keeps them for itself."""
SUFFIX = ".copy.zst"
SEAL = re.compile(rb"sha256:[0-9a-f]{64}")
SEAL_SIZE = 71
MAX_DIRECTORY = 1 << 16
"""The largest central directory, in bytes: room for some hundred tables."""

_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_EXTRA = struct.Struct("<2H2Q")
_DESCRIPTOR = struct.Struct("<4sI2Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_ENTRY_EXTRA = struct.Struct("<2H3Q")
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
END_SIZE = _ZIP64_END.size + _LOCATOR.size + _END.size

_VERSION = 45
_MADE_ON_UNIX = 3 << 8 | _VERSION
# Sizes follow the bytes, which are stored as they are; the time is the earliest that ZIP knows.
_FLAGS_METHOD_TIME_DATE = (0x08, 0, 0, 1 << 5 | 1)
_PRIVATE_FILE = 0o100600 << 16
_ZIP64 = 1
_NONE, _ALL = 0xFFFF, 0xFFFFFFFF
"""A field that says: see the ZIP64 record."""


@dataclass(frozen=True)
class Member:
    """A file inside the ZIP file: its name, and the CRC-32 and size of its bytes."""

    name: str
    crc: int
    size: int

    @property
    def span(self) -> int:
        """The bytes from the beginning of its header to the end of its descriptor."""
        return _LOCAL.size + len(self.name) + _LOCAL_EXTRA.size + self.size + _DESCRIPTOR.size


def local_header(name: str) -> bytes:
    """Return what stands before a member's bytes, whose size and checksum follow later."""
    sizes = (0, _ALL, _ALL, len(name), _LOCAL_EXTRA.size)
    fixed = _LOCAL.pack(b"PK\3\4", _VERSION, *_FLAGS_METHOD_TIME_DATE, *sizes)
    return fixed + name.encode("ascii") + _LOCAL_EXTRA.pack(_ZIP64, 16, 0, 0)


def descriptor(member: Member) -> bytes:
    """Return what stands behind a member's bytes."""
    return _DESCRIPTOR.pack(b"PK\7\x08", member.crc, member.size, member.size)


def tail(members: Sequence[Member]) -> bytes:
    """Return what stands between the members and the seal, which is the ZIP comment.

    That is the central directory of members that stand one behind the other from the first byte on, and the
    END_SIZE bytes of the records behind it.
    """
    directory, start = b"", 0
    for member in members:
        sizes = (member.crc, _ALL, _ALL, len(member.name), _ENTRY_EXTRA.size, 0, 0, 0, _PRIVATE_FILE, _ALL)
        directory += _ENTRY.pack(b"PK\1\2", _MADE_ON_UNIX, _VERSION, *_FLAGS_METHOD_TIME_DATE, *sizes)
        directory += member.name.encode("ascii")
        directory += _ENTRY_EXTRA.pack(_ZIP64, 24, member.size, member.size, start)
        start += member.span
    count, size = len(members), len(directory)
    counts = (0, 0, count, count, size, start)
    return (
        directory
        + _ZIP64_END.pack(b"PK\6\6", _ZIP64_END.size - 12, _MADE_ON_UNIX, _VERSION, *counts)
        + _LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
        + _END.pack(b"PK\5\6", 0, 0, _NONE, _NONE, _ALL, _ALL, SEAL_SIZE)
    )


def directory_size(end: bytes) -> int:
    """Return the size of the central directory that the records before the seal name, as they name it."""
    return int(_ZIP64_END.unpack_from(end)[8])


def members_of(directory: bytes) -> list[Member]:
    """Return the members that a central directory lists. The caller then compares it with their `tail`.

    Raises ValueError if it ends within an entry, or if a name is not one of an archive.
    """
    members, position = [], 0
    while position < len(directory):
        try:
            fields = _ENTRY.unpack_from(directory, position)
            name_at, extra_at = position + _ENTRY.size, position + _ENTRY.size + fields[10]
            size = _ENTRY_EXTRA.unpack_from(directory, extra_at)[2]
        except struct.error as exc:
            raise ValueError("its directory ends within an entry") from exc
        name = directory[name_at:extra_at]
        if not re.fullmatch(rb"manifest\.json|[a-z_]{1,63}\.copy\.zst", name):
            raise ValueError(f"it has a member named {ascii(name)[1:80]}, which no archive has")
        members.append(Member(name.decode("ascii"), fields[7], size))
        position = extra_at + _ENTRY_EXTRA.size
    return members


FORMAT_VERSION = 2
"""The format that is written. Format 1, of taskdb 0.1.0, has no identity and no place; it is read too."""

MAX_BYTES = 1 << 20
"""A manifest's largest size, in bytes: a real one has about two thousand."""

_LARGEST = 2**63 - 1
_FORMAT_1 = ("format", "tool", "created_at", "label", "engine", "server_version", "revision", "tables")
_KEYS = {1: _FORMAT_1, FORMAT_VERSION: (*_FORMAT_1, "identity", "place")}
"""The keys of `manifest.json` in each format, in their order."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it is not printable")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("it is not a time in UTC") from exc


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time, in UTC whatever its zone was; a time without a zone is refused."""


def _distinct(named: tuple[Any, ...]) -> tuple[Any, ...]:
    if len({each.name for each in named}) < len(named):
        raise ValueError("a name is there twice")
    return named


_Count = Annotated[int, Field(strict=True, ge=0, le=_LARGEST)]
_Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
_Place = Annotated[str, Field(min_length=1, max_length=30_000), AfterValidator(_printable)]
_Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
_Timestamp = Annotated[
    Moment,
    PlainSerializer(lambda moment: f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"),
]


@dataclass(frozen=True)
class ArchivedColumn:
    """A column of the COPY text. Raises ValueError, as all models here do, for what no manifest may say."""

    name: Annotated[str, Field(pattern="^[a-z_][a-z0-9_]{0,62}$")]
    type: Annotated[str, Field(pattern="^(integer|text|boolean|timestamp)$")]


@dataclass(frozen=True)
class TableContent:
    """How many rows and bytes of COPY text a table has, and their SHA-256 in hexadecimal digits."""

    name: Annotated[str, Field(pattern="^[a-z_]{1,63}$")]
    columns: Annotated[tuple[ArchivedColumn, ...], Field(min_length=1), AfterValidator(_distinct)]
    rows: _Count
    bytes: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Origin:
    """Which database the rows were read from, and when.

    `identity` is the UUID of the database, or None if it had none yet. `place` is its path, or its host,
    port and name, without user and password; None in an archive of format 1.
    """

    label: _Text
    engine: _Text
    server_version: _Text
    revision: _Text
    created_at: _Timestamp
    identity: _Identity | None = None
    place: _Place | None = None


@dataclass(frozen=True)
class Manifest:
    """The origin of an archive, and its tables in the order of the members."""

    format: int
    tool: _Text
    origin: Origin
    tables: Annotated[tuple[TableContent, ...], AfterValidator(_distinct)]

    def __post_init__(self) -> None:
        if self.format > 1 and self.origin.place is None:
            raise ValueError("it names no place")

    @property
    def counted(self) -> list[TableContent]:
        """The tables of users and tasks, without the history."""
        return [table for table in self.tables if not table.name.startswith(UNCOUNTED)]

    @property
    def rows(self) -> int:
        """The number of users and tasks."""
        return sum(table.rows for table in self.counted)

    def counts(self) -> dict[str, int]:
        """Return the number of users and that of tasks."""
        return {table.name: table.rows for table in self.counted}

    def table(self, name: str) -> TableContent:
        """Return what is said of one table; raise KeyError if the archive does not have it."""
        return {table.name: table for table in self.tables}[name]

    def record(self) -> dict[str, Any]:
        """Return the manifest as JSON has it, in the order of the keys of the file."""
        known = _MANIFEST.dump_python(self, mode="json")
        known |= known.pop("origin")
        return {key: known[key] for key in _KEYS[self.format]}

    def encode(self) -> bytes:
        """Return the bytes of `manifest.json`."""
        return json.dumps(self.record(), indent=2, ensure_ascii=False).encode() + b"\n"


_MANIFEST = TypeAdapter(Manifest)


def decode(data: bytes, archive: object = "the archive") -> Manifest:
    """Return the manifest in the bytes of `manifest.json`.

    Only the bytes that `Manifest.encode` makes are accepted: no other key, order, type or spelling.
    Raises ArchiveTooNew for a later format, and ValueError with the reason for anything else.
    """
    try:
        record = from_json(data)
    except ValueError as exc:
        raise ValueError("it is not JSON in UTF-8") from exc
    found = record.get("format") if isinstance(record, dict) else None
    if type(found) is not int or not 1 <= found <= _LARGEST:
        raise ValueError("it has no valid format version")
    if found > FORMAT_VERSION:
        raise ArchiveTooNew(archive, found, FORMAT_VERSION)
    try:
        # The origin's keys stand beside the others. An unknown key is ignored, but the bytes below differ.
        manifest = _MANIFEST.validate_python(record | {"origin": record})
    except ValidationError as exc:
        raise ValueError(reasons(exc)[0]) from exc
    if manifest.encode() != data:
        raise ValueError("it is not written as taskdb writes it")
    return manifest


class Digest:
    """The rows, bytes and SHA-256 of COPY text, counted while it passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def update(self, chunk: bytes) -> None:
        """Count a piece of the text, which may begin and end anywhere."""
        self._hash.update(chunk)
        # COPY escapes a newline inside of a value.
        self.rows += chunk.count(b"\n")
        self.bytes += len(chunk)

    def counting(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces of the text, and count them."""
        for chunk in chunks:
            self.update(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        """The SHA-256 of all data so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def content(self, name: str, columns: Sequence[ArchivedColumn]) -> TableContent:
        """Return what has passed as the content of a table."""
        return TableContent(name, tuple(columns), self.rows, self.bytes, self.sha256)
