"""Sessions that are not ours: behind a pooler."""

from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import text

from taskdb_cli.config import load_settings
from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.postgresql import connection as postgresql_connection
from tests.conftest import POOLERS, connect, sqlalchemy_url
from tests.samples import add_user

BEHIND_A_POOLER = pytest.mark.parametrize("engine", POOLERS, indirect=True)
NEON = "postgresql://ann:pw@ep-cool-sun-123456-pooler.eu-central-1.aws.neon.tech/neondb"
SETTINGS = ("statement_timeout", "lock_timeout", "TimeZone")


@pytest.fixture
def behind(pooled, url):
    """Opens the database of the test through the pooler, with options."""
    return lambda **options: Database(sqlalchemy_url(pooled(url)), Options(pooled=True, **options))


def current(session):
    """What the settings are in a session of ours."""
    return [session.execute(text(f"SHOW {name}")).scalar_one() for name in SETTINGS]


def shown(connection):
    """What the settings are in somebody else's session."""
    return [connection.execute(f"SHOW {name}").fetchone()[0] for name in SETTINGS]


@BEHIND_A_POOLER
def test_settings_last_for_the_transaction(behind, pooled, url):
    """Each unit of work has its own limits, in UTC, and the session that it used keeps nothing of them."""
    with connect(url) as connection:
        connection.execute(f"ALTER DATABASE \"{url.database}\" SET TimeZone = 'America/New_York'")
        connection.execute(f"ALTER DATABASE \"{url.database}\" SET statement_timeout = '77s'")
    with connect(url) as connection:
        before = shown(connection)
    assert before == ["77s", "0", "America/New_York"]
    first, second = behind(statement_timeout=7, lock_timeout=3), behind(statement_timeout=8, lock_timeout=4)
    assert first.read(current) == ["7s", "3s", "UTC"]
    assert second.write(current) == ["8s", "4s", "UTC"]
    with first.stream(lambda session: (current(session) for _ in range(1))) as rows:
        assert list(rows) == [["7s", "3s", "UTC"]]
    assert behind(statement_timeout=0, lock_timeout=0).read(current) == ["0", "0", "UTC"]
    with connect(pooled(url)) as connection:
        assert shown(connection) == before


@BEHIND_A_POOLER
def test_units_of_work_share_one_session_of_the_server(behind, pooled, url):
    """The pooler does hand the same session on, so that anything left in it would be seen."""
    pids = {behind().read(lambda session: session.execute(text("SELECT pg_backend_pid()")).scalar())}
    with connect(pooled(url)) as connection:
        pids |= {connection.execute("SELECT pg_backend_pid()").fetchone()[0]}
    assert len(pids) == 1


@BEHIND_A_POOLER
def test_the_first_year_comes_back(behind, pooled, url):
    """A time of the year 1 survives a server whose zone is west of Greenwich, where it would be before it."""
    with connect(url) as connection:
        connection.execute(f"ALTER DATABASE \"{url.database}\" SET TimeZone = 'America/New_York'")
    query = text("SELECT TIMESTAMP WITH TIME ZONE '0001-01-01 00:00:00+00'")
    assert behind().read(lambda session: session.execute(query).scalar()) == datetime(1, 1, 1, tzinfo=UTC)


@BEHIND_A_POOLER
def test_nothing_is_prepared_on_the_server(behind, pooled, url):
    """However often a statement is run, the pooler's session holds no prepared statement of it."""
    database = behind(pool=Pool())
    add_user(database)
    add_user(database, "bob@example.com")

    def work(session):
        for _ in range(20):
            session.execute(text("SELECT * FROM users WHERE id = :id"), {"id": 1}).all()
        return session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar()

    assert database.read(work) == 0
    assert database.write(work) == 0
    with connect(pooled(url)) as connection:
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
    database.engine.dispose()


@BEHIND_A_POOLER
def test_start_up_options_are_for_servers_only(pooled, url):
    """PgBouncer refuses start-up options, which are sent to a server and to no pooler."""
    address = sqlalchemy_url(pooled(url))
    assert connect_arguments(address, pooled=True)["options"] == ""
    options = connect_arguments(address, pooled=False)["options"]
    with pytest.raises(psycopg.OperationalError, match="options"):
        psycopg.connect(pooled(url).render_as_string(), options=options)


@BEHIND_A_POOLER
def test_migrate_goes_past_the_pooler(bare_taskdb, use, empty_url, pooled):
    """Migrate takes the direct address of a pooled database, and says so."""
    use(empty_url)
    said = bare_taskdb("migrate").err
    assert str(empty_url.query["host"]) in said
    assert str(pooled(empty_url).port) not in said
    bare_taskdb("migrate", "check")


@BEHIND_A_POOLER
def test_migrate_needs_a_direct_address(bare_taskdb, use, empty_url, monkeypatch):
    """Without a direct address a migration is refused before anything is done."""
    use(empty_url)
    monkeypatch.delenv("TASKDB_DIRECT_URL")
    for command in ([], ["up"], ["down", "--yes"], ["status"], ["history"], ["check"]):
        refused = bare_taskdb("migrate", *command, expect=2)
        assert "TASKDB_DIRECT_URL" in refused.err
        assert refused.err.count("\n") == 1
    with connect(empty_url) as connection:
        assert connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_a_pooler_of_neon_is_recognized(isolated):
    """A Neon host with -pooler in its name is pooled without being told, and its server is derived."""
    settings = load_settings(database_url=NEON, environment={})
    assert settings.options.pooled
    assert arguments_of(settings.database())["options"] == ""
    direct = settings.direct_database()
    assert direct.url.host == "ep-cool-sun-123456.eu-central-1.aws.neon.tech"
    assert not direct.options.pooled
    assert "taskdb.session" in arguments_of(direct)["options"]
    for other in (NEON.replace("-pooler", ""), NEON.replace("neon.tech", "example.com")):
        unpooled = load_settings(database_url=other, environment={})
        assert not unpooled.options.pooled
        assert unpooled.direct_url == unpooled.database_url


@pytest.mark.parametrize("engine", ["postgresql18"], indirect=True)
def test_a_silent_network_ends_a_connection(url):
    """Every connection is probed while it waits, as the URL says or else within half a minute."""
    with Database(url).engine.connect() as connection:
        told = connection.connection.driver_connection.info.get_parameters()
    assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("30000", "15")
    slower = url.update_query_dict({"tcp_user_timeout": "90000", "keepalives_idle": "60"})
    with Database(slower).engine.connect() as connection:
        told = connection.connection.driver_connection.info.get_parameters()
    assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("90000", "60")
    assert told["keepalives_count"] == "3"


def arguments_of(database):
    """What the driver is told."""
    return postgresql_connection.connect_arguments(database.backend.target, database.options)


def connect_arguments(url, *, pooled=False):
    """What the driver is told of a URL."""
    return arguments_of(Database(url, Options(pooled=pooled)))
