"""Records out of a file, one after the other, whatever its format."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from io import TextIOWrapper
from pathlib import PurePath
from typing import IO, Any, TextIO

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.text.escaping import brief

CHUNK = 1 << 16
LONGEST_RECORD = 1 << 22
"""How many characters one record may have; it is far more than the longest valid one needs."""

_EXTENSIONS = {
    ".csv": FileFormat.CSV,
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.NDJSON,
    ".ndjson": FileFormat.NDJSON,
}
_SHAPES = {FileFormat.JSON: "a JSON array of objects", FileFormat.NDJSON: "one JSON object a line"}
_SPACE = re.compile(r"[ \t\r\n]*")
_TOO_LONG = f"is longer than {LONGEST_RECORD} characters"
_CUT_OFF = "is cut off: the file ends before the array does"

Found = tuple[int, dict[str, Any] | str]
"""The number of a record in the file, and its values or the reason why it has none."""


@dataclass(frozen=True)
class Source:
    """A file to read records from, and what people call the place of a record in it."""

    file: IO[bytes]
    text: TextIO
    format: FileFormat
    unit: str

    @classmethod
    def open(cls, file: IO[bytes], name: str, format: FileFormat | None) -> Source:
        """Look at the beginning of a seekable file; without a format, find out which it is.

        Raises InvalidInput, naming the file, for one that is not text in UTF-8 or is empty.
        """
        file.seek(0)
        head = file.read(CHUNK)
        file.seek(0)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head[:4]:
            raise InvalidInput(f"{name} is not UTF-8 text", "save it as UTF-8")
        beginning = head.removeprefix(codecs.BOM_UTF8).lstrip()
        # Bytes that are not UTF-8 become surrogates. No field accepts them, so the error names the field.
        text = TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="\n")
        format = format or _detect(text, name, beginning)
        in_array = format is not FileFormat.CSV and beginning.startswith(b"[")
        if format in _SHAPES and in_array != (format is FileFormat.JSON):
            what = f"not {_SHAPES[format]}" if beginning else "empty"
            raise InvalidInput(f"{name} is {what}", "name another format with --from")
        return cls(file, text, format, "record" if in_array else "line")

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
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"names {brief(name)} twice")
    return values


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _detect(text: TextIO, name: str, beginning: bytes) -> FileFormat:
    known = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if known is FileFormat.CSV or not beginning.startswith((b"[", b"{")):
        if not (beginning or known):
            raise InvalidInput(f"{name} is empty", "name the format with --from if that is right")
        return known or FileFormat.CSV
    if beginning.startswith(b"["):
        found, (_, first) = FileFormat.JSON, next(_read_array(text), (0, ""))
    else:
        _, first = next(_read_objects(text, separator=","))
        # One object over several lines is read as an array, which refuses it.
        alone = isinstance(first, str) and known is not FileFormat.NDJSON
        found = FileFormat.JSON if alone else FileFormat.NDJSON
    theirs = {"uuid", "entry", "description"}
    if isinstance(first, dict) and first.keys() >= theirs and "title" not in first:
        return FileFormat.TASKWARRIOR
    return found


def _object(value: object) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else "is not a JSON object"


def _lines(text: TextIO) -> Iterator[str]:
    return iter(partial(text.readline, LONGEST_RECORD), "")


def _read_objects(text: TextIO, *, separator: str) -> Iterator[Found]:
    for number, line in enumerate(_lines(text), 1):
        if len(line) >= LONGEST_RECORD:
            yield number, _TOO_LONG
            return
        if record := line.strip(" \t\r\n").removesuffix(separator):
            try:
                yield number, _object(_JSON.decode(record))
            except (ValueError, RecursionError) as exc:
                yield number, _not_json(exc)


def _not_json(error: Exception, unfinished: str = "") -> str:
    """Return why a text is not JSON: it is `unfinished` if only its end is missing."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    detail = str(error)
    if isinstance(error, json.JSONDecodeError):
        detail = error.msg
        if unfinished and (detail.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())):
            return unfinished
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

    def _read_on(self) -> None:
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
            self._read_on()

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
            self._read_on()


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
            yield number, _not_json(exc, _CUT_OFF if array.ended else _TOO_LONG)
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
                many = "few" if len(row) < len(header) else "many"
                yield number, f"has too {many} cells: {len(row)}, but there are {len(header)} columns"
            elif row:
                yield number, {name: cell or None for name, cell in zip(header, row, strict=True)}
            number = rows.line_num + 1
    except csv.Error as exc:
        yield number, f"is not valid CSV: {str(exc).partition(' - ')[0]}"


def _header_faults(header: Sequence[str], known: Sequence[str], required: Sequence[str]) -> Iterator[str]:
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if not header:
        yield "must name the columns, but is empty"
    if twice:
        yield f"names the column {brief(twice[0])} twice"
    for name in header:
        if name not in known:
            how = ", with commas between them" if re.search("^$|[;\t]", name) else ""
            unknown = f"{brief(name)!r} is not a known field"
            if meant := get_close_matches(name.lower(), known, n=1, cutoff=0.75):
                yield f"{unknown}, did you mean {meant[0]!r}?"
            yield f"must name the columns{how}: {unknown} (these are: {', '.join(known)})"
    for name in required:
        if name not in header:
            yield f"must name a column {name!r}"
