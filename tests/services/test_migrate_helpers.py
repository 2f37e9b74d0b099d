"""What revisions use on both engines: `migrations/helpers.py`."""

import pytest

from taskdb_cli.database.schema import OUR_TABLES, revisions
from taskdb_cli.errors import TaskdbError
from taskdb_cli.services import migrate
from tests.conftest import SERVERS, open_database
from tests.schemas import STAMP, execute, insert_rows, write_revision

HEAD = revisions().get_current_head()
INSERT = f"""
    INSERT INTO users (email, name, is_active, version, created_at, updated_at)
    VALUES ('{{}}@example.com', 'Ann', {{}}, 1, '{STAMP}', '{STAMP}')
"""


def facts(database):
    """What the schema of the tables is, to the last detail."""
    with database.connect() as connection:
        return database.backend.facts(connection, OUR_TABLES)


def rename_check(old, new, at):
    return f"""
        with helpers.alter_table("users", at="{at}") as batch:
            batch.drop_constraint("{old}", type_="check")
            batch.create_check_constraint("{new}", "version >= 1")
    """


def test_a_table_is_rebuilt_as_it_was(database, url, chain):
    """A parent table is changed and changed back: its rows, their children, and all else stay."""
    insert_rows(url)
    active = "1" if url.drivername == "sqlite" else "true"
    execute(url, INSERT.format("gone", active), "DELETE FROM users WHERE email LIKE 'gone%'")
    before = facts(database)
    write_revision(
        chain,
        "9001",
        after=HEAD,
        upgrade=rename_check("users_version_positive", "users_version_counts", HEAD),
        downgrade=rename_check("users_version_counts", "users_version_positive", "9001"),
    )
    migrate.upgrade(database)
    assert set(before.items() ^ facts(database).items()) == {
        ("constraint users_version_positive", before["constraint users_version_positive"]),
        ("constraint users_version_counts", facts(database)["constraint users_version_counts"]),
    }
    migrate.downgrade(database)
    assert facts(database) == before
    assert execute(url, "SELECT users.id, title FROM users JOIN tasks ON user_id = users.id") == [
        (1, "Write")
    ]
    execute(url, INSERT.format("new", active))
    assert execute(url, "SELECT id FROM users ORDER BY id") == [(1,), (3,)]


def test_a_table_that_gave_out_all_its_ids_and_has_no_row(database, url, chain):
    """The highest id is remembered by an empty table too, and a rule inside of a column stays there."""
    columns = "(name, token_hash, scope, created_at)"
    row = f"VALUES ('a', '{'0' * 64}', 'read', '{STAMP}')"
    insert = f"INSERT INTO access_tokens {columns} {row}"
    execute(url, insert, "DELETE FROM access_tokens")
    write_revision(
        chain,
        "9001",
        after=HEAD,
        upgrade=f'helpers.change_check("access_tokens", "access_tokens_scope_known", "true", at="{HEAD}")',
    )
    migrate.upgrade(database)
    execute(url, insert)
    assert execute(url, "SELECT id FROM access_tokens") == [(2,)]
    # These columns could not be dropped if their rules were rules of the table.
    migrate.downgrade(database, to="0004")


def test_the_printed_sql_does_the_same(database, url, empty_url, new_url, chain):
    """`migrate sql` prints the change of a table, from whichever revision it starts, and it does the same."""
    dialect = database.backend.dialect
    body = """
        helpers.add_column("tasks", "note", sa.Text(), helpers.check("note_time", "note != '00:00'"))
        helpers.create_index("tasks_note", "tasks", ["note"], where="note > '00:00'")
    """
    change = """helpers.change_check("users", "users_name_length", "length(name) <= {}", at="{}")"""
    write_revision(chain, "9001", after=HEAD, upgrade=body)
    write_revision(chain, "9002", after="9001", upgrade=change.format(300, "9001"))
    insert_rows(url)
    by_hand = new_url()
    insert_rows(by_hand)
    migrate.upgrade(database)
    for target, way in ((by_hand, f"{HEAD}:9002"), (empty_url, "head")):
        script = migrate.offline_sql(dialect, revision_range=way)
        assert script == migrate.offline_sql(dialect, revision_range=way)
        first = ["PRAGMA foreign_keys = ON"] if url.drivername == "sqlite" else []
        execute(target, *first, *(each for each in script.split(";\n") if each.strip()))
        assert facts(open_database(target)) == facts(database)
        assert migrate.status(open_database(target)).current == "9002"
    assert execute(by_hand, "SELECT title FROM tasks") == [("Write",)]


def test_rows_that_break_a_new_rule(database, url, chain):
    """They are refused, and nothing is changed."""
    insert_rows(url)
    before = facts(database)
    change = f'helpers.change_check("users", "users_name_length", "length(name) <= 2", at="{HEAD}")'
    write_revision(chain, "9001", after=HEAD, upgrade=change)
    with pytest.raises(TaskdbError, match="users_name_length"):
        migrate.upgrade(database)
    assert facts(database) == before


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_an_index_that_was_left_invalid_is_built_again(database, url, chain):
    """A build beside writers that failed is repeated by the next run, and others are left as they are."""
    insert_rows(url)
    body = 'helpers.create_index("tasks_title", "tasks", ["title"], unique=True)'
    write_revision(chain, "9001", after=HEAD, upgrade=body)
    execute(
        url,
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        " SELECT user_id, title, status, priority, version, created_at, updated_at FROM tasks",
    )
    with pytest.raises(Exception, match="tasks_title"):
        migrate.upgrade(database)
    execute(url, "DELETE FROM tasks WHERE id = 2")
    migrate.upgrade(database)
    assert execute(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'tasks_title'::regclass") == [
        (True,)
    ]
