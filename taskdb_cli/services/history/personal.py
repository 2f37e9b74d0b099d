"""Everything that is kept of one person: the user, their tasks and tokens, and the history of them."""

from collections.abc import Generator
from datetime import datetime
from typing import Any

from sqlmodel import Session

from taskdb_cli.models.history import OPERATIONS
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.user import User, user_record
from taskdb_cli.services import token
from taskdb_cli.services.history import operations
from taskdb_cli.services.history.erasing import find, made_by
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import (
    OPERATION_SORT_KEYS,
    TASK_RECORDS,
    TASK_SORT_KEYS,
    operation_query,
)
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import OperationFilter

Part = tuple[str, Any]
"""A name and a value, or records that are to be taken before the next part."""


def everything(session: Session, ref: str, *, now: datetime) -> Generator[Part, None, None]:
    """Yield what is kept of a user who may be deleted, in parts, at constant memory.

    The history has the changes of rows that belonged to the user before or after the change. `operations` are
    those that the user made, also on rows of others. Raises as `erasing.find` does, before the first part.
    """
    person = find(session, ref)
    yield "exported_at", now
    yield "id", person.id
    yield "addresses", sorted(person.addresses)
    user = session.get(User, person.id)
    yield "user", user and user_record(user)
    owned = TASK_RECORDS.where(TASKS.c.user_id == person.id)
    yield "tasks", pages.stream(session, owned, Order.parse("id", TASK_SORT_KEYS))
    yield "tokens", [each for each in token.find(session) if each["user_id"] == person.id]
    yield "history", operations.stream_owned(session, person.id)
    made = operation_query(OperationFilter(), ()).where(made_by(session, person))
    yield (
        "operations",
        pages.stream(session, made.select_from(OPERATIONS), Order.parse("id", OPERATION_SORT_KEYS)),
    )
