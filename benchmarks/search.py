"""Measure searches with the search index and without it, and what it costs: `python benchmarks/search.py`.

Run build.py first. The index is built in a copy of each database, which is removed at the end, so that both
sides run in turn. They must find the same tasks, or the benchmark stops. Insertions and changes are rolled
back. What is imported is deleted.
"""

from __future__ import annotations

import argparse
import csv
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg
from build import NOW, RARE, build
from databases import address, argument_parser, count_tasks, databases, describe, empty_database, place
from forms import LIMIT, USER, database_ms
from indexes import INSERTED, UPDATED, timed_writes
from measuring import add_output_option, ratio, record, report, table, times_ms, track
from processes import TASKDB, run
from sqlalchemy import text
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import SchemaError
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.services import search, task
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter

MOST_MS = 30
SLOWER = 1.15
"""How many times as long a search may take that the index does not help: what two runs differ by."""
LEAST_RATE = 0.5
IMPORTED = 20_000
PREFIX = "search-benchmark-"
TURN_SECONDS = 0.05
MOST_IN_LOCALE_C = 1_000_000
"""So many tasks are enough to show what the letters of a server do."""
COPY = "taskdb_benchmark_copy"
NEWEST = Order.parse("-created", TASK_SORT_KEYS)
SIDES = ("without", "with")
USERS = {"all tasks": None, "the user with most tasks": USER, "a user with few tasks": "user5@example.com"}
_word, _dashes, _cyrillic = RARE
HELPED = {
    "a rare word": _word,
    "an absent text": "nowhere to be found",
}
OTHERS = {
    "1 % of the tasks": "report invoice",
    "10 % of the tasks": "the d",
    "50 % of the tasks": "about the",
    "two letters": _word[:2],
    "`---`": _dashes[:3],
    "a rare Cyrillic word": _cyrillic,
}
LETTERS = ("a rare word", "`---`", "a rare Cyrillic word")
HEADERS = [
    "search", "in", "tasks", "database, without", "with", "service, without", "with", "with / without",
    "reached with it",
]  # fmt: skip

Both = Mapping[str, Database]
"""The database without the index, and its copy with it."""


@contextmanager
def copied(database: Database, files: Path) -> Iterator[Database]:
    """Copy a database with all statistics, and remove the copy at the end."""
    if database.backend.dialect == "sqlite":
        path = files / "copy.sqlite3"
        with closing(sqlite3.connect(database.backend.place)) as origin:
            origin.execute(f"VACUUM INTO '{path}'")
        yield Database(database.url.set(database=str(path)))
        return
    # The template must have no session.
    database.engine.dispose()
    server = address(database.url.set(database="postgres"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {COPY}")
        connection.execute(f'CREATE DATABASE {COPY} TEMPLATE "{database.url.database}" STRATEGY FILE_COPY')
        yield Database(database.url.set(database=COPY))
        connection.execute(f"DROP DATABASE {COPY} WITH (FORCE)")


@dataclass(frozen=True)
class Search:
    """One search: what it is called, and its filter."""

    label: str
    user: str
    filter: TaskFilter
    helped: bool


def searches() -> Iterator[Search]:
    """Yield every text with every user."""
    for helped, texts in ((True, HELPED), (False, OTHERS)):
        for label, wanted in texts.items():
            for user, email in USERS.items():
                filter = TaskFilter(search=wanted, users=(email,) if email else ())
                yield Search(label, user, filter, helped)


def compare_searches(both: Both, where: str, turns: int, labels: Collection[str] = ()) -> str:
    """Measure searches, those of some labels or all, on both sides; return a table."""
    every = [each for each in searches() if not labels or each.label in labels]

    def on_both(without: Session) -> list[list[object]]:
        def with_copy(session: Session) -> list[list[object]]:
            sides = dict(zip(SIDES, (without, session), strict=True))
            return [_compare(each, sides, where, turns) for each in track(every, where)]

        return both["with"].read(with_copy)

    return table(HEADERS, both["without"].read(on_both))


def _compare(each: Search, sides: Mapping[str, Session], where: str, turns: int) -> list[object]:
    found = {side: _ids(session, each.filter) for side, session in sides.items()}
    number = task.count(sides["with"], each.filter)
    if found["without"] != found["with"]:
        sys.exit(f"error: {each.label}, {each.user}: other tasks with the index")
    works: dict[str, Callable[[], object]] = {}
    plans = {side: task.explain(session, each.filter, NEWEST, limit=LIMIT) for side, session in sides.items()}
    for side, session in sides.items():
        queries = [plan.sql for plan in plans[side]]
        works[f"database {side}"] = partial(_execution, session, queries)
        works[f"service {side}"] = partial(_ids, session, each.filter)
    taken = times_ms(works, most=turns, least=min(3, turns), seconds=turns * TURN_SECONDS)
    name = f"search, {where}: {each.label} in {each.user}"
    database, rate = median(taken["database with"]), ratio(taken["service with"], taken["service without"])
    if each.helped:
        record(f"{name}, in the database", database, unit="ms", at_most=MOST_MS)
    record(f"{name}, with / without", rate, at_most=None if each.helped else SLOWER, steady=False)
    times = [median(taken[f"{of} {side}"]) for of in ("database", "service") for side in SIDES]
    return [each.label, each.user, number, *times, rate, plans["with"][0].summary()]


def _ids(session: Session, filter: TaskFilter) -> list[int]:
    return [row["id"] for row in task.find(session, filter, NEWEST, limit=LIMIT).records]


def _execution(session: Session, queries: list[str]) -> float:
    return database_ms(session, queries)[1]


def compare_writes(both: Both, where: str, turns: int, files: Path) -> str:
    """Measure writes of both sides in turn, by statements, by the service and imports; return a table."""
    rows = []
    for label, work in _writes(files).items():
        works = {side: partial(work, database) for side, database in both.items()}
        taken = times_ms(works, most=turns, least=min(3, turns), seconds=turns / 2)
        rate = ratio(taken["without"], taken["with"])
        record(f"search, {where}: {label}, rate with / without", rate, at_least=LEAST_RATE)
        rows.append([label, *(median(taken[side]) for side in SIDES), rate])
    return table(["write", "ms without", "with", "rate, with / without"], rows)


def _writes(files: Path) -> dict[str, Callable[[Database], float]]:
    numbers = count()
    return {
        f"insert {INSERTED} tasks": partial(_at_once, "insert"),
        f"change {UPDATED} titles": partial(_at_once, "retitle"),
        "create a task": partial(_one, lambda session: task.create(session, USER, _NEW, now=NOW)),
        "change a title": partial(_one, lambda session: task.change(session, [1], _CHANGED, now=NOW)),
        f"import {IMPORTED} tasks": lambda database: _import(database, files, next(numbers)),
    }


_NEW = TaskCreate(
    title="Write the quarterly report for the board", description="About the budget of the year"
)
_CHANGED = TaskUpdate(title="Read the quarterly report of the board")


def _at_once(kind: str, database: Database) -> float:
    [taken] = database.write(partial(timed_writes, kinds=[kind]), dry_run=True)
    return taken


def _one(work: Callable[[Session], object], database: Database) -> float:
    start = time.perf_counter()
    for _ in range(20):
        database.write(work, dry_run=True)
    return (time.perf_counter() - start) * 1000 / 20


def _import(database: Database, files: Path, number: int) -> float:
    path = files / "search-imported.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "external_id", "title", "description"])
        for each in range(IMPORTED):
            title = f"Invoice {each} of the quarterly report"
            rows.writerow([USER, f"{PREFIX}{number}-{each}", title, f"About the budget of {each}"])
    try:
        done = run([*TASKDB, "-q", "--database-url", address(database.url), "task", "import", str(path)])
    finally:
        path.unlink()
        database.write(_delete_imported)
    return done.seconds * 1000


def _delete_imported(session: Session) -> None:
    session.execute(text(f"DELETE FROM tasks WHERE external_id LIKE '{PREFIX}%'"))


def build_index(database: Database, where: str) -> list[object]:
    """Build the index; return its seconds and its size."""
    start = time.perf_counter()
    _, index = search.on(database)
    seconds = time.perf_counter() - start
    record(f"search, {where}: building the index", seconds, unit="s")
    record(f"search, {where}: its size", index.bytes / 1e6, unit="MB")
    return [seconds, index.bytes / 1e6]


def main() -> None:
    """Measure each database; report."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    add_output_option(parser, turns=20)
    given = parser.parse_args()
    report(dict(_sections(given)), given.output)


def _sections(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with databases(given) as found:
        for database in found:
            tasks = count_tasks(database)
            heading, where = describe(database, tasks), place(database, tasks)
            with _both(database, given.directory, where) as (both, built):
                if both is None:
                    yield heading, f"{built}\n"
                    continue
                yield f"{heading}: the index", table(["seconds to build", "MB"], [built])
                yield f"{heading}: searches", compare_searches(both, where, given.turns)
                # Writes take about as long, however many tasks there are.
                if given.url or tasks >= max(given.tasks):
                    yield f"{heading}: writes", compare_writes(both, where, given.turns, given.directory)
        on_server = found and found[0].backend.dialect == "postgresql" and not given.url
        if on_server and given.tasks[0] <= MOST_IN_LOCALE_C:
            yield _in_locale_c(found[0], given)


def _in_locale_c(server: Database, given: argparse.Namespace) -> tuple[str, str]:
    """Measure what depends on the letters that a server knows, where it knows those of ASCII alone."""
    with empty_database(server.url, locale="C") as url:
        build(database := Database(url), tasks := given.tasks[0])
        where = f"{place(database, tasks)}, locale C"
        with _both(database, given.directory, where) as (both, built):
            if both is None:
                return where, f"{built}\n"
            return f"{where}: searches", compare_searches(both, where, given.turns, LETTERS)


@contextmanager
def _both(
    database: Database, directory: Path, where: str
) -> Iterator[tuple[Both, list[object]] | tuple[None, str]]:
    """Copy the database, and build the index in the copy; or say why it cannot have one."""
    with TemporaryDirectory(prefix="taskdb-", dir=directory) as files, copied(database, Path(files)) as copy:
        try:
            built = build_index(copy, where)
        except SchemaError as exc:
            yield None, str(exc)
            return
        # One connection each, kept as in the API.
        pooled = Options(pool=Pool(size=1, overflow=0))
        both = zip(SIDES, (database, copy), strict=True)
        yield {side: Database(each.url, pooled) for side, each in both}, built


if __name__ == "__main__":
    main()
