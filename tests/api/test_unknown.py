"""A change of which nobody knows whether it was committed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from taskdb_cli.api.app import create_app
from taskdb_cli.database.options import Options, Pool
from tests.conftest import SERVERS, open_database, plain_url
from tests.proxy import Proxy
from tests.samples import add_token, add_user
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)

TASK = {"title": "Pay", "external_id": "invoice 1"}


@pytest.fixture
def proxy(url) -> Iterator[Proxy]:
    """The network between the application and its database."""
    with Proxy(plain_url(url)) as found:
        yield found


@pytest.fixture
def app(proxy, url):
    """The application, which asks about a lost commit for a second."""
    far = proxy.url.set(username=url.username or "postgres", password=url.password)
    return create_app(open_database(far, Options(retry_budget=1, pool=Pool(size=2, overflow=2, timeout=60))))


@pytest.fixture
def api(nobody, database):
    """A client whose token was used already, so that the next commit is that of a change."""
    add_user(database)
    client = replace(nobody, token=add_token(database, "all", scope="write"))
    assert client.get("/tasks").status_code == 200
    used = text("SELECT count(*) FROM access_tokens WHERE last_used_at IS NOT NULL")
    wait_until(lambda: database.read(lambda session: session.execute(used).scalar()) == 1)
    return client


def test_a_commit_that_nobody_can_be_asked_about(api, proxy):
    """It is answered with 504 and no Retry-After, and a task with an external id is not made twice."""

    def vanish() -> None:
        proxy.refuse()
        proxy.cut()

    proxy.swallow = True
    proxy.on_swallowed = vanish
    lost = api.post("/users/1/tasks", json=TASK)
    problem = lost.json()
    assert (lost.status_code, problem["status"], problem["code"]) == (504, 504, "unknown")
    assert problem["type"] == "urn:taskdb:problem:unknown"
    assert "not known" in problem["detail"]
    assert "get what it changes" in problem["hint"]
    assert "Retry-After" not in lost.headers
    proxy.listen()
    assert api.post("/users/1/tasks", json=TASK).status_code == 200
    assert [task["title"] for task in api.get("/tasks").json()["items"]] == ["Pay"]


def test_a_commit_that_is_found(api, proxy):
    """A commit whose answer was lost, but which the database remembers, is answered as done."""
    proxy.swallow = True
    assert api.post("/users/1/tasks", json=TASK).status_code == 201
    assert not proxy.swallow
