"""Requests as HTTP has them, and as hostile clients send them: the details that are easily wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.services import task, user
from tests.api.test_users import assert_problem
from tests.conftest import NOW, SERVERS
from tests.samples import add_task, add_user, task_records, user_records
from tests.services.test_concurrency import until_waiting

TWO_ENGINES = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)


@pytest.fixture
def rows(database):
    """A user with a task."""
    add_user(database)
    add_task(database)


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
@pytest.mark.parametrize("change", CHANGES[::2], ids=lambda change: " ".join(change[:2]))
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
