r"""Measure imports and exports beside psql's `\copy` and `sqlite-utils`: `python benchmarks/transfer.py`.

Each is a whole process, start-up included, on the same rows, and an import goes into a database made for it,
with all its rules and indexes. The others take rows that are ready for the table: the ids of users, the
numbers of priorities. taskdb looks them up, and validates every value.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from build import BATCH, task_rows, user_rows
from databases import PROGRAMS, address, argument_parser, databases, describe, empty_database, place
from measuring import add_output_option, ratio, record, report, table, track
from processes import TASKDB, Run, Works, run, take_turns

from taskdb_cli.database import Database
from taskdb_cli.database.statements import bulk_insert
from taskdb_cli.models import metadata
from taskdb_cli.models.vocabulary import TaskPriority
from taskdb_cli.services import migrate

MOST_MB = 150
PARTS = ("import", "export")
USERS = 100
USER_COLUMNS = ("email", "name", "is_active", "version", "created_at", "updated_at")
RAW_COLUMNS = (
    "user_id", "external_id", "title", "description", "status", "priority",
    "due_at", "completed_at", "version", "created_at", "updated_at",
)  # fmt: skip
COLUMNS = ("user", *(name for name in RAW_COLUMNS[1:] if name != "version"))
HEADERS = ["process", "s", "s of it / first", "peak MB", "rows/s", "µs of processor time a row"]


def write_files(files: Path, tasks: int) -> None:
    """Write the rows for taskdb as CSV and NDJSON, and those for the others as they are in the table."""
    words = {priority.value: priority.word for priority in TaskPriority}
    with (
        (files / "tasks.csv").open("w", newline="") as mine,
        (files / "tasks.ndjson").open("w") as lines,
        (files / "raw.csv").open("w", newline="") as raw,
        (files / "raw.ndjson").open("w") as raw_lines,
    ):
        rows, raw_rows = csv.writer(mine, lineterminator="\n"), csv.writer(raw, lineterminator="\n")
        rows.writerow(COLUMNS)
        raw_rows.writerow(RAW_COLUMNS)
        number = 0
        for start in track(range(0, tasks, BATCH), f"{tasks:,} rows to files"):
            numbers = range(start, min(start + BATCH, tasks))
            for owner, _, title, text, status, priority, *times in task_rows(numbers, USERS, USERS, tasks):
                number += 1
                due, completed, version, created, updated = map(_plain, times)
                shared: tuple[Any, ...] = (f"T-{number}", title, text, status)
                row = (f"user{owner - 1}@example.com", *shared, words[priority])
                row += (due, completed, created, updated)
                raw_row = (owner, *shared, priority, due, completed, version, created, updated)
                rows.writerow(row)
                raw_rows.writerow(raw_row)
                lines.write(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n")
                raw_lines.write(json.dumps(dict(zip(RAW_COLUMNS, raw_row, strict=True))) + "\n")


def _plain(value: Any) -> Any:
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if hasattr(value, "tzinfo") else value


def imports(files: Path, tools: argparse.Namespace, target: Callable[[], Any]) -> Works:
    """Return what brings the files into an empty database each. The first is the measure of the others."""

    def into_empty(command: Callable[[Database], list[str]]) -> Run:
        with target() as database:
            return run(command(database))

    def taskdb(*arguments: str) -> Callable[[Database], list[str]]:
        return lambda database: [*TASKDB, "-q", "--database-url", address(database.url), *arguments]

    others: dict[str, Callable[[Database], list[str]]] = {}
    if tools.psql:
        copy = rf"\copy tasks ({', '.join(RAW_COLUMNS)}) FROM '{files / 'raw.csv'}' (FORMAT csv, HEADER)"
        others[r"`\copy` of psql, CSV"] = lambda database: _psql(tools, database, copy)
    if tools.sqlite_utils:
        raw = str(files / "raw.ndjson")
        others["`sqlite-utils insert`, NDJSON"] = lambda database: [
            *(tools.sqlite_utils, "insert", database.backend.place, "tasks", raw, "--nl")
        ]
    ours = {
        "`taskdb task import`, CSV": taskdb("task", "import", str(files / "tasks.csv")),
        "`taskdb task import`, NDJSON": taskdb("task", "import", str(files / "tasks.ndjson")),
        "`taskdb task import --dry-run`, CSV": taskdb(
            "task", "import", str(files / "tasks.csv"), "--dry-run"
        ),
    }
    return {name: partial(into_empty, command) for name, command in {**others, **ours}.items()}


def exports(files: Path, tools: argparse.Namespace, database: Database) -> Works:
    """Return what writes all tasks of a database to a file."""
    taskdb = [*TASKDB, "--database-url", address(database.url), "task", "export", "-o"]
    url = ["-q", "--database-url", address(database.url)]
    again = [*TASKDB, *url, "task", "import", str(files / "tasks.csv")]
    others: dict[str, list[str]] = {}
    if tools.psql:
        copy = rf"\copy (SELECT * FROM tasks ORDER BY id) TO '{files / 'out'}' (FORMAT csv, HEADER)"
        others[r"`\copy` of psql, CSV"] = _psql(tools, database, copy)
    if tools.sqlite_utils:
        place = database.backend.place
        others["`sqlite-utils rows`, CSV"] = [tools.sqlite_utils, "rows", place, "tasks", "--csv"]
    ours = {
        "`taskdb task export`, CSV": [*taskdb, "csv"],
        "`taskdb task export`, NDJSON": [*taskdb, "ndjson"],
        "`taskdb task import` again, all unchanged": again,
    }
    return {name: partial(run, command, output=files / "out") for name, command in {**others, **ours}.items()}


def _psql(tools: argparse.Namespace, database: Database, command: str) -> list[str]:
    return [tools.psql, "-qX", "-v", "ON_ERROR_STOP=1", "-d", address(database.url), "-c", command]


@contextmanager
def empty(origin: Database, files: Path) -> Iterator[Database]:
    """Make a database of the same engine with users and no task, and remove it at the end."""
    if origin.backend.dialect == "sqlite":
        path = files / "empty.sqlite3"
        try:
            yield _with_users(Database(origin.url.set(database=str(path))))
        finally:
            for each in files.glob("empty.sqlite3*"):
                each.unlink()
        return
    with empty_database(origin.url) as url:
        yield _with_users(Database(url))


def _with_users(database: Database) -> Database:
    database.backend.create()
    migrate.upgrade(database)
    users = metadata().tables["users"]
    database.write(lambda session: bulk_insert(session, users, USER_COLUMNS, user_rows(USERS)))
    return database


def compare(works: Works, given: argparse.Namespace, tasks: int, title: str, where: str) -> str:
    """Run each in turn; return a table."""
    works = {name: work for name, work in works.items() if any(word in name for word in given.only)}
    runs = take_turns(works, given.turns, title)
    first = next(iter(runs))
    base = [each.seconds for each in runs[first]]
    rows: list[list[object]] = []
    for name, found in runs.items():
        seconds = [each.seconds for each in found]
        cost = median(each.processor for each in found) / tasks * 1e6
        peak = max(each.peak for each in found)
        rate = ratio(seconds, base)
        if "taskdb" in name and "taskdb" not in first:
            record(f"{where}: {name} / {first}", rate)
        rows.append([name, median(seconds), rate, peak, round(tasks / median(seconds)), cost])
    most = max(each.peak for name, found in runs.items() if "taskdb" in name for each in found)
    record(f"{where}: peak memory", most, unit="MB", at_most=MOST_MB)
    return table(HEADERS, rows)


def main() -> None:
    """Measure each size on each engine; report."""
    parser = argument_parser(__doc__, tasks=[100_000, 1_000_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: both")
    parser.add_argument("--only", nargs="+", default=[""], help="words of the processes to run; default: all")
    parser.add_argument("--psql", default=shutil.which("psql", path=f"{PROGRAMS}:{os.environ['PATH']}"))
    parser.add_argument("--sqlite-utils", default=shutil.which("sqlite-utils"), help="its path")
    add_output_option(parser, turns=1)
    given = parser.parse_args()
    report(dict(_sections(given)), given.output)


def _sections(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with databases(given) as found:
        for database, tasks in zip(found, given.tasks * len(given.engine), strict=False):
            tools = argparse.Namespace(psql=given.psql, sqlite_utils=given.sqlite_utils)
            if database.backend.dialect == "sqlite":
                tools.psql = None
            else:
                tools.sqlite_utils = None
            if not (tools.psql or tools.sqlite_utils):
                sys.stderr.write("psql or sqlite-utils is absent: name it with --psql or --sqlite-utils\n")
            with TemporaryDirectory(prefix="taskdb-", dir=given.directory) as directory:
                files = Path(directory)
                write_files(files, tasks)
                target = partial(empty, database, files)
                with target() as other:
                    heading = describe(other, tasks)
                if "import" in given.parts:
                    works = imports(files, tools, target)
                    yield (
                        f"{heading}, import",
                        compare(
                            works, given, tasks, f"{heading}, import", f"import, {place(database, tasks)}"
                        ),
                    )
                if "export" not in given.parts:
                    continue
                with target() as other:
                    url = ["--database-url", address(other.url)]
                    run([*TASKDB, "-q", *url, "task", "import", str(files / "tasks.csv")])
                    works = exports(files, tools, other)
                    yield (
                        f"{heading}, export",
                        compare(
                            works, given, tasks, f"{heading}, export", f"export, {place(database, tasks)}"
                        ),
                    )


if __name__ == "__main__":
    main()
