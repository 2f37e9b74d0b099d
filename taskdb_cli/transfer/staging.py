"""The valid records of a file: kept aside while it is read, then put into a temporary table."""

import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from tempfile import TemporaryFile, gettempdir
from typing import Any, Self

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    FromClause,
    MetaData,
    Select,
    Table,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlmodel import Session, SQLModel

from taskdb_cli.database import bulk_insert
from taskdb_cli.errors import InvalidRecords, StorageFailed
from taskdb_cli.models.fields import reasons
from taskdb_cli.models.types import BigNumber, Flag, timestamp_type
from taskdb_cli.text.escaping import brief, one_line
from taskdb_cli.transfer.files import Source

Row = tuple[Any, ...]
"""What is written to the temporary table. The number of the record comes first."""

BATCH_ROWS = 1000
LONGEST_REASON = 500


@dataclass(frozen=True)
class Outcome:
    """What an import did to how many records. Those without an external id are among the created."""

    created: int
    updated: int
    unchanged: int
    without_external_id: int = 0


class Batch:
    """The valid records of a file, as rows in a temporary file, and the number of records that were invalid.

    `read` fills it, and leaving a `with` statement deletes the rows. `report` is told of every problem as
    soon as it is found: where the record is, and why it cannot be imported, on one line. `parse_time` reads
    an ISO 8601 time; its flag says whether a date alone means its end. `progress` is told how many bytes
    have been read.
    """

    def __init__(
        self,
        source: Source,
        *,
        parse_time: Callable[[str, bool], datetime],
        report: Callable[[str, str], None],
        progress: Callable[[int], None],
    ) -> None:
        self.source = source
        self.parse_time = parse_time
        self.valid = 0
        self.invalid = 0
        self._report = report
        self._progress = progress
        self._file = TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._pending: list[Row] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is still buffered may find no room either
            self._file.close()

    def read(
        self, known: Sequence[str], required: Sequence[str], to_row: Callable[[dict[str, Any]], Iterable[Any]]
    ) -> None:
        """Read the whole file. Report and count the records that are invalid.

        A header of CSV must have the `required` fields and no other than the `known` ones. `to_row` raises
        ValueError for an invalid record. Raises StorageFailed if there is no room for a row.
        """
        for count, (number, values) in enumerate(self.source.records(known, required)):
            if count % BATCH_ROWS == 0:
                self._progress(self.source.file.tell())
            if isinstance(values, str):
                self._refuse(number, values)
                continue
            try:
                self._pending.append((number, *to_row(values)))
            except ValueError as exc:
                self._refuse(number, str(exc))
            if len(self._pending) == BATCH_ROWS:
                self._flush()
        self._flush()
        self._progress(self.source.file.tell())

    def _refuse(self, number: int, reason: str) -> None:
        self.invalid += 1
        self.report(number, reason)

    def report(self, number: int, reason: str) -> None:
        """Report what is wrong with a record."""
        # A secret is hidden before the text is cut, so that no half of it is left.
        self._report(self.place(number), brief(one_line(reason), LONGEST_REASON))

    def report_all(self, session: Session, query: Select[Any, Any], reason: Callable[[Any], str]) -> int:
        """Report every record that a query finds by its number and a detail. Return how many there are."""
        reported = 0
        with session.execute(query.execution_options(yield_per=BATCH_ROWS)) as rows:
            for number, detail in rows:
                self.report(number, reason(detail))
                reported += 1
        return reported

    def place(self, number: int) -> str:
        """Return where in the file a record is."""
        return f"{self.source.unit} {number}"

    def rows(self) -> Iterator[Row]:
        """Yield all rows in the order of the file. It can be called again."""
        self._file.seek(0)
        for _ in range(-(-self.valid // BATCH_ROWS)):
            yield from pickle.load(self._file)  # noqa: S301 (written by this process, readable by no other)

    def require_all_valid(self, refused: int = 0) -> None:
        """Raise InvalidRecords if a record was invalid, or if the database `refused` some."""
        if invalid := self.invalid + refused:
            records = "record is" if invalid == 1 else "records are"
            raise InvalidRecords(f"{invalid} {records} invalid; nothing was imported", "correct the file")

    def _flush(self) -> None:
        try:
            pickle.dump(self._pending, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError as exc:
            raise StorageFailed(
                f"a temporary file in {gettempdir()} cannot be written: {exc.strerror}",
                "nothing was imported; make room there, or set TMPDIR to a directory on another disk",
            ) from exc
        self.valid += len(self._pending)
        self._pending = []


class Staging:
    """The temporary table that the records of a model go through.

    It has the fields of the model's Create schema, and for each that can be NULL whether it was given.
    A field that was not given keeps its value in an existing row, and gets the schema's default in a new one.
    `known` are the fields that a file may have. Those that the schema does not have are left out. For the
    `special` ones the caller says what becomes of them, so that nobody asks whether they were given.
    """

    def __init__(
        self,
        model: type[SQLModel],
        schema: type[SQLModel],
        known: Iterable[str],
        *more: Column[Any],
        special: Collection[str] = (),
    ) -> None:
        self.target: Table = model.__table__  # type: ignore[attr-defined]
        self.known = tuple(known)
        self._schema = schema
        self._left_out = {*known} - schema.model_fields.keys()
        types = {name: self.target.c[name].type for name in schema.model_fields}
        self._times = [name for name, of in types.items() if isinstance(of, DateTime)]
        self._flags = [name for name in types if self.target.c[name].nullable and name not in special]
        # The model's own flag has a constraint, which a temporary table does not need.
        columns = [Column(name, Flag() if isinstance(of, Flag) else of) for name, of in types.items()]
        flags = [Column(f"{name}_given", Flag) for name in self._flags]
        number = Column("number", BigNumber)
        self.table = Table(
            "taskdb_import", MetaData(), number, *more, *columns, *flags, prefixes=["TEMPORARY"]
        )

    def row(self, values: Mapping[str, Any], parse_time: Callable[[str, bool], datetime]) -> Iterator[Any]:
        """Yield the values of a record, as the driver takes them. None counts as absent.

        `values` are the fields of the file. Raises ValueError that names every field at fault and why.
        """
        given = {
            name: value for name, value in values.items() if value is not None and name not in self._left_out
        }
        faults = []
        for name in [name for name in self._times if name in given]:
            try:
                # A task is due until the end of a day, and everything else begins with it.
                text = given[name] if isinstance(given[name], str) else ""
                given[name] = parse_time(text, name == "due_at")
            except ValueError as exc:
                faults.append(f"{name} {exc}")
                del given[name]
        try:
            record = self._schema.model_validate(given)
        except ValidationError as exc:
            faults += reasons(exc)
        if faults:
            raise ValueError("; ".join(faults))
        for name in self._schema.model_fields:
            value = getattr(record, name) if name in given else None
            yield value.value if isinstance(value, Enum) else value
        for name in self._flags:
            yield name in values

    @contextmanager
    def filled(self, session: Session, rows: Iterable[Row]) -> Iterator[None]:
        """Make the table and fill it. It is gone afterwards."""
        connection = session.connection()
        self.table.create(connection, checkfirst=False)
        bulk_insert(session, self.table, list(self.table.c.keys()), rows)
        yield
        # After an error the rollback takes the table away.
        self.table.drop(connection, checkfirst=False)

    def refuse_repeated(
        self, session: Session, batch: Batch, *key: ColumnElement[Any], among: ColumnElement[bool]
    ) -> int:
        """Report each row `among` these that has the key of an earlier row. Return how many there are.

        The last column of the key is the one that is reported.
        """
        first = func.min(self.table.c.number).over(partition_by=key)
        named = (part.is_not(None) for part in key)
        ranked = select(self.table.c.number, first.label("first")).where(*named, among).subquery()
        query = select(ranked).where(ranked.c.number > ranked.c.first).order_by(ranked.c.number)
        return batch.report_all(session, query, lambda n: f"{key[-1].name} is that of {batch.place(n)} too")

    def contents(self, *keys: str) -> dict[str, ColumnElement[Any]]:
        """Return what the fields of an existing row become, other than the `keys` and its times."""
        new, old = self.table.c, self.target.c
        return {
            name: case((new[f"{name}_given"], new[name]), else_=old[name])
            if name in self._flags
            else func.coalesce(new[name], old[name])
            for name in self._schema.model_fields
            if name not in (*keys, "created_at", "updated_at")
        }

    def update(
        self,
        session: Session,
        same: ColumnElement[bool],
        contents: Mapping[str, ColumnElement[Any]],
        *,
        now: datetime,
    ) -> int:
        """Update the rows that differ from the `same` ones in the file. Return how many did."""
        table = self.target
        differing = or_(*(table.c[name].is_distinct_from(value) for name, value in contents.items()))
        concerned = same & differing
        # In the order of ids, as every writer of several rows, so that two of them cannot deadlock.
        locked = select(table.c.id).where(concerned).order_by(table.c.id).with_for_update(of=table)
        if not count(session, locked):
            return 0
        changes = {**contents, "version": table.c.version + 1, "updated_at": literal(now, timestamp_type())}
        return session.connection().execute(update(table).where(concerned).values(changes)).rowcount

    def insert(
        self,
        session: Session,
        rows: FromClause,
        same: ColumnElement[bool],
        fields: Mapping[str, ColumnElement[Any]],
        *,
        now: datetime,
    ) -> int:
        """Insert the `rows` that have no `same` one, in the order of the file. Return how many.

        `fields` say what differs from a value of the file or its default.
        """
        moment, taken = literal(now, timestamp_type()), dict[str, ColumnElement[Any]]()
        for name, field in self._schema.model_fields.items():
            new, column = self.table.c[name], self.target.c[name]
            default = None if field.is_required() else field.default
            if name in ("created_at", "updated_at"):
                taken[name] = func.coalesce(new, moment)
            else:
                taken[name] = new if default is None else func.coalesce(new, literal(default, column.type))
        taken |= {"version": literal(1), **fields}
        there = select(self.target.c.id).where(same).correlate_except(self.target).exists()
        query: Select[Any] = select(*taken.values()).select_from(rows).where(~there)
        statement = insert(self.target).from_select(list(taken), query.order_by(self.table.c.number))
        # Otherwise PostgreSQL's count of an INSERT is not kept.
        return session.connection().execute(statement.execution_options(preserve_rowcount=True)).rowcount


def count(session: Session, query: Select[Any]) -> int:
    """Return how many rows a query has, without fetching them. A locking query locks them all."""
    rows: int = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    return rows
