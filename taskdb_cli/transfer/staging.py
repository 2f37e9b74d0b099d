"""The valid records of a file: kept aside while it is read, then put into a temporary table."""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, Self

import sqlalchemy as sa
from pydantic import ValidationError
from sqlmodel import Session, SQLModel

from taskdb_cli.database import bulk_insert, many_inserted
from taskdb_cli.errors import InvalidRecords
from taskdb_cli.models.fields import Given
from taskdb_cli.models.types import BigNumber, EnumValue, Flag, timestamp_type
from taskdb_cli.models.vocabulary import Existing
from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.system.steps import Step, Told
from taskdb_cli.text.faults import NOT_KNOWN, reasons
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.lines import HeaderFaults
from taskdb_cli.transfer.problems import InvalidRecord, Problems
from taskdb_cli.transfer.values import translate

Row = tuple[Any, ...]
"""What is written to the temporary table. The number of the record comes first."""

BATCH_ROWS = 1000
_MOST_FIELDS = 100


@dataclass(frozen=True)
class Outcome:
    """What an import did to how many records. Those without an external id are among the created."""

    created: int
    updated: int
    unchanged: int
    without_external_id: int


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
        """What was not kept of which records."""
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
        """Say that what follows is written by statements that each write all rows."""
        self._progress(Step("writing"))

    def require_all_valid(self, refused: int = 0) -> None:
        """Raise InvalidRecords if a header or a record was invalid, or if the database `refused` some."""
        invalid = self.invalid + refused
        what = f"{invalid} {'record is' if invalid == 1 else 'records are'} invalid"
        if self._bad_header:
            what = "the header is invalid"
        if invalid or self._bad_header:
            hint = "; --map renames fields, --ignore-unknown leaves them out" if self._unknown_field else ""
            raise InvalidRecords(f"{what}; nothing was imported", f"correct the file or the options{hint}")

    @property
    def all_valid(self) -> bool:
        """Whether all that was read is valid."""
        return not (self.invalid or self._bad_header)


class Staging:
    """The temporary table that the records of a model go through.

    It has the fields of the model's Create schema, and for each that can be NULL whether it was given.
    A field that was not given keeps its value in an existing row, and gets the schema's default in a new one.
    `known` are the fields that a file may have. Those that the schema does not have are left out. The `key`
    tells which record is which.
    """

    def __init__(
        self,
        model: type[SQLModel],
        schema: type[Given],
        known: Iterable[str],
        *more: sa.Column[Any],
        key: str,
    ) -> None:
        self.target: sa.Table = model.__table__  # type: ignore[attr-defined]
        self.known = tuple(known)
        self._key = key
        self._fields = schema.model_fields
        self._check = schema.model_validate
        optional = {name: field.default for name, field in self._fields.items() if not field.is_required()}
        self._defaults = {name: default for name, default in optional.items() if default is not None}
        self._left_out = {*known} - self._fields.keys()
        types = {name: self.target.c[name].type for name in self._fields}
        self._times = [name for name, of in types.items() if isinstance(of, sa.DateTime)]
        self._words = [at for at, of in enumerate(types.values()) if isinstance(of, EnumValue)]
        self._flags = [name for name in types if self.target.c[name].nullable and name != key]
        columns = [sa.Column("number", BigNumber, primary_key=True, autoincrement=False), *more]
        # The model's own flag has a constraint, which a temporary table does not need.
        columns += [sa.Column(name, Flag() if isinstance(of, Flag) else of) for name, of in types.items()]
        columns += [sa.Column(f"{name}_given", Flag) for name in self._flags]
        self.table = sa.Table("taskdb_import", sa.MetaData(), *columns, prefixes=["TEMPORARY"])

    def row(self, values: Mapping[str, Any], parse_time: Callable[..., datetime]) -> list[Any]:
        """Return the values of a record, as the driver takes them. None counts as absent.

        `values` are the fields of the file. Raises InvalidRecord that names every field at fault and why.
        """
        given = {
            name: value for name, value in values.items() if value is not None and name not in self._left_out
        }
        if len(given) > _MOST_FIELDS:
            # pydantic needs seconds and much memory to name each of them.
            raise InvalidRecord([f"has {len(given)} fields (these are known: {', '.join(self.known)})"])
        translate(given)
        faults = []
        for name in self._times:
            value = given.pop(name, None)
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            try:
                # A task is due until the end of a day, and everything else begins with it.
                given[name] = parse_time(value, end_of_day=name == "due_at")
            except ValueError as exc:
                faults.append(f"{name} {exc}")
        try:
            checked = vars(self._check(given))
        except ValidationError as exc:
            faults += reasons(exc, known=self.known)
        if faults:
            raise InvalidRecord(faults)
        row: list[Any] = [checked[name] if name in given else None for name in self._fields]
        for at in self._words:
            if row[at] is not None:
                row[at] = row[at].value
        return row + [name in values for name in self._flags]

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
        self, session: Session, batch: Batch, rows: sa.FromClause, *owner: sa.ColumnElement[Any]
    ) -> int:
        """Report each of the `rows` with the key of an earlier one, of the same `owner` if there is one.

        Return how many there are.
        """
        number, key = self.table.c.number, self.table.c[self._key]
        first = sa.func.min(number).over(partition_by=(*owner, key))
        ranked = sa.select(number, first.label("first")).select_from(rows).where(key.is_not(None)).subquery()
        query = sa.select(ranked).where(ranked.c.number > ranked.c.first).order_by(ranked.c.number)
        foreign = batch.source.foreign
        key_name = foreign.their_name(self._key) if foreign else self._key
        return batch.report_all(session, query, lambda n: f"{key_name} is that of {batch.place(n)} too")

    def merge(
        self,
        session: Session,
        batch: Batch,
        rows: sa.FromClause,
        same: sa.ColumnElement[bool],
        *,
        existing: Existing,
        now: datetime,
        dry_run: bool,
        changed: Mapping[str, sa.ColumnElement[Any]] | None = None,
        created: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> Outcome:
        """Update what differs from the `same` row, and insert the `rows` that have none, in their order.

        A dry run writes nothing, and returns what would be done. A rollback would not bring back the ids that
        PostgreSQL gives to new rows.

        `changed` and `created` say which fields of such rows differ from the file's values and the defaults.
        """
        new, old, moment = self.table.c, self.target.c, sa.literal(now, timestamp_type())
        connection, updated = session.connection(), 0
        if existing is Existing.UPDATE:
            contents: dict[str, sa.ColumnElement[Any]] = {
                name: sa.case((new[f"{name}_given"], new[name]), else_=old[name])
                if name in self._flags
                else sa.func.coalesce(new[name], old[name])
                for name in self._fields
                if name not in (self._key, "created_at", "updated_at")
            }
            contents |= changed or {}
            different = same & sa.or_(
                *(old[name].is_distinct_from(value) for name, value in contents.items())
            )
            # In the order of ids, as every writer of several rows, so that two of them cannot deadlock.
            locked = sa.select(old.id).where(different).order_by(old.id).with_for_update(of=self.target)
            updated = count(session, locked)
            if updated and not dry_run:
                contents |= {"version": old.version + 1, "updated_at": moment}
                updated = connection.execute(
                    sa.update(self.target).where(different).values(contents)
                ).rowcount
        defaults = self._defaults | {"created_at": now, "updated_at": now}
        taken: dict[str, sa.ColumnElement[Any]] = {
            name: sa.func.coalesce(new[name], sa.literal(defaults[name], old[name].type))
            if name in defaults
            else new[name]
            for name in self._fields
        }
        taken |= {"version": sa.literal(1), **(created or {})}
        there = sa.select(old.id).where(same).correlate_except(self.target).exists()
        query: sa.Select[Any] = sa.select(*taken.values()).select_from(rows).where(~there)
        inserted = count(session, query)
        if inserted:
            # An INSERT of no row asks whether the role may insert.
            query = query.where(sa.false()) if dry_run else query.order_by(new.number)
            # Otherwise PostgreSQL's count of an INSERT is not kept.
            statement = (
                sa.insert(self.target)
                .from_select(list(taken), query)
                .execution_options(preserve_rowcount=True)
            )
            with many_inserted(session, self.target, 0 if dry_run else inserted):
                done = connection.execute(statement).rowcount
            inserted = inserted if dry_run else done
        unnamed = count(session, sa.select(new.number).where(new[self._key].is_(None)))
        return Outcome(inserted, updated, batch.valid - inserted - updated, unnamed)


def count(session: Session, query: sa.Select[Any]) -> int:
    """Return how many rows a query has, without fetching them. A locking query locks them all."""
    rows: int = session.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    return rows
