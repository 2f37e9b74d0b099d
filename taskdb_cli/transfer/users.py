"""Users from files."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlmodel import Session

from taskdb_cli.database.statements import lock_table
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.fields import SPECIAL_DOMAINS, domain_fault
from taskdb_cli.models.user import USERS, UserCreate
from taskdb_cli.models.vocabulary import USER_FIELDS, Existing
from taskdb_cli.transfer.batch import Batch
from taskdb_cli.transfer.staging import Outcome, Staging

STAGING = Staging(USERS, UserCreate, (*USER_FIELDS, "tasks"), key="email")


def read_users(batch: Batch, *, special_domains: bool = False) -> None:
    """Read and check the users of a file. Without `special_domains` none may have an address in these.

    Raises InvalidInput for the tasks of another program.
    """
    if batch.source.foreign:
        raise InvalidInput(
            f"the file holds tasks ({batch.source.format}), not users",
            "'taskdb task import' reads it; name another format with --from",
        )

    def to_row(values: dict[str, Any]) -> tuple[Any, ...]:
        email, *rest = STAGING.row(values, batch.parse_time)
        if not special_domains and (fault := domain_fault(email)):
            raise ValueError(f"email {fault}")
        return email, *rest

    batch.read(STAGING.known, ("email", "name"), to_row)


def import_users(
    session: Session,
    batch: Batch,
    *,
    existing: Existing,
    now: datetime,
    dry_run: bool = False,
    special_domains: bool = False,
) -> Outcome:
    """Create the new users of a batch, and update or skip those whose address exists.

    A field that a record leaves out keeps its value then. Raises InvalidRecords, having reported each,
    when a record is invalid or repeats the address of another, or when a new address is in one of the
    special domains without `special_domains`.
    """
    new, users = STAGING.table, USERS
    with STAGING.filled(session, batch.rows()):
        refused = 0
        if not special_domains:
            special = or_(
                *(new.c.email.endswith(f"{mark}{each}") for each in SPECIAL_DOMAINS for mark in "@.")
            )
            first = func.min(new.c.number)
            strangers = (
                select(first, new.c.email)
                .outerjoin_from(new, users, users.c.email == new.c.email)
                .where(special, users.c.id.is_(None))
                .group_by(new.c.email)
                .order_by(first)
            )
            refused += batch.report_all(session, strangers, lambda email: f"email {domain_fault(email)}")
        batch.require_all_valid(refused + STAGING.refuse_repeated(session, batch, new))
        batch.begin_writing()
        # An address that is new now stays so until this transaction ends.
        lock_table(session, users)
        return STAGING.merge(
            session, batch, new, users.c.email == new.c.email, existing=existing, now=now, dry_run=dry_run
        )
