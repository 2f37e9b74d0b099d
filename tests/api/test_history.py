"""What requests leave in the history."""

from tests.operations import changes, operations
from tests.samples import add_task, add_user


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
