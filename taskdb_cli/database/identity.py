"""The identity of a database: a UUID that a migration makes and every archive carries."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, inspect

from taskdb_cli.database.schema import IDENTITY_TABLE


def read_identity(connection: Connection) -> str | None:
    """Return the identity of a database, or None at a revision before the identity table."""
    if IDENTITY_TABLE not in inspect(connection).get_table_names():
        return None
    return connection.exec_driver_sql(f"SELECT identity FROM {IDENTITY_TABLE}").scalar()  # noqa: S608 (ours)


def adopt_identity(connection: Connection, identity: str) -> None:
    """Replace the identity of a database, in the transaction of the connection."""
    from taskdb_cli.models.identity import DatabaseIdentity

    connection.execute(delete(DatabaseIdentity))
    connection.execute(insert(DatabaseIdentity).values(id=1, identity=identity))
