"""Users from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlmodel import Session

from taskdb_cli.database import lock_table
from taskdb_cli.models.user import User, UserCreate
from taskdb_cli.models.vocabulary import USER_FIELDS, Existing
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.staging import Batch, Outcome, ParseTime, Problem, Staging, check_record, read_batch

_TIMES = {"created_at": False, "updated_at": False}
_NOT_TAKEN_OVER = ("id", "version", "tasks")
_FLAGS = {"true": True, "false": False}
STAGING = Staging(User, UserCreate)


def read_users(
    source: Source,
    *,
    parse_time: ParseTime,
    report: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> Batch:
    """Read and check the users of a file."""

    def to_row(values: dict[str, Any]) -> Iterator[Any]:
        for name in _NOT_TAKEN_OVER:
            values.pop(name, None)
        active = values.get("is_active")
        if isinstance(active, str):
            # CSV knows no other truth values than these words, and spreadsheets write them in capitals.
            values["is_active"] = _FLAGS.get(active.lower(), active)
        return STAGING.row(values, check_record(UserCreate, values, _TIMES, parse_time))

    known, required = (*USER_FIELDS, "tasks"), ("email", "name")
    return read_batch(source, known, required, to_row, report=report, progress=progress)


def import_users(session: Session, batch: Batch, *, existing: Existing, now: datetime) -> Outcome:
    """Create the new users of a batch, and update or skip those whose address exists.

    A field that a record leaves out keeps its value then. Raises InvalidRecords, having reported each,
    when a record is invalid or repeats the address of another.
    """
    new, users = STAGING.table.c, STAGING.target
    same = users.c.email == new.email
    with STAGING.filled(session, batch.rows()):
        refused = 0
        with STAGING.repeated(session, new.email) as rows:
            for number, first in rows:
                batch.report(number, f"email is that of {batch.place(first)} too")
                refused += 1
        batch.require_all_valid(refused)
        # An address that is new now stays so until this transaction ends.
        lock_table(session, users)
        updated = 0
        if existing is Existing.UPDATE:
            updated = STAGING.update(session, same, STAGING.contents("email"), now=now)
        created = STAGING.insert(session, STAGING.table, same, {}, now=now)
    return Outcome(created, updated, batch.valid - created - updated)
