"""How a session of PostgreSQL is opened and set, and the one schema that it works on."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import Connection, NullPool
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from taskdb_cli.database.backend import COMPARED, MIGRATED
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.postgresql.target import Target
from taskdb_cli.database.schema import VERSION_TABLE
from taskdb_cli.errors import InvalidConfiguration, SchemaError, TaskdbError
from taskdb_cli.text.escaping import brief

POOL_RECYCLE = 240
"""Seconds after which a pooled connection is replaced: Neon suspends an idle compute after 300."""

IDLE_LIMIT = 1.0
"""Seconds in the pool after which a connection is asked whether it still leads to the server."""

OWN = "taskdb_own"
"""The key in a connection's `info` that says whether its settings last longer than a transaction."""

identifier = PGDialect(paramstyle="named").identifier_preparer.quote  # type: ignore[no-untyped-call]
"""Return a name as a person writes it in SQL: quoted only if it must be."""

_IDLE_SINCE = "taskdb_idle_since"

# A setting that only start-up options set. A session without it may be a pooler's, which others use too.
_OWN_SESSION = "taskdb.session"

# The longest name in bytes; the server would shorten a longer one.
_LONGEST_NAME = 63

# Without a name the schema is that of the first version table in the search path, or else the first schema
# in it. Temporary tables come last: a pooler's session may hold those of another program.
SET_SESSION = f"""
SELECT name, pg_namespace.oid IS NOT NULL, pg_catalog.has_schema_privilege(pg_namespace.oid, 'USAGE'),
       EXISTS (SELECT FROM pg_catalog.pg_class
               WHERE relname = '{VERSION_TABLE}' AND relnamespace = pg_namespace.oid), own,
       pg_catalog.set_config('search_path', pg_catalog.quote_ident(name) || ', pg_temp', NOT own),
       (SELECT count(pg_catalog.set_config(key, value, NOT own)) FROM pg_catalog.json_each_text(%s::json))
FROM (
    SELECT coalesce(%s::text, (
        SELECT nspname::text FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace found
        ON found.oid = relnamespace WHERE pg_class.oid = pg_catalog.to_regclass('{VERSION_TABLE}')
    ), pg_catalog.current_schema()::text) AS name,
    pg_catalog.current_setting('{_OWN_SESSION}', true) IS NOT DISTINCT FROM 'yes' AS own
) AS session LEFT JOIN pg_catalog.pg_namespace ON nspname = name
"""  # noqa: S608 (our own names)


def connect_arguments(target: Target, options: Options) -> dict[str, Any]:
    """Return the arguments for psycopg. The URL and the service win over the settings."""
    arguments: dict[str, Any] = {
        "connect_timeout": options.connect_timeout,
        "fallback_application_name": "taskdb",
        # Notice a silent network: what was sent is unanswered, or nothing comes while a statement runs.
        # A server at work answers these probes all the same. They have no effect on a Unix socket.
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        **target.parameters,
        "client_encoding": "utf8",
        # We begin every transaction ourselves.
        "autocommit": True,
        # A prepared statement may get a generic plan, which reads far more than its own would; and a pooler
        # would hand it to a session that does not know it. Only what asks for it is prepared.
        "prepare_threshold": sys.maxsize,
    }
    if options.pooled:
        # A pooler refuses start-up options, even those that libpq would take from PGOPTIONS.
        arguments.setdefault("options", "")
    else:
        # SET_SESSION may take as long as any statement, whatever the limit of the role or the database.
        limit = round(options.statement_timeout * 1000)
        ours = f"-c {_OWN_SESSION}=yes -c statement_timeout={limit}"
        arguments["options"] = f"{target.options} {ours}".strip()
    return arguments


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's own connection, whose errors are not ours."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def shut(connection: psycopg.Connection[Any]) -> None:
    """Break a connection that another thread may be waiting for."""
    with suppress(psycopg.Error, OSError):
        number = connection.fileno()
        with socket.socket(fileno=os.dup(number)) as end:
            # A connection that was closed meanwhile says so, and the number may be that of another socket.
            if connection.fileno() == number:
                end.shutdown(socket.SHUT_RDWR)


def pooling(options: Options) -> dict[str, Any]:
    """Return the engine's arguments that say whether it keeps connections.

    One that was lost while it lay in the pool is replaced before it is used.
    """
    if options.pool is None and not options.keep:
        return {"poolclass": NullPool}
    pool = options.pool or Pool(size=1)
    return {
        "pool_size": pool.size,
        "max_overflow": pool.overflow,
        "pool_timeout": pool.timeout,
        "pool_recycle": POOL_RECYCLE,
        # Few connections stay in use, and those need no check.
        "pool_use_lifo": True,
        "pool_events": [(_note_idle, "checkin"), (_check_idle, "checkout")],
    }


def _note_idle(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _check_idle(connection: psycopg.Connection[Any], record: ConnectionPoolEntry, *_: Any) -> None:
    """Raise InvalidatePoolError for a connection that the server has ended; that costs no round trip.

    Only a connection that was idle for IDLE_LIMIT may have been lost without a word, and is asked.
    """
    if (idle_since := record.info.get(_IDLE_SINCE)) is None:
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


def set_session(
    execute: Callable[..., Any], info: MutableMapping[Any, Any], options: Options, place: str
) -> None:
    """Set everything by one statement, for the transaction only unless the session is our own.

    `execute` runs it on the connection, and `info` gets MIGRATED and OWN. Only one schema counts from then
    on: that of the options, or the one that the search path leads to. Raises SchemaError, or TaskdbError
    for a schema that the role may not use.
    """
    # An administrator may have set any of these for a role or a database, or a user in the environment.
    settings = {
        "client_encoding": "UTF8",
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        # psycopg reads the year 1 in no other time zone.
        "TimeZone": "UTC",
        "standard_conforming_strings": "on",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "quote_all_identifiers": "off",
        "statement_timeout": f"{round(options.statement_timeout * 1000)}ms",
        "lock_timeout": f"{options.lock_timeout}s",
    }
    info.pop(COMPARED, None)
    found = execute(SET_SESSION, (json.dumps(settings), options.schema)).fetchone()
    name, exists, usable, info[MIGRATED], info[OWN], *_ = found
    # Schemas whose names begin with pg_ are the server's own, or temporary.
    if name is None or (options.schema is None and name.startswith("pg_")):
        raise SchemaError(
            f"no schema in the search path exists in {place} that the role may use",
            "GRANT USAGE ON SCHEMA to the role, create a schema, or choose one with --schema",
        )
    if not exists:
        raise SchemaError(f"{place}: the schema does not exist", f"CREATE SCHEMA {identifier(name)}")
    if not usable:
        raise TaskdbError(
            f"{place}: the role of the database URL may not use this schema",
            f"GRANT USAGE ON SCHEMA {identifier(name)} TO the role",
        )


def allow_bulk_work(connection: Connection, options: Options) -> None:
    """Give the statements of the transaction that has begun the limit of bulk work, and let it last.

    A setting of the role or the database must not end the session while it waits for a disk, or for the
    reader of an export.
    """
    seconds, _ = options.statement_limit(bulk=True)
    settings = {"statement_timeout": round(seconds * 1000), "idle_in_transaction_session_timeout": 0}
    if driver_connection(connection).info.server_version >= 170_000:  # noqa: PLR2004
        settings["transaction_timeout"] = 0
    connection.exec_driver_sql("; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items()))


def require_schema_name(name: str) -> None:
    """Raise InvalidConfiguration for a name that no schema of taskdb can have."""
    # Text that is printable can be encoded. The search path takes "$user" for the name of the role.
    usable = name.isprintable() and 1 <= len(name.encode()) <= _LONGEST_NAME
    if not usable or name.startswith("pg_") or name in ("information_schema", "$user"):
        raise InvalidConfiguration(
            f"taskdb cannot use a schema named {brief(name)!r}",
            f"give --schema a name of 1 to {_LONGEST_NAME} printable bytes that is not PostgreSQL's own",
        )
