"""Rows that cannot be loaded, and databases that fail while they are read: who is at fault is named."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskdb_cli.backup import create as taking
from taskdb_cli.backup import restore
from taskdb_cli.backup.archive import ArchiveWriter
from taskdb_cli.backup.layout import Digest, Origin
from taskdb_cli.backup.stores.places import file_at
from taskdb_cli.database.schema import ARCHIVED_TABLES, revisions
from taskdb_cli.errors import ArchiveCorrupt, Conflict, ConnectionLost, DataCorrupt, TaskdbError
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.services import migrate
from tests.conftest import ENGINES, FAULT_SERVERS, NOW, SERVERS, open_database
from tests.contents import COLUMNS, archive_columns, fill, get_rows, hashes
from tests.proxy import Proxy
from tests.samples import add_task, add_user
from tests.schemas import execute

POSTGRESQL_ONLY = pytest.mark.parametrize("engine", FAULT_SERVERS, indirect=True)

STAMP = b"2026-11-22 12:30:15+00"
ANN = b"1\tann@example.com\tAnn\tt\t1\t" + STAMP + b"\t" + STAMP + b"\n"
_TASK = [b"1", b"1", rb"\N", b"Write", rb"\N", b"todo", b"2", rb"\N", rb"\N", b"1", STAMP, STAMP]
TASK = b"\t".join([*_TASK, *[rb"\N"] * (len(COLUMNS["tasks"]) - len(_TASK))]) + b"\n"


def forge(path, users=ANN, tasks=TASK):
    """Write an archive that is whole, whatever its rows are."""
    stream = io.BytesIO()
    writer = ArchiveWriter(stream)
    texts = {"users": users, "tasks": tasks}
    for table in ARCHIVED_TABLES:
        writer.add_table(table, archive_columns(table), [texts.get(table, b"")])
    head = revisions().get_current_head()
    writer.close(Origin("work", "sqlite", "3", head, datetime(2026, 11, 22, tzinfo=UTC), place="/x"))
    path.write_bytes(stream.getvalue())
    return path


def test_a_forged_archive_is_restored_if_its_rows_are_right(database, url, tmp_path):
    """The archives that the other tests damage are good ones."""
    restore.restore(database, file_at(forge(tmp_path / "a.zip")))
    assert [len(rows) for rows in get_rows(url).values()] == [1, 1]


@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
@pytest.mark.parametrize(
    "rows",
    [
        {"tasks": TASK.replace(b"1\t1\t", b"1\t2\t", 1)},
        {"tasks": TASK + TASK},
        {"tasks": TASK.replace(b"todo", b"lost")},
        {"tasks": TASK.replace(b"Write", b"\\N")},
        {"tasks": TASK.replace(b"\ttodo", b"")},
        {"tasks": TASK.replace(b"\ttodo", b"\ttodo\ttodo")},
        {"tasks": TASK.replace(b"2026-11", b"2026-13")},
        {"tasks": TASK.replace(b"Write", b"\xff")},
        {"tasks": TASK.replace(b"\n", b"")[:-8] + b"\n"},
        {"users": ANN.replace(b"\tt\t", b"\tmaybe\t")},
        {"users": ANN.replace(b"1\t", b"one\t", 1)},
        {"users": ANN.replace(b"1\t", b"9223372036854775808\t", 1)},
        {"users": ANN + ANN.replace(b"1\t", b"2\t", 1)},
    ],
    ids=str,
)
def test_rows_that_break_a_rule_are_refused(database, url, tmp_path, rows):
    """An archive that is whole, but whose rows the tables refuse: 7, and the target is as it was."""
    add_user(database, "bob@example.com")
    add_task(database, "bob@example.com")
    before = hashes(database)
    with pytest.raises(DataCorrupt) as failure:
        restore.restore(database, file_at(forge(tmp_path / "a.zip", **rows)), replace=True)
    assert failure.value.exit_code == ExitCode.CORRUPT
    assert "\n" not in failure.value.message
    assert hashes(database) == before
    assert add_task(database, "bob@example.com") == 2


MANY = b"".join(ANN.replace(b"1\t", b"%d\t" % id, 1).replace(b"ann@", b"%d@" % id) for id in range(2, 30_000))
LAST_ID = b"9223372036854775807"


@pytest.mark.parametrize(
    "rows",
    [
        {"users": ANN + MANY + ANN.replace(b"1\t", LAST_ID + b"\t", 1).replace(b"ann", b"last")},
        {"tasks": TASK.replace(b"1\t", LAST_ID + b"\t", 1) + TASK},
    ],
    ids=["users", "tasks"],
)
def test_the_last_id_is_refused(taskdb, database, tmp_path, rows):
    """A row after which no other could be added is refused (7) before anything is saved or changed."""
    path = forge(tmp_path / "a.zip", **rows)
    [table] = rows
    with pytest.raises(DataCorrupt, match=f"{table} .* 9223372036854775807"):
        restore.restore(database, file_at(path))
    with pytest.raises(DataCorrupt):
        restore.drill(file_at(path))
    add_user(database, "bob@example.com")
    before = hashes(database)
    for how in (["--yes"], ["--dry-run"]):
        failed = taskdb("restore", path, "--replace", *how, "--dir", tmp_path / "saved", expect=7)
        assert failed.err.count("\n") == 1
    assert hashes(database) == before
    assert not (tmp_path / "saved").exists()


def test_rows_are_verified_before_others_are_replaced(taskdb, database, tmp_path, monkeypatch):
    """Rows that are not those of the manifest, under a seal that is right: 7 before anything is saved."""
    with monkeypatch.context() as forging:
        forging.setattr(Digest, "sha256", property(lambda _: "0" * 64))
        path = forge(tmp_path / "a.zip")
    add_user(database, "bob@example.com")
    before = hashes(database)
    for how in (["--yes"], ["--dry-run"]):
        failed = taskdb("restore", path, "--replace", *how, "--dir", tmp_path / "saved", expect=7)
        assert "manifest" in failed.err
    assert hashes(database) == before
    assert not (tmp_path / "saved").exists()


def test_long_numbers_that_are_not_the_last_id(database, tmp_path):
    """The same digits anywhere else are no reason to refuse a row."""
    text = TASK.replace(rb"Write" + b"\t" + rb"\N", LAST_ID + b"\ta" + rb"\n" + LAST_ID, 1)
    text = text.replace(b"1\t", LAST_ID[:-1] + b"\t", 1)
    restore.restore(database, file_at(forge(tmp_path / "a.zip", tasks=text)))
    assert hashes(database)["tasks"][0] == 1


def test_an_orphan_that_another_tool_made_is_refused(make_url_of, database, url):
    """SQLite lets those who do not ask for foreign keys make orphans; no copy brings them along."""
    source = make_url_of("sqlite")
    fill(source, users=2, tasks=10)
    with closing(sqlite3.connect(source.database)) as connection, connection:
        connection.execute("DELETE FROM users WHERE id = 1")
    with pytest.raises(DataCorrupt):
        restore.restore(database, open_database(source))
    assert get_rows(url) == {"users": [], "tasks": []}


def test_a_test_restore_lets_sqlite_check_the_whole_file(make_url_of, tmp_path):
    """A drill into a file in which the row of another program breaks a rule does not pass."""
    target = make_url_of("sqlite")
    with closing(sqlite3.connect(target.database)) as connection, connection:
        connection.execute("CREATE TABLE others (number INTEGER CHECK (number > 0))")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("INSERT INTO others VALUES (0)")
    with pytest.raises(DataCorrupt, match="others"):
        restore.drill(file_at(forge(tmp_path / "a.zip")), target=open_database(target))


@POSTGRESQL_ONLY
def test_the_end_that_fails_is_named(database, url, new_url):
    """When the connection to the origin of a copy breaks, nobody is sent to look at the target."""
    target = new_url()
    fill(url)
    with Proxy(url) as proxy:
        far = open_database(proxy.url)
        restore.require_copyable(far, open_database(target))
        proxy.cut_at = proxy.passed + 100_000
        with pytest.raises(ConnectionLost, match=f"127.0.0.1:{proxy.port}"):
            restore.restore(open_database(target), far)
        assert proxy.cut_at is None
    assert get_rows(target) == {"users": [], "tasks": []}


def test_a_damaged_origin_is_named(make_url_of, database, url):
    """A SQLite file that cannot be read any more is the one that is said to be damaged."""
    source = make_url_of("sqlite")
    fill(source)
    execute(source, "PRAGMA journal_mode = DELETE")
    [(root,)] = execute(source, "SELECT rootpage FROM sqlite_master WHERE name = 'tasks'")
    [(size,)] = execute(source, "PRAGMA page_size")
    with Path(source.database).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(DataCorrupt, match=source.database):
        restore.restore(database, open_database(source))
    assert get_rows(url) == {"users": [], "tasks": []}


@POSTGRESQL_ONLY
def test_rows_that_a_policy_hides_are_no_backup(url, database, tmp_path):
    """A role from whom row-level security hides rows can take no backup without them."""
    fill(url, users=2, tasks=2)
    role = f"taskdb_reader_{url.database}"
    execute(
        url,
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
        "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
    )
    try:
        reader = open_database(url.set(username=role))
        path = tmp_path / "a.taskdb.zip"
        with pytest.raises(TaskdbError, match="row-level security"), reader.snapshot() as content:
            taking.save(content, file_at(path), label="work", now=NOW)
        assert list(tmp_path.glob("*zip*")) == []
    finally:
        execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@POSTGRESQL_ONLY
def test_no_limit_of_the_server_ends_a_backup(url, database):
    """Neither a snapshot, a replacement nor an import falls under the limits on how long it may take."""
    limits = ["statement_timeout", "idle_in_transaction_session_timeout"]
    [(version,)] = execute(url, "SHOW server_version_num")
    if int(version) >= 170_000:
        limits.append("transaction_timeout")
    for name in limits:
        execute(url, f"ALTER DATABASE \"{url.database}\" SET {name} = '1min'")
    for opened in (database.snapshot, database.replacement):
        with opened() as content:
            found = [content.connection.exec_driver_sql(f"SHOW {name}").scalar() for name in limits]
        assert found == ["0"] * len(limits)
    ask = f"SELECT {', '.join(f'current_setting({name!r})' for name in limits)}"
    found = database.write(lambda session: session.connection().exec_driver_sql(ask).one(), bulk=True)
    assert [*found] == ["0"] * len(limits)


def refuse_tasks(url):
    """Let a trigger refuse the last of the tasks."""
    if url.drivername == "sqlite":
        execute(
            url,
            "CREATE TRIGGER refuse BEFORE INSERT ON tasks WHEN new.id = 3000"
            " BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        return
    execute(
        url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'not this one'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW WHEN (new.id = 3000)"
        " EXECUTE FUNCTION refuse()",
    )


@pytest.mark.parametrize("origin", ENGINES)
def test_a_target_that_refuses_a_row_is_as_it_was(make_url_of, database, url, origin):
    """Whichever engine the rows come from, it is let go of quietly, and the target keeps what it had."""
    source = make_url_of(origin)
    fill(source)
    fill(url, users=3, tasks=7)
    refuse_tasks(url)
    before = hashes(database)
    with pytest.raises(Conflict, match=r"not this one.*trigger refuse on tasks"):
        restore.restore(database, open_database(source), replace=True)
    assert hashes(database) == before
    execute(url, f"DROP TRIGGER refuse{'' if url.drivername == 'sqlite' else ' ON tasks'}")
    migrate.check(database)


def test_rows_that_another_application_refers_to(make_url_of, database, url):
    """Rows of an application beside taskdb are never deleted along with the users they refer to."""
    source = make_url_of("sqlite")
    fill(source, users=3, tasks=7)
    execute(url, "CREATE TABLE bills (user_id bigint REFERENCES users (id) ON DELETE CASCADE)")
    restore.restore(database, open_database(source))
    execute(url, "INSERT INTO bills VALUES (1)")
    before = hashes(database)
    with pytest.raises(Conflict, match="bills"):
        restore.restore(database, open_database(source), replace=True)
    assert execute(url, "SELECT user_id FROM bills") == [(1,)]
    assert hashes(database) == before


REWRITE = {
    "sqlite": [
        (
            "CREATE TRIGGER shout AFTER INSERT ON tasks"
            " BEGIN UPDATE tasks SET title = upper(title) WHERE id = NEW.id; END"
        )
    ],
    "postgresql": [
        (
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$"
        ),
        "CREATE TRIGGER shout BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION shout()",
    ],
}
BREAK = {
    "sqlite": [REWRITE["sqlite"][0].replace("title = upper(title)", "user_id = 77")],
    "postgresql": [
        REWRITE["postgresql"][0].replace("NEW.title := upper(NEW.title)", "NEW.priority := 9"),
        REWRITE["postgresql"][1],
    ],
}


@pytest.mark.parametrize("engine", ["sqlite", *FAULT_SERVERS], indirect=True)
@pytest.mark.parametrize("trigger", [REWRITE, BREAK])
def test_a_trigger_that_changes_the_rows_is_named(database, url, engine, tmp_path, trigger):
    """A good archive is not blamed for what a trigger of the target does, and nothing is changed."""
    execute(url, *trigger["sqlite" if engine == "sqlite" else "postgresql"])
    with pytest.raises(Conflict, match="trigger shout on tasks") as caught:
        restore.restore(database, file_at(forge(tmp_path / "a.zip")))
    assert "another archive" not in caught.value.hint
    assert [len(rows) for rows in get_rows(url).values()] == [0, 0]


def test_a_damaged_archive_is_blamed_in_spite_of_a_trigger(database, url, engine, tmp_path):
    """A trigger does not hide that the archive is damaged."""
    execute(url, *REWRITE["sqlite" if engine == "sqlite" else "postgresql"])
    path = forge(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveCorrupt):
        restore.restore(database, file_at(path))
