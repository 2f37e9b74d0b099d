"""/users, by HTTP."""

from dataclasses import replace

import pytest

from taskdb_cli.api.app import create_app
from taskdb_cli.database import Database
from taskdb_cli.models.vocabulary import USER_FIELDS
from tests.api.conftest import ANY_ENGINE
from tests.samples import add_task, add_user, emails, titles

ANN = {"email": "Ann@Example.com", "name": "Ann"}


def assert_problem(answer, status, code, words=""):
    """The answer is a problem detail of that status and code, whose detail holds the words."""
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:taskdb:problem:{code}"
    assert body["title"]
    assert words in body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "its end is missing"),
        (b'{"name": 1\n,}', "a comma before } at line 2, character 2"),
        (b'{"a": 1} x', "'x' after the end of the object at line 1, character 10"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xFF at position 8"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": ' + 5000 * b"9" + b"}", "digits"),
        (5000 * b"[", "nested too deeply"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_that_is_not_json(api, body, words):
    """The answer says in our words what is wrong, and where."""
    answer = api.post("/users", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "usage", words)


def test_create_and_get(api):
    """A user that was made is found by its id, its address, and the answer's Location."""
    made = api.post("/users", json=ANN)
    assert made.status_code == 201
    assert made.headers["location"] == "/users/1"
    assert made.headers["etag"] == '"1"'
    assert tuple(made.json()) == USER_FIELDS
    assert made.json()["email"] == "ann@example.com"
    for path in ("/users/1", "/users/ann@example.com", "/users/ANN%40example.com"):
        found = api.get(path)
        assert found.status_code == 200
        assert found.json() == made.json()
        assert found.headers["etag"] == '"1"'


@ANY_ENGINE
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "email is missing; name is missing"),
        ({"email": "ann", "name": "Ann"}, "email is not an e-mail address"),
        ({**ANN, "name": "a\x00b"}, "name contains the control character U+0000"),
        ({**ANN, "age": 7}, "age is not a known field"),
        ({**ANN, "is_active": "yes"}, "is_active"),
        ([], "should be an object"),
        ("text", "should be an object"),
    ],
)
def test_create_refuses_bad_input(api, body, words):
    """The answer names every field at fault, as the command line does."""
    assert_problem(api.post("/users", json=body), 422, "usage", words)


@ANY_ENGINE
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"\xff", "application/json", 422),
        (b'{"email": "\\ud800"}', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"version": ' + b"9" * 5000 + b"}", "application/json", 422),
        (b"email=ann", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
)
def test_create_refuses_what_is_no_json(api, content, kind, status):
    """Whatever the bytes are, the answer says that they are not what is asked for."""
    answer = api.post("/users", content=content, headers={"Content-Type": kind})
    assert_problem(answer, status, "usage" if status == 422 else "unsupported_media_type")


@ANY_ENGINE
def test_special_domains(api, database):
    """A special-use domain is taken if the server allows it, and who is stored there is found anyway."""
    refused = api.post("/users", json={**ANN, "email": "ann@corp.local"})
    assert_problem(refused, 422, "usage", "TASKDB_ALLOW_SPECIAL_DOMAINS")
    options = replace(database.options, allow_special_domains=True)
    allowing = replace(api, app=create_app(Database(database.url, options)))
    assert allowing.post("/users", json={**ANN, "email": "ann@corp.local"}).status_code == 201
    assert allowing.patch("/users/1", json={"email": "root@localhost"}).status_code == 200
    assert api.get("/users/root@localhost").json()["id"] == 1
    kept = api.patch("/users/root@localhost", json={"email": "root@localhost", "name": "Root"})
    assert kept.json()["name"] == "Root"
    assert api.get("/tasks", params={"user": "root@localhost"}).json()["items"] == []
    assert_problem(api.patch("/users/1", json={"email": "a@b.local"}), 422, "usage", "special-use")


def test_create_taken(api, database):
    """An address that another user has is a conflict."""
    add_user(database)
    assert_problem(api.post("/users", json=ANN), 409, "conflict", "ann@example.com exists already")


@pytest.mark.parametrize("ref", ["9", "bob@example.com", "%00", "9" * 5000, "a%2Fb", "%ff", "-1", "٣"])
def test_missing(api, ref):
    """A user who does not exist is not found, by whatever reference."""
    for answer in (api.get(f"/users/{ref}"), api.delete(f"/users/{ref}"), api.get(f"/users/{ref}/tasks")):
        assert_problem(answer, 404, "not_found")


def test_update(api, database):
    """What is given is changed, the rest stays, and the version grows."""
    add_user(database)
    changed = api.patch("/users/1", json={"name": "Ann Lee"})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (changed.json()["name"], changed.json()["email"]) == ("Ann Lee", "ann@example.com")
    assert api.patch("/users/1", json={}).headers["etag"] == '"2"'
    assert_problem(api.patch("/users/1", json={"name": None}), 422, "usage", "name")


def test_update_if_match(api, database):
    """A change or deletion with an ETag is made on that version only."""
    add_user(database)
    fresh, stale = {"If-Match": '"1"'}, {"If-Match": '"7"'}
    assert_problem(
        api.patch("/users/1", json={"name": "B"}, headers=stale), 412, "conflict", "at version 1, not 7"
    )
    assert_problem(api.delete("/users/1", headers=stale), 412, "conflict")
    assert_problem(api.patch("/users/1", json={}, headers={"If-Match": "1"}), 422, "usage", "If-Match")
    assert api.patch("/users/1", json={"name": "B"}, headers=fresh).status_code == 200
    assert_problem(api.patch("/users/1", json={"name": "C"}, headers=fresh), 412, "conflict")
    assert api.patch("/users/1", json={"name": "C"}, headers={"If-Match": "*"}).status_code == 200
    either = {"If-Match": 'W/"9", "3", "4"'}
    assert api.patch("/users/1", json={"name": "D"}, headers=either).headers["etag"] == '"4"'
    assert_problem(api.delete("/users/1", headers={"If-Match": 'W/"4"'}), 412, "conflict")
    assert api.delete("/users/1", headers=either).status_code == 200
    assert emails(database) == []


@ANY_ENGINE
def test_a_body_of_countless_fields_is_not_looked_at_one_by_one(api):
    """A large body is refused for the number of its fields alone."""
    body = {f"field {number}": 1 for number in range(20_000)}
    assert_problem(api.post("/users", json=body), 422, "usage", "the body has 20000 fields")
    assert_problem(api.post("/users", json=["x" * 200_000]), 422, "usage", "object")


def test_delete(api, database):
    """A deletion says how many tasks went; a dry run says it and does nothing."""
    add_user(database)
    add_task(database)
    add_task(database)
    report = {"users": [1], "tasks_deleted": 2, "tasks_reassigned": 0, "dry_run": True}
    assert api.delete("/users/1", params={"dry_run": True}).json() == report
    assert len(titles(database)) == 2
    assert api.delete("/users/1").json() == report | {"dry_run": False}
    assert titles(database) == emails(database) == []


def test_delete_reassigning(api, database):
    """The tasks can be given to another user first."""
    add_user(database)
    add_user(database, "bob@example.com")
    add_task(database)
    done = api.delete("/users/ann@example.com", params={"reassign_to": "bob@example.com"}).json()
    assert (done["tasks_deleted"], done["tasks_reassigned"]) == (0, 1)
    assert [task["user"] for task in api.get("/users/2/tasks").json()["items"]] == ["bob@example.com"]


def test_list(api, database):
    """Users are listed by pages, sorted and filtered, with their numbers of tasks if asked."""
    for name in "abcde":
        add_user(database, f"{name}@example.com", is_active=name != "e")
    add_task(database, "b@example.com")
    seen, after = [], {}
    while True:
        page = api.get("/users", params={"sort": "-email", "limit": 2, "active": True, **after}).json()
        seen += [user["email"][0] for user in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == ["d", "c", "b", "a"]
    counted = api.get("/users", params={"with_counts": True, "search": "B@"}).json()["items"]
    assert [(user["email"], user["tasks"]) for user in counted] == [("b@example.com", 1)]
    assert "tasks" not in api.get("/users").json()["items"][0]


@ANY_ENGINE
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit: must be greater than or equal to 1"),
        ("limit=1001", "limit: must be less than or equal to 1000"),
        ("limit=x", "limit: "),
        ("sort=nonsense", "cannot sort by nonsense"),
        ("after=nonsense", "the cursor is damaged"),
        ("colour=red", "colour is not a known parameter"),
        ("serach=ann", "serach is not a known parameter, did you mean search?"),
        ("search=%00", "not valid UTF-8"),
    ],
)
def test_list_refuses_bad_input(api, query, words):
    """A parameter that is unknown or out of bounds is named."""
    assert_problem(api.get(f"/users?{query}"), 422, "usage", words)
