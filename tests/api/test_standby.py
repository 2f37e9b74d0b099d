"""The HTTP API on a hot standby."""

from dataclasses import replace

import pytest

from taskdb_cli.api.app import create_app
from taskdb_cli.database.options import Pool
from tests.conftest import IMPATIENT, open_database
from tests.samples import add_token


@pytest.fixture
def app(standby):
    """The application on the standby."""
    return create_app(
        open_database(standby[1], replace(IMPATIENT, pool=Pool(size=2, overflow=2, timeout=60)))
    )


@pytest.fixture
def database(standby):
    """The database on the primary."""
    return open_database(standby[0])


def test_what_is_read_and_what_is_refused(nobody, database, replication):
    """What reads is answered with what was replayed, and a change is refused (503)."""
    api = replace(nobody, token=add_token(database, "all", scope="write"))
    replication.catch_up()
    assert api.get("/users").json()["items"] == []
    refused = api.post("/users", json={"email": "ann@example.com", "name": "Ann"})
    assert (refused.status_code, refused.json()["detail"].count("read-only")) == (503, 1)
