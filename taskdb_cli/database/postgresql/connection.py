"""How a session of PostgreSQL is opened."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from taskdb_cli.database.backend import MIGRATED
from taskdb_cli.database.options import Options
from taskdb_cli.database.postgresql.session import OWN_SESSION, session_settings
from taskdb_cli.database.postgresql.target import Target

POOL_RECYCLE = 240
"""Seconds after which a pooled connection is replaced: Neon suspends an idle compute after 300."""

IDLE_LIMIT = 1.0
"""Seconds in the pool after which a connection is asked whether it still leads to the server."""

_IDLE_SINCE = "taskdb_idle_since"


# When the network goes silent: what was sent is unanswered, or nothing comes while a statement runs.
# A server at work answers these probes all the same. Without effect on a Unix socket.
_LIVENESS = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def connect_arguments(target: Target, options: Options) -> dict[str, Any]:
    """Return the arguments for psycopg. The URL and the service win over the settings."""
    arguments: dict[str, Any] = {
        "connect_timeout": options.connect_timeout,
        "fallback_application_name": "taskdb",
        **_LIVENESS,
        **target.parameters,
        "client_encoding": "utf8",
        # We begin every transaction ourselves.
        "autocommit": True,
        # A prepared statement may get a generic plan, which reads far more than its own would;
        # and a pooler would hand it to a session that does not know it.
        "prepare_threshold": None,
    }
    if options.pooled:
        # A pooler refuses start-up options, even those that libpq would take from PGOPTIONS.
        arguments.setdefault("options", "")
    else:
        settings = session_settings(options) | {OWN_SESSION: "yes"}
        given = [f"-c {name}={value}" for name, value in settings.items()]
        arguments["options"] = " ".join([target.options, *given]).strip()
    return arguments


def pooling(options: Options) -> dict[str, Any]:
    """Return the engine's arguments that say whether it keeps connections."""
    # Looking for the hstore extension would cost a query for each connection.
    arguments: dict[str, Any] = {"use_native_hstore": False}
    if (pool := options.pool) is None:
        return arguments | {"poolclass": NullPool}
    return arguments | {
        "pool_size": pool.size,
        "max_overflow": pool.overflow,
        "pool_timeout": pool.timeout,
        "pool_recycle": POOL_RECYCLE,
        # Few connections stay in use, and those need no check.
        "pool_use_lifo": True,
    }


def check_idle_connections(engine: Engine) -> None:
    """Let the pool replace a connection that was lost while it lay there, before it is used.

    A server that ends a session says so, which is seen without a round trip. Only a connection that
    was idle for IDLE_LIMIT may have been lost without a word, and is asked.
    """

    def note_idle(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    def check(connection: psycopg.Connection[Any], record: ConnectionPoolEntry, *_: Any) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None:
            return
        if record.info.get(MIGRATED) is False:
            # A migration may have made the tables meanwhile, in a schema that this session does not see.
            raise InvalidatePoolError
        try:
            if time.monotonic() - idle_since >= IDLE_LIMIT:
                connection.execute("SELECT 1")
            # The first may read the server's last words, the second finds that there will be no more.
            connection.pgconn.consume_input()
            connection.pgconn.consume_input()
        except psycopg.Error as exc:
            raise InvalidatePoolError from exc

    event.listen(engine, "checkin", note_idle)
    event.listen(engine, "checkout", check)
