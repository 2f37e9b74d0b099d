"""The search index on PostgreSQL: trigrams of titles and descriptions, by the extension pg_trgm."""

import re
from collections.abc import Collection
from contextlib import suppress
from math import sqrt
from typing import NamedTuple

import psycopg
from sqlalchemy import Connection

from taskdb_cli.database.postgresql.connection import driver_connection
from taskdb_cli.database.postgresql.schema import SEARCH_INDEXES
from taskdb_cli.database.search_index import SearchIndex
from taskdb_cli.database.sql_log import logged
from taskdb_cli.errors import Conflict, NotPermitted, SchemaError, TransactionConflict

_ALONE = "5s"
"""How long dropping what an interrupted build has left waits for others."""

_CLIENT_CHECK = "2s"
"""How soon the server gives up a build whose client is gone."""

_SAMPLE = 1000
"""How many texts of each part the planner knows.

It looks for the text of a search in all of them. With the usual 100, a phrase of 1 % of the tasks is often in
none, and is taken for rare. A text that is in one is taken for frequent, though no other task may hold it.
With more than 1000, planning a search takes twice as long.
"""

_FEW = 2000
"""So many tasks of users are read in some milliseconds."""

_THEIRS = (
    "SELECT count(*), (SELECT reltuples FROM pg_class WHERE oid = to_regclass('tasks'))"  # noqa: S608
    f" FROM (SELECT FROM tasks WHERE user_id = ANY (%s) LIMIT {_FEW + 1}) AS theirs"
)
_ESTIMATE = (
    "EXPLAIN (FORMAT JSON) SELECT FROM tasks"
    " WHERE lower(title) LIKE %(pattern)s ESCAPE '/' OR lower(description) LIKE %(pattern)s ESCAPE '/'"
)

# A part that is being built cannot be told otherwise from one whose build was interrupted. A role sees only
# the builds of its own sessions here, and that of a client that was killed is one.
_PARTS = """
SELECT relname, coalesce(indrelid = to_regclass('tasks'), false),
    coalesce(pg_get_indexdef(pg_class.oid, 0, true), ''),
    coalesce(indisvalid AND indisready AND indislive, false), pg_total_relation_size(pg_class.oid),
    (SELECT min(pid) FROM pg_stat_progress_create_index WHERE index_relid = pg_class.oid)
FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
WHERE relname = ANY (%s)
  AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('tasks'))
"""

# pg_trgm asks the locale of the database what a letter is, also if the database sorts by another one.
_TABLE = """
SELECT pg_table_size(to_regclass('tasks')), datctype FROM pg_database WHERE datname = current_database()
"""

_RIGHTS = """
SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(relowner)), pg_has_role(relowner, 'USAGE'),
    quote_ident(nspname), has_schema_privilege(nspname, 'CREATE')
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass('tasks')
"""

_OPERATORS = """
SELECT quote_ident(nspname), has_schema_privilege(nspname, 'USAGE'), quote_ident(current_user)
FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod JOIN pg_namespace ON pg_namespace.oid = opcnamespace
WHERE opcname = 'gin_trgm_ops' AND amname = 'gin' ORDER BY 2 DESC, 1 LIMIT 1
"""

# The schema of the tables may be dropped one day, and others may use the extension.
_EXTENSION = """
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm'), quote_ident(coalesce(
    (SELECT nspname FROM pg_namespace WHERE nspname = 'public' AND has_schema_privilege(nspname, 'USAGE')),
    current_schema()
)), quote_ident(current_user)
"""


class _Part(NamedTuple):
    """A relation that has the name of a part of the index."""

    is_index: bool
    definition: str
    is_valid: bool
    bytes: int
    builder: int | None


def find(connection: Connection) -> SearchIndex:
    """Return what the database has of the index."""
    parts = _parts(connection)
    table, locale = connection.exec_driver_sql(_TABLE).one()
    only_ascii = locale in ("C", "POSIX")
    if not parts:
        return SearchIndex("off", tasks_bytes=table, only_ascii=only_ascii)
    size = sum(part.bytes for part in parts.values())
    faults = list(filter(None, (_fault(name, parts.get(name)) for name in SEARCH_INDEXES)))
    return SearchIndex("incomplete" if faults else "on", size, "; ".join(faults), table, only_ascii)


def build(connection: Connection, place: str, slow_query_ms: int) -> None:
    """Do what `Backend.build_search_index` says, while others read and write.

    Raises Conflict if something else has one of the names, and NotPermitted if the role may not build it.
    """
    _require_rights(connection, place)
    connection.rollback()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    operators = f"{_find_operators(connection, place)}.gin_trgm_ops"
    parts = _parts(connection)
    wanted = [name for name in SEARCH_INDEXES if _fault(name, parts.get(name))]
    for name in wanted:
        if name in parts and not parts[name].is_index:
            problem = f"{name} in {place} is not an index of tasks"
            raise Conflict(problem, "rename it: the search index needs the name")
    raw = driver_connection(connection)
    # Not every server can notice it.
    with suppress(psycopg.Error):
        raw.execute(f"SET client_connection_check_interval = '{_CLIENT_CHECK}'")
    try:
        for name in wanted:
            column = name.removeprefix("tasks_").removesuffix("_search")
            build = f"CREATE INDEX CONCURRENTLY {name} ON tasks USING gin (lower({column}) {operators})"
            for statement in (f"DROP INDEX CONCURRENTLY IF EXISTS {name}", build):
                # SQLAlchemy would close a connection that is interrupted.
                with logged(statement, slow_query_ms, long=True):
                    raw.execute(statement.encode())
    except BaseException as exc:
        with suppress(psycopg.Error):
            raw.execute(f"SET lock_timeout = '{_ALONE}'")
            for name in wanted:
                raw.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
        if isinstance(exc, psycopg.errors.LockNotAvailable):
            problem = f"a transaction that is older than the search index stayed open in {place}"
            hint = "'taskdb health' shows it; try again when it has ended, or raise TASKDB_MIGRATION_WAIT"
            raise TransactionConflict(problem, hint) from exc
        raise
    # Without statistics of what is indexed, the planner takes each text for equally rare.
    for name in SEARCH_INDEXES:
        connection.exec_driver_sql(f"ALTER INDEX {name} ALTER 1 SET STATISTICS {_SAMPLE}")
    connection.exec_driver_sql("ANALYZE tasks")


def drop(connection: Connection, place: str) -> None:
    """Do what `Backend.drop_search_index` says; raise NotPermitted if the role may not drop it."""
    _require_rights(connection, place)
    names = [name for name, part in _parts(connection).items() if part.is_index]
    connection.rollback()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    for name in names:
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def hides(connection: Connection, text: str, users: Collection[int]) -> bool:
    """Do what `Backend.hides_search_index` says.

    The planner expects nearly the same time for every search of the index. In truth the time grows with the
    matches among all tasks. Without the index, each row of a page costs about (tasks / matches) rows.
    """
    theirs, rows = connection.exec_driver_sql(_THEIRS, (list(users),)).one()
    if theirs <= _FEW:
        return True
    [plan] = connection.exec_driver_sql(_ESTIMATE, {"pattern": f"%{text}%"}).scalar_one()
    return bool(plan["Plan"]["Plan Rows"] > 2 * sqrt(max(rows, 0)))


def _parts(connection: Connection) -> dict[str, _Part]:
    rows = connection.exec_driver_sql(_PARTS, (list(SEARCH_INDEXES),))
    return {name: _Part(*part) for name, *part in rows}


def _fault(name: str, part: _Part | None) -> str:
    """Return what is wrong with a part, or nothing."""
    if part is None:
        return f"{name} is missing"
    if not part.is_index:
        return f"{name} is not an index of tasks"
    if not re.fullmatch(SEARCH_INDEXES[name], part.definition):
        return f"{name} is another index than 'taskdb search on' makes"
    if part.builder:
        return f"session {part.builder} is building {name}"
    return "" if part.is_valid else f"{name} is invalid"


def _require_rights(connection: Connection, place: str) -> None:
    role, owner, owns, schema, may_create = connection.exec_driver_sql(_RIGHTS).one()
    if owns and may_create:
        return
    hint = (
        f"GRANT CREATE ON SCHEMA {schema} TO {role}" if owns else f"run it as {owner}, which owns the tables"
    )
    raise NotPermitted(f"the role {role} may not change the indexes of tasks in {place}", hint)


def _find_operators(connection: Connection, place: str) -> str:
    """Return the schema of pg_trgm, which is created if it is missing; raise SchemaError if that fails."""
    if found := connection.exec_driver_sql(_OPERATORS).first():
        schema, usable, role = found
        if not usable:
            problem = f"the role {role} may not use the extension pg_trgm of {place}"
            raise SchemaError(problem, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        return str(schema)
    available, schema, role = connection.exec_driver_sql(_EXTENSION).one()
    creation = f"CREATE EXTENSION pg_trgm SCHEMA {schema}"
    if not available:
        problem = f"the server of {place} does not have the extension pg_trgm, which the search index needs"
        raise SchemaError(problem, "install PostgreSQL's additional modules there (postgresql-contrib)")
    try:
        connection.exec_driver_sql(creation)
    except NotPermitted as exc:
        problem = f"the role {role} may not create the extension pg_trgm, which the search index needs"
        hint = f"let an administrator run it in {place}: {creation}"
        raise SchemaError(problem, hint) from exc
    return str(schema)
