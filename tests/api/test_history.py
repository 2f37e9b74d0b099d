"""What requests leave in the history, and what they see of it."""

import pytest

from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.services import task, user
from tests.api.test_users import assert_problem
from tests.conftest import NOW
from tests.operations import changes, operations
from tests.samples import add_task, add_user

ANN, BOB = "ann@example.com", "bob@example.com"


def test_who_did_it_and_how(api, database):
    """Each request that changes rows is one operation, of its token and its route, without values."""
    add_user(database, "heir@example.com")
    add_task(database, "heir@example.com")
    before = len(operations(database))
    ann = {"email": "ann@example.com", "name": "Ann"}
    requests = [
        ("POST", "/users", "/users", ann, 1),
        ("PATCH", "/users/ann@example.com", "/users/{user}", {"name": "Ann Lee"}, 1),
        ("POST", "/users/ann@example.com/tasks", "/users/{user}/tasks", {"title": "Write"}, 1),
        ("PATCH", "/tasks/2", "/tasks/{id}", {"title": "Read", "user": "1"}, 1),
        ("POST", "/tasks/2/start", "/tasks/{id}/start", None, 1),
        ("POST", "/tasks/2/done", "/tasks/{id}/done", None, 1),
        ("POST", "/tasks/2/reopen", "/tasks/{id}/reopen", None, 1),
        ("POST", "/tasks/2/cancel", "/tasks/{id}/cancel", None, 1),
        ("DELETE", "/tasks/2", "/tasks/{id}", None, 1),
        ("DELETE", "/users/1?reassign_to=2", "/users/{user}", None, 2),
        ("DELETE", "/users/2", "/users/{user}", None, 2),
    ]
    for method, path, _, body, _ in requests:
        answer = api.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
    written = [(each.actor, each.command, each.rows_changed) for each in operations(database)[before:]]
    assert written == [("write None", f"{method} {route}", rows) for method, _, route, _, rows in requests]


def test_what_is_no_change_is_not_in_it(api, connect_as, database):
    """A request that changes nothing, is refused or only tries leaves no operation."""
    add_user(database)
    given = {"title": "Write", "external_id": "x"}
    assert api.post("/users/1/tasks", json=given).status_code == 201
    reader, ann = connect_as("read"), connect_as("write", "ann@example.com")
    before = operations(database)
    answers = [
        api.post("/users/1/tasks", json=given),
        api.patch("/tasks/1", json={"title": "Write"}),
        api.post("/tasks/1/reopen"),
        api.patch("/users/1", json={"is_active": True}),
        api.delete("/tasks/1?dry_run=true"),
        api.delete("/users/1?dry_run=true"),
        api.patch("/tasks/1", json={"title": "Read"}, headers={"If-Match": '"9"'}),
        api.post("/users", json={"email": "ann@example.com", "name": "Ann"}),
        api.post("/users/1/tasks", json={**given, "title": "Read"}),
        reader.delete("/tasks/1"),
        ann.delete("/users/1"),
        api.delete("/tasks/9"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6 + [412, 409, 409, 403, 403, 404]
    assert operations(database) == before
    assert api.post("/tasks/1/done").status_code == 200
    assert operations(database)[-1].id == before[-1].id + 1
    assert [each["version_after"] for each in changes(database, before[-1].id + 1)] == [2]


@pytest.fixture
def rows(database):
    """Ann with the task 1, and Bob with the task 2, which both have changed."""
    add_user(database, ANN)
    add_user(database, BOB)
    add_task(database, ANN, "Secret of ann")
    add_task(database, BOB, "Secret of bob")
    change(database, [1, 2], status="done", priority="urgent")


def change(database, ids, owner=None, **values):
    given = TaskUpdate.model_validate(values)
    database.write(lambda session: task.change(session, ids, given, now=NOW, owner=owner))


def ids(answer, name="items"):
    return [each["id"] for each in answer.json()[name]]


@pytest.mark.usefixtures("rows")
def test_operations(api, database):
    """Operations are listed newest first, page by page, with the filters of the command."""
    everything = ids(api.get("/history"))
    assert everything == [each.id for each in reversed(operations(database))]
    found, after = [], ""
    while after is not None:
        page = api.get(f"/history?limit=2{after and '&after=' + after}").json()
        found += [each["id"] for each in page["items"]]
        after = page["next"]
    assert found == everything
    for query, expected in {
        "task=2": [5, 4],
        "task=1&task=2": [5, 4, 3],
        f"user={BOB}": [5, 4, 2],
        "actor=nobody": [],
        "actor=x%00": [],
        "command=LIB&limit=1": everything[:1],
        "since=2999-01-01": [],
        "until=2999-01-01&task=1": [5, 3],
    }.items():
        assert ids(api.get(f"/history?{query}")) == expected, query
    for query in (
        "task=x",
        "sort=id",
        "since=friday",
        "after=x",
        "limit=0",
        "limit=1&limit=2",
        "command=%00",
    ):
        assert api.get(f"/history?{query}").status_code == 422, query
    for query in ("task=99", "user=99", "user=eve@example.com", "task=9" + "9" * 5000):
        assert api.get(f"/history?{query}").status_code == 404, query


@pytest.mark.usefixtures("rows")
def test_an_operation(api):
    """An operation comes with its changes, page by page, in the words of the records."""
    whole = api.get("/history/5").json()
    assert (whole["command"], whole["rows"], whole["next"]) == ("library", 2, None)
    first = whole["changes"][0]
    assert (first["table"], first["id"], first["owner_id"], first["action"]) == ("task", 1, 1, "updated")
    assert (first["version_before"], first["version_after"]) == (1, 2)
    assert first["fields"]["priority"] == {"old": "medium", "new": "urgent"}
    assert first["fields"]["status"] == {"old": "todo", "new": "done"}
    assert first["fields"]["completed_at"] == {"old": None, "new": "2026-11-22T12:30:15.123456Z"}
    one = api.get("/history/5?limit=1").json()
    two = api.get(f"/history/5?limit=1&after={one['next']}").json()
    assert [*one["changes"], *two["changes"]] == whole["changes"]
    assert_problem(api.get(f"/history/4?after={one['next']}"), 422, "usage")
    assert_problem(api.get("/history/99"), 404, "not_found", "operation 99 not found")
    for path in ("/history/0", "/history/x", "/history/5?task=1", f"/history/{2**63}"):
        assert api.get(path).status_code == 422, path


@pytest.mark.usefixtures("rows")
def test_lives(api, database):
    """A user and a task have their lives, oldest first, also when they are deleted."""
    database.write(lambda session: user.remove(session, [BOB], now=NOW))
    life = api.get("/tasks/2/history").json()["items"]
    assert [(each["operation"], each["action"]) for each in life] == [
        (4, "created"),
        (5, "updated"),
        (life[-1]["operation"], "deleted"),
    ]
    assert life[-1]["fields"]["title"] == {"old": "Secret of bob", "new": None}
    for ref in (BOB, "2"):
        page = api.get(f"/users/{ref}/history?limit=1").json()
        rest = api.get(f"/users/{ref}/history?after={page['next']}").json()
        assert [each["action"] for each in [*page["items"], *rest["items"]]] == ["created", "deleted"]
    for path in ("/tasks/9/history", "/users/9/history", "/users/eve@example.com/history"):
        assert_problem(api.get(path), 404, "not_found")


@pytest.mark.usefixtures("rows")
def test_what_a_users_token_sees(connect_as, database):
    """A token of one user sees operations on rows of theirs, and of these the changes of their rows only."""
    add_task(database, BOB, "Other secret of bob")
    change(database, [3], owner=ANN, title="Gift of ann")
    change(database, [1], owner=BOB, title="Secret, bob")
    came, went = [each.id for each in operations(database)[-2:]]
    ann, bob = connect_as("read", ANN), connect_as("read", BOB)
    mine, whole = ann.get("/history").json()["items"], connect_as("read").get("/history").json()["items"]
    assert {1, 3, 5, came, went} < {each["id"] for each in mine}
    assert {2, 4, came - 1}.isdisjoint(each["id"] for each in mine)
    assert {each["rows"] for each in mine} == {None}
    assert ids(ann.get("/history/5"), "changes") == [1]
    assert ids(bob.get("/history/5"), "changes") == [2]
    for path in ("/history/4", "/history/2", "/users/2/history", "/tasks/2/history", f"/users/{BOB}/history"):
        assert_problem(ann.get(path), 404, "not_found")
    for query in ("user=2", "task=2", f"user={BOB}", "task=9"):
        assert_problem(ann.get(f"/history?{query}"), 404, "not_found")
    assert ids(ann.get("/history?task=3")) == [came]
    [arrived] = ann.get("/tasks/3/history").json()["items"]
    assert arrived["owner_id"] is None
    assert arrived["fields"]["title"] == {"old": None, "new": "Gift of ann"}
    assert arrived["fields"]["user_id"] == {"old": None, "new": 1}
    *_, left = ann.get("/tasks/1/history").json()["items"]
    assert left["fields"]["title"] == {"old": "Secret of ann", "new": None}
    texts = [ann.get(path).text for path in (*[f"/history/{each['id']}" for each in whole], "/history")]
    assert not any("bob" in text for text in texts)


@pytest.mark.usefixtures("rows")
def test_a_page_of_changes_is_no_larger_than_others(api, database):
    """A page of changes with long texts ends early."""
    for number in range(12):
        change(database, [1], description=f"{number:02}" + "\U0001f600" * 19_000)
    pages, after = 0, ""
    while after is not None:
        answer = api.get(f"/tasks/1/history?limit=1000{after and '&after=' + after}")
        assert len(answer.content) <= 1024 * 1024
        after = answer.json()["next"]
        pages += 1
    assert pages > 1
