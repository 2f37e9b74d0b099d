"""What a server says about its write-ahead log, which its replicas replay."""

from sqlalchemy import Connection

from taskdb_cli.database.backend import LogState

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

# The position behind a record that fills its page is told as that behind the header of the next page.
_LOG_END = """
SELECT position - CASE WHEN mod(position, pg_size_bytes(current_setting('wal_segment_size'))) = 40 THEN 40
                       WHEN mod(position, current_setting('wal_block_size')::int) = 24 THEN 24 ELSE 0 END
FROM (SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint) AS log (position)
"""


def read_log_state(connection: Connection) -> LogState:
    """Ask the server, which needs no privilege."""
    return LogState(*connection.exec_driver_sql(_LOG_STATE).one())


def read_log_end(connection: Connection) -> int:
    """Ask a server that takes writes, which needs no privilege."""
    return int(connection.exec_driver_sql(_LOG_END).scalar_one())
