"""The check of the history: how much there is, and since when."""

from datetime import timedelta

from taskdb_cli.health import runner
from taskdb_cli.health.report import Limits, Status
from taskdb_cli.services import migrate
from tests.conftest import NOW, open_database
from tests.operations import operations
from tests.samples import add_user
from tests.schemas import STAMP, execute

MONTH = timedelta(days=30)


def check(url, *, later=MONTH, **limits):
    """Return what the check says, some time after the oldest operation."""
    oldest = min((each.at for each in operations(open_database(url))), default=NOW)
    thresholds = {"history": Limits(**limits)} if limits else {}
    report = runner.run(open_database(url), now=oldest + later, only=["history"], thresholds=thresholds)
    return report.checks[0]


def test_an_empty_history_is_fine(url):
    """There is no oldest operation, whose age could be judged."""
    assert (check(url).status, check(url).value) == (Status.OK, 0)


def test_the_oldest_operation_is_judged(database, url):
    """The value is its age in seconds, and the message says how many there are."""
    add_user(database)
    assert check(url).message.replace(",", "").startswith("1 operation ")
    add_user(database, "bob@example.com")
    day = timedelta(days=1).total_seconds()
    fine, old = check(url, warning=30 * day), check(url, warning=29 * day)
    assert (fine.status, fine.value, fine.unit) == (Status.OK, 30 * day, "s")
    assert fine.message.startswith("2 operations")
    assert (" kB, " in fine.message) == (url.drivername != "sqlite")
    assert (old.status, "history prune" in old.remedy) == (Status.WARNING, True)


def test_a_long_history_is_estimated(database, url):
    """Counting a long history would take longer than all other checks together."""
    add_user(database)
    execute(
        url,
        "WITH RECURSIVE numbers (number) AS"
        " (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 12400)"
        " INSERT INTO taskdb_operations (at, actor, command, program_version, rows_changed)"
        f" SELECT '{STAMP}', 'ann', 'task done', '1.2.3', 1 FROM numbers",
        "DELETE FROM taskdb_operations WHERE id BETWEEN 100 AND 200",
    )
    assert check(url).message.startswith("about 12,000 operations")
    execute(url, "DELETE FROM taskdb_operations WHERE id < 10000")
    assert check(url).message.startswith("2,402 operations")


def test_an_older_revision_has_no_history(empty_url):
    """Before the revision that makes the history, the check is unknown, as others are."""
    migrate.upgrade(open_database(empty_url), to="0005")
    [found] = runner.run(open_database(empty_url), now=NOW, only=["history"]).checks
    assert (found.status, "needs the newest schema" in found.message) == (Status.UNKNOWN, True)


def test_the_limit_follows_the_setting(taskdb, database, url, monkeypatch):
    """An operation is too old two days after it should have been pruned, unless everything is kept."""
    add_user(database)
    older = "2026-01-01T00:00:00.000000Z"
    execute(url, f"UPDATE taskdb_operations SET at = '{older}'")
    for keep, code in (("90d", 1), ("9000d", 0), ("forever", 0)):
        monkeypatch.setenv("TASKDB_HISTORY_KEEP", keep)
        assert taskdb("health", "--only", "history", expect=code).out
