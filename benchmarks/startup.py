"""Measure whole processes of taskdb beside bare scripts: `python benchmarks/startup.py`.

Run build.py first. Import everything once before: without .pyc files a start takes four times as long.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from databases import address, argument_parser, count_tasks, databases, describe
from measuring import add_output_option, ratio, report, table, times_ms, track

from taskdb_cli.database import Database

HERE = Path(__file__).parent
# What the installed script does.
TASKDB = [sys.executable, "-c", "from taskdb_cli.__main__ import main; main()"]
HELP = [sys.executable, str(HERE / "bare_app.py"), "--help"]


def main() -> None:
    """Measure the words that need no database, then `task list` on each database; report."""
    parser = argument_parser(__doc__, tasks=[10_000])
    parser.add_argument("--turns", type=int, default=20, help="how often each is run")
    add_output_option(parser)
    given = parser.parse_args()
    words = {"--help": 0, "--version": 0, "task list --help": 0, "task lst": 2}
    turns = given.turns
    rows = [
        [f"`taskdb {line}`", "bare Typer app --help", *_compare([*TASKDB, *line.split()], HELP, turns, code)]
        for line, code in track(list(words.items()), "without a database")
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
    name = f"`taskdb {line}`, {database.backend.dialect}"
    return [name, "bare SQLModel script", *_compare(taskdb, bare, turns)]


def _compare(command: list[str], other: list[str], turns: int, code: int = 0) -> list[object]:
    works = {"taskdb": _runner(command, code), "bare": _runner(other, 0)}
    taken = times_ms(works, most=turns, least=turns)
    taskdb, bare = taken["taskdb"], taken["bare"]
    return [median(taskdb), median(bare), f"{ratio(taskdb, bare):.2f}"]


def _runner(command: list[str], code: int) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert done.returncode == code, done.stderr.decode()

    return run


if __name__ == "__main__":
    main()
