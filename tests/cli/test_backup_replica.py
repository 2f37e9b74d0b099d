"""taskdb backup --replica, from the outside."""

import json

import pyrage
import pytest
from sqlalchemy import Engine, event, make_url

from taskdb_cli.database import Database
from taskdb_cli.services import migrate
from tests.conftest import plain_url, sqlalchemy_url
from tests.contents import fill
from tests.schemas import execute
from tests.servers import Replication

FEW, MANY = 300, 6_000
COLUMNS = "user_id, title, description, status, priority, version, created_at, updated_at"
LATE = f"INSERT INTO tasks (id, {COLUMNS}) OVERRIDING SYSTEM VALUE SELECT {{}}, {COLUMNS} FROM tasks LIMIT 1"
FLUSHING = "pg_logical_emit_message(boolean, text, text, boolean)"


@pytest.fixture
def pair(standby, replication, use_pair, shelf):
    """The addresses of a database with some rows on the primary and on the standby, which settings name."""
    fill(standby[0], tasks=FEW)
    replication.catch_up()
    use_pair(*standby)
    return standby


@pytest.fixture
def use_pair(bare_taskdb, monkeypatch):
    """Sets the addresses of a database and its replica."""

    def use(primary, other):
        monkeypatch.setenv("TASKDB_DATABASE_URL", primary.render_as_string(hide_password=False))
        monkeypatch.setenv("TASKDB_READ_URL", other.render_as_string(hide_password=False))

    return use


@pytest.fixture
def meanwhile():
    """Does something once, when the snapshot on the replica has begun and no row is read yet."""
    listeners = []

    def when_locked(action):
        locks, done = [], []

        def act(connection, cursor, statement, *_):
            if "LOCK TABLE" in statement:
                locks.append(statement)
            if len(locks) == 2 and "pg_attribute" in statement and not done:
                done.append(statement)
                action()

        event.listen(Engine, "before_cursor_execute", act)
        listeners.append(act)
        return done

    yield when_locked
    for act in listeners:
        event.remove(Engine, "before_cursor_execute", act)


def listed(taskdb, place):
    return json.loads(taskdb("backup", "list", "--dir", place, "-o", "json").out)


def test_an_archive_like_any_other(pair, bare_taskdb, tmp_path, monkeypatch):
    """It is kept, drilled, opened and judged as one of the primary is, in several places."""
    key, near, far = pyrage.x25519.Identity.generate(), tmp_path / "near", tmp_path / "far"
    (tmp_path / "key").write_text(str(key))
    (tmp_path / "key").chmod(0o600)
    monkeypatch.delenv("TASKDB_BACKUP_LABEL")
    monkeypatch.setenv("TASKDB_BACKUP_IDENTITY", str(tmp_path / "key"))
    words = ("backup", "--encrypt-to", key.to_public(), "--drill", "--dir", near, "--dir", far, "-o", "json")
    plain, *_ = json.loads(bare_taskdb(*words).out)
    [one, two] = json.loads(bare_taskdb(*words, "--replica", "--keep-last", 1, "--keep-at-least", 1).out)
    assert one["rows"] == two["rows"] == FEW + 20 == plain["rows"]
    assert one["label"] == plain["label"]
    for place in (near, far):
        [known] = listed(bare_taskdb, place)
        assert one["archive"].endswith(known["archive"])
        assert known["place"] == f"{pair[0].query['host']}:5432/{pair[0].database}"
        assert known["drilled_at"] == known["taken_at"]
    bare_taskdb("backup", "verify", "latest", "--dir", far)
    bare_taskdb("health", "--only", "backup,backup_archive,drill", "--dir", near)
    assert bare_taskdb("backup", "diff", "latest", "live", "--exit-code", "--dir", near)
    configured = bare_taskdb("backup", "--replica", "--check-config").out
    assert str(pair[1].query["host"]) in configured


def test_one_file(pair, bare_taskdb, tmp_path):
    """A single file is read from the replica too."""
    bare_taskdb("backup", "--replica", "--file", tmp_path / "one.zip")
    assert f"{FEW + 20} rows" in bare_taskdb("backup", "verify", tmp_path / "one.zip").err


def test_a_replica_that_lags(pair, bare_taskdb, shelf, replication, monkeypatch):
    """5 if the replica is over TASKDB_READ_LAG; no archive, and the primary can be backed up without it."""
    monkeypatch.setenv("TASKDB_READ_LAG", "0.1")
    replication.pause()
    try:
        execute(pair[0], "UPDATE users SET name = 'Late'")
        refused = bare_taskdb("backup", "--replica", expect=5)
    finally:
        replication.resume()
    assert "TASKDB_READ_LAG" in refused.err
    assert refused.err.count("\n") == 1
    assert not list(shelf.glob("*.zip"))
    bare_taskdb("backup")


def test_one_of_several_replicas_that_lags(pair, bare_taskdb, use_pair, two_standbys, monkeypatch):
    """5 and no archive, whichever connection first leads to another replica that lacks a row."""
    monkeypatch.setenv("TASKDB_READ_LAG", "0.1")
    execute(pair[0], LATE.format(1000))
    rows = []
    for times in range(5):
        use_pair(pair[0], two_standbys(times))
        taken = bare_taskdb("backup", "--replica", "-o", "json", expect=None)
        rows.append(json.loads(taken.out)["rows"] if taken.code == 0 else taken.code)
    assert rows == [5, 5, FEW + 21, FEW + 21, FEW + 21]


@pytest.fixture
def lazy(pair):
    """The primary flushes what did not wait for the disk after a long while only."""
    execute(pair[0], "ALTER SYSTEM SET wal_writer_delay = '10s'")
    execute(pair[0], "SELECT pg_reload_conf()")
    yield
    execute(pair[0], "ALTER SYSTEM RESET wal_writer_delay")
    execute(pair[0], "SELECT pg_reload_conf()")


@pytest.mark.usefixtures("lazy")
def test_a_commit_that_is_not_flushed(pair, bare_taskdb, use_pair, replication, shelf):
    """A role that only reads gets what was committed without waiting for the disk, or 5 and no archive."""
    role = f"{pair[0].database}_reader"
    execute(
        pair[0],
        f'CREATE ROLE "{role}" LOGIN',
        f'ALTER ROLE "{role}" SET default_transaction_read_only = on',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
    )
    use_pair(*[url.set(username=role) for url in pair])
    try:
        replication.catch_up()
        # The first one may wake the process that flushes, and the next ones do not.
        for number in (1000, 1001, 1002):
            execute(pair[0], "SET synchronous_commit = off", LATE.format(number))
        taken = bare_taskdb("backup", "--replica", "-o", "json")
        assert json.loads(taken.out)["rows"] == FEW + 23
        execute(pair[0], f"REVOKE EXECUTE ON FUNCTION {FLUSHING} FROM PUBLIC")
        execute(pair[0], "SET synchronous_commit = off", LATE.format(1003))
        assert "pg_logical_emit_message" in bare_taskdb("backup", "--replica", expect=5).err
        assert len(list(shelf.glob("*.zip"))) == 1
    finally:
        execute(pair[0], f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def test_a_conflict_in_the_middle(pair, bare_taskdb, shelf, replication, meanwhile):
    """5 and no archive if the replica removes rows that are being read."""
    doubled = f"INSERT INTO tasks ({COLUMNS}) SELECT {COLUMNS} FROM tasks"
    execute(pair[0], "ALTER TABLE tasks ALTER COLUMN id RESTART WITH 1000", *[doubled] * 8)
    replication.catch_up()
    sessions = "pg_stat_activity WHERE datname = current_database() AND application_name = 'taskdb'"
    delay = "ALTER SYSTEM {} max_standby_streaming_delay{}"
    execute(pair[1], delay.format("SET", " = 0"))
    execute(pair[1], "SELECT pg_reload_conf()")

    def clean():
        execute(pair[0], f"SELECT pg_terminate_backend(pid) FROM {sessions}")
        execute(pair[0], "DELETE FROM tasks", "VACUUM tasks")
        replication.catch_up()

    try:
        cleaned = meanwhile(clean)
        failed = bare_taskdb("backup", "--replica", expect=5)
    finally:
        execute(pair[1], delay.format("RESET", ""))
        execute(pair[1], "SELECT pg_reload_conf()")
    assert cleaned
    assert "hot_standby_feedback" in failed.err
    assert not list(shelf.glob("*.zip*"))


def test_a_promotion_in_the_middle(bare_taskdb, tmp_path_factory, use_pair, shelf, meanwhile):
    """The archive has all rows of its moment; the next backup is refused (5) until the settings are right."""
    both = Replication(tmp_path_factory.mktemp("promoted"))
    try:
        url = plain_url(both.primary.url)
        migrate.upgrade(Database(sqlalchemy_url(url)))
        fill(url, tasks=MANY, width=10)
        both.catch_up()
        use_pair(url, both.standby_url(url))

        def promote():
            both.standby.control("promote")
            execute(make_url(both.standby.url), "DELETE FROM tasks", "VACUUM tasks")

        promoted = meanwhile(promote)
        taken = json.loads(bare_taskdb("backup", "--replica", "-o", "json").out)
        assert (taken["rows"], len(promoted)) == (MANY + 20, 1)
        assert "promoted" in bare_taskdb("backup", "--replica", expect=5).err
        assert len(list(shelf.glob("*.zip"))) == 1
    finally:
        both.stop()


def test_what_cannot_be(standby, bare_taskdb, use_pair, shelf, monkeypatch):
    """2 without a replica in the settings, and 5 without the primary, whose locks are needed."""
    primary, other = standby
    use_pair(primary.set(query={"host": "/nowhere"}), other)
    assert "/nowhere" in bare_taskdb("backup", "--replica", expect=5).err
    use_pair(primary, other.set(query={"host": "/nowhere"}))
    assert "TASKDB_READ_URL" in bare_taskdb("backup", "--replica", expect=5).err
    address = primary.render_as_string(hide_password=False)
    assert "TASKDB_READ_URL" in bare_taskdb("--database-url", address, "backup", "--replica", expect=2).err
    monkeypatch.delenv("TASKDB_READ_URL")
    assert "TASKDB_READ_URL" in bare_taskdb("backup", "--replica", expect=2).err
    bare_taskdb("backup", "--replica", "list", expect=2)
    assert not shelf.exists() or not list(shelf.glob("*.zip"))
