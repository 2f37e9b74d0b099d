"""Measure what each secondary index of tasks speeds up and costs: `python benchmarks/indexes.py`.

Run build.py first. Every change is rolled back, yet use no database that others are working on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeVar

from build import NOW
from databases import argument_parser, count_tasks, databases, describe, place
from forms import COUNT, FORMS, LIMIT, USER_ID, Form, Raw
from measuring import add_output_option, median_ms, ratio, record, report, table, track
from sqlalchemy import text
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.models.schema import INDEXES
from taskdb_cli.services import task as service
from taskdb_cli.services import user as users
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order

T = TypeVar("T")

INSERTED = 10_000
UPDATED = 2_000
LEAVING_USER = "7"
PURPOSES = (
    ("tasks_user_created", "--user --sort -created"),
    ("tasks_user_due", "--user --sort due"),
    ("tasks_user_updated", "--user --sort -updated"),
    ("tasks_user_priority", "--user --sort -priority"),
    ("tasks_user_status_due", "--user --status todo --sort due"),
    ("tasks_user_status_due", "--user --sort status,due"),
    ("tasks_user_status_due", "--user --status done --count"),
    ("tasks_created", "--sort -created"),
    ("tasks_open_due", "--overdue --sort due"),
)
_SAMPLE = (
    "CREATE TEMPORARY TABLE sample AS"
    f" SELECT * FROM tasks WHERE status = 'todo' AND id % 7 = 0 ORDER BY id LIMIT {INSERTED}"
)
WRITES = {
    "insert": (
        "INSERT INTO tasks"
        " (user_id, title, description, status, priority, due_at, version, created_at, updated_at)"
        " SELECT user_id, title, description, status, priority, due_at, 1, :now, :now FROM sample"
    ),
    "update": (
        "UPDATE tasks SET status = 'in_progress', version = version + 1, updated_at = :now"
        f" WHERE id IN (SELECT id FROM sample LIMIT {UPDATED})"
    ),
    "retitle": (
        "UPDATE tasks SET title = 'Read ' || title, version = version + 1, updated_at = :now"
        f" WHERE id IN (SELECT id FROM sample LIMIT {UPDATED})"
    ),
}


def main() -> None:
    """Measure each database, and report."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    parser.add_argument("--reading-only", action="store_true", help="leave out what the indexes cost")
    add_output_option(parser, turns=9)
    given = parser.parse_args()
    sections: dict[str, str] = {}
    with databases(given) as found:
        for database in found:
            heading = describe(database, count_tasks(database))
            _vacuum(database)
            sections[heading] = _purposes_table(database, f"{heading}: reading")
            if not given.reading_only:
                sections[f"{heading}: writing"] = _costs_table(database, f"{heading}: writing", given.turns)
    report(sections, given.output)


def without(database: Database, dropped: Iterable[str], work: Callable[[Session], T]) -> T:
    """Run `work` in a transaction in which these indexes are dropped, and roll everything back."""

    def drop_and_work(session: Session) -> T:
        for name in dropped:
            session.connection().exec_driver_sql(f"DROP INDEX {name}")
        return work(session)

    return database.write(drop_and_work, dry_run=True)


def _purposes_table(database: Database, heading: str) -> str:
    forms = {form.options: form for form in (*FORMS, COUNT)}
    rows = []
    for name, options in track(PURPOSES, heading):
        read = _reader(forms[options])
        there, gone = without(database, (), read), without(database, [name], read)
        rows.append([name, _megabytes(database, name), f"`{options}`", there, gone, f"{gone / there:.1f}"])
    return table(["index", "MB", "form", "with", "without", "without / with"], rows)


def _reader(form: Form) -> Callable[[Session], float]:
    """Return what measures the service at a deep page of a form, or at its count."""

    def read(session: Session) -> float:
        if form is COUNT:
            return median_ms({"": lambda: service.count(session, form.filter)})[""]
        [[rows]] = Raw(session).fetch(form.count(), {"user": USER_ID})
        position, order = form.find_position(session, rows), Order.parse(form.sort, TASK_SORT_KEYS)
        return median_ms(
            {"": lambda: service.find(session, form.filter, order, limit=LIMIT, after=position)}
        )[""]

    return read


def _costs_table(database: Database, heading: str, turns: int) -> str:
    names = [str(index.name) for index in INDEXES]
    rows = [_costs(database, name, [name], turns) for name in track(names, heading)]
    rows.append(whole := _costs(database, "all of them", names, turns))
    for kind, rate in (("insert", whole[3]), ("update", whole[6])):
        record(f"indexes, {place(database, count_tasks(database))}: {kind} with all / without", float(rate))
    return table(["index", "insert 10 000", "without", "ratio", "update 2 000", "without", "ratio"], rows) + (
        "\n" + _deletion_table(database, names, turns)
    )


def _costs(database: Database, label: str, dropped: Sequence[str], turns: int) -> list[Any]:
    insert, update = _in_turn(database, dropped, partial(timed_writes, kinds=("insert", "update")), turns)
    _vacuum(database)
    return [label, *insert, *update]


def _deletion_table(database: Database, names: Sequence[str], turns: int) -> str:
    [deletion] = _in_turn(database, names, _delete_user, turns)
    [number] = database.read(
        lambda session: [users.preview_deletion(session, [LEAVING_USER]).tasks]  # the same on every run
    )
    row = [f"a user with {number} tasks", *deletion]
    return table(["delete", "all indexes", "no secondary index", "ratio"], [row])


def _in_turn(
    database: Database, dropped: Sequence[str], work: Callable[[Session], Sequence[float]], turns: int
) -> list[tuple[float, float, float]]:
    """Run `work` with all indexes and without some, in turn.

    Return for each of its times the medians of both, and the median of their ratios, which a machine
    that others use disturbs least.
    """
    taken = [(without(database, (), work), without(database, dropped, work)) for _ in range(turns)]
    there, gone = (list(zip(*side, strict=True)) for side in zip(*taken, strict=True))
    return [(median(a), median(b), ratio(a, b)) for a, b in zip(there, gone, strict=True)]


def timed_writes(session: Session, kinds: Sequence[str]) -> list[float]:
    """Take a sample of the tasks, and return the milliseconds that each kind of write of it takes."""
    session.execute(text(_SAMPLE))
    return [_timed(session, WRITES[kind]) for kind in kinds]


def _timed(session: Session, statement: str) -> float:
    now = NOW if Raw(session).is_postgresql else "2026-11-22T12:00:00.000000Z"
    start = time.perf_counter()
    session.execute(text(statement), {"now": now})
    return (time.perf_counter() - start) * 1000


def _delete_user(session: Session) -> Sequence[float]:
    start = time.perf_counter()
    users.remove(session, [LEAVING_USER], now=NOW)
    return [(time.perf_counter() - start) * 1000]


def _vacuum(database: Database) -> None:
    # PostgreSQL keeps the rows that were rolled back until they are vacuumed.
    if database.backend.dialect == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM tasks"))


def _megabytes(database: Database, index: str) -> int:
    size = "pg_relation_size(:name)"
    if database.backend.dialect == "sqlite":
        size = "sum(pgsize) FROM dbstat WHERE name = :name"
    with database.connect() as connection:
        taken = int(connection.execute(text(f"SELECT {size}"), {"name": index}).scalar_one())
        return round(taken / 1024 / 1024)


if __name__ == "__main__":
    main()
