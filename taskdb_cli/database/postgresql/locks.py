"""The lock by which migrations, backups and restores keep out of each other's way, and who holds it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection

from taskdb_cli.errors import DatabaseUnavailable, TaskdbError

MIGRATION_LOCK = 0x7461736B6462
"""The advisory lock of migrations: "taskdb" in ASCII."""

# A role sees of another one's session only the process and the application, unless it may see all.
_HOLDERS = """
SELECT string_agg(format('session %%s (%%s)', pid, concat_ws(', ',
    coalesce(nullif(application_name, ''), 'no application name'),
    'from ' || CASE WHEN backend_start IS NOT NULL THEN coalesce(host(client_addr), 'a local socket') END,
    to_char(coalesce(xact_start, backend_start) AT TIME ZONE 'UTC', '"since" YYYY-MM-DD"T"HH24:MI:SS"Z"')
)), ' and ' ORDER BY pid)
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND classid::bigint = %s AND objid::bigint = %s
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_log = logging.getLogger("taskdb.migrate")


def lock_holders(connection: Connection) -> str:
    """Name the sessions that hold the lock of this database.

    Each by process, application, address and the start of its transaction or session, as far as the
    role may know; never by what it runs. Returns "another session" when it is free again already.
    """
    halves = (MIGRATION_LOCK >> 32, MIGRATION_LOCK & 0xFFFFFFFF)
    return connection.exec_driver_sql(_HOLDERS, halves).scalar() or "another session"


def lock_taken(connection: Connection, place: str, hint: str = "try again later") -> DatabaseUnavailable:
    """Return the error for a lock that others hold."""
    holders = lock_holders(connection)
    return DatabaseUnavailable(
        f"{place} is being migrated, indexed, backed up or restored by {holders}", hint
    )


@contextmanager
def migration_lock(connection: Connection, *, wait: float, place: str) -> Iterator[None]:
    """Hold the lock, for the session alone. Wait at most `wait` seconds for the session that holds it.

    Raises DatabaseUnavailable that names the holder. The lock is asked for again and again, because a
    session that waits inside a statement holds a snapshot, and an index that the holder builds concurrently
    would wait for that.
    """
    # Others should see that this is no backup, but a migration or a change of the search index.
    name = "current_setting('application_name') || ' maintenance'"
    connection.exec_driver_sql(f"SELECT set_config('application_name', {name}, false)")
    begun, told = time.monotonic(), False
    while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (MIGRATION_LOCK,)).scalar():
        if time.monotonic() - begun >= wait:
            raise lock_taken(connection, place, "try again later, or raise TASKDB_MIGRATION_WAIT")
        if not told:
            _log.warning("waiting up to %g s for %s", wait, lock_holders(connection))
            told = True
        time.sleep(0.1)
    yield
    # The server notices only a little later that a session has ended. One that is gone by now has no lock.
    with suppress(TaskdbError):
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
