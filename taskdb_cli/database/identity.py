"""Which database this is: the UUID that a migration gave it, and that its archives carry."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, inspect

from taskdb_cli.database.schema import IDENTITY_TABLE


def read_identity(connection: Connection) -> str | None:
    """Return the identity of a database, or None for one of a revision that has none yet."""
    if IDENTITY_TABLE not in inspect(connection).get_table_names():
        return None
    return connection.exec_driver_sql(f"SELECT identity FROM {IDENTITY_TABLE}").scalar()  # noqa: S608 (ours)


def adopt_identity(connection: Connection, identity: str) -> None:
    """Let a database be another one from now on, in the transaction of the connection."""
    from taskdb_cli.models.identity import DatabaseIdentity

    connection.execute(delete(DatabaseIdentity))
    connection.execute(insert(DatabaseIdentity).values(id=1, identity=identity))
