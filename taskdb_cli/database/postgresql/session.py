"""The settings of a PostgreSQL session, and the one schema that it works on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from taskdb_cli.database.options import Options
from taskdb_cli.database.schema import VERSION_TABLE, require_utf8
from taskdb_cli.errors import InvalidConfiguration, SchemaMissing, TaskdbError

LONGEST_NAME = 63
"""The longest name in bytes; the server would shorten a longer one."""

OWN_SESSION = "taskdb.session"
"""A setting that only start-up options set. A session without it may be a pooler's, which others use too."""

# An administrator may have set any of these for a role or a database, or a user in the environment.
_SETTINGS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    # psycopg reads the year 1 in no other time zone.
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
}

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
    pg_catalog.current_setting('{OWN_SESSION}', true) IS NOT DISTINCT FROM 'yes' AS own
) AS session LEFT JOIN pg_catalog.pg_namespace ON nspname = name
"""  # noqa: S608 (our own names)


class Session(NamedTuple):
    """What `set_session` finds out."""

    migrated: bool
    """Whether the schema holds taskdb's version table."""
    own: bool
    """Whether the settings last for the session, and not only for its transaction."""


def session_settings(options: Options) -> dict[str, str]:
    """Return what is set in a session, besides the search path."""
    return _SETTINGS | {
        "statement_timeout": f"{round(options.statement_timeout * 1000)}ms",
        "lock_timeout": f"{options.lock_timeout}s",
    }


def set_session(
    raw: psycopg.Connection[Any], execute: Callable[..., Any], options: Options, place: str
) -> Session:
    """Set everything by one statement, for the transaction only unless the session is our own.

    `execute` runs it on the connection. Only one schema counts from then on: that of the options, or the one
    that the search path leads to. Raises EncodingUnsupported, SchemaMissing, or TaskdbError for a schema that
    the role may not use.
    """
    require_utf8(place, raw.info.parameter_status("server_encoding"), _HOW_TO_CREATE)
    found = execute(SET_SESSION, (json.dumps(session_settings(options)), options.schema)).fetchone()
    assert found is not None
    name, exists, usable, migrated, own, *_ = found
    # Schemas whose names begin with pg_ are the server's own, or temporary.
    if name is None or (options.schema is None and name.startswith("pg_")):
        raise SchemaMissing(
            f"no schema in the search path exists in {place} that the role may use",
            "GRANT USAGE ON SCHEMA to the role, create a schema, or choose one with --schema",
        )
    if not exists:
        raise SchemaMissing(f"{place}: the schema does not exist", f"CREATE SCHEMA {quoted(name)}")
    if not usable:
        raise TaskdbError(
            f"{place}: the role of the database URL may not use this schema",
            f"GRANT USAGE ON SCHEMA {quoted(name)} TO the role",
        )
    return Session(migrated, own)


_HOW_TO_CREATE = "make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"


def require_schema_name(name: str) -> None:
    """Raise InvalidConfiguration for a name that no schema of taskdb can have."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidConfiguration("the name of the schema is not UTF-8 text", "check --schema") from None
    reason = ""
    if not name:
        reason = "is empty"
    elif length > LONGEST_NAME:
        reason = f"is longer than {LONGEST_NAME} bytes"
    elif not name.isprintable():
        reason = "holds a control character"
    elif name.startswith("pg_") or name in ("information_schema", "$user"):
        # The search path takes "$user" for the name of the role, in quotes too.
        reason = f"must not be {name}, which PostgreSQL keeps for itself"
    if reason:
        raise InvalidConfiguration(f"the name of the schema {reason}", "check --schema and TASKDB_SCHEMA")


def quoted(name: str) -> str:
    """Return a name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'


def identifier(name: str) -> str:
    """Return a name as a person writes it in SQL: quoted only if it must be."""
    plain = re.fullmatch("[a-z_][a-z0-9_]*", name) and name not in RESERVED_WORDS
    return name if plain else quoted(name)
