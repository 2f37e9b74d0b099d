"""Measure every form of `taskdb task list` beside hand-written SQL: `python benchmarks/listing.py`.

Run build.py first. It reads only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from databases import address, argument_parser, count_tasks, databases, describe
from forms import COUNT, FORMS, LIMIT, USER, USER_ID, Form, Raw, database_ms, explained
from measuring import Works, add_output_option, median_ms, ratio, report, table, times_ms, track
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import STREAM_ROWS, Order, Position
from taskdb_cli.services.listing.query import TaskFilter

STREAMED = 100_000
EXPORTED = 1_000_000
MEGABYTE = 1024 * 1024


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
    add_output_option(parser)
    given = parser.parse_args()
    sections: dict[str, str] = {}
    by_engine: dict[str, list[Measured]] = {}
    with databases(given) as found:
        for database in found:
            tasks = count_tasks(database)
            heading = describe(database, tasks)
            figures = database.read(partial(measure, heading=heading))
            sections[f"{heading}: goals"] = _goals_table(figures)
            sections[f"{heading}: every form"] = _forms_table(figures)
            by_engine.setdefault(database.backend.dialect, []).append(Measured(database, tasks, figures))
            if rows := _everything(database, tasks):
                sections[f"{heading}: everything"] = table(["what", "figure"], rows)
        for engine, measured in by_engine.items():
            if len(measured) > 1:
                sections[f"Growth with size: {engine}"] = _growth_table(measured)
    report(sections, given.output)


def measure(session: Session, heading: str) -> list[Figures]:
    """Measure the first and a deep page of every form, and the count."""
    found = [figures for form in track(FORMS, heading) for figures in _pages(session, form)]
    return [*found, _count(session)]


def _pages(session: Session, form: Form) -> Iterator[Figures]:
    raw = Raw(session)
    [[rows]] = raw.fetch(form.count(), {"user": USER_ID})
    yield _page(session, form, rows, None)
    if rows and (position := form.find_position(session, rows)):
        yield _page(session, form, rows, position)


def _page(session: Session, form: Form, rows: int, position: Position | None) -> Figures:
    raw, order = Raw(session), Order.parse(form.sort, TASK_SORT_KEYS)

    def by_service() -> list[Any]:
        return list(service.find(session, form.filter, order, limit=LIMIT, after=position).records)

    by_hand = [row[0] for row in raw.page(form, position)]
    assert [record["id"] for record in by_service()] == by_hand, f"{form.options}: other rows"
    queries, reached = explained(session, form, position)
    works: Works = {"raw": lambda: raw.page(form, position), "service": by_service}
    page = "first" if position is None else "deep"
    return Figures(
        form.options, page, rows, *_compare(works), *_database_medians(session, queries), reached, queries,
        form.pinned,
    )  # fmt: skip


def _count(session: Session) -> Figures:
    raw = Raw(session)
    order = Order.parse(COUNT.sort, TASK_SORT_KEYS)
    [plan] = service.explain(session, COUNT.filter, order, limit=LIMIT, count=True)
    works: Works = {"raw": lambda: raw.count(COUNT), "service": lambda: service.count(session, COUNT.filter)}
    return Figures(
        COUNT.options, "-", raw.count(COUNT), *_compare(works), *_database_medians(session, [plan.sql]),
        plan.summary(), [plan.sql],
    )  # fmt: skip


def _compare(works: Works) -> tuple[float, float, float]:
    taken = times_ms(works)
    raw, ours = taken["raw"], taken["service"]
    return statistics.median(raw), statistics.median(ours), ratio(ours, raw)


def _database_medians(session: Session, queries: list[str]) -> tuple[float, float]:
    parts = {
        "planning": lambda: database_ms(session, queries)[0],
        "execution": lambda: database_ms(session, queries)[1],
    }
    taken = median_ms(parts, most=15)
    return taken["planning"], taken["execution"]


def _goals_table(figures: list[Figures]) -> str:
    """Set the slowest of each kind beside its goal; a page of fewer rows than asked for does not count."""
    full = [each for each in figures if each.rows > 2 * LIMIT]
    kinds = [
        ("a pinned form", 3, [each for each in full if each.pinned]),
        ("newest first, overdue first, without a user", 10, [e for e in full if "--user" not in e.options]),
        ("count by status", 30, [each for each in full if each.options == COUNT.options]),
    ]
    rows: list[list[object]] = []
    for kind, goal, found in kinds:
        if not found:
            continue
        slowest = max(found, key=lambda each: each.execution)
        figure = f"{slowest.execution:.2f} ms (`{slowest.options}`, {slowest.page})"
        rows.append([f"{kind}: in the database", f"< {goal} ms", figure])
    ratios = sorted(each.ratio for each in full if each.pinned)
    figure = f"median {statistics.median(ratios):.2f}, highest {ratios[-1]:.2f}"
    rows.append(["a page of a pinned form: service / raw", "3 at most", figure])
    return table(["what", "goal", "figure"], rows)


def _forms_table(figures: list[Figures]) -> str:
    headers = ["form", "page", "rows", "planned", "run", "raw SQL", "service", "service / raw"]
    rows = [
        [f"`{e.options}`", e.page, e.rows, e.planning, e.execution, e.raw, e.service, e.ratio, e.reached]
        for e in figures
    ]
    return table([*headers, "how the rows were reached"], rows)


def _growth_table(measured: list[Measured]) -> str:
    """Run the queries of each form on all sizes in turn."""
    measured = sorted(measured, key=lambda each: each.tasks)
    sizes = [f"{each.tasks:,}".replace(",", " ") for each in measured]
    by_form = [{(f.options, f.page): f for f in each.figures} for each in measured]
    forms = [form for form in by_form[0] if all(form in found for found in by_form)]
    rows, growths = [], []
    with ExitStack() as stack:
        sessions = [stack.enter_context(each.database.stream(_itself)) for each in measured]
        opened = [next(session) for session in sessions]
        for form in track(forms, "growth"):
            queries = [found[form].queries for found in by_form]
            works = {
                size: partial(_execution, session, query)
                for size, session, query in zip(sizes, opened, queries, strict=True)
            }
            taken = times_ms(works)
            steps = [ratio(taken[larger], taken[smaller]) for smaller, larger in pairwise(sizes)]
            if by_form[0][form].pinned:
                growths.append(steps[-1])
            rows.append([f"`{form[0]}`", form[1], *map(statistics.median, taken.values()), *steps])
    last = f"{sizes[-1]} / {sizes[-2]}"
    summary = f"{last}, pinned forms: median {statistics.median(growths):.2f}, highest {max(growths):.2f}.\n"
    headers = ["form", "page", *sizes, *(f"{larger} / {smaller}" for smaller, larger in pairwise(sizes))]
    return f"{table(headers, rows)}\n{summary}"


def _itself(session: Session) -> Iterator[Session]:
    yield session


def _execution(session: Session, queries: list[str]) -> float:
    return database_ms(session, queries)[1]


def _everything(database: Database, tasks: int) -> list[list[object]]:
    """Measure a stream of many rows beside the driver's, and the memory of an export by the command."""
    rows: list[list[object]] = []
    taken = database.read(_streams)
    if taken:
        raw, ours = taken["raw"], taken["service"]
        rows += [
            [f"{STREAMED} rows, raw driver", f"{statistics.median(raw):.0f} ms"],
            [f"{STREAMED} rows, service", f"{statistics.median(ours):.0f} ms, {ratio(ours, raw):.2f} x raw"],
        ]
    if tasks == EXPORTED:
        seconds, peak = _export(database)
        rows += [
            ["`task list --limit 0 -o ndjson`, all tasks", f"{seconds:.1f} s"],
            ["its peak resident memory", f"{peak / MEGABYTE:.0f} MB"],
        ]
    return rows


def _streams(session: Session) -> Mapping[str, list[float]]:
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

    return times_ms({"raw": by_hand, "service": by_service}, most=15, seconds=20)


def _export(database: Database) -> tuple[float, int]:
    """Return the seconds and the peak memory of a process that lists everything."""
    url = address(database.url)
    command = [sys.executable, "-m", "taskdb_cli", "--database-url", url]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "task", "list", "--limit", "0", "-o", "ndjson"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the listing failed"
    return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
