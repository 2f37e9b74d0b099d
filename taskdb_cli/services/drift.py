"""How the live schema of a database differs from that of the models."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.schema import OUR_TABLES
from taskdb_cli.models import metadata


def differences(connection: Connection, backend: Backend) -> Iterator[str]:
    """Name every difference; change nothing."""
    live = backend.facts(connection, OUR_TABLES)
    with backend.scratch(connection) as scratch:
        metadata().create_all(scratch, checkfirst=False)
        wanted = backend.facts(scratch, OUR_TABLES)
    for name in sorted(wanted.keys() | live.keys()):
        if name not in live:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not of taskdb"
        elif live[name] != wanted[name]:
            yield f"{name} is {live[name]}, not {wanted[name]}"
