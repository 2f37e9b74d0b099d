"""What an archive says of itself: where it comes from, and what each table holds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

FORMAT_VERSION = 2
"""The format that is written. Format 1, of taskdb 0.1.0, has no identity and no place; it is read too."""

MAX_BYTES = 1 << 20
"""A manifest's largest size, in bytes: a real one has about two thousand."""

COLUMN_TYPES = ("integer", "text", "boolean", "timestamp")
_LARGEST = 2**63 - 1
_LONGEST_TEXT = 200
_LONGEST_PLACE = 30_000
_TABLE_NAME = re.compile(r"[a-z_]{1,63}")
_COLUMN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IDENTITY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class NewerFormat(Exception):
    """The manifest is of a format that only a later version of taskdb reads."""

    def __init__(self, found: int) -> None:
        super().__init__(found)
        self.found = found


@dataclass(frozen=True)
class Column:
    """A column of the COPY text; raises ValueError, as all of these do, for what no manifest may say."""

    name: str
    type: str

    def __post_init__(self) -> None:
        _require_match(_COLUMN_NAME, self.name, "the name of a column")
        if self.type not in COLUMN_TYPES:
            raise ValueError(f"a column's type is none of {', '.join(COLUMN_TYPES)}")


@dataclass(frozen=True)
class TableContent:
    """How many rows and bytes of COPY text a table has, and their SHA-256 in hexadecimal digits."""

    name: str
    columns: tuple[Column, ...]
    rows: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _require_match(_TABLE_NAME, self.name, "the name of a table")
        names = [column.name for column in self.columns]
        if not names or len(set(names)) < len(names):
            raise ValueError("a table has no columns, or one of them twice")
        for number in (self.rows, self.bytes):
            if type(number) is not int or not 0 <= number <= _LARGEST:
                raise ValueError("a count of rows or bytes is no possible number")
        _require_match(_SHA256, self.sha256, "the SHA-256 of a table")


@dataclass(frozen=True)
class Origin:
    """Which database the rows were read from, and when.

    `identity` is the UUID of the database, or None if it had none yet. `place` is its path, or its host,
    port and name, without user and password; None in an archive of format 1.
    """

    label: str
    engine: str
    server_version: str
    revision: str
    created_at: datetime
    identity: str | None = None
    place: str | None = None

    def __post_init__(self) -> None:
        for name in ("label", "engine", "server_version", "revision"):
            _require_text(getattr(self, name), name)
        if self.identity is not None:
            _require_match(_IDENTITY, self.identity, "identity")
        if self.place is not None:
            _require_text(self.place, "place", _LONGEST_PLACE)
        if self.created_at.utcoffset() != timedelta(0):
            raise ValueError("created_at is not in UTC")


@dataclass(frozen=True)
class Manifest:
    """The origin of an archive, and its tables in the order of the members."""

    format: int
    tool: str
    origin: Origin
    tables: tuple[TableContent, ...]

    def __post_init__(self) -> None:
        _require_text(self.tool, "tool")
        if len({table.name for table in self.tables}) < len(self.tables):
            raise ValueError("a table is there twice")
        if (self.origin.place is None) is not (self.format == 1):
            raise ValueError("its place does not go with its format")

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(table.rows for table in self.tables)

    def table(self, name: str) -> TableContent:
        """Return what is said of one table; raise KeyError if the archive does not have it."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def record(self) -> dict[str, Any]:
        """Return the manifest as JSON has it, in the order of the keys of the file."""
        record = {
            "format": self.format,
            "tool": self.tool,
            "created_at": _timestamp(self.origin.created_at),
            "label": self.origin.label,
            "engine": self.origin.engine,
            "server_version": self.origin.server_version,
            "revision": self.origin.revision,
            "tables": [_table_record(table) for table in self.tables],
        }
        if self.format == 1:
            return record
        return record | {"identity": self.origin.identity, "place": self.origin.place}

    def encode(self) -> bytes:
        """Return the bytes of `manifest.json`."""
        return json.dumps(self.record(), indent=2, ensure_ascii=False).encode() + b"\n"


def decode(data: bytes) -> Manifest:
    """Return the manifest that the bytes of `manifest.json` spell.

    Only the bytes that `Manifest.encode` makes are accepted: no other key, order, type or spelling.
    Raises NewerFormat for a later format, and ValueError with the reason for anything else.
    """
    record = _load(data)
    found = record.get("format")
    if type(found) is not int or not 1 <= found <= _LARGEST:
        raise ValueError("it has no valid format version")
    if found > FORMAT_VERSION:
        raise NewerFormat(found)
    try:
        manifest = _parse(record)
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError("a key is missing, unknown or of the wrong type") from exc
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

    def content(self, name: str, columns: Sequence[Column]) -> TableContent:
        """Return what has passed as the content of a table."""
        return TableContent(name, tuple(columns), self.rows, self.bytes, self.sha256)


def _load(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data.decode())
    except UnicodeDecodeError as exc:
        raise ValueError("it is no UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        raise ValueError("it is no JSON that can be read") from exc
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - what is read is wrong, not a call
    return record


def _parse(record: dict[str, Any]) -> Manifest:
    created_at = datetime.fromisoformat(record["created_at"])
    texts = {key: record[key] for key in ("label", "engine", "server_version", "revision")}
    if record["format"] > 1:
        texts |= {key: record[key] for key in ("identity", "place")}
    tables = tuple(_parse_table(**table) for table in record["tables"])
    return Manifest(record["format"], record["tool"], Origin(created_at=created_at, **texts), tables)


def _parse_table(*, name: str, columns: list[Any], rows: int, bytes: int, sha256: str) -> TableContent:
    return TableContent(name, tuple(Column(**column) for column in columns), rows, bytes, sha256)


def _table_record(table: TableContent) -> dict[str, Any]:
    columns = [{"name": column.name, "type": column.type} for column in table.columns]
    counts = {"rows": table.rows, "bytes": table.bytes, "sha256": table.sha256}
    return {"name": table.name, "columns": columns, **counts}


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _require_match(pattern: re.Pattern[str], value: object, what: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{what} is not of the form {pattern.pattern}")


def _require_text(value: object, what: str, longest: int = _LONGEST_TEXT) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"{what} is not printable text of 1 to {longest} characters")
