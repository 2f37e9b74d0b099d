"""Long values: refused by their length, before anything takes time that grows faster than they do."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import pytest
from typer import Context
from typer.main import get_command

from taskdb_cli.api.problems import (
    LARGEST_BODY,
    LONGEST_HEAD,
    LONGEST_QUERY,
    MOST_HEADERS,
    MOST_PARAMETERS,
)
from taskdb_cli.cli.app import app as command_line
from taskdb_cli.cli.completion import complete_users
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.fields import EMAIL_LENGTH, normalize_email
from taskdb_cli.services.listing.query import SEARCH_LENGTH
from taskdb_cli.text.escaping import LONGEST_ECHO
from tests.api.conftest import ANY_ENGINE
from tests.api.test_access import BODIES, ROUTES
from tests.api.test_users import assert_problem
from tests.conftest import SERVERS
from tests.samples import add_task, add_user, emails

MARKS = "\u0301\u0316"
"""Two combining marks in the order that Unicode normalization has to change."""

LONG = f"a{MARKS * 64_000}@example.com"
SECONDS = 5
"""Of a processor: far more than any of this takes, and far less than to normalize the long address takes.

That is a minute.
"""

TWO_ENGINES = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)


@contextmanager
def soon():
    """What happens within takes little time."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SECONDS


@pytest.fixture
def rows(database):
    """A user with a task."""
    add_user(database)
    add_task(database)


def test_an_address_is_measured_before_it_is_normalized():
    """An address that is too long is refused at once, and the longest one that fits is accepted."""
    with soon(), pytest.raises(ValueError, match=f"at most {EMAIL_LENGTH} are allowed"):
        normalize_email(LONG)
    longest = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 6}.com"
    assert len(longest) == EMAIL_LENGTH
    assert normalize_email(longest) == longest
    with pytest.raises(ValueError, match=f"at most {EMAIL_LENGTH} are allowed"):
        normalize_email(longest + "m")


FIELDS = [
    *((route, field) for route in (("POST", "/users"), ("PATCH", "/users/1")) for field in ("email", "name")),
    *((("POST", "/users"), field) for field in ("is_active", "created_at", "new")),
    *(
        (route, field)
        for route in (("POST", "/users/1/tasks"), ("PATCH", "/tasks/1"))
        for field in ("title", "description", "status", "priority", "due_at", "external_id", "user")
    ),
]


@TWO_ENGINES
def test_long_values_in_bodies(api, rows):
    """Whatever field of a body holds the long address, the answer is a refusal, and comes at once."""
    for (method, path), field in FIELDS:
        for body in ({field: LONG}, {LONG: 1}, {field: [LONG] * 3}):
            with soon():
                answer = api.request(method, path, json=body)
            expected = (404, 422) if field == "user" else (422,)
            assert answer.status_code in expected, (path, field)
            assert answer.text.count("\u0301") <= LONGEST_ECHO


@TWO_ENGINES
def test_long_values_in_paths_and_queries(api, rows):
    """Whatever part of an address holds a long value, the answer is a refusal, and comes at once."""
    value = MARKS * 1250
    with soon():
        for method, path in ROUTES:
            if "{user}" in path:
                body = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
                answer = api.request(method, path.format(user=value), **body)
                assert answer.status_code == 404, path
                assert answer.text.count("\u0301") <= LONGEST_ECHO
        assert api.get(f"/tasks/{'1' * 20_000}").status_code == 422
        assert api.delete("/users/1", params={"reassign_to": value}).status_code == 404
        for path, names in (
            ("/users", ("search", "sort", "active", "limit", "after", "new", value)),
            ("/tasks", ("search", "sort", "status", "priority", "due_before", "created_after", "overdue")),
        ):
            for name in names:
                answer = api.get(path, params={name: value})
                assert_problem(answer, 422, "usage")
                assert answer.text.count("\u0301") <= LONGEST_ECHO
        assert_problem(api.get("/tasks", params={"user": value}), 404, "not_found")


@ANY_ENGINE
def test_long_headers(api, nobody, rows):
    """Headers are looked at only as far as they may go."""
    tag = '"1", '
    with soon():
        for value in (tag * 12_000, tag * 12_000 + "x", ", \t" * 15_000, "W/" * 30_000, '"' * 60_000):
            for method, path in (("PATCH", "/users/1"), ("DELETE", "/tasks/1"), ("POST", "/tasks/1/done")):
                body = {"json": {"name": "B"}} if method == "PATCH" else {}
                answer = api.request(method, path, headers={"If-Match": value}, **body)
                assert answer.status_code == 422, value[:9]
        for value in ("Bearer " + " " * 50_000 + api.token, f"Bearer {'a' * 60_000}", "b" * 60_000):
            assert_problem(nobody.get("/users", headers={"Authorization": value}), 401, "unauthorized")
        answer = api.get("/users", headers={"X-Request-ID": "a" * 60_000})
        assert len(answer.headers["x-request-id"]) == 16
        for name in ("Content-Type", "Content-Encoding"):
            value = "application/json" + '; charset="utf-8' * 3000
            answer = api.post("/users", content=b"{}", headers={name: value})
            assert answer.status_code == 415


@ANY_ENGINE
def test_the_head_is_bounded(api, nobody):
    """A request has at most so many headers, and at most so many bytes before its body."""
    for client in (api, nobody):
        many = [(f"x-{number}", "") for number in range(MOST_HEADERS + 1)]
        assert_problem(client.request("GET", "/users", headers=dict(many)), 431, "too_large")
        assert_problem(client.get("/users", headers={"x": "a" * LONGEST_HEAD}), 431, "too_large")
        parts = {f"x-{number}": "a" * 1000 for number in range(66)}
        assert_problem(client.get("/users", headers=parts), 431, "too_large")


@ANY_ENGINE
def test_the_query_is_bounded(api, nobody):
    """A query string of the longest length is read, a longer one is not, and neither is one of too many."""
    longest = "search=" + "a" * SEARCH_LENGTH
    assert api.get(f"/users?{longest}").status_code == 200
    assert_problem(api.get(f"/users?{longest}a"), 422, "usage", "200")
    assert_problem(api.get(f"/tasks?{longest}a"), 422, "usage", "200")
    filling = f"/users?limit=1{'&' * (LONGEST_QUERY - len('limit=1'))}"
    assert_problem(api.get(filling), 422, "usage", "query is too long")
    for path, status in (("/users?", 200), ("/health/live?", 200)):
        assert api.get(f"{path}limit=1{'&' * (MOST_PARAMETERS - 1)}").status_code == status
        assert_problem(api.get(f"{path}limit=1{'&' * MOST_PARAMETERS}"), 422, "usage", "too long")
        sized = f"active=true&after={'a' * (LONGEST_QUERY - len('active=true&after='))}"
        assert "too long" not in api.get(path + sized).text
        assert_problem(api.get(f"{path}{sized}a"), 422, "usage", "too long")
    unknown = {"Authorization": "Bearer taskdb_" + "A" * 43}
    for query in ("limit=0", "x=1", longest + "a", "&" * MOST_PARAMETERS, "after=%00"):
        assert_problem(nobody.get(f"/users?{query}", headers=unknown), 401, "unauthorized")


@ANY_ENGINE
def test_alternatives_are_bounded(api, rows):
    """A filter takes a hundred alternatives and no more."""
    for name, value, status in (("user", "1", 200), ("status", "todo", 200), ("priority", "low", 200)):
        assert api.get("/tasks", params={name: [value] * 100}).status_code == status
        assert_problem(api.get("/tasks", params={name: [value] * 101}), 422, "usage", name)
    everything = {"user": ["1"] * 100, "status": ["todo"] * 100, "priority": ["low"] * 100}
    assert api.get("/tasks", params=everything).status_code == 200


LARGE = [
    b"[" * LARGEST_BODY,
    b'{"a":' * (LARGEST_BODY // 5),
    b"[" + b"[]," * (LARGEST_BODY // 3 - 2) + b"[]]",
    b"[" + b"{}," * (LARGEST_BODY // 3 - 2) + b"{}]",
    b'{"title":[' + b"1," * (LARGEST_BODY // 2 - 9) + b"1]}",
    b'{"title":' + b"1" * (LARGEST_BODY - 20) + b"}",
    b'{"title":"x","priority":' + b"1" * 4000 + b"}",
    b'{"title":1e' + b"9" * (LARGEST_BODY - 20) + b"}",
    b"{" + b'"title":"a",' * 20_000 + b'"title":"a"}',
    json.dumps({f"field{number}": 1 for number in range(50_000)}).encode(),
    b'{"title":"' + b"a" * (LARGEST_BODY - 20) + b'"}',
    b'{"title":"' + b"\\u00e9" * (LARGEST_BODY // 6 - 20) + b'"}',
    b'{"due_at":"2026-' + b"1" * (LARGEST_BODY - 40) + b'"}',
    b" " * LARGEST_BODY,
]


@ANY_ENGINE
def test_large_bodies(api, rows):
    """The largest body takes little time, whatever it is made of, and names no field."""
    for number, body in enumerate(LARGE):
        assert len(body) <= LARGEST_BODY
        with soon():
            answer = api.post("/users/1/tasks", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, number
        assert len(answer.text) < 2000


@ANY_ENGINE
def test_the_longest_task_fits(api, rows):
    """A task whose every field is as long as it may be, each character escaped, is made."""
    given = {"title": "😀" * 500, "description": "[" * 20_000, "external_id": "😀" * 200}
    assert api.post("/users/1/tasks", json=given).status_code == 201
    given = {"title": "😀" * 500, "description": "😀" * 20_000, "external_id": "é" * 200}
    answer = api.post(
        "/users/1/tasks", content=json.dumps(given), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 201


@TWO_ENGINES
def test_an_answer_repeats_little(api, rows):
    """No answer holds more than a part of a long value that was sent."""
    value = "z" * 5000
    answers = [
        api.get(f"/users/{value}"),
        api.get(f"/users/{'z' * 240}@example.com"),
        api.get(f"/users/{'9' * 5000}"),
        api.get("/tasks", params={"user": value}),
        api.get("/tasks", params={"status": value}),
        api.get("/tasks", params={"due_before": value}),
        api.get("/tasks", params={value: "1"}),
        api.get("/users", params={"sort": "z" * 200}),
        api.get(f"/{value}"),
        api.delete("/users/1", params={"reassign_to": value}),
        api.patch("/tasks/1", json={"user": value}),
        api.patch("/tasks/1", json={"status": value}),
        api.patch("/tasks/1", json={"title": value}),
        api.post("/users", json={value: 1, "name": "x", "email": "é" * 250}),
    ]
    for answer in answers:
        assert answer.status_code in (404, 422)
        for character in "z9é":
            assert answer.text.count(character) <= LONGEST_ECHO + 40, answer.text


LINES = [
    (("user", "create", "--name", "A", "--email"), 2),
    (("user", "create", "--email", "b@example.com", "--name"), 2),
    (("user", "update", "1", "--email"), 2),
    (("user", "update", "1", "--name"), 2),
    (("user", "update", "--name", "B"), 3),
    (("user", "show"), 3),
    (("user", "delete", "--yes"), 3),
    (("user", "delete", "1", "--yes", "--reassign-to"), 3),
    (("user", "list", "--search"), 2),
    (("user", "list", "--count", "--search"), 2),
    (("user", "list", "--sort"), 2),
    (("user", "list", "--fields"), 2),
    (("user", "list", "--after"), 2),
    (("user", "list", "--limit"), 2),
    (("task", "create", "--user", "1"), 2),
    (("task", "create", "Title", "--user"), 3),
    (("task", "create", "Title", "--user", "1", "--external-id"), 2),
    (("task", "create", "Title", "--user", "1", "--description"), 2),
    (("task", "create", "Title", "--user", "1", "--due"), 2),
    (("task", "create", "Title", "--user", "1", "--status"), 2),
    (("task", "create", "Title", "--user", "1", "--priority"), 2),
    (("task", "update", "1", "--user"), 3),
    (("task", "update", "1", "--title"), 2),
    (("task", "show"), 2),
    (("task", "list", "--user"), 3),
    (("task", "list", "--search"), 2),
    (("task", "list", "--count", "--search"), 2),
    (("task", "list", "--explain", "--search"), 2),
    (("task", "list", "--due-before"), 2),
    (("task", "export", "--search"), 2),
    (("task", "export", "--user"), 3),
    (("stats", "--user"), 3),
    (("token", "create", "--name"), 2),
    (("token", "create", "--name", "t", "--user"), 3),
    (("token", "create", "--name", "t", "--expires"), 2),
    (("token", "revoke"), 3),
    (("health", "--only"), 3),
    (("health", "--skip"), 3),
    (("history", "show"), 2),
    (("history", "--since"), 2),
    (("history", "prune", "--keep"), 2),
    (("undo",), 2),
    (("migrate", "down"), 2),
    (("serve", "--host"), 2),
    (("help",), 2),
    (("backup", "--dir", "backups", "--label"), 2),
]


@TWO_ENGINES
def test_long_values_on_the_command_line(taskdb, database, rows):
    """Every command that is given the long address ends at once, with one short line."""
    for line, code in LINES:
        with soon():
            result = taskdb(*line, LONG, expect=code)
        assert result.out == ""
        assert result.err.count("\n") == 1, line
        assert result.err.count("\u0301") <= LONGEST_ECHO, line
    assert emails(database) == ["ann@example.com"]


def test_long_hosts(bare_taskdb, monkeypatch):
    """A host name that is too long is refused at once, wherever a host can be named."""
    host = LONG.replace("@", ".")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{host}")
    for line in (
        ("stats", "--database-url", f"postgresql://u@{host}/d"),
        ("stats", "--database-url", f"postgresql:///d?host=localhost&hostaddr={host}"),
        ("backup", "list", "--dir", "s3://bucket"),
    ):
        with soon():
            assert len(bare_taskdb(*line, expect=2).err) < 2000


@TWO_ENGINES
def test_long_values_in_imports(taskdb, database, rows):
    """A file that holds the long address in any place is refused at once."""
    user = {"email": "b@example.com", "name": "B"}
    task = {"user": "ann@example.com", "title": "New"}
    for noun, record, fields in (
        ("user", user, ("email", "name", "is_active", "created_at", "new")),
        ("task", task, ("user", "title", "status", "priority", "due_at", "external_id", "description")),
    ):
        for field in fields:
            with soon():
                text = json.dumps({**record, field: LONG})
                result = taskdb(noun, "import", "-", "--from", "ndjson", stdin=text, expect=2)
            assert "nothing was imported" in result.err
            assert len(result.err) < 2000
    assert emails(database) == ["ann@example.com"]


@ANY_ENGINE
def test_names_of_fields_in_imports(taskdb):
    """Hundreds of thousands of fields are searched for one that is there twice in little time."""
    names = [f"f{number}" for number in range(100_000)]
    record = "{" + ",".join(f'"{name}":1' for name in [*names, names[-1]]) + "}"
    with soon():
        result = taskdb("user", "import", "-", "--from", "ndjson", stdin=record, expect=2)
    assert "f99999 twice" in result.err
    header = ",".join([*names, names[-1]]) + "\n"
    with soon():
        result = taskdb("user", "import", "-", "--from", "csv", stdin=header, expect=2)
    assert "header is invalid" in result.err


@TWO_ENGINES
def test_completion_of_a_long_address(taskdb, rows):
    """What is too long to be an address is completed by nothing, at once."""
    context = Context(get_command(command_line))
    assert complete_users(context, "a") == ["ann@example.com"]
    for text in (LONG, "a" * 100_000, "%" * 100_000):
        with soon():
            assert complete_users(context, text) == []


@TWO_ENGINES
def test_a_search_is_bounded_everywhere(taskdb, rows):
    """A search of 200 characters works on the command line, and one of 201 is refused."""
    for line in (("task", "list"), ("task", "export"), ("user", "list")):
        taskdb(*line, "--search", "é" * SEARCH_LENGTH)
        taskdb(*line, "--search", "é" * (SEARCH_LENGTH + 1), expect=2)


def test_refused_before_it_is_parsed():
    """A time in words is parsed only if it is short."""
    from taskdb_cli.times import parse_when
    from tests.conftest import NOW

    with soon(), pytest.raises(InvalidInput):
        parse_when("friday " * 10_000, now=NOW, end_of_day=True)
