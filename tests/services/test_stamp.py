"""A version table that is missing or wrong, and how it is set right."""

import pytest
from sqlalchemy import inspect

from taskdb_cli.database.schema import OUR_TABLES, VERSION_TABLE
from taskdb_cli.errors import (
    DatabaseUnavailable,
    InvalidInput,
    SchemaAhead,
    SchemaBehind,
    SchemaDrift,
    SchemaForeign,
    SchemaForked,
    SchemaUnstamped,
)
from taskdb_cli.health.runner import run
from taskdb_cli.services import migrate
from taskdb_cli.services.stamp import stamp
from tests.conftest import NOW, SERVERS, connect, open_database
from tests.contents import fill
from tests.schemas import execute
from tests.services.test_migrate import CHAIN, DRIFTS, HEAD, rebuild
from tests.services.test_migrate_locks import hearing, patient

LOOKING = (migrate.status, migrate.history, migrate.check, migrate.upgrade, migrate.downgrade)
DROP = f"DROP TABLE {VERSION_TABLE}"
EMPTY = f"DELETE FROM {VERSION_TABLE}"


def stamps(url):
    """What the version table says."""
    return [row for (row,) in execute(url, f"SELECT version_num FROM {VERSION_TABLE} ORDER BY 1")]


def is_critical(url):
    """Whether health finds that the revision is wrong."""
    [found] = run(open_database(url), now=NOW, only=["revision"]).checks
    return str(found.status) == "critical"


@pytest.mark.parametrize(
    ("revision", "harm"), [(revision, EMPTY) for revision in CHAIN[:-1]] + [(HEAD, DROP)]
)
def test_a_revision_that_is_not_written_down(empty_url, revision, harm):
    """With rows, at each revision: everything names the command that writes it down, and that does."""
    database = open_database(empty_url)
    migrate.upgrade(database, to=revision)
    with database.connect() as connection:
        made = database.backend.facts(connection, [VERSION_TABLE])
    fill(empty_url, tasks=50)
    execute(empty_url, harm)
    for attempt in LOOKING:
        with pytest.raises(SchemaUnstamped) as caught:
            attempt(database)
        assert "migrate stamp" in caught.value.hint
    assert is_critical(empty_url)
    for other in {*CHAIN, "base"} - {revision}:
        with pytest.raises(SchemaDrift, match=f"revision {revision}, not"):
            stamp(database, to=other)
    found = stamp(database, to=revision)
    assert (found.before, found.revision, found.was_right) == ([], revision, False)
    assert stamps(empty_url) == [revision]
    with database.connect() as connection:
        assert database.backend.facts(connection, [VERSION_TABLE]) == made
    assert stamp(database, to=revision).was_right
    migrate.upgrade(database)
    assert migrate.check(database).current == HEAD
    assert execute(empty_url, "SELECT count(*) FROM tasks") == [(50,)]


@pytest.mark.parametrize(
    "rows",
    [["0001", HEAD], ["f00d", HEAD], ["0001", "0002"], ["f00d"], ["   "], ["0001"], ["a\nb"]],
    ids=repr,
)
def test_a_version_table_that_says_something_else(database, url, rows):
    """Whatever rows there are, exactly one is left: that of the tables."""
    execute(url, EMPTY, *(f"INSERT INTO {VERSION_TABLE} VALUES ('{row}')" for row in rows))
    if "f00d" in rows:
        with pytest.raises(SchemaAhead, match="f00d"):
            stamp(database)
        assert stamps(url) == sorted(rows)
    assert is_critical(url)
    stamp(database, to=HEAD)
    assert stamps(url) == [HEAD]
    assert migrate.check(database).current == HEAD


def test_garbage_in_the_version_table(database, url):
    """A row that is no revision is named in quotes, and is no newer version's."""
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '   '")
    for attempt in LOOKING:
        with pytest.raises(SchemaUnstamped, match="'   '"):
            attempt(database)
    assert not stamp(database).was_right


NOT_OURS = {
    "a view": [DROP, f"CREATE VIEW {VERSION_TABLE} AS SELECT '{HEAD}' AS version_num"],
    "other columns": [DROP, f"CREATE TABLE {VERSION_TABLE} (revision text)"],
    "no rule": [DROP, f"CREATE TABLE {VERSION_TABLE} (version_num text)"],
}


@pytest.mark.parametrize("name", ["a view", "other columns"])
def test_a_version_table_that_alembic_did_not_make(database, url, name):
    """It is named, and neither read nor written."""
    execute(url, *NOT_OURS[name])
    for attempt in (*LOOKING, stamp):
        with pytest.raises(SchemaForeign, match=VERSION_TABLE) as caught:
            attempt(database)
        assert "rename" in caught.value.hint
    assert is_critical(url)
    # What fails on the schema is diagnosed, which must come to an end.
    with pytest.raises(SchemaForeign, match=VERSION_TABLE):
        database.read(lambda session: session.connection().exec_driver_sql("SELECT x FROM users"))


def test_a_version_table_without_a_key(database, url):
    """Rows that Alembic's own table could not hold, no value and the same twice, are told and repaired."""
    execute(url, *NOT_OURS["no rule"], f"INSERT INTO {VERSION_TABLE} VALUES (NULL)")
    for attempt in LOOKING:
        with pytest.raises(SchemaUnstamped, match="None"):
            attempt(database)
    execute(url, f"INSERT INTO {VERSION_TABLE} VALUES ('{HEAD}'), ('{HEAD}')")
    for attempt in LOOKING:
        with pytest.raises(SchemaForked, match=f"None.*{HEAD}, {HEAD}"):
            attempt(database)
    stamp(database)
    assert stamps(url) == [HEAD]


@pytest.mark.parametrize(
    ("on_sqlite", "on_postgresql", "words"), [d[1:] for d in DRIFTS[::5]], ids=[d[0] for d in DRIFTS[::5]]
)
def test_tables_that_were_changed_are_not_stamped(database, url, on_sqlite, on_postgresql, words):
    """A difference from the revision is refused by name, and nothing is written."""
    execute(url, DROP)
    if url.drivername != "sqlite":
        execute(url, on_postgresql)
    elif isinstance(on_sqlite, str):
        execute(url, on_sqlite)
    else:
        rebuild(url, *on_sqlite)
    with pytest.raises(SchemaDrift) as caught:
        stamp(database)
    assert words in caught.value.message
    with database.connect() as connection:
        assert not inspect(connection).has_table(VERSION_TABLE)


def test_tables_of_others_are_not_stamped(empty_url):
    """A foreign `users` table stays foreign, and no error advises to stamp it."""
    execute(empty_url, "CREATE TABLE users (login text)")
    database = open_database(empty_url)
    for attempt in (*LOOKING, stamp):
        with pytest.raises(SchemaForeign, match="did not make") as caught:
            attempt(database)
        assert "stamp" not in caught.value.hint


def test_a_database_without_tables_is_not_stamped(empty_url):
    """It is migrated instead; a revision that outlived its tables can be taken back."""
    database = open_database(empty_url)
    migrate.upgrade(database)
    # The table that others refer to is dropped last.
    execute(empty_url, *(f"DROP TABLE {name}" for name in [*sorted(OUR_TABLES - {"users"}), "users"]))
    with pytest.raises(SchemaBehind, match="no tables"):
        stamp(database)
    assert stamp(database, to="base").before == [HEAD]
    assert stamps(empty_url) == []
    assert migrate.upgrade(database).current is None
    assert migrate.check(database).current == HEAD


@pytest.mark.parametrize("to", ["-1", "+1", "nonsense", ""])
def test_a_revision_that_cannot_be_meant(database, to):
    """Steps and unknown names are refused."""
    with pytest.raises(InvalidInput):
        stamp(database, to=to)


def test_a_large_database(database, url):
    """Rows do not matter: none is touched, and the log has one event."""
    fill(url, tasks=6000)
    execute(url, DROP)
    with hearing("taskdb.migrate", lambda: None) as listener:
        assert stamp(database).revision == HEAD
    assert listener.heard == [f"stamp: revision {HEAD}"]
    assert execute(url, "SELECT count(*) FROM tasks") == [(6000,)]


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
@pytest.mark.parametrize("lock", ["the migration lock", "the version table"])
def test_a_lock_that_somebody_holds(url, lock):
    """It is waited for, and told as unavailable (5); nothing is written."""
    execute(url, EMPTY)
    with connect(url) as other, other.transaction():
        if lock == "the migration lock":
            other.execute("SELECT pg_advisory_xact_lock_shared(%s)", (0x7461736B6462,))
        else:
            other.execute(f"LOCK TABLE {VERSION_TABLE} IN SHARE MODE")
        with pytest.raises(DatabaseUnavailable):
            stamp(patient(url, migration_wait=0))
    assert stamps(url) == []
    stamp(patient(url, migration_wait=0))
    assert stamps(url) == [HEAD]
