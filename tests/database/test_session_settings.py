"""Sessions that an administrator, or the environment, has set otherwise than taskdb needs them."""

import json
import sqlite3
from contextlib import closing

import pytest
from psycopg import sql
from sqlalchemy import make_url, text

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import SchemaBehind
from taskdb_cli.services import migrate
from tests.conftest import POOLERS, SERVERS, connect, plain_url

ON_SERVERS = pytest.mark.parametrize("engine", [*SERVERS, *POOLERS], indirect=True)
NAME = "Zoë Ωmega 😀 \\ 'n'"
DUE = "2027-01-02T03:04:05.123456Z"

SETTINGS = {
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kolkata",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "backslash_quote": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "row_security": "off",
    "client_min_messages": "debug1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "200ms",
    "lock_timeout": "10ms",
    "idle_in_transaction_session_timeout": "50s",
    "search_path": '"$user", nowhere, public',
}
ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN2",
    "PGDATESTYLE": "SQL, DMY",
    "PGTZ": "America/New_York",
    "PGOPTIONS": "-c work_mem=7MB -c datestyle=Postgres -c client_encoding=latin9",
}


@pytest.fixture(params=["ROLE", "DATABASE"])
def administered(request, url):
    """Lets an administrator set everything for the role, or for the database."""
    database = sql.Identifier(url.database)
    where = sql.SQL("ROLE CURRENT_USER IN DATABASE {}" if request.param == "ROLE" else "DATABASE {}")
    with connect(url) as connection:
        for name, value in SETTINGS.items():
            alter = sql.SQL("ALTER {} SET {} = " + (value if name == "search_path" else "{}"))
            values = () if name == "search_path" else (sql.Literal(value),)
            connection.execute(alter.format(where.format(database), sql.Identifier(name), *values))


@pytest.fixture
def environment(monkeypatch):
    """Sets libpq's own variables."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@ON_SERVERS
@pytest.mark.usefixtures("administered", "environment")
def test_every_command_reads_and_writes_the_same(taskdb, tmp_path, monkeypatch):
    """Names, times, archives and migrations survive whatever is set for the role and in the environment."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "backups"))
    taskdb("user", "create", "--email", "zoë@example.com", "--name", NAME, expect=None)
    taskdb("user", "create", "--email", "zoe@example.com", "--name", NAME, "--if-not-exists")
    taskdb("task", "create", "--user", "zoe@example.com", "--due", DUE, NAME)
    [listed] = json.loads(taskdb("task", "list", "-o", "json").out)
    assert (listed["title"], listed["due_at"]) == (NAME, DUE)
    exported = taskdb("task", "export").out
    assert DUE in exported
    taskdb("backup")
    taskdb("restore", "latest", "--replace", "--yes", "--no-safety-backup")
    assert taskdb("task", "export").out == exported
    report = json.loads(taskdb("health", "-o", "json", expect=None).out)
    unknown = [check for check in report["checks"] if check["status"] in ("unknown", "critical")]
    assert unknown == []
    taskdb("migrate", "down", "base", "--yes", "--no-backup")
    taskdb("migrate")
    taskdb("migrate", "check")


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
@pytest.mark.usefixtures("administered", "environment")
def test_the_options_of_a_person_are_kept(url):
    """What PGOPTIONS sets stays set where taskdb needs nothing else."""
    with Database(url).connect() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
        assert connection.exec_driver_sql("SHOW DateStyle").scalar() == "ISO, DMY"
        assert connection.exec_driver_sql("SHOW IntervalStyle").scalar() == "postgres"


@ON_SERVERS
def test_writes_are_read_committed(taskdb, url, use):
    """A transaction has the isolation level that taskdb is made for, not the one set for the database."""
    with connect(url) as connection:
        connection.execute(
            f'ALTER DATABASE "{url.database}" SET default_transaction_isolation = serializable'
        )
    show = text("SHOW transaction_isolation")
    assert Database(url).write(lambda session: session.execute(show).scalar()) == "read committed"
    with Database(url).connect() as connection:
        assert connection.execute(show).scalar() == "read committed"


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_an_idle_session_keeps_the_lock_of_migrations(bare_taskdb, use, empty_url):
    """A limit for idle sessions does not end the one that keeps others from migrating."""
    use(empty_url)
    with connect(empty_url) as connection:
        for name in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"ALTER DATABASE \"{empty_url.database}\" SET {name} = '1s'")
    with Database(empty_url).migration() as (connection, guard):
        for each in (connection, guard):
            assert each.exec_driver_sql("SHOW idle_session_timeout").scalar() == "0"
            assert each.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "0"


@pytest.fixture
def refused_everywhere(bare_taskdb, make_url_of, tmp_path):
    """Runs commands on a database that all of them must refuse in one line; returns what they say."""
    sound, archive = make_url_of("sqlite"), tmp_path / "one.taskdb.zip"
    bare_taskdb("--database-url", sound, "user", "create", "--email", "zoe@example.com", "--name", NAME)
    bare_taskdb("--database-url", sound, "backup", "--file", archive)

    def run(url):
        text_of_url = url.render_as_string(hide_password=False)
        commands = [
            ("migrate",),
            ("migrate", "status"),
            ("task", "list"),
            ("user", "create", "--email", "ann@example.com", "--name", "Ann"),
            ("backup", "--dir", tmp_path),
            ("restore", archive),
        ]
        said = [bare_taskdb("--database-url", text_of_url, *command, expect=6).err for command in commands]
        said.append(bare_taskdb("--database-url", sound, "copy", "--to", text_of_url, expect=6).err)
        assert {each.count("\n") for each in said} == {1}
        return said

    return run


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "EUC_JP"])
def other_encoding(request, urls, engine, make_url_of):
    """Makes a database in another encoding."""
    url = make_url_of(engine, migrated=False)
    with connect(plain_url(urls[engine])) as connection:
        connection.execute(f'DROP DATABASE "{url.database}"')
        connection.execute(
            f"CREATE DATABASE \"{url.database}\" TEMPLATE template0 ENCODING '{request.param}' LOCALE 'C'"
        )
    return url


@pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)
def test_another_encoding_is_refused(refused_everywhere, other_encoding):
    """Every command says so, with what to do; nothing is made there."""
    assert all("CREATE DATABASE" in said for said in refused_everywhere(other_encoding))
    with connect(other_encoding) as connection:
        assert connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


@pytest.mark.parametrize("engine", POOLERS, indirect=True)
def test_another_encoding_is_refused_behind_a_pooler(bare_taskdb, use, other_encoding):
    """The pooler's sessions tell the encoding too."""
    use(other_encoding)
    assert "CREATE DATABASE" in bare_taskdb("task", "list", expect=6).err


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_file_in_utf_16_is_refused(refused_everywhere, tmp_path, encoding, empty):
    """Every command says so, with what to do; the file stays as it is."""
    path = tmp_path / "wide.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY)")
        if empty:
            connection.execute("DROP TABLE tasks")
    before = path.read_bytes()
    assert all("UTF-16" in said for said in refused_everywhere(make_url(f"sqlite:///{path}")))
    assert path.read_bytes() == before


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_pool_notices_a_migration(empty_url):
    """A long-lived process serves as soon as the tables are there, over whatever connections it kept."""
    pooled = Database(empty_url, Options(retry_budget=0, pool=Pool(size=2, overflow=0)))
    count = text("SELECT count(*) FROM users")
    with pytest.raises(SchemaBehind):
        pooled.read(lambda session: session.execute(count).scalar())
    migrate.upgrade(Database(empty_url))
    assert pooled.read(lambda session: session.execute(count).scalar()) == 0
    pooled.engine.dispose()
