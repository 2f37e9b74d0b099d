"""Nobody gets in: every route, whoever asks. A route that is new is tried here by itself."""

import threading

import httpx
import pytest
from fastapi import Response

from taskdb_cli.api import operations
from taskdb_cli.api.app import create_app
from taskdb_cli.api.schemas import LIVE
from taskdb_cli.database import Database
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.services import token, user
from tests.api.conftest import ANY_ENGINE
from tests.api.test_users import assert_problem
from tests.conftest import NOW
from tests.samples import add_task, add_user, emails, task_records, user_records

BODIES = {
    ("POST", "/users"): {"email": "new@example.com", "name": "New"},
    ("PATCH", "/users/{user}"): {"name": "Changed"},
    ("POST", "/users/{user}/tasks"): {"title": "Changed"},
    ("PATCH", "/tasks/{id}"): {"title": "Changed"},
}


def routes():
    """The method and path of every route."""
    from sqlalchemy import make_url

    app = create_app(Database(make_url("sqlite:///unused")))
    return sorted((method, route.path) for route in app.routes for method in route.methods)


ROUTES = routes()
CLOSED = [route for route in ROUTES if route[1] != LIVE]


def ask(api, route, *, user=1, task=1, operation=1):
    """Use a route in the way it is meant, on a user, a task and an operation."""
    method, path = route
    body = {"json": BODIES[route]} if route in BODIES else {}
    return api.request(method, path.format(user=user, id=task, operation=operation), **body)


@pytest.fixture
def rows(database):
    """Two users with a task each."""
    for name in ("ann", "bob"):
        add_user(database, f"{name}@example.com")
        add_task(database, f"{name}@example.com", f"Secret of {name}")


def stored(database):
    return user_records(database), task_records(database)


def test_the_routes_are_found():
    """The walk finds the routes, and each that takes a body has one to be tried with."""
    assert {
        ("GET", "/users"),
        ("POST", "/tasks/{id}/done"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("HEAD", "/metrics"),
    } < {*ROUTES}
    assert len(ROUTES) == 36
    assert set(BODIES) < set(ROUTES)


def test_a_route_that_forgets_to_ask_is_closed(app, nobody, connect_as):
    """An answer that came about without the database still waits for the token to be looked up."""
    reached = []
    app.add_api_route("/new", lambda: reached.append(True) or Response("secret"))
    assert connect_as("read").get("/new").text == "secret"
    wrong = {"Authorization": "Bearer taskdb_" + "A" * 43}
    assert_problem(nobody.get("/new", headers=wrong), 401, "unauthorized")
    assert len(reached) == 2
    assert_problem(nobody.get("/new"), 401, "unauthorized")
    assert len(reached) == 2


def test_only_one_route_is_open(nobody):
    """That the server lives is told to everybody, and asks no database."""
    answer = nobody.get(LIVE)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert nobody.request("HEAD", LIVE).status_code == 200
    assert [route for route in ROUTES if route not in CLOSED] == [("GET", LIVE), ("HEAD", LIVE)]


@ANY_ENGINE
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer taskdb_" + "A" * 43,
        "Basic dGFza2Ri",
        "{token}",
        "Token {token}",
        "Bearer {token}x",
        "Bearer {token} ",
        "Bearer {token},Bearer {token}",
        "Bearer {lower}",
    ],
)
def test_no_route_opens_without_a_token(nobody, connect_as, database, rows, header):
    """Without a token, with half of one or with another, every route says 401 and does nothing."""
    secret = connect_as().token
    before = stored(database)
    given = {"Authorization": header.format(token=secret, lower=secret.lower())} if header is not None else {}
    for method, path in [*CLOSED, ("GET", "/nonsense"), ("PUT", "/users"), ("POST", "/health/live/")]:
        answer = nobody.request(
            method, path.format(user=1, id=1, operation=1), headers=given, **_body((method, path))
        )
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (401, b""), path
            continue
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert stored(database) == before


def _body(route):
    return {"json": BODIES[route]} if route in BODIES else {}


@pytest.mark.parametrize("how", ["revoked", "deactivated", "deleted"])
def test_a_token_ends_at_once(connect_as, database, rows, how):
    """A token that was revoked, or whose user was deactivated or deleted, opens nothing any more."""
    api = connect_as("write", "ann@example.com")
    assert api.get("/tasks/1").status_code == 200
    ends = {
        "revoked": lambda session: token.revoke(session, "write ann@example.com"),
        "deactivated": lambda session: user.change(session, "1", UserUpdate(is_active=False), now=NOW),
        "deleted": lambda session: user.remove(session, ["1"], now=NOW),
    }
    database.write(ends[how])
    for route in CLOSED:
        assert ask(api, route).status_code == 401, route


def test_a_token_to_read_changes_nothing(connect_as, database, rows):
    """Every route that changes something says 403 to a token to read; every other one answers."""
    api, before = connect_as("read"), stored(database)
    for route in CLOSED:
        answer = ask(api, route)
        if route[0] in ("GET", "HEAD"):
            assert answer.status_code == 200, route
        else:
            assert_problem(answer, 403, "forbidden", "may only read")
    assert stored(database) == before


def test_malformed_requests_need_a_token_too(connect_as, nobody, rows):
    """What is wrong with a request is told only to who may make it."""
    api, reader = connect_as(), connect_as("read")
    for path in ("/users?limit=0", "/tasks/x", "/nonsense"):
        assert nobody.get(path).status_code == 401
        assert api.get(path).status_code in (404, 422)
    for content in (b"{", b"{}"):
        headers = {"Content-Type": "application/json"}
        assert nobody.post("/users", content=content, headers=headers).status_code == 401
        assert reader.post("/users", content=content, headers=headers).status_code == 403
        assert api.post("/users", content=content, headers=headers).status_code == 422


@ANY_ENGINE
def test_no_body_is_read_of_whoever_may_not_send_it(nobody, connect_as, app):
    """A made-up token is refused before the body has come, and so is one that may only read."""
    received = []

    async def receive():
        received.append(True)
        return {"type": "http.request", "body": b"{", "more_body": True}

    for secret, status in (("taskdb_" + "A" * 43, 401), (connect_as("read").token, 403)):
        for method, path in [route for route in ROUTES if route[0] not in ("GET", "HEAD")]:
            assert nobody.portal.call(_status_of, app, method, path, secret, receive) == status
    assert not received


async def _status_of(app, method, path, secret, receive):
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"authorization", f"Bearer {secret}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"]


@ANY_ENGINE
def test_not_known_to_be_ready(app, connect_as, monkeypatch):
    """A look at the database that takes too long is answered without its result."""
    over = threading.Event()
    monkeypatch.setattr(operations, "READY_SECONDS", 0.1)
    monkeypatch.setattr(app.state.readiness, "check", over.wait)
    try:
        assert_problem(connect_as("read").get("/health/ready"), 503, "unavailable")
    finally:
        over.set()


@ANY_ENGINE
def test_a_body_with_many_faults(connect_as):
    """Of thousands of unknown fields a few are named."""
    answer = connect_as().post("/users", json={f"field{number}": 1 for number in range(5000)})
    assert_problem(answer, 422, "usage", "and 4982 more")
    assert len(answer.text) < 2000


ADMINISTRATION = {
    ("POST", "/users"),
    ("PATCH", "/users/{user}"),
    ("DELETE", "/users/{user}"),
    ("GET", "/metrics"),
}


def assert_knows_only_ann(answer: httpx.Response) -> None:
    """No byte of the answer, its headers included, is of Bob's rows."""
    text = answer.text + str(answer.headers)
    assert "bob@example.com" not in text
    assert "Secret of bob" not in text


@pytest.mark.parametrize("scope", ["read", "write"])
@pytest.mark.parametrize("ref", ["2", "bob@example.com"])
def test_a_users_token_sees_nobody_else(connect_as, database, rows, scope, ref):
    """Every route that names another's row says that there is none, and no route shows or changes one."""
    api, before = connect_as(scope, "ann@example.com"), stored(database)
    for route in CLOSED:
        answer = ask(api, route, user=ref, task=2, operation=4)
        if "{" in route[1]:
            expected = 403 if scope == "read" and route[0] not in ("GET", "HEAD") else 404
            assert answer.status_code == expected, (route, answer.text)
            missing = ask(api, route, user="9" if ref == "2" else "bob2@example.com", task=9, operation=9)
            assert answer.status_code == missing.status_code
        if ref == "2":
            assert_knows_only_ann(answer)
    assert stored(database) == before


def test_a_users_token_and_its_own_rows(connect_as, database, rows):
    """With their own rows a user does everything but administration."""
    api = connect_as("write", "ann@example.com")
    for route in CLOSED:
        if route in ADMINISTRATION:
            assert_problem(ask(api, route), 403, "forbidden", "limited to one user")
        elif route == ("HEAD", "/metrics"):
            assert ask(api, route).status_code == 403
        elif route != ("DELETE", "/tasks/{id}"):
            answer = ask(api, route)
            assert answer.status_code in (200, 201), (route, answer.text)
            assert_knows_only_ann(answer)
    assert api.delete("/tasks/1").status_code == 200
    assert emails(database) == ["ann@example.com", "bob@example.com"]


def test_lists_of_a_users_token(connect_as, database, rows):
    """A list holds their rows, whatever the filter; one that names somebody else finds nobody."""
    api = connect_as("read", "ann@example.com")
    assert [user["email"] for user in api.get("/users?with_counts=true").json()["items"]] == [
        "ann@example.com"
    ]
    assert api.get("/users?search=bob").json()["items"] == []
    for query in ("", "user=1", "user=ann@example.com", "search=Secret", "status=open&sort=user"):
        found = api.get(f"/tasks?{query}").json()["items"]
        assert [task["title"] for task in found] == ["Secret of ann"], query
    for query in ("user=2", "user=1&user=2", "user=bob@example.com", "user=9"):
        assert_problem(api.get(f"/tasks?{query}"), 404, "not_found")


def test_a_users_token_gives_no_task_away(connect_as, database, rows):
    """A task cannot be moved to a user whom the token must not know, nor the tasks with a deletion."""
    api, before = connect_as("write", "ann@example.com"), stored(database)
    for ref in ("2", "bob@example.com", "9"):
        assert_problem(api.patch("/tasks/1", json={"user": ref}), 404, "not_found", f"user {ref} not found")
        assert_problem(api.delete(f"/users/1?reassign_to={ref}"), 403, "forbidden")
    assert stored(database) == before
