"""The recorded facts of each revision, held to what real databases say."""

import json
import os

import pytest

from taskdb_cli.database.schema import (
    OUR_TABLES,
    head_revision,
    migrations_directory,
    recorded_facts,
    revisions,
)
from taskdb_cli.models import metadata
from taskdb_cli.services import migrate
from tests.conftest import FAULT_SERVERS, open_database

REVISIONS = [step.revision for step in reversed(list(revisions().walk_revisions()))]


ON_ALL = pytest.mark.parametrize("engine", ["sqlite", *FAULT_SERVERS], indirect=True)


def facts_of(url):
    database = open_database(url)
    with database.connect() as connection:
        return database.backend.facts(connection, OUR_TABLES)


def record(revision, dialect, facts):
    """Write down the facts of a revision."""
    path = migrations_directory() / "facts" / f"{revision}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {dialect: facts}, indent=1, sort_keys=True) + "\n")


@ON_ALL
@pytest.mark.parametrize("revision", REVISIONS)
def test_the_facts_of_each_revision_are_recorded(empty_url, revision):
    """A database that was migrated to a revision is as recorded; TASKDB_RECORD_FACTS=1 records it anew."""
    database = open_database(empty_url)
    migrate.upgrade(database, to=revision)
    found = facts_of(empty_url)
    if os.environ.get("TASKDB_RECORD_FACTS"):
        record(revision, database.backend.dialect, found)
    assert found == recorded_facts(revision, database.backend.dialect)


@ON_ALL
def test_the_models_are_as_recorded(empty_url):
    """Tables that are made from the models are those of the newest revision."""
    database = open_database(empty_url)
    with database.migration(create=True) as (connection, _):
        metadata().create_all(connection)
    assert facts_of(empty_url) == recorded_facts(head_revision(), database.backend.dialect)
