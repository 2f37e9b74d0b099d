"""Whether a database could be got back, and what is said when it could not."""

from datetime import timedelta

import pytest

from taskdb_cli.backup import create as taking
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.ownership import Owner
from taskdb_cli.backup.stores.local import LocalStore
from taskdb_cli.health.archives import Backups
from taskdb_cli.health.report import Limits, Status
from taskdb_cli.health.runner import run
from tests.backups import put, restore_as_test
from tests.conftest import NOW, SERVERS, open_database
from tests.listings import add_tasks, add_users, make_row
from tests.proxy import Proxy
from tests.schemas import execute

ON_A_SERVER = pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def directory(tmp_path):
    return BackupDirectory(LocalStore(tmp_path / "shelf"))


@pytest.fixture
def filled(database):
    """Three users with four tasks."""
    database.write(add_users)
    database.write(lambda session: add_tasks(session, [make_row()] * 4))


@pytest.fixture
def back_up(database, directory):
    """Takes a verified backup, by default an hour ago, and restores it for trial."""

    def back_up(at=NOW - HOUR, *, drill=True):
        archive = taking.take(database, directory, label="work", now=at).file.path
        if drill:
            restore_as_test(archive, directory, now=at)
        return archive

    return back_up


@pytest.fixture
def look(url, directory):
    """Says which checks are neither ok nor skipped, and how they ended."""

    def look(**options):
        found = report_of(url, directory, **options).checks
        return {check.name: str(check.status) for check in found if not check.is_fine}

    return look


def report_of(url, directory, **options):
    return run(
        open_database(url),
        **{"now": NOW, "backups": [Backups(directory, Owner(None, None, "work"))]} | options,
    )


@pytest.mark.usefixtures("filled")
def test_a_healthy_database_with_backups(url, engine, directory, back_up):
    """With a fresh backup that was drilled, and one before it, all that there is to measure is ok."""
    back_up(NOW - DAY)
    back_up()
    report = report_of(url, directory)
    assert (report.status, report.exit_code) == ("ok", 0), report
    measured = {check.name for check in report.checks if check.status is Status.OK}
    assert {
        "backup",
        "backup_archive",
        "drill",
        "shrinkage",
        "backup_space",
        "backup_strays",
    } < measured
    assert len(measured) == len(report.checks) - (11 if engine == "sqlite" else 9)


@pytest.mark.usefixtures("filled")
def test_no_backup_yet(look, directory):
    """To have no backup is a warning, not a success; and nothing is made where backups would be."""
    assert look() == {"backup": "warning"}
    assert not directory.store.directory.exists()


@pytest.mark.usefixtures("filled")
def test_backups_of_another_label(look, back_up, url, directory):
    """The archives of another database are none of this one."""
    back_up()
    assert look() == {}
    assert look(backups=[Backups(directory, Owner(None, None, "home"))]) == {"backup": "warning"}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("age", "status"), [(25 * HOUR, None), (27 * HOUR, "warning"), (3 * DAY, "critical")]
)
def test_an_old_backup(look, back_up, age, status):
    """The age counts from when the backup was taken, whenever it was verified."""
    back_up(NOW - age)
    assert look() == ({"backup": status} if status else {})


@pytest.mark.usefixtures("filled")
def test_an_old_drill(look, back_up):
    """A trial that is long ago is told, however fresh the backup is."""
    back_up(NOW - 40 * DAY)
    back_up(drill=False)
    assert look() == {"drill": "warning"}


@pytest.mark.usefixtures("filled")
def test_no_drill_yet(look, back_up):
    """So is that there never was one."""
    back_up(drill=False)
    assert look() == {"drill": "warning"}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("harm", ["remove", "truncate", "reseal"])
def test_an_archive_that_is_not_what_was_verified(look, back_up, harm):
    """An archive that is gone, shorter, or sealed anew is critical, because it is what one would restore."""
    archive = back_up()
    data = archive.read_bytes()
    match harm:
        case "remove":
            archive.unlink()
        case "truncate":
            archive.write_bytes(data[:-100])
        case "reseal":
            archive.write_bytes(data[:-64] + b"0" * 64)
    assert look() == {"backup_archive": "critical"}


@pytest.mark.usefixtures("filled")
def test_a_backup_that_shrank(look, back_up, url):
    """A backup with much fewer rows than the one before it is told, although its database has no more."""
    back_up(NOW - DAY)
    execute(url, "DELETE FROM tasks")
    back_up()
    assert look() == {"shrinkage": "critical"}


@pytest.mark.usefixtures("filled")
def test_no_room_for_another(look, back_up):
    """Free space below the limit is told."""
    back_up()
    limits = {"backup_space": Limits(100, None, falling=True)}
    assert look(thresholds=limits) == {"backup_space": "warning"}


@pytest.mark.usefixtures("filled")
def test_strays(look, back_up, directory):
    """A copy with the suffix of an archive is no archive, and is told."""
    back_up()
    put(directory, "copy.taskdb.zip")
    assert look() == {"backup_strays": "warning"}


@pytest.mark.usefixtures("filled")
def test_a_clock_that_is_wrong(look, back_up):
    """An archive of a time to come says nothing about its age."""
    back_up(NOW + DAY)
    assert look() == {"backup": "unknown", "drill": "unknown"}


@ON_A_SERVER
@pytest.mark.usefixtures("filled")
def test_backups_of_a_server_that_is_gone(url, directory, back_up):
    """When nobody answers, it is still told that the database can be got back."""
    back_up()
    with Proxy(url) as proxy:
        proxy.refuse()
        report = report_of(proxy.url, directory)
    found = {check.name: str(check.status) for check in report.checks}
    assert found["connection"] == "critical"
    assert [found[name] for name in ("backup", "backup_archive", "drill", "backup_space")] == ["ok"] * 4
