"""The temporary table of an import, and how its rows get into the tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlmodel import Session

from taskdb_cli.database import recording
from taskdb_cli.database.statements import bulk_insert, many_inserted
from taskdb_cli.models.fields import Given
from taskdb_cli.models.types import BigNumber, EnumValue, Flag, timestamp_type
from taskdb_cli.models.vocabulary import Existing
from taskdb_cli.text.faults import reasons
from taskdb_cli.transfer.batch import Batch, Row
from taskdb_cli.transfer.problems import InvalidRecord
from taskdb_cli.transfer.values import translate

_MOST_FIELDS = 100


@dataclass(frozen=True)
class Outcome:
    """How many records an import created, updated or left alone. Without an external id all are created."""

    created: int
    updated: int
    unchanged: int
    without_external_id: int


class Staging:
    """The temporary table through which records go into the `target`.

    It has the fields of the Create schema, and for each that can be NULL whether it was given.
    A field that was not given keeps its value in an existing row, and gets the schema's default in a new one.
    `known` are the fields that a file may have. Those that the schema does not have are left out. The `key`
    tells which record is which.
    """

    def __init__(
        self,
        target: sa.Table,
        schema: type[Given],
        known: Iterable[str],
        *more: sa.Column[Any],
        key: str,
    ) -> None:
        self.target = target
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
        # The flag of the target has a constraint, which a temporary table does not need.
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
        updated = 0
        if existing is Existing.UPDATE:
            updated = self._update(session, same, changed or {}, now=now, dry_run=dry_run)
        inserted = self._insert(session, rows, same, created or {}, now=now, dry_run=dry_run)
        unnamed = count(session, sa.select(self.table.c.number).where(self.table.c[self._key].is_(None)))
        return Outcome(inserted, updated, batch.valid - inserted - updated, unnamed)

    def _update(
        self,
        session: Session,
        same: sa.ColumnElement[bool],
        changed: Mapping[str, sa.ColumnElement[Any]],
        *,
        now: datetime,
        dry_run: bool,
    ) -> int:
        new, old = self.table.c, self.target.c
        contents: dict[str, sa.ColumnElement[Any]] = {
            name: sa.case((new[f"{name}_given"], new[name]), else_=old[name])
            if name in self._flags
            else sa.func.coalesce(new[name], old[name])
            for name in self._fields
            if name not in (self._key, "created_at", "updated_at")
        }
        contents |= changed
        different = same & sa.or_(*(old[name].is_distinct_from(value) for name, value in contents.items()))
        # In the order of ids, as every writer of several rows, so that two of them cannot deadlock.
        locked = sa.select(old.id).where(different).order_by(old.id).with_for_update(of=self.target)
        number = count(session, locked)
        if dry_run or not number:
            return number
        contents |= {"version": old.version + 1, "updated_at": sa.literal(now, timestamp_type())}
        return recording.update_many(session, self.target, contents, different)

    def _insert(
        self,
        session: Session,
        rows: sa.FromClause,
        same: sa.ColumnElement[bool],
        created: Mapping[str, sa.ColumnElement[Any]],
        *,
        now: datetime,
        dry_run: bool,
    ) -> int:
        new, old = self.table.c, self.target.c
        defaults = self._defaults | {"created_at": now, "updated_at": now}
        contents: dict[str, sa.ColumnElement[Any]] = {
            name: sa.func.coalesce(new[name], sa.literal(defaults[name], old[name].type))
            if name in defaults
            else new[name]
            for name in self._fields
        }
        contents |= {"version": sa.literal(1), **created}
        there = sa.select(old.id).where(same).correlate_except(self.target).exists()
        query: sa.Select[Any] = sa.select(*contents.values()).select_from(rows).where(~there)
        number = count(session, query)
        if not number:
            return 0
        # An INSERT of no row asks whether the role may insert.
        query = query.where(sa.false()) if dry_run else query.order_by(new.number)
        statement = sa.insert(self.target).from_select(list(contents), query)
        with many_inserted(session, self.target, 0 if dry_run else number):
            inserted = recording.insert_many(session, statement)
        return number if dry_run else inserted


def count(session: Session, query: sa.Select[Any]) -> int:
    """Return how many rows a query has, without fetching them. A locking query locks them all."""
    rows: int = session.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    return rows
