"""Measure single-row changes and imports with this checkout and with another commit, side by side.

`python benchmarks/writing.py --against COMMIT` runs it. Each side is a process of its own with its own
package and database, at its own revision, on the same server or disk. They take turns of a few writes.

A write is one transaction by a service, commit included: create a task, change its status, delete it. With
`pool` connections are kept, as `taskdb serve` does it. With `no pool` each write opens a connection and
closes it, as a command does; the start of the process is not measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Self

from databases import address, databases, describe, empty_database, place
from measuring import ratio, record, table, track
from processes import TASKDB, run
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.url import parse_url
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.user import UserCreate
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import migrate, task, user

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWNER = "ann@example.com"
KEPT = 1000
"""How many tasks the database holds all the time."""
AT_ONCE = 10
"""How many writes of a kind are in one turn."""
KINDS = ("create", "change", "delete")
SIDES = ("this", "other")
LEAST_RATE = 0.75
MOST_TIME = 1.3
"""What the history may cost beside a commit without it."""
# A request to the API names the actor too. Older commits have none.
_ACTOR: dict[str, Any] = {"actor": "ann"} if hasattr(Options, "actor") else {}
WAYS = {"pool": Options(pool=Pool(size=1, overflow=0), **_ACTOR), "no pool": Options()}


@contextmanager
def package_of(commit: str) -> Iterator[Path]:
    """Take the package of a commit out of git into a directory that lasts as long as the block."""
    root = Path(__file__).parent.parent
    packed = subprocess.run(
        ["git", "archive", commit, "taskdb_cli", "migrations"], cwd=root, check=True, capture_output=True
    )
    with TemporaryDirectory(prefix="taskdb-commit-") as directory:
        with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
            archive.extractall(directory, filter="data")
        yield Path(directory)


class Worker:
    """A process that runs what it is told with the package of one side."""

    def __init__(self, package: Path, url: str) -> None:
        # Without the other setting, the directory of the caller would come first.
        self.environment = {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
        self.url = url
        self.process = subprocess.Popen(
            [sys.executable, __file__, url],
            env=os.environ | {"PYTHONPATH": str(package)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert json.loads(self._read()) == str(package), "the other package was imported"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, *words: object) -> Any:
        """Have it do something; return its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


def work(url: str) -> None:
    """Be a Worker: answer each line of stdin by seconds, and those of the processor."""
    import taskdb_cli

    found = {way: Database(parse_url(url, "the URL"), options) for way, options in WAYS.items()}
    _answer(str(Path(taskdb_cli.__file__).parent.parent))
    ids: list[int] = []
    for line in sys.stdin:
        match json.loads(line):
            case ["prepare"]:
                _prepare(found["no pool"])
                _answer(None)
            case ["empty"]:
                found["no pool"].write(_empty)
                _answer(None)
            case [kind, way]:
                writes = [*WRITES[kind](ids)]
                begun, used = perf_counter(), process_time()
                made = [found[way].write(write) for write in writes]
                _answer([perf_counter() - begun, process_time() - used])
                ids = [] if kind == "delete" else [record["id"] for [record] in map(_listed, made)]


def _answer(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _listed(made: Any) -> list[Any]:
    return made if isinstance(made, list) else [made]


def _creations(_: list[int]) -> Iterator[Callable[[Session], Any]]:
    for number in range(AT_ONCE):
        given = TaskCreate(title=f"Write the report {number}", description="For the meeting", due_at=NOW)
        yield partial(task.create, owner=OWNER, given=given, now=NOW)


def _changes(ids: list[int]) -> Iterator[Callable[[Session], Any]]:
    for id in ids:
        yield partial(task.change, ids=[id], given=TaskUpdate(status=TaskStatus.DONE), now=NOW)


def _deletions(ids: list[int]) -> Iterator[Callable[[Session], Any]]:
    for id in ids:
        yield partial(task.remove, ids=[id])


WRITES = {"create": _creations, "change": _changes, "delete": _deletions}


def _prepare(database: Database) -> None:
    database.backend.create()
    migrate.upgrade(database)
    database.write(partial(fill, tasks=KEPT))


def fill(session: Session, *, tasks: int) -> None:
    """Make a user with so many tasks."""
    user.create(session, UserCreate(email=OWNER, name="Ann"), now=NOW)
    for number in range(tasks):
        task.create(session, OWNER, TaskCreate(title=f"Task {number}"), now=NOW)


def _empty(session: Session) -> None:
    session.connection().exec_driver_sql("DELETE FROM tasks")


@contextmanager
def workers(database: Database, other: Path, directory: Path) -> Iterator[dict[str, Worker]]:
    """Start both sides, each with a database of its own beside the given one."""
    packages = {"this": Path(__file__).parent.parent, "other": other}
    with ExitStack() as stack:
        found = {}
        for side, package in packages.items():
            if database.backend.dialect == "sqlite":
                url = f"sqlite:///{directory}/{side}.sqlite3"
            else:
                url = address(stack.enter_context(empty_database(database.url, f"taskdb_benchmark_{side}")))
            found[side] = stack.enter_context(Worker(package, url))
            found[side].ask("prepare")
        yield found


def compare_writes(sides: dict[str, Worker], turns: int, name: str) -> list[list[object]]:
    """Let both sides write in turn; return a row for each kind of write and way to connect."""
    rows: list[list[object]] = []
    for way in WAYS:
        taken: dict[str, dict[str, list[list[float]]]] = {
            kind: {side: [] for side in SIDES} for kind in KINDS
        }
        for turn in track(range(-1, turns), f"writes, {way}"):
            # Who goes first has the colder caches.
            order = SIDES if turn % 2 else SIDES[::-1]
            for kind in KINDS:
                for side in order:
                    measured = sides[side].ask(kind, way)
                    if turn >= 0:
                        taken[kind][side].append(measured)
        for kind, by_side in taken.items():
            seconds, processor = (
                {side: [each[of] for each in by_side[side]] for side in SIDES} for of in (0, 1)
            )
            rates = [AT_ONCE / median(seconds[side]) for side in SIDES]
            rate = ratio(seconds["other"], seconds["this"])
            record(f"{name}: {kind} a task, {way}, writes a second", rate, at_least=LEAST_RATE)
            rows.append([f"{kind}, {way}", *rates, rate, ratio(processor["other"], processor["this"])])
    return rows


def compare_imports(sides: dict[str, Worker], file: Path, turns: int, name: str) -> list[object]:
    """Let both sides import the file into a database without tasks, by whole processes in turn."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in track(range(turns), "imports"):
        for side in SIDES if turn % 2 else SIDES[::-1]:
            worker = sides[side]
            worker.ask("empty")
            command = [
                *TASKDB,
                "-q",
                "--database-url",
                worker.url,
                "task",
                "import",
                str(file),
                "--user",
                OWNER,
            ]
            taken[side].append(run(command, environment=worker.environment).seconds)
    rate = record(f"{name}: import, time", ratio(taken["this"], taken["other"]), at_most=MOST_TIME)
    return [*(median(taken[side]) for side in SIDES), rate]


def write_file(path: Path, tasks: int) -> None:
    """Write so many tasks as CSV."""
    with path.open("w") as file:
        file.write("external_id,title,description,status,priority,due_at\n")
        for number in range(tasks):
            status = ("todo", "in_progress", "done")[number % 3]
            file.write(f"T-{number},Write report {number},For meeting {number},{status},high,2026-12-01\n")


def sections(given: Namespace) -> Iterator[tuple[str, str]]:
    """Yield a heading and a table for each engine."""
    with (
        package_of(given.against) as other,
        databases(given) as found,
        TemporaryDirectory(prefix="taskdb-", dir=given.directory) as directory,
    ):
        path = Path(directory)
        write_file(path / "tasks.csv", given.imported)
        for database in found:
            with workers(database, other, path) as sides:
                mine = Database(parse_url(sides["this"].url, "the URL"))
                heading = f"{describe(mine, KEPT)}, beside {given.against}"
                name = f"beside {given.against}, {place(mine)}"
                headers = ["write", "this, a second", "other, a second", "throughput, this / other"]
                rows = compare_writes(sides, given.turns, name)
                yield heading, table([*headers, "processor time, other / this"], rows)
                if given.imported:
                    row = compare_imports(sides, path / "tasks.csv", given.import_turns, name)
                    headers = ["import", "this, s", "other, s", "time, this / other"]
                    yield f"{heading}, import", table(headers, [[given.imported, *row]])


if __name__ == "__main__":
    work(sys.argv[1])
