"""Networks, servers and sessions that fail in the middle: what is lost is done again, but never twice."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event, Thread

import psycopg
import pytest
from sqlalchemy import text

from taskdb_cli.database import Database, retry
from taskdb_cli.database.options import Options
from taskdb_cli.errors import ConnectionFailed
from taskdb_cli.models.user import User, UserCreate
from taskdb_cli.services import user as service
from taskdb_cli.system import signals
from tests.conftest import FAULT_SERVERS, IMPATIENT, NOW, connect, open_database, sqlalchemy_url
from tests.proxy import Proxy
from tests.samples import add_user, emails

pytestmark = pytest.mark.parametrize("engine", FAULT_SERVERS, indirect=True)
CREATE = ("user", "create", "--email", "ann@example.com", "--name", "Ann")
PATIENT = replace(IMPATIENT, retry_budget=60)
"""A stall of the machine must not use the budget up."""


def insert_ann(session) -> User:
    return service.create(session, UserCreate(email="ann@example.com", name="Ann"), now=NOW)


@pytest.fixture
def proxy(url) -> Iterator[Proxy]:
    """A proxy in front of the test's database."""
    with Proxy(url) as made:
        yield made


@pytest.fixture(autouse=True)
def short_waits(monkeypatch) -> None:
    """The wait in which a budget ends is a short one."""
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.1)


@pytest.fixture
def database(url) -> Database:
    """The migrated database as services use it."""
    return open_database(url, PATIENT)


@pytest.fixture
def taskdb(taskdb, monkeypatch):
    """The command line on the migrated database of the engine."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", str(PATIENT.retry_budget))
    return taskdb


@pytest.fixture
def far_taskdb(taskdb, proxy, monkeypatch):
    """The command line, on the test's database behind the proxy."""
    monkeypatch.setenv("TASKDB_DATABASE_URL", proxy.url.render_as_string(hide_password=False))
    return taskdb


@pytest.fixture
def far_database(proxy) -> Database:
    """The test's database behind the proxy, as services use it."""
    return open_database(proxy.url, PATIENT)


class Retries(logging.Handler):
    """Does something each time that work is about to be tried again."""

    def __init__(self, action: Callable[[int], None]) -> None:
        super().__init__()
        self.action = action
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        self.action(self.count)


@pytest.fixture
def on_retry(monkeypatch) -> Callable[[Callable[[int], None]], Retries]:
    """Makes an action take place with each retry, which gets its number."""
    logger = logging.getLogger("taskdb.retry")

    def listen(action: Callable[[int], None]) -> Retries:
        handler = Retries(action)
        monkeypatch.setattr(logger, "handlers", [handler])
        # The command line would set the level of the parent, which this one goes before.
        monkeypatch.setattr(logger, "level", logging.INFO)
        logger.manager._clear_cache()
        return handler

    return listen


def test_snapshot_whose_connection_breaks_at_its_end(far_database, proxy, database):
    """What was read of a snapshot counts, even if the connection does not live to be closed."""
    add_user(database)
    with far_database.snapshot() as content:
        counts = content.counts()
        proxy.cut()
    assert counts == {"users": 1, "tasks": 0}


def test_lost_answer_to_a_commit(far_taskdb, proxy, database):
    """A commit that took effect is told as done, though its answer was lost, and not made twice."""
    proxy.swallow = True
    done = far_taskdb(*CREATE)
    assert "ann@example.com" in done.out
    assert done.err == ""
    assert not proxy.swallow
    assert emails(database) == ["ann@example.com"]


def test_lost_answer_runs_the_work_once(far_database, proxy, database):
    """Work whose commit took effect is not run again."""
    runs = []

    def work(session):
        runs.append(insert_ann(session))

    proxy.swallow = True
    far_database.write(work)
    assert len(runs) == 1
    assert emails(database) == ["ann@example.com"]
    # Who interrupts the command from now on is told so.
    assert "the change was made" in signals.interrupted().message


def test_lost_commit(far_taskdb, proxy, database):
    """A commit that never reached the server is made again."""
    proxy.drop = True
    far_taskdb(*CREATE)
    assert not proxy.drop
    assert emails(database) == ["ann@example.com"]


def test_work_left_to_the_commit(far_database, proxy, database):
    """Objects that only the commit would write are looked up as well."""

    def work(session):
        session.add(User(email="ann@example.com", name="Ann", is_active=True, created_at=NOW, updated_at=NOW))

    proxy.swallow = True
    far_database.write(work)
    assert emails(database) == ["ann@example.com"]


def test_unknown_outcome(far_taskdb, proxy, url, monkeypatch):
    """When nobody can be asked about a commit, that is said, with what to ask."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    proxy.swallow = True
    proxy.on_swallowed = proxy.refuse
    failed = far_taskdb(*CREATE, expect=10)
    assert failed.out == ""
    assert failed.err.startswith(
        f"error: the connection to 127.0.0.1:{proxy.port}/{url.database} broke while the change"
    )
    assert failed.err.count("\n") == 1
    query = failed.err.partition("ask the server with: ")[2].rstrip(")\n") + ")"
    with connect(url) as connection:
        assert connection.execute(query).fetchone() == ("committed",)


def test_interrupted_while_asking(far_taskdb, proxy, on_retry):
    """Who does not wait for the answer about a commit is told that it is unknown."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    on_retry(interrupt)
    proxy.swallow = True
    proxy.on_swallowed = proxy.refuse
    failed = far_taskdb(*CREATE, expect=10)
    assert "ask the server with: " in failed.err
    assert failed.err.count("\n") == 1


def terminate_once() -> Callable[..., None]:
    """Return what ends its session's connection the first time only."""
    sessions = []

    def end(session) -> None:
        sessions.append(session)
        if len(sessions) == 1:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    return end


def test_terminated_while_reading(database):
    """A read whose session the server ends is done again."""
    add_user(database)
    end = terminate_once()

    def work(session):
        end(session)
        return session.execute(text("SELECT email FROM users")).scalars().all()

    assert database.read(work) == ["ann@example.com"]


def test_terminated_while_writing(database):
    """A write whose session the server ends before the commit is done again, and once."""
    end = terminate_once()

    def work(session):
        insert_ann(session)
        end(session)

    database.write(work)
    assert emails(database) == ["ann@example.com"]


def test_refused_at_first(far_database, proxy, on_retry):
    """A local server that was there a moment ago is waited for."""
    add_user(far_database)
    proxy.refuse()
    retries = on_retry(lambda number: proxy.listen() if number == 3 else None)
    assert emails(far_database) == ["ann@example.com"]
    assert retries.count == 3


def test_refused_from_the_start(far_database, proxy, on_retry):
    """A local server that was never there is not waited for."""
    proxy.refuse()
    retries = on_retry(lambda _: None)
    with pytest.raises(ConnectionFailed, match="refused"):
        emails(far_database)
    assert retries.count == 0


def test_refused_for_good(proxy, on_retry):
    """A server that stays away is given up on when the budget is spent."""
    far_database = Database(sqlalchemy_url(proxy.url), Options(retry_budget=1))
    add_user(far_database)
    proxy.refuse()
    retries = on_retry(lambda _: None)
    with pytest.raises(ConnectionFailed, match="refused"):
        emails(far_database)
    assert retries.count >= 1


def test_server_that_starts_up(far_taskdb, proxy, database):
    """A server that is not ready yet is waited for."""
    proxy.starting_up = 2
    far_taskdb(*CREATE)
    assert proxy.connections == 3
    assert emails(database) == ["ann@example.com"]


def test_server_that_never_starts_up(far_taskdb, proxy, monkeypatch):
    """A server that does not get ready within the budget is unavailable."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    proxy.starting_up = 10_000
    failed = far_taskdb(*CREATE, expect=5)
    assert "the database system is starting up" in failed.err
    assert failed.err.count("\n") == 1


def test_cold_start(far_taskdb, proxy, database):
    """A server that takes its time to accept the first connection costs that time, not a failure."""
    proxy.hold = Event()
    waker = Thread(target=lambda: proxy.held.wait(30) and proxy.hold.set())
    waker.start()
    far_taskdb(*CREATE)
    waker.join()
    assert proxy.connections == 1
    assert emails(database) == ["ann@example.com"]


def test_cut_anywhere(far_taskdb, proxy, new_url, monkeypatch, database):
    """Wherever the connection breaks, the row is there exactly if the command says so."""
    far_taskdb(*CREATE)
    whole = proxy.passed
    codes = []
    for number, place in enumerate(range(0, whole, whole // 24)):
        proxy.passed, proxy.cut_at = 0, place
        address = f"user{number}@example.com"
        done = far_taskdb("user", "create", "--email", address, "--name", "U", expect=None)
        assert proxy.cut_at is None, "nothing was cut"
        assert done.code in (0, 5), done
        assert done.err.count("\n") == (done.code != 0), done
        assert (address in done.out) == (done.code == 0)
        assert emails(database).count(address) == (done.code == 0), (place, done)
        codes.append(done.code)
    assert set(codes) == {0, 5}


def test_cut_at_once(far_database, proxy):
    """All connections of a process may break together between two statements."""
    cuts = []

    def work(session):
        session.execute(text("SELECT 1"))
        if not cuts:
            cuts.append(proxy.connections)
            proxy.cut()
        return session.execute(text("SELECT 2")).scalar()

    assert far_database.read(work) == 2
    assert proxy.connections == 2


@pytest.fixture
def only_one(url) -> Iterator[psycopg.Connection]:
    """The one connection that its role may have."""
    role = f"single_{url.database}"
    with connect(url) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        owner.execute(f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            with connect(url.set(username=role)) as taken:
                yield taken
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def test_no_connection_left(only_one, url, taskdb, monkeypatch, on_retry):
    """When all connections are taken, one is waited for within the budget."""
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    monkeypatch.setenv("TASKDB_DATABASE_URL", f"{url.set(username=only_one.info.user)}")
    failed = taskdb("user", "list", expect=5)
    assert "too many connections" in failed.err
    assert failed.err.count("\n") == 1
    # The server takes a moment to notice that the connection is free.
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", str(PATIENT.retry_budget))
    on_retry(lambda _: only_one.close())
    taskdb("user", "list")


@pytest.mark.parametrize(("setting", "seconds"), [("LOCK", "1"), ("STATEMENT", "0.2")])
def test_locked_row(url, taskdb, database, monkeypatch, setting, seconds):  # noqa: PLR0917 (fixtures)
    """A write that waits longer than it may for a lock changes nothing and says so."""
    monkeypatch.setenv("TASKDB_LOCK_TIMEOUT", "0")
    monkeypatch.setenv(f"TASKDB_{setting}_TIMEOUT", seconds)
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "1")
    add_user(database)
    with connect(url) as other, other.transaction():
        other.execute("SELECT FROM users FOR UPDATE")
        failed = taskdb("user", "update", "1", "--name", "Bob", expect=5)
    assert f"{setting.lower()} timeout" in failed.err
    assert failed.err.count("\n") == 1
    assert database.read(lambda session: session.execute(text("SELECT name FROM users")).scalar()) == "Ann"


def test_lock_longer_than_the_budget(url, taskdb, database, monkeypatch, on_retry):
    """No wait for a lock is begun that could last beyond the budget."""
    add_user(database)
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", "2")
    retries = on_retry(lambda _: None)
    with connect(url) as other, other.transaction():
        other.execute("SELECT FROM users FOR UPDATE")
        taskdb("user", "update", "1", "--name", "Bob", expect=5)
    assert retries.count == 0


def test_lock_that_is_let_go(url, taskdb, database, monkeypatch, on_retry):
    """A write that timed out on a lock is tried again, and succeeds when the lock is gone."""
    add_user(database)
    with connect(url) as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM users FOR UPDATE")
        on_retry(lambda _: other.execute("ROLLBACK"))
        taskdb("user", "update", "1", "--name", "Bob")
    assert database.read(lambda session: session.execute(text("SELECT name FROM users")).scalar()) == "Bob"
