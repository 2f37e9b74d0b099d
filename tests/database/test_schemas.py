"""Which schema of a database is taskdb's, and tables of the same names that are not."""

import json
import sqlite3
from contextlib import closing

import pytest
from psycopg import sql

from tests.conftest import POOLERS, SERVERS, connect

ON_SERVERS = pytest.mark.parametrize("engine", [*SERVERS, *POOLERS], indirect=True)
ON_A_SERVER = pytest.mark.parametrize("engine", [SERVERS[-1]], indirect=True)

FOREIGN = """
CREATE TABLE {schema}users (id integer PRIMARY KEY, email text, name text, is_active integer);
CREATE TABLE {schema}tasks (id integer PRIMARY KEY, user_id integer, title text, status text);
INSERT INTO {schema}users VALUES (1, 'ann@example.com', 'Ann', 1);
INSERT INTO {schema}tasks VALUES (7, 1, 'another program', 'todo');
"""

COMMANDS = [
    ("task", "list"),
    ("task", "list", "--count"),
    ("task", "show", "7"),
    ("task", "delete", "7", "--yes"),
    ("task", "export"),
    ("user", "list", "--count"),
    ("user", "create", "--email", "bob@example.com", "--name", "Bob"),
    ("stats",),
    ("token", "list"),
    ("migrate",),
    ("migrate", "check"),
]


def make_foreign(url, schema=""):
    """Make tables of our names as another program has them."""
    script = FOREIGN.format(schema=schema)
    if url.drivername == "sqlite":
        with closing(sqlite3.connect(url.database)) as connection:
            connection.executescript(script)
    else:
        with connect(url) as connection:
            connection.execute(script)


def run_sql(url, *statements):
    """Run statements of an administrator."""
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def set_path(url, path):
    """Set the search path of a database."""
    run_sql(url, f'ALTER DATABASE "{url.database}" SET search_path = {path}')


@pytest.mark.parametrize("engine", ["sqlite", *SERVERS, *POOLERS], indirect=True)
def test_the_tables_of_another_program_are_not_read(bare_taskdb, use, empty_url, tmp_path):
    """Every command on them is refused with exit 6, whatever columns they have."""
    use(empty_url)
    make_foreign(empty_url)
    for command in (*COMMANDS, ("backup", "--dir", tmp_path)):
        refused = bare_taskdb(*command, expect=6)
        assert "tasks" in refused.err
        assert refused.out == ""


@ON_SERVERS
def test_the_version_table_tells_the_schema(taskdb, url):
    """Tables of another program that come first in the search path are not in the way, and not touched."""
    run_sql(url, "CREATE SCHEMA shop")
    make_foreign(url, "shop.")
    set_path(url, "nowhere, shop, public")
    taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    taskdb("task", "create", "--user", "bob@example.com", "Ours")
    assert taskdb("task", "list", "--count").out.strip() == "1"
    taskdb("migrate", "check")
    with connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM shop.users").fetchone() == (1,)
        assert connection.execute("SELECT title FROM public.tasks").fetchall() == [("Ours",)]


@ON_SERVERS
def test_new_tables_go_to_the_first_schema(bare_taskdb, use, empty_url):
    """Without a version table the first schema of the search path counts, and tables behind it do not."""
    use(empty_url)
    make_foreign(empty_url)
    run_sql(empty_url, "CREATE SCHEMA ours")
    set_path(empty_url, "ours, public")
    bare_taskdb("task", "list", "--count", expect=6)
    bare_taskdb("migrate")
    bare_taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    with connect(empty_url) as connection:
        assert connection.execute("SELECT count(*) FROM ours.users").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM public.users").fetchone() == (1,)


@ON_SERVERS
@pytest.mark.parametrize("path", ["nowhere", "''", "pg_temp", "pg_catalog"])
def test_a_search_path_that_leads_nowhere(bare_taskdb, use, empty_url, path):
    """Nothing is made in a schema that vanishes, or that is the server's own."""
    use(empty_url)
    set_path(empty_url, path)
    for command in (["migrate"], ["task", "list"]):
        assert "--schema" in bare_taskdb(*command, expect=6).err
    bare_taskdb("--schema", "public", "migrate")
    bare_taskdb("--schema", "public", "task", "list")


@pytest.mark.parametrize("engine", POOLERS, indirect=True)
def test_temporary_tables_in_a_session_of_the_pooler(taskdb, url, pooled):
    """A temporary table that another program left behind in a shared session does not hide ours."""
    taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    with connect(pooled(url)) as connection:
        connection.execute("CREATE TEMPORARY TABLE users AS SELECT 1 AS id")
    assert taskdb("user", "list", "--count").out.strip() == "1"


ODD_NAMES = ["My Schema", 'a"b,c', r"o'brien; \50%s:x", "select ümlaut", "x" * 63]


@pytest.fixture
def beside_another(use, empty_url, tmp_path, monkeypatch):
    """The command line's database, in which another program has its tables."""
    use(empty_url)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "backups"))
    make_foreign(empty_url)
    return empty_url


@ON_A_SERVER
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_schemas(bare_taskdb, beside_another, monkeypatch, name):
    """Whatever a schema is called, all work happens in it, and no other is touched."""
    monkeypatch.setenv("TASKDB_SCHEMA", name)
    assert "CREATE SCHEMA" in bare_taskdb("migrate", expect=6).err
    with connect(beside_another) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    bare_taskdb("task", "list", expect=6)
    assert f"(schema {name})" in bare_taskdb("migrate").err
    bare_taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    bare_taskdb("task", "create", "--user", "bob@example.com", "Ours")
    bare_taskdb("migrate", "check")
    bare_taskdb("backup")
    bare_taskdb("restore", "latest", "--replace", "--yes")
    bare_taskdb("task", "create", "--user", "bob@example.com", "More")
    assert bare_taskdb("task", "list", "--count").out.strip() == "2"
    report = json.loads(bare_taskdb("health", "-o", "json", expect=None).out)
    assert [check for check in report["checks"] if check["status"] in ("unknown", "critical")] == []
    bare_taskdb("migrate", "down", "base", "--yes", "--no-backup")
    with connect(beside_another) as connection:
        assert connection.execute("SELECT title FROM public.tasks").fetchall() == [("another program",)]


@ON_A_SERVER
@pytest.mark.parametrize(
    "name", ["", "x" * 64, "ü" * 32, "$user", "pg_temp", "pg_catalog", "information_schema", "a\nb", "a\0b"]
)
def test_names_that_no_schema_can_have(bare_taskdb, use, url, name):
    """Such a name is refused before anything is connected to."""
    use(url)
    refused = bare_taskdb("--schema", name, "task", "list", expect=2)
    assert "schema" in refused.err
    assert refused.err.count("\n") == 1


def test_a_file_has_no_schemas(bare_taskdb):
    """A schema that is asked of a SQLite file is refused."""
    assert "schema" in bare_taskdb("--schema", "public", "task", "list", expect=2).err


@ON_SERVERS
def test_two_schemas_of_one_database(taskdb, url):
    """Each holds users and tasks of its own, also behind a pooler."""
    run_sql(url, "CREATE SCHEMA other")
    taskdb("user", "create", "--email", "bob@example.com", "--name", "Bob")
    taskdb("--schema", "other", "migrate")
    assert taskdb("--schema", "other", "user", "list", "--count").out.strip() == "0"
    taskdb("--schema", "other", "user", "create", "--email", "bob@example.com", "--name", "Bob")
    taskdb("--schema", "other", "user", "create", "--email", "zoe@example.com", "--name", "Zoe")
    assert taskdb("user", "list", "--count").out.strip() == "1"
    assert taskdb("--schema", "other", "user", "list", "--count").out.strip() == "2"
    assert taskdb("--schema", "public", "user", "list", "--count").out.strip() == "1"


@ON_A_SERVER
def test_a_schema_that_the_role_may_not_use(bare_taskdb, use, url):
    """The schema is not taken for an empty one."""
    role = f"guest_{url.database}"
    run_sql(url, "CREATE SCHEMA secret", f"CREATE ROLE {role} LOGIN", f"GRANT {role} TO CURRENT_USER")
    try:
        use(url.update_query_dict({"options": f"-c role={role}"}))
        refused = bare_taskdb("--schema", "secret", "task", "list", expect=1)
        assert "GRANT USAGE" in refused.err
    finally:
        run_sql(url, f"DROP ROLE {role}")


@ON_A_SERVER
def test_the_target_of_a_copy_keeps_its_own_schema(bare_taskdb, use, url, new_url):
    """A schema that is chosen is that of the origin; the URL of the target may set its search path."""
    use(url)
    target = new_url(migrated=False)
    run_sql(url, "CREATE SCHEMA ours")
    run_sql(target, "CREATE SCHEMA theirs")
    bare_taskdb("--schema", "ours", "migrate")
    bare_taskdb("--schema", "ours", "user", "create", "--email", "bob@example.com", "--name", "Bob")
    set_to = target.update_query_dict({"options": "-csearch_path=theirs"})
    for to in (target, set_to):
        bare_taskdb("--schema", "ours", "copy", "--to", to.render_as_string(hide_password=False))
    with connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM public.users").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM theirs.users").fetchone() == (1,)


@ON_A_SERVER
def test_a_search_path_that_the_role_may_not_use(url, taskdb):
    """Without USAGE a search path leads nowhere; the hint is to grant it."""
    role = f"{url.database}_stranger"
    run_sql(url, f'CREATE ROLE "{role}" LOGIN', "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    try:
        address = url.set(username=role).render_as_string(hide_password=False)
        assert "GRANT USAGE" in taskdb("--database-url", address, "task", "list", expect=6).err
    finally:
        run_sql(url, f'DROP ROLE "{role}"')
