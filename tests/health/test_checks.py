"""Each fault made for real, and the one check that it turns."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from threading import Event, Timer

import psycopg
import pytest
from sqlalchemy import make_url

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import InvalidConfiguration, InvalidInput, TimedOut
from taskdb_cli.health.checks.sqlite import SqliteExamination
from taskdb_cli.health.registry import CHECKS, HOUR, parse_limits
from taskdb_cli.health.report import Limits, Status, Unit
from taskdb_cli.health.runner import run
from tests.conftest import NOW, SERVERS, open_database, sqlalchemy_url
from tests.listings import add_tasks, add_users, make_row
from tests.processes import WITHOUT_PRIVILEGE, run_process
from tests.proxy import Proxy
from tests.samples import add_task, add_user
from tests.schemas import STAMP, execute, insert_rows, rebuild, set_revision
from tests.waiting import wait_until

ON_SERVERS = pytest.mark.parametrize("engine", SERVERS, indirect=True)
ON_A_SERVER = pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
ON_FILES = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
OF_A_SERVER = {"tls", "access", "connections", "long_transactions", "idle_in_transaction", "blocked"}
OF_A_STANDBY = {"replica", "replica_lag", "replica_backlog", "replica_conflicts"}
OF_A_FILE = {"quick_check", "permissions", "disk", "leftovers"}
OF_BACKUPS = {"backup", "backup_archive", "drill", "shrinkage", "backup_space", "backup_strays"}
OF_THE_TABLES = {check.name for check in CHECKS.values() if check.needs_head}
AT_ONCE = Limits(0, HOUR)


def look(url, **options):
    """The checks that say anything but ok or skipped, and how they ended."""
    report = run(open_database(url), **{"now": NOW} | options)
    return {check.name: str(check.status) for check in report.checks if not check.is_fine}


def check(url, name, **options):
    """What one check found."""
    [found] = run(open_database(url), **{"now": NOW} | options, only=[name]).checks
    return found


@pytest.fixture
def session(url):
    """Opens a session of somebody else."""
    opened = []

    def open(*, autocommit=False):
        opened.append(psycopg.connect(url.render_as_string(hide_password=False), autocommit=autocommit))
        return opened[-1]

    yield open
    for connection in opened:
        connection.cancel()
        connection.close()


def test_a_healthy_database(url, engine):
    """Nothing is wrong, and what is skipped belongs to the other kind of engine, or to large tables."""
    insert_rows(url)
    report = run(open_database(url), now=NOW)
    assert (report.status, report.exit_code) == ("ok", 0), report
    skipped = {check.name for check in report.checks if check.status is Status.SKIPPED}
    elsewhere = OF_A_SERVER if engine == "sqlite" else OF_A_FILE
    assert skipped == OF_BACKUPS | OF_A_STANDBY | {"plans"} | elsewhere
    assert all(check.message and not check.remedy for check in report.checks if check.name not in skipped)


def test_nothing_is_changed(url, engine):
    """The rows and the catalog are as before, and so is every byte of a file."""
    insert_rows(url)
    if engine == "sqlite":
        content = "SELECT name, sql FROM sqlite_master"
        before = Path(url.database).read_bytes()
    else:
        content = (
            "SELECT oid, relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i', 'S') ORDER BY oid"
        )
    catalog = execute(url, content)
    look(url)
    assert execute(url, content) == catalog
    if engine == "sqlite":
        assert Path(url.database).read_bytes() == before


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_another_revision(url, revision):
    """An older or an unknown revision is critical; of what needs the tables nothing is claimed."""
    set_revision(url, revision)
    assert look(url) == {"revision": "critical"} | dict.fromkeys(OF_THE_TABLES, "unknown")


def test_no_tables(empty_url, engine):
    """An empty database on a server has no revision; an absent file is no database, and is not made."""
    if engine == "sqlite":
        found = look(empty_url)
        assert found["connection"] == "critical"
        assert set(found.values()) == {"critical", "unknown"}
        assert "backup" not in found
        assert not open_database(empty_url).backend.path.exists()
    else:
        assert look(empty_url) == {"revision": "critical"} | dict.fromkeys(OF_THE_TABLES, "unknown")


def test_an_added_column(url):
    """A column that the models do not have is a drift."""
    execute(url, "ALTER TABLE tasks ADD COLUMN colour text")
    assert look(url) == {"drift": "warning"}
    assert "column tasks.colour is not of taskdb" in check(url, "drift").message


def test_an_added_index(url):
    """So is an index that somebody made for themselves, although it answers queries."""
    execute(url, "CREATE INDEX tasks_title ON tasks (title)")
    assert look(url) == {"drift": "warning"}


@ON_SERVERS
def test_a_changed_column(url):
    """So is a column that may suddenly be empty."""
    execute(url, "ALTER TABLE tasks ALTER title DROP NOT NULL")
    assert look(url) == {"drift": "warning"}


@ON_SERVERS
@pytest.mark.parametrize(
    "name", ["tasks_priority_known", "tasks_user_id_external_id_key", "tasks_user_id_fkey"]
)
def test_a_dropped_constraint(url, name):
    """A rule that is gone is critical, whichever kind it is."""
    execute(url, f"ALTER TABLE tasks DROP CONSTRAINT {name}")
    assert look(url) == {"constraints": "critical"}
    assert f"constraint {name} is missing" in check(url, "constraints").message


@ON_FILES
def test_a_rebuilt_table(url):
    """A table that was made anew without one of its rules lacks that rule."""
    rebuild(url, "users", r",\s*CONSTRAINT users_version_positive CHECK \(version >= 1\)", "")
    assert look(url) == {"constraints": "critical"}


@ON_SERVERS
def test_an_unvalidated_constraint(url):
    """A constraint that old rows were never held to is a warning, and the remedy does mend it."""
    execute(
        url,
        "ALTER TABLE tasks DROP CONSTRAINT tasks_priority_known",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_priority_known CHECK (priority BETWEEN 1 AND 4) NOT VALID",
    )
    assert look(url) == {"constraints": "warning"}
    execute(url, check(url, "constraints").remedy)
    assert look(url) == {}


@pytest.mark.parametrize("engine", [name for name in SERVERS if name == "postgresql18"], indirect=True)
def test_a_constraint_that_is_not_enforced(url):
    """PostgreSQL 18 knows rules that bind nobody: critical, and the rows are held to them here."""
    insert_rows(url)
    execute(
        url,
        "ALTER TABLE tasks DROP CONSTRAINT tasks_priority_known",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_priority_known CHECK (priority BETWEEN 1 AND 4) NOT ENFORCED",
    )
    assert look(url) == {"constraints": "critical"}
    execute(url, "UPDATE tasks SET priority = 9")
    assert look(url) == {"constraints": "critical", "rules": "critical"}


def test_a_dropped_index(url):
    """An index that is gone is a warning."""
    execute(url, "DROP INDEX tasks_user_priority")
    assert look(url) == {"indexes": "warning"}
    assert "index tasks_user_priority is missing" in check(url, "indexes").message


@ON_SERVERS
@pytest.mark.parametrize("name", ["tasks_created", "somebodys"])
def test_an_index_left_invalid(url, name):
    """So is what a concurrent build leaves that failed, under one of our names or another."""
    insert_rows(url)
    columns = "user_id, title, description, status, priority, version, created_at, updated_at"
    execute(url, f"INSERT INTO tasks ({columns}) SELECT {columns} FROM tasks", f"DROP INDEX IF EXISTS {name}")
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(url, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON tasks (created_at)")
    found = check(url, "indexes")
    assert f"{name} is invalid" in found.message
    assert f"REINDEX INDEX CONCURRENTLY {name}" in found.remedy
    assert look(url) == {"indexes": "warning"}


def test_an_orphan(url, engine):
    """A task whose user was deleted past the foreign key is critical."""
    insert_rows(url)
    past = [] if engine == "sqlite" else ["SET session_replication_role = replica"]
    execute(url, *past, "DELETE FROM users")
    assert look(url) == {"orphans": "critical"}
    found = check(url, "orphans")
    assert found.value == 1
    assert found.message == "1 row of tasks refers to a missing row of users"


@ON_SERVERS
@pytest.mark.parametrize(
    "set_back", ["SELECT setval('tasks_id_seq', 1)", "ALTER TABLE tasks ALTER id RESTART WITH 2"]
)
def test_a_sequence_set_back(url, set_back):
    """A sequence below the highest id is critical, because the next insert fails; the remedy mends it."""
    insert_rows(url)
    insert_more = (
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        f" SELECT id, 'Write', 'todo', 2, 1, '{STAMP}', '{STAMP}' FROM users"
    )
    execute(url, insert_more, set_back)
    assert look(url) == {"identity": "critical"}
    execute(url, check(url, "identity").remedy)
    assert look(url) == {}
    execute(url, insert_more)


@ON_FILES
def test_a_counter_set_back(url):
    """SQLite never collides, but an edited counter may give an id out twice: a warning."""
    insert_rows(url)
    execute(url, "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'tasks'")
    assert look(url) == {"identity": "warning"}
    execute(url, check(url, "identity").remedy)
    assert look(url) == {}


def test_ids_run_out(url, engine):
    """Ids that are nearly used up are critical."""
    insert_rows(url)
    high = 2**63 - 1000
    if engine == "sqlite":
        execute(url, f"UPDATE sqlite_sequence SET seq = {high} WHERE name = 'tasks'")
    else:
        execute(url, f"SELECT setval('tasks_id_seq', {high})")
    assert look(url) == {"identity_left": "critical"}


@ON_FILES
@pytest.mark.usefixtures("isolated")
def test_a_row_past_the_rules(url):
    """A row that was written with the rules turned off is critical, also in a file that one may only read."""
    insert_rows(url)
    past = "PRAGMA ignore_check_constraints = ON"
    execute(url, past, "UPDATE tasks SET priority = 9, due_at = '2026-02-30T00:00:00.000000Z'")
    assert look(url) == {"rules": "critical"}
    broken = ["1 row breaks tasks_due_at_timestamp", "1 row breaks tasks_priority_known"]
    assert check(url, "rules").message.partition(": ")[2].split("; ") == broken
    execute(url, "PRAGMA journal_mode = DELETE")
    open_database(url).backend.path.chmod(0o400)
    reader = run_process(
        *("--database-url", url.render_as_string(), "health", "--only", "rules"), first=WITHOUT_PRIVILEGE
    )
    assert reader.returncode == 2


@ON_SERVERS
def test_a_row_from_before_the_rules(url):
    """A row that breaks a rule which is not in force is found and counted, whatever part of it is broken."""
    insert_rows(url)
    execute(
        url,
        "ALTER TABLE tasks DROP CONSTRAINT tasks_status_known, DROP CONSTRAINT tasks_due_at_timestamp",
        "UPDATE tasks SET status = 'lost', due_at = 'infinity'",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_status_known"
        " CHECK (status IN ('todo', 'in_progress', 'done', 'cancelled')) NOT VALID",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_due_at_timestamp CHECK"
        " (due_at >= '0001-01-01 00:00:00+00' AND due_at < '10000-01-01 00:00:00+00') NOT VALID",
    )
    assert look(url) == {"constraints": "warning", "rules": "critical"}
    broken = ["1 row breaks tasks_due_at_timestamp", "1 row breaks tasks_status_known"]
    assert check(url, "rules").message.partition(": ")[2].split("; ") == broken


@ON_SERVERS
def test_many_connections(url, session):
    """Connections beyond the limit are told, in per cent of those that the server has."""
    limits = {"connections": Limits(15, 90)}
    assert look(url, thresholds=limits) == {}
    for _ in range(40):
        session()
    assert look(url, thresholds=limits) == {"connections": "warning"}


@ON_SERVERS
def test_a_session_idle_in_transaction(url, session):
    """A session that leaves its transaction open is named, and the remedy ends it."""
    limits = {"idle_in_transaction": AT_ONCE}
    sleeper = session()
    sleeper.execute("SELECT 1")
    assert look(url, thresholds=limits) == {"idle_in_transaction": "warning"}
    assert look(url) == {}
    found = check(url, "idle_in_transaction", thresholds=limits)
    assert found.message.startswith("1 session is idle")
    remedy = found.remedy
    assert str(sleeper.info.backend_pid) in remedy
    execute(url, remedy)
    wait_until(lambda: look(url, thresholds=limits) == {})


@ON_SERVERS
def test_a_session_that_nobody_tracks(url, session):
    """What a session with track_activities off does is not known, and not called fine."""
    session(autocommit=True).execute("SET track_activities = off")
    for name in ("idle_in_transaction", "long_transactions"):
        found = check(url, name)
        assert found.status is Status.SKIPPED
        assert "track_activities is off in 1 session:" in found.message
    assert look(url) == {}


@pytest.mark.parametrize("engine", ["postgresql18"], indirect=True)
def test_a_limit_for_whole_transactions(url, session):
    """What an administrator set for transactions does not end the one that looks at everything."""
    insert_rows(url)
    execute(url, f'ALTER DATABASE "{url.database}" SET transaction_timeout = 500')
    holder = session()
    holder.execute("SET transaction_timeout = 0")
    holder.execute("LOCK TABLE tasks")
    late = Timer(0.8, holder.rollback)
    late.start()
    assert look(url) == {}
    late.join()


@ON_SERVERS
def test_a_long_transaction(url, session):
    """A statement that runs on and on is another matter than idling."""
    limits = {"long_transactions": AT_ONCE, "idle_in_transaction": AT_ONCE}
    session(autocommit=True).pgconn.send_query(b"SELECT pg_sleep(60)")
    wait_until(lambda: look(url, thresholds=limits) == {"long_transactions": "warning"})


@ON_SERVERS
def test_a_blocked_session(url, session):
    """A session that waits for a lock is told, with what ends the one that holds it."""
    holder, waiter = session(), session(autocommit=True)
    lock = "LOCK TABLE tasks IN SHARE ROW EXCLUSIVE MODE"
    holder.execute(lock)
    waiter.pgconn.send_query(f"BEGIN; {lock}".encode())
    limits = {"blocked": AT_ONCE}
    wait_until(lambda: look(url, thresholds=limits) == {"blocked": "warning"})
    found = check(url, "blocked", thresholds=limits)
    assert str(holder.info.backend_pid) in found.remedy
    assert found.message.startswith("1 session waits for a lock")


@ON_SERVERS
def test_a_locked_table(url, session):
    """A lock that health waits for until its time is over does not hide the session that holds it."""
    holder, waiter = session(), session(autocommit=True)
    holder.execute("LOCK TABLE tasks")
    waiter.pgconn.send_query(b"SELECT count(*) FROM tasks")
    limits = {"blocked": AT_ONCE}
    wait_until(lambda: check(url, "blocked", thresholds=limits).status is Status.WARNING)
    report = run(open_database(url), now=NOW, thresholds=limits, timeout=1)
    found = {each.name: each for each in report.checks}
    assert str(holder.info.backend_pid) in found["blocked"].remedy
    assert found["drift"].status is Status.UNKNOWN


def test_a_database_that_grows(url):
    """Growing beyond a size that was set is told."""
    limits = {"size": Limits(check(url, "size").value, None)}
    assert check(url, "size", thresholds=limits).status is Status.OK
    add_user(open_database(url))
    for _ in range(40):
        add_task(open_database(url), description="x" * 10_000, title="Large")
    assert look(url, thresholds=limits) == {"size": "warning"}
    assert check(url, "size").unit is Unit.BYTES


@ON_FILES
def test_a_damaged_page(url):
    """A page of an index that is no page any more is found by reading the file."""
    insert_rows(url)
    with closing(sqlite3.connect(url.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [root] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'tasks_open_due'"
        ).fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    with Path(url.database).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 100)
    assert look(url) == {"quick_check": "critical"}


@ON_FILES
def test_another_journal_mode(url):
    """A file that was taken out of WAL mode is no alarm."""
    execute(url, "PRAGMA journal_mode = DELETE")
    assert look(url) == {}


@ON_FILES
def test_a_file_that_anyone_may_write_to(url, tmp_path):
    """The file's mode and its directory's are looked at."""
    path = open_database(url).backend.path
    path.chmod(0o666)
    assert look(url) == {"permissions": "critical"}
    path.chmod(0o600)
    assert look(url) == {}
    tmp_path.chmod(0o777)
    assert check(url, "permissions").remedy == f"chmod o-w {tmp_path}"
    tmp_path.chmod(0o700)


@ON_FILES
def test_a_disk_without_room(url):
    """Free space below the limit is told, in per cent."""
    assert look(url, thresholds={"disk": Limits(100, None, falling=True)}) == {"disk": "warning"}


@pytest.fixture
def many_tasks(url):
    """More tasks than a planner would read one by one."""
    database = open_database(url)
    database.write(add_users)
    times = [NOW + timedelta(minutes=number) for number in range(12_000)]
    database.write(lambda session: add_tasks(session, [make_row(due=time, created=time) for time in times]))
    execute(url, "ANALYZE")


@pytest.mark.usefixtures("many_tasks")
def test_plans_without_an_index(url, engine):
    """The usual lists are planned by an index, and it is told when the planner has been talked out of it."""
    assert check(url, "plans").status is Status.OK
    assert look(url) == {}
    if engine == "sqlite":
        execute(url, "UPDATE sqlite_stat1 SET stat = '12000 12000 12000 1 unordered' WHERE idx IS NOT NULL")
    else:
        for kind in ("indexscan", "indexonlyscan", "bitmapscan"):
            execute(url, f'ALTER DATABASE "{url.database}" SET enable_{kind} = off')
    assert look(url) == {"plans": "warning"}


@ON_SERVERS
def test_the_end_of_a_version(url):
    """The last half year of a major version is a warning, and what comes after is critical."""
    assert look(url, now=datetime(2030, 10, 1, tzinfo=UTC)).get("version") in ("warning", "critical")
    assert look(url, now=datetime(2031, 1, 1, tzinfo=UTC)) == {"version": "critical"}
    found = check(url, "version", now=datetime(2031, 1, 1, tzinfo=UTC))
    assert "has not been supported since" in found.message
    assert found.value < 0


@ON_A_SERVER
@pytest.mark.parametrize(
    ("known", "status"), [({13: date(2025, 11, 13)}, "ok"), ({99: date(2025, 11, 13)}, "critical")]
)
def test_a_version_that_is_not_known(url, monkeypatch, known, status):
    """No alarm is raised for a server newer than all that are known; one older than all is out of support."""
    monkeypatch.setattr("taskdb_cli.health.checks.postgresql.LAST_RELEASES", known)
    found = check(url, "version")
    assert (str(found.status), found.message.startswith("PostgreSQL 18")) == (status, True)


@ON_A_SERVER
def test_a_far_server_without_encryption(url):
    """A connection that leaves the machine is to be encrypted; here 0.0.0.0 stands for another one."""
    with Proxy(url) as proxy:
        far = proxy.url.set(host="0.0.0.0", query={"sslmode": "disable"})
        assert look(far) == {"tls": "warning"}


@ON_A_SERVER
def test_a_cold_start(url):
    """A first connection that alone is slow was a server that slept; a second one tells."""
    with Proxy(url) as proxy:
        proxy.hold = Event()
        Timer(0.4, proxy.hold.set).start()
        found = check(proxy.url, "connection", thresholds={"connection": Limits(0.3, 5)})
        assert found.status is Status.OK, found
        assert found.message.startswith("a cold start")
        assert check(proxy.url, "connection", thresholds={"connection": AT_ONCE}).status == "warning"


@ON_A_SERVER
def test_nobody_listens(url):
    """Without a connection that is critical, and everything else unknown for that reason."""
    with Proxy(url) as proxy:
        proxy.refuse()
        report = run(open_database(proxy.url), now=NOW)
    first, *rest = report.checks
    assert first.status is Status.CRITICAL
    rest = [found for found in rest if found.name not in OF_BACKUPS | {"leftovers"}]
    assert {(found.status, found.message) for found in rest} == {(Status.UNKNOWN, "no connection")}
    assert report.exit_code == 2


class BlackHole(Proxy):
    """From some byte on nothing comes through any more, in either direction, and nothing breaks."""

    until = 0

    def _deliver(self, link, source, target, data):
        if self.passed > self.until:
            return True
        return super()._deliver(link, source, target, data)


@ON_A_SERVER
@pytest.mark.parametrize("until", [0, 4000])
def test_a_black_hole(url, until):
    """A server that stops answering, at once or later, costs no more than the time that was given."""
    with BlackHole(url) as proxy:
        proxy.until = until
        # A busy machine takes a second to connect.
        patient = {"connection": Limits(60, 60)}
        report = run(open_database(proxy.url), now=NOW, timeout=3 if until else 1, thresholds=patient)
        assert report.status is Status.UNKNOWN
        assert len(report.checks) == len(CHECKS)
        [last] = [found for found in report.checks if found.name == "plans"]
        assert last.status is Status.UNKNOWN
        assert "timed out" in last.message
        assert {found.limits for found in report.checks if "timed out" in found.message} == {Limits()}
        assert (report.checks[0].status is Status.OK) == (until > 0)


@ON_SERVERS
def test_a_statement_that_waits(url, session):
    """A check that waits for a lock until its time is over is unknown, and ends on the server too."""
    session().execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
    report = run(open_database(url), now=NOW, timeout=1, only=["version", "orphans"])
    assert [found.status for found in report.checks] == ["ok", "unknown"]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    wait_until(lambda: execute(url, waiting) == [(0,)])


@ON_FILES
def test_imports_take_none_of_the_time(url, monkeypatch):
    """The time begins when everything is imported, however long that takes."""
    clock, late = time.monotonic, []

    def slow(module):
        late.append(module)
        return import_module(module)

    monkeypatch.setattr("taskdb_cli.health.runner.import_module", slow)
    # Each import takes a minute.
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 60 * len(late))
    assert run(open_database(url), now=NOW, timeout=1, only=["version"]).exit_code == 0
    assert late


@ON_FILES
def test_a_statement_that_goes_on(url):
    """What does not end by itself is ended when its time is over."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    exam = SqliteExamination(open_database(url), NOW, time.monotonic() + 9)
    assert exam.ask("SELECT 1")
    exam.set_time(0.05)
    with pytest.raises(TimedOut, match=r"took longer than 0\.05 s"):
        exam.ask(endless)
    exam.close()


@pytest.fixture
def stranger(url, session):
    """The database as a role that may connect and nothing else."""
    role = f"{url.database}_stranger"
    execute(url, f'CREATE ROLE "{role}" LOGIN')
    yield url.set(username=role)
    session(autocommit=True).execute(f'DROP OWNED BY "{role}"')
    session(autocommit=True).execute(f'DROP ROLE "{role}"')


@ON_SERVERS
def test_a_role_without_rights(stranger, session):
    """What a role may not see is not claimed to be fine."""
    session()
    report = run(open_database(stranger), now=NOW)
    fine = {found.name for found in report.checks if found.status is Status.OK}
    assert fine == {"connection", "version", "tls", "connections", "blocked"}
    found = {each.name: each for each in report.checks}
    assert found["long_transactions"].status is Status.SKIPPED
    assert "pg_read_all_stats" in found["long_transactions"].remedy
    assert "permission denied" in found["revision"].message
    assert report.exit_code == 3


@ON_SERVERS
def test_a_role_that_may_read(stranger, url, session):
    """A role that may read the tables has them checked, its fellows' sessions and the sequences apart."""
    session()
    execute(url, f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{stranger.username}"')
    report = run(open_database(stranger), now=NOW)
    skipped = {found.name for found in report.checks if found.status is Status.SKIPPED}
    skipped -= OF_A_FILE | OF_A_STANDBY | OF_BACKUPS | {"plans"}
    assert skipped == {"identity", "identity_left", "long_transactions", "idle_in_transaction"}
    assert report.exit_code == 0, report


def test_a_check_that_fails(url):
    """A check that meets what nobody foresaw is unknown, and those after it still run."""
    execute(url, "ALTER TABLE tasks RENAME TO chores")
    report = run(open_database(url), now=NOW)
    found = {each.name: each.status for each in report.checks}
    assert found["identity"] is Status.UNKNOWN
    assert found["drift"] is Status.CRITICAL
    assert found["revision"] is Status.OK


@ON_SERVERS
def test_a_large_table_without_statistics(url):
    """Rows that could only be estimated, and are not, are not guessed."""
    add_user(open_database(url))
    execute(url, "ALTER TABLE tasks SET (autovacuum_enabled = off)")
    for _ in range(30):
        add_task(open_database(url))
    columns = "user_id, title, description, status, priority, version, created_at, updated_at"
    execute(
        url,
        f"INSERT INTO tasks ({columns}) SELECT user_id, title, repeat('x', 1500), status, priority, version,"
        " created_at, updated_at FROM tasks, generate_series(1, 250)",
    )
    found = check(url, "plans")
    assert found.status is Status.SKIPPED
    assert found.remedy == "ANALYZE tasks"


def test_choosing_checks(url):
    """Only those that were asked for run, without those that were not wanted."""
    report = run(open_database(url), now=NOW, only=["orphans", "revision"], skip=["orphans"])
    assert [found.name for found in report.checks] == ["revision"]
    with pytest.raises(InvalidInput, match="orphan"):
        run(open_database(url), now=NOW, only=["orphan"])


@ON_FILES
def test_nothing_measured_is_not_fine(url):
    """A report of skipped checks only is unknown."""
    report = run(open_database(url), now=NOW, only=["tls"])
    assert report.checks[0].status is Status.SKIPPED
    assert report.exit_code == 3


@ON_A_SERVER
def test_it_leaves_a_pool_alone(url):
    """A long-lived process may run it on its own database; a pool that is taken is no hindrance."""
    database = Database(sqlalchemy_url(url), Options(pool=Pool(size=1, overflow=0, timeout=1)))
    with database.connect():
        assert run(database, now=NOW).exit_code == 0
    database.engine.dispose()


def test_limits_are_read():
    """Limits are written as people write quantities; either of the two may be left out."""
    found = parse_limits("connection=200ms:2s, backup=26h:50h size=:2GB drill=30d:")
    assert found["connection"] == Limits(0.2, 2)
    assert found["backup"] == Limits(26 * HOUR, 50 * HOUR)
    assert found["size"] == Limits(None, 2e9)
    assert found["drill"] == Limits(30 * 24 * HOUR, None)
    assert parse_limits("version=30d:0")["version"] == Limits(30 * 24 * HOUR, 0, falling=True)
    assert parse_limits("disk=20:3.5") == parse_limits("disk=20%:3.5%")
    assert parse_limits("disk=20%:3.5%")["disk"] == Limits(20, 3.5, falling=True)
    assert parse_limits("disk=5%:5%")["disk"] == Limits(5, 5, falling=True)
    assert parse_limits("") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "bogus=1:2",
        "revision=1:2",
        "connection",
        "connection=1",
        "connection=1:2:3",
        "connection=x:y",
        "disk=1kg:2",
        "disk=0kg:2",
        "disk=1GB:2%",
        "connection=200:2000",
        "connection=1%:",
        "size=1h:",
        "disk=5%:10%",
        "connection=2s:200ms",
    ],
)
def test_limits_that_make_no_sense(wrong):
    """What cannot be read is refused by the name of the variable."""
    with pytest.raises(InvalidConfiguration, match="TASKDB_HEALTH_LIMITS"):
        parse_limits(wrong)


def test_limits_judge():
    """What lies beyond a limit is bad, and what lies on it is not."""
    rising, falling = Limits(1, 2), Limits(2, 1, falling=True)
    assert [str(rising.judge(value)) for value in (1, 1.5, 2, 3)] == ["ok", "warning", "warning", "critical"]
    assert [str(falling.judge(value)) for value in (2, 1.5, 1, 0)] == ["ok", "warning", "warning", "critical"]


@ON_FILES
@pytest.mark.parametrize("counter", ["NULL", "'many'", "x'ff'"])
def test_a_counter_that_is_no_number(url, counter):
    """It counts as none, as SQLite takes it; what is said to mend it does."""
    insert_rows(url)
    execute(url, f"UPDATE sqlite_sequence SET seq = {counter} WHERE name = 'tasks'")
    assert look(url) == {"identity": "warning"}
    execute(url, check(url, "identity").remedy)
    assert look(url) == {}


@ON_FILES
def test_a_counter_that_is_gone(url):
    """What is said to mend it makes it again."""
    insert_rows(url)
    execute(url, "DELETE FROM sqlite_sequence WHERE name = 'tasks'")
    assert look(url) == {"identity": "warning"}
    execute(url, check(url, "identity").remedy)
    assert look(url) == {}


def test_a_counter_at_its_end(url, engine):
    """Where the rows have low ids, what is said to mend it sets the counter back behind them."""
    insert_rows(url)
    high = 2**63 - 1
    if engine == "sqlite":
        execute(url, f"UPDATE sqlite_sequence SET seq = {high} WHERE name = 'tasks'")
    else:
        execute(url, f"SELECT setval('tasks_id_seq', {high})")
    assert look(url) == {"identity": "critical", "identity_left": "critical"}
    assert check(url, "identity").remedy == check(url, "identity_left").remedy
    execute(url, check(url, "identity").remedy)
    assert look(url) == {}


def test_a_file_in_another_encoding(tmp_path):
    """A file in UTF-16 is told as such, and not as one that lacks its tables."""
    url = make_url(f"sqlite:///{tmp_path / 'wide.sqlite3'}")
    execute(url, "PRAGMA encoding = 'UTF-16le'", "CREATE TABLE notes (note TEXT)")
    found = check(url, "connection")
    assert found.status == "critical"
    assert "UTF-16" in found.message
