"""Databases that nothing is wrong with, although not everything can be done in them."""

import pytest

from taskdb_cli.health.runner import run
from taskdb_cli.services import migrate
from tests.conftest import NOW, SERVERS, open_database
from tests.schemas import execute, insert_rows

ON_SERVERS = pytest.mark.parametrize("engine", SERVERS, indirect=True)


def assert_sound(url):
    """Nothing is found, by health or by `migrate check`."""
    report = run(open_database(url), now=NOW)
    assert report.status == "ok", [check for check in report.checks if not check.is_fine]
    assert migrate.check(open_database(url)).pending == []


def test_a_hot_standby(standby):
    """A standby, on which no table can be made, is as well as its primary."""
    for url in standby:
        assert_sound(url)


@ON_SERVERS
@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_read_only = on",
        "datestyle = 'German'",
        "timezone = 'Asia/Tokyo'",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
    ],
)
def test_settings_of_the_database(url, setting):
    """Whatever an administrator set, the catalog is read and compared."""
    insert_rows(url)
    execute(url, f'ALTER DATABASE "{url.database}" SET {setting}')
    assert_sound(url)


@ON_SERVERS
def test_a_role_that_may_make_no_temporary_table(url):
    """A role that may only read, and make nothing, sees all that it needs."""
    role = f"{url.database}_reader"
    execute(
        url,
        f'CREATE ROLE "{role}" LOGIN IN ROLE pg_read_all_stats',
        f'REVOKE TEMPORARY ON DATABASE "{url.database}" FROM PUBLIC',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
        f'GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "{role}"',
    )
    try:
        assert_sound(url.set(username=role))
    finally:
        execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')
