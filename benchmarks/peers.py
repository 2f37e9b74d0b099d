"""Measure what a user might pick instead of taskdb: `python benchmarks/peers.py`.

Django's `manage.py loaddata` and `dumpdata` bring users and tasks into the tables of two models, with the
indexes that taskdb has, and out again, beside `taskdb restore` and `backup`. Taskwarrior lists the tasks of
its only user, beside `taskdb task list`. Each is a whole process, start-up included. What is not installed is
left out, and named on stderr.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from build import build, task_rows
from databases import address, argument_parser, databases, describe, empty_database, place
from measuring import add_output_option, ratio, record, report, table
from processes import TASKDB, Run, Works, run, take_turns, writing

from taskdb_cli.database import Database

HERE = Path(__file__).parent
LISTED = 10_000
OWNER = "ann@example.com"
HEADERS = ["process", "beside", "s", "s beside", "ratio", "peak MB", "peak MB beside"]
TASKWARRIOR_LISTS = {"all": ([], ["--limit", "0"]), "50": (["limit:50"], [])}


class Django:
    """A project whose tables are made from the two models, in a database of its own."""

    def __init__(self, files: Path, database: Database) -> None:
        """Name the database in its settings, which are read from the environment."""
        self._files = files
        url = database.url
        if url.get_backend_name() == "sqlite":
            settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database}
        else:
            at = {"HOST": url.query.get("host", url.host), "PORT": url.port, "USER": url.username}
            settings = {"ENGINE": "django.db.backends.postgresql", "NAME": url.database, **at}
            settings["PASSWORD"] = url.password
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "django_project",
            "DJANGO_DATABASE": json.dumps({name: value for name, value in settings.items() if value}),
            "PYTHONPATH": str(HERE),
        }

    def manage(self, *words: str, output: Path | None = None) -> Run:
        """Run `manage.py` with these words."""
        command = [sys.executable, "-m", "django", *words]
        return run(command, output=output, environment=self._environment)

    def load(self, fixture: Path) -> Run:
        """Make the tables, which is not measured, and load the fixture."""
        self.manage("migrate", "--run-syncdb", "--verbosity", "0")
        return self.manage("loaddata", str(fixture), "--verbosity", "0")

    def dump(self, path: Path) -> Run:
        """Write everything to a file."""
        return self.manage("dumpdata", "--format", "json", "--verbosity", "0", "--output", str(path))


class Exchange:
    """A filled database, and what brings its rows out and in again: taskdb and Django in turn."""

    def __init__(self, database: Database, files: Path) -> None:
        """Keep what the processes write in a directory."""
        self._database, self._files = database, files
        self._archive, self._fixture = files / "tasks.zip", files / "tasks.json"

    def works(self, django: Django) -> Works:
        """Return what runs in turn; `django` has the rows already."""
        source = [*TASKDB, "--database-url", address(self._database.url)]
        return {
            "dumpdata": partial(django.dump, self._files / "dumped.json"),
            "backup": partial(writing, [*source, "backup", "--file"], self._archive, named=True),
            "loaddata": partial(self._into_empty, self._load),
            "restore": partial(self._into_empty, self._restore),
        }

    @contextmanager
    def empty(self, name: str) -> Iterator[Database]:
        """Make an empty database of the same engine, and remove it at the end."""
        if self._database.backend.dialect == "postgresql":
            with empty_database(self._database.url, name) as url:
                yield Database(url)
            return
        path = self._files / f"{name}.sqlite3"
        try:
            yield Database(self._database.url.set(database=str(path)))
        finally:
            for each in self._files.glob(f"{path.name}*"):
                each.unlink()

    def write_fixture(self) -> Path:
        """Write the rows as Django's own dump has them."""
        with self._database.connect() as connection, self._fixture.open("w") as file:
            separator = "["
            for model in ("user", "task"):
                rows = connection.exec_driver_sql(f"SELECT * FROM {model}s ORDER BY id").mappings()
                for row in rows:
                    fields = dict(row)
                    if model == "task":
                        fields["user"] = fields.pop("user_id")
                    made = {"model": f"django_models.{model}", "pk": fields.pop("id"), "fields": fields}
                    file.write(separator + json.dumps(made, default=str))
                    separator = ",\n"
            file.write("]")
        return self._fixture

    def _into_empty(self, bring: object) -> Run:
        with self.empty("taskdb_benchmark_empty") as database:
            done: Run = bring(database)  # type: ignore[operator]
            return done

    def _load(self, database: Database) -> Run:
        return Django(self._files, database).load(self._fixture)

    def _restore(self, database: Database) -> Run:
        return run([*TASKDB, "-q", "--database-url", address(database.url), "restore", str(self._archive)])


def beside_django(origin: Database, files: Path, tasks: int, turns: int) -> tuple[str, str]:
    """Build a database of so many tasks, and measure both; return a heading and a table."""
    pairs = {"backup": ("dumpdata", "`manage.py dumpdata`"), "restore": ("loaddata", "`manage.py loaddata`")}
    exchange = Exchange(origin, files)
    with exchange.empty("taskdb_benchmark_filled") as database, exchange.empty("django") as other:
        database.backend.create()
        build(database, tasks)
        exchange = Exchange(database, files)
        django = Django(files, other)
        django.load(exchange.write_fixture())
        heading = f"{describe(database, tasks)}, beside Django"
        runs = take_turns(exchange.works(django), turns, heading)
    where = f"Django, {place(origin, tasks)}"
    rows = [
        _row(where, f"`taskdb {ours}`", runs[ours], name, runs[theirs])
        for ours, (theirs, name) in pairs.items()
    ]
    return heading, table(HEADERS, rows)


def beside_taskwarrior(origin: Database, files: Path, turns: int) -> tuple[str, str]:
    """Give both the same file of Taskwarrior's, and measure their lists; return a heading and a table."""
    data = files / "taskwarrior"
    data.mkdir(exist_ok=True)
    path = files / "taskwarrior.json"
    path.write_text("\n".join(map(json.dumps, _exported())))
    settings = {"TASKDATA": str(data), "TASKRC": "/dev/null"}
    task = [str(shutil.which("task")), "rc.confirmation=off", "rc.verbose=nothing", "rc.defaultwidth=200"]
    if not any(data.iterdir()):
        run([*task, "import", str(path)], environment=settings)
    rows = []
    with Exchange(origin, files).empty("taskdb_benchmark_listed") as database:
        taskdb = [*TASKDB, "-q", "--database-url", address(database.url)]
        run([*taskdb, "migrate", "up"])
        run([*taskdb, "user", "create", "--email", OWNER, "--name", "Ann"])
        run([*taskdb, "task", "import", str(path), "--from", "taskwarrior", "--user", OWNER])
        heading = f"{describe(database, LISTED)}, beside Taskwarrior"
        for number, (theirs, ours) in TASKWARRIOR_LISTS.items():
            works: Works = {
                "taskwarrior": partial(run, [*task, *theirs, "list"], environment=settings),
                "taskdb": partial(run, [*taskdb, "task", "list", "--user", OWNER, "-o", "table", *ours]),
            }
            runs = take_turns(works, turns, f"{heading}, {number}")
            where = f"Taskwarrior, {place(origin)}, {number} of {LISTED} tasks"
            rows.append(_row(where, "`taskdb task list`", runs["taskdb"], "`task list`", runs["taskwarrior"]))
    return heading, table(HEADERS, rows)


def _exported() -> Iterator[dict[str, str]]:
    for number, (_, _, title, text, status, _, due, *_) in enumerate(
        task_rows(range(LISTED), 2, LISTED, LISTED), 1
    ):
        task = {"description": title, "entry": "20260101T000000Z", "status": "pending"}
        task["uuid"] = f"00000000-0000-4000-8000-{number:012d}"
        if due is not None:
            task["due"] = f"{due:%Y%m%dT%H%M%SZ}"
        if text is not None and status == "todo":
            task["project"] = text.split()[2]
        yield task


def _row(where: str, name: str, ours: list[Run], other: str, theirs: list[Run]) -> list[object]:
    seconds, beside = [each.seconds for each in ours], [each.seconds for each in theirs]
    rate = record(f"{where}: {name} / {other}", ratio(seconds, beside))
    peaks = (max(each.peak for each in found) for found in (ours, theirs))
    return [name, other, median(seconds), median(beside), rate, *peaks]


def main() -> None:
    """Measure each engine; report."""
    parser = argument_parser(__doc__, tasks=[10_000])
    add_output_option(parser, turns=3)
    given = parser.parse_args()
    sizes, given.tasks = given.tasks, [0]
    report(dict(_sections(given, sizes)), given.output)


def _sections(given: argparse.Namespace, sizes: list[int]) -> Iterator[tuple[str, str]]:
    has_django = importlib.util.find_spec("django") is not None
    absent = [name for name, there in (("django", has_django), ("task", shutil.which("task"))) if not there]
    for name in absent:
        sys.stderr.write(f"absent: {name}\n")
    with databases(given) as found:
        for origin in found:
            with TemporaryDirectory(prefix="taskdb-", dir=given.directory) as directory:
                files = Path(directory)
                for tasks in sizes if has_django else ():
                    yield beside_django(origin, files, tasks, given.turns)
                if "task" not in absent:
                    yield beside_taskwarrior(origin, files, given.turns)


if __name__ == "__main__":
    main()
