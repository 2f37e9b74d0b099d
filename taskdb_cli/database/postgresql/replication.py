"""What a server says about its write-ahead log, which its replicas replay, and reads that wait for that."""

import time

from sqlalchemy import Connection

from taskdb_cli.database.backend import REPEATED, LogState
from taskdb_cli.database.postgresql import connection as sessions
from taskdb_cli.database.postgresql.transactions import BEGIN_READING, is_standby
from taskdb_cli.errors import DatabaseUnavailable, NotPermitted, ReplicaBehind

AFTER = "taskdb_after"
"""The execution option of a transaction on a standby: the position that it waits for, and for how long."""

# A standby can have what is flushed. The function for what is only inserted is beyond that on an idle server
# that has begun another page.
_LOG_STATE = """
SELECT in_recovery, (position - '0/0')::bigint, replayed_at,
       extract(epoch FROM clock_timestamp() - replayed_at)::float
FROM (SELECT pg_is_in_recovery()) AS server (in_recovery), LATERAL (
    SELECT CASE WHEN in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
           CASE WHEN in_recovery THEN pg_last_xact_replay_timestamp() END
) AS log (position, replayed_at)
"""

# If a record fills its page, PostgreSQL reports the position after the header of the next page.
_LOG_END = """
SELECT position - CASE WHEN mod(position, pg_size_bytes(current_setting('wal_segment_size'))) = 40 THEN 40
                       WHEN mod(position, current_setting('wal_block_size')::int) = 24 THEN 24 ELSE 0 END
FROM (SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint) AS log (position)
"""

# A commit that waits for the disk waits for everything that was written before it. Every role can commit a
# message for logical decoding, even in a transaction that only reads. A standby need not confirm it.
_FLUSH = "SET LOCAL synchronous_commit = local; SELECT pg_logical_emit_message(true, 'taskdb', '')"

# A commit that does not wait for the disk is confirmed before it is flushed.
_COMMITTED = f"""
SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN ({_LOG_END})
       ELSE (pg_current_wal_flush_lsn() - '0/0')::bigint END
"""

# A snapshot is taken by the first query, so the position must have been read before, in a transaction of its
# own. The next one follows in the same message, in the same session also behind a pooler, and is like it.
_ASK = """
SELECT pg_is_in_recovery(), coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0); COMMIT AND CHAIN
"""
_BEGIN = f"{BEGIN_READING}; {_ASK}"

_REPLAYED = "taskdb_replayed"
_SHORTEST, _LONGEST = 0.001, 0.02
"""Seconds between two questions."""


def read_log_state(connection: Connection) -> LogState:
    """Ask the server, which needs no privilege."""
    return LogState(*connection.exec_driver_sql(_LOG_STATE).one())


def read_log_end(connection: Connection) -> int:
    """Ask a server that takes writes, which needs no privilege."""
    return int(connection.exec_driver_sql(_LOG_END).scalar_one())


def flush(connection: Connection) -> None:
    """Flush the log. Raises DatabaseUnavailable if an administrator has taken the privilege away."""
    try:
        connection.exec_driver_sql(_FLUSH)
    except NotPermitted as exc:
        hint = "grant the role EXECUTE on it, or back the primary up without --replica"
        raise DatabaseUnavailable(exc.message, hint) from exc
    connection.commit()


def read_committed(connection: Connection) -> int:
    """Return a position that is behind all commits that were confirmed before."""
    position: int = connection.exec_driver_sql(_COMMITTED, execution_options={REPEATED: True}).scalar_one()
    return position


def begin_after(connection: Connection, position: int, patience: float, place: str) -> None:
    """Begin a transaction that only reads, as soon as everything up to a position of the log is replayed.

    Raises ReplicaBehind after `patience` seconds, and DatabaseUnavailable on a server that is no standby.
    """
    info = connection.info
    # A session of our own remembers, and its server reports a promotion without being asked.
    if info.get(sessions.OWN) and info.get(_REPLAYED, -1) >= position:
        connection.exec_driver_sql(BEGIN_READING)
        if is_standby(connection):
            return
        raise _no_standby(place)
    deadline, pause, statement = time.monotonic() + patience, _SHORTEST, _BEGIN
    while True:
        in_recovery, replayed = connection.exec_driver_sql(statement).one()
        if not in_recovery:
            raise _no_standby(place)
        info[_REPLAYED] = replayed
        if replayed >= position:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise ReplicaBehind(f"{place} did not replay the last changes within {patience:g} s")
        time.sleep(min(pause, left))
        pause, statement = min(2 * pause, _LONGEST), _ASK


def _no_standby(place: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"{place} accepts writes: it is not a replica, or was promoted")
