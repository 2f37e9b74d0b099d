"""What health says of a hot standby, asked itself or as the replica that the settings name."""

import json
import socket

import psycopg
import pytest
from psycopg import sql

from taskdb_cli.health.checks import standby as checks
from taskdb_cli.health.report import Limits, Status, Unit
from taskdb_cli.health.runner import run
from tests.conftest import NOW, connect, open_database
from tests.samples import add_user
from tests.schemas import execute
from tests.waiting import wait_until

NAMES = ["replica", "replica_lag", "replica_backlog", "replica_conflicts"]
FINE = dict.fromkeys(NAMES, Status.OK)


@pytest.fixture(params=["itself", "as a replica"])
def look(request, standby):
    """Makes the checks of the standby, by either way, and returns what each found."""
    primary, other = map(open_database, standby)

    def look(database=other, **options):
        given = {"now": NOW, "only": NAMES} | options
        if request.param == "itself":
            report = run(database, **given)
        else:
            report = run(primary, replica=database, **given)
        return {found.name: found for found in report.checks}

    return look


@pytest.fixture
def paused(replication, monkeypatch):
    """The standby replays nothing, and is not waited for."""
    monkeypatch.setattr(checks, "PATIENCE", 0)
    replication.pause()
    yield
    replication.resume()


@pytest.fixture
def configure(standby, replication):
    """Changes a setting of the standby server, until the end of the test."""
    _, url = standby
    before = {}

    def set_to(name, value):
        with connect(url) as connection:
            [old] = connection.execute(f"SHOW {name}").fetchone()
            before.setdefault(name, old)
            connection.execute(sql.SQL(f"ALTER SYSTEM SET {name} = {{}}").format(sql.Literal(value)))
            connection.execute("SELECT pg_reload_conf()")
            wait_until(lambda: connection.execute(f"SHOW {name}").fetchone() == (value,))

    yield set_to
    for name, value in list(before.items()):
        set_to(name, value)
    replication.catch_up()


def statuses(found):
    return {name: each.status for name, each in found.items()}


def test_a_sound_standby(look, replication, standby):
    """A standby that has replayed everything has no lag, however old the last transaction is."""
    replication.catch_up()
    found = look(thresholds={"replica_lag": Limits(0, 0)})
    assert statuses(found) == FINE
    assert [found[name].value for name in NAMES[1:]] == [0, 0, 0]
    assert standby[0].query["host"] in found["replica"].message


def test_a_database_without_standbys(standby):
    """On a primary without a replica there is nothing to measure, and the whole is as well as before."""
    report = run(open_database(standby[0]), now=NOW)
    found = {check.name: check.status for check in report.checks}
    assert {found[name] for name in NAMES} == {Status.SKIPPED}
    assert report.status is Status.OK


def test_a_paused_replay(look, standby, paused):
    """A standby that does not replay is a warning; its lag is judged by the limits, in seconds and bytes."""
    add_user(open_database(standby[0]))
    # What the standby has received is known a moment later.
    wait_until(lambda: look()["replica_backlog"].value)
    found = look(thresholds={"replica_lag": Limits(0, 1e9), "replica_backlog": Limits(1e9, 1)})
    assert statuses(found) == {
        "replica": Status.WARNING,
        "replica_lag": Status.WARNING,
        "replica_backlog": Status.CRITICAL,
        "replica_conflicts": Status.OK,
    }
    assert "pg_wal_replay_resume" in found["replica"].remedy
    assert found["replica_lag"].value > 0
    assert look(thresholds={"replica_lag": Limits(None, 0)})["replica_lag"].status is Status.CRITICAL


def test_a_standby_that_replays_again(look, standby, paused, replication, monkeypatch):
    """A standby that catches up within a moment has no lag, although the last transaction is old."""
    add_user(open_database(standby[0]))
    wait_until(lambda: look()["replica_backlog"].value)
    monkeypatch.setattr(checks, "PATIENCE", 60)
    monkeypatch.setattr(checks.time, "sleep", lambda _: replication.resume())
    assert look(thresholds={"replica_lag": Limits(0, 0)}, only=["replica_lag"])["replica_lag"].value == 0


def test_a_standby_that_is_cut_off(look, standby, configure):
    """A standby that receives nothing is a warning, and its rows count as old as its last transaction."""
    configure("primary_conninfo", "")
    wait_until(lambda: look()["replica"].status is Status.WARNING)
    assert "not connected" in look()["replica"].message
    add_user(open_database(standby[0]))
    assert look(thresholds={"replica_lag": Limits(0, 1e9)})["replica_lag"].status is Status.WARNING
    assert look(thresholds={"replica_lag": Limits(None, 0)})["replica_lag"].status is Status.CRITICAL


def test_a_cancelled_query(look, standby, replication, configure):
    """What the replay has cancelled is counted by its kind, and may have limits."""
    primary, other = standby
    configure("max_standby_streaming_delay", "0")
    add_user(open_database(primary))
    replication.catch_up()
    with connect(other) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT * FROM users")
        execute(primary, "DELETE FROM users", "VACUUM users")
        replication.catch_up()
        with pytest.raises(psycopg.OperationalError, match="conflict with recovery"):
            reader.execute("SELECT * FROM users")
    wait_until(lambda: look()["replica_conflicts"].value)
    found = look(thresholds={"replica_conflicts": Limits(0, 100)})["replica_conflicts"]
    assert (found.status, found.unit) == (Status.WARNING, Unit.COUNT)
    assert "snapshot 1" in found.message
    assert "hot_standby_feedback" in found.remedy


def test_a_role_that_may_not_look(look, standby, replication):
    """Without pg_read_all_stats it is not known whether the standby is connected; the rest is measured."""
    primary, other = standby
    role = f"{primary.database}_reader"
    execute(
        primary, f'CREATE ROLE "{role}" LOGIN', f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"'
    )
    try:
        replication.catch_up()
        found = look(open_database(other.set(username=role)))
        assert statuses(found) == FINE | {"replica": Status.SKIPPED}
        assert "pg_read_all_stats" in found["replica"].remedy
    finally:
        execute(primary, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def replica_of(primary, replica):
    """What the check of the replica finds."""
    report = run(primary, replica=replica, now=NOW, only=NAMES)
    assert {check.status for check in report.checks[1:]} <= {Status.SKIPPED}
    return report.checks[0]


def test_replicas_that_are_none(standby, replication, tmp_path):
    """A server with a database of its own is critical, and one that cannot be reached is a warning."""
    primary, other = standby
    database, twin = open_database(primary), primary.set(database=f"{primary.database}_twin")
    execute(
        primary.set(database="postgres"), f'CREATE DATABASE "{twin.database}" TEMPLATE "{primary.database}"'
    )
    try:
        promoted = replica_of(database, open_database(twin))
        assert (promoted.status, "promoted" in promoted.message) == (Status.CRITICAL, True)
    finally:
        execute(primary.set(database="postgres"), f'DROP DATABASE "{twin.database}" WITH (FORCE)')
    # The replica is asked once, and leaves time for what comes after it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = other.set(host="127.0.0.1", port=silent.getsockname()[1], query={})
        report = run(database, replica=open_database(url), now=NOW, timeout=8, only=[*NAMES, "indexes"])
        found = {check.name: check.status for check in report.checks}
        assert (found["replica"], found["indexes"]) == (Status.WARNING, Status.OK)
        assert report.status is Status.WARNING
    gone = replica_of(database, open_database(other.set(query={"host": str(tmp_path)})))
    assert (gone.status, str(tmp_path) in gone.message) == (Status.WARNING, True)


def test_the_command(standby, bare_taskdb, monkeypatch, replication):
    """Health looks at the replica of TASKDB_READ_URL, whose lag has the limit of TASKDB_READ_LAG."""
    primary, other = (url.render_as_string() for url in standby)
    monkeypatch.setenv("TASKDB_DATABASE_URL", primary)
    monkeypatch.setenv("TASKDB_READ_URL", other)
    monkeypatch.setenv("TASKDB_READ_LAG", "20")
    monkeypatch.setenv("TASKDB_HEALTH_LIMITS", "replica_backlog=1GB: replica_conflicts=:5")
    replication.catch_up()
    only = ("--only", ",".join(NAMES))
    found = {
        each["name"]: each for each in json.loads(bare_taskdb("health", *only, "-o", "json").out)["checks"]
    }
    assert [found[name]["unit"] for name in NAMES] == ["", "s", "B", "c"]
    assert (found["replica_lag"]["warning"], found["replica_lag"]["critical"]) == (20, 600)
    assert (found["replica_backlog"]["warning"], found["replica_conflicts"]["critical"]) == (1e9, 5)
    assert "replica_conflicts=0c;;5" in bare_taskdb("health", *only, "-o", "nagios").out
    prometheus = bare_taskdb("health", *only, "-o", "prometheus").out
    assert 'taskdb_health_value{check="replica_conflicts"} 0.0' in prometheus
    assert 'taskdb_health_value_seconds{check="replica_lag"} 0.0' in prometheus
    assert prometheus.count("# TYPE taskdb_health_value gauge") == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_which_host_answered(standby, bare_taskdb, order):
    """Of several hosts health names the one that has answered, in its report and in the check."""
    hosts = ",".join(str(standby[each].query["host"]) for each in order)
    url = f"postgresql://postgres@/{standby[0].database}?host={hosts}&target_session_attrs=primary"
    shown = bare_taskdb("--database-url", url, "health", "--only", "connection", "-o", "json")
    report = json.loads(shown.out)
    place = f"{standby[0].query['host']}:5432/{standby[0].database}"
    assert report["database"] == place
    assert report["checks"][0]["message"].startswith(f"{place} answered")
