"""What a role must be allowed for a migration, as its statements say."""

import re

from sqlalchemy import Connection

from taskdb_cli.errors import NotPermitted

_NAME = r"(?:CONCURRENTLY )?(?:IF (?:NOT )?EXISTS )?(?:ONLY )?(\w+)"
_ALTERED = re.compile(rf"^(?:ALTER TABLE|CREATE (?:UNIQUE )?INDEX \w[\w ]* ON) {_NAME}", re.MULTILINE)
_DROPPED = re.compile(rf"^DROP (?:TABLE|INDEX) {_NAME}", re.MULTILINE)
_CREATING = re.compile(r"^CREATE (?:TABLE|INDEX|UNIQUE INDEX) ", re.MULTILINE)

# A member that inherits from a role has its rights, and a superuser all of them. The owner of a schema may
# drop what is in it.
_MISSING = """
SELECT DISTINCT quote_ident(pg_get_userbyid(relowner)) AS owner, relname AS place
FROM unnest(%(names)s::text[]) AS name
JOIN pg_class ON pg_class.oid = to_regclass(name) JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE NOT pg_has_role(relowner, 'USAGE')
AND NOT (name <> ALL (%(altered)s) AND pg_has_role(nspowner, 'USAGE'))
ORDER BY place
"""
_SCHEMA = (
    "SELECT quote_ident(current_user), quote_ident(current_schema()),"
    " has_schema_privilege(current_schema(), 'CREATE')"
)


def require_migratable(connection: Connection, place: str, sql: str) -> None:
    """Raise NotPermitted if it is sure that the server will refuse these statements to the role."""
    altered, dropped = set(_ALTERED.findall(sql)), set(_DROPPED.findall(sql))
    wanted = {"names": sorted(altered | dropped), "altered": sorted(altered)}
    missing = connection.exec_driver_sql(_MISSING, wanted).all()
    role, schema, may_create = connection.exec_driver_sql(_SCHEMA).one()
    lacks = [f"it does not own {', '.join(row.place for row in missing)}"] if missing else []
    hint = f"run it as {', '.join(sorted({row.owner for row in missing}))}, which owns the tables"
    if _CREATING.search(sql) and not may_create:
        lacks.append(f"it may create nothing in the schema {schema}")
        hint = hint if missing else f"GRANT CREATE ON SCHEMA {schema} TO {role}"
    if lacks:
        message = f"the role {role} may not migrate {place}: {', and '.join(lacks)}; nothing was changed"
        raise NotPermitted(message, hint)
