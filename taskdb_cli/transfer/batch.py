"""The valid records of a file, kept aside while it is read."""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, Self

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli.errors import InvalidRecords
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.system.steps import Step, Told
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.faults import NOT_KNOWN
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.lines import HeaderFaults
from taskdb_cli.transfer.problems import InvalidRecord, Problems

Row = tuple[Any, ...]
"""What is written to the temporary table. The number of the record comes first."""

BATCH_ROWS = 1000


class Batch:
    """The valid records of a file, as rows in a temporary file, and the number of records that were invalid.

    `read` fills it, and leaving a `with` statement deletes the rows. What is wrong with the other records is
    added to `problems`. `parse_time` reads a time of a file; `end_of_day` says whether a date alone means its
    end. `progress` is told how far it has come.
    """

    def __init__(
        self,
        source: Source,
        *,
        parse_time: Callable[..., datetime],
        problems: Problems,
        progress: Told,
    ) -> None:
        self.source = source
        self.parse_time = parse_time
        self.valid = 0
        self.invalid = 0
        self.problems = problems
        self.notes = Problems()
        """What was lost, and in which records."""
        self._bad_header = False
        self._unknown_field = False
        self._refused = 0
        self._number = 0
        self._progress = progress
        self._file = TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is still buffered may find no room either
            self._file.close()

    def read(
        self,
        known: Sequence[str],
        required: Sequence[str],
        to_row: Callable[[dict[str, Any]], Iterable[Any] | None],
    ) -> None:
        """Read the whole file. Report and count the records that are invalid.

        A header of CSV must have the `required` fields and no other than the `known` ones. `to_row` returns
        None for a record to leave out, and raises ValueError for an invalid one.
        Raises StorageFailed if there is no room for a row.
        """
        size = self.source.file.seek(0, os.SEEK_END)
        rows: list[Row] = []
        read = 0

        def keep() -> None:
            with temporary_storage("nothing was imported"):
                pickle.dump(rows, self._file, pickle.HIGHEST_PROTOCOL)
                self._file.flush()
            self.valid += len(rows)
            rows.clear()

        for read, (number, found) in enumerate(self.source.records(known, required), 1):
            if isinstance(found, HeaderFaults):
                self._bad_header = True
                self.problems.add(self.place(number), *found)
            elif not isinstance(found, dict):
                self._refuse(number, [found] if isinstance(found, str) else found)
            else:
                self._number = number
                try:
                    if (row := to_row(found)) is not None:
                        rows.append((number, *row))
                except InvalidRecord as exc:
                    self._refuse(number, exc.faults)
                except ValueError as exc:
                    self._refuse(number, [str(exc)])
            if len(rows) == BATCH_ROWS:
                keep()
            if read % BATCH_ROWS == 0:
                self._progress(Step("reading", self.source.file.tell(), size, read))
        keep()
        self._progress(Step("reading", size, size, read))
        self.problems.mark()

    def _refuse(self, number: int, faults: Sequence[str]) -> None:
        # A record that a reader could not read may be told in several parts.
        if number != self._refused:
            self.invalid += 1
        self._refused = number
        self._unknown_field = self._unknown_field or any(NOT_KNOWN in fault for fault in faults)
        self.problems.add(self.place(number), *faults)

    def note(self, what: str) -> None:
        """Note what is not kept of the record that is being read."""
        self.notes.add(self.place(self._number), what)

    def report_all(self, session: Session, query: sa.Select[Any, Any], reason: Callable[[Any], str]) -> int:
        """Report every record that a query finds by its number and a detail. Return how many there are."""
        reported = 0
        with session.execute(query.execution_options(yield_per=BATCH_ROWS)) as rows:
            for number, detail in rows:
                self.problems.add(self.place(number), reason(detail))
                reported += 1
        return reported

    def place(self, number: int) -> str:
        """Return where in the file a record is."""
        return f"{self.source.unit} {number}"

    def rows(self) -> Iterator[Row]:
        """Yield all rows in the order of the file. It can be called again, for another attempt.

        What the database has reported in an attempt before is forgotten.
        """
        self.problems.back()
        self._file.seek(0)
        done = 0
        while done < self.valid:
            self._progress(Step("checking", done, self.valid, done))
            rows = pickle.load(self._file)  # noqa: S301 (written by this process, readable by no other)
            yield from rows
            done += len(rows)
        self._progress(Step("checking"))

    def begin_writing(self) -> None:
        """Announce a phase whose statements write all rows at once."""
        self._progress(Step("writing"))

    def require_all_valid(self, refused: int) -> None:
        """Raise InvalidRecords if a header or a record was invalid, or if the database `refused` some."""
        invalid = self.invalid + refused
        what = f"{in_words({'records': invalid})} {'is' if invalid == 1 else 'are'} invalid"
        if self._bad_header:
            what = "the header is invalid"
        if invalid or self._bad_header:
            hint = "; --map renames fields, --ignore-unknown leaves them out" if self._unknown_field else ""
            raise InvalidRecords(f"{what}; nothing was imported", f"correct the file or the options{hint}")
