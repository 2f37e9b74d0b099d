"""Measure how many writes the services do, beside two peers: `python benchmarks/writing.py`.

A write is one transaction over a connection that is kept: change the title of a task, or make one. The
ordinary side is what a user of SQLModel would otherwise write: a session that looks up the user, or the task
with its owner, checks the version, changes the object, commits, refreshes, and tries again after a conflict.
The raw side sends through psycopg or sqlite3 the statements that the service sends. Writers are threads,
which share Python's lock, or processes of their own; threads of the service and of the ordinary side share
one pool, as those of `taskdb serve` do, and those of the raw side have a connection each. All writers are
counted by one clock. Databases are made for it and are small.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import count
from statistics import median
from typing import Any

import against
import psycopg
from databases import address, argument_parser, clear, databases, describe, place
from measuring import add_output_option, ratio, record, report, table, times_ms, track
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session, select

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.models.task import Task, TaskCreate, TaskUpdate
from taskdb_cli.models.user import User
from taskdb_cli.services import migrate, task

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TASKS = 1000
WRITERS = (1, 4, 16)
OWNER = "ann@example.com"
SECONDS = 0.5
PATIENT = Options(pool=Pool(size=16, overflow=0, timeout=60), retry_budget=60)

TASK_FIELDS = (
    "id, user_id, external_id, title, description, status, priority, due_at, completed_at, version, "
    "created_at, updated_at"
)
OWNER_OF_TASK = "(SELECT email FROM users WHERE users.id = tasks.user_id)"
BEGIN = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_current_xact_id()::text, pg_stat_get_bgwriter_stat_reset_time()::text; BEGIN",
}
CHANGE = {
    "sqlite": "UPDATE tasks SET title = ?, version = version + 1, updated_at = ? "
    f"WHERE id = ? AND title IS NOT ? RETURNING {TASK_FIELDS}, {OWNER_OF_TASK}",
    "postgresql": "UPDATE tasks SET title = %s, version = version + 1, updated_at = %s "
    f"WHERE id = %s AND title IS DISTINCT FROM %s RETURNING {TASK_FIELDS}, {OWNER_OF_TASK}",
}
CREATE = {
    "sqlite": f"INSERT INTO tasks ({TASK_FIELDS.removeprefix('id, ')}) "
    "SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM users WHERE email = ? "
    f"RETURNING {TASK_FIELDS}, ?",
    "postgresql": f"INSERT INTO tasks ({TASK_FIELDS.removeprefix('id, ')}) "
    "SELECT id, %s, %s, %s, %s, %s, %s::timestamptz, %s::timestamptz, %s, %s, %s FROM users WHERE email = %s "
    f"RETURNING {TASK_FIELDS}, %s",
}

Write = Callable[[], object]


@contextmanager
def service_writes(url: URL, writer: int) -> Iterator[Iterator[Write]]:
    """Offer writes by the services, changes and creations in turn."""
    yield _service_writes(_database(url), writer)


@cache
def _database(url: URL) -> Database:
    return Database(url, PATIENT)


def _service_writes(database: Database, writer: int) -> Iterator[Write]:
    # What a task has already would not be written again.
    own = time.time_ns()
    for number in count(1):
        id = 1 + (writer * 61 + number) % TASKS
        given = TaskUpdate(title=f"Title {own} {number}")
        yield partial(database.write, partial(task.change, ids=[id], given=given, now=NOW))
        new = TaskCreate(title=f"New {own} {number}")
        yield partial(database.write, partial(task.create, owner=OWNER, given=new, now=NOW))


@contextmanager
def raw_writes(url: URL, writer: int) -> Iterator[Iterator[Write]]:
    """Offer the same writes by the driver."""
    with closing(_connect(url)) as connection:
        yield _raw_writes(connection, writer)


def _raw_writes(connection: Any, writer: int) -> Iterator[Write]:
    own = time.time_ns()
    for number in count(1):
        id = 1 + (writer * 61 + number) % TASKS
        yield partial(_change, connection, id, f"Title {own} {number}")
        yield partial(_create, connection, f"New {own} {number}")


def _connect(url: URL) -> Any:
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(
            str(url.database), timeout=60, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = ON")
        return connection
    return psycopg.connect(address(url), autocommit=True, prepare_threshold=None)


def _change(connection: Any, id: int, title: str) -> None:
    engine, now = _engine(connection)
    connection.execute(BEGIN[engine])
    connection.execute(CHANGE[engine], (title, now, id, title)).fetchall()
    connection.execute("COMMIT")


def _create(connection: Any, title: str) -> None:
    engine, now = _engine(connection)
    connection.execute(BEGIN[engine])
    values = (None, title, None, "todo", 2, None, None, 1, now, now, OWNER, OWNER)
    connection.execute(CREATE[engine], values).fetchall()
    connection.execute("COMMIT")


def _engine(connection: Any) -> tuple[str, object]:
    if isinstance(connection, sqlite3.Connection):
        return "sqlite", "2026-11-22T12:00:00.000000Z"
    return "postgresql", NOW


@cache
def _engine_of(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=16, max_overflow=0, pool_timeout=60)
    engine = create_engine(url, pool_size=16, max_overflow=0, pool_timeout=60, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def obey_foreign_keys(connection: Any, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # SQLAlchemy's documentation shows this way. A writer that begins by reading would fail.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def ordinary_writes(url: URL, writer: int) -> Iterator[Iterator[Write]]:
    """Offer the same writes by ordinary SQLModel sessions."""
    yield _ordinary_writes(_engine_of(url), writer)


def _ordinary_writes(engine: Engine, writer: int) -> Iterator[Write]:
    own = time.time_ns()
    for number in count(1):
        id = 1 + (writer * 61 + number) % TASKS
        yield partial(_try_again, partial(_change_by_session, engine, id, f"Title {own} {number}"))
        yield partial(_try_again, partial(_create_by_session, engine, f"New {own} {number}"))


def _try_again(write: Write) -> object:
    for _ in range(10):
        try:
            return write()
        except OperationalError:
            time.sleep(0.05)
    return write()


def _change_by_session(engine: Engine, id: int, title: str, if_version: int | None = None) -> dict[str, Any]:
    given = TaskUpdate(title=title)
    with Session(engine) as session:
        query = select(Task, User.email).join(User).where(Task.id == id).with_for_update(of=Task)
        stored, email = session.exec(query).one()
        if if_version not in (None, stored.version):
            raise StaleDataError
        stored.sqlmodel_update(given.model_dump(exclude_unset=True))
        stored.version, stored.updated_at = stored.version + 1, NOW
        session.add(stored)
        session.commit()
        session.refresh(stored)
        return stored.model_dump() | {"user": email}


def _create_by_session(engine: Engine, title: str) -> dict[str, Any]:
    given = TaskCreate(title=title)
    with Session(engine) as session:
        owner = session.exec(select(User).where(User.email == OWNER)).one()
        new = Task(**given.model_dump(exclude={"created_at", "updated_at"}), user_id=owner.id)
        new.created_at = new.updated_at = NOW
        session.add(new)
        session.commit()
        session.refresh(new)
        return new.model_dump() | {"user": OWNER}


SIDES = {"service": service_writes, "ordinary": ordinary_writes, "raw": raw_writes}


def run_writer(side: str, url: str, writer: int, begin: float) -> int:
    """Write, and return how many writes ended in the SECONDS after that moment."""
    done, end = 0, begin + SECONDS
    with SIDES[side](make_url(url), writer) as writes:
        # Not a number of writes to warm up: where writers take turns, the last one is ready long after the
        # first, and what the others write meanwhile would not count.
        while time.time() < end:
            next(writes)()
            done += begin <= time.time() < end
    return done


def throughput(side: str, url: URL, writers: int, pool: Any, lead: float) -> float:
    """Return how many writes a second so many writers did together."""
    begin = time.time() + lead
    jobs = [pool.submit(run_writer, side, address(url), number, begin) for number in range(writers)]
    return max(1, sum(job.result() for job in jobs)) / SECONDS


def compare(database: Database, turns: int, numbers: Sequence[int]) -> list[list[object]]:
    """Measure threads and processes, the service and its peers in turn."""
    rows: list[list[object]] = []
    spawn = multiprocessing.get_context("spawn")
    for kind, writers in track([(k, w) for k in ("threads", "processes") for w in numbers], "throughput"):
        if kind == "processes" and writers == 1:
            continue
        with (
            ThreadPoolExecutor(writers)
            if kind == "threads"
            else ProcessPoolExecutor(writers, mp_context=spawn)
        ) as pool:
            # Processes import first, which counts for nothing.
            throughput("service", database.url, writers, pool, 0.5)
            found: dict[str, list[float]] = {side: [] for side in SIDES}
            for _ in range(turns):
                for side, rates in found.items():
                    rates.append(throughput(side, database.url, writers, pool, 0.3))
        together = f"{writers} {kind}" if writers > 1 else "one writer"
        name = f"writing, {place(database)}, {together}: writes a second, service /"
        peers = {"ordinary": "ordinary SQLModel", "raw": "raw driver"}
        goals = {"ordinary": 1.0, "raw": None}
        ratios = [
            record(f"{name} {peers[peer]}", rate, at_least=goals[peer], more_is_better=True)
            for peer, rate in ((peer, ratio(found["service"], found[peer])) for peer in peers)
        ]
        rows.append([kind, writers, *(median(found[side]) for side in SIDES), *ratios])
    return rows


def layers(database: Database, turns: int) -> list[list[object]]:
    """Measure one writer with the layers of retry and logging, and without."""
    both = Database(database.url, PATIENT)
    bare = Database(database.url, replace(PATIENT, slow_query_ms=0))
    # Two connections differ by more, according to the processors that the server gives them.
    bare.engine = both.engine
    bare.write = partial(_plain_write, bare)  # type: ignore[method-assign]
    named = {"as it is": both, "without retry and log of slow queries": bare}
    writes = {name: _service_writes(found, 0) for name, found in named.items()}
    # Two in turn are a change and a creation.
    works = {name: partial(_both, found) for name, found in writes.items()}
    taken = times_ms(works, most=turns, least=turns)
    whole = taken["as it is"]
    return [
        [name, median(times) / 2, f"{(ratio(whole, times) - 1) * 100:.1f} %"] for name, times in taken.items()
    ]


def _both(writes: Iterator[Write]) -> None:
    next(writes)()
    next(writes)()


def _plain_write(database: Database, work: Callable[[Any], Any]) -> Any:
    session_of = database._session  # noqa: SLF001 (what a layer is made of)
    with database.backend.turn(), session_of(database.backend.write_options) as session:
        result = work(session)
        session.commit()
        return result


def prepare(database: Database, *, own: bool) -> None:
    """Make one user with the tasks that are changed, in a database that is empty, or made for this."""
    if own:
        clear(database)
    if not database.backend.create() and migrate.status(database).current is not None:
        sys.exit(f"error: {database.backend.place} holds something already")
    migrate.upgrade(database)
    database.write(partial(against.fill, tasks=TASKS))


def main() -> None:
    """Measure each engine; report."""
    parser = argument_parser(__doc__, tasks=[0])
    parser.add_argument("--writers", type=int, nargs="+", default=WRITERS, help="how many write at once")
    parser.add_argument("--against", metavar="COMMIT", help="compare this checkout with a commit instead")
    parser.add_argument("--imported", type=int, default=100_000, help="tasks of an import beside the commit")
    parser.add_argument("--import-turns", type=int, default=3, help="how often they are imported")
    parser.add_argument("--layer-turns", type=int, default=1500, help="how often each layer is")
    add_output_option(parser, turns=5)
    given = parser.parse_args()
    report(dict(against.sections(given) if given.against else _sections(given)), given.output)


def _sections(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    with databases(given) as found:
        for database in found:
            prepare(database, own=not given.url)
            heading = describe(database, TASKS)
            rows = compare(database, given.turns, given.writers)
            yield (
                f"{heading}, writes per second",
                table(["writers", "number", *SIDES, "service / ordinary", "service / raw"], rows),
            )
            rows = layers(database, given.layer_turns)
            yield f"{heading}, layers", table(["one writer", "ms per write", "costs"], rows)


if __name__ == "__main__":
    main()
