"""Where a database stands on its chain of revisions, and how it gets elsewhere."""

import re
import sqlite3
import uuid
from contextlib import closing
from io import StringIO

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect

from taskdb_cli.database.schema import (
    OUR_TABLES,
    VERSION_TABLE,
    migrations_directory,
    read_revisions,
    revisions,
)
from taskdb_cli.errors import (
    DatabaseMissing,
    InvalidInput,
    SchemaAhead,
    SchemaBehind,
    SchemaDrift,
    SchemaForeign,
    SchemaForked,
    TaskdbError,
)
from taskdb_cli.services import migrate
from tests.conftest import open_database
from tests.schemas import STAMP, execute, insert_rows, rebuild, set_revision, write_revision

HEAD = revisions().get_current_head()
CHAIN = [step.revision for step in revisions().walk_revisions()][::-1]

OURS = {*OUR_TABLES, VERSION_TABLE}


def tables(database):
    """The names of all tables."""
    with database.engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def test_there_is_one_chain():
    """The revisions have one base, one head, and no branch between; each says what it does and when."""
    script = revisions()
    assert len(script.get_heads()) == len(script.get_bases()) == 1
    for revision in script.walk_revisions():
        assert not revision.is_branch_point
        assert not revision.is_merge_point
    for step in migrate._chain([]):
        assert step.message
        assert step.date.startswith("20")


def test_up_down_up(empty_url):
    """An empty database goes to head, back to nothing and to head again, and then equals the models."""
    database = open_database(empty_url)
    before = migrate.upgrade(database)
    assert (before.current, before.head) == (None, HEAD)
    assert [step.revision for step in before.pending][-1] == HEAD
    assert tables(database) == OURS | ({"sqlite_sequence"} & tables(database))
    migrate.check(database)
    insert_rows(empty_url)
    assert migrate.downgrade(database, to="base").current == HEAD
    assert not tables(database) & OUR_TABLES
    assert migrate.status(database).current is None
    assert migrate.upgrade(database).current is None
    assert migrate.check(database).current == HEAD
    assert execute(empty_url, "SELECT count(*) FROM tasks") == [(0,)]


def rows(url):
    """Every row of the two tables, those of a table that is missing apart."""
    return [execute(url, f"SELECT * FROM {table} ORDER BY id") for table in ("users", "tasks")]


@pytest.mark.parametrize("revision", CHAIN)
def test_each_revision_goes_up_down_and_up_with_rows(empty_url, revision):
    """A step up keeps the rows, a step back leaves the schema of before, and both can be repeated."""
    database = open_database(empty_url)
    previous = ([None, *CHAIN])[CHAIN.index(revision)]
    if previous:
        migrate.upgrade(database, to=previous)
        insert_rows(empty_url)
        kept, facts = rows(empty_url), described(database)
    migrate.upgrade(database, to=revision)
    there = described(database)
    migrate.downgrade(database)
    assert migrate.status(database).current == previous
    if previous:
        assert (rows(empty_url), described(database)) == (kept, facts)
    migrate.upgrade(database, to=revision)
    assert described(database) == there
    if previous:
        assert len(rows(empty_url)[1]) == len(kept[1]) == 1
    else:
        insert_rows(empty_url)
        migrate.downgrade(database)
        migrate.upgrade(database, to=revision)
        assert rows(empty_url) == [[], []]
    migrate.upgrade(database)
    assert migrate.check(database).current == HEAD


def test_tokens_learn_to_expire_and_forget_it(empty_url):
    """On the way up tokens stay as they are. On the way down those that expire are deleted and told."""
    database = open_database(empty_url)
    migrate.upgrade(database, to="0004")
    insert = "INSERT INTO access_tokens (name, token_hash, scope, created_at) VALUES"
    names = ("cron", "ci", "gone")
    execute(empty_url, *(f"{insert} ('{name}', '{name:0>64}', 'read', '{STAMP}')" for name in names))
    execute(empty_url, "DELETE FROM access_tokens WHERE name = 'gone'")
    migrate.upgrade(database, to="0005")
    shown = "SELECT id, name, expires_at, last_used_at FROM access_tokens ORDER BY id"
    assert execute(empty_url, shown) == [(1, "cron", None, None), (2, "ci", None, None)]
    execute(
        empty_url,
        f"{insert} ('new', '{'x' * 64}', 'read', '{STAMP}')",
        f"UPDATE access_tokens SET expires_at = '{STAMP}' WHERE name = 'ci'",
        f"UPDATE access_tokens SET last_used_at = '{STAMP}'",
    )
    losses = migrate.preview_downgrade(database).losses
    assert losses == ["the access tokens that expire (1)", "when access tokens were last used (3)"]
    migrate.downgrade(database)
    assert execute(empty_url, "SELECT id, name FROM access_tokens ORDER BY id") == [(1, "cron"), (4, "new")]
    migrate.upgrade(database)
    assert migrate.check(database).current == HEAD


def described(database):
    """What the schema of the tables is, to the last detail."""
    with database.connect() as connection:
        return database.backend.facts(connection, OUR_TABLES)


def test_upgrading_at_head_changes_nothing(database, url):
    """A second upgrade is no error and keeps the rows."""
    insert_rows(url)
    assert migrate.upgrade(database).pending == []
    assert execute(url, "SELECT title FROM tasks") == [("Write",)]


def test_upgrade_keeps_the_rows(database, url, chain):
    """A revision that rebuilds a parent table keeps its rows and those of its children."""
    insert_rows(url)
    rebuild_users = """
        with op.batch_alter_table("users") as batch:
            batch.add_column(sa.Column("phone", sa.Text))
            batch.drop_constraint("users_version_positive", type_="check")
    """
    write_revision(chain, "9001", after=HEAD, upgrade=rebuild_users)
    assert [step.revision for step in migrate.upgrade(database).pending] == ["9001"]
    assert execute(url, "SELECT name, phone, title FROM users JOIN tasks ON user_id = users.id") == [
        ("Ann", None, "Write")
    ]
    migrate.downgrade(database)
    assert migrate.status(database).current == HEAD


@pytest.mark.parametrize(
    "fault", ['op.execute("INSERT INTO no_such_table VALUES (1)")', 'raise RuntimeError("x")']
)
def test_a_revision_that_fails_leaves_nothing_behind(database, url, chain, fault):
    """When a revision fails it is undone entirely; the one before it stays where each commits by itself."""
    insert_rows(url)
    write_revision(chain, "9001", after=HEAD, upgrade='op.create_table("first", sa.Column("id", sa.Integer))')
    half = f"""
        op.create_table("half", sa.Column("id", sa.Integer))
        op.execute("DELETE FROM tasks")
        op.drop_table("tasks")
        {fault}
    """
    write_revision(chain, "9002", after="9001", upgrade=half)
    before = tables(database)
    with pytest.raises((TaskdbError, RuntimeError)) as caught:
        migrate.upgrade(database)
    assert not isinstance(caught.value, SchemaBehind)
    # SQLite holds its lock around the whole chain.
    kept = set() if url.drivername == "sqlite" else {"first"}
    assert tables(database) == before | kept
    assert migrate.status(database).current == ("9001" if kept else HEAD)
    assert execute(url, "SELECT title FROM tasks") == [("Write",)]


def test_a_downgrade_that_fails_leaves_nothing_behind(database, url, chain):
    """When the way back fails, the database stays where it was."""
    write_revision(
        chain,
        "9001",
        after=HEAD,
        upgrade='op.create_table("extra", sa.Column("id", sa.Integer))',
        downgrade='op.drop_table("extra")\nop.drop_table("no_such_table")',
    )
    migrate.upgrade(database)
    with pytest.raises(TaskdbError):
        migrate.downgrade(database)
    assert "extra" in tables(database)
    assert migrate.status(database).current == "9001"


def test_a_migration_that_would_orphan_rows_is_undone(database, url, chain):
    """A revision that loses parents of rows is refused as a whole, on an engine that checks so late too."""
    insert_rows(url)
    write_revision(chain, "9001", after=HEAD, upgrade='op.execute("UPDATE tasks SET user_id = 99")')
    with pytest.raises(TaskdbError):
        migrate.upgrade(database)
    assert migrate.status(database).current == HEAD
    assert execute(url, "SELECT count(*) FROM tasks JOIN users ON users.id = user_id") == [(1,)]


def test_status_and_history_of_a_database_behind(database, chain):
    """The steps to come are pending in status, and not applied in history."""
    write_revision(chain, "9001", after=HEAD, upgrade="pass")
    write_revision(chain, "9002", after="9001", upgrade="pass")
    found = migrate.status(database)
    assert (found.current, found.head) == (HEAD, "9002")
    assert [step.revision for step in found.pending] == ["9001", "9002"]
    assert [(step.revision, step.applied) for step in migrate.history(database)][-3:] == [
        (HEAD, True),
        ("9001", False),
        ("9002", False),
    ]
    assert migrate.history(database)[-1].message == "Revision 9002"
    with pytest.raises(SchemaBehind, match=r"at revision .* needs 9002"):
        migrate.check(database)
    migrate.upgrade(database, to="+1")
    assert [step.revision for step in migrate.status(database).pending] == ["9002"]


def test_a_database_ahead_is_left_alone(database, url):
    """A revision that only a newer taskdb knows can be looked at, and nothing else."""
    set_revision(url, "f00d")
    found = migrate.status(database)
    assert (found.current, found.head, found.pending) == ("f00d", HEAD, [])
    for attempt in (migrate.check, migrate.history, migrate.upgrade, migrate.downgrade):
        with pytest.raises(SchemaAhead, match="f00d") as caught:
            attempt(database)
        assert "upgrade taskdb" in caught.value.hint
    assert execute(url, f"SELECT version_num FROM {VERSION_TABLE}") == [("f00d",)]


def test_a_database_at_several_revisions_is_left_alone(database, url):
    """Two rows in the version table are named by everything, and nothing is changed."""
    execute(url, f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")
    for attempt in (
        migrate.status,
        migrate.check,
        migrate.history,
        migrate.upgrade,
        migrate.downgrade,
        migrate.preview_downgrade,
    ):
        with pytest.raises(SchemaForked, match=f"at several revisions at once: 0001, {HEAD}"):
            attempt(database)
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = 'f00d' WHERE version_num = '0001'")
    with pytest.raises(SchemaForked, match=f"{HEAD}, f00d"):
        migrate.status(database)
    execute(url, "ALTER TABLE users RENAME COLUMN email TO address")
    with pytest.raises(SchemaForked, match="several revisions"):
        database.read(lambda session: session.connection().exec_driver_sql("SELECT email FROM users"))


def test_a_chain_with_several_heads_is_named(database, chain):
    """Two revisions after the same one stop everything, and nothing is changed."""
    write_revision(chain, "9001", after=HEAD, upgrade="pass")
    write_revision(chain, "9002", after=HEAD, upgrade="pass")
    for attempt in (migrate.status, migrate.check, migrate.history, migrate.upgrade, migrate.downgrade):
        with pytest.raises(SchemaForked, match="several heads: 9001, 9002"):
            attempt(database)
    (chain / "versions" / "9002_test.py").unlink()
    read_revisions.cache_clear()
    assert migrate.status(database).current == HEAD


@pytest.mark.parametrize("stamped", [False, True])
def test_foreign_tables_are_left_alone(empty_url, stamped):
    """A database with tables of our names that we did not make is refused by every operation."""
    statements = ["CREATE TABLE tasks (x integer)", "INSERT INTO tasks VALUES (1)"]
    if stamped:
        statements.append(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
    execute(empty_url, *statements)
    database = open_database(empty_url)
    for attempt in (
        migrate.check,
        migrate.status,
        migrate.history,
        migrate.upgrade,
        migrate.downgrade,
    ):
        with pytest.raises(SchemaForeign, match="taskdb did not make: tasks") as caught:
            attempt(database)
        assert "of its own" in caught.value.hint
    assert execute(empty_url, "SELECT x FROM tasks") == [(1,)]
    assert "users" not in tables(database)


def test_another_applications_migrations_are_left_alone(empty_url):
    """Tables of an application, Alembic's own among them, survive our way up and down."""
    execute(
        empty_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "CREATE TABLE orders (id integer)",
        "INSERT INTO orders VALUES (7)",
    )
    database = open_database(empty_url)
    migrate.upgrade(database)
    migrate.check(database)
    migrate.downgrade(database, to="base")
    assert execute(empty_url, "SELECT version_num FROM alembic_version") == [("theirs",)]
    assert execute(empty_url, "SELECT id FROM orders") == [(7,)]


NO_CHECK = r"CONSTRAINT tasks_priority_known CHECK \(.*?\),"
DROP = "ALTER TABLE tasks DROP CONSTRAINT"
FOREIGN_KEY = "FOREIGN KEY (user_id) REFERENCES users (id)"

# What somebody did by hand: a name, how on SQLite and on PostgreSQL, and what the check says of it.
DRIFTS = [
    (
        "a constraint dropped",
        ("tasks", NO_CHECK, ""),
        "ALTER TABLE tasks DROP CONSTRAINT tasks_priority_known",
        "constraint tasks_priority_known is missing",
    ),
    (
        "a constraint weakened",
        ("tasks", "priority BETWEEN 1 AND 4", "priority BETWEEN 1 AND 9"),
        f"{DROP} tasks_priority_known, ADD CONSTRAINT tasks_priority_known CHECK (priority BETWEEN 1 AND 9)",
        "constraint tasks_priority_known is ",
    ),
    (
        "a constraint added",
        ("tasks", NO_CHECK, r"\g<0> CONSTRAINT by_hand CHECK (priority > 0),"),
        "ALTER TABLE tasks ADD CONSTRAINT by_hand CHECK (priority > 0)",
        "constraint by_hand is not of taskdb",
    ),
    (
        "the foreign key dropped",
        ("tasks", r"CONSTRAINT tasks_user_id_fkey .*?,", ""),
        "ALTER TABLE tasks DROP CONSTRAINT tasks_user_id_fkey",
        "constraint tasks_user_id_fkey is missing",
    ),
    (
        "the cascade dropped",
        ("tasks", " ON DELETE CASCADE", ""),
        f"{DROP} tasks_user_id_fkey, ADD CONSTRAINT tasks_user_id_fkey {FOREIGN_KEY}",
        "constraint tasks_user_id_fkey is ",
    ),
    (
        "a unique constraint dropped",
        ("users", r"CONSTRAINT users_email_key UNIQUE \(email\),", ""),
        "ALTER TABLE users DROP CONSTRAINT users_email_key",
        "constraint users_email_key is missing",
    ),
    (
        "the primary key dropped",
        ("tasks", " PRIMARY KEY AUTOINCREMENT", ""),
        "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey",
        "primary key of tasks is [], not ['id']",
    ),
    (
        "a column added",
        "ALTER TABLE tasks ADD COLUMN note TEXT",
        "ALTER TABLE tasks ADD COLUMN note TEXT",
        "column tasks.note is not of taskdb",
    ),
    (
        "a column renamed",
        "ALTER TABLE tasks RENAME COLUMN title TO label",
        "ALTER TABLE tasks RENAME COLUMN title TO label",
        "column tasks.title is missing",
    ),
    (
        "a column that may be null",
        ("tasks", "title TEXT NOT NULL", "title TEXT"),
        "ALTER TABLE tasks ALTER COLUMN title DROP NOT NULL",
        "column tasks.title is ",
    ),
    (
        "a column of another type",
        ("tasks", "version INTEGER", "version ANY"),
        "ALTER TABLE tasks ALTER COLUMN version TYPE bigint",
        "column tasks.version is ",
    ),
    (
        "a column with a default",
        ("tasks", "version INTEGER", "version INTEGER DEFAULT 1"),
        "ALTER TABLE tasks ALTER COLUMN version SET DEFAULT 1",
        "column tasks.version is ",
    ),
    (
        "ids that the engine does not give out",
        ("users", " AUTOINCREMENT", ""),
        "ALTER TABLE users ALTER COLUMN id DROP IDENTITY",
        "users",
    ),
    (
        "values of any type, or text in another order",
        ("users", r"\sSTRICT", ""),
        'ALTER TABLE users ALTER COLUMN name TYPE text COLLATE "default"',
        "users",
    ),
    (
        "an index added",
        "CREATE INDEX by_hand ON tasks (title)",
        "CREATE INDEX by_hand ON tasks (title)",
        "index by_hand is not of taskdb",
    ),
    ("a table dropped", "DROP TABLE tasks", "DROP TABLE tasks", "table tasks is missing"),
]


@pytest.mark.parametrize(
    ("on_sqlite", "on_postgresql", "words"),
    [drift[1:] for drift in DRIFTS],
    ids=[drift[0] for drift in DRIFTS],
)
def test_drift_is_named(database, url, on_sqlite, on_postgresql, words):
    """Every change that was made by hand is found and named, and nothing else is."""
    migrate.check(database)
    if url.drivername != "sqlite":
        execute(url, on_postgresql)
    elif isinstance(on_sqlite, str):
        execute(url, on_sqlite)
    else:
        rebuild(url, *on_sqlite)
    with pytest.raises(SchemaDrift) as caught:
        migrate.check(database)
    assert words in caught.value.message
    assert "by hand" in caught.value.hint


def test_a_table_rebuilt_as_it_was_is_no_drift(empty_url, engine):
    """The same table made anew, by the SQL of its own definition, equals the models."""
    execute_script(empty_url, migrate.offline_sql("sqlite" if engine == "sqlite" else "postgresql"))
    database = open_database(empty_url)
    assert migrate.check(database).current == HEAD


def execute_script(url, script):
    """Run SQL as a reviewer would, statement by statement."""
    execute(url, *[statement for statement in script.split(";\n") if statement.strip()])


def test_looking_changes_nothing(empty_url):
    """Status, history and check leave an empty database empty."""
    database = open_database(empty_url)
    if empty_url.drivername == "sqlite":
        # A file with nothing in it but SQLite's header; without that it would count as missing.
        with closing(sqlite3.connect(str(empty_url.database))) as connection:
            connection.execute("VACUUM")
    assert migrate.status(database).current is None
    assert not any(step.applied for step in migrate.history(database))
    with pytest.raises(SchemaBehind, match="no tables yet"):
        migrate.check(database)
    assert tables(database) == set()


@pytest.mark.parametrize("revision", ["nonsense", "+99", "+x", "0001:head", "", "--yess", "-x"])
def test_an_unknown_revision_is_refused(database, empty_url, revision):
    """A revision that does not exist is bad input, in each direction, before anything is made."""
    for move in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(InvalidInput):
            move(database, to=revision)
    assert migrate.check(database).current == HEAD


def test_an_unknown_revision_makes_no_file(tmp_path):
    """A mistyped revision does not leave an empty SQLite database behind."""
    from sqlalchemy import make_url

    path = tmp_path / "d.sqlite3"
    with pytest.raises(InvalidInput):
        migrate.upgrade(open_database(make_url(f"sqlite:///{path}")), to="nonsense")
    assert not path.exists()
    with pytest.raises(DatabaseMissing):
        migrate.status(open_database(make_url(f"sqlite:///{path}")))


TEN = " UNION ALL ".join(["SELECT 1"] * 10)


def test_what_a_downgrade_loses_is_told(database, url, chain):
    """The revisions on the way say it, the newest first, and how much it is; dropped indexes lose nothing."""
    insert_rows(url)
    write_revision(
        chain,
        "9001",
        after=HEAD,
        upgrade='op.create_table("labels", sa.Column("name", sa.Text))',
        downgrade='op.drop_table("labels")',
        loses={"all labels": "SELECT count(*) FROM labels", "a habit": None},
    )
    migrate.upgrade(database)
    many = "SELECT t.title FROM tasks t" + "".join(f", ({ten}) AS t{n}" for n, ten in enumerate([TEN] * 4))
    execute(url, f"INSERT INTO labels {many}")
    assert migrate.preview_downgrade(database).losses == ["all labels (10,000)", "a habit"]
    found = migrate.preview_downgrade(database, to="base").losses
    assert found[:2] == ["all labels (10,000)", "a habit"]
    assert found[-2:] == ["all users (1)", "all tasks (1)"]
    for word in ("identity", "backups"):
        assert any(word in loss for loss in found), word
    assert not any("tokens" in loss for loss in found), "there are none to lose"
    execute(url, "ALTER TABLE labels RENAME TO marks")
    assert migrate.preview_downgrade(database).losses == ["all labels", "a habit"]
    execute(url, "ALTER TABLE marks RENAME TO labels")
    migrate.downgrade(database, to="0002")
    assert migrate.preview_downgrade(database).losses == []


@pytest.mark.parametrize("revision", CHAIN)
def test_each_revision_declares_what_its_downgrade_loses(revision):
    """LOSES says something if, and only if, the way back drops or changes rows."""
    step = revisions().get_revision(revision)
    sql = migrate.offline_sql("postgresql", revision_range=f"{revision}:{step.down_revision or 'base'}")
    ours = [line for line in sql.splitlines() if VERSION_TABLE not in line]
    taken = [line for line in ours if re.search(r"DROP (TABLE|COLUMN)|DELETE|UPDATE|TRUNCATE", line)]
    assert bool(step.module.LOSES) == bool(taken)


def test_a_preview_of_no_downgrade(database, url):
    """A way to where the database stands is none; one that does not exist is bad input."""
    found = migrate.preview_downgrade(database, to=HEAD)
    assert (found.current, found.end, found.losses) == (HEAD, HEAD, [])
    for nowhere in ("-99", "nonsense"):
        with pytest.raises(InvalidInput):
            migrate.preview_downgrade(database, to=nowhere)


def test_something_is_done_before_rows_are_touched(database, url, chain):
    """Before the first of the revisions, once, if there are rows and something to do; in each direction."""
    seen = []

    def before(given):
        assert given is database
        seen.append((migrate.status(given).current, execute(url, "SELECT title FROM tasks")))

    write_revision(chain, "9001", after=HEAD, upgrade="op.execute(\"UPDATE tasks SET title = 'Changed'\")")
    write_revision(chain, "9002", after="9001", upgrade="pass")
    migrate.upgrade(database, to="9001", before=before)
    migrate.downgrade(database, before=before)
    assert seen == []
    insert_rows(url)
    migrate.upgrade(database, before=before)
    assert seen == [(HEAD, [("Write",)])]
    migrate.upgrade(database, before=before)
    migrate.downgrade(database, to="9002", before=before)
    assert len(seen) == 1
    migrate.downgrade(database, to=HEAD, before=before)
    assert seen[1:] == [("9002", [("Changed",)])]


def test_what_fails_before_stops_the_migration(database, url, chain):
    """When what must be done before cannot be, nothing is migrated."""

    def fail(_):
        raise TaskdbError("no backup")

    insert_rows(url)
    write_revision(chain, "9001", after=HEAD, upgrade="pass")
    for move in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(TaskdbError, match="no backup"):
            move(database, before=fail)
    assert migrate.status(database).current == HEAD


def test_an_empty_database_needs_nothing_before(empty_url):
    """There is nothing to save in a database that was just made."""
    migrate.upgrade(open_database(empty_url), before=pytest.fail)


def test_downgrading_below_nothing_is_refused(database):
    """More steps down than the database has taken are bad input, and change nothing."""
    with pytest.raises(InvalidInput):
        migrate.downgrade(database, to="-99")
    assert migrate.check(database).current == HEAD


def test_sql_of_a_range(chain):
    """A range gives the steps between two revisions only."""
    write_revision(chain, "9001", after=HEAD, upgrade='op.execute("SELECT 9001")')
    for dialect in ("sqlite", "postgresql"):
        text = migrate.offline_sql(dialect, revision_range=f"{HEAD}:head")
        assert "SELECT 9001" in text
        assert "CREATE TABLE" not in text
        assert "SELECT 9001" not in migrate.offline_sql(dialect, revision_range=HEAD)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_sql_of_a_way_back(dialect):
    """A range whose end is older gives the SQL of the downgrade, also to nothing."""
    text = migrate.offline_sql(dialect, revision_range="head:base")
    assert "DROP TABLE tasks" in text
    assert "CREATE" not in text
    indexes = migrate.offline_sql(dialect, revision_range="0002:0001")
    assert "DROP INDEX" in indexes
    assert "DROP TABLE" not in indexes
    for nowhere in ("0001:0001", "base:base"):
        assert "DROP" not in migrate.offline_sql(dialect, revision_range=nowhere)


@pytest.mark.parametrize(
    "revision_range", ["nonsense", "a:b", "0001:", ":0001", "a:b:c", "", ":", "-1", "head:-1"]
)
def test_sql_of_no_range_is_refused(revision_range):
    """What is no range of revisions is bad input."""
    with pytest.raises(InvalidInput):
        migrate.offline_sql("sqlite", revision_range=revision_range)


def test_autogenerate_finds_nothing_to_do(isolated, url, monkeypatch):
    """Alembic, as a maintainer runs it in a checkout, sees no difference between models and head."""
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    said = StringIO()
    command.check(Config(migrations_directory().parent / "alembic.ini", stdout=said))
    assert "No new upgrade operations" in said.getvalue()


def test_every_database_gets_an_identity_of_its_own(new_url):
    """Two databases that were migrated differ, rows or not, and an upgrade at head keeps it."""
    urls = [new_url(migrated=False), new_url(migrated=False)]
    for url in urls:
        migrate.upgrade(open_database(url), to="0003")
        insert_rows(url)
    found = []
    for url in urls:
        migrate.upgrade(open_database(url))
        [(identity,)] = execute(url, "SELECT identity FROM taskdb_identity")
        assert str(uuid.UUID(identity)) == identity
        migrate.upgrade(open_database(url))
        assert execute(url, "SELECT identity FROM taskdb_identity") == [(identity,)]
        found.append(identity)
    assert len(set(found)) == 2


def test_an_identity_that_was_deleted_is_drift(database, url):
    """`migrate check` misses the row that says which database this is."""
    execute(url, "DELETE FROM taskdb_identity")
    with pytest.raises(SchemaDrift, match="taskdb_identity"):
        migrate.check(database)


def test_a_new_database_holds_nothing_to_back_up(empty_url):
    """The row of identity alone makes no migration take a backup."""
    database = open_database(empty_url)
    migrate.upgrade(database)
    migrate.downgrade(database, to="0003", before=pytest.fail)
    migrate.upgrade(database, before=pytest.fail)
