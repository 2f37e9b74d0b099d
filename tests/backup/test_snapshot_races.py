"""Others who change the database while it is backed up or restored: one consistent state, or a refusal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest

from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.locks import MIGRATION_LOCK
from taskdb_cli.errors import BackupRunning, DatabaseUnavailable
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.services import migrate
from tests.archives import verify
from tests.conftest import NOW, SERVERS, connect, open_database
from tests.contents import fill, hashes, orphans
from tests.samples import add_user
from tests.schemas import execute
from tests.sessions import before_statement
from tests.waiting import PATIENCE, wait_until
from tests.workload import USERS, Writer, address

POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)


@pytest.fixture
def filled(url):
    """The hashes of a database with some thousand rows."""
    fill(url)
    return hashes(open_database(url))


@pytest.fixture
def shelf(tmp_path) -> BackupDirectory:
    """An empty directory of archives."""
    return BackupDirectory(LocalStore(tmp_path / "shelf"))


def content_of(manifest) -> dict[str, tuple[int, str]]:
    return {table.name: (table.rows, table.sha256) for table in manifest.counted}


def waiting(url) -> bool:
    """Return whether some session waits for a lock."""
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    with connect(url) as observer:
        return observer.execute(
            f"{sql} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone() != (0,)


CHANGES = {
    "truncate": "TRUNCATE tasks",
    "rewriting alter": "ALTER TABLE tasks ALTER COLUMN version TYPE bigint",
    "drop": "DROP TABLE tasks",
}


@POSTGRESQL_ONLY
@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_is_emptied_during_a_backup(url, database, filled, shelf, change):
    """Who would empty or rewrite a table that is still to be read waits; all rows are in the archive."""
    sessions = []

    def alter() -> None:
        with connect(url) as other:
            sessions.append(other)
            other.execute(CHANGES[change])

    others = Thread(target=alter)

    def begin(_: int) -> None:
        # The users are being read, and no task is yet.
        if not others.ident:
            others.start()
            while others.is_alive() and not waiting(url):
                pass

    backup = taking.take(database, shelf, label="work", now=NOW, progress=begin)
    others.join(PATIENCE)
    assert sessions
    assert content_of(backup.manifest) == filled


@POSTGRESQL_ONLY
@pytest.mark.parametrize("change", ["truncate", "rewriting alter"])
def test_a_table_that_is_emptied_just_before_a_backup(url, database, filled, shelf, change):
    """What is committed before the locks are there is seen: the snapshot is taken after them."""

    def alter() -> None:
        with connect(url) as other:
            other.execute(CHANGES[change])

    before_statement(database, "LOCK TABLE", alter)
    backup = taking.take(database, shelf, label="work", now=NOW)
    assert content_of(backup.manifest) == hashes(open_database(url))
    assert backup.manifest.table("tasks").rows == (0 if change == "truncate" else 3000)


@POSTGRESQL_ONLY
def test_a_table_that_stays_locked(url, database, filled, shelf):
    """A backup waits for a table no longer than it may, and leaves nothing."""
    with connect(url) as other, other.transaction():
        other.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable) as failure:
            taking.take(database, shelf, label="work", now=NOW)
    assert failure.value.exit_code == ExitCode.UNAVAILABLE
    assert shelf.entries() == []


@POSTGRESQL_ONLY
def test_nothing_is_backed_up_or_restored_while_somebody_migrates(url, database, filled, shelf, tmp_path):
    """Whoever migrates holds a lock that a backup and a restore do not wait for."""
    backup = taking.take(database, shelf, label="work", now=NOW)
    with connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        for act in (
            lambda: taking.take(database, shelf, label="other", now=NOW),
            lambda: restore.restore(database, backup.file, replace=True),
        ):
            with pytest.raises(DatabaseUnavailable, match="is being migrated"):
                act()
        # Whoever migrates may still back up first.
        taking.take(database, shelf, label="guarded", now=NOW, guarded=True)
    assert {entry.label for entry in shelf.entries()} == {"guarded", "work"}
    assert hashes(database) == filled


@POSTGRESQL_ONLY
def test_a_migration_waits_for_a_backup(url, database, filled, monkeypatch):
    """A migration that comes during a backup begins after it."""
    looked = Event()
    monkeypatch.setattr("taskdb_cli.database.postgresql.locks.time.sleep", lambda _: looked.set())
    with ThreadPoolExecutor() as pool:
        with database.snapshot() as content:
            migrating = pool.submit(migrate.upgrade, open_database(url))
            assert looked.wait(PATIENCE)
            assert not migrating.done()
            assert content.counts()["tasks"] == 3000
        migrating.result(PATIENCE)


def test_a_backup_during_a_restore(url, database, filled, shelf, engine):
    """A backup that comes during a restore sees all from before it, or is refused."""
    backup = taking.take(database, shelf, label="work", now=NOW)
    execute(url, "DELETE FROM tasks WHERE id % 2 = 0")
    before = hashes(database)
    tried = []

    def try_backup(_: int) -> None:
        if tried:
            return
        try:
            found = taking.take(open_database(url), shelf, label="other", now=NOW)
        except DatabaseUnavailable as refusal:
            tried.append(refusal)
        else:
            tried.append(found)
            assert content_of(found.manifest) == before

    restore.restore(database, backup.file, replace=True, progress=try_backup)
    assert isinstance(tried[0], DatabaseUnavailable) == (engine != "sqlite")
    assert hashes(database) == filled


def test_two_restores_at_once(url, database, filled, shelf):
    """The second restore is refused while the first one works, and changes nothing."""
    backup = taking.take(database, shelf, label="work", now=NOW)
    refused = []

    def try_restore(_: int) -> None:
        if not refused:
            with pytest.raises(DatabaseUnavailable) as failure:
                restore.restore(open_database(url), backup.file, replace=True)
            refused.append(failure.value)

    restore.restore(database, backup.file, replace=True, progress=try_restore)
    assert refused[0].exit_code == ExitCode.UNAVAILABLE
    assert hashes(database) == filled


def test_a_restore_during_a_backup(url, database, filled, shelf, new_url, tmp_path):  # noqa: PLR0917 (fixtures)
    """A restore that comes during a backup is refused on a server, and not seen on SQLite."""
    other = new_url()
    fill(other, users=2, tasks=2)
    path = tmp_path / "other.taskdb.zip"
    with open_database(other).snapshot() as content:
        taking.save(content, file_at(path), label="other", now=NOW)
    outcomes = []

    def try_restore(_: int) -> None:
        if outcomes:
            return
        try:
            outcomes.append(restore.restore(open_database(url), file_at(path), replace=True))
        except DatabaseUnavailable as refusal:
            outcomes.append(refusal)

    backup = taking.take(database, shelf, label="work", now=NOW, progress=try_restore)
    assert content_of(backup.manifest) == filled
    refused = isinstance(outcomes[0], DatabaseUnavailable)
    assert refused == (url.drivername != "sqlite")
    assert hashes(database) == (filled if refused else hashes(open_database(other)))


def test_two_backups_at_once(url, database, filled, shelf):
    """The second backup of a label is refused at once; one of another label goes ahead."""
    refused = []

    def try_others(_: int) -> None:
        if refused:
            return
        with pytest.raises(BackupRunning) as failure:
            taking.take(open_database(url), shelf, label="work", now=NOW.replace(year=2027))
        refused.append(failure.value)
        taking.take(open_database(url), shelf, label="other", now=NOW)

    taking.take(database, shelf, label="work", now=NOW, progress=try_others)
    assert refused[0].exit_code == ExitCode.UNAVAILABLE
    assert [entry.label for entry in shelf.entries()] == ["other", "work"]
    for entry in shelf.entries():
        assert content_of(verify(entry.file.path)) == filled


def test_writers_during_a_backup(url, database, shelf, new_url):
    """However much is written meanwhile, what is restored is one state, without an orphan."""
    for number in range(USERS):
        add_user(database, address(number))
    # They wait for each other, on a busy machine for long.
    writers = [Writer(open_database(url, Options()), number) for number in range(3)]
    stop = Event()

    def write(writer: Writer) -> None:
        while not stop.is_set():
            writer.work(1)

    with ThreadPoolExecutor() as pool:
        busy = [pool.submit(write, writer) for writer in writers]
        try:
            wait_until(
                lambda: any(each.done() for each in busy) or all(each.tally.created for each in writers)
            )
            backups = [
                taking.take(database, shelf, label="work", now=NOW.replace(microsecond=number))
                for number in range(5)
            ]
        finally:
            stop.set()
        for each in busy:
            each.result(PATIENCE)
    target = new_url()
    for backup in backups:
        restore.restore(open_database(target), backup.file, replace=True)
        assert hashes(open_database(target)) == content_of(backup.manifest)
        assert orphans(target) == 0
    assert len({backup.seal for backup in backups}) == len(backups)


@POSTGRESQL_ONLY
def test_a_session_that_reads_keeps_a_restore_out(url, database, filled, shelf):
    """A restore waits for those who read no longer than it may, and nothing is changed."""
    backup = taking.take(database, shelf, label="work", now=NOW)
    with connect(url) as other, other.transaction():
        other.execute("SELECT count(*) FROM tasks")
        with pytest.raises(DatabaseUnavailable):
            restore.restore(database, backup.file, replace=True)
    assert hashes(database) == filled


@POSTGRESQL_ONLY
def test_a_copy_onto_itself_by_another_name(url, database, filled):
    """A copy of a database onto itself, addressed in another way, changes nothing."""
    other = open_database(url.update_query_dict({"application_name": "other", "port": "5432"}))
    with pytest.raises(DatabaseUnavailable):
        restore.restore(other, database, replace=True)
    assert hashes(database) == filled
