"""Statements that take too long, on the command line and in the HTTP API: each ends by its limit."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import monotonic
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from sqlalchemy import text

from taskdb_cli.api.app import create_app
from taskdb_cli.api.middleware import Turns
from taskdb_cli.backup import restore
from taskdb_cli.config import load_settings
from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import InvalidConfiguration, TimedOut
from taskdb_cli.services import migrate
from tests import web
from tests.api.conftest import Api
from tests.api.servers import running
from tests.conftest import POOLERS, SERVERS, connect
from tests.samples import add_task, add_token, add_user, emails, titles
from tests.schemas import execute, write_revision
from tests.sessions import until_waiting

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
EVERY_WAY = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1], *POOLERS], indirect=True)
SERVERS_AND_POOLER = pytest.mark.parametrize("engine", [SERVERS[-1], *POOLERS], indirect=True)

STAMP = "2026-11-22T12:30:15.000000Z"
LONG_TEXT = 20_000
EXPENSIVE = "a" * 199 + "b"
"""What is looked for in texts of nothing but "a" takes 4,000,000 comparisons in each of them."""

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
COUNTING = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500000) SELECT count(*) FROM n"
)
"""What takes SQLite longer than the limit of a test, but ends."""

CLIENTS = 20


def add_long_texts(url, rows: int) -> None:
    """Give the first user tasks whose descriptions are as long as they may be."""
    series = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    description = f"replace(hex(zeroblob({LONG_TEXT // 2})), '0', 'a')"
    if url.drivername != "sqlite":
        description = f"repeat('a', {LONG_TEXT})"
    execute(
        url,
        "INSERT INTO tasks (user_id, title, description, status, priority, version, created_at, updated_at)"
        f" {series} SELECT 1, 'Task ' || i, {description}, 'todo', 2, 1, '{STAMP}', '{STAMP}' FROM n",
    )


def with_limits(database: Database, **limits: float) -> Database:
    return Database(database.url, replace(database.options, **limits))


@EVERY_WAY
def test_an_expensive_search_ends(taskdb, database, url, monkeypatch):
    """A search that would take seconds ends by the setting that the error names, and is not tried again."""
    add_user(database)
    add_long_texts(url, 200)
    monkeypatch.setenv("TASKDB_STATEMENT_TIMEOUT", "0.25")
    failed = taskdb("-v", "task", "list", "--search", EXPENSIVE, expect=5)
    [error] = [line for line in failed.err.splitlines() if line.startswith("error: ")]
    assert "TASKDB_STATEMENT_TIMEOUT" in error
    assert "trying again" not in failed.err
    monkeypatch.setenv("TASKDB_STATEMENT_TIMEOUT", "0")
    assert "Task 200" in taskdb("task", "list", "--sort", "-id", "--search", "aaa", "--limit", "1").out


def test_nothing_stays_of_a_write_that_timed_out(database):
    """What was written before the statement that took too long is undone, within a savepoint too."""
    impatient, attempts = with_limits(database, statement_timeout=0.2), []

    def work(session):
        attempts.append(session)
        session.execute(
            text(
                "INSERT INTO users (email, name, is_active, version, created_at, updated_at) SELECT"
                f" 'ann@example.com', 'Ann', {'1' if impatient.backend.dialect == 'sqlite' else 'true'}, 1,"
                f" '{STAMP}', '{STAMP}'"
            )
        )
        with session.begin_nested():
            # An INSERT that is interrupted ends the whole transaction on SQLite.
            session.execute(text("CREATE TEMPORARY TABLE counted (n bigint)"))
            session.execute(text(f"INSERT INTO counted {ENDLESS}"))

    with pytest.raises(TimedOut):
        impatient.write(work)
    assert len(attempts) == 1
    assert emails(database) == []


@EVERY_WAY
def test_bulk_work_has_its_own_limit(taskdb, database, monkeypatch):
    """An import that takes longer than its limit imports nothing, and the error names the setting."""
    add_user(database)
    lines = [json.dumps({"user": "ann@example.com", "title": f"Task {i}"}) for i in range(5000)]
    arguments = ("task", "import", "-", "--from", "ndjson")
    monkeypatch.setenv("TASKDB_BULK_TIMEOUT", "0.002")
    failed = taskdb(*arguments, stdin="\n".join(lines), expect=5)
    assert "TASKDB_BULK_TIMEOUT" in failed.err
    assert "TASKDB_STATEMENT_TIMEOUT" not in failed.err
    assert failed.err.count("\n") == 1
    assert titles(database) == []


@SQLITE_ONLY
def test_the_limit_of_a_statement_does_not_end_bulk_work(taskdb, url, tmp_path, database, monkeypatch):
    """Work on all rows of a file, a table or a filter goes on for as long as there are rows."""
    add_user(database)
    lines = [json.dumps({"user": "ann@example.com", "title": f"Task {i}"}) for i in range(5000)]
    monkeypatch.setenv("TASKDB_STATEMENT_TIMEOUT", "0.001")
    taskdb("task", "import", "-", "--from", "ndjson", stdin="\n".join(lines))
    assert taskdb("task", "export", "--search", "task").out.count("\n") == 5000
    taskdb("task", "update", "--where-status", "todo", "--priority", "high", "--yes")
    archive = str(tmp_path / "all.taskdb.zip")
    taskdb("backup", "--file", archive)
    taskdb("restore", archive, "--replace", "--yes", "--no-safety-backup")
    taskdb("user", "delete", "1", "--yes")
    assert titles(database) == []


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_every_kind_of_bulk_work_has_the_limit(database):
    """Each way to read or write all rows has the limit of bulk work and no other one."""
    limited = with_limits(database, statement_timeout=0.1, bulk_timeout=0.2)

    def work(session):
        yield session.execute(text(ENDLESS)).scalar()

    def take(content) -> None:
        content.connection.exec_driver_sql(ENDLESS).scalar()

    def stream() -> None:
        with limited.stream(work, bulk=True) as rows:
            next(rows)

    def open_all(opened) -> None:
        with opened() as content:
            take(content)

    ways = [
        lambda: limited.read(lambda session: next(work(session)), bulk=True),
        lambda: limited.write(lambda session: next(work(session)), bulk=True),
        stream,
        partial(open_all, limited.snapshot),
        partial(open_all, limited.replacement),
    ]
    for way in ways:
        begun = monotonic()
        with pytest.raises(TimedOut) as caught:
            way()
        assert "TASKDB_BULK_TIMEOUT" in caught.value.hint
        assert monotonic() - begun >= limited.options.bulk_timeout


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_bulk_counting_of_a_target_has_the_limit(database, url):
    """A restore counts the rows of its target under the limit of bulk work."""
    limited = with_limits(database, statement_timeout=0.2, bulk_timeout=0.4)
    with closing(connect(url)) as other:
        other.execute("BEGIN; LOCK TABLE tasks")
        with pytest.raises(TimedOut) as caught:
            restore.look_at(limited)
    assert "TASKDB_BULK_TIMEOUT above 0.4 s" in caught.value.hint


@SQLITE_ONLY
def test_the_limit_is_for_each_statement(database):
    """A transaction may take longer than a statement, and so may whoever reads the rows of a stream."""
    add_user(database)
    patience = 0.5
    impatient = with_limits(database, statement_timeout=patience)

    def pass_time() -> None:
        end = monotonic() + patience
        while monotonic() < end:
            emails(database)

    def work(session):
        pass_time()
        session.execute(text(COUNTING.replace("500000", "5000")))
        counting = COUNTING.replace("count(*)", "i").replace("500000", "20000")
        result = session.execute(text(counting).execution_options(yield_per=1000))
        for part in result.partitions():
            yield part
            if part[0][0] == 1:
                pass_time()

    with impatient.stream(work) as rows:
        assert sum(map(len, rows)) == 20_000


@SQLITE_ONLY
def test_maintenance_has_no_limit(database, url):
    """A backup and a restore read and write for as long as that takes, as on PostgreSQL."""
    impatient = with_limits(database, statement_timeout=0.01)
    with pytest.raises(TimedOut):
        impatient.read(lambda session: session.execute(text(COUNTING)).scalar())
    with impatient.snapshot() as content:
        assert content.connection.exec_driver_sql(COUNTING).scalar() == 500_000
    with impatient.replacement(dry_run=True) as content:
        assert content.connection.exec_driver_sql(COUNTING).scalar() == 500_000


@SQLITE_ONLY
def test_a_migration_has_its_own_limit(database, url, chain):
    """A statement of a revision has the limit of migrations, whose setting the error names."""
    write_revision(chain, "9001", after=migrate.status(database).current, upgrade=f'op.execute("{ENDLESS}")')
    impatient = with_limits(database, statement_timeout=0, migration_timeout=1)
    with pytest.raises(TimedOut) as caught:
        migrate.upgrade(impatient)
    assert "TASKDB_MIGRATION_TIMEOUT" in caught.value.hint
    assert migrate.status(database).current != "9001"
    write_revision(chain, "9001", after=migrate.status(database).current, upgrade=f'op.execute("{COUNTING}")')
    migrate.upgrade(with_limits(database, statement_timeout=0.01))
    assert migrate.status(database).current == "9001"


@SQLITE_ONLY
def test_health_has_its_own_limits(taskdb, database, url, monkeypatch):
    """The checks of health take the time that health is given, whatever a statement may take."""
    add_user(database)
    add_long_texts(url, 200)
    monkeypatch.setenv("TASKDB_STATEMENT_TIMEOUT", "0.001")
    report = json.loads(taskdb("health", "-o", "json", "--only", "quick_check", "--only", "orphans").out)
    assert [check["status"] for check in report["checks"]] == ["ok", "ok"]


@pytest.mark.parametrize(
    "name", ["TASKDB_STATEMENT_TIMEOUT", "TASKDB_API_STATEMENT_TIMEOUT", "TASKDB_BULK_TIMEOUT"]
)
def test_limits_are_seconds(isolated, name):
    """A limit is a number of seconds with at most three decimals; 0 is none."""

    def limits(value: str) -> dict[str, float]:
        settings = load_settings(environment={name: value})
        return {
            "TASKDB_STATEMENT_TIMEOUT": settings.database().options.statement_timeout,
            "TASKDB_API_STATEMENT_TIMEOUT": settings.database(long_lived=True).options.statement_timeout,
            "TASKDB_BULK_TIMEOUT": settings.database().options.bulk_timeout,
        }

    usual = {"TASKDB_STATEMENT_TIMEOUT": 300, "TASKDB_API_STATEMENT_TIMEOUT": 5, "TASKDB_BULK_TIMEOUT": 0}
    for value in ("0", "7", "0.25", "86400"):
        assert limits(value) == usual | {name: float(value)}
    for value in ("-1", "1e3", "nan", "inf", ".5", "5.", "5s", "86400.5", "0.0001", " 5", "٣", "9" * 5000):
        with pytest.raises(InvalidConfiguration, match=name):
            limits(value)


@pytest.fixture
def limited_app(taskdb, monkeypatch) -> Callable[..., FastAPI]:
    """Makes the application as `taskdb serve` makes it, with some limits."""

    def make(**limits: str) -> FastAPI:
        for name, value in limits.items():
            monkeypatch.setenv(f"TASKDB_{name}", value)
        return create_app(load_settings().database(long_lived=True))

    return make


@pytest.fixture
def token(database) -> dict[str, str]:
    """The header of a token that may do everything; there is a user."""
    add_user(database)
    return {"Authorization": f"Bearer {add_token(database, 'test', scope='write')}"}


@SQLITE_ONLY
def test_expensive_searches_of_many_clients(limited_app, url, token, statements):
    """Each is answered when the limit of the API is over, and cheap requests are served meanwhile."""
    add_long_texts(url, 400)
    # The API has a limit of its own. One of its two threads is for searches.
    limits = {"API_STATEMENT_TIMEOUT": "0.5", "STATEMENT_TIMEOUT": "0"}
    app = limited_app(POOL_SIZE="2", POOL_OVERFLOW="0", **limits)
    with running(app) as address, web.Client(base_url=address, headers=token) as client:
        path = f"/tasks?s%65arch={EXPENSIVE}"
        with ThreadPoolExecutor(CLIENTS) as pool:
            searches = [pool.submit(client.get, path) for _ in range(CLIENTS)]
            served = []
            while not all(search.done() for search in searches):
                served.append(client.get("/tasks/1").status_code)
        answers = [search.result() for search in searches]
        assert {answer.status_code for answer in answers} == {503}
        assert all("longer than the server allows" in answer.json()["detail"] for answer in answers)
        # Those whose turn did not come in time were not tried.
        assert 0 < len([each for each in statements if "LIKE" in each]) < CLIENTS
        # A request that had to wait for the searches would be the only one.
        assert len(served) > 1
        assert set(served) == {200}
        assert client.get("/tasks?search=aaa&limit=1").status_code == 200


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_lists_and_searches_of_many_clients(limited_app, url, database, token):
    """Lists with a sort or a filter, and searches, leave a thread to other requests while they run."""
    limits = {"API_STATEMENT_TIMEOUT": "60", "LOCK_TIMEOUT": "60"}
    app = limited_app(POOL_SIZE="3", POOL_OVERFLOW="0", **limits)
    paths = [
        "/tasks?sort=title",
        "/users/1/tasks?st%61tus=open",
        "/tasks?search=a",
        "/tasks?no_due=true&limit=1",
    ]
    with (
        running(app) as address,
        web.Client(base_url=address, headers=token) as client,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        with database.engine.begin() as lock:
            lock.execute(text("LOCK TABLE tasks"))
            lists = [pool.submit(client.get, path) for path in paths * (CLIENTS // len(paths))]
            until_waiting(url)
            for _ in range(CLIENTS):
                # The lock is held until all of these are answered.
                assert client.get("/users/1", timeout=20).status_code == 200
        assert {each.result().status_code for each in lists} == {200}


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_short_reads_at_once(database):
    """On SQLite three run at once, on a server as many as connections stay open; changes are not counted."""
    turns = Turns(Database(database.url, Options(statement_timeout=0.01, pool=Pool(size=5))))
    most = 3 if database.url.drivername == "sqlite" else 5

    async def take_all() -> None:
        for _ in range(most):
            await turns.wait_for(set(), reading=True)
        with pytest.raises(TimedOut):
            await turns.wait_for({b"limit"}, reading=True)
        await turns.wait_for(set(), reading=False)

    anyio.run(take_all)


@SQLITE_ONLY
def test_a_search_that_nobody_waits_for_ends(limited_app, url, token):
    """The only thread of a server comes back when the client of a search that never ends has left."""
    add_long_texts(url, 400)
    app = limited_app(API_STATEMENT_TIMEOUT="0.5", POOL_SIZE="1", POOL_OVERFLOW="0")
    with running(app) as address:
        place = urlsplit(address)
        for _ in range(3):
            with closing(socket.create_connection((place.hostname, place.port))) as client:
                head = f"GET /tasks?search={EXPENSIVE} HTTP/1.1\r\nHost: api\r\n"
                client.sendall(f"{head}Authorization: {token['Authorization']}\r\n\r\n".encode())
        assert web.get(f"{address}/tasks/1", headers=token).status_code == 200


@SERVERS_AND_POOLER
def test_a_write_that_waits_for_a_lock_ends(limited_app, url, database, token):
    """A write has the limit too, also behind a pooler, and changes nothing."""
    add_task(database)
    app = limited_app(API_STATEMENT_TIMEOUT="0.25", LOCK_TIMEOUT="0")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        connect(url) as other,
        other.transaction(),
    ):
        other.execute("SELECT FROM tasks FOR UPDATE")
        answer = Api(app, portal).patch("/tasks/1", json={"title": "New"}, headers=token)
    assert answer.status_code == 503
    assert "longer than the server allows" in answer.json()["detail"]
    assert titles(database) == ["Write"]


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_readiness_has_its_own_limit(database, token):
    """The server is ready however little time a statement of a request has."""
    options = replace(database.options, statement_timeout=0.001, pool=Pool())
    app = create_app(Database(database.url, options))
    app.state.readiness.check()
    assert app.state.readiness.database.options.statement_timeout > 1
