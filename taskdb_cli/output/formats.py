"""Records to text: a table for people, and four formats for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import TASK_FIELDS, TOKEN_FIELDS, USER_FIELDS, TaskPriority
from taskdb_cli.text.escaping import escape_json

Record = Mapping[str, Any]


class Format(StrEnum):
    """How records are written."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True)
class View:
    """Which fields of a kind of record the formats show."""

    fields: Sequence[str]
    columns: Sequence[str]
    table: Sequence[str] = ()
    """The columns of a table, where they are not those of TSV."""


USERS = View(USER_FIELDS, ("id", "email", "name", "is_active"))
USERS_WITH_COUNTS = View((*USER_FIELDS, "tasks"), (*USERS.columns, "tasks"))
TASKS = View(TASK_FIELDS, ("id", "status", "priority", "due_at", "user", "title"))

TASKS_OF_ONE = View(TASKS.fields, TASKS.columns, ("id", "status", "priority", "due_at", "title"))
TOKENS = View(
    TOKEN_FIELDS,
    ("id", "name", "scope", "user", "created_at", "expires_at", "last_used_at"),
    ("id", "name", "scope", "user", "expires_at", "last_used_at"),
)
NEW_TOKEN = View(*[("id", "name", "token", "expires_at")] * 2)
FIGURES = View(("figure", "value"), ("figure", "value"))
_BACKUP = ("archive", "label", "taken_at", "size", "rows")
_ARCHIVE = ("archive", "label", "taken_at", "size", "verified_at", "drilled_at")
_DECISION = ("archive", "taken_at", "size", "keep", "reasons")
# The name of an archive has its label and time in it, and a terminal has little room.
BACKUPS = View(_BACKUP, _BACKUP, ("archive", "size", "rows"))
ARCHIVES = View((*_ARCHIVE, "identity", "place"), _ARCHIVE, ("archive", "size", "verified_at", "drilled_at"))
CONTENTS = View(*[("table", "rows", "bytes", "sha256")] * 2)
DECISIONS = View(_DECISION, _DECISION, ("archive", "keep", "reasons"))
REVISIONS = View(*[("revision", "date", "applied", "message")] * 2)


def default_format(stream: TextIO) -> Format:
    """Return a table for a terminal, and tab-separated values for anything else."""
    return Format.TABLE if stream.isatty() else Format.TSV


def to_plain(value: Any) -> Any:
    """Return a value as every format writes it: times in RFC 3339 and UTC, enums by their names."""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, TaskPriority):
        return value.word
    if isinstance(value, Enum):
        return value.value
    return value


def timestamp(value: datetime) -> str:
    """Return a time as 2026-12-01T17:00:00Z, with microseconds if it has any."""
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def plain(record: Record, fields: Sequence[str]) -> dict[str, Any]:
    """Return these fields of the record, with every value plain."""
    return {field: to_plain(record[field]) for field in fields}


def write_json(value: object, stream: TextIO) -> None:
    """Write one JSON value, indented, on lines of its own."""
    stream.write(_json(value, indent=2) + "\n")


def write_json_array(records: Iterable[Record], fields: Sequence[str], stream: TextIO) -> None:
    """Write a JSON array, one record at a time."""
    separator = "[\n"
    for record in records:
        text = _json(plain(record, fields), indent=2)
        stream.write(separator + "  " + text.replace("\n", "\n  "))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def write_ndjson(records: Iterable[Record], fields: Sequence[str], stream: TextIO) -> None:
    """Write one JSON object a line."""
    stream.writelines(_json(plain(record, fields), separators=(",", ":")) + "\n" for record in records)


def _json(value: object, **options: Any) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, **options))


def write_csv(
    records: Iterable[Record], fields: Sequence[str], stream: TextIO, *, csv_safe: bool = False
) -> None:
    """Write CSV (RFC 4180, but with newline line ends) with a header; what is absent is empty.

    With `csv_safe`, text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    to_cell = _safe_csv_cell if csv_safe else _csv_cell
    stream.write(",".join(fields) + "\n")
    for record in records:
        cells = (_quoted(to_cell(to_plain(record[field]))) for field in fields)
        stream.write(",".join(cells) + "\n")


def write_tsv(records: Iterable[Record], fields: Sequence[str], stream: TextIO) -> None:
    r"""Write one record a line, fields between tabs; `\t`, `\n`, `\r` and `\\` stand for themselves."""
    stream.writelines(
        "\t".join(_tsv_cell(to_plain(record[field])) for field in fields) + "\n" for record in records
    )


_TSV_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _tsv_cell(value: object) -> str:
    return _csv_cell(value).translate(_TSV_ESCAPES)


# csv.writer would leave a carriage return bare when lines end with a newline, and no reader takes that.
_QUOTED_IN_CSV = re.compile('[",\r\n]')


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED_IN_CSV.search(cell) else cell


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# Spreadsheets skip blanks before a formula, and some take full-width signs for the usual ones.
_FORMULA = re.compile("[\\s\ufeff\u200b]*[=+@\\-\uff1d\uff0b\uff20\uff0d]|[\t\r\n]")


def _safe_csv_cell(value: object) -> str:
    cell = _csv_cell(value)
    return f"'{cell}" if isinstance(value, str) and _FORMULA.match(cell) else cell


def write_records(
    records: Iterable[Record], view: View, format: Format, stream: TextIO, *, csv_safe: bool = False
) -> None:
    """Write any number of records: all fields, but only some columns as a table or TSV."""
    if format is Format.TABLE:
        from taskdb_cli.output.tables import print_table

        print_table(records, view, stream)
    elif format is Format.JSON:
        write_json_array(records, view.fields, stream)
    elif format is Format.NDJSON:
        write_ndjson(records, view.fields, stream)
    elif format is Format.CSV:
        write_csv(records, view.fields, stream, csv_safe=csv_safe)
    else:
        write_tsv(records, view.columns, stream)


def write_record(
    record: Record, view: View, format: Format, stream: TextIO, *, csv_safe: bool = False
) -> None:
    """Write one record: as `write_records`, but JSON is an object and a table shows every field."""
    if format is Format.TABLE:
        from taskdb_cli.output.tables import print_detail

        print_detail(record, stream)
    elif format is Format.JSON:
        write_json(plain(record, view.fields), stream)
    else:
        write_records([record], view, format, stream, csv_safe=csv_safe)
