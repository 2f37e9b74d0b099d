"""Records out of a file, one after the other, whatever its format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import PurePath
from typing import IO, Any, Self, TextIO

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import FileFormat
from taskdb_cli.transfer.csv_records import Columns, read_rows
from taskdb_cli.transfer.decoding import KEEP_BYTES, decode_head, find_encoding, refuse_other_text
from taskdb_cli.transfer.foreign import ForeignFormat, Sample, load, recognise
from taskdb_cli.transfer.json_records import UNFINISHED, read_array, read_objects
from taskdb_cli.transfer.lines import CHUNK, Found
from taskdb_cli.transfer.options import NO_OPTIONS, ReadOptions, listed, resolve

_EXTENSIONS = {
    ".csv": FileFormat.CSV,
    ".ics": FileFormat.ICS,
    ".json": FileFormat.JSON,
    ".jsonl": FileFormat.NDJSON,
    ".ndjson": FileFormat.NDJSON,
}
_MOST_LEFT_OUT = 1000
_OTHER_OPTIONS = "leave the option out, or name another format with --from"
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
    options: ReadOptions
    left_out: dict[str, None] = field(default_factory=dict)
    """The names of columns or fields that were ignored while reading, the first of them if there are many."""

    @classmethod
    def open(
        cls, file: IO[bytes], name: str, format: FileFormat | None, options: ReadOptions = NO_OPTIONS
    ) -> Self:
        """Look at the beginning of a seekable file; without a format, find out which it is.

        Raises InvalidInput, naming the file, for one that is empty, or no text of such a kind, or whose
        format has no use for an option.
        """
        file.seek(0)
        head = file.read(CHUNK)
        file.seek(0)
        encoding = find_encoding(head, name, options.encoding)
        beginning = decode_head(head, encoding)
        # Bytes that cannot be decoded become surrogates. No field accepts them.
        text = TextIOWrapper(file, encoding, KEEP_BYTES, newline="")
        format = format or _detect(text, name, beginning)
        refuse_other_text(beginning, name, format)
        foreign = load(format)
        in_array = format is not FileFormat.CSV and beginning.startswith("[")
        in_object = format is FileFormat.JSON and beginning.startswith("{")
        if format in _SHAPES and in_array != (format is FileFormat.JSON):
            if not beginning:
                raise InvalidInput(f"{name} is empty", "an array of no objects is []")
            around = "put [ and ] around its objects and commas between them, or " if in_object else ""
            raise InvalidInput(f"{name} is not {_SHAPES[format]}", f"{around}name another format with --from")
        if format is FileFormat.CSV and not beginning:
            raise InvalidInput(f"{name} is empty", "CSV begins with the names of the columns")
        if options.delimiter and format is not FileFormat.CSV:
            raise InvalidInput(f"--delimiter is for CSV, but {name} is {format}", _OTHER_OPTIONS)
        if foreign and (options.map or options.ignore_unknown):
            which = "--map" if options.map else "--ignore-unknown"
            raise InvalidInput(f"{which} is for CSV, JSON and NDJSON, but {name} is {format}", _OTHER_OPTIONS)
        unit = "record" if in_array else "line"
        return cls(file, text, format, foreign, (foreign and foreign.unit) or unit, options)

    def records(self, known: Sequence[str], required: Sequence[str]) -> Iterator[Found]:
        """Yield every record from the beginning, at constant memory. Stop at a fault of the whole file.

        A header of CSV must have the `required` columns and no other than the `known` ones. Raises
        InvalidInput for a `--map` of no use.
        """
        renamed = self.options.fields_by_name(known)
        self.text.seek(0)
        if self.foreign:
            return self.foreign.read(self.text)
        if self.format is FileFormat.CSV:
            columns = Columns(known, required, renamed, self.options.ignore_unknown)
            return read_rows(self.text, columns, self.options.delimiter, self.left_out)
        found = read_array(self.text) if self.unit == "record" else read_objects(self.text, separator="")
        return (
            self._with_our_names(found, known, renamed) if renamed or self.options.ignore_unknown else found
        )

    def _with_our_names(
        self, records: Iterator[Found], known: Sequence[str], renamed: dict[str, str]
    ) -> Iterator[Found]:
        """Yield records of JSON with the fields that their names stand for, and without ignored ones."""
        absent = {*renamed.values()}
        number = 0
        for number, values in records:
            if not isinstance(values, dict):
                yield number, values
                continue
            fields = resolve(values, renamed, known)
            absent.difference_update(fields.values())
            ours: dict[str, Any] = {}
            twice = []
            for name, value in values.items():
                field = fields.get(name, name)
                if self.options.ignore_unknown and field not in known:
                    if len(self.left_out) < _MOST_LEFT_OUT:
                        self.left_out[name] = None
                elif field in ours:
                    twice.append(field)
                else:
                    ours[field] = value
            yield number, f"has two fields for {twice[0]} (--map)" if twice else ours
        if number and absent:
            names = [name for name, field in renamed.items() if field in absent]
            raise InvalidInput(f"no record has a field {listed(names)}, which --map names", "mend --map")


def _detect(text: TextIO, name: str, beginning: str) -> FileFormat:
    known = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if not (beginning or known):
        raise InvalidInput(f"{name} is empty", "name the format with --from if that is right")
    first: dict[str, Any] | str | list[str] = ""
    if known is FileFormat.CSV or not beginning.startswith(("[", "{")):
        found = known or FileFormat.CSV
    elif beginning.startswith("["):
        found, (_, first) = FileFormat.JSON, next(read_array(text), (0, ""))
    else:
        _, first = next(read_objects(text, separator=","))
        # One object over several lines is read as an array, which refuses it.
        alone = first == UNFINISHED and known is not FileFormat.NDJSON
        found = FileFormat.JSON if alone else FileFormat.NDJSON
    sample = Sample(PurePath(name).name.lower(), beginning, first if isinstance(first, dict) else {})
    return (recognise(sample) if beginning else None) or found
