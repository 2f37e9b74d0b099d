"""How tasks of other programs become ours. Each program has a module with one table in `formats`."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TextIO

from taskdb_cli.models.fields import DESCRIPTION_LENGTH, EXTERNAL_ID_LENGTH, TITLE_LENGTH
from taskdb_cli.models.vocabulary import TASK_FIELDS, USER_FIELDS, FileFormat
from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.csv_records import named_twice
from taskdb_cli.transfer.csv_rows import read_cells, wrong_number
from taskdb_cli.transfer.lines import CHUNK, Found, HeaderFaults

MOST_LINES = 20
"""In how many lines the header of a foreign CSV is looked for."""

OWN = (FileFormat.AUTO, FileFormat.CSV, FileFormat.JSON, FileFormat.NDJSON)

# No field accepts them, and the program that wrote them is often gone.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Note:
    """Says what is not kept of the record that is being read, such as "attachments were not kept"."""

    add: Callable[[str], None]
    now: datetime | None = None
    """When the import began, for a date without a year."""

    def __call__(self, what: str) -> None:
        """Note a loss."""
        self.add(what)


@dataclass(frozen=True)
class Sample:
    """What a format is recognised by: the name of a file in small letters, and how the file begins."""

    name: str
    head: str
    first: Mapping[str, Any]
    """The first object of a JSON array or of JSON lines; else it is empty."""

    def has_columns(self, names: Collection[str], *, within: int) -> bool:
        """Return whether one of the first lines is a header of CSV with these columns."""
        return any({*names} <= {*cells} for _, cells in headers(self.head, within))


@dataclass(frozen=True)
class ForeignFormat:
    """The tasks that another program exports. A module of `formats` has one, named FORMAT.

    `fields` maps their fields to ours, and `adapt` turns the values into ours. It removes what it uses from
    the other fields, notes what cannot be kept, and returns the rest, which becomes text of the description,
    or None if the record is not a task. It raises ValueError for an invalid value.
    """

    fields: Mapping[str, str]
    read: Callable[[TextIO], Iterator[Found]]
    """Yields the records of a file as the program wrote them, at constant memory."""
    adapt: Callable[[dict[str, Any], dict[str, Any], Note], Mapping[str, Any] | None]
    """Is called with the task, the other fields, and what notes a loss."""
    recognises: Callable[[Sample], bool]
    """Whether a file is one of this format. It must never be true of another's file."""
    left_out: tuple[str, ...] = ()
    """Fields that say nothing, because the program computes them."""
    prefix: str = ""
    """The beginning of each external id, so that the ids of two programs differ."""
    unit: str = ""
    """The word for the place of a record: by default "record" in a JSON array, else "line"."""
    remark: str = ""
    """A remark for the summary of an import."""

    def to_task(self, values: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
        """Return a record in our fields, or None if it is not a task. Values without a field become text.

        A field that is empty or blank in the record is None. Raises ValueError for an invalid value.
        """
        rest = {
            name: value
            for name, value in values.items()
            if name not in self.left_out and not _is_empty(value)
        }
        task = dict.fromkeys(self.fields.values()) | {
            ours: rest.pop(theirs) for theirs, ours in self.fields.items() if theirs in rest
        }
        others = self.adapt(task, rest, note)
        if others is None:
            return None
        whole = task["title"]
        task["title"], cut = _title(whole) if isinstance(whole, str) else (whole, False)
        above = [whole if cut else None, task.get("description")]
        lines = "\n".join(f"{name}: {words(value)}" for name, value in others.items())
        lines_kept = brief(lines, DESCRIPTION_LENGTH // 2)
        text = "\n\n".join(words(part) for part in above if part)
        text_kept = brief(text, DESCRIPTION_LENGTH - len(lines_kept) - 2)
        if (text_kept, lines_kept) != (text, lines):
            note(f"the text is longer than {DESCRIPTION_LENGTH} characters, and its end was not kept")
        task["description"] = "\n\n".join(part for part in (text_kept, lines_kept) if part) or None
        for field in ("title", "description"):
            value = task[field]
            if isinstance(value, str) and _CONTROL.search(value):
                note(f"control characters of the {field} were replaced by \N{REPLACEMENT CHARACTER}")
                task[field] = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
        if task.get("external_id") is not None:
            task["external_id"] = self._external_id(task["external_id"])
        return task

    def _external_id(self, own: object) -> object:
        if not self.prefix or type(own) not in (str, int):
            return own
        whole = f"{self.prefix}{own}"
        return whole if len(whole) <= EXTERNAL_ID_LENGTH else f"{self.prefix}{digest(whole)}"

    def their_name(self, field: str) -> str:
        """Return what the program calls one of our fields, or our name if it has none."""
        return next((theirs for theirs, ours in self.fields.items() if ours == field), field)

    def in_their_words(self, fault: str) -> str:
        """Return a fault of one of our fields, whose name comes first, with the program's name for it."""
        return re.sub(r"\A\w*", lambda field: self.their_name(field[0]), fault)


def load(format: FileFormat | None) -> ForeignFormat | None:
    """Return a format of another program, or None if it is one of ours."""
    if format is None or format in OWN:
        return None
    found: ForeignFormat = import_module(f"taskdb_cli.transfer.formats.{format}").FORMAT
    return found


def recognise(sample: Sample) -> FileFormat | None:
    """Return the format of another program that a file has. One with fields of tasks or users is ours."""
    names = [set(sample.first)] if sample.first else [{*cells} for _, cells in headers(sample.head)]
    if any(each <= {*ours} for each in names for ours in (TASK_FIELDS, USER_FIELDS)):
        return None
    for format in FileFormat:
        if (foreign := load(format)) and foreign.recognises(sample):
            return format
    return None


def headers(head: str, within: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Yield the cells of the first lines of a file for each delimiter. One line may be the header."""
    for line in head.splitlines()[:within]:
        for delimiter in ",;\t|":
            yield delimiter, [cell.strip(' "') for cell in line.split(delimiter)]


def read_table(text: TextIO, columns: Collection[str]) -> Iterator[Found]:
    """Yield a record for each row of CSV behind the header, which is the first row that has these columns.

    Every cell is a text. Rows without any text are left out. A row may have fewer cells than the header, and
    a column without a name is called by its place.
    """
    head = text.read(CHUNK)
    text.seek(0)
    delimiter = next((each for each, cells in headers(head, MOST_LINES) if {*columns} <= {*cells}), None)
    header: list[str] = []
    for number, row in read_cells(text, delimiter) if delimiter else ():
        if isinstance(row, str):
            yield number, row
        elif not header:
            names = [name.strip() or f"column {place}" for place, name in enumerate(row, 1)]
            header = names if {*columns} <= {*names} else []
            if faults := [*named_twice(header)]:
                yield number, HeaderFaults(faults)
                return
        elif any(row[len(header) :]):
            yield number, wrong_number(len(row), len(header))
        elif any(cell.strip() for cell in row):
            yield number, dict(zip(header, row + [""] * (len(header) - len(row)), strict=False))
    if not header:
        yield 1, HeaderFaults([f"must name the columns {', '.join(columns)}"])


def _is_empty(value: object) -> bool:
    return not value.strip() if isinstance(value, str) else value in (None, [])


def words(value: object) -> str:
    """Return any value of JSON as text for a person."""
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def in_utc(text: str) -> str:
    """Return an ISO 8601 time as text for a person. Anything else stays as it is."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return text


def is_time(text: str) -> bool:
    """Return whether a text is an ISO 8601 date or time that the calendar has."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def digest(text: str) -> str:
    """Return 32 characters that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _title(text: str) -> tuple[str, bool]:
    """Return the first line of a text that is not blank, as far as it fits, and whether more was cut off."""
    lines = re.split(r"[\n\r]+", text.strip("\t\n\r").replace("\t", " "))
    line, *more = [line for line in lines if line.strip(" ")] or [""]
    if more or len(line) > TITLE_LENGTH:
        return line[: TITLE_LENGTH - 1] + "…", True
    return line, False
