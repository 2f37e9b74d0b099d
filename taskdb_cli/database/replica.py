"""A replica of a database: whether it is one of this database, and how far it is behind."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.backend import Backend, LogState
from taskdb_cli.database.schema import IDENTITY_TABLE, VERSION_TABLE
from taskdb_cli.errors import DatabaseUnavailable, InvalidConfiguration, SchemaBehind

NEGLIGIBLE = 1.0
"""Seconds of lag that are not looked at twice."""

PATIENCE = 0.5
"""Seconds that a replica may take to replay what its primary had written before it counts as behind."""

_NAME = f"SELECT identity, (SELECT max(version_num) FROM {VERSION_TABLE}) FROM {IDENTITY_TABLE}"  # noqa: S608 (ours)


class Standing(NamedTuple):
    """Which database a server has, and how far it has come."""

    identity: str | None
    revision: str | None
    log: LogState


def look(database: Database) -> Standing:
    """Ask a server. Raises SchemaError if it has no database of taskdb, and what `Database.read` raises."""

    def ask(session: Session) -> Standing:
        connection = session.connection()
        # The row may be missing where somebody has deleted it.
        identity, revision = connection.exec_driver_sql(_NAME).one_or_none() or (None, None)
        return Standing(identity, revision, session.info[Backend].log_state(connection))

    return database.read(ask)


def require_same(primary: Database, replica: Database) -> None:
    """Raise unless the second is a replica of the first that can be read with this version.

    InvalidConfiguration is raised for another database, SchemaBehind for another revision, and
    DatabaseUnavailable for a server that takes writes of its own, unless it is the primary itself.
    """
    _require_same(primary, look(primary), replica, look(replica))


def measure_lag(primary: Database, replica: Database) -> float:
    """Return how many seconds old the replica's rows are at most, compared with those of the primary.

    That is 0 while the replica has replayed everything that the primary has written, however long ago that
    was, and else the age of the last transaction that it has replayed. It is infinite if that is not known.
    """
    return _lag(replica, look(primary).log, look(replica).log)


def compare(primary: Database, replica: Database) -> float:
    """Do what `require_same` does, and return what `measure_lag` returns."""
    first, second = look(primary), look(replica)
    _require_same(primary, first, replica, second)
    return _lag(replica, first.log, second.log)


def _require_same(primary: Database, first: Standing, replica: Database, second: Standing) -> None:
    places = f"{replica.backend.place}, which TASKDB_READ_URL names,"
    if first.identity != second.identity:
        raise InvalidConfiguration(
            f"{places} is another database than {primary.backend.place}",
            "let TASKDB_READ_URL lead to a replica of the database beside it, or unset it",
        )
    if first.revision != second.revision:
        raise SchemaBehind(
            f"{places} is at revision {second.revision}, and {primary.backend.place} at {first.revision}",
            "try again when the replica has replayed the migration",
        )
    if not second.log.in_recovery and not primary.is_same(replica):
        raise DatabaseUnavailable(
            f"{places} is no replica: it takes writes of its own, so it may have been promoted",
            "find out which of both is the database now, and correct the settings",
        )


def _lag(replica: Database, first: LogState, second: LogState) -> float:
    """Return the lag of a replica behind the position of its primary.

    On an idle database, the last transaction is old when the next one has just been written, so a replica
    that seems far behind may catch up at once.
    """
    behind = second.position < first.position and second.in_recovery
    if behind and (second.seconds is None or second.seconds > NEGLIGIBLE):
        deadline = time.monotonic() + PATIENCE
        with replica.connect() as connection:
            while behind and time.monotonic() < deadline:
                time.sleep(0.02)
                second = replica.backend.log_state(connection)
                behind = second.position < first.position and second.in_recovery
    if not behind:
        return 0
    return math.inf if second.seconds is None else max(0, second.seconds)
