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


def read_log_state(connection: Connection) -> LogState:
    """Ask the server, which needs no privilege."""
    return LogState(*connection.exec_driver_sql(_LOG_STATE).one())
