"""Records out of a file, one after the other, whatever its format."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import PurePath
from typing import IO, Any, Self, TextIO

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.csv_rows import read_rows
from taskdb_cli.transfer.foreign import ForeignFormat, Sample, load, recognise
from taskdb_cli.transfer.json_records import read_array, read_objects
from taskdb_cli.transfer.lines import CHUNK, Found

_EXTENSIONS = {
    ".csv": FileFormat.CSV,
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.NDJSON,
    ".ndjson": FileFormat.NDJSON,
}
_SHAPES = {FileFormat.JSON: "a JSON array of objects", FileFormat.NDJSON: "one JSON object a line"}


@dataclass(frozen=True)
class Source:
    """A file to read records from, and what people call the place of a record in it."""

    file: IO[bytes]
    text: TextIO
    format: FileFormat
    foreign: ForeignFormat | None
    """The format, if it is one of another program."""
    unit: str

    @classmethod
    def open(cls, file: IO[bytes], name: str, format: FileFormat | None) -> Self:
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
        text = TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
        format = format or _detect(text, name, beginning)
        foreign = load(format)
        in_array = format is not FileFormat.CSV and beginning.startswith(b"[")
        if format in _SHAPES and in_array != (format is FileFormat.JSON):
            what = f"not {_SHAPES[format]}" if beginning else "empty"
            raise InvalidInput(f"{name} is {what}", "name another format with --from")
        unit = "record" if in_array else "line"
        return cls(file, text, format, foreign, (foreign and foreign.unit) or unit)

    def records(self, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
        """Yield every record from the beginning, at constant memory. Stop at a fault of the whole file.

        A header of CSV must have the `required` columns and no other than the `known` ones.
        """
        self.text.seek(0)
        if self.foreign:
            return self.foreign.read(self.text)
        if self.format is FileFormat.CSV:
            return read_rows(self.text, known, required)
        return read_array(self.text) if self.unit == "record" else read_objects(self.text, separator="")


def _detect(text: TextIO, name: str, beginning: bytes) -> FileFormat:
    known = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if not (beginning or known):
        raise InvalidInput(f"{name} is empty", "name the format with --from if that is right")
    first: dict[str, Any] | str = ""
    if known is FileFormat.CSV or not beginning.startswith((b"[", b"{")):
        found = known or FileFormat.CSV
    elif beginning.startswith(b"["):
        found, (_, first) = FileFormat.JSON, next(read_array(text), (0, ""))
    else:
        _, first = next(read_objects(text, separator=","))
        # One object over several lines is read as an array, which refuses it.
        alone = isinstance(first, str) and known is not FileFormat.NDJSON
        found = FileFormat.JSON if alone else FileFormat.NDJSON
    head = beginning.decode(errors="replace")
    sample = Sample(PurePath(name).name.lower(), head, first if isinstance(first, dict) else {})
    return (recognise(sample) if beginning else None) or found
