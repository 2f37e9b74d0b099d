"""A backup that reads a replica: locks on the primary, and everything that was committed before them."""

from collections.abc import Callable

import pytest
from sqlalchemy import event

from taskdb_cli.backup import create
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.from_replica import snapshot_of_replica
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.database import Database
from taskdb_cli.database.options import Options
from taskdb_cli.errors import DatabaseUnavailable, InvalidConfiguration, NotWritable
from taskdb_cli.services import migrate
from tests.archives import verify
from tests.conftest import NOW, connect, make_url, open_database, plain_url, sqlalchemy_url
from tests.contents import fill, hashes
from tests.proxy import Proxy
from tests.samples import add_user
from tests.schemas import execute
from tests.servers import Replication
from tests.sessions import before_statement

TASKS = 60_000
USER = (
    "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
    " VALUES ('ann@example.com', 'Ann', true, 1, now(), now())"
)
IMPATIENT = Options(lock_timeout=1, retry_budget=1, migration_wait=0)


@pytest.fixture
def pair(standby):
    """The database on the primary and on the standby."""
    return tuple(open_database(url, IMPATIENT) for url in standby)


@pytest.fixture
def filled(pair, standby, replication):
    """Both, with many rows."""
    fill(standby[0], tasks=TASKS)
    replication.catch_up()
    return pair


@pytest.fixture
def shelf(tmp_path) -> BackupDirectory:
    """An empty directory of archives."""
    return BackupDirectory(LocalStore(tmp_path / "shelf"))


@pytest.fixture
def back_up(shelf) -> Callable[..., create.Backup]:
    """Backs up a pair into the directory. Calls `meanwhile` once, when no task is read yet."""

    def back_up(primary, other, *, most_lag=10, meanwhile=None):
        actions = [meanwhile] if meanwhile else []

        def progress(_: int) -> None:
            while actions:
                actions.pop()()

        with snapshot_of_replica(primary, other, most_lag=most_lag) as content:
            return create.take(content, shelf, label="work", now=NOW, progress=progress)

    return back_up


def content_of(manifest) -> dict[str, tuple[int, str]]:
    return {table.name: (table.rows, table.sha256) for table in manifest.counted}


def end_sessions(url) -> None:
    """End what taskdb does on a server."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'taskdb'",
    )


def test_the_rows_are_those_of_the_replica(filled, back_up, standby):
    """The archive has all rows, read on the replica, and is of the database and the place of the primary."""
    primary, other = filled
    copied = []
    event.listen(other.engine, "before_cursor_execute", lambda *given: copied.append(given[2]))
    backup = back_up(primary, other)
    assert any("LOCK TABLE" in statement for statement in copied)
    assert content_of(backup.manifest) == hashes(primary)
    assert verify(backup.file).counts()["tasks"] == TASKS
    with primary.snapshot() as content:
        assert (backup.manifest.origin.identity, backup.manifest.origin.place) == (
            content.identity,
            content.place,
        )
    assert backup.manifest.origin.created_at == NOW


@pytest.mark.parametrize("commit", ["on", "off"])
def test_what_was_committed_before_the_locks_is_waited_for(pair, back_up, replication, standby, commit):
    """What is committed just before the locks is in the archive: the replica has to replay it first."""
    primary, other = pair
    replication.pause()
    try:

        def write() -> None:
            execute(standby[0], f"SET synchronous_commit = {commit}; {USER}")
            before_statement(other, "pg_is_in_recovery", replication.resume)

        before_statement(primary, "LOCK TABLE", write)
        backup = back_up(primary, other, most_lag=60)
    finally:
        replication.resume()
    assert backup.manifest.counts()["users"] == 1


def test_a_replica_that_does_not_get_there(pair, back_up, replication, standby, shelf):
    """A replica that does not replay what was committed before the locks is waited for as long as allowed."""
    primary, other = pair
    replication.pause()
    try:
        before_statement(primary, "LOCK TABLE", lambda: execute(standby[0], USER))
        with pytest.raises(DatabaseUnavailable, match=r"within 0\.3 s"):
            back_up(primary, other, most_lag=0.3)
    finally:
        replication.resume()
    assert not shelf.entries()


def test_a_replica_that_catches_up_after_a_rest(pair, back_up, replication, standby):
    """A replica may take as long as allowed for the last change, however long ago the one before it was."""
    for url in standby:
        execute(url, "CHECKPOINT")
        replication.catch_up()
    # From then on it knows of no change before.
    replication.standby.restart()
    replication.pause()
    try:
        add_user(pair[0])
        before_statement(pair[0], "LOCK TABLE", replication.resume)
        backup = back_up(*pair, most_lag=60)
    finally:
        replication.resume()
    assert backup.manifest.counts()["users"] == 1


def test_an_idle_primary(pair, replication):
    """A replica that has replayed everything is not behind, whatever the end of the log is at."""
    primary, other = pair
    replication.catch_up()
    for _ in range(3):
        execute(plain_url(replication.primary.url), "SELECT pg_switch_wal()")
        replication.catch_up()
        with snapshot_of_replica(primary, other, most_lag=0.5) as content:
            assert content.is_empty()


def test_others_meanwhile(filled, back_up, standby):
    """Writers go on and are not seen, and a migration on the primary does not begin."""
    primary, other = filled
    before = hashes(primary)

    def meanwhile() -> None:
        execute(standby[0], "UPDATE tasks SET title = 'Late'")
        with pytest.raises(DatabaseUnavailable, match="backed up"):
            migrate.downgrade(open_database(standby[0], IMPATIENT))

    backup = back_up(primary, other, meanwhile=meanwhile)
    assert content_of(backup.manifest) == before
    assert migrate.status(primary).pending == []


@pytest.fixture
def hasty(standby, replication):
    """The standby lets no query delay the replay."""
    with connect(standby[1]) as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        connection.execute("SELECT pg_reload_conf()")
    yield
    with connect(standby[1]) as connection:
        connection.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.usefixtures("hasty")
def test_a_vacuum_meanwhile(filled, back_up, standby, replication):
    """VACUUM on the primary removes no row that is still to be read, so the replica cancels nothing."""
    primary, other = filled
    before = hashes(primary)

    def clean() -> None:
        execute(standby[0], "DELETE FROM tasks", "VACUUM tasks")
        replication.catch_up()

    assert content_of(back_up(primary, other, meanwhile=clean).manifest) == before


@pytest.mark.usefixtures("hasty")
def test_a_conflict_with_the_replay(filled, back_up, standby, replication, shelf):
    """If the session on the primary is gone, rows may be removed: no archive, and a hint that says why."""
    primary, other = filled

    def clean() -> None:
        end_sessions(standby[0])
        execute(standby[0], "DELETE FROM tasks", "VACUUM tasks")
        replication.catch_up()

    with pytest.raises(DatabaseUnavailable) as caught:
        back_up(primary, other, meanwhile=clean)
    assert "hot_standby_feedback" in caught.value.hint
    assert not shelf.entries()


def test_locks_that_are_lost_at_once(pair, back_up, standby, shelf):
    """If the locks on the primary are lost before the snapshot on the replica, there is no archive."""
    primary, other = pair
    before_statement(other, "LOCK TABLE", lambda: end_sessions(standby[0]))
    with pytest.raises(DatabaseUnavailable):
        back_up(primary, other)
    assert not shelf.entries()


def test_a_standby_in_place_of_the_primary(pair, back_up):
    """Locks on a standby keep nobody out, so a backup that would hold them there is refused."""
    with pytest.raises(NotWritable, match="read-only"):
        back_up(pair[1], pair[1])


def test_a_role_that_only_reads(pair, back_up, standby, replication):
    """A role that may read the tables, and whose transactions only read, is enough on both servers."""
    add_user(pair[0])
    role = f"{standby[0].database}_reader"
    execute(
        standby[0],
        f'CREATE ROLE "{role}" LOGIN',
        f'ALTER ROLE "{role}" SET default_transaction_read_only = on',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
    )
    try:
        replication.catch_up()
        reader = [open_database(url.set(username=role), IMPATIENT) for url in standby]
        assert back_up(*reader).manifest.rows == 1
    finally:
        execute(standby[0], f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def test_the_primary_in_place_of_the_replica(pair, back_up, standby):
    """The primary itself may be read, as it may elsewhere, but not found and then a standby read."""
    add_user(pair[0])
    assert back_up(pair[0], pair[0]).manifest.rows == 1
    with Proxy(standby[0]) as proxy:
        other = open_database(proxy.url.set(username="postgres"), IMPATIENT)
        proxy.lead_on(*standby)
        with pytest.raises(DatabaseUnavailable, match="another server"):
            back_up(pair[0], other)


def test_another_database(pair, make_url_of, back_up, shelf):
    """A database that is not a replica of the primary's is refused."""
    with pytest.raises(InvalidConfiguration, match="another database"):
        back_up(pair[0], open_database(make_url_of("postgresql18"), IMPATIENT))
    assert not shelf.entries()


def test_a_promotion_meanwhile(tmp_path_factory, back_up):
    """A standby that is promoted goes on with what it shows: the archive has all rows of one moment."""
    both = Replication(tmp_path_factory.mktemp("promoted"))
    try:
        url = plain_url(both.primary.url)
        primary, other = (open_database(each, IMPATIENT) for each in (url, both.standby_url(url)))
        migrate.upgrade(Database(sqlalchemy_url(url)))
        fill(url, tasks=TASKS)
        both.catch_up()
        before = hashes(primary)

        def promote() -> None:
            both.standby.control("promote")
            execute(make_url(both.standby.url), "DELETE FROM tasks", "VACUUM tasks")

        assert content_of(back_up(primary, other, meanwhile=promote).manifest) == before
        with pytest.raises(DatabaseUnavailable, match="promoted"):
            back_up(primary, other)
        with Proxy(url) as proxy:
            other = open_database(proxy.url.set(username="postgres"), IMPATIENT)
            proxy.lead_on(url, both.standby_url(url))
            with pytest.raises(DatabaseUnavailable, match="promoted"):
                back_up(primary, other)
    finally:
        both.stop()
