"""Fill databases with users and tasks: `python benchmarks/build.py --engine postgresql --tasks 1000000`.

The data are the same on every run and engine. One user has a tenth of all tasks, but at most 100 000;
the others share the rest evenly. Secondary indexes are built after the rows, as a restore would.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from databases import argument_parser, databases
from measuring import track
from sqlalchemy import text
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.statements import bulk_insert
from taskdb_cli.models import metadata
from taskdb_cli.services import migrate

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""The time that the data are made for: a tenth of the open tasks was due before it."""

BATCH = 100_000
BIG_USER_SHARE = 10
BIGGEST = 100_000
RARE = ("quetzal", "--- draft", "отчёт")
RARE_TASKS = 150
"""Each of these stands in the titles of about so many tasks, whatever their number is."""

_YEARS = timedelta(days=3 * 365)
_WORDS = (
    "report", "invoice", "backup", "review", "deploy",
    "meeting", "budget", "migration", "call", "draft",
)  # fmt: skip
_COLUMNS = (
    "user_id", "external_id", "title", "description", "status", "priority",
    "due_at", "completed_at", "version", "created_at", "updated_at",
)  # fmt: skip


def build(database: Database, tasks: int) -> None:
    """Make the tables, the users and the tasks, and only then the indexes."""
    migrate.upgrade(database, to="0001")
    users = max(10, min(10_000, tasks // 1000))
    database.write(partial(_insert, table="users", columns=_USER_COLUMNS, rows=user_rows(users)))
    big = min(BIGGEST, tasks // BIG_USER_SHARE)
    for start in track(range(0, tasks, BATCH), f"{tasks:,} tasks, {database.backend.dialect}"):
        rows = task_rows(range(start, min(start + BATCH, tasks)), users, big, tasks)
        database.write(partial(_insert, table="tasks", columns=_COLUMNS, rows=rows))
    migrate.upgrade(database)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if database.backend.dialect == "sqlite" else "VACUUM ANALYZE"))


def _insert(
    session: Session, *, table: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]
) -> None:
    bulk_insert(session, metadata().tables[table], columns, rows)


_USER_COLUMNS = ("email", "name", "is_active", "version", "created_at", "updated_at")


def user_rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield so many users."""
    for number in range(count):
        yield f"user{number}@example.com", f"User {number}", True, 1, NOW - _YEARS, NOW - _YEARS


def task_rows(numbers: range, users: int, big: int, total: int) -> Iterator[tuple[Any, ...]]:
    """Yield tasks by number, of so many in all; every so often one is the user's who has `big` of them."""
    chance = random.Random(numbers.start)
    every = total // big
    for number in numbers:
        owner = 1 if number % every == 0 else chance.randrange(2, users + 1)
        created = NOW - _YEARS * (1 - number / total)
        title, *others = _content(chance, number, created)
        yield owner, None, _marked(title, number, total), *others


def _marked(title: str, number: int, total: int) -> str:
    """Put a rare word behind some titles."""
    place = number % max(len(RARE), total // RARE_TASKS)
    return f"{title} {RARE[place]}" if place < len(RARE) else title


def _content(chance: random.Random, number: int, created: datetime) -> tuple[Any, ...]:
    status = chance.choices(["todo", "in_progress", "done", "cancelled"], [30, 10, 54, 6])[0]
    updated = created + (NOW - created) * chance.random()
    due = created + timedelta(minutes=chance.randrange(90 * 24 * 60)) if chance.random() < 0.7 else None
    if due is not None and status in ("todo", "in_progress") and chance.random() < 0.9:
        due = NOW + timedelta(minutes=chance.randrange(90 * 24 * 60))
    return (
        f"{chance.choice(_WORDS).capitalize()} {chance.choice(_WORDS)} {number}",
        None if chance.random() < 0.5 else f"About the {chance.choice(_WORDS)} of {number}",
        status,
        chance.choices([1, 2, 3, 4], [20, 50, 20, 10])[0],
        due,
        updated if status == "done" else None,
        1,
        created,
        updated,
    )


def main() -> None:
    """Build each database that the options name, unless it holds something already."""
    given = argument_parser(__doc__).parse_args()
    sizes = given.tasks * (1 if given.url else len(given.engine))
    with databases(given) as found:
        if len(sizes) != len(found):
            sys.exit("error: as many --tasks as --url, please")
        for database, tasks in zip(found, sizes, strict=True):
            if database.backend.create() or migrate.status(database).current is None:
                build(database, tasks)
            else:
                place = database.backend.place
                sys.stderr.write(f"{place} holds something already; delete it to build it anew\n")


if __name__ == "__main__":
    main()
