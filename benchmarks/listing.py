"""Measure every form of `taskdb task list` beside hand-written SQL: `python benchmarks/listing.py`.

Run build.py first. It reads only.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from databases import address, argument_parser, count_tasks, databases, describe, place, short
from forms import COUNT, FORMS, LIMIT, USER, USER_ID, Form, Raw, database_ms, explained
from measuring import Works, add_output_option, median_ms, ratio, record, report, table, times_ms, track
from processes import TASKDB, run
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import STREAM_ROWS, Order, Position
from taskdb_cli.services.listing.query import TaskFilter

STREAMED = 100_000
EXPORTED = 1_000_000
TURN_SECONDS = 0.05
"""No more turns begin when this time is up for each that was asked for, and three are done."""


@dataclass(frozen=True)
class Figures:
    """What one page, or one count, took in milliseconds."""

    options: str
    page: str
    rows: int
    raw: float
    service: float
    ratio: float
    planning: float
    execution: float
    reached: str
    queries: list[str]
    pinned: bool = False


@dataclass(frozen=True)
class Measured:
    """One database and its figures."""

    database: Database
    tasks: int
    figures: list[Figures]


def main() -> None:
    """Measure each database, and report."""
    parser = argument_parser(__doc__, tasks=[10_000, 1_000_000])
    add_output_option(parser, turns=30)
    given = parser.parse_args()
    sections: dict[str, str] = {}
    by_engine: dict[str, list[Measured]] = {}
    with databases(given) as found:
        for database in found:
            tasks = count_tasks(database)
            heading = describe(database, tasks)
            figures = database.read(partial(measure, heading=heading, turns=given.turns))
            _record(figures, place(database, tasks))
            sections[f"{heading}: every form"] = _forms_table(figures)
            by_engine.setdefault(database.backend.dialect, []).append(Measured(database, tasks, figures))
            if rows := _everything(database, tasks, given.turns):
                sections[f"{heading}: everything"] = table(["what", "figure"], rows)
        for engine, measured in by_engine.items():
            if len(measured) > 1:
                sections[f"Growth with size: {engine}"] = _growth_table(measured, given.turns)
    report(sections, given.output)


def measure(session: Session, heading: str, turns: int) -> list[Figures]:
    """Measure the first and a deep page of every form, and the count."""
    found = [figures for form in track(FORMS, heading) for figures in _pages(session, form, turns)]
    return [*found, _count(session, turns)]


def _pages(session: Session, form: Form, turns: int) -> Iterator[Figures]:
    raw = Raw(session)
    [[rows]] = raw.fetch(form.count(), {"user": USER_ID})
    yield _page(session, form, rows, None, turns)
    if rows and (position := form.find_position(session, rows)):
        yield _page(session, form, rows, position, turns)


def _page(session: Session, form: Form, rows: int, position: Position | None, turns: int) -> Figures:
    raw, order = Raw(session), Order.parse(form.sort, TASK_SORT_KEYS)

    def by_service() -> list[Any]:
        return list(service.find(session, form.filter, order, limit=LIMIT, after=position).records)

    by_hand = [row[0] for row in raw.page(form, position)]
    assert [record["id"] for record in by_service()] == by_hand, f"{form.options}: other rows"
    queries, reached = explained(session, form, position)
    works: Works = {"raw": lambda: raw.page(form, position), "service": by_service}
    page = "first" if position is None else "deep"
    return Figures(
        form.options, page, rows, *_compare(works, turns), *_database_medians(session, queries, turns),
        reached, queries,
        form.pinned,
    )  # fmt: skip


def _count(session: Session, turns: int) -> Figures:
    raw = Raw(session)
    order = Order.parse(COUNT.sort, TASK_SORT_KEYS)
    [plan] = service.explain(session, COUNT.filter, order, limit=LIMIT, count=True)
    works: Works = {"raw": lambda: raw.count(COUNT), "service": lambda: service.count(session, COUNT.filter)}
    return Figures(
        COUNT.options, "-", raw.count(COUNT), *_compare(works, turns),
        *_database_medians(session, [plan.sql], turns),
        plan.summary(), [plan.sql],
    )  # fmt: skip


def _compare(works: Works, turns: int) -> tuple[float, float, float]:
    taken = times_ms(works, most=turns, seconds=turns * TURN_SECONDS)
    raw, ours = taken["raw"], taken["service"]
    return statistics.median(raw), statistics.median(ours), ratio(ours, raw)


def _database_medians(session: Session, queries: list[str], turns: int) -> tuple[float, float]:
    parts = {
        "planning": lambda: database_ms(session, queries)[0],
        "execution": lambda: database_ms(session, queries)[1],
    }
    taken = median_ms(parts, most=(turns + 1) // 2, seconds=turns * TURN_SECONDS)
    return taken["planning"], taken["execution"]


def _record(figures: list[Figures], where: str) -> None:
    """Record the slowest of each kind; a page of fewer rows than asked for does not count."""
    full = [each for each in figures if each.rows > 2 * LIMIT]
    kinds = [
        ("a pinned form", 3, [each for each in full if each.pinned]),
        ("newest or overdue first, no user", 10, [each for each in full if "--user" not in each.options]),
        ("count by status", 30, [each for each in full if each.options == COUNT.options]),
    ]
    for kind, goal, found in kinds:
        if found:
            slowest = max(each.execution for each in found)
            record(f"listing, {where}: {kind}, slowest in the database", slowest, unit="ms", at_most=goal)
    ratios = [each.ratio for each in full if each.pinned]
    # The goal is that of psycopg: with SQLite there is no server to wait for.
    goal = 3 if where.startswith("PostgreSQL") else None
    name = f"listing, {where}: a page, service / raw driver"
    record(f"{name}, median", statistics.median(ratios), at_most=goal)
    record(f"{name}, highest", max(ratios), at_most=goal, steady=False)


def _forms_table(figures: list[Figures]) -> str:
    headers = ["form", "page", "rows", "planned", "run", "raw SQL", "service", "service / raw"]
    rows = [
        [f"`{e.options}`", e.page, e.rows, e.planning, e.execution, e.raw, e.service, e.ratio, e.reached]
        for e in figures
    ]
    return table([*headers, "how the rows were reached"], rows)


def _growth_table(measured: list[Measured], turns: int) -> str:
    """Run the queries of each form on all sizes in turn."""
    measured = sorted(measured, key=lambda each: each.tasks)
    sizes = [f"{each.tasks:,}".replace(",", " ") for each in measured]
    by_form = [{(f.options, f.page): f for f in each.figures} for each in measured]
    forms = [form for form in by_form[0] if all(form in found for found in by_form)]
    rows: list[list[object]] = []
    growths: list[list[float]] = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(each.database.stream(_itself)) for each in measured]
        opened = [next(session) for session in sessions]
        for form in track(forms, "growth"):
            queries = [found[form].queries for found in by_form]
            works = {
                size: partial(_execution, session, query)
                for size, session, query in zip(sizes, opened, queries, strict=True)
            }
            taken = times_ms(works, most=turns, seconds=turns * TURN_SECONDS)
            steps = [ratio(taken[larger], taken[smaller]) for smaller, larger in pairwise(sizes)]
            if by_form[0][form].pinned:
                growths.append(steps)
            rows.append([f"`{form[0]}`", form[1], *map(statistics.median, taken.values()), *steps])
    goal = 1.5 if measured[0].database.backend.dialect == "postgresql" else None
    for (smaller, larger), steps in zip(pairwise(measured), zip(*growths, strict=True), strict=True):
        name = (
            f"listing, {place(larger.database)}: pinned forms, {short(larger.tasks)} / {short(smaller.tasks)}"
        )
        record(f"{name}, median", statistics.median(steps), at_most=goal)
        record(f"{name}, highest", max(steps), at_most=goal, steady=False)
    headers = ["form", "page", *sizes, *(f"{larger} / {smaller}" for smaller, larger in pairwise(sizes))]
    return table(headers, rows)


def _itself(session: Session) -> Iterator[Session]:
    yield session


def _execution(session: Session, queries: list[str]) -> float:
    return database_ms(session, queries)[1]


def _everything(database: Database, tasks: int, turns: int) -> list[list[object]]:
    """Measure a stream of many rows beside the driver's, and the memory of an export by the command."""
    rows: list[list[object]] = []
    where = place(database, tasks)
    taken = database.read(partial(_streams, turns=turns))
    if taken:
        raw, ours = taken["raw"], taken["service"]
        goal = 1.6 if where.startswith("PostgreSQL") else None
        rate = record(
            f"listing, {where}: {STREAMED} rows, service / raw driver", ratio(ours, raw), at_most=goal
        )
        rows += [
            [f"{STREAMED} rows, raw driver", f"{statistics.median(raw):.0f} ms"],
            [f"{STREAMED} rows, service", f"{statistics.median(ours):.0f} ms, {rate:.2f} x raw"],
        ]
    if tasks == EXPORTED:
        command = ["--database-url", address(database.url), "task", "list", "--limit", "0", "-o", "ndjson"]
        export = run([*TASKDB, *command])
        record(f"listing, {where}: all tasks as NDJSON, peak memory", export.peak, unit="MB", at_most=150)
        rows += [
            ["`task list --limit 0 -o ndjson`, all tasks", f"{export.seconds:.1f} s"],
            ["its peak resident memory", f"{export.peak:.0f} MB"],
        ]
    return rows


def _streams(session: Session, turns: int) -> Mapping[str, list[float]]:
    raw, order = Raw(session), Order.parse("id", TASK_SORT_KEYS)
    wanted = TaskFilter(users=(USER,))
    if service.count(session, wanted) < STREAMED:
        return {}
    form = Form("", wanted, "id", "t.user_id = %(user)s", "t.id", "")
    query = raw.sql(next(form.queries(deep=False)).replace(f"LIMIT {LIMIT + 1}", f"LIMIT {STREAMED}"))

    def by_hand() -> None:
        cursor = raw.connection.cursor(**({"name": "streamed"} if raw.is_postgresql else {}))
        if raw.is_postgresql:
            cursor.itersize = STREAM_ROWS
        cursor.execute(query, {"user": USER_ID})
        deque(cursor, maxlen=0)
        cursor.close()

    def by_service() -> None:
        deque(service.stream(session, wanted, order), maxlen=0)

    return times_ms({"raw": by_hand, "service": by_service}, most=(turns + 1) // 2, seconds=20)


if __name__ == "__main__":
    main()
