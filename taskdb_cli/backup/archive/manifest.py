"""What an archive says of itself: where it comes from, and what each table holds."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from taskdb_cli.errors import ArchiveTooNew
from taskdb_cli.text.escaping import brief

FORMAT_VERSION = 2
"""The format that is written. Format 1, of taskdb 0.1.0, has no identity and no place; it is read too."""

MAX_BYTES = 1 << 20
"""A manifest's largest size, in bytes: a real one has about two thousand."""

_LARGEST = 2**63 - 1
_FORMAT_1 = ("format", "tool", "created_at", "label", "engine", "server_version", "revision", "tables")
_KEYS = {1: _FORMAT_1, FORMAT_VERSION: (*_FORMAT_1, "identity", "place")}
"""The keys of `manifest.json` in each format, in their order."""


def reason(error: ValidationError) -> str:
    """Return in one short line which value is wrong first, and why."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{brief('.'.join(map(str, first['loc'])))}: {first['msg']}".removeprefix(": ")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it is not printable")
    return text


def _in_utc(value: object) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError("it is not a time with a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("it is not a time in UTC") from exc


Moment = Annotated[datetime, BeforeValidator(_in_utc)]
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
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(table.rows for table in self.tables)

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
        raise ValueError(reason(exc)) from exc
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

    @property
    def sha256(self) -> str:
        """The SHA-256 of what has passed so far, in hexadecimal digits."""
        return self._hash.hexdigest()

    def content(self, name: str, columns: Sequence[ArchivedColumn]) -> TableContent:
        """Return what has passed as the content of a table."""
        return TableContent(name, tuple(columns), self.rows, self.bytes, self.sha256)
