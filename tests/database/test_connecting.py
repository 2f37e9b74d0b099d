"""Why a server lets nobody in, and what a person is told to do about it."""

import json
import os
import shutil
import ssl
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.errors import translate_connecting
from tests.conftest import POOLERS, SERVERS, connect, open_database, plain_url
from tests.pooler import OPENSSL, PGBOUNCER, start_pooler
from tests.proxy import STARTING_UP, Proxy
from tests.samples import add_user
from tests.servers import PROGRAMS, PostgresServer

pytestmark = pytest.mark.usefixtures("isolated")

DOORS = """\
local all shut_out reject
local nowhere all reject
local all secretive scram-sha-256
local all nobody,postgres,limited,locked trust
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server that does not let everybody in, and knows no encryption."""
    server = PostgresServer(PROGRAMS[17], tmp_path_factory.mktemp("strict") / "server", "fsync = off\n")
    url = plain_url(server.url)
    with connect(url) as owner:
        owner.execute("CREATE ROLE secretive LOGIN PASSWORD 'secret'")
        owner.execute("CREATE ROLE limited LOGIN")
        owner.execute("CREATE ROLE locked")
        owner.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        owner.execute("CREATE DATABASE private")
        owner.execute("REVOKE CONNECT ON DATABASE private FROM PUBLIC")
    (server.directory / "data" / "pg_hba.conf").write_text(DOORS)
    server.control("restart", "-m", "fast", "-o", f'-h "" -k {server.directory}')
    yield url
    server.stop()


def refused(taskdb, url, *, code=5):
    """The one line about a server that lets nobody in, which nothing is retried for."""
    text = url.render_as_string(hide_password=False)
    result = taskdb("-v", "--database-url", text, "user", "list", expect=code)
    assert "trying again" not in result.err
    assert "canary" not in result.err
    [line] = [line for line in result.err.splitlines() if line.startswith("error: ")]
    return line


REFUSALS = [
    ({"username": "secretive", "password": "canary"}, "password authentication failed", "check the user and"),
    ({"username": "secretive"}, "no password supplied", "PGPASSWORD"),
    ({"username": "nobody"}, "does not exist", "CREATE ROLE"),
    ({"username": "locked"}, "not permitted to log in", "ALTER ROLE"),
    ({"username": "postgres", "database": "missing"}, "does not exist", "CREATE DATABASE"),
    ({"username": "postgres", "database": "nowhere"}, "pg_hba.conf", "add a line"),
    ({"username": "shut_out"}, "pg_hba.conf", "add a line"),
    ({"username": "elsewhere"}, "pg_hba.conf", "add a line"),
    ({"username": "postgres", "database": "closed"}, "accepting connections", "ALTER DATABASE"),
    ({"username": "limited", "database": "private"}, "permission denied", "GRANT CONNECT"),
]


@pytest.mark.parametrize(("changes", "reason", "hint"), REFUSALS)
def test_who_is_not_let_in_is_told_why(bare_taskdb, strict, changes, reason, hint):
    """Each refusal of the server has its own hint, and is final: another attempt would not differ."""
    line = refused(bare_taskdb, strict.set(**changes))
    assert reason in line
    assert hint in line
    assert "try again" not in line


def test_wrong_options(bare_taskdb, strict):
    """Options that the server does not know are told as such."""
    url = strict.set(username="postgres").update_query_dict({"options": "-c no_such_setting=1"})
    assert "PGOPTIONS" in refused(bare_taskdb, url)


def test_several_hosts(bare_taskdb, monkeypatch, strict):
    """The host that answers is named; if none does, the reason of each, and the one that does not pass."""
    directory = strict.query["host"]
    ours = f"postgresql://postgres@/postgres?host=127.0.0.1:1&host={directory}"
    health = bare_taskdb(
        "--database-url", ours, "health", "--only", "connection", "--only", "tls", "-o", "json"
    )
    assert f"{directory}:5432/postgres answered" in health.out
    assert bare_taskdb("--database-url", ours, "user", "list", expect=6).err.count("\n") == 1
    wrong = bare_taskdb(
        "-v", "--database-url", ours.replace("postgres@", "nobody@"), "user", "list", expect=5
    ).err
    assert "127.0.0.1:1: Connection refused; " in wrong.replace("connection refused", "Connection refused")
    assert "CREATE ROLE" in wrong
    assert "trying again" not in wrong
    monkeypatch.setenv("PGHOST", f"127.0.0.1,{directory}")
    monkeypatch.setenv("PGPORT", "1,5432")
    assert (
        "answered"
        in bare_taskdb(
            "--database-url",
            "postgresql://postgres@/postgres",
            "health",
            "--only",
            "connection",
            "-o",
            "json",
        ).out
    )


@pytest.mark.parametrize("engine", POOLERS, indirect=True)
def test_a_pooler_that_was_not_named_as_one(bare_taskdb, pooled, url):
    """PgBouncer, which takes no start-up options, is told by its refusal."""
    line = refused(bare_taskdb, pooled(url))
    assert "TASKDB_POOLED=1" in line
    assert "TASKDB_DIRECT_URL" in line


@pytest.fixture
def encrypted(strict):
    """The address of a pooler with a certificate of its own making; the servers know no encryption."""
    if not (PGBOUNCER and OPENSSL):
        lacking = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        lacking("pgbouncer and openssl are needed")
    directory = Path(strict.query["host"])
    pooler, stop = start_pooler(PGBOUNCER, strict, directory, owner=directory / "data", openssl=OPENSSL)
    yield pooler.set(username="postgres")
    stop()
    shutil.rmtree(directory / "pgbouncer")


def test_certificates(bare_taskdb, encrypted):
    """A certificate that nobody trusts, or that is missing, is told with the parameters to look at."""
    for query in ({"sslmode": "verify-full", "sslrootcert": "system"}, {"sslmode": "verify-ca"}):
        line = refused(bare_taskdb, encrypted.set(host="0.0.0.0", query=query))
        assert "certificate" in line
        assert "sslrootcert" in line


def test_the_roots_of_the_system(bare_taskdb, encrypted, strict, monkeypatch):
    """With sslrootcert=system a certificate is checked against the roots that Python finds on the system."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        # So it is also unset afterwards.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    roots = Path(strict.query["host"]) / "pgbouncer" / "certificate.pem"
    paths = ssl.get_default_verify_paths()._replace(cafile=str(roots), capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setenv("TASKDB_POOLED", "1")
    url = encrypted.set(host="localhost", query={"sslrootcert": "system"})
    report = bare_taskdb("--database-url", url.render_as_string(), "health", "--only", "tls", "-o", "json")
    assert json.loads(report.out)["checks"][0]["value"] == 1


GERMAN = b"SFATAL\0VFATAL\0C28P01\0MPasswort-Authentifizierung f\xc3\xbcr Benutzer >>ann<< fehlgeschlagen\0\0"
RUSSIAN = (
    "S\u0412\u0410\u0416\u041d\u041e\0VFATAL\0C28P01\0M\u043f\u0430\u0440\u043e\u043b\u044c\0\0".encode()
)


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
@pytest.mark.parametrize("answer", [GERMAN, RUSSIAN])
def test_a_refusal_in_another_language(bare_taskdb, url, answer):
    """A refusal that is not understood is final too, so that no account is locked by many attempts."""
    with Proxy(url) as proxy:
        proxy.refusal, proxy.starting_up = answer, 99
        assert "check the user" in refused(bare_taskdb, proxy.url)
        assert proxy.connections == 1


PASSING = [
    "FATAL:  sorry, too many clients already",
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is shutting down",
    "FATAL:  the database system is in recovery mode",
    "FATAL:  the database system is not yet accepting connections",
    "FATAL:  terminating connection due to administrator command",
    "FATAL:  server login has been failing, cached error: connect failed (server_login_retry)",
    "SSL SYSCALL error: EOF detected",
    "SSL error: unexpected eof while reading",
    "server closed the connection unexpectedly",
    "Connection refused",
    "timeout expired",
]
FINAL = [
    "FATAL:  SASL authentication failed",
    "FATAL:  no such database: d",
    'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption',
    "FATAL:  the database system is not accepting connections",
    "server does not support SSL, but SSL was required",
    "SSL error: certificate verify failed",
    "SSL error: wrong version number",
    'server certificate for "a" does not match host name "b"',
    "received invalid response to SSL negotiation: H",
    "channel binding required, but server authenticated client without channel binding",
    'authentication method requirement "scram-sha-256" failed: server did not complete authentication',
    "session is read-only",
]


@pytest.mark.parametrize(
    ("reason", "passing"), [(text, True) for text in PASSING] + [(text, False) for text in FINAL]
)
def test_what_may_pass(reason, passing):
    """What may be over in a moment is tried again, and what needs somebody to act is not."""
    error = psycopg.OperationalError(
        f'connection failed: connection to server at "h", port 5432 failed: {reason}'
    )
    ours = translate_connecting(error, "h:5432/d", Options(), expected=True, several=False)
    assert ours.passing is passing
    assert ours.hint
    assert ours.message.endswith(reason)


def test_starting_up_has_its_own_hint():
    """A server that starts is told to be waited for."""
    words = STARTING_UP.split(b"\0M")[1].rstrip(b"\0").decode()
    ours = translate_connecting(
        psycopg.OperationalError(f"connection failed: x failed: FATAL:  {words}"),
        "h",
        Options(),
        expected=False,
        several=False,
    )
    assert "in a moment" in ours.hint


WRITES = [
    ("migrate",),
    ("task", "create", "--user", "1", "Title"),
    ("user", "create", "--email", "b@example.com", "--name", "B"),
    ("restore", "{archive}", "--replace", "--yes"),
    ("--database-url", "{primary}", "copy", "--to", "{target}", "--replace", "--yes"),
]


def text(url):
    """A URL as a setting has it."""
    return url.render_as_string(hide_password=False)


def assert_only_read(taskdb, primary, target, words, directory):
    """Every command that writes into the target says why it cannot, and takes no safety backup before."""
    taskdb("--database-url", text(primary), "backup", "--dir", directory)
    [archive] = directory.glob("*.zip")
    names = {"archive": archive, "primary": text(primary), "target": text(target)}
    for command in WRITES:
        given = [word.format(**names) for word in command]
        failed = taskdb("-v", "--database-url", text(target), *given, expect=1).err
        [line] = [line for line in failed.splitlines() if line.startswith("error: ")]
        assert all(word in line for word in words), given
        assert "trying again" not in failed
    assert list(directory.glob("*.zip")) == [archive]
    taskdb("--database-url", text(target), "user", "list")


def test_a_standby_is_told_as_such(bare_taskdb, standby, replication, tmp_path):
    """Nothing is written to a hot standby, and every command that would says where to write instead."""
    primary, target = standby
    add_user(open_database(primary))
    replication.catch_up()
    assert_only_read(
        bare_taskdb, primary, target, ("is a standby", "connect to the primary"), tmp_path / "shelf"
    )


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_sessions_that_only_read_are_told_as_such(bare_taskdb, new_url, tmp_path):
    """A database whose sessions are read-only by a setting is not taken for a standby."""
    primary, target = new_url(), new_url()
    for url in (primary, target):
        add_user(open_database(url))
    with connect(target) as connection:
        connection.execute(f'ALTER DATABASE "{target.database}" SET default_transaction_read_only = on')
    words = ("default_transaction_read_only", "turn that setting off")
    assert_only_read(bare_taskdb, primary, target, words, tmp_path / "shelf")


def test_the_primary_is_found_among_several(bare_taskdb, standby):
    """With target_session_attrs=read-write the URL of both servers leads to the one that can be written."""
    primary, target = standby
    hosts = "&".join(f"host={url.query['host']}" for url in (target, primary))
    url = f"postgresql://postgres@/{primary.database}?{hosts}"
    assert "is a standby" in bare_taskdb("--database-url", url, "migrate", expect=1).err
    said = bare_taskdb("--database-url", f"{url}&target_session_attrs=read-write", "migrate").err
    assert said.startswith(f"{primary.query['host']}:5432/{primary.database} is at ")
    alone = f"{text(target)}&target_session_attrs=read-write"
    assert "target_session_attrs" in refused(bare_taskdb, make_url(alone))
