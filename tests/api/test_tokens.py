"""Access tokens that expire, and the hour of their last use, which costs no request anything."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskdb_cli.api import auth
from taskdb_cli.api.app import create_app
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.services import token
from tests.api.conftest import ANY_ENGINE, Api
from tests.api.test_users import assert_problem
from tests.conftest import SERVERS, connect, open_database
from tests.samples import add_token, add_user
from tests.schemas import STAMP, execute


@pytest.fixture(params=["sqlite", SERVERS[-1]])
def engine(request):
    """A file and one server: nothing here differs between the versions of PostgreSQL."""
    return request.param


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    """For the application time stands still, so that no hour begins during a test."""
    begun = datetime.now(UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, _zone=None):
            return begun

    monkeypatch.setattr(auth, "datetime", Clock)


COUNT = "INSERT INTO writes VALUES (NEW.id);"
COUNT_WRITES = {
    "sqlite": [f"CREATE TRIGGER counting AFTER UPDATE ON access_tokens BEGIN {COUNT} END"],
    "postgresql": [
        f"CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {COUNT} RETURN NEW; END'",
        "CREATE TRIGGER counting BEFORE UPDATE ON access_tokens FOR EACH ROW EXECUTE FUNCTION counting()",
    ],
}


def record(database):
    """The record of the one token."""
    [found] = database.read(token.find)
    return found


def wait_for_writes(app):
    """Return when what the requests so far have asked to be kept is kept, or could not be."""
    app.state.last_use._thread.submit(lambda: None).result()


def this_hour():
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def another_app(database):
    """A second server on the same database."""
    app = create_app(Database(database.url, replace(database.options, pool=Pool(size=2))))
    yield app
    app.state.last_use.close()
    app.state.database.engine.dispose()


def test_a_token_ends_when_it_expires(connect_as, database, url, caplog):
    """From that moment on every request is refused, and the log counts it as unauthorized."""
    add_user(database)
    api = connect_as()
    assert api.get("/users/1").status_code == 200
    execute(url, f"UPDATE access_tokens SET expires_at = '{STAMP}'")
    with caplog.at_level(logging.INFO, "taskdb.request"):
        for method in ("GET", "PATCH"):
            answer = api.request(method, "/users/1", json={"name": "B"})
            assert_problem(answer, 401, "unauthorized", "expired at 2026-11-22T12:30:15Z")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert [each.error for each in caplog.records if each.name == "taskdb.request"] == ["Unauthorized"] * 2


@ANY_ENGINE
def test_a_token_works_until_it_expires(nobody, database):
    """A token that has not expired is as good as one that never does."""
    secret = add_token(database, "cron", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert replace(nobody, token=secret).get("/users").status_code == 200


def test_the_hour_is_kept_once(another_app, api, database, url):
    """Many requests to two servers write the hour once between them."""
    other = Api(another_app, api.portal, api.token)
    execute(url, "CREATE TABLE writes (id bigint)", *COUNT_WRITES[url.get_backend_name()])
    for _ in range(5):
        assert api.get("/users").status_code == other.get("/users").status_code == 200
    wait_for_writes(api.app)
    wait_for_writes(another_app)
    assert execute(url, "SELECT id FROM writes") == [(1,)]
    assert this_hour() - record(database)["last_used_at"] <= timedelta(hours=1)


def test_a_request_looks_the_token_up_by_one_statement(api, statements):
    """Once the hour is kept, a request asks for the token once and writes nothing."""
    api.get("/users")
    wait_for_writes(api.app)
    statements.clear()
    assert api.get("/users").status_code == 200
    wait_for_writes(api.app)
    assert len([each for each in statements if "access_tokens" in each]) == 1


def test_an_earlier_hour_is_followed_by_this_one(app, connect_as, database, url):
    """What was kept hours ago is brought up to date by the next request."""
    api = connect_as()
    execute(url, f"UPDATE access_tokens SET last_used_at = '{STAMP}'")
    assert api.get("/users").status_code == 200
    wait_for_writes(app)
    assert this_hour() - record(database)["last_used_at"] <= timedelta(hours=1)


@contextmanager
def locked(url):
    """Hold a lock in which the token can be read, but not written."""
    if url.get_backend_name() == "sqlite":
        database = open_database(url)
        with database.connect() as connection:
            connection.execution_options(**database.backend.write_options)
            connection.exec_driver_sql("SELECT 1")
            yield
        return
    with connect(url) as connection, connection.transaction():
        connection.execute("SELECT * FROM access_tokens FOR UPDATE")
        yield


def test_a_lock_delays_no_request(app, connect_as, database, url, caplog):
    """While somebody else holds the row, requests are answered; the hour is given up, and the log says so."""
    api = connect_as()
    with caplog.at_level(logging.INFO, "taskdb.server"), locked(url):
        for _ in range(3):
            assert api.get("/users").status_code == 200
        wait_for_writes(app)
    assert len([each for each in caplog.records if each.name == "taskdb.server"]) == 1
    assert record(database)["last_used_at"] is None


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_nothing_is_written_to_a_read_only_database(app, connect_as, database, url):
    """Where transactions only read, a token is recognized and its last use is not kept."""
    api = connect_as()
    execute(url, f'ALTER DATABASE "{url.database}" SET default_transaction_read_only = on')
    assert api.get("/users").status_code == 200
    wait_for_writes(app)
    assert record(database)["last_used_at"] is None


@ANY_ENGINE
def test_who_is_refused_has_not_used_the_token(app, connect_as, database, url):
    """A token that has expired is not used by showing it."""
    api = connect_as()
    execute(url, f"UPDATE access_tokens SET expires_at = '{STAMP}'")
    assert api.get("/users").status_code == 401
    wait_for_writes(app)
    assert record(database)["last_used_at"] is None
