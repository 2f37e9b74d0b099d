"""Rows to list, and what a listing of them must be according to plain Python."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.statements import bulk_insert
from taskdb_cli.models.task import Task
from taskdb_cli.models.user import User
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.cursor import decode, encode
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, fold
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW

EMAILS = ("ann@example.com", "bob@example.com", "cy@example.com")
STATUSES = ("todo", "in_progress", "done", "cancelled")
TITLES = ("Zebra", "apple", "APPLE", "_under", "[bracket", "Éclair", "éclair", "ß", "straße", "\U0001f600")
FIELDS = {"due": "due_at", "created": "created_at", "updated": "updated_at", "completed": "completed_at"}

_USER_COLUMNS = ("email", "name", "is_active", "version", "created_at", "updated_at")
_TASK_COLUMNS = (
    "user_id", "title", "description", "status", "priority",
    "due_at", "completed_at", "version", "created_at", "updated_at",
)  # fmt: skip


def add_users(session: Session, emails: Iterable[str] = EMAILS) -> None:
    """Add active users, each named as the address begins."""
    rows = [(email, email.partition("@")[0].title(), True, 1, NOW, NOW) for email in emails]
    bulk_insert(session, User.__table__, _USER_COLUMNS, rows)


def add_tasks(session: Session, rows: Iterable[Sequence[Any]]) -> None:
    """Add tasks of which `make_row` made the rows."""
    bulk_insert(session, Task.__table__, _TASK_COLUMNS, rows)


def make_row(  # noqa: PLR0917 (each may be left out)
    owner: int = 1,
    title: str = "Task",
    description: str | None = None,
    status: str = "todo",
    priority: int = 2,
    due: datetime | None = None,
    created: datetime = NOW,
    updated: datetime | None = None,
    completed: datetime | None = None,
) -> tuple[Any, ...]:
    """Return a row for `add_tasks`; a task that is done was completed when it was updated."""
    updated = updated or created
    done = (completed or updated) if status == "done" else None
    return owner, title, description, status, priority, due, done, 1, created, updated


def random_rows(chance: random.Random, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows that share most of their values."""
    for _ in range(count):
        days = [NOW + timedelta(days=chance.randrange(-2, 3)) for _ in range(4)]
        yield make_row(
            chance.randrange(1, 4),
            chance.choice(TITLES),
            chance.choice([None, "about", "About"]),
            chance.choice(STATUSES),
            chance.randrange(1, 5),
            None if chance.random() < 0.4 else days[0],
            days[1],
            days[2],
            days[3],
        )


def fill(database: Database, count: int) -> None:
    """Add the users and random tasks, the same for every engine."""
    database.write(add_users)
    database.write(lambda session: add_tasks(session, random_rows(random.Random(7), count)))


def everything(session: Session) -> list[dict[str, Any]]:
    """Return the records of all tasks, in the order of their ids."""
    order = Order.parse("id", TASK_SORT_KEYS)
    return [dict(record) for record in service.stream(session, TaskFilter(), order)]


def in_order(records: Iterable[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Return records as that sort has them: absent values last, ties by id the way of the last key."""
    words = sort.split(",")
    if "id" not in {word.removeprefix("-") for word in words}:
        words.append("-id" if words[-1].startswith("-") else "id")
    found = list(records)
    for word in reversed(words):
        name = word.removeprefix("-")
        field = FIELDS.get(name, name)
        valued = [record for record in found if record[field] is not None]
        absent = [record for record in found if record[field] is None]
        valued.sort(key=lambda record: _comparable(record[field]), reverse=word.startswith("-"))
        found = valued + absent
    return found


def _comparable(value: Any) -> Any:
    return fold(value) if isinstance(value, str) else value


def pages(session: Session, filter: TaskFilter, sort: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the records page by page, from one cursor to the next."""
    order, position = Order.parse(sort, TASK_SORT_KEYS), None
    while True:
        page = service.find(session, filter, order, limit=limit, after=position)
        yield [dict(record) for record in page.records]
        if page.next is None:
            return
        position = decode(encode(page.next, NOW, sort), sort, order)[0]
