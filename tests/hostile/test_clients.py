"""Clients that cost the server memory, time or connections, by malice or by a bad line."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url, text

from taskdb_cli.api import listings
from taskdb_cli.database import Database
from taskdb_cli.models.task import TaskCreate
from taskdb_cli.services import task
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, USER_SORT_KEYS
from tests import web
from tests.api.conftest import ANY_ENGINE, Api
from tests.api.test_server import SOAK, Server, bearer, locked, serving
from tests.conftest import NOW, SERVERS, _urls_key, isolate, open_database
from tests.samples import add_task, add_user, emails
from tests.waiting import PATIENCE, wait_until

PAGE = 1024 * 1024
PRIORITIES = ("low", "medium", "high", "urgent")
DESCRIPTIONS = ("x" * 20_000, "\U0001f600" * 20_000, '"\\' * 10_000, "short", None)
TWO_ENGINES = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux about a process")


@pytest.fixture
def serve(isolated: None) -> Iterator[Callable[..., Server]]:
    """Starts servers, whose clients may stall for a second only, and sees to it that none is left."""
    with serving() as start:
        yield lambda url, **options: start(url, **{"TASKDB_CLIENT_TIMEOUT": "1"} | options)


def pages(api: Api, path: str, **query: object) -> Iterator[httpx.Response]:
    """Yield each page of a list."""
    while True:
        answer = api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        yield answer
        query["after"] = answer.json()["next"]
        if query["after"] is None:
            return


def ids(answers: list[httpx.Response]) -> list[int]:
    return [item["id"] for answer in answers for item in answer.json()["items"]]


def add_tasks(database, *tasks: dict[str, object], owner: str = "ann@example.com") -> list[int]:
    """Make tasks in one transaction, and return their ids."""

    def make(session):
        given = [TaskCreate.model_validate({"title": "Write", **fields}) for fields in tasks]
        return [task.create(session, owner, each, now=NOW)["id"] for each in given]

    return database.write(make)


@TWO_ENGINES
def test_a_page_has_at_most_one_mebibyte(api, database):
    """A page of long descriptions ends early, and the next one goes on behind it."""
    add_user(database)
    made = add_tasks(database, *({"description": DESCRIPTIONS[number % 5]} for number in range(60)))
    for limit in (60, 1000):
        found = list(pages(api, "/users/1/tasks", limit=limit, sort="id"))
        assert ids(found) == made
        assert max(len(answer.content) for answer in found) <= PAGE
        # A page that ended early has no room for another record.
        assert all(len(answer.content) > PAGE - 130_000 for answer in found[:-1])


@pytest.mark.parametrize(
    ("engine", "room"), [("sqlite", 1), ("sqlite", 2500), (SERVERS[-1], 2500)], indirect=["engine"]
)
def test_short_pages_keep_the_order(api, database, monkeypatch, room):
    """By whatever sort, pages that end early hold each record once, in the order of one long page.

    A record that is larger than a page is on a page of its own.
    """
    for number, name in enumerate(("ann", "bob", "eve")):
        owner = f"{name}@example.com"
        add_user(database, owner)
        tasks = [
            {
                "title": f"Task {each // 5}",
                "due_at": NOW + timedelta(days=each // 4) if number else None,
                "priority": PRIORITIES[each % 4],
            }
            for each in range(number, 12, 3)
        ]
        add_tasks(database, *tasks, owner=owner)
    lists = [("/tasks", key) for key in TASK_SORT_KEYS]
    lists += [("/tasks", f"-{key}") for key in TASK_SORT_KEYS]
    lists += [("/users", key) for key in USER_SORT_KEYS]
    for path, sort in lists:
        whole = ids([api.get(path, params={"sort": sort, "limit": 1000})])
        with monkeypatch.context() as patch:
            patch.setattr(listings, "_ROOM", room)
            short = list(pages(api, path, sort=sort, limit=1000))
        assert len(short) > 1 or (path, room) == ("/users", 2500)
        assert ids(short) == whole, (path, sort)


@ANY_ENGINE
def test_an_ordinary_page_is_one_query(api, database, statements):
    """A page of the usual length is read as a whole, after the token was looked up."""
    add_user(database)
    add_tasks(database, *[{}] * 60)
    del statements[:]
    assert len(api.get("/users/1/tasks").json()["items"]) == 50
    assert len([each for each in statements if "FROM tasks" in each]) == 1


class Shared(NamedTuple):
    """A server whose clients may stall for a second only, and its database with 60 long tasks."""

    server: Server
    database: Database
    headers: dict[str, str]

    def settled(self) -> int:
        """Return how many lines the log has, when all that was done so far is in it."""
        marker = uuid4().hex
        web.get(f"{self.server.url}/users/1", headers=self.headers | {"X-Request-ID": marker})
        wait_until(lambda: any(event["request"] == marker for event in self.server.events()))
        return len(self.server.said)


@pytest.fixture(scope="module")
def shared(pytestconfig, tmp_path_factory) -> Iterator[Shared]:
    """One server for all tests that do not stop it: to start one takes longer than most of them."""
    place = tmp_path_factory.mktemp("shared")
    url = make_url(f"sqlite:///{place}/shared.sqlite3")
    shutil.copy(make_url(pytestconfig.stash[_urls_key]["sqlite"]).database, url.database)
    database = open_database(url)
    add_user(database)
    add_tasks(database, *[{"description": "x" * 20_000}] * 60)
    with serving() as start:
        with pytest.MonkeyPatch.context() as patch:
            isolate(patch, place)
            limits = {"CLIENT_TIMEOUT": "1", "LOCK_TIMEOUT": "30", "RETRY_BUDGET": "30"}
            server = start(url, **{f"TASKDB_{name}": value for name, value in limits.items()})
        yield Shared(server, database, bearer(database, scope="write"))


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Makes connections on which something was sent.

    A narrow one takes in little that its client does not read.
    """
    with contextlib.ExitStack() as stack:

        def make(server: Server, send: bytes = b"", *, narrow: bool = False) -> socket.socket:
            client = stack.enter_context(socket.socket())
            client.settimeout(PATIENCE)
            if narrow:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", httpx.URL(server.url).port))
            client.sendall(send)
            return client

        yield make


def head(method: str, path: str, headers: dict[str, str], *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, *more, ""]).encode()


def rest(client: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            received += part
    return received


def creation(headers: dict[str, str], length: str) -> bytes:
    return head("POST", "/users", headers, "Content-Type: application/json", length)


def assert_serves(server: Server) -> None:
    assert web.get(f"{server.url}/health/live").status_code == 200


def test_an_unfinished_request_is_dropped(shared, connect):
    """A connection is closed on which nothing comes, or a request that is never complete."""
    server, headers = shared.server, shared.headers | {"X-Request-ID": "unfinished"}
    length, chunked = (
        creation(headers, "Content-Length: 100"),
        creation(headers, "Transfer-Encoding: chunked"),
    )
    heads = [b"", b"GET", b"GET /users HTTP/1.1\r\nHost: x\r\n"]
    bodies = [length, length + b'{"email"', chunked + b"5\r\n{"]
    assert [rest(each) for each in [connect(server, begun) for begun in heads + bodies]] == [b""] * 6
    # Nobody is told that the server failed.
    shared.settled()
    assert [each["status"] for each in server.events() if each["request"] == "unfinished"] == [499] * 3

    drips = [
        (b"GET /users HTTP/1.1\r\nHost: ", b"x"),
        (creation(headers, "Content-Length: 1000000"), b" "),
        (creation(headers, "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
        # The server has answered this one already, and so the next, which comes at full speed.
        (creation({}, "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
        (creation({}, "Transfer-Encoding: chunked"), b"8000\r\n" + b" " * 0x8000 + b"\r\n"),
    ]
    clients = [(connect(server, begun), drop) for begun, drop in drips]
    pause = threading.Event()
    for _ in range(PATIENCE * 20):
        for client, drop in clients[:]:
            try:
                client.sendall(drop)
            except ConnectionError:
                clients.remove((client, drop))
        if not clients:
            break
        pause.wait(0.05)
    assert not clients
    assert_serves(server)


def test_what_is_no_http(shared, connect):
    """Other protocols are refused at once, also behind an answer, and cause one line in the log."""
    server, since = shared.server, shared.settled()
    for _ in range(20):
        assert rest(connect(server, b"\x16\x03\x01\x02\x00\x01" + bytes(100))).startswith(b"HTTP/1.1 400")
        client = connect(server, creation({}, "Transfer-Encoding: chunked"))
        assert client.recv(12) == b"HTTP/1.1 401"
        client.sendall(b"\x16\x03\x01\r\n")
        rest(client)
    shared.settled()
    assert ["Invalid HTTP" in line for line in warnings(server, since)] == [True]


def test_a_slow_client_is_served(shared, connect):
    """A request that takes longer than a stall may, and an answer that is read as slowly, are let through."""
    # Each takes more than 3 s: the server looks once a second whether one of a second is over.
    server, headers, pause = shared.server, shared.headers, threading.Event()
    since, number = shared.settled(), 8
    reader = connect(server, narrow=True)
    reader.sendall(head("GET", "/tasks?limit=1000", headers) * (number - 1))
    reader.sendall(head("GET", "/tasks?limit=1000", headers, "Connection: close"))

    def read() -> int:
        received = 0
        with contextlib.closing(reader):
            while part := reader.recv(100_000):
                received += len(part)
                pause.wait(0.04 * len(part) / 100_000)
        return received

    body = json.dumps({"email": "bob@example.com", "name": "Bob"}).encode().ljust(12_000)
    with ThreadPoolExecutor(1) as other:
        received = other.submit(read)
        client = connect(server, creation(headers, f"Content-Length: {len(body)}"))
        for start in range(0, len(body), 500):
            client.sendall(body[start : start + 500])
            pause.wait(0.14)
        assert client.recv(12) == b"HTTP/1.1 201"
    assert emails(shared.database) == ["ann@example.com", "bob@example.com"]
    assert received.result() > number * 1_000_000
    shared.settled()
    assert not stalls(server, since)


def stalls(server: Server, since: int = 0) -> list[object]:
    lines = [json.loads(line) for line in server.said[since:] if line.startswith("{")]
    return [line["stalled"] for line in lines if "stalled" in line]


def test_a_client_that_waits_for_the_server_is_not_dropped(shared, connect):
    """The time that the server takes does not count, nor that of a client who was not told to go on."""
    headers = shared.headers | {"Content-Type": "application/json"}
    body = b'{"name": "Bob"}'
    with locked(shared.database):
        waiting = connect(shared.server, head("PATCH", "/users/1", headers, "Content-Length: 15") + body)
        for _ in range(2):
            assert rest(connect(shared.server)) == b""
    assert waiting.recv(12) == b"HTTP/1.1 200"


@pytest.mark.soak
@LINUX
@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]] if SOAK else ["sqlite"], indirect=True)
def test_clients_that_read_nothing(serve, connect, url, database):
    """What clients leave unread costs the server no more than a page of each, and is dropped."""
    clients, rows = (200, 1000) if SOAK else (10, 300)
    add_user(database)
    add_task(database, description="\U0001f600" * 20_000)
    more = (
        "INSERT INTO tasks (user_id, title, description, status, priority, version, created_at, updated_at)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)"
        " SELECT user_id, title, description, status, priority, version, created_at, updated_at"
        " FROM tasks, n"
    )
    database.write(lambda session: session.execute(text(more), {"rows": rows}) and None)
    server, headers = serve(url, TASKDB_CLIENT_TIMEOUT="30" if SOAK else "1"), bearer(database)
    request = head("GET", "/tasks?limit=1000", headers)
    connect(server, request).recv(1)
    before = memory(server)
    for _ in range(clients):
        connect(server, request * 8, narrow=True)
    wait_until(lambda: bool(stalls(server)))
    assert memory(server) - before < 100 + clients
    assert_serves(server)


def memory(server: Server) -> float:
    """Return the most memory that the server has had, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1_000_000


def limiting(files: int) -> str:
    """Return Python after which no more files can be open at once."""
    return f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"


def warnings(server: Server, since: int) -> list[str]:
    """Return the later lines of the log that are no events."""
    return [line for line in server.said[since:] if line.startswith("{") and '"level": "info"' not in line]


@ANY_ENGINE
def test_a_crowd(serve, connect, url):
    """With more clients than files may be open, one line says so, and each is served when there is room."""
    server = serve(url, first=limiting(64))
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    for begun in (request, b"", b"GET /"):
        everybody = []
        for _ in range(24):
            everybody.append(connect(server, begun))
            if begun == request:
                assert everybody[-1].recv(1000).startswith(b"HTTP/1.1 200")
        assert_serves(server)
        for client in everybody:
            client.close()
    assert_serves(server)
    assert server.stop() == 0
    told = [line for line in server.said if "connections are in use" in line]
    assert len(told) == 1
    assert json.loads(told[0])["level"] == "warning"
    assert not [line for line in server.said if "Traceback" in line or "Too many" in line]


@ANY_ENGINE
def test_too_few_files(serve, url):
    """A server that could serve nobody does not start, and says what is missing."""
    server = serve(url, first=limiting(40))
    assert server.process.wait(PATIENCE) == 1
    assert "open files" in "".join(server.said)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process, as Linux can")
def test_files_that_run_out_all_the_same(shared, connect):
    """A connection that cannot be accepted is one line, and is accepted when it can be."""
    server, since = shared.server, shared.settled()
    usual = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, 20000))
    try:
        client = connect(server, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        wait_until(lambda: bool(warnings(server, since)))
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, usual)
    assert rest(client).startswith(b"HTTP/1.1 200")
    shared.settled()
    assert ["Too many open files" in line for line in warnings(server, since)] == [True]
