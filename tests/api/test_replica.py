"""Reads of the HTTP API from a replica: what is seen there, and what happens if it fails."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Event

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from sqlalchemy import URL

from taskdb_cli.api import replica as replicas
from taskdb_cli.api.app import create_app
from taskdb_cli.api.replica import Replica, parse_position, write_position
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind
from taskdb_cli.services import migrate, token
from tests import web
from tests.api.conftest import Api
from tests.api.test_server import Server, serving
from tests.conftest import IMPATIENT, SERVERS, connect, open_database, plain_url
from tests.pooler import PGBOUNCER, start_pooler
from tests.proxy import Proxy
from tests.samples import add_task, add_token, add_user
from tests.servers import PostgresServer, Replication
from tests.waiting import wait_until

SOAK = os.environ.get("TASKDB_SOAK") == "1"
WRITES, CLIENTS = (10_000 if SOAK else 200), 4

OPTIONS = replace(IMPATIENT, pool=Pool(size=3, overflow=2, timeout=60))
HEADER = "Taskdb-Log-Position"
FAR = "FFFFFFFF/FFFFFFFF"


@pytest.fixture
def database(standby: tuple[URL, URL]) -> Iterator[Database]:
    """The database on the primary, with Ann and a task of hers."""
    found = open_database(standby[0], OPTIONS)
    add_user(found)
    add_task(found, title="Old")
    yield found
    found.engine.dispose()


@contextmanager
def served(primary: Database, other: URL, *, most_lag: float = 60, pooled: bool = False) -> Iterator[Api]:
    """An application that reads the other server; a client that may do everything."""
    reader = Replica(primary, open_database(other, replace(OPTIONS, pooled=pooled)), most_lag=most_lag)
    app = create_app(primary, reader)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Api(app, portal, add_token(primary, f"client {id(app)}", scope="write"))


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch) -> None:
    """A look at the standby may take long, and counts for long."""
    monkeypatch.setattr(replicas, "_LOOK_SECONDS", 60)
    monkeypatch.setattr(replicas, "SOUND_FOR", 60)


@pytest.fixture
def api(database, standby, replication, monkeypatch) -> Iterator[Api]:
    """A client of an application that reads the standby, which has replayed everything."""
    monkeypatch.setattr(replicas, "TRY_AGAIN", 0.05)
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0.05)
    with served(database, standby[1]) as client:
        replication.catch_up()
        client.app.state.replica.begin()
        yield client
    replication.resume()


def rename(api: Api, title: str, **headers: str) -> httpx.Response:
    changed = api.patch("/tasks/1", json={"title": title}, headers=headers)
    assert changed.status_code == 200, changed.text
    return changed


def title(api: Api, **headers: str) -> str:
    found = api.get("/tasks/1", headers=headers)
    assert found.status_code == 200, found.text
    return found.json()["title"]


def outcomes(api: Api) -> dict[str, int]:
    """Return how many reads ended how."""
    shown = api.get("/metrics").text
    found = re.findall(r'^taskdb_replica_reads_total\{outcome="(\w+)"\} (\S+)', shown, re.MULTILINE)
    return {name: int(float(number)) for name, number in found}


def is_read(api: Api) -> bool:
    """Return whether a read goes to the replica now."""
    before = outcomes(api).get("replica", 0)
    title(api)
    return outcomes(api).get("replica", 0) > before


def stop_looking(api: Api) -> None:
    """End the thread that looks at the replica, which is read without a look from now on."""
    reader = api.app.state.replica
    reader._stopped.set()
    reader._wanted.set()
    reader._thread.join()
    reader._sound_until = math.inf


@pytest.fixture
def start_pooling() -> Iterator[Callable[[PostgresServer, str | None], URL]]:
    """Starts poolers in front of servers, and returns the addresses of databases there."""
    with ExitStack() as stack:

        def start(server: PostgresServer, database: str | None) -> URL:
            if PGBOUNCER is None:
                pytest.skip("pgbouncer is not installed")
            directory = server.directory
            stack.callback(shutil.rmtree, directory / "pgbouncer")
            url, stop = start_pooler(PGBOUNCER, plain_url(server.url), directory, owner=directory)
            stack.callback(stop)
            return url.set(database=database, username="postgres")

        yield start


def test_reads_go_to_the_replica(api, database, replication):
    """Lists and single records come from the replica, as one sees from what it has not replayed."""
    replication.pause()
    add_task(database, title="Of another program")
    assert len(api.get("/tasks").json()["items"]) == 1
    assert api.get("/tasks/2").status_code == 404
    assert outcomes(api) == {"replica": 2}
    replication.resume()
    replication.catch_up()
    assert len(api.get("/users/1/tasks").json()["items"]) == 2
    stop_looking(api)
    shown = api.get("/metrics").text
    assert "taskdb_replica_up 1.0" in shown
    assert "taskdb_replica_lag_seconds 0.0" in shown
    assert "taskdb_replica_connections_in_use 0.0" in shown


def test_own_writes_are_seen(api, replication, monkeypatch):
    """What was committed over the server is read at once: on the replica, or on the primary if that waits."""
    with monkeypatch.context() as patient:
        patient.setattr(replicas, "PATIENCE", 60)
        rename(api, "New")
        assert title(api) == "New"
        assert outcomes(api) == {"replica": 1}
    replication.pause()
    for number in range(3):
        rename(api, f"New {number}")
        assert title(api) == f"New {number}"
    assert outcomes(api) == {"replica": 1, "behind": 3}
    replication.resume()
    replication.catch_up()
    assert title(api) == "New 2"
    assert outcomes(api) == {"replica": 2, "behind": 3}


def test_an_idle_server_asks_nothing(api, statements, monkeypatch):
    """Once the replica is known to have replayed the last commit, the next read begins as on the primary."""
    monkeypatch.setattr(replicas, "PATIENCE", 60)
    api.app.state.replica.begin()
    stop_looking(api)
    rename(api, "New")
    assert title(api) == "New"
    statements.clear()
    assert title(api) == "New"
    assert "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" in statements
    assert not [each for each in statements if "_wal_" in each]


def test_a_revocation_counts_at_once(api, database, replication):
    """A token that the primary no longer has is refused, whatever the replica has replayed."""
    secret = add_token(database, "leaked")
    replication.catch_up()
    other = replace(api, token=secret)
    assert title(other) == "Old"
    replication.pause()
    database.write(lambda session: token.revoke(session, "leaked"))
    assert other.get("/tasks/1").status_code == 401
    assert replace(api, token=add_token(database, "new")).get("/tasks/1").status_code == 200


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"0/0", 0),
        (b"0/16B3748", 0x16B3748),
        (b"a/00000010", 0xA00000010),
        (FAR.encode(), 2**64 - 1),
        (b"", 0),
        (b"0", 0),
        (b"/", 0),
        (b"0/16B3748 ", 0),
        (b"0/16B3748\n", 0),
        (b"-1/0", 0),
        (b"1/2/3", 0),
        (b"000000001/0", 0),
        (b"0/0x10", 0),
        ("\u0661/0".encode(), 0),
        (b"0/G", 0),
        (b"9" * 60_000, 0),
    ],
)
def test_what_is_a_position(text, position):
    """A position is two numbers of up to eight hexadecimal digits; everything else is none."""
    assert parse_position(text) == position
    assert parse_position(write_position(position)) == position


def test_a_position_that_nobody_wrote(api):
    """A position beyond the log costs one short wait, and the answer is the primary's."""
    assert title(api, **{HEADER: FAR}) == "Old"
    assert title(api, **{HEADER: "'; DROP TABLE users"}) == "Old"
    assert title(api, **{HEADER: "F" * 60_000}) == "Old"
    assert title(api) == "Old"
    assert outcomes(api) == {"replica": 3, "behind": 1}


def test_a_position_of_another_server(api, database, standby, replication, monkeypatch):
    """A client that sends on the position of its change sees it on every server; others need not."""
    with served(database, standby[1]) as second:
        second.app.state.replica.begin()
        replication.pause()
        position = rename(api, "New").headers[HEADER]
        assert title(second) == "Old"
        assert title(second, **{HEADER: position}) == "New"
        replication.resume()
        replication.catch_up()
        assert title(second, **{HEADER: position}) == "New"
        assert outcomes(second) == {"replica": 2, "behind": 1}


@pytest.mark.parametrize(
    "change",
    [
        ("PATCH", "/tasks/1", {"title": "Mine"}, 412),
        ("DELETE", "/tasks/1?dry_run=true", None, 412),
        ("DELETE", "/tasks/2", None, 404),
        ("POST", "/users", {"email": "bob@example.com", "name": "Bob"}, 409),
    ],
)
def test_what_refused_a_change_is_seen(api, database, standby, replication, change):
    """A client whose change was refused reads why: on that server at once, and on others by the position."""
    method, path, body, status = change
    add_task(database, title="Two")
    with served(database, standby[1]) as second, served(database, standby[1]) as third:
        replication.pause()
        for each in (second, third):
            each.app.state.replica.begin()
        rename(api, "New")
        api.delete("/tasks/2")
        api.post("/users", json={"email": "bob@example.com", "name": "Bob"})
        headers = {"If-Match": second.get("/tasks/1").headers["ETag"]}
        refused = second.request(method, path, json=body, headers=headers if status == 412 else {})
        assert refused.status_code == status
        assert [title(second), title(third)] == ["New", "Old"]
        assert title(third, **{HEADER: refused.headers[HEADER]}) == "New"


def test_which_answers_have_a_position(api):
    """Every change that the database has answered has one, and nothing else has."""
    made = api.post("/users", json={"email": "bob@example.com", "name": "Bob"})
    changed = rename(api, "New")
    tried = api.delete("/tasks/1?dry_run=true")
    gone = api.delete("/users/2")
    refused = api.patch("/tasks/1", json={"title": "Newer"}, headers={"If-Match": '"99"'})
    assert refused.status_code == 412
    answers = (made, changed, tried, gone, refused)
    positions = [parse_position(each.headers[HEADER].encode()) for each in answers]
    assert positions == sorted(positions)
    assert positions[0] > 0
    others = [
        api.get("/tasks/1"),
        api.get("/tasks/99"),
        api.patch("/tasks/1", json={"title": ""}),
        replace(api, token="0" * 43).delete("/tasks/1"),
        api.get("/health/ready"),
    ]
    assert [each.status_code for each in others] == [200, 404, 422, 401, 200]
    assert not [each for each in others if HEADER in each.headers]


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_without_a_replica(url, statements):
    """A server without one asks for no position and tells none."""
    database = open_database(url, OPTIONS)
    add_user(database)
    app = create_app(database)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        api = Api(app, portal, add_token(database, "all", scope="write"))
        statements.clear()
        made = api.post("/users/1/tasks", json={"title": "New"}, headers={HEADER: "0/1"})
        assert (made.status_code, HEADER in made.headers) == (201, False)
        assert "taskdb_replica" not in api.get("/metrics").text
    assert not [each for each in statements if "_wal_" in each]


def test_a_commit_whose_answer_was_lost(database, standby, replication):
    """A change that was looked up and found has a position, and is seen."""
    with Proxy(plain_url(database.url.render_as_string())) as proxy:
        primary = open_database(proxy.url.set(username="postgres"), OPTIONS)
        with served(primary, standby[1]) as api:
            replication.catch_up()
            api.app.state.replica.begin()
            replication.pause()
            proxy.swallow = True
            assert HEADER in rename(api, "New").headers
            assert not proxy.swallow
            assert title(api) == "New"
            replication.resume()


def test_a_commit_that_may_have_been(api, database, monkeypatch):
    """After a change whose outcome is unknown, the primary is read until its position is known."""

    def fail(*_: object, **__: object) -> None:
        raise OutcomeUnknown("lost")

    def not_known(_: object) -> int:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(api.app.state.database, "write", fail)
        patch.setattr(replicas, "_committed_position", not_known)
        assert api.patch("/tasks/1", json={"title": "New"}).json()["code"] == "unknown"
        assert not is_read(api)
    wait_until(lambda: is_read(api))


def test_a_log_that_ends_earlier(api):
    """After another server has become the primary, whose log lacks the end, reads do not wait for that."""
    api.app.state.replica._written = 2**60
    assert title(api) == "Old"
    wait_until(lambda: is_read(api))
    assert api.app.state.replica._written < 2**60


def test_a_standby_of_another_server(database, standby, fork, monkeypatch, caplog):
    """A standby that has replayed what the primary never wrote is not read, whatever is written there."""
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0.05)
    primary = open_database(fork, OPTIONS)
    with served(primary, standby[1]) as api:
        rename(api, "New")
        assert title(api) == "New"
        wait_until(lambda: "another server" in caplog.text)
        assert title(api) == "New"
        assert "replica" not in outcomes(api)


def test_a_standby_that_is_away(api, replication, caplog):
    """While the standby is stopped the primary answers everything, with one line in the log each way."""
    with caplog.at_level(logging.INFO, "taskdb.replica"):
        replication.standby.control("stop", "-m", "fast")
        for _ in range(5):
            assert title(api) == "Old"
        assert not is_read(api)
        rename(api, "New")
        assert "taskdb_replica_up 0.0" in api.get("/metrics").text
        replication.standby.restart()
        wait_until(lambda: is_read(api))
    assert title(api) == "New"
    assert len(caplog.records) == 2
    assert outcomes(api).get("failed", 0) <= 1


def test_a_standby_that_was_promoted(tmp_path_factory, monkeypatch, caplog):
    """A standby that takes writes of its own is not read any more."""
    monkeypatch.setattr(replicas, "TRY_AGAIN", 0.05)
    both = Replication(tmp_path_factory.mktemp("promotion", numbered=False))
    try:
        primary = open_database(plain_url(both.primary.url), OPTIONS)
        migrate.upgrade(primary)
        add_user(primary)
        add_task(primary, title="Old")
        with served(primary, plain_url(both.standby.url)) as api:
            both.catch_up()
            api.app.state.replica.begin()
            assert is_read(api)
            both.standby.control("promote")
            with connect(plain_url(both.standby.url)) as connection:
                connection.execute("UPDATE tasks SET title = 'Of the other'")
            for _ in range(5):
                assert title(api) == "Old"
            rename(api, "New")
            assert title(api) == "New"
            assert outcomes(api)["replica"] == 1
    finally:
        both.stop()
    assert len([each for each in caplog.records if each.name == "taskdb.replica"]) == 1


def test_a_server_that_takes_writes_is_not_read(database):
    """A server that is no standby is found out before it is read, also in a session that was just opened."""
    options = database.backend.options_after(0, 0)
    with pytest.raises(DatabaseUnavailable, match="not a replica"):
        database.read(lambda session: session.connection(), options=options)


@contextmanager
def silenced(replication: Replication, url: URL) -> Iterator[None]:
    """Stop the processes of the standby, as they are on a machine that hangs."""
    sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    with connect(url) as connection:
        found = [pid for (pid,) in connection.execute(f"{sessions} AND pid <> pg_backend_pid()")]
    found.append(int((replication.standby.directory / "data" / "postmaster.pid").read_text().split()[0]))
    try:
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def test_a_standby_that_is_silent(api, standby, replication, monkeypatch, caplog):
    """Whoever waits for a server that answers nothing is answered by the primary, and the log says why."""
    assert is_read(api)
    monkeypatch.setattr(replicas, "_LOOK_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0)
    with silenced(replication, standby[1]):
        assert title(api) == "Old"
    assert "silent" in caplog.records[0].message
    wait_until(lambda: is_read(api))


def test_a_standby_that_nobody_reaches(api, standby, replication):
    """Whoever waits for an answer is told at once when no connection can be opened any more."""
    reader, begun = api.app.state.replica, Event()
    reader.database.engine.dispose()

    def work(session) -> bool:
        before = begun.is_set()
        begun.set()
        session.connection().exec_driver_sql(f"SELECT pg_sleep({0 if before else 60})")
        return before

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(reader.read, work, 0)
        begun.wait()
        with silenced(replication, standby[1]):
            reader._wanted.set()
            assert answer.result(30)
    assert outcomes(api) == {"failed": 1}


def test_a_query_that_the_standby_ends(api, database, standby, replication):
    """A read that a replayed VACUUM is in the way of is done again on the primary, and the replica stays."""
    primary, other = standby
    settings = "ALTER SYSTEM {} max_standby_streaming_delay{}"
    with connect(other) as connection:
        connection.execute(settings.format("SET", " = 0"))
        connection.execute("SELECT pg_reload_conf()")
    seen: list[int] = []

    def work(session) -> int:
        count = session.connection().exec_driver_sql("SELECT count(*) FROM tasks").scalar()
        if not seen:
            with connect(primary) as connection:
                connection.execute("DELETE FROM tasks")
                connection.execute("VACUUM tasks")
            replication.catch_up()
        seen.append(count)
        return session.connection().exec_driver_sql("SELECT count(*) FROM tasks").scalar()

    try:
        assert api.app.state.replica.read(work, 0) == 0
    finally:
        with connect(other) as connection:
            connection.execute(settings.format("RESET", ""))
            connection.execute("SELECT pg_reload_conf()")
    assert seen == [1, 0]
    assert outcomes(api) == {"conflict": 1}
    assert api.get("/tasks").json()["items"] == []
    assert outcomes(api) == {"conflict": 1, "replica": 1}


def test_a_lock_that_the_replay_holds(api, database, standby, replication, monkeypatch):
    """A read that would wait for the replay of a lock is done on the primary after a second."""
    monkeypatch.setattr(replicas, "TRY_AGAIN", 60)
    with connect(standby[0]) as connection:
        connection.execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        # The lock is replayed together with what is written after it.
        with connect(standby[0]) as other:
            other.execute("UPDATE users SET name = 'Ann Lee'")
        replication.catch_up()
        replication.pause()
        connection.execute("COMMIT")
    assert title(api) == "Old"
    assert outcomes(api) == {"conflict": 1}
    # Nobody waits for it again, also after another look.
    monkeypatch.setattr(replicas, "TRY_AGAIN", 0.05)
    reader = api.app.state.replica
    failed_at = reader._failed_at
    reader._look_at = 0
    wait_until(lambda: title(api) == "Old" and reader._failed_at > failed_at)
    assert "replica" not in outcomes(api)
    assert outcomes(api)["conflict"] == 1
    replication.resume()
    stop_looking(api)


def test_a_standby_that_lags(database, standby, replication, monkeypatch, caplog):
    """A replica that is behind for longer than the setting allows is not read until it has caught up."""
    monkeypatch.setattr(replicas, "TRY_AGAIN", 0.05)
    monkeypatch.setattr("taskdb_cli.database.replica.PATIENCE", 0)
    with served(database, standby[1], most_lag=0) as api:
        replication.catch_up()
        api.app.state.replica.begin()
        replication.pause()
        add_task(database, title="Of another program")
        api.app.state.replica._look_at = 0
        wait_until(lambda: not is_read(api))
        assert len(api.get("/tasks").json()["items"]) == 2
        assert "behind" in caplog.records[-1].message
        replication.resume()
        wait_until(lambda: is_read(api))


@pytest.mark.parametrize("which", ["primary", "standby"])
def test_behind_a_pooler(database, standby, replication, start_pooling, which):
    """Own writes are seen over a pooler, which may give each transaction another session."""
    url, pooled = start_pooling(getattr(replication, which), standby[0].database), which == "standby"
    primary = database if pooled else open_database(url, replace(OPTIONS, pooled=True))
    with served(primary, url if pooled else standby[1], pooled=pooled) as api:
        replication.catch_up()
        api.app.state.replica.begin()
        for number in range(20):
            rename(api, f"New {number}")
            assert title(api) == f"New {number}"
        assert outcomes(api)["replica"] > 0
        replication.pause()
        rename(api, "Newest")
        assert title(api) == "Newest"
        assert outcomes(api)["behind"] > 0
        replication.resume()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("pooled", [False, True])
def test_an_address_that_leads_elsewhere(standby, replication, start_pooling, pooled):
    """No row of another database is answered where new sessions lead to that, also between two looks."""
    primary, other = standby
    if pooled:
        other = start_pooling(replication.standby, other.database)
    elsewhere = open_database(primary, replace(OPTIONS, schema="elsewhere"))
    with connect(primary) as connection:
        connection.execute("CREATE SCHEMA elsewhere")
    migrate.upgrade(elsewhere)
    add_user(elsewhere)
    add_task(elsewhere, title="Of another database")
    elsewhere.engine.dispose()
    ours = open_database(primary, replace(OPTIONS, schema="public"))
    with served(ours, other, pooled=pooled) as api:
        replication.catch_up()
        api.app.state.replica.begin()
        assert is_read(api)
        stop_looking(api)
        with connect(primary) as connection:
            connection.execute(f"ALTER DATABASE {primary.database} SET search_path = elsewhere")
        replication.catch_up()
        with connect(standby[1]) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert [title(api) for _ in range(5)] == ["Old"] * 5
        assert outcomes(api) == {"replica": 1, "failed": 1, "down": 4}
        assert "another database" in api.app.state.replica._fault


@pytest.mark.soak
def test_no_read_is_stale(api, monkeypatch):
    """Many clients at once each read what they have just written."""
    monkeypatch.setattr(replicas, "PATIENCE", 60)
    ids = [api.post("/users/1/tasks", json={"title": "Mine"}).json()["id"] for _ in range(CLIENTS)]

    def work(id: int) -> list[str]:
        stale = []
        for number in range(WRITES // CLIENTS):
            assert api.patch(f"/tasks/{id}", json={"title": f"{number}"}).status_code == 200
            if (found := api.get(f"/tasks/{id}").json()["title"]) != f"{number}":
                stale.append(found)
        return stale

    with ThreadPoolExecutor(CLIENTS) as threads:
        assert [each for stale in threads.map(work, ids) for each in stale] == []
    assert outcomes(api)["replica"] > WRITES // 2


@pytest.fixture
def start(isolated, standby) -> Iterator[Callable[..., Server]]:
    """Starts servers that read the standby."""
    with serving() as serve:
        other = standby[1].render_as_string(hide_password=False)
        yield lambda **given: serve(standby[0], **{"TASKDB_READ_URL": other, **given})


def test_two_processes(start, database, replication):
    """A change over one server is seen over another one by whoever sends on the position."""
    headers = {"Authorization": f"Bearer {add_token(database, 'all', scope='write')}"}
    replication.catch_up()
    first, second = start(), start()
    assert "and its replica" in first.said[-1]
    with web.Client(headers=headers) as client:
        for number in range(50):
            changed = client.patch(f"{first.url}/tasks/1", json={"title": f"New {number}"})
            position = {HEADER: changed.headers[HEADER]}
            for server in (first, second):
                found = client.get(f"{server.url}/tasks/1", headers=position).json()
                assert found["title"] == f"New {number}"
        shown = client.get(f"{second.url}/metrics").text
    assert re.search(r'taskdb_replica_reads_total\{outcome="replica"\} [1-9]', shown)
    assert [each.stop() for each in (first, second)] == [0, 0]
    assert "Traceback" not in "".join(first.said + second.said)


def test_what_is_no_replica_at_the_start(start, make_url_of, database, standby):
    """Another database is refused, and a replica that cannot be reached is only a warning."""
    other = make_url_of(SERVERS[-1])
    with connect(other) as connection:
        connection.execute("UPDATE taskdb_identity SET identity = gen_random_uuid()::text")
    refused = start(TASKDB_READ_URL=other.render_as_string(hide_password=False))
    assert refused.wait() == 2
    assert "another database" in "".join(refused.said)
    itself = start(TASKDB_READ_URL=standby[0].render_as_string(hide_password=False))
    assert "TASKDB_READ_URL" in "".join(itself.said)
    assert "is the primary itself (" in "".join(itself.said)
    assert "and its replica" not in "".join(itself.said)
    itself.stop()
    server = start(TASKDB_READ_URL="postgresql://ann:hidden@127.0.0.1:1/work")
    headers = {"Authorization": f"Bearer {add_token(database, 'all')}"}
    assert web.get(f"{server.url}/tasks/1", headers=headers).status_code == 200
    assert web.get(f"{server.url}/health/ready", headers=headers).json()["status"] == "ok"
    assert server.stop() == 0
    assert "reading the primary until then" in "".join(server.said)
    assert "hidden" not in "".join(server.said)


def test_a_migration_that_is_not_replayed(database, standby, replication, monkeypatch):
    """A replica at another revision is waited for briefly at the start, and then refused."""
    monkeypatch.setattr(replicas, "_START_SECONDS", 0.2)
    replication.pause()
    migrate.downgrade(database)
    migrate.upgrade(database)
    reader = Replica(database, open_database(standby[1], OPTIONS), most_lag=60)
    try:
        reader.begin()
        migrate.downgrade(database)
        with pytest.raises(SchemaBehind):
            reader.begin()
    finally:
        reader.close()
        replication.resume()
