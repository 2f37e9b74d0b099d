"""Records out of a file, one after the other, whatever its format."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import PurePath
from typing import Any, BinaryIO, TextIO

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.text.escaping import brief

CHUNK = 1 << 16
LONGEST_RECORD = 1 << 22
"""How many characters one record may have; it is far more than the longest valid one needs."""

TASKWARRIOR_KEYS = frozenset({"uuid", "entry", "description"})

_EXTENSIONS = {".csv": FileFormat.CSV, ".ndjson": FileFormat.NDJSON, ".jsonl": FileFormat.NDJSON}
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE = re.compile(r"[ \t\r\n]*")
_OTHER_SEPARATOR = re.compile("[;\t]")
_CUT_OFF = "is cut off: the file ends before the array does"


Found = tuple[int, dict[str, Any] | str]
"""The number of a record in the file, and its values or the reason why it has none."""


@dataclass(frozen=True)
class Source:
    """A file to read records from, and what people call the place of a record in it."""

    file: BinaryIO
    text: TextIO
    format: FileFormat
    unit: str

    @classmethod
    def open(cls, file: BinaryIO, name: str, format: FileFormat | None) -> Source:
        """Look at the beginning of a seekable file; without a format, find out which it is.

        Raises InvalidInput, naming the file, for one that is not text in UTF-8 or is empty.
        """
        head = file.read(CHUNK)
        file.seek(0)
        if head.startswith(_UTF16_BOMS) or b"\0" in head[:4]:
            raise InvalidInput(f"{name} is not UTF-8 text", "save it as UTF-8")
        beginning = head.removeprefix(codecs.BOM_UTF8).lstrip()
        # Bytes that are not UTF-8 become surrogates. No field accepts them, so the error names the field.
        text = TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="\n")
        format = format or _detect(text, name, beginning)
        in_lines = format is FileFormat.CSV or (
            format is not FileFormat.JSON and not beginning.startswith(b"[")
        )
        if format is FileFormat.NDJSON and beginning.startswith(b"["):
            raise InvalidInput(
                f"{name} holds a JSON array, not one object a line", "read it with --from json"
            )
        if not in_lines and not beginning.startswith(b"["):
            raise InvalidInput(f"{name} is not a JSON array of objects")
        return cls(file, text, format, "line" if in_lines else "record")

    def records(self, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
        """Yield every record from the beginning, at constant memory. Stop at a fault of the whole file.

        A header of CSV must have the `required` columns and no other than the `known` ones.
        """
        self.text.seek(0)
        if self.format is FileFormat.CSV:
            return _read_csv(self.text, known, required)
        if self.unit == "record":
            return _read_array(self.text)
        return _read_objects(self.text, separator="," if self.format is FileFormat.TASKWARRIOR else "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"names {brief(_twice([name for name, _ in pairs])[0])} twice")
    return values


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _detect(text: TextIO, name: str, beginning: bytes) -> FileFormat:
    known = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if known is FileFormat.CSV:
        return known
    if not beginning and known is None:
        raise InvalidInput(f"{name} is empty", "name the format with --from if that is right")
    if beginning.startswith(b"["):
        return _taskwarrior_or(FileFormat.JSON, _read_array(text))
    if beginning.startswith(b"{"):
        # One object over several lines is read as an array, which refuses it.
        first = next(_read_objects(text, separator=","))
        alone = known is None and isinstance(first[1], str)
        return _taskwarrior_or(FileFormat.JSON if alone else FileFormat.NDJSON, iter([first]))
    if PurePath(name).suffix.lower() == ".json":
        return FileFormat.JSON
    return known or FileFormat.CSV


def _taskwarrior_or(format: FileFormat, records: Iterator[Found]) -> FileFormat:
    _, values = next(records, (0, ""))
    recognized = isinstance(values, dict) and values.keys() >= TASKWARRIOR_KEYS and "title" not in values
    return FileFormat.TASKWARRIOR if recognized else format


def _object(value: object) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else "is not a JSON object"


def _lines(text: TextIO) -> Iterator[str]:
    return iter(partial(text.readline, LONGEST_RECORD), "")


def _read_objects(text: TextIO, *, separator: str) -> Iterator[Found]:
    for number, line in enumerate(_lines(text), 1):
        if len(line) >= LONGEST_RECORD:
            yield number, f"is longer than {LONGEST_RECORD} characters"
            return
        record = line.strip(" \t\r\n").removesuffix(separator)
        if not record:
            continue
        try:
            yield number, _object(_JSON.decode(record))
        except (ValueError, RecursionError) as exc:
            yield number, _not_json(exc)


def _not_json(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    detail = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return f"is not valid JSON: {detail[:1].lower()}{detail[1:]}"


class _Array:
    """The text of a JSON array in a file, read as far as the next record needs.

    ijson would not do: it keeps the last of two equal keys, does not say which record is not UTF-8,
    and needs memory that grows with the square of the depth.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.buffer = ""
        self.position = 0
        self.ended = False

    def read_on(self) -> None:
        chunk = self._text.read(CHUNK)
        self.buffer, self.position, self.ended = self.buffer[self.position :] + chunk, 0, not chunk

    def next_character(self) -> str:
        """Return the next character that is not white space, or '' at the end. Do not advance."""
        while True:
            match = _SPACE.match(self.buffer, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.buffer) or self.ended:
                return self.buffer[self.position : self.position + 1]
            self.read_on()

    def next_value(self) -> object:
        """Return the next JSON value and advance. Raise ValueError for anything else."""
        while True:
            try:
                value, end = _JSON.raw_decode(self.buffer, self.position)
                if end < len(self.buffer) or self.ended:
                    self.position = end
                    return value
            except ValueError:
                # The value may continue beyond what has been read.
                if self.ended or len(self.buffer) - self.position > LONGEST_RECORD:
                    raise
            self.read_on()

    def ends_at(self, error: Exception) -> bool:
        """Return whether a value is invalid only because the file ends."""
        if not (self.ended and isinstance(error, json.JSONDecodeError)):
            return False
        return error.msg.startswith("Unterminated string") or error.pos >= len(self.buffer.rstrip())


def _read_array(text: TextIO) -> Iterator[Found]:
    array = _Array(text)
    array.next_character()
    array.position += 1
    number = 0
    while array.next_character() != "]":
        number += 1
        try:
            yield number, _object(array.next_value())
        except (ValueError, RecursionError) as exc:
            yield number, _CUT_OFF if array.ends_at(exc) else _not_json(exc)
            return
        if (separator := array.next_character()) == ",":
            array.position += 1
        elif separator != "]":
            yield number, "is not followed by a comma or the end of the array"
            return
    array.position += 1
    if array.next_character():
        yield number, "is the last of the array, but the file goes on behind it"


def _read_csv(text: TextIO, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
    rows = csv.reader(_lines(text), strict=True)
    number = 1
    try:
        header = next(rows, [])
        if reason := next(_header_faults(header, known, required), ""):
            yield number, reason
            return
        number = rows.line_num + 1
        for row in rows:
            if row and len(row) != len(header):
                many = "many" if len(row) > len(header) else "few"
                cells = f"{len(row)}, but there are {len(header)} columns"
                yield number, f"has too {many} cells: {cells}"
            elif row:
                yield number, {name: cell or None for name, cell in zip(header, row, strict=True)}
            number = rows.line_num + 1
    except csv.Error as exc:
        yield number, f"is not valid CSV: {str(exc).partition(' - ')[0]}"


def _header_faults(header: Sequence[str], known: Sequence[str], required: Sequence[str]) -> Iterator[str]:
    if not header:
        yield "must name the columns, but is empty"
    if len(header) == 1 and _OTHER_SEPARATOR.search(header[0]):
        yield "must have commas between the columns"
    if "" in header:
        yield f"has no name for column {header.index('') + 1}"
    if twice := _twice(header):
        yield f"names the column {brief(min(twice))} twice"
    if unknown := [name for name in header if name not in known]:
        fields = ", ".join(known)
        yield f"must name the columns: {brief(unknown[0])!r} is not a known field (these are: {fields})"
    if missing := [name for name in required if name not in header]:
        yield f"must name a column {missing[0]}"
