"""Read the rows of a backup from a replica, while its primary keeps migrations and restores out."""

from collections.abc import Iterator
from contextlib import contextmanager

from taskdb_cli.database import Database
from taskdb_cli.database.content import Content
from taskdb_cli.database.replica import look, look_at_replica, look_over, require_alike, require_replica
from taskdb_cli.errors import DatabaseUnavailable, ReplicaBehind


@contextmanager
def snapshot_of_replica(primary: Database, replica: Database, *, most_lag: float) -> Iterator[Content]:
    """Open everything as it is on the replica at one moment, which is after this call.

    The locks of `Database.snapshot` are held on the primary. The snapshot there also keeps VACUUM from
    removing rows that are read on the replica. What is read holds everything that was committed on the
    primary before it was locked, whichever of several replicas answers. Its address is that of the primary.

    Raises what `replica.require_same` and `Database.snapshot` raise, NotWritable if the primary is a standby,
    ReplicaBehind if the replica has not replayed all that after `most_lag` seconds, and DatabaseUnavailable
    if it is promoted meanwhile.
    """
    standing, name = look_at_replica(replica), replica.options.read_address
    require_alike(look(primary), standing)
    with primary.snapshot() as held:
        goal = _goal(primary, held)
        is_standby = standing.log.in_recovery
        # Another server may answer now than before.
        options = replica.backend.options_after(goal, most_lag) if is_standby else None
        try:
            with replica.snapshot(options=options) as content:
                found = look_over(content.connection, replica)
                now = look_over(held.connection, primary)
                require_replica(now, found)
                if found.log.in_recovery and not is_standby:
                    message = f"{name}: another server answered just before {replica.backend.place}"
                    raise DatabaseUnavailable(message, "try again")
                # If this connection is gone, so are the locks.
                primary.backend.log_end(held.connection)
                content.address = held.address
                yield content
        except ReplicaBehind as exc:
            exc.message = f"{name}: {exc.message}"
            exc.hint = "try again later, raise TASKDB_READ_LAG, or back the primary up without --replica"
            raise


def _goal(primary: Database, held: Content) -> int:
    """Return a position of the log behind everything that is committed, which a replica can get to."""
    goal = primary.backend.log_end(held.connection)
    # The end stays with a server that is idle, and some time also what was committed without waiting.
    if primary.backend.log_state(held.connection).position < goal:
        with primary.connect() as connection:
            primary.backend.flush_log(connection)
    return goal
