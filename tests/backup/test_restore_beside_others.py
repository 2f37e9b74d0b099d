"""Restores into databases whose tables other applications depend on: they work, or are refused before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskdb_cli.backup import restore
from taskdb_cli.database.schema import ARCHIVED_TABLES
from taskdb_cli.errors import Conflict, NotPermitted, TaskdbError
from taskdb_cli.services import migrate
from tests.conftest import SERVERS, TaskdbCommand, open_database
from tests.contents import fill, hashes
from tests.schemas import execute

# The suite has time for one server.
SOAK = os.environ.get("TASKDB_SOAK") == "1"
SOME_SERVERS = SERVERS if SOAK else SERVERS[-1:]
MANY = 60_000 if SOAK else 12_000
POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SOME_SERVERS, indirect=True)
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

BY_USER = (
    "SELECT users.id, users.email, users.name, count(*) FROM users JOIN tasks ON tasks.user_id = users.id"
)
PREVENT = (
    "CREATE FUNCTION prevent() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'rows of % stay', TG_TABLE_NAME; END $$"
)

# Statements end with a semicolon at the end of a line.
WORKING = {
    "nothing": "SELECT 1",
    "a view that groups by a key": f"CREATE VIEW seen AS {BY_USER} GROUP BY users.id",
    "a materialized view": "CREATE MATERIALIZED VIEW seen AS SELECT id, title FROM tasks GROUP BY id",
    "a rule": """
        CREATE VIEW v AS SELECT * FROM users;
        CREATE RULE r AS ON DELETE TO v DO INSTEAD NOTHING
    """,
    "foreign keys without rows": """
        CREATE SCHEMA shop;
        CREATE TABLE shop.bills (
            owner text REFERENCES users (email) ON UPDATE CASCADE ON DELETE CASCADE,
            task bigint REFERENCES tasks ON DELETE RESTRICT,
            other bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED
        );
        INSERT INTO shop.bills VALUES (NULL, NULL, NULL)
    """,
    "a foreign key of a partitioned table": """
        CREATE TABLE bills (task bigint REFERENCES tasks, at date) PARTITION BY RANGE (at);
        CREATE TABLE bills_now PARTITION OF bills FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        INSERT INTO bills VALUES (NULL, '2026-05-05')
    """,
    "publications": """
        CREATE PUBLICATION all_of_it FOR ALL TABLES;
        CREATE PUBLICATION part FOR TABLE users (id, email) WHERE (id > 3), tasks (id, title)
    """,
    "a replica identity": """
        CREATE PUBLICATION one FOR TABLE users;
        ALTER TABLE users REPLICA IDENTITY USING INDEX users_email_key;
        ALTER TABLE tasks REPLICA IDENTITY USING INDEX tasks_pkey
    """,
    "no replica identity of a table that is truncated": """
        CREATE PUBLICATION one FOR TABLE tasks;
        ALTER TABLE tasks REPLICA IDENTITY NOTHING
    """,
    "marks": """
        ALTER TABLE tasks CLUSTER ON tasks_user_due;
        ALTER TABLE users CLUSTER ON users_pkey;
        COMMENT ON CONSTRAINT tasks_user_id_fkey ON tasks IS 'kept';
        COMMENT ON CONSTRAINT tasks_pkey ON tasks IS 'kept';
        COMMENT ON INDEX tasks_created IS 'kept';
        ALTER INDEX tasks_user_created SET (fillfactor = 70);
        ALTER INDEX users_email_key SET (fillfactor = 70);
        ALTER TABLE tasks ALTER CONSTRAINT tasks_user_id_fkey DEFERRABLE INITIALLY DEFERRED
    """,
    "indexes and constraints of an administrator": """
        CREATE FUNCTION folded(given text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(given)';
        CREATE INDEX CONCURRENTLY by_folded ON tasks (folded(title), (priority + 1)) WHERE status <> '{a}';
        ALTER INDEX by_folded ALTER COLUMN 1 SET STATISTICS 500;
        CREATE UNIQUE INDEX by_id ON tasks USING btree (id DESC) INCLUDE (title);
        ALTER TABLE tasks ADD CONSTRAINT "Once%" UNIQUE NULLS NOT DISTINCT (id, external_id);
        ALTER TABLE users ADD CONSTRAINT apart EXCLUDE (email WITH =);
        CREATE STATISTICS s ON user_id, status FROM tasks
    """,
    "a column of the type of a table": "CREATE TABLE kept (task tasks)",
    "functions and policies": """
        CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(title) FROM tasks GROUP BY id; END;
        CREATE FUNCTION put(e text) RETURNS void BEGIN ATOMIC
            INSERT INTO users (email, name, is_active, version, created_at, updated_at)
            VALUES (e, e, true, 1, now(), now()) ON CONFLICT ON CONSTRAINT users_email_key DO NOTHING; END;
        CREATE POLICY p ON tasks USING (user_id > 0)
    """,
    "triggers that may wait": """
        CREATE TABLE seen (id bigint);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN INSERT INTO seen VALUES (1); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (old.id = 1) EXECUTE FUNCTION see()
    """,
    "an empty heir": "CREATE TABLE old_tasks () INHERITS (tasks)",
    "a parent": """
        CREATE TABLE base (LIKE tasks);
        ALTER TABLE tasks INHERIT base
    """,
    "truncation that is forbidden": f"""
        {PREVENT};
        CREATE TRIGGER stay BEFORE TRUNCATE ON tasks EXECUTE FUNCTION prevent()
    """,
    "dropping that is forbidden": """
        CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE EVENT TRIGGER no ON sql_drop EXECUTE FUNCTION no();
        CREATE EVENT TRIGGER nothing ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION no()
    """,
}

REFUSED = {
    "a foreign key with rows": (
        """
        CREATE SCHEMA shop;
        CREATE TABLE shop."Bills, 5 %" (id int, owner bigint REFERENCES users ON DELETE CASCADE);
        INSERT INTO shop."Bills, 5 %" VALUES (1, 1)
        """,
        'shop."Bills, 5 %"',
    ),
    "a reference by a unique constraint": (
        """
        CREATE TABLE bills (owner text REFERENCES users (email) ON DELETE SET NULL);
        INSERT INTO bills VALUES ('user1@example.com')
        """,
        "public.bills",
    ),
    "a reference that is checked later": (
        """
        CREATE TABLE bills (task bigint REFERENCES tasks DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO bills VALUES (NULL), (2)
        """,
        "public.bills",
    ),
    "a partition with rows": (
        """
        CREATE TABLE bills (task bigint REFERENCES tasks, at date) PARTITION BY RANGE (at);
        CREATE TABLE bills_now PARTITION OF bills FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        INSERT INTO bills VALUES (1, '2026-05-05')
        """,
        "public.bills_now",
    ),
    "a reference to an access token": (
        """
        INSERT INTO access_tokens (name, token_hash, scope, user_id, created_at)
        VALUES ('a', repeat('0', 64), 'read', 1, now());
        CREATE TABLE uses (token bigint REFERENCES access_tokens ON DELETE CASCADE);
        INSERT INTO uses SELECT id FROM access_tokens
        """,
        "public.uses",
    ),
    "an heir with rows": (
        """
        CREATE TABLE old_tasks () INHERITS (tasks);
        INSERT INTO old_tasks SELECT * FROM tasks WHERE id = 1
        """,
        "public.old_tasks",
    ),
    "a trigger that forbids": (
        f"""
        {PREVENT};
        CREATE TRIGGER stay BEFORE DELETE ON users
            FOR EACH ROW WHEN (old.id = 3) EXECUTE FUNCTION prevent()
        """,
        "trigger stay",
    ),
    "a rule that does nothing": ("CREATE RULE stay AS ON DELETE TO users DO INSTEAD NOTHING", "rule stay"),
    "no replica identity": (
        """
        CREATE PUBLICATION news FOR TABLE users;
        ALTER TABLE users REPLICA IDENTITY NOTHING
        """,
        "publication news",
    ),
    "a filter beyond the replica identity": (
        "CREATE PUBLICATION news FOR TABLE users WHERE (is_active)",
        "publication news",
    ),
    "a trigger that forbids inserts": (
        f"""
        {PREVENT};
        CREATE TRIGGER stay BEFORE INSERT ON tasks EXECUTE FUNCTION prevent()
        """,
        "rows of tasks stay",
    ),
}

SQLITE_WORKING = {
    "a view": "CREATE VIEW seen AS SELECT user_id, count(*) FROM tasks GROUP BY user_id",
    "foreign keys without rows": """
        CREATE TABLE bills (owner text REFERENCES Users (email), task REFERENCES tasks ON DELETE CASCADE);
        INSERT INTO bills VALUES (NULL, NULL)
    """,
    "a foreign key to an index of others": """
        CREATE UNIQUE INDEX by_title ON tasks (title);
        CREATE TABLE bills (title text REFERENCES tasks (title) DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO bills VALUES (NULL)
    """,
    "a trigger": """
        CREATE TABLE seen (id);
        CREATE TRIGGER see AFTER DELETE ON tasks BEGIN INSERT INTO seen VALUES (old.id); END
    """,
}

SQLITE_REFUSED = {
    "rows that would go along": (
        """
        CREATE TABLE "my bills" (owner REFERENCES users ON DELETE CASCADE);
        INSERT INTO "my bills" VALUES (1)
        """,
        "my bills",
    ),
    "a reference by a unique constraint": (
        """
        CREATE TABLE bills (owner text REFERENCES USERS (email) ON DELETE SET NULL);
        INSERT INTO bills VALUES ('user1@example.com')
        """,
        "bills",
    ),
    "a trigger that forbids": (
        "CREATE TRIGGER stay BEFORE DELETE ON users WHEN old.id = 3 BEGIN SELECT RAISE(ABORT, 'no'); END",
        "trigger stay",
    ),
    "a trigger that ignores": (
        "CREATE TRIGGER stay BEFORE DELETE ON tasks WHEN old.id = 3 BEGIN SELECT RAISE(IGNORE); END",
        "trigger stay",
    ),
    "a trigger that is broken": (
        "CREATE TRIGGER stay AFTER DELETE ON tasks BEGIN DELETE FROM nowhere; END",
        "nowhere",
    ),
    "a foreign key to nothing unique": ("CREATE TABLE bills (title text REFERENCES tasks (title))", "bills"),
}

# Everything that dropping and making again could lose.
CATALOG = """
    SELECT conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint'),
        concat(convalidated, conindid::regclass)
    FROM pg_constraint WHERE conrelid IN ('users'::regclass, 'tasks'::regclass)
    UNION ALL
    SELECT relname, pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class'), concat(
        indexrelid::regclass, indisvalid, indisclustered, indisreplident, reltablespace, reloptions,
        (SELECT string_agg(attstattarget::text, ',') FROM pg_attribute WHERE attrelid = indexrelid)
    )
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid IN ('users'::regclass, 'tasks'::regclass)
    UNION ALL
    SELECT relname, relreplident::text, NULL, NULL FROM pg_class
    WHERE oid IN ('users'::regclass, 'tasks'::regclass)
    ORDER BY 1, 2
"""


def catalog(url) -> list[tuple]:
    """Return all that the database says of our constraints and indexes, those of others included."""
    if url.drivername == "sqlite":
        return execute(url, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
    return execute(url, CATALOG)


def run(url, script: str) -> None:
    execute(url, *script.strip().split(";\n"))


@pytest.fixture
def source(make_url_of):
    """A database with other rows than the one of the test."""
    url = make_url_of("sqlite")
    fill(url, users=15, tasks=400)
    return open_database(url)


@pytest.fixture
def nothing(make_url_of):
    """A database without rows."""
    return open_database(make_url_of("sqlite"))


def works(url, database, *sources) -> None:
    """Bring in the rows of each source in turn, and look at everything that should be as it was."""
    before = catalog(url)
    restore.rehearse(database)
    assert catalog(url) == before
    for source in sources:
        restore.restore(database, source, replace=True, safety=lambda content: content.counts())
        assert hashes(database) == hashes(source)
        assert catalog(url) == before


@POSTGRESQL_ONLY
@pytest.mark.parametrize("case", WORKING)
def test_what_others_depend_on_stays(url, database, source, nothing, case):
    """A restore works, and leaves every key, index, mark and comment as it was, those of others included."""
    fill(url, users=20, tasks=500)
    run(url, WORKING[case])
    works(url, database, source, nothing, source)
    if case == "nothing":
        migrate.check(database)


@SQLITE_ONLY
@pytest.mark.parametrize("case", SQLITE_WORKING)
def test_what_others_have_in_the_file_stays(url, database, source, nothing, case):
    """A restore works beside views, triggers and foreign keys of others that keep no row."""
    fill(url, users=20, tasks=500)
    run(url, SQLITE_WORKING[case])
    works(url, database, source, nothing, source)


def refused(taskdb: TaskdbCommand, url, shelf: Path, script: str, named: str) -> None:
    """Let a restore, its dry run and a copy be refused, and see that nothing has changed."""
    fill(url, users=20, tasks=500)
    taskdb("backup")
    run(url, script)
    database = open_database(url)
    before, files, made = hashes(database), sorted(shelf.iterdir()), catalog(url)
    text = url.render_as_string(hide_password=False)
    other = f"sqlite:///{shelf.parent / 'other.sqlite3'}"
    taskdb("--database-url", other, "restore", "latest")
    for words in (
        ("restore", "latest", "--replace", "--yes"),
        ("restore", "latest", "--replace", "--dry-run"),
        ("--database-url", other, "copy", "--to", text, "--replace", "--yes"),
        ("--database-url", other, "copy", "--to", text, "--replace", "--dry-run"),
    ):
        failed = taskdb(*words, expect=4)
        assert failed.err.count("\n") == 1, failed
        assert named in failed.err
        assert hashes(database) == before
        assert sorted(shelf.iterdir()) == files
        assert catalog(url) == made


@POSTGRESQL_ONLY
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_replaced_is_refused_before(taskdb, url, shelf, case):
    """Rows of others that refer to ours, and rows that stay: 4 with the names, before any archive is made."""
    refused(taskdb, url, shelf, *REFUSED[case])


@SQLITE_ONLY
@pytest.mark.parametrize("case", SQLITE_REFUSED)
def test_what_cannot_be_replaced_in_a_file(taskdb, url, shelf, case):
    """The same of a file."""
    refused(taskdb, url, shelf, *SQLITE_REFUSED[case])


@pytest.mark.soak
@POSTGRESQL_ONLY
def test_many_rows_beside_a_view_and_a_foreign_key(url, database, make_url_of):
    """Many tasks come in through the keys that others need; new ids follow the highest."""
    source = make_url_of("sqlite")
    fill(source, users=200, tasks=MANY)
    fill(url, users=300, tasks=MANY)
    for case in ("a view that groups by a key", "functions and policies", "foreign keys without rows"):
        run(url, WORKING[case])
    restore.restore(database, open_database(source), replace=True, safety=lambda content: content.counts())
    assert hashes(database) == hashes(open_database(source))
    [(next_id,)] = execute(url, "SELECT nextval(pg_get_serial_sequence('tasks', 'id'))")
    assert next_id == MANY + 1
    assert execute(url, "SELECT count(*) FROM seen") == [(200,)]


@POSTGRESQL_ONLY
def test_an_invalid_index_is_valid_afterwards(url, database, source):
    """An index that an administrator failed to build stays, and is built from the rows that come in."""
    fill(url, users=20, tasks=500)
    execute(url, "CREATE INDEX broken ON tasks (title)")
    execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass")
    restore.restore(database, source, replace=True)
    assert execute(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'broken'::regclass") == [(True,)]


@POSTGRESQL_ONLY
def test_a_rule_of_others_is_not_the_fault_of_the_rows(url, database, source):
    """A unique index of an administrator that refuses a row is named (4), and the archive is not blamed."""
    execute(url, "CREATE UNIQUE INDEX once ON tasks (user_id)")
    with pytest.raises(Conflict, match="once"):
        restore.restore(database, source)
    assert hashes(database)["tasks"][0] == 0


@POSTGRESQL_ONLY
def test_a_role_that_owns_nothing(url, source, nothing):
    """A role with the rights on rows restores through the keys; without one of them it is told which."""
    fill(url, users=20, tasks=500)
    role = f"taskdb_{url.database}"
    database = open_database(url.set(username=role))
    execute(
        url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT INSERT ON {', '.join(ARCHIVED_TABLES)} TO {role}",
        f"GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    try:
        with pytest.raises(TaskdbError, match="lacks DELETE ON users") as failure:
            restore.restore(database, source, replace=True, safety=lambda _: pytest.fail("too late"))
        assert failure.value.exit_code == 1
        assert "GRANT DELETE ON tasks TO" in failure.value.hint
        execute(url, f"GRANT DELETE ON {', '.join(ARCHIVED_TABLES)} TO {role}")
        restore.restore(database, source, replace=True, dry_run=True)
        assert execute(url, "SELECT pg_sequence_last_value('tasks_id_seq')") == [(None,)]
        works(url, database, source, nothing, source)
        assert execute(url, "SELECT nextval(pg_get_serial_sequence('tasks', 'id'))") == [(401,)]
        execute(
            url,
            "CREATE TABLE bills (owner bigint REFERENCES users)",
        )
        with pytest.raises(Conflict, match=r"public\.bills"):
            restore.restore(database, source, replace=True)
    finally:
        execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@POSTGRESQL_ONLY
def test_a_role_that_owns_some_tables(url, source):
    """A role that may delete the rows, but not make the keys again, is refused as one without a right."""
    fill(url, users=20, tasks=500)
    role = f"taskdb_{url.database}"
    execute(
        url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"ALTER TABLE tasks OWNER TO {role}",
    )
    before = hashes(open_database(url))
    try:
        limited = open_database(url.set(username=role))
        with pytest.raises(NotPermitted, match="permission denied for schema") as failure:
            restore.restore(limited, source, replace=True, safety=lambda _: pytest.fail("too late"))
        assert "nothing was changed" in failure.value.hint
        assert hashes(open_database(url)) == before
    finally:
        execute(
            url,
            f'REASSIGN OWNED BY "{role}" TO CURRENT_USER',
            f'DROP OWNED BY "{role}"',
            f'DROP ROLE "{role}"',
        )
