"""A replica of a database: whether it is one of this database, and how far it is behind."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import NamedTuple

from sqlalchemy import Connection

from taskdb_cli.database import Database
from taskdb_cli.database.backend import LogState
from taskdb_cli.database.schema import IDENTITY_TABLE, VERSION_TABLE
from taskdb_cli.errors import (
    DatabaseUnavailable,
    InvalidConfiguration,
    SchemaBehind,
    SchemaError,
    TaskdbError,
)

PATIENCE = 0.5
"""Seconds that a replica may take to replay what its primary had written before it counts as behind."""

_NAME = f"SELECT identity, (SELECT max(version_num) FROM {VERSION_TABLE}) FROM {IDENTITY_TABLE}"  # noqa: S608 (ours)


_ANOTHER = "set it to a replica of the database that is named beside it, or unset it"


class Standing(NamedTuple):
    """Which database a server has, and how far it has come."""

    database: Database
    identity: str | None
    revision: str | None
    log: LogState
    server: object
    """The server and the database in it; None for a standby."""


def look(database: Database) -> Standing:
    """Ask a server. Raises SchemaError if it has no database of taskdb, and what `Database.read` raises."""
    return database.read(lambda session: look_over(session.connection(), database))


def look_over(connection: Connection, database: Database) -> Standing:
    """Do what `look` does over a connection to the database: of several servers, each may lead to another."""
    # The row may be missing where somebody has deleted it.
    identity, revision = connection.exec_driver_sql(_NAME).one_or_none() or (None, None)
    log = database.backend.log_state(connection)
    server = None if log.in_recovery else database.backend.fingerprint(lambda: nullcontext(connection))
    return Standing(database, identity, revision, log, server)


def look_at_replica(replica: Database) -> Standing:
    """Do what `look` does, with errors that name the setting."""
    try:
        return look(replica)
    except TaskdbError as exc:
        exc.message = f"{replica.options.read_address}: {exc.message}"
        if isinstance(exc, SchemaError):
            # It gets its tables from its primary, and from no migration.
            exc.hint = _ANOTHER
        raise


def require_same(primary: Database, replica: Database) -> None:
    """Raise unless the second is a replica of the first, at the same revision.

    InvalidConfiguration is raised for another database, SchemaBehind for another revision, and
    DatabaseUnavailable for a server that takes writes of its own, unless it is the primary itself, and for a
    standby of another server.
    """
    require_replica(look(primary), look_at_replica(replica))


def require_replica(primary: Standing, replica: Standing) -> None:
    """Raise as `require_same` does. The primary was looked at first."""
    require_alike(primary, replica)
    # A standby that is ahead follows a server that was the primary before. Its rows are no longer those of
    # the database.
    is_standby = replica.log.in_recovery and not primary.log.in_recovery
    is_ahead = is_standby and replica.log.position > primary.log.position
    # The primary may have written since it was looked at.
    if is_ahead and replica.log.position > look(primary.database).log.position:
        raise DatabaseUnavailable(
            f"{_named(replica)} is ahead of {primary.database.backend.place}: "
            "it follows another server, such as the primary before a failover",
            "build the replica again from the primary, or correct the settings",
        )


def _named(replica: Standing) -> str:
    return f"{replica.database.options.read_address}: {replica.database.backend.place}"


def require_alike(primary: Standing, replica: Standing) -> None:
    """Raise as `require_same` does for another database, another revision, and what is no standby."""
    place, other = primary.database.backend.place, _named(replica)
    if primary.identity != replica.identity:
        raise InvalidConfiguration(f"{other} belongs to another database, not to {place}", _ANOTHER)
    if primary.revision != replica.revision:
        raise SchemaBehind(
            f"{other} is at revision {replica.revision}, and {place} at {primary.revision}",
            "try again when the replica has replayed the migration",
        )
    if not replica.log.in_recovery and replica.server != primary.server:
        raise DatabaseUnavailable(
            f"{other} is not a replica: it accepts writes, so it may have been promoted",
            "find out which of both servers is the primary now, and correct the settings",
        )


def compare(primary: Standing, replica: Standing) -> float:
    """Do what `require_replica` does, and return how many seconds old the replica's rows are at most.

    That is 0 while the replica has replayed everything that the primary has written, however long ago that
    was, and else the age of the last transaction that it has replayed. It is infinite if that is not known.
    On an idle database, the last transaction is old when the next one has just been written, so a replica
    that seems far behind may catch up at once.
    """
    require_replica(primary, replica)

    def is_behind(log: LogState) -> bool:
        return log.in_recovery and log.position < primary.log.position

    log = replica.log
    if is_behind(log):
        deadline = time.monotonic() + PATIENCE
        with replica.database.connect() as connection:
            while is_behind(log) and time.monotonic() < deadline:
                time.sleep(0.01)
                log = replica.database.backend.log_state(connection)
    if not is_behind(log):
        return 0
    return math.inf if log.seconds is None else max(0, log.seconds)
