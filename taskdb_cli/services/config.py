"""Which engine, version, size and revision the database in use has."""

from dataclasses import dataclass

from taskdb_cli.database import Database
from taskdb_cli.database.schema import compare_revision, current_revision, head_revision
from taskdb_cli.errors import SchemaError


@dataclass(frozen=True)
class About:
    """A database that was reached."""

    engine: str
    version: str
    size: int
    """Bytes."""
    revision: str | None
    """None if it has no tables of taskdb, or if `problem` says why it cannot be told."""
    head: str
    problem: SchemaError | None


def describe(database: Database) -> About:
    """Return what is known of a database; change nothing.

    Raises DatabaseMissing, DatabaseUnavailable and DataCorrupt. A schema of another revision is no error.
    """
    revision, problem = None, None
    with database.connect() as connection:
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        size = database.backend.size(connection)
        try:
            revision = current_revision(connection)
            problem = compare_revision(revision)
        except SchemaError as exc:
            problem = exc
    return About(database.backend.engine_name, version, size, revision, head_revision(), problem)
