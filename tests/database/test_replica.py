"""A replica: whether it is one of the database, and how far it is behind. The standby is a real one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL

from taskdb_cli.database import Database, replica
from taskdb_cli.database.replica import compare, look, require_same
from taskdb_cli.errors import DatabaseUnavailable, InvalidConfiguration, SchemaBehind, TransactionConflict
from taskdb_cli.services import migrate
from tests.conftest import ENGINES, SERVERS, connect, open_database, plain_url
from tests.samples import add_user
from tests.servers import Replication


@pytest.fixture
def pair(standby: tuple[URL, URL]) -> tuple[Database, Database]:
    """A database on its primary, and the same one on the standby."""
    primary, other = standby
    return open_database(primary), open_database(other)


def measure_lag(primary: Database, other: Database) -> float:
    """How many seconds the replica is behind."""
    return compare(look(primary), look(other))


@pytest.fixture
def paused(pair, replication: Replication, monkeypatch) -> Iterator[None]:
    """The standby replays nothing, which is not waited for."""
    monkeypatch.setattr(replica, "PATIENCE", 0)
    replication.pause()
    yield
    replication.resume()


def test_a_standby_is_a_replica(pair):
    """A standby of the same database and revision is accepted, and so is the primary itself."""
    primary, other = pair
    require_same(primary, other)
    require_same(primary, primary)
    assert compare(look(primary), look(primary)) == 0
    assert look(other).log.in_recovery
    assert look(primary).log[2:] == (None, None)


def test_an_idle_primary_is_no_lag(pair, replication):
    """A replica that has replayed everything is not behind, however old the last transaction is."""
    replication.catch_up()
    assert look(pair[1]).log.seconds > 0
    assert measure_lag(*pair) == 0


def test_what_is_not_replayed_is_lag(pair, paused):
    """A replica that lacks something is as old as the last transaction that it has replayed."""
    before = look(pair[1]).log
    add_user(pair[0])
    assert measure_lag(*pair) > before.seconds
    after = look(pair[1]).log
    assert (after.position, after.replayed_at) == (before.position, before.replayed_at)


def test_a_write_after_a_rest_is_no_lag(pair, paused, replication, monkeypatch):
    """A replica that is one moment behind may catch up before the rest of the primary counts as its lag."""
    monkeypatch.setattr(replica, "PATIENCE", 60)
    monkeypatch.setattr(replica.time, "sleep", lambda _: replication.resume())
    add_user(pair[0])
    assert measure_lag(*pair) == 0


def test_a_standby_behind_by_a_migration(pair, paused):
    """A replica at another revision than its primary is not read."""
    migrate.downgrade(pair[0])
    with pytest.raises(SchemaBehind, match="revision") as caught:
        require_same(*pair)
    assert "TASKDB_READ_URL" in caught.value.message


@pytest.fixture
def conflict(pair, replication: Replication) -> Iterator[Callable[[], None]]:
    """Ends the queries on the standby that see a user who is deleted, and their connections."""
    primary, other = (plain_url(database.url.render_as_string()) for database in pair)
    with connect(other) as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        connection.execute("SELECT pg_reload_conf()")

    def clash() -> None:
        with connect(primary) as connection:
            connection.execute("DELETE FROM users")
            connection.execute("VACUUM users")
        replication.catch_up()

    yield clash
    with connect(other) as connection:
        connection.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        connection.execute("SELECT pg_reload_conf()")


def test_a_conflict_with_the_replay(pair, conflict, replication):
    """A query in the way of the replay is run again, and is an error where rows were taken already."""
    primary, other = pair
    add_user(primary)
    replication.catch_up()
    attempts = []

    def read(session):
        count = session.connection().exec_driver_sql("SELECT count(*) FROM users").scalar()
        if not attempts:
            conflict()
        attempts.append(count)
        return session.connection().exec_driver_sql("SELECT count(*) FROM users").scalar()

    assert other.read(read) == 0
    assert attempts == [1, 0]
    add_user(primary)
    replication.catch_up()

    def rows(session):
        yield from session.connection().exec_driver_sql("SELECT 1 FROM users")
        conflict()
        yield from session.connection().exec_driver_sql("SELECT 1 FROM users")

    with pytest.raises(TransactionConflict) as caught, other.stream(rows) as found:
        list(found)
    assert "max_standby_streaming_delay" in caught.value.hint


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_another_database_is_no_replica(new_url: Callable[..., URL]):
    """Two databases that were migrated alike are told apart by their identities."""
    both = [open_database(new_url()) for _ in range(2)]
    for database in both:
        with connect(plain_url(database.url.render_as_string())) as connection:
            connection.execute("UPDATE taskdb_identity SET identity = gen_random_uuid()::text")
    with pytest.raises(InvalidConfiguration, match="another database") as caught:
        require_same(*both)
    assert all(database.backend.place in caught.value.message for database in both)


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_copy_is_no_replica(database, new_url: Callable[..., URL], empty_url: URL):
    """A server that takes writes of its own has other rows, although it says that it is the same database."""
    copy = new_url()
    identity = look(database).identity
    with connect(copy) as connection:
        connection.execute("UPDATE taskdb_identity SET identity = %s", (identity,))
    with pytest.raises(DatabaseUnavailable, match="promoted"):
        require_same(database, open_database(copy))
    with pytest.raises(SchemaBehind, match="no tables"):
        require_same(database, open_database(empty_url))


@pytest.mark.parametrize("engine", ENGINES[:1], indirect=True)
def test_a_file_has_no_replica(database):
    """Only a server has a log that others replay."""
    with pytest.raises(InvalidConfiguration, match="SQLite"):
        look(database)


def test_a_standby_that_was_promoted(tmp_path, monkeypatch):
    """A restarted standby does not know how old its rows are, and a promoted one is no replica any more."""
    monkeypatch.setattr(replica, "PATIENCE", 0)
    both = Replication(tmp_path)
    try:
        primary, other = (open_database(plain_url(each.url)) for each in (both.primary, both.standby))
        migrate.upgrade(primary)
        for server in (primary, other):
            with connect(plain_url(server.url.render_as_string())) as connection:
                connection.execute("CHECKPOINT")
            both.catch_up()
        both.standby.restart()
        both.pause()
        add_user(primary)
        assert measure_lag(primary, other) == math.inf
        both.resume()
        both.catch_up()
        assert measure_lag(primary, other) == 0
        require_same(primary, other)
        both.standby.control("promote")
        with pytest.raises(DatabaseUnavailable, match="promoted"):
            require_same(primary, other)
    finally:
        both.stop()
