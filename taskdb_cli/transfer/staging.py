"""The valid records of a file: kept aside while it is read, then put into a temporary table."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from tempfile import TemporaryFile, gettempdir
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    MetaData,
    Result,
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
from taskdb_cli.models.types import BigNumber, Flag, timestamp_type
from taskdb_cli.services.validation import reasons
from taskdb_cli.text.escaping import brief, one_line
from taskdb_cli.transfer.files import Source

Row = tuple[Any, ...]
"""What is written to the temporary table. The number of the record comes first."""

ParseTime = Callable[[str, bool], Any]
"""Reads an ISO 8601 time; the flag says whether a date alone means its end. Raises ValueError."""

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
    """What an import did to how many records. Those without an external id are among the created."""

    created: int
    updated: int
    unchanged: int
    without_external_id: int = 0


class Batch:
    """Rows in a temporary file, and the number of records that were invalid.

    Every problem is reported as soon as it is found.
    """

    def __init__(self, unit: str, report: Callable[[Problem], None]) -> None:
        self.valid = 0
        self.invalid = 0
        self._unit = unit
        self._report = report
        self._file = TemporaryFile()  # noqa: SIM115 (closed by close)
        self._pending: list[Row] = []

    def close(self) -> None:
        """Delete the rows."""
        with suppress(OSError):  # what is still buffered may find no room either
            self._file.close()

    def add(self, row: Row) -> None:
        """Keep a row. Raise StorageFailed if there is no room for it."""
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
        """Yield all rows in the order of the file. It can be called again."""
        self._flush()
        self._file.seek(0)
        for _ in range(-(-self.valid // BATCH_ROWS)):
            yield from pickle.load(self._file)  # noqa: S301 (written by this process, readable by no other)

    def require_all_valid(self, refused: int = 0) -> None:
        """Raise InvalidRecords if a record was invalid, or if the database `refused` some."""
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
    known: Iterable[str],
    required: Iterable[str],
    to_row: Callable[[dict[str, Any]], Iterable[Any]],
    *,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read a whole file. Report and count the records that are invalid.

    A header of CSV must have the `required` fields and no other than the `known` ones. `to_row` raises
    ValueError for an invalid record. `progress` is told how many bytes have been read.
    """
    batch = Batch(source.unit, report)
    try:
        for count, found in enumerate(source.records(tuple(known), tuple(required))):
            if count % BATCH_ROWS == 0:
                progress(source.file.tell())
            if found.values is None:
                batch.refuse(found.number, found.reason)
                continue
            try:
                row = (found.number, *to_row(found.values))
            except ValueError as exc:
                batch.refuse(found.number, str(exc))
            else:
                batch.add(row)
        progress(source.file.tell())
    except BaseException:
        batch.close()
        raise
    return batch


def check_record(
    schema: type[Schema], values: Mapping[str, Any], times: Mapping[str, bool], parse_time: ParseTime
) -> Schema:
    """Return the schema with these values. None counts as absent.

    `times` names the fields that are times, and whether a date alone means its end there.
    Raises ValueError that names every field at fault and why.
    """
    given = {name: value for name, value in values.items() if value is not None}
    faults = []
    for name in times.keys() & given.keys():
        try:
            given[name] = parse_time(given[name] if isinstance(given[name], str) else "", times[name])
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


class Staging:
    """The temporary table that the records of a model go through.

    It has the fields of the model's Create schema, and for each that can be NULL whether it was given.
    A field that was not given keeps its value in an existing row, and gets the schema's default in a new one.
    """

    def __init__(self, model: type[SQLModel], schema: type[SQLModel], *more: Column[Any]) -> None:
        self.target: Table = model.__table__  # type: ignore[attr-defined]
        self._schema = schema
        self._more = len(more)
        self._flags = [name for name in schema.model_fields if self.target.c[name].nullable]
        # The model's own flag has a constraint, which a temporary table does not need.
        types = {name: self.target.c[name].type for name in schema.model_fields}
        columns = [Column(name, Flag() if isinstance(of, Flag) else of) for name, of in types.items()]
        flags = [Column(f"{name}_given", Flag) for name in self._flags]
        number = Column("number", BigNumber)
        self.table = Table(
            "taskdb_import", MetaData(), number, *more, *columns, *flags, prefixes=["TEMPORARY"]
        )

    def row(self, values: Mapping[str, Any], record: SQLModel) -> Iterator[Any]:
        """Yield the values of a record, as the driver takes them. `values` are the fields of the file."""
        given = record.model_fields_set
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

    def repeated(
        self, session: Session, *key: ColumnElement[Any], among: ColumnElement[bool] | None = None
    ) -> Result[Any, Any]:
        """Find each row with the key of an earlier row: its number and the number of the first one.

        Read them as those of `fetch`.
        """
        first = func.min(self.table.c.number).over(partition_by=key)
        numbered = select(self.table.c.number, first.label("first")).where(
            *(part.is_not(None) for part in key)
        )
        ranked = (numbered if among is None else numbered.where(among)).subquery()
        query = select(ranked).where(ranked.c.number > ranked.c.first).order_by(ranked.c.number)
        return fetch(session, query)

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
        defaults = {
            name: literal(field.default, self.target.c[name].type)
            for name, field in self._schema.model_fields.items()
            if field.default is not None and not field.is_required()
        }
        moment = literal(now, timestamp_type())
        defaults |= {"created_at": moment, "updated_at": moment}
        taken: dict[str, ColumnElement[Any]] = {
            name: func.coalesce(self.table.c[name], defaults[name])
            if name in defaults
            else self.table.c[name]
            for name in self._schema.model_fields
        }
        taken |= {"version": literal(1), **fields}
        there = select(self.target.c.id).where(same).correlate_except(self.target).exists()
        query: Select[Any] = select(*taken.values()).select_from(rows).where(~there)
        statement = insert(self.target).from_select(list(taken), query.order_by(self.table.c.number))
        # Otherwise PostgreSQL's count of an INSERT is not kept.
        return session.connection().execute(statement.execution_options(preserve_rowcount=True)).rowcount


def fetch(session: Session, query: Select[Any, Any]) -> Result[Any, Any]:
    """Open the rows of a query at constant memory, to be read in a `with` statement, which closes them."""
    return session.execute(query.execution_options(yield_per=BATCH_ROWS))


def count(session: Session, query: Select[Any]) -> int:
    """Return how many rows a query has, without fetching them. A locking query locks them all."""
    rows: int = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    return rows
