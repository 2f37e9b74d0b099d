"""Read the rows of a backup from a replica, while its primary keeps migrations and restores out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskdb_cli.database import Database
from taskdb_cli.database.backend import LogState
from taskdb_cli.database.content import Content
from taskdb_cli.database.replica import compare, look, look_at_replica
from taskdb_cli.errors import DatabaseUnavailable
from taskdb_cli.system.environment import READ_ADDRESS

FLUSHED_AFTER = 2.0
"""Seconds after which a server has flushed every commit, also one that did not wait for the disk."""

_POLL = 0.02


@contextmanager
def snapshot_of_replica(primary: Database, replica: Database, *, most_lag: float) -> Iterator[Content]:
    """Open everything as it is on the replica at one moment, which is after this call.

    The locks of `Database.snapshot` are held on the primary. The snapshot there also keeps VACUUM from
    removing rows that are read on the replica. What is read holds everything that was committed on the
    primary before it was locked, and its address is that of the primary.

    Raises what `replica.require_same` and `Database.snapshot` raise, NotWritable if the primary is a standby,
    and DatabaseUnavailable if the replica is more than `most_lag` seconds behind, or is promoted meanwhile.
    """
    standing = look_at_replica(replica)
    lag = compare(look(primary), standing)
    if lag > most_lag:
        raise _behind(replica, most_lag)
    with primary.snapshot() as held:
        _wait(primary, held, replica, most_lag)
        with replica.snapshot() as content:
            log = replica.backend.log_state(content.connection)
            if log.in_recovery != standing.log.in_recovery:
                raise DatabaseUnavailable(
                    f"{READ_ADDRESS}: {replica.backend.place} was promoted just now",
                    "find out which of both servers is the primary now, and correct the settings",
                )
            # If this connection is gone, so are the locks.
            primary.backend.log_end(held.connection)
            content.address = held.address
            yield content


def _wait(primary: Database, held: Content, replica: Database, most_lag: float) -> None:
    """Wait until the replica has replayed everything that is committed on the primary."""
    goal, begun = primary.backend.log_end(held.connection), time.monotonic()
    with replica.connect() as connection:
        while _lacks(replica.backend.log_state(connection), goal):
            waited = time.monotonic() - begun
            if waited >= most_lag:
                raise _behind(replica, most_lag)
            if waited >= FLUSHED_AFTER:
                # An idle server may keep the end of its log to itself if nothing is committed there.
                goal = min(goal, primary.backend.log_state(held.connection).position)
            time.sleep(_POLL)


def _lacks(log: LogState, goal: int) -> bool:
    return log.in_recovery and log.position < goal


def _behind(replica: Database, most_lag: float) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"{READ_ADDRESS}: {replica.backend.place} is more than {most_lag:g} s behind its primary",
        "try again later, raise TASKDB_READ_LAG, or back the primary up without --replica",
    )
