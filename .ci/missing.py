"""Upgrade a SQLite file, and name how it differs from the models then: python .ci/missing.py FILE.

Alembic compares columns and indexes, but no CHECK constraints and no clauses such as STRICT.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from taskdb_cli.database import Database
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.models import metadata
from taskdb_cli.services.migrate import compare, upgrade


def main() -> None:
    """Print one line for each difference."""
    with TemporaryDirectory() as scratch:
        wanted = Database(make_url(f"sqlite:///{Path(scratch)}/models.sqlite3"))
        with wanted.migration(create=True) as (connection, _):
            metadata().create_all(connection)
        migrated = Database(make_url(f"sqlite:///{sys.argv[1]}"))
        upgrade(migrated)
        found = []
        for database in (migrated, wanted):
            with database.connect() as connection:
                found.append(database.backend.facts(connection, OUR_TABLES))
    for line in compare(*found):
        print(f"the revision does not do this yet: {line}")


main()
