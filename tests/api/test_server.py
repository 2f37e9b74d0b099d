"""taskdb serve, as a process that is spoken to over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import httpx
import pytest
from sqlalchemy import text

from taskdb_cli.services import migrate
from tests import web
from tests.conftest import POSTGRESQL_VERSIONS, SERVERS, open_database, plain_url, sqlalchemy_url
from tests.database.test_database import closed_port
from tests.forked import ForkedProcess
from tests.pages import ROOT
from tests.processes import command
from tests.samples import add_task, add_token, add_user, emails, user_records
from tests.schemas import set_revision
from tests.servers import control_server, start_server
from tests.sessions import until_waiting
from tests.waiting import PATIENCE, wait_until

SOAK = os.environ.get("TASKDB_SOAK") == "1"
CLIENTS = 4
LATE_BODIES = 5000 if SOAK else 240
"""How many requests have their head and their body sent at different times."""


class Server:
    """One process of `taskdb serve` on a free port, and what it has said so far."""

    def __init__(self, url: str, *, first: str = "", **environment: str) -> None:
        words = ("-v", "serve", "--port", "0")
        given = {**os.environ, "TASKDB_LOG_FORMAT": "json", "TASKDB_DATABASE_URL": url, **environment}
        if first or SOAK:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            self.process = subprocess.Popen(command(*words, first=first), env=given, text=True, **streams)
        else:
            self.process = ForkedProcess(*words, environment=given)
        self.said: list[str] = []
        while self.process.poll() is None:
            self.said.append(self.process.stderr.readline())
            if match := re.search(r" at (http://\S+);", self.said[-1]):
                self.url = match[1]
                break
        # A pipe that is full would stop the server.
        self._reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self._reader.start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code of a server that ends."""
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code

    def events(self) -> list[dict[str, object]]:
        """Return the events of requests in the log."""
        lines = [json.loads(line) for line in self.said if line.startswith("{")]
        return [line for line in lines if line["logger"] == "taskdb.request"]


@contextlib.contextmanager
def serving() -> Iterator[Callable[..., Server]]:
    """Start servers, and see to it that none is left."""
    servers: list[Server] = []

    def start(url, **options: str) -> Server:
        servers.append(Server(url.render_as_string(hide_password=False), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.stop()
        server.process.stderr.close()


@pytest.fixture
def serve(isolated: None) -> Iterator[Callable[..., Server]]:
    """Starts servers, and sees to it that none is left."""
    with serving() as start:
        yield start


def bearer(database, **options) -> dict[str, str]:
    return {"Authorization": f"Bearer {add_token(database, 'test', **options)}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_it_is_told_to_stop(serve, url, database, number):
    """Started on an address that is told, it answers, and ends by a signal as it should: with 0."""
    server = serve(url)
    headers = bearer(database, scope="write") | {"X-Request-ID": "my-id.1"}
    made = web.post(f"{server.url}/users", json={"email": "ann@example.com", "name": "Ann"}, headers=headers)
    assert (made.status_code, made.headers["x-request-id"]) == (201, "my-id.1")
    ready = web.get(f"{server.url}/health/ready", headers=headers).json()
    assert ready["status"] == "ok"
    assert [check["name"] for check in ready["checks"]] == ["connection", "revision", "connections"]
    assert all(check.keys() == {"name", "status"} for check in ready["checks"])
    assert server.stop(number) == 0
    assert "Traceback" not in "".join(server.said)
    event = server.events()[0]
    assert (event["method"], event["route"], event["status"], event["request"]) == (
        "POST",
        "/users",
        201,
        "my-id.1",
    )
    assert "ann@example.com" not in "".join(server.said)
    assert headers["Authorization"][7:] not in "".join(server.said)


def test_the_body_of_an_answer_follows_its_head_at_once(serve, url, database):
    """It does not wait until the client has confirmed the head, which its system puts off for 40 ms."""
    server = serve(url)
    with web.Client() as client:
        seconds = [client.get(f"{server.url}/health/live").elapsed.total_seconds() for _ in range(60)]
    assert min(seconds[-20:]) < 0.035


def test_running_requests_are_finished(serve, url, database, engine):
    """A request that waits for a lock when the server is told to stop gets its answer."""
    add_user(database)
    server, headers = (
        serve(url, TASKDB_LOCK_TIMEOUT="30", TASKDB_RETRY_BUDGET="30"),
        bearer(database, scope="write"),
    )
    with ThreadPoolExecutor() as threads:
        with locked(database):
            answer = threads.submit(web.patch, f"{server.url}/users/1", json={"name": "B"}, headers=headers)
            wait_until_busy(database, engine, server, headers)
            server.process.send_signal(signal.SIGTERM)
            # It takes no more connections, and has not left.
            wait_until(lambda: refuses(server.url))
            assert server.process.poll() is None
        assert answer.result().status_code == 200
    # A second signal might come when the server has just let go of its handlers.
    assert server.wait() == 0


def test_a_second_ctrl_c_does_not_wait(serve, url, database, engine):
    """Whoever insists is not kept waiting by a request that waits itself, whose change is not made."""
    add_user(database)
    server, headers = serve(url, TASKDB_LOCK_TIMEOUT="30"), bearer(database, scope="write")
    with ThreadPoolExecutor() as threads, locked(database):
        changed = threads.submit(web.patch, f"{server.url}/users/1", json={"name": "B"}, headers=headers)
        wait_until_busy(database, engine, server, headers)
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: refuses(server.url))
        assert server.stop(signal.SIGINT) == 1
        assert isinstance(changed.exception(), httpx.TransportError)
    assert "error: stopped with 1 requests unfinished" in "".join(server.said)
    assert [user["name"] for user in user_records(database)] == ["Ann"]


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_a_request_that_outlasts_the_grace(serve, url, database, engine):
    """A change that waits too long is not made, nobody is answered, and the exit code says so."""
    add_user(database)
    hurry = "import runpy, taskdb_cli.api.server as server; server.GRACE = 0.5"
    hurry += "; runpy.run_module('taskdb_cli', None, '__main__')"
    server, headers = serve(url, first=hurry, TASKDB_LOCK_TIMEOUT="30"), bearer(database, scope="write")
    with ThreadPoolExecutor() as threads, locked(database):
        changed = threads.submit(web.patch, f"{server.url}/users/1", json={"name": "B"}, headers=headers)
        wait_until_busy(database, engine, server, headers)
        assert server.stop() == 1
        assert isinstance(changed.exception(), httpx.TransportError)
    assert "error: stopped with 1 requests unfinished" in "".join(server.said)
    assert [user["name"] for user in user_records(database)] == ["Ann"]


def test_a_signal_in_a_collection_is_not_lost():
    """SIGTERM that comes while Python collects garbage, where it ignores errors, still stops the server."""
    code = """
import os, signal, weakref
from taskdb_cli.system import signals
from taskdb_cli.api import server
class Cycle: pass
cycle = Cycle()
cycle.itself, watch = cycle, weakref.ref(cycle, lambda _: os.kill(os.getpid(), signal.SIGTERM))
signals.listen()
del cycle
try:
    server._tidy_memory()
except KeyboardInterrupt:
    raise SystemExit(signals.exit_code())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")


@contextlib.contextmanager
def locked(database):
    """Keep every writer waiting."""
    with database.engine.connect() as connection:
        connection.execution_options(**database.backend.write_options)
        connection.execute(text("UPDATE users SET name = name"))
        yield
        connection.rollback()


def wait_until_busy(database, engine, server, headers) -> None:
    """Wait until a request of the server waits for the lock."""

    def busy() -> bool:
        shown = web.get(f"{server.url}/metrics", headers=headers).text
        return "taskdb_pool_connections_in_use 1.0" in shown

    if engine == "sqlite":
        wait_until(busy)
    else:
        until_waiting(plain_url(database.url.render_as_string(hide_password=False)))


def refuses(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", httpx.URL(url).port), 5).close()
    except OSError:
        return True
    return False


def test_a_client_that_goes_away_has_made_its_change(serve, url, database, engine):
    """The change of a client that did not wait for a lock is made when the lock comes free."""
    add_user(database)
    server, headers = (
        serve(url, TASKDB_LOCK_TIMEOUT="30", TASKDB_RETRY_BUDGET="30"),
        bearer(database, scope="write"),
    )
    with locked(database):
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as connection:
            connection.sendall(b"".join(change_of_a_name(headers, "Changed")))
            wait_until_busy(database, engine, server, headers)
        # The server has seen that the client left when it has answered somebody who came later.
        assert web.get(f"{server.url}/health/live").status_code == 200
    wait_until(lambda: [user["name"] for user in user_records(database)] == ["Changed"])
    assert server.stop() == 0
    assert "Traceback" not in "".join(server.said)


def change_of_a_name(headers: dict[str, str], name: str, *more: str) -> tuple[bytes, bytes]:
    """Return the head and the body of a request that changes the first user."""
    body = json.dumps({"name": name}).encode()
    lines = [
        "PATCH /users/1 HTTP/1.1",
        "Host: x",
        f"Authorization: {headers['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode(), body


# Its rows only show that the body was read: the suite has time for one engine.
@pytest.mark.parametrize("engine", ["sqlite", *SERVERS[-1:]] if SOAK else ["sqlite"], indirect=True)
@pytest.mark.parametrize("way", ["two parts", "three parts", "after 100"])
@pytest.mark.soak
def test_a_body_that_comes_late_is_read(serve, url, database, way):
    """A change is made however long after its head the body comes, and in however many parts."""
    add_user(database)
    server, headers = serve(url), bearer(database, scope="write")

    def change(client: int) -> set[bytes]:
        random, pause, answers = Random(client), threading.Event(), set()
        address = "127.0.0.1", httpx.URL(server.url).port
        with socket.create_connection(address, PATIENCE) as connection, connection.makefile("rb") as answer:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(LATE_BODIES // CLIENTS):
                more = ["Expect: 100-continue"] if way == "after 100" else []
                head, body = change_of_a_name(headers, f"Name {client} {number}", *more)
                connection.sendall(head)
                if more:
                    assert answer.readline().startswith(b"HTTP/1.1 100 ")
                    answer.readline()
                parts = [body[:5], body[5:]] if way == "three parts" else [body]
                for part in parts:
                    pause.wait(random.choice([0, 0.0005, 0.003]) * random.random())
                    connection.sendall(part)
                answers.add(answer.readline())
                length = 0
                while line := answer.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answer.read(length)
        return answers

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = set().union(*threads.map(change, range(CLIENTS)))
    assert answers == {b"HTTP/1.1 200 OK\r\n"}
    assert server.stop() == 0


def test_an_unfinished_body_holds_nothing_up(serve, url):
    """Who has no token is refused though the body has not come, and the server need not wait for it."""
    server = serve(url)
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port), PATIENCE) as client:
        head = f"POST /users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer taskdb_{'A' * 43}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")
        assert server.stop() == 0


def test_200_connections_at_once(serve, url, database):
    """Everybody of 200 is answered, though they share a few connections to the database."""
    add_user(database)
    for number in range(3):
        add_task(database, title=f"Task {number}")
    server, headers = serve(url), bearer(database)
    address = "127.0.0.1", httpx.URL(server.url).port
    everybody = [socket.create_connection(address, PATIENCE) for _ in range(200)]
    request = f"GET /users/1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n"
    for each in everybody:
        each.sendall(f"{request}Connection: close\r\n\r\n".encode())
    for each in everybody:
        with each, each.makefile("rb") as answer:
            head, _, content = answer.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            assert len(json.loads(content)["items"]) == 3
    assert server.stop() == 0


def test_a_database_that_is_behind_is_not_served(serve, url):
    """The server does not start on tables of another revision, and says what to do."""
    set_revision(url, "0001")
    server = serve(url)
    assert server.process.wait(PATIENCE) == 6
    assert "taskdb migrate" in "".join(server.said)


def test_a_missing_file_is_not_served(serve, tmp_path):
    """The server makes no database."""
    from sqlalchemy import make_url

    server = serve(make_url(f"sqlite:///{tmp_path}/missing.sqlite3"))
    assert server.process.wait(PATIENCE) == 3
    assert not (tmp_path / "missing.sqlite3").exists()


def test_a_database_that_sleeps_is_waited_for(serve):
    """The server starts without its database, lives, and says only that it is not ready."""
    from sqlalchemy import make_url

    with closed_port() as port:
        server = serve(make_url(f"postgresql://ann:hidden@127.0.0.1:{port}/work"))
        headers = {"Authorization": "Bearer taskdb_" + "A" * 43}
        assert web.get(f"{server.url}/health/live").status_code == 200
        for path in ("/health/ready", "/users"):
            answer = web.get(f"{server.url}{path}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"] == "5"
            assert f":{port}" not in answer.text
    assert server.stop() == 0
    assert any("starting anyway" in line for line in server.said)
    assert "hidden" not in "".join(server.said)


def test_a_port_in_use(taskdb):
    """A port that somebody else listens on is one line and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = taskdb("serve", "--port", port, expect=1)
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in failed.err
    assert (
        "cannot listen on no.such.host.invalid"
        in taskdb("serve", "--host", "no.such.host.invalid", expect=1).err
    )


def test_without_the_extra(taskdb, monkeypatch):
    """Where the extra is not installed, the command says how to."""
    for name in [name for name in sys.modules if name.startswith("taskdb_cli.api")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install '.[api]'" in taskdb("serve", expect=2).err


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_health_check_of_the_image(serve, url):
    """The image finds its server well while it runs, also where a proxy is set, and not afterwards."""
    found = re.search(r"^HEALTHCHECK [^[]*CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    python, *words = json.loads(found[1])

    def check() -> int:
        given = [word.replace("8000", server.url.rpartition(":")[2]) for word in words]
        proxy = {"http_proxy": "http://127.0.0.1:1"}
        return subprocess.run(
            [sys.executable, *given], env=proxy, check=False, capture_output=True
        ).returncode

    assert python == "python"
    server = serve(url)
    assert check() == 0
    server.stop(signal.SIGTERM)
    assert check() == 1


def test_large_bodies_over_a_socket(serve, url, database):
    """A body that is too large is refused whether its length is told or not, and the server goes on."""
    server, headers = serve(url), bearer(database, scope="write") | {"Content-Type": "application/json"}

    def chunks():
        yield from [b" " * 65536] * 17

    with contextlib.suppress(httpx.TransportError):
        # A client that is still sending may miss the answer.
        assert web.post(f"{server.url}/users", content=b" " * 1_100_000, headers=headers).status_code == 413
    with contextlib.suppress(httpx.TransportError):
        assert web.post(f"{server.url}/users", content=chunks(), headers=headers).status_code == 413
    assert web.get(f"{server.url}/health/ready", headers=headers).status_code == 200
    assert server.stop() == 0
    assert [event["status"] for event in server.events()] == [413, 413, 200]
    assert emails(database) == []


def test_a_database_that_is_away(serve, tmp_path_factory):
    """Without the database each request is answered, those that waited long for their turn at once."""
    postgres = start_server(tmp_path_factory.mktemp("away") / "data", POSTGRESQL_VERSIONS[-1], "")
    try:
        url = plain_url(postgres.get_uri())
        migrate.upgrade(open_database(url))
        headers = bearer(open_database(url))
        limits = {"POOL_SIZE": "1", "POOL_OVERFLOW": "0", "POOL_TIMEOUT": "1", "RETRY_BUDGET": "2"}
        server = serve(sqlalchemy_url(url), **{f"TASKDB_{name}": value for name, value in limits.items()})
        assert web.get(f"{server.url}/tasks", headers=headers).status_code == 200
        control_server(postgres, "stop", "-m", "immediate")
        with ThreadPoolExecutor(8) as clients:
            jobs = [
                clients.submit(ask, f"{server.url}/tasks/1", headers=headers)
                for ask in [web.get, web.delete] * 4
            ]
            answers = [job.result() for job in jobs]
        assert {answer.status_code for answer in answers} == {503}
        assert all("retry-after" in answer.headers for answer in answers)
        assert server.stop() == 0
        assert any("the server is busy" in line for line in server.said)
    finally:
        postgres.cleanup()


def test_a_database_that_restarts(serve, tmp_path_factory):
    """A server of PostgreSQL that crashes and comes back costs nobody more than a little time."""
    postgres = start_server(tmp_path_factory.mktemp("restarting") / "data", POSTGRESQL_VERSIONS[-1], "")
    try:
        url = plain_url(postgres.get_uri())
        migrate.upgrade(open_database(url))
        database = open_database(url)
        add_user(database)
        server, headers = serve(sqlalchemy_url(url)), bearer(database)
        assert web.get(f"{server.url}/users/1", headers=headers).status_code == 200
        control_server(postgres, "restart", "-m", "immediate")
        for _ in range(20):
            assert web.get(f"{server.url}/users/1", headers=headers).status_code == 200
        assert server.stop() == 0
    finally:
        postgres.cleanup()
