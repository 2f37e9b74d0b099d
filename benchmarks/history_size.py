"""Measure the history of a year of 1,000 changes a day: `python benchmarks/history_size.py`.

A quarter of the operations creates a task, 60 % change one, or fifty by filter, 10 % delete one and 5 %
change a user. Statements over a series of numbers make them. The services then read pages of the history and
lives of rows, and undo an operation, which is rolled back.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

from build import user_rows
from databases import argument_parser, clear, databases, describe, place
from measuring import add_output_option, median_ms, record, report, table
from sqlalchemy import Connection, text
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.statements import bulk_insert
from taskdb_cli.models import metadata
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import migrate, task
from taskdb_cli.services.history import operations, undo
from taskdb_cli.services.listing.query import OperationFilter

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOST_MB = 150
OPERATIONS = 365_000
USERS = 1000
TASKS = 100_000
"""How many tasks there are."""
FILTERED = 50
"""How many tasks a change by filter changes."""
PAGE = 50
TABLES = ("taskdb_operations", "taskdb_changes")
USER_COLUMNS = ("email", "name", "is_active", "version", "created_at", "updated_at")

CREATED, DONE, DUE = "0, 1, 2, 3, 4", "5, 6, 7, 8, 9", "10, 11, 12"
TITLE, PRIORITY, DELETED, USER = "13, 14", "15, 16", "17, 18", "19"
"""What every twenty operations do, by their numbers modulo 20."""

SERIES = f"""WITH RECURSIVE series(n) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT n + 1 FROM series
    WHERE n < {OPERATIONS}), parts(part) AS (SELECT 0 UNION ALL SELECT part + 1 FROM parts
    WHERE part < {FILTERED - 1})"""
COMMAND = f"""CASE WHEN n % 20 IN ({CREATED}) THEN 'task create' WHEN n % 20 IN ({DELETED}) THEN 'task delete'
    WHEN n % 20 IN ({USER}) THEN 'user update' ELSE 'task update' END"""
ROWS = f"CASE WHEN n % 2000 = 5 THEN {FILTERED} ELSE 1 END"


def build(database: Database) -> None:
    """Make users, tasks and the history of a year."""
    sqlite = database.backend.dialect == "sqlite"
    database.backend.create()
    migrate.upgrade(database)
    users = metadata().tables["users"]
    database.write(lambda session: bulk_insert(session, users, USER_COLUMNS, user_rows(USERS)))
    database.write(partial(_fill, sqlite=sqlite), bulk=True)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if sqlite else "VACUUM ANALYZE"))


def _fill(session: Session, *, sqlite: bool) -> None:
    time = _sqlite_time if sqlite else _postgresql_time
    minutes = 365 * 24 * 60
    ago, first = time(f"({OPERATIONS} - n) * {minutes} / {OPERATIONS}"), time(str(minutes))
    due = time("n % 400 * -600")
    changes = {
        "operation_id": "n",
        "table_name": f"CASE WHEN n % 20 IN ({USER}) THEN 'users' ELSE 'tasks' END",
        "row_id": _each(
            (CREATED, f"{TASKS} + n"),
            # Each was created by the operation 17 before.
            (DELETED, f"{TASKS} + n - 17"),
            (USER, f"1 + n / 20 % {USERS}"),
            otherwise=f"1 + (n * 7919 + part * 10007) % {TASKS}",
        ),
        "owner_id": _each((USER, f"1 + n / 20 % {USERS}"), otherwise=f"1 + (n * 31 + part) % {USERS}"),
        "version_before": _each((CREATED, "NULL"), otherwise="1"),
        "version_after": _each((CREATED, "1"), (DELETED, "NULL"), otherwise="2"),
        "old_status": _each((DONE, "'todo'"), (DELETED, "'done'")),
        "new_status": _each((DONE, "'done'")),
        "new_completed_at": _each((DONE, ago)),
        "old_due_at": _each((DUE, first), (DELETED, due)),
        "new_due_at": _each((DUE, due)),
        "old_title": _each((f"{TITLE}, {DELETED}", "'Write the report ' || n")),
        "new_title": _each((TITLE, "'Write the long report ' || n")),
        "old_priority": _each((PRIORITY, "2"), (DELETED, "3")),
        "new_priority": _each((PRIORITY, "3")),
        "old_name": _each((USER, "'User ' || n")),
        "new_name": _each((USER, "'Ann ' || n")),
        "old_user_id": _each((DELETED, f"1 + n * 31 % {USERS}")),
        "old_description": _each((DELETED, "'For the meeting of ' || n")),
        "old_created_at": _each((DELETED, first)),
        "old_updated_at": _each((DELETED, ago)),
    }
    given = "" if sqlite else "OVERRIDING SYSTEM VALUE"
    statements = [
        f"""INSERT INTO tasks (user_id, title, description, status, priority, due_at, version, created_at,
            updated_at) {SERIES} SELECT 1 + n % {USERS}, 'Write the report ' || n, 'For the meeting of ' || n,
            'todo', 2, {first}, 2, {first}, {ago} FROM series WHERE n <= {TASKS} ORDER BY n""",
        f"""INSERT INTO taskdb_operations (id, at, actor, command, program_version, rows_changed) {given}
            {SERIES} SELECT n, {ago}, 'ann', {COMMAND}, '0.1.0', {ROWS} FROM series ORDER BY n""",
        f"""INSERT INTO taskdb_changes ({", ".join(changes)}) {SERIES} SELECT {", ".join(changes.values())}
            FROM series JOIN parts ON part < {ROWS} ORDER BY n""",
    ]
    if not sqlite:
        highest = f"SELECT setval(pg_get_serial_sequence('taskdb_operations', 'id'), {OPERATIONS})"
        statements.append(highest)
    for statement in statements:
        session.connection().execute(text(statement.replace(":", r"\:")))


def _each(*values: tuple[str, str], otherwise: str = "NULL") -> str:
    """Return what operations of these numbers modulo 20 have in a column."""
    cases = " ".join(f"WHEN n % 20 IN ({numbers}) THEN {value}" for numbers, value in values)
    return f"CASE {cases} ELSE {otherwise} END"


def _sqlite_time(minutes_ago: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%S', '2026-11-22', (0 - ({minutes_ago})) || ' minutes') || '.123456Z'"


def _postgresql_time(minutes_ago: str) -> str:
    return f"timestamptz '2026-11-22 00:00:00.123456+00' - make_interval(mins => ({minutes_ago})::int)"


def sizes(database: Database) -> list[list[object]]:
    """Return the rows of both tables, and the megabytes of the tables with their indexes."""
    with database.connect() as connection:
        found = [(name, _rows(connection, name), _megabytes(connection, name)) for name in TABLES]
    both = "both", sum(rows for _, rows, _ in found), sum(size for *_, size in found)
    record(f"history, {place(database)}: {OPERATIONS} operations", both[2], unit="MB", at_most=MOST_MB)
    return [[*each] for each in (*found, both)]


def _rows(connection: Connection, name: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())


def _megabytes(connection: Connection, name: str) -> float:
    if connection.dialect.name == "postgresql":
        query = f"SELECT pg_total_relation_size('{name}')"
    else:
        query = f"""SELECT sum(pgsize) FROM dbstat WHERE name IN
            (SELECT name FROM sqlite_schema WHERE tbl_name = '{name}')"""
    return int(connection.execute(text(query)).scalar_one()) / 1e6


def latencies(database: Database, turns: int) -> list[list[object]]:
    """Return the median milliseconds of reading the history, and of undoing, each in a transaction."""
    pool = Database(database.url, database.options)
    one, several = (_change(pool, number) for number in (1, FILTERED))
    page: Callable[..., Callable[[Session], object]] = partial(partial, operations.find, limit=PAGE)
    life = partial(partial, operations.life, limit=PAGE)
    works: dict[str, Callable[[Session], object]] = {
        "`history`, first page": page(filter=OperationFilter()),
        "`history --user`, first page": page(filter=OperationFilter(users=["user5@example.com"])),
        "`history --task`, first page": page(filter=OperationFilter(tasks=[77])),
        "`history --actor`, first page": page(filter=OperationFilter(actor="ann")),
        "`task history`": life(table="tasks", id=77),
        "`user history`": life(table="users", id=20),
        "`undo` of a changed task": partial(undo.undo, id=one, now=NOW),
        f"`undo` of {FILTERED} changed tasks": partial(undo.undo, id=several, now=NOW),
    }
    taken = median_ms(
        {name: partial(_measured, pool, work) for name, work in works.items()}, most=turns, seconds=20
    )
    return [[name, milliseconds] for name, milliseconds in taken.items()]


def _change(database: Database, tasks: int) -> int:
    """Change so many tasks; return the operation."""
    given, ids = TaskUpdate(status=TaskStatus.CANCELLED), [range(1000 * tasks, 1001 * tasks)]
    database.write(partial(task.change, ids=ids, given=given, now=NOW))
    return int(
        database.read(lambda session: operations.find(session, OperationFilter(), limit=1)).records[0]["id"]
    )


class _Enough(Exception):
    """Everything is measured, and is rolled back."""


def _measured(database: Database, work: Callable[[Session], Any]) -> float:
    """Return the milliseconds that work takes in an open session."""
    taken: list[float] = []

    def measure(session: Session) -> None:
        begun = perf_counter()
        work(session)
        taken.append((perf_counter() - begun) * 1000)
        raise _Enough

    with suppress(_Enough):
        database.write(measure)
    return taken[-1]


def main() -> None:
    """Build each database anew, measure it, and report."""
    parser = argument_parser(__doc__, tasks=[0])
    add_output_option(parser, turns=20)
    given = parser.parse_args()
    report(dict(_sections(given)), given.output)


def _sections(given: Namespace) -> Iterator[tuple[str, str]]:
    with databases(given) as found:
        for database in found:
            if not given.url:
                clear(database)
            build(database)
            heading = describe(database, TASKS)
            yield f"{heading}, size", table(["table", "rows", "MB with indexes"], sizes(database))
            yield f"{heading}, times", table(["what", "ms"], latencies(database, given.turns))


if __name__ == "__main__":
    main()
