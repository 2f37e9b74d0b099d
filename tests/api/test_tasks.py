"""/tasks and /users/{user}/tasks, by HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from taskdb_cli.models.vocabulary import TASK_FIELDS
from taskdb_cli.output.formats import timestamp
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from tests.api.conftest import ANY_ENGINE
from tests.api.test_users import assert_problem
from tests.conftest import NOW
from tests.forgery import forged
from tests.samples import add_task, add_user, task_records, titles
from tests.sessions import until_waiting

TASK = {
    "title": "Renew [it]",
    "external_id": "cert",
    "priority": "high",
    "due_at": "2026-12-01T17:00:00+02:00",
}


@pytest.fixture(autouse=True)
def ann(database):
    """A user who can have tasks."""
    return add_user(database)


def test_create_and_get(api, taskdb):
    """A task that was made by HTTP is the very record that the command line shows."""
    made = api.post("/users/ann@example.com/tasks", json=TASK)
    assert (made.status_code, made.headers["location"], made.headers["etag"]) == (201, "/tasks/1", '"1"')
    assert tuple(made.json()) == TASK_FIELDS
    assert made.json()["due_at"] == "2026-12-01T15:00:00Z"
    assert api.get("/tasks/1").json() == made.json()
    assert json.loads(taskdb("task", "show", "1", "-o", "json").out) == made.json()


def test_create_is_idempotent(api, database):
    """The same task again is the one that is there; a different one of its external id is a conflict."""
    made = api.post("/users/1/tasks", json=TASK)
    api.post("/tasks/1/start")
    again = api.post("/users/1/tasks", json=TASK)
    assert (again.status_code, again.headers["location"], again.headers["etag"]) == (200, "/tasks/1", '"2"')
    assert again.json()["created_at"] == made.json()["created_at"]
    other = api.post("/users/1/tasks", json=TASK | {"title": "Else", "priority": "low"})
    words = "a task with external id cert already, with another title, priority"
    assert_problem(other, 409, "conflict", words)
    for _ in range(2):
        assert api.post("/users/1/tasks", json={"title": "Twice"}).status_code == 201
    assert titles(database) == ["Renew [it]", "Twice", "Twice"]


@ANY_ENGINE
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"title": " "}, "title is empty"),
        ({"title": "a\nb"}, "title contains the control character U+000A"),
        ({"title": "a", "status": "open"}, "status must be one of todo"),
        ({"title": "a", "priority": 3}, "priority must be one of low"),
        ({"title": "a", "due_at": "friday"}, "due_at must be a time such as"),
        ({"title": "a", "due_at": 1700000000}, "due_at must be a time such as"),
        ({"title": "a", "due_at": "2026-12-01T17:00:00"}, "due_at must be a time with a zone"),
        ({"title": "a", "completed_at": "2026-12-01T17:00:00Z"}, "the status is todo, not done"),
        ({"title": "a", "user": "bob"}, "user is not a known field"),
    ],
)
def test_create_refuses_bad_input(api, body, words):
    """The rules of a task are those of the command line, without conversions of types."""
    assert_problem(api.post("/users/1/tasks", json=body), 422, "usage", words)


def test_missing(api):
    """A task, a user or a path that does not exist is not found."""
    for method, path in [
        ("GET", "/tasks/9"),
        ("PATCH", "/tasks/9"),
        ("DELETE", "/tasks/9"),
        ("POST", "/tasks/9/done"),
    ]:
        body = {"json": {}} if method == "PATCH" else {}
        assert_problem(api.request(method, path, **body), 404, "not_found", "task 9 not found")
    assert_problem(api.post("/users/9/tasks", json=TASK), 404, "not_found", "user 9 not found")
    assert_problem(api.get("/tasks?user=9"), 404, "not_found", "user 9 not found")
    unrouted = api.get("/nope")
    assert_problem(unrouted, 404, "not_found")
    assert "/openapi.json" in unrouted.json()["hint"]
    for path in ("/tasks/0", f"/tasks/{2**63}", "/tasks/x"):
        assert_problem(api.get(path), 422, "usage", "id: ")


def test_update(api, database):
    """What is given is changed; a task can be given to another user."""
    add_user(database, "bob@example.com")
    add_task(database)
    changed = api.patch("/tasks/1", json={"priority": "urgent", "due_at": "2026-12-01T17:00:00Z"})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    moved = api.patch("/tasks/1", json={"user": "bob@example.com", "due_at": None}).json()
    assert (moved["user"], moved["priority"], moved["due_at"]) == ("bob@example.com", "urgent", None)
    assert_problem(api.patch("/tasks/1", json={"user": "9"}), 404, "not_found", "user 9")
    assert_problem(api.patch("/tasks/1", json={"external_id": "x"}), 422, "usage", "not a known field")


def test_if_match(api, database):
    """Each change takes an ETag, and is refused on any other version."""
    add_task(database)
    stale = {"If-Match": '"2"'}
    for method, path in [("PATCH", ""), ("DELETE", ""), ("POST", "/done"), ("POST", "/cancel")]:
        body = {"json": {"title": "x"}} if method == "PATCH" else {}
        answer = api.request(method, f"/tasks/1{path}", headers=stale, **body)
        assert_problem(answer, 412, "conflict", "task 1 is at version 1, not 2")
    assert api.post("/tasks/1/done", headers={"If-Match": '"1"'}).headers["etag"] == '"2"'
    assert api.delete("/tasks/1", headers=stale).status_code == 200


def test_the_largest_version(api, database):
    """An ETag may have any version that a task can have; a larger number matches none."""
    add_task(database)
    database.write(lambda session: session.exec(text("UPDATE tasks SET version = 2147483647")))
    for version in ("2147483648", "9" * 30):
        answer = api.patch("/tasks/1", json={"title": "x"}, headers={"If-Match": f'"{version}"'})
        assert_problem(answer, 412, "conflict", "task 1 is at version 2147483647, not")
    etag = api.get("/tasks/1").headers["etag"]
    assert api.delete("/tasks/1", headers={"If-Match": etag}).status_code == 200


def test_if_match_takes_a_list(api, database):
    """Any strong ETag of a list will do; weak ones and those of others never match."""
    add_task(database)
    for tags, status in [
        ('"7", "1"', 200),
        ('W/"2",, "x,y" ,"3" ', 412),
        ('W/"2"', 412),
        ('"02"', 412),
        ('"1","2"', 200),
        ('"3" "2"', 422),
        ('"3', 422),
        ('*, "3"', 422),
        (",", 422),
        ("", 422),
    ]:
        answer = api.patch("/tasks/1", json={"title": f"now {tags}"}, headers={"If-Match": tags})
        assert answer.status_code == status, (tags, answer.text)
    assert_problem(
        api.delete("/tasks/1", headers={"If-Match": 'W/"3"'}),
        412,
        "conflict",
        "task 1 is at version 3, not any that If-Match names",
    )
    assert api.post("/tasks/1/done", headers={"If-Match": '"2", "3"'}).status_code == 200
    assert api.delete("/tasks/1", headers={"If-Match": '"3", "4"'}).status_code == 200


def test_moving_through_the_statuses(api, database):
    """Each verb sets its status, and doing it again changes nothing."""
    add_task(database)
    for verb, status in [
        ("start", "in_progress"),
        ("done", "done"),
        ("reopen", "todo"),
        ("cancel", "cancelled"),
    ]:
        moved = api.post(f"/tasks/1/{verb}")
        assert moved.json()["status"] == status
        assert (moved.json()["completed_at"] is not None) == (status == "done")
        assert api.post(f"/tasks/1/{verb}").json() == moved.json()


def test_delete(api, database):
    """A deletion says what went; a dry run says it and does nothing."""
    add_task(database)
    assert api.delete("/tasks/1?dry_run=true").json() == {"tasks_deleted": [1], "dry_run": True}
    assert api.delete("/tasks/1").json() == {"tasks_deleted": [1], "dry_run": False}
    assert_problem(api.delete("/tasks/1"), 404, "not_found")


FILTERS = [
    "status=open",
    "status=done&status=cancelled",
    "priority=high&priority=urgent&status=todo",
    "search=A%5B",
    "overdue=true",
    "no_due=true",
    "due_before=2026-11-23",
    "due_after=2026-11-23T00:00:00Z",
    "created_after=-1d",
    "user=bob@example.com",
    "user=1&user=2",
]


@pytest.mark.parametrize("query", FILTERS)
def test_list_as_the_command_line_does(api, database, taskdb, query):
    """The same filters and sorts give the same records in the same order, page by page."""
    add_user(database, "bob@example.com")
    for number, status in enumerate(["todo", "in_progress", "done", "cancelled", "todo"]):
        due = timestamp(NOW + timedelta(days=number - 2)) if number else None
        add_task(
            database,
            ["ann@example.com", "bob@example.com"][number % 2],
            f"Task {'a[' * (number % 3)}",
            status=status,
            priority=["low", "medium", "high", "urgent"][number % 4],
            due_at=due,
        )
    options = [
        f"--{name.replace('_', '-')}" + (f"={value}" if value != "true" else "")
        for name, value in pairs(query)
    ]
    for sort in ("-created", "-priority,due", "title"):
        expected = json.loads(taskdb("task", "list", *options, f"--sort={sort}", "-o", "json").out)
        seen, after = [], ""
        while after is not None:
            page = api.get(f"/tasks?{query}&sort={sort}&limit=2{after}").json()
            seen += page["items"]
            after = f"&after={page['next']}" if page["next"] else None
        assert seen == expected


def pairs(query):
    """The names and values of a query."""
    from urllib.parse import parse_qsl

    return parse_qsl(query)


def test_a_cursor_belongs_to_its_list(api, database):
    """A cursor works with the filters, the sort and the user that it came with, at any limit."""
    add_user(database, "bob@example.com")
    for owner in ("ann@example.com", "bob@example.com") * 2:
        add_task(database, owner)
    cursor = api.get("/users/1/tasks?limit=1").json()["next"]
    assert len(api.get(f"/users/1/tasks?limit=5&after={cursor}").json()["items"]) == 1
    for path in ("/users/2/tasks?", "/tasks?", "/users/1/tasks?sort=id&", "/users/1/tasks?status=todo&"):
        problem = api.get(f"{path}after={cursor}")
        assert_problem(problem, 422, "usage", "the cursor is damaged")
        assert "--" not in problem.json()["hint"]


@pytest.mark.soak
def test_forged_cursors_reach_no_database(api, nobody, database, statements):
    """A cursor that was made up is refused with 422, without a token with 401, and asks for no tasks."""
    add_task(database, "ann@example.com")
    order = Order.parse("-created", TASK_SORT_KEYS)
    statements.clear()
    for cursor in forged({}, order, number=150):
        assert_problem(api.get(f"/tasks?after={cursor}"), 422, "usage", "cursor")
        assert nobody.get(f"/tasks?after={cursor}").status_code == 401
    assert not [statement for statement in statements if "FROM tasks" in statement]


@ANY_ENGINE
@pytest.mark.parametrize("query", ["status=x", "priority=x", "due_before=friday", "due_after=5", "overdue=2"])
def test_list_refuses_bad_words(api, query):
    """A word that is not known, or a time in words, is refused."""
    assert_problem(api.get(f"/tasks?{query}"), 422, "usage")


@pytest.mark.parametrize("how", ["change", "delete", "done"])
def test_a_task_that_is_given_away(connect_as, database, url, engine, how):
    """Who had a task cannot change it any more once the transaction that gives it away is committed."""
    add_user(database, "bob@example.com")
    add_task(database, "ann@example.com")
    ann = connect_as("write", "ann@example.com")
    ask = {
        "change": lambda: ann.patch("/tasks/1", json={"title": "Mine"}),
        "delete": lambda: ann.delete("/tasks/1"),
        "done": lambda: ann.post("/tasks/1/done"),
    }
    with ThreadPoolExecutor() as threads, database.engine.connect() as connection:
        connection.execution_options(**database.backend.write_options)
        connection.execute(text("UPDATE tasks SET user_id = 2"))
        answer = threads.submit(ask[how])
        if engine != "sqlite":
            # SQLite does not tell who waits.
            until_waiting(url)
        connection.commit()
        assert_problem(answer.result(), 404, "not_found")
    [task] = task_records(database)
    assert (task["user_id"], task["title"], task["status"]) == (2, "Write", "todo")
