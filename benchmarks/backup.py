"""Measure backups and restores beside the engines' own tools: `python benchmarks/backup.py`.

Run build.py first. Each is a whole process, start-up included; all of them take turns. What they write
goes to files, and what they restore goes into databases made for it, which are removed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import offsite
from databases import address, argument_parser, count_tasks, databases, describe, empty_database, place
from measuring import add_output_option, ratio, record, report, table
from processes import TASKDB, Run, Works, run, take_turns, writing

from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database import Database
from taskdb_cli.services import migrate

# What a bare script does with the standard library.
RAW_COPY = """
import sqlite3, sys
origin, copy = sqlite3.connect(sys.argv[1]), sqlite3.connect(sys.argv[2])
origin.backup(copy)
copy.close()
"""
# The least that a restore in one transaction asks of the server: nothing is unpacked, and nothing verified.
RAW_RESTORE = """
import sys, psycopg
before, behind, *tables, url = sys.argv[1:]
with psycopg.connect(url) as connection:
    connection.execute(open(before).read())
    for path in tables:
        with open(path, "rb") as text:
            target = text.readline().decode()
            with connection.cursor().copy(f"COPY {target} FROM STDIN") as copy:
                while chunk := text.read(1 << 17):
                    copy.write(chunk)
    connection.execute(open(behind).read())
"""
STREAM, READ_BACK = "`taskdb backup --file -`", "`taskdb backup --file`, read back"
RESTORE, BARE = "`taskdb restore`", "its COPY and indexes alone, by psycopg"
IN_ONE, IN_TWO = "`pg_restore --single-transaction`", "`pg_restore -j2`"
MOST_MB = 120
MILLION = 1_000_000
HEADERS = ["process", "s", "s of it / first", "MB", "MB of it / first", "peak MB", "rows/s"]
_numbers = count()


def backups(database: Database, files: Path, bin: Path) -> Works:
    """Return what writes all of a database to a file; the first is what the others are measured by."""
    url = address(database.url)
    taskdb = [*TASKDB, "--database-url", url, "backup", "--file"]
    if database.backend.dialect == "sqlite":
        copy = [sys.executable, "-c", RAW_COPY, database.backend.place]
        first = {"`sqlite3.Connection.backup`": partial(writing, copy, files / "copy.sqlite3", named=True)}
    else:
        first = {"`pg_dump -Fc`": partial(writing, [str(bin / "pg_dump"), "-Fc", url], files / "dump")}
    return {
        **first,
        STREAM: partial(writing, [*taskdb, "-"], files / "stream.zip"),
        READ_BACK: partial(writing, taskdb, files / "archive.zip", named=True),
    }


def restores(database: Database, files: Path, bin: Path) -> Works:
    """Return what brings back the files that `backups` wrote."""
    if database.backend.dialect == "sqlite":
        return {RESTORE: partial(_restore_sqlite, files)}
    tool, dump = str(bin / "pg_restore"), str(files / "dump")
    return {
        IN_ONE: partial(_restore_postgresql, database, [tool, "--single-transaction", dump, "--dbname"]),
        IN_TWO: partial(_restore_postgresql, database, [tool, "-j2", dump, "--dbname"]),
        BARE: partial(_restore_postgresql, database, _raw_restore(files, tool)),
        RESTORE: partial(_restore_postgresql, database, _taskdb_restore(files)),
    }


def _raw_restore(files: Path, tool: str) -> list[str]:
    scripts = []
    for section in ("pre-data", "post-data"):
        command = [tool, f"--section={section}", "--file=-", str(files / "dump")]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        scripts.append(files / f"{section}.sql")
        # What begins so is for psql.
        scripts[-1].write_text("\n".join(line for line in lines if not line.startswith("\\")))
    with Archive.open(file_at(files / "archive.zip")) as archive:
        for table in archive.manifest.tables:
            scripts.append(files / f"{table.name}.copy")
            with scripts[-1].open("wb") as text:
                columns = ", ".join(column.name for column in table.columns)
                text.write(f"public.{table.name} ({columns})\n".encode())
                text.writelines(archive.chunks(table.name))
    return [sys.executable, "-c", RAW_RESTORE, *map(str, scripts)]


def _taskdb_restore(files: Path) -> list[str]:
    # The address comes last, as with pg_restore.
    script = "import sys; from taskdb_cli.__main__ import main; sys.argv[1:] = "
    arguments = f"['-q', '--database-url', sys.argv[1], 'restore', {str(files / 'archive.zip')!r}]"
    return [sys.executable, "-c", f"{script}{arguments}; main()"]


def _restore_sqlite(files: Path) -> Run:
    target = files / f"restored{next(_numbers)}.sqlite3"
    try:
        return run([*_taskdb_restore(files), f"sqlite:///{target}"])
    finally:
        target.unlink()


def _restore_postgresql(database: Database, command: list[str]) -> Run:
    with empty_database(database.url) as url:
        return run([*command, address(url)])


def goals(engine: str, tasks: int) -> dict[str, float]:
    """Return at most how many times as long, or as large, each may be; a small database has no goals."""
    if tasks < MILLION:
        return {}
    if engine == "sqlite":
        return {STREAM: 8.0, f"{STREAM}, size": 0.2, READ_BACK: 8.0}
    return {
        STREAM: 0.5 if tasks < 5 * MILLION else 0.4,
        READ_BACK: 0.65,
        f"{STREAM}, size": 1.07,
        f"{RESTORE} / {IN_ONE}": 0.85,
        f"{RESTORE} / {IN_TWO}": 1.0,
    }


def to_files(database: Database, files: Path, given: argparse.Namespace, title: str) -> str:
    """Measure what writes all of a database to a file."""
    return compare(database, backups(database, files, given.bin), given.turns, title)


def from_files(database: Database, files: Path, given: argparse.Namespace, title: str) -> str:
    """Measure what brings back the files that `to_files` has left."""
    return compare(database, restores(database, files, given.bin), given.turns, title)


def off_the_machine(database: Database, files: Path, given: argparse.Namespace, title: str) -> str:
    """Measure backups to a bucket, and restores of one user."""
    return offsite.compare(database, files, given.turns, title)


WHAT = {"backup": to_files, "restore": from_files, "offsite": off_the_machine}
MANY = "archives"


def compare(database: Database, works: Works, turns: int, title: str) -> str:
    """Run each in turn; return a table."""
    tasks = count_tasks(database)
    runs = take_turns(works, turns, title)
    _record(runs, f"backup, {place(database, tasks)}", goals(database.backend.dialect, tasks))
    first = next(iter(runs.values()))
    return table(HEADERS, [_row(name, found, first, tasks) for name, found in runs.items()])


def _record(runs: dict[str, list[Run]], where: str, goals: dict[str, float]) -> None:
    seconds = {name: [each.seconds for each in found] for name, found in runs.items()}
    first = next(iter(runs))
    for name in (STREAM, READ_BACK):
        if name in runs:
            rate = ratio(seconds[name], seconds[first])
            record(f"{where}: {name} / {first}", rate, at_most=goals.get(name))
    if STREAM in runs:
        rate = runs[STREAM][0].size / runs[first][0].size
        record(f"{where}: its archive / {first}, size", rate, at_most=goals.get(f"{STREAM}, size"))
    for name in (IN_ONE, IN_TWO, BARE):
        if name in runs:
            rate = ratio(seconds[RESTORE], seconds[name])
            record(f"{where}: {RESTORE} / {name}", rate, at_most=goals.get(f"{RESTORE} / {name}"))
    most = max(each.peak for name, found in runs.items() if "taskdb" in name for each in found)
    what = "backup" if STREAM in runs else "restore"
    record(f"{where}: peak memory of the {what}", most, unit="MB", at_most=MOST_MB)


def _row(name: str, runs: list[Run], first: list[Run], tasks: int) -> list[object]:
    seconds, other = [each.seconds for each in runs], [each.seconds for each in first]
    size, base = runs[0].size, first[0].size
    return [
        *(name, median(seconds), ratio(seconds, other)),
        *((size, f"{size / base:.3f}") if base else ("", "")),
        *(max(each.peak for each in runs), round(tasks / median(seconds))),
    ]


def main() -> None:
    """Measure each database; report."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    parser.add_argument(
        "--what", choices=[*WHAT, MANY], nargs="+", default=[*WHAT, MANY], help="default: all of it"
    )
    add_output_option(parser, turns=5)
    given = parser.parse_args()
    sections = dict(_sections(given)) if {*given.what} & {*WHAT} else {}
    if MANY in given.what:
        sections |= _of_many(given)
    report(sections, given.output)


def _sections(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with databases(given) as found:
        for database in found:
            # The rows of an older revision are restored by way of a scratch file, which is another thing.
            migrate.upgrade(database)
            heading = describe(database, count_tasks(database))
            given.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            with TemporaryDirectory(prefix="taskdb-", dir=given.directory) as directory:
                files = Path(directory)
                for what in (each for each in given.what if each in WHAT):
                    title = f"{heading}, {what}"
                    yield title, WHAT[what](database, files, given, title)


def _of_many(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with TemporaryDirectory(prefix="taskdb-", dir=given.directory) as directory:
        yield "Archives in a bucket", offsite.compare_many(Path(directory), given.turns)


if __name__ == "__main__":
    main()
