"""Measure whole processes of taskdb beside bare scripts: `python benchmarks/startup.py`.

Run build.py first. Import everything once before: without .pyc files a start takes four times as long.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from databases import address, argument_parser, count_tasks, databases, describe, place
from measuring import add_output_option, ratio, record, report, table, times_ms, track
from processes import TASKDB

from taskdb_cli.database import Database

HERE = Path(__file__).parent
# Each line with its exit code and its goal.
WORDS: list[tuple[str, int, float | None]] = [
    ("--help", 0, 1.3),
    ("--version", 0, 1.3),
    ("task list --help", 0, None),
    ("task lst", 2, None),
]
HELP = [sys.executable, str(HERE / "bare_app.py"), "--help"]


def main() -> None:
    """Measure the words that need no database, then `task list` on each database; report."""
    parser = argument_parser(__doc__, tasks=[10_000])
    add_output_option(parser, turns=20)
    given = parser.parse_args()
    turns = given.turns
    rows = [
        _compare(
            f"`taskdb {line}`",
            {"taskdb": [*TASKDB, *line.split()], "bare Typer app": HELP},
            turns,
            code=code,
            goal=goal,
        )
        for line, code, goal in track(WORDS, "without a database")
    ]
    with databases(given) as found:
        for database in found:
            lines = track(["task list -o table", "task list"], describe(database, count_tasks(database)))
            rows += [_compare_list(database, line, turns) for line in lines]
    headers = ["process", "beside", "ms", "ms beside", "ratio"]
    report({"Whole processes": table(headers, rows)}, given.output)


def _compare_list(database: Database, line: str, turns: int) -> list[object]:
    url = address(database.url)
    bare = [sys.executable, str(HERE / "bare_list.py"), url.replace("postgresql:", "postgresql+psycopg:")]
    taskdb = [*TASKDB, "--database-url", url, *line.split()]
    name = f"{place(database)}, `taskdb {line}`"
    return _compare(name, {"taskdb": taskdb, "bare SQLModel script": bare}, turns, goal=1.0)


def _compare(
    name: str, commands: dict[str, list[str]], turns: int, *, code: int = 0, goal: float | None
) -> list[object]:
    (_, ours), (beside, theirs) = commands.items()
    taken = times_ms({"taskdb": _runner(ours, code), "bare": _runner(theirs, 0)}, most=turns, least=turns)
    taskdb, bare = taken["taskdb"], taken["bare"]
    rate = record(f"start, {name} / {beside}", ratio(taskdb, bare), at_most=goal)
    return [name, beside, median(taskdb), median(bare), rate]


def _runner(command: list[str], code: int) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert done.returncode == code, done.stderr.decode()

    return run


if __name__ == "__main__":
    main()
