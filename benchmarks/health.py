"""Time `taskdb health`: `python benchmarks/health.py --engine postgresql --tasks 1000000`.

A round of all checks takes turns with a bare connection of the driver that asks for one number. Then each
check is timed alone, over a connection that is open, and so is the slowest of its statements, of those that
go through SQLAlchemy: on SQLite some do not. On PostgreSQL one of them sets the limit of time. What several
checks need counts for the first of them, as SQLite's quick_check does for `rules`.
The databases are those of build.py.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from databases import address, argument_parser, count_tasks, databases, describe, place
from measuring import add_output_option, record, report, table, times_ms, track
from sqlalchemy import Connection, Engine, event

from taskdb_cli.database import Database
from taskdb_cli.health.examination import EXAMINATIONS
from taskdb_cli.health.registry import CHECKS
from taskdb_cli.health.runner import choose, run

SCANS = {"orphans", "quick_check", "rules"}
"""These read whole tables, or the whole file."""

MOST_MS = 150
TIMEOUT = 600.0


def main() -> None:
    """Measure each database that the options name."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    add_output_option(parser, turns=7)
    given = parser.parse_args()
    sections = {}
    with databases(given) as found:
        for database in track(found, "databases"):
            name = describe(database, count_tasks(database))
            sections[f"All checks, {name}"] = whole(database, given.turns)
            sections[f"Each check, {name}"] = each(database, given.turns)
    report(sections, given.output)


def whole(database: Database, turns: int) -> str:
    """Return a table of a round without the scans, a complete one, and a bare connection."""
    quick = [name for name in CHECKS if name not in SCANS]

    def checks(**options: object) -> Callable[[], object]:
        return lambda: run(database, now=datetime.now(UTC), timeout=TIMEOUT, **options)  # type: ignore[arg-type]

    works = {
        "a bare connection": _bare(database),
        "all checks but the scans": checks(only=quick),
        "all checks": checks(),
    }
    taken = times_ms(works, most=turns * 3, least=min(turns, 3), seconds=10)
    bare = taken["a bare connection"]
    rows = [
        (name, statistics.median(times), statistics.median(a - b for a, b in zip(times, bare, strict=True)))
        for name, times in taken.items()
    ]
    where = f"health, {place(database, count_tasks(database))}"
    record(f"{where}: {rows[1][0]}, more than a bare connection", rows[1][2], unit="ms", at_most=MOST_MS)
    record(f"{where}: {rows[2][0]}", rows[2][1], unit="ms")
    return table(["what", "ms", "more than the bare connection, ms"], rows)


def _bare(database: Database) -> Callable[[], object]:
    if database.backend.dialect == "sqlite":

        def ask_file() -> None:
            connection = sqlite3.connect(str(database.url.database))
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.close()

        return ask_file
    plain = address(database.url)

    def ask_server() -> None:
        with psycopg.connect(plain) as connection:
            connection.execute("SELECT 1").fetchone()

    return ask_server


def each(database: Database, rounds: int) -> str:
    """Return a table of the median time of each check in an open connection, and of its slowest statement."""
    taken: dict[str, list[float]] = {name: [] for name in CHECKS}
    sent: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in taken}
    texts: dict[tuple[str, int], str] = {}
    dialect = database.backend.dialect
    checks = choose(dialect, {})
    for _ in range(rounds):
        fresh = Database(database.url, database.options)
        exam = EXAMINATIONS[dialect](fresh, datetime.now(UTC), time.monotonic() + TIMEOUT)
        for check in checks:
            with _statements() as statements:
                begun = time.perf_counter()
                exam.make(check)
                taken[check.name].append((time.perf_counter() - begun) * 1000)
            for number, (text, milliseconds) in enumerate(statements):
                sent[check.name][number].append(milliseconds)
                texts[check.name, number] = " ".join(text.split())
        exam.close()
    rows = []
    for name, times in taken.items():
        medians = {number: statistics.median(found) for number, found in sent[name].items()}
        slowest = max(medians, key=lambda number: medians[number], default=None)
        which = ("", "") if slowest is None else (medians[slowest], f"`{texts[name, slowest][:60]}`")
        rows.append((name, statistics.median(times), len(medians), *which))
    return table(["check", "ms", "statements", "slowest, ms", "which"], rows)


@contextmanager
def _statements() -> Iterator[list[tuple[str, float]]]:
    """Collect the statements that SQLAlchemy sends meanwhile, and the milliseconds of each."""
    found: list[tuple[str, float]] = []

    def before(connection: Connection, *_: object) -> None:
        connection.info["begun"] = time.perf_counter()

    def after(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        found.append((statement, (time.perf_counter() - connection.info["begun"]) * 1000))

    listeners = (("before_cursor_execute", before), ("after_cursor_execute", after))
    for name, listener in listeners:
        event.listen(Engine, name, listener)
    try:
        yield found
    finally:
        for name, listener in listeners:
            event.remove(Engine, name, listener)


if __name__ == "__main__":
    main()
