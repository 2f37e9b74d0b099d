"""Records as text for programs: TSV, JSON, NDJSON and CSV. `output.tables` shows them to people."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import partial
from itertools import islice
from typing import Any, TextIO

from taskdb_cli.models.vocabulary import (
    CHANGE_FIELDS,
    LIFE_FIELDS,
    OPERATION_FIELDS,
    TASK_FIELDS,
    TOKEN_FIELDS,
    USER_FIELDS,
    TaskPriority,
)
from taskdb_cli.text.escaping import escape, escape_json

Record = Mapping[str, Any]

_AT_ONCE = 1000
"""How many details of an error are written together."""

_QUOTED_IN_CSV = re.compile('[",\r\n]')
# Spreadsheets skip blanks before a formula. Some also accept full-width signs.
_FORMULA = re.compile("[\\s\ufeff\u200b]*[=+@\\-\uff1d\uff0b\uff20\uff0d]|[\t\r\n]")
_TSV_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class Format(StrEnum):
    """How records are written."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True)
class View:
    """The fields of a kind of record that each format shows."""

    fields: Sequence[str]
    """The fields of JSON, NDJSON and CSV."""
    columns: Sequence[str] = ()
    """The columns of TSV, if TSV leaves fields out."""
    narrow: Sequence[str] = ()
    """The columns of a table, if a table leaves columns of TSV out."""
    named: bool = False
    """Whether somebody named the fields, so that a table shows each of them."""

    def chosen_for(self, format: Format) -> Sequence[str]:
        """Return the names of the fields that the format shows."""
        columns = self.columns or self.fields
        return {Format.TSV: columns, Format.TABLE: self.narrow or columns}.get(format, self.fields)

    def all_columns(self) -> Sequence[str]:
        """Return the names of all fields, as a wide table shows them: those of any table first."""
        return tuple(dict.fromkeys([*self.chosen_for(Format.TABLE), *self.fields]))


_USER = ("id", "email", "name", "is_active")
_TASK = ("id", "status", "priority", "due_at")
_TOKEN = ("id", "name", "scope", "user")
_ARCHIVE = ("archive", "label", "taken_at", "size")
USERS = View(USER_FIELDS, _USER)
USERS_WITH_COUNTS = View((*USER_FIELDS, "tasks"), (*_USER, "tasks"))
TASKS = View(TASK_FIELDS, (*_TASK, "user", "title"))
_USED = ("expires_at", "last_used_at")
TOKENS = View(TOKEN_FIELDS, (*_TOKEN, "created_at", *_USED), (*_TOKEN, *_USED))
NEW_TOKEN = View(("id", "name", "token", "expires_at"))
FIGURES = View(("figure", "value"))
# A table has little room, and the name of an archive contains its label and its time.
BACKUPS = View((*_ARCHIVE, "rows"), narrow=("archive", "size", "rows"))
_PROVED = ("verified_at", "drilled_at")
ARCHIVES = View(
    (*_ARCHIVE, *_PROVED, "identity", "place"),
    (*_ARCHIVE, *_PROVED),
    ("archive", "size", *_PROVED),
)
CONTENTS = View(("table", "rows", "bytes", "sha256"))
_RESTORED = ("kind", "outcome", "archived_id", "id", "user", "title")
RESTORED_ROWS = View((*_RESTORED, "differs"), _RESTORED)
UNDONE_ROWS = View(("kind", "id", "effect", "name"), named=True)
COPIES = View(("archive", "copy", "size", "copied"), narrow=("copied", "copy"))
PLANNED_COPIES = View(COPIES.fields, narrow=("would_copy", "copy"))
DECISIONS = View(("archive", "taken_at", "size", "keep", "reasons"), narrow=("archive", "keep", "reasons"))
SETTINGS_IN_USE = View(
    ("name", "variable", "value", "source", "origin"), ("name", "value", "origin", "variable")
)
OPERATIONS = View(OPERATION_FIELDS, ("id", "at", "actor", "command", "rows", "undoes", "restored_from"))
CHANGES = View(CHANGE_FIELDS)
LIFE = View(LIFE_FIELDS)
SEARCH_INDEX = View(("state", "size", "tasks", "tasks_size", "write_factor", "pays", "problem"))
REVISIONS = View(("revision", "date", "applied", "message"))


def to_plain(value: Any) -> Any:
    """Return a value as every format writes it: times in RFC 3339 and UTC, enums by their names."""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, TaskPriority):
        return value.word
    return value.value if isinstance(value, Enum) else value


def timestamp(value: datetime) -> str:
    """Return a time as 2026-12-01T17:00:00Z, with microseconds if it has any."""
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def plain(record: Record, fields: Sequence[str]) -> dict[str, Any]:
    """Return these fields of the record, with every value plain."""
    return {field: to_plain(record[field]) for field in fields}


def write_json(value: object, stream: TextIO) -> None:
    """Write one JSON value, indented, on lines of its own."""
    stream.write(to_json(value, indent=2) + "\n")


def write_error(body: Mapping[str, str], details: Iterable[Mapping[str, str | int]], stream: TextIO) -> None:
    """Write an error as one JSON object, with any number of details, which are taken one at a time."""
    # Python's own indentation is many times slower, and stderr flushes each time.
    items = (
        ",\n        ".join(f"{to_json(name)}: {to_json(text)}" for name, text in each.items())
        for each in details
    )
    chunk = [*islice(items, _AT_ONCE)]
    if not chunk:
        write_json({"error": body}, stream)
        return
    before, _, after = to_json({"error": {**body, "details": []}}, indent=2).rpartition("[]")
    before, between = f"{before}[\n      {{\n        ", "\n      },\n      {\n        "
    while chunk:
        stream.write(before + between.join(chunk))
        before, chunk = between, [*islice(items, _AT_ONCE)]
    stream.write(f"\n      }}\n    ]{after}\n")


def write_records(
    records: Iterable[Record], view: View, format: Format, stream: TextIO, *, csv_safe: bool = False
) -> None:
    r"""Write any number of records in a format for programs, one at a time.

    TSV is one record a line, with `\t`, `\n`, `\r` and `\\` for the characters themselves. CSV has a header
    and follows RFC 4180, except that lines end with a newline only. An absent value is empty in both. With
    `csv_safe`, CSV puts an apostrophe before text that a spreadsheet would run as a formula.
    """
    fields = view.chosen_for(format)
    if format is Format.JSON:
        before = "[\n  "
        for record in records:
            stream.write(before + to_json(plain(record, fields), indent=2).replace("\n", "\n  "))
            before = ",\n  "
        stream.write("[]\n" if before[0] == "[" else "\n]\n")
    elif format is Format.NDJSON:
        stream.writelines(to_json(plain(each, fields), separators=(",", ":")) + "\n" for each in records)
    else:
        rows = ("\t".join([_cell(row[name]).translate(_TSV_ESCAPES) for name in fields]) for row in records)
        if format is Format.CSV:
            stream.write(",".join(fields) + "\n")
            rows = (",".join([_csv_cell(row[name], safe=csv_safe) for name in fields]) for row in records)
        # A program gets the data as it is, but a terminal would obey control characters.
        show = partial(escape, lines=True) if stream.isatty() else str
        stream.writelines(show(row) + "\n" for row in rows)


def to_json(value: object, **options: Any) -> str:
    """Return a value as JSON that drives no terminal; `options` are those of json.dumps."""
    return escape_json(json.dumps(value, ensure_ascii=False, **options))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(to_plain(value))


def _csv_cell(value: Any, *, safe: bool) -> str:
    cell = _cell(value)
    if safe and isinstance(value, str) and _FORMULA.match(cell):
        cell = f"'{cell}"
    # csv.writer leaves a carriage return unquoted if lines end with a newline, and readers refuse that.
    return '"' + cell.replace('"', '""') + '"' if _QUOTED_IN_CSV.search(cell) else cell
