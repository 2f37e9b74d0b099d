"""Users from files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, func, insert, literal, select, true
from sqlmodel import Session

from taskdb_cli.database import lock_table
from taskdb_cli.models.types import Flag, text_type, timestamp_type
from taskdb_cli.models.user import User, UserCreate
from taskdb_cli.models.vocabulary import USER_FIELDS, Existing
from taskdb_cli.transfer.batch import Batch, Outcome, ParseTime, Problem, Row, check_record, read_batch
from taskdb_cli.transfer.files import Shape, Source
from taskdb_cli.transfer.staging import change, repeated, staged, staging_table, update_differing

_TIMES = {"created_at": False, "updated_at": False}
_NOT_TAKEN_OVER = ("id", "version", "tasks")
_SHAPE = Shape((*USER_FIELDS, "tasks"), ("email", "name"))
_FLAGS = {"true": True, "false": False}

_staging = staging_table(
    Column("email", text_type()),
    Column("name", text_type()),
    Column("is_active", Flag),
    Column("created_at", timestamp_type()),
    Column("updated_at", timestamp_type()),
)
_new = _staging.c
_users: Table = User.__table__  # type: ignore[attr-defined]
_user = _users.c
_same_user = _user.email == _new.email


def read_users(
    source: Source,
    *,
    parse_time: ParseTime,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read and check the users of a file."""

    def to_row(number: int, values: dict[str, Any]) -> Row:
        for name in _NOT_TAKEN_OVER:
            values.pop(name, None)
        return number, *_row(values, parse_time)

    return read_batch(source, _SHAPE, to_row, report=report, progress=progress)


def import_users(session: Session, batch: Batch, *, existing: Existing, now: datetime) -> Outcome:
    """Bring a batch in: make the new users, and update or skip those whose address is there already.

    A field that a record leaves out keeps its value then. Raises InvalidRecords, having reported each,
    when a record is invalid or repeats the address of another.
    """
    with staged(session, _staging, batch.rows()):
        refused = 0
        with repeated(session, _staging, _new.email) as rows:
            for number, first in rows:
                batch.report(number, f"email is that of {batch.place(first)} too")
                refused += 1
        batch.require_all_valid(refused)
        # An address that is new now stays so until this transaction ends.
        lock_table(session, User.__table__)  # type: ignore[attr-defined]
        updated = 0
        if existing is Existing.UPDATE:
            contents = {"name": _new.name, "is_active": func.coalesce(_new.is_active, _user.is_active)}
            updated = update_differing(session, _users, _same_user, contents, now=now)
        created = _insert(session, now)
    return Outcome(created, updated, batch.valid - created - updated)


def _row(values: dict[str, Any], parse_time: ParseTime) -> Row:
    active = values.get("is_active")
    if isinstance(active, str):
        # CSV knows no other truth values than these words, and spreadsheets write them in capitals.
        values["is_active"] = _FLAGS.get(active.lower(), active)
    user = check_record(UserCreate, values, _TIMES, parse_time)
    active = user.is_active if "is_active" in user.model_fields_set else None
    return user.email, user.name, active, user.created_at, user.updated_at


def _insert(session: Session, now: datetime) -> int:
    moment = literal(now, timestamp_type())
    fields: dict[str, ColumnElement[Any]] = {
        "email": _new.email,
        "name": _new.name,
        "is_active": func.coalesce(_new.is_active, true()),
        "version": literal(1),
        "created_at": func.coalesce(_new.created_at, moment),
        "updated_at": func.coalesce(_new.updated_at, moment),
    }
    there = select(_user.id).where(_same_user).correlate(_staging).exists()
    rows: Select[Any] = select(*fields.values()).where(~there).order_by(_new.number)
    return change(session, insert(User).from_select(list(fields), rows))
