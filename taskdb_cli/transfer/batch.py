"""The valid records of a file, kept aside until all of them can be brought in."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlmodel import SQLModel

from taskdb_cli.errors import InvalidRecords, StorageFailed
from taskdb_cli.services.validation import reasons
from taskdb_cli.text.escaping import brief, one_line
from taskdb_cli.transfer.files import Found, Shape, Source

Row = tuple[Any, ...]
"""What is written to the temporary table; the number of the record comes first."""

ParseTime = Callable[[str, bool], Any]
"""Reads an ISO 8601 time; the flag says whether a date alone means its end. Raises ValueError."""

ToRow = Callable[[int, dict[str, Any]], Row]
"""Makes a row of the number and the values of a record; raises ValueError for one that is invalid."""

Schema = TypeVar("Schema", bound=SQLModel)

BATCH_ROWS = 1000
LONGEST_REASON = 500


@dataclass(frozen=True)
class Problem:
    """A record that cannot be imported: where it is, and why, on one line."""

    place: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What an import did to how many records; those without an external id are among the created."""

    created: int
    updated: int
    unchanged: int
    without_external_id: int = 0


class Batch:
    """Rows in a temporary file, and the count of records that were no rows.

    Every problem is reported as soon as it is met.
    """

    def __init__(self, unit: str, report: Callable[[Problem], None]) -> None:
        self.valid = 0
        self.invalid = 0
        self._unit = unit
        self._report = report
        self._file = TemporaryFile()  # noqa: SIM115 (closed by close)
        self._pending: list[Row] = []

    def close(self) -> None:
        """Throw the rows away."""
        with suppress(OSError):  # what is still buffered may find no room either
            self._file.close()

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.valid += 1
        self._pending.append(row)
        if len(self._pending) == BATCH_ROWS:
            self._flush()

    def refuse(self, number: int, reason: str) -> None:
        """Count and report a record that is invalid in itself."""
        self.invalid += 1
        self.report(number, reason)

    def report(self, number: int, reason: str) -> None:
        """Report what is wrong with a record."""
        # A secret is hidden before the text is cut, so that no half of it is left.
        self._report(Problem(self.place(number), brief(one_line(reason), LONGEST_REASON)))

    def place(self, number: int) -> str:
        """Return where in the file a record is."""
        return f"{self._unit} {number}"

    def rows(self) -> Iterator[Row]:
        """Yield all rows in the order of the file, as often as it is asked for."""
        self._flush()
        self._file.seek(0)
        for _ in range(-(-self.valid // BATCH_ROWS)):
            yield from pickle.load(self._file)  # noqa: S301 (written by this process, readable by no other)

    def require_all_valid(self, refused: int = 0) -> None:
        """Raise InvalidRecords if a record was invalid, or `refused` of them once they met the others."""
        if invalid := self.invalid + refused:
            records = "record is" if invalid == 1 else "records are"
            raise InvalidRecords(f"{invalid} {records} invalid; nothing was imported", "correct the file")

    def _flush(self) -> None:
        if self._pending:
            try:
                self._file.seek(0, 2)
                pickle.dump(self._pending, self._file, pickle.HIGHEST_PROTOCOL)
                self._file.flush()
            except OSError as exc:
                raise StorageFailed(
                    f"a temporary file in {gettempdir()} cannot be written: {exc.strerror}",
                    "nothing was imported; make room there, or set TMPDIR to a directory on another disk",
                ) from exc
            self._pending = []


def read_batch(
    source: Source,
    shape: Shape,
    to_row: ToRow,
    *,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read a whole file; what is invalid is reported and counted.

    `progress` is told now and then how many bytes have been read.
    """
    batch = Batch(source.unit, report)
    try:
        for count, found in enumerate(source.records(shape)):
            if count % BATCH_ROWS == 0:
                progress(source.file.tell())
            _take(batch, found, to_row)
        progress(source.file.tell())
    except BaseException:
        batch.close()
        raise
    return batch


def _take(batch: Batch, found: Found, to_row: ToRow) -> None:
    if found.values is None:
        batch.refuse(found.number, found.reason)
        return
    try:
        row = to_row(found.number, found.values)
    except ValueError as exc:
        batch.refuse(found.number, str(exc))
    else:
        batch.add(row)


def check_record(
    schema: type[Schema], values: Mapping[str, Any], times: Mapping[str, bool], parse_time: ParseTime
) -> Schema:
    """Return the schema holding these values, of which None counts as absent.

    `times` names the fields that are times, and whether a date alone means its end there.
    Raises ValueError that names every field at fault and why.
    """
    given = {name: value for name, value in values.items() if value is not None}
    faults = []
    for name in times.keys() & given.keys():
        try:
            given[name] = parse_time(_as_text(given[name]), times[name])
        except ValueError as exc:
            faults.append(f"{name} {exc}")
            del given[name]
    try:
        checked = schema.model_validate(given)
    except ValidationError as exc:
        faults += reasons(exc)
    if faults:
        raise ValueError("; ".join(faults))
    return checked


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""
