"""Requests as HTTP has them, and as hostile clients send them: the details that are easily wrong."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from taskdb_cli.api.problems import LARGEST_BODY, LONGEST_HEAD, LONGEST_QUERY
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.services import task, user
from tests import web
from tests.api.conftest import ANY_ENGINE
from tests.api.servers import running
from tests.api.test_access import BODIES, ROUTES
from tests.api.test_server import bearer
from tests.api.test_users import assert_problem
from tests.conftest import NOW, SERVERS
from tests.samples import add_task, add_token, add_user, emails, task_records, user_records
from tests.schemas import execute
from tests.sessions import until_waiting
from tests.waiting import PATIENCE

TWO_ENGINES = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
READABLE = [path for method, path in ROUTES if method == "GET"]


@pytest.fixture
def rows(database):
    """A user with a task."""
    add_user(database)
    add_task(database)


def head_of(answer):
    """What of an answer does not change from one request to the next."""
    changing = ("date", "x-request-id", "content-length" if "/metrics" in str(answer.url) else "")
    return answer.status_code, {name: each for name, each in answer.headers.items() if name not in changing}


@ANY_ENGINE
def test_head_is_get_without_the_body(app, database, rows):
    """HEAD answers as GET does, with the same headers, by the same rules of access, and without a body."""
    everything, one_user = add_token(database, "all"), add_token(database, "one", "ann@example.com")
    paths = [path.format(user=1, id=1, operation=1) for path in READABLE]
    paths += [
        "/users/2",
        "/users/0x",
        "/tasks/x",
        "/tasks?limit=0",
        "/nonsense",
        "/users?search=" + "a" * 201,
    ]
    with running(app) as url:
        for token in (everything, one_user, "taskdb_" + "A" * 43, None):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            with web.Client(base_url=url, headers=headers) as client:
                for path in paths:
                    read, head = client.get(path), client.head(path)
                    assert head_of(head) == head_of(read), path
                    assert head.content == b""
                    assert int(head.headers["content-length"]) > 0
        assert web.head(f"{url}/health/live").status_code == 200
        counted = web.get(f"{url}/metrics", headers={"Authorization": f"Bearer {everything}"}).text
    for route in ("/users/{user}", "/health/live"):
        assert f'taskdb_http_requests_total{{method="HEAD",route="{route}",status="200"}}' in counted
    assert all("head" not in operations for operations in app.openapi()["paths"].values())


@ANY_ENGINE
def test_what_a_path_allows(api, rows):
    """A method that a path does not know is 405, and Allow names every one that it does."""
    for path in {path for _, path in ROUTES}:
        allowed = {method for method, each in ROUTES if each == path}
        for method in {"OPTIONS", "PUT", "TRACE", "POST", "DELETE", "BREW"} - allowed:
            answer = api.request(method, path.format(user=1, id=1, operation=1))
            assert_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == ", ".join(sorted(allowed)), (method, path)
    assert api.get("/tasks/1/done").headers["allow"] == "POST"
    assert "allow" not in api.request("OPTIONS", "/nonsense").headers


NEW = b'{"email": "b@example.com", "name": "B"}'
TYPES = [
    ("application/json", 200),
    ("Application/JSON", 200),
    ("application/json;", 200),
    (" application/json ", 200),
    ("application/json; charset=utf-8", 200),
    ('application/json;charset="UTF-8"', 200),
    ("application/json ; charset = utf-8", 200),
    ("application/json; Charset=UTF8", 200),
    ("application/json; profile=x", 200),
    ("application/json; charset=utf-8; charset=utf-8", 200),
    (None, 415),
    ("", 415),
    (";", 415),
    ("json", 415),
    ("text/plain", 415),
    ("text/json", 415),
    ("application/jsonp", 415),
    ("application/merge-patch+json", 415),
    ("application/problem+json", 415),
    ("application/json, text/plain", 415),
    ("text/plain; application/json", 415),
    ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data; boundary=x", 415),
    ("application/json; charset=utf-16", 415),
    ("application/json; charset=latin-1", 415),
    ("application/json; charset=utf-7", 415),
    ("application/json; charset=", 415),
    ("application/json; charset", 415),
    ("application/json; charset='utf-8'", 415),
    ("application/json; charset=utf-8; charset=latin-1", 415),
    ("application/json; charset*=utf-8''latin-1", 415),
    ("application/json; charset=\xff", 415),
]


@ANY_ENGINE
def test_content_types(api, rows):
    """A body is JSON in UTF-8 by its own account, or it is refused."""
    for kind, status in TYPES:
        headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
        answer = api.patch("/users/1", content=b'{"name": "B"}', headers=headers)
        assert answer.status_code == status, kind
        if status == 415:
            assert_problem(answer, 415, "unsupported_media_type")


@ANY_ENGINE
def test_content_codings(api, rows):
    """A body that is compressed by its own account is refused, on every route that takes one."""
    for coding in ("gzip", "br", "deflate, gzip", "identity, gzip", "GZIP", "x", "chunked"):
        for (method, path), body in BODIES.items():
            headers = {"Content-Encoding": coding}
            answer = api.request(method, path.format(user=1, id=1, operation=1), json=body, headers=headers)
            assert_problem(answer, 415, "unsupported_media_type")
    for coding in ("identity", "Identity ", ""):
        headers = {"Content-Encoding": coding}
        assert api.patch("/users/1", json={"name": "B"}, headers=headers).status_code == 200


BROKEN = [
    b"",
    b" ",
    b"null",
    b"5",
    b'"x"',
    b"[]",
    b"{",
    b"{}{}",
    b"{'email': 1}",
    b"\xef\xbb\xbf" + NEW,
    NEW.decode().encode("utf-16"),
    NEW.decode().encode("utf-16-le"),
    NEW.decode().encode("utf-32"),
    b"\x1f\x8b" + NEW,
    b"\x00" + NEW,
    NEW + b"\x00",
    NEW.replace(b"B", b"\xff"),
    NEW.replace(b"B", b"\xc0\x80"),
    NEW.replace(b"B", b"\xed\xa0\x80"),
    NEW.replace(b"B", b"\\ud800"),
    NEW.replace(b"B", b"\\udc00\\ud800"),
    NEW.replace(b"B", b"\\u0000"),
    NEW.replace(b"B", b"a\nb"),
    *(
        NEW.replace(b'"B"', value)
        for value in (
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"1" * 5000,
            b"-0",
            b"true",
            b"null",
            b"{}",
        )
    ),
    NEW.replace(b'"name"', b'"name": "A", "name"'),
    NEW.replace(b'"name"', b'"n\\u0061me": "A", "name"'),
    NEW.replace(b'"name"', b'"name": 5, "name"'),
    NEW.replace(b'"B"', b'{"a": 1, "a": 2}'),
    NEW.replace(b'"B"', b'[{"a": [{"b": 1, "b": 1}]}]'),
    NEW[:-1] + b', "name": "B"}',
    NEW[:-1] + b', "x": {"a": 1, "a": 2}}',
    NEW[:-1] + b', "\\ud800": 1}',
]


@ANY_ENGINE
def test_broken_bodies(api, database):
    """A body that is no JSON, is not in UTF-8, or says a thing twice is 422 and makes nothing."""
    for body in BROKEN:
        answer = api.post("/users", content=body, headers={"Content-Type": "application/json"})
        assert_problem(answer, 422, "usage")
    assert emails(database) == []


@ANY_ENGINE
def test_a_field_that_is_given_twice(api, rows, database):
    """Every route that takes a body refuses one that gives a field twice, also with the same value."""
    for (method, path), body in BODIES.items():
        name, value = next(iter(body.items()))
        twice = json.dumps(body)[:-1] + f', "{name}": {json.dumps(value)}}}'
        headers = {"Content-Type": "application/json"}
        answer = api.request(method, path.format(user=1, id=1, operation=1), content=twice, headers=headers)
        assert_problem(answer, 422, "usage", f"{name} is given twice")
    assert emails(database) == ["ann@example.com"]
    assert [record["title"] for record in task_records(database)] == ["Write"]


@ANY_ENGINE
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks?limit=1&limit=2"),
        ("GET", "/users/1/tasks?search=a&%73earch=b"),
        ("GET", "/users?active=true&active=false"),
        ("GET", "/users?%CC%81=%CC%81&%CC%81=%FF"),
        ("DELETE", "/users/1?dry_run=true&dry_run=false"),
        ("DELETE", "/tasks/1?dry_run=true&dry_run="),
    ],
)
def test_a_parameter_that_is_given_twice(api, rows, database, method, path):
    """A parameter with one value is refused when it is given twice, on every route, and nothing happens."""
    assert_problem(api.request(method, path), 422, "usage", "is given twice")
    assert len(task_records(database)) == 1
    assert api.get("/tasks?status=todo&status=done&user=1&user=ann@example.com").status_code == 200


CHANGES = [
    ("DELETE", "/users/1", None),
    ("DELETE", "/users/ann@example.com", None),
    ("DELETE", "/users/1?reassign_to=2", None),
    ("DELETE", "/users/1?dry_run=true", None),
    ("PATCH", "/users/1", {"name": "Other"}),
    ("DELETE", "/tasks/1", None),
    ("DELETE", "/tasks/1?dry_run=true", None),
    ("PATCH", "/tasks/1", {"title": "Other"}),
    ("POST", "/tasks/1/done", None),
]


@pytest.fixture
def change_meanwhile(api, database, url, rows):
    """Makes a change that comes while another transaction changes the user and the task."""
    add_user(database, "bob@example.com")

    def change(method, path, body, if_match):
        headers, options = {"If-Match": if_match}, {"json": body} if body else {}
        with ThreadPoolExecutor(1) as other:

            def work(session):
                user.change(session, "1", UserUpdate(name="Newer"), now=NOW)
                task.change(session, [1], TaskUpdate(title="Newer"), now=NOW)
                session.flush()
                waiting = other.submit(api.request, method, path, headers=headers, **options)
                if database.backend.dialect != "sqlite":
                    until_waiting(url)
                return waiting

            return database.write(work).result()

    return change


@TWO_ENGINES
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(change[:2]))
def test_if_match_is_compared_with_what_is_locked(change_meanwhile, database, change):
    """A change of a version that another transaction is just replacing is not made on the newer one."""
    answer = change_meanwhile(*change, '"1"')
    assert_problem(answer, 412, "conflict", "is at version 2, not 1")
    assert [(each["name"], each["version"]) for each in user_records(database)] == [("Newer", 2), ("Bob", 1)]
    assert [(each["title"], each["version"]) for each in task_records(database)] == [("Newer", 2)]


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
@pytest.mark.parametrize("change", CHANGES[:1] + CHANGES[-1:], ids=lambda change: " ".join(change[:2]))
def test_if_match_accepts_what_is_locked(change_meanwhile, change):
    """A change of any of several versions is made on the one that another transaction has just left."""
    assert change_meanwhile(*change, '"7", "2"').status_code == 200


@TWO_ENGINES
def test_the_version_is_compared_first(api, database, rows):
    """Of a stale version the answer says so, and not what else the deletion would fail on."""
    add_user(database, "bob@example.com")
    for owner in ("ann@example.com", "bob@example.com"):
        add_task(database, owner, external_id="same")
    for versions, status in (('"7"', 412), ('"1"', 409)):
        answer = api.delete("/users/1?reassign_to=2", headers={"If-Match": versions})
        assert answer.status_code == status


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_changes_of_a_read_only_database(api, database, rows, url):
    """A database that cannot be written to is unavailable to changes, and the server has not failed."""
    execute(url, f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')
    database.engine.dispose()
    answers = [
        api.patch("/users/1", json={"name": "Bob"}),
        api.post("/users", json={"email": "bob@example.com", "name": "Bob"}),
        api.post("/tasks/1/done"),
        api.delete("/users/1?dry_run=true"),
    ]
    for answer in answers:
        assert_problem(answer, 503, "unavailable")
        assert "read-only" in answer.json()["detail"]
        assert answer.headers["Retry-After"]
    assert api.get("/users/1").status_code == 200


def exchange(url, *parts):
    """Send bytes to the server, and return the status of its answer."""
    address = "127.0.0.1", httpx.URL(url).port
    with socket.create_connection(address, PATIENCE) as connection, connection.makefile("rb") as answer:
        for part in parts:
            connection.sendall(part)
        return int(answer.readline().split()[1])


def request_of(headers, size, *, method="GET", target="/users", body=b""):
    """Return a request whose head has so many bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: {headers['Authorization']}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    head = "".join(f"{line}\r\n" for line in [*lines, "X: "])
    return f"{head[:-2]}{'a' * (size - len(head) - 2)}\r\n\r\n".encode() + body


@ANY_ENGINE
def test_the_limits_are_the_real_ones(serve, url, database):
    """What is as large as the README allows is read by the real server, and one byte more is refused."""
    add_user(database)
    server, headers = serve(url), bearer(database, scope="write")
    assert exchange(server.url, request_of(headers, LONGEST_HEAD)) == 200
    assert exchange(server.url, request_of(headers, LONGEST_HEAD + 1)) in (400, 431)
    assert exchange(server.url, request_of(headers, LONGEST_HEAD * 3)) in (400, 431)
    target = "/users?active=true&after="
    target += "a" * (LONGEST_QUERY - len(target) + len("/users?"))
    at, beyond = (web.get(f"{server.url}{each}", headers=headers) for each in (target, target + "a"))
    assert "query is too long" not in at.text
    assert "query is too long" in beyond.text
    for size, status in ((LARGEST_BODY, 422), (LARGEST_BODY + 1, 413)):
        whole = request_of(headers, 1000, method="POST", body=b" " * size)
        assert exchange(server.url, whole[:1000], whole[1000 : LARGEST_BODY + 1000]) == status
    for limit, status in ((1000, 200), (1001, 422)):
        assert web.get(f"{server.url}/users?limit={limit}", headers=headers).status_code == status
    assert server.stop() == 0


@ANY_ENGINE
def test_nobody_waits_for_a_hostile_request(serve, url, database):
    """While one client sends what is long to look at, another one is answered as ever."""
    add_user(database)
    server, headers = serve(url), bearer(database, scope="write")
    marks = "\u0301\u0316"
    long = f"a{marks * 64_000}@example.com"

    def attack():
        with web.Client(base_url=server.url, headers=headers) as client:
            found = [
                client.post("/users", json={"email": long, "name": "A"}),
                client.patch("/tasks/1", json={"user": long}),
                client.get(f"/users/{marks * 2500}"),
                client.get("/tasks", params={"user": marks * 2500}),
                client.get("/users?" + "&a=1" * 15_000),
                client.patch("/users/1", json={"name": "A"}, headers={"If-Match": '"1",' * 15_000}),
                client.post("/users", content=b"[" + b"[]," * 300_000 + b"[]]"),
            ]
            assert {answer.status_code for answer in found} <= {404, 415, 422}

    slowest = 0.0
    with (
        ThreadPoolExecutor(1) as threads,
        web.Client(base_url=server.url, headers=headers) as client,
    ):
        attacker = threads.submit(attack)
        while not attacker.done():
            begun = time.perf_counter()
            assert client.get("/users/1").status_code == 200
            slowest = max(slowest, time.perf_counter() - begun)
        attacker.result()
    # Far more than a busy machine takes, and less than it takes to normalize the long address.
    assert slowest < 20
    assert server.stop() == 0


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_nobody_waits_for_tiny_chunks(serve, url):
    """A body in chunks of one byte, from a client without a token, takes turns with other clients."""
    server = serve(url)
    body = b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n"
    request = b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def attack():
        address = "127.0.0.1", httpx.URL(server.url).port
        with socket.create_connection(address, PATIENCE) as connection, connection.makefile("rb") as answers:
            connection.sendall(request + last)
            return answers.read()

    answered = 0
    with ThreadPoolExecutor(1) as threads, web.Client(base_url=server.url) as client:
        assert client.get("/health/live").status_code == 200
        attacker = threads.submit(attack)
        while not attacker.done():
            assert client.get("/health/live").status_code == 200
            answered += 1
        assert attacker.result().count(b"HTTP/1.1 ") == 2
    # Some 30, on a slow machine too; of a body that is parsed in one go, one before it and one after it.
    assert answered > 10
