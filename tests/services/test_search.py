"""The service of the search index, on servers with the extension and without it."""

import sys

import pytest
from alembic import command

from taskdb_cli.database.schema import alembic_config
from taskdb_cli.errors import SchemaError
from taskdb_cli.services import migrate, search
from tests.conftest import FAULT_SERVERS, SERVERS, connect, open_database, plain_url

WITH_TRIGRAMS = FAULT_SERVERS[len(SERVERS) :]
"""The servers that have pg_trgm: a server from elsewhere may have it or not."""

WITHOUT = [name for name in SERVERS if name != "server"]


@pytest.mark.parametrize("engine", WITH_TRIGRAMS, indirect=True)
def test_on_and_off(database):
    """The index is built, is there already, and is dropped, and the schema is right all the time."""
    assert database.read(search.status).index.state == "off"
    for change, states in (
        (search.on, ("off", "on")),
        (search.on, ("on", "on")),
        (search.off, ("on", "off")),
    ):
        before, after = change(database)
        assert (before.state, after.state) == states
        migrate.check(database)
    assert search.off(database)[1].bytes == 0


@pytest.fixture
def in_ascii(urls, engine, make_url_of):
    """A database of the locale C."""
    url = make_url_of(engine, migrated=False)
    with connect(plain_url(urls[engine])) as connection:
        connection.autocommit = True
        connection.execute(f'DROP DATABASE "{url.database}"')
        connection.execute(f"CREATE DATABASE \"{url.database}\" TEMPLATE template0 LOCALE 'C' ENCODING UTF8")
    found = open_database(url)
    migrate.upgrade(found)
    return found


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_a_locale_that_knows_ascii_only(in_ascii, database, monkeypatch):
    """Where the index does not help for Cyrillic, the advice says so, and nowhere else."""
    monkeypatch.setattr(search, "PAYS_FROM", 0)
    assert "LC_CTYPE" in in_ascii.read(search.status).advice()
    assert "LC_CTYPE" not in database.read(search.status).advice()


@pytest.mark.parametrize("engine", WITHOUT, indirect=True)
def test_a_server_without_the_extension(database):
    """A server that lacks pg_trgm is named with what to install there."""
    with pytest.raises(SchemaError, match="pg_trgm") as failure:
        search.on(database)
    assert "postgresql-contrib" in failure.value.hint
    assert database.read(search.status).index.state == "off"


@pytest.mark.parametrize("engine", WITH_TRIGRAMS, indirect=True)
def test_a_new_revision_does_not_drop_it(database):
    """Alembic, which writes revisions in a checkout, takes the index for no difference from the models."""
    search.on(database)
    with database.migration() as (connection, _):
        config = alembic_config(connection=connection)
        # Its default is what stdout was when Alembic was imported.
        config.stdout = sys.stdout
        command.check(config)
