"""How the live schema of a database differs from what a revision made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from taskdb_cli.database.backend import Backend
from taskdb_cli.database.identity import read_identity
from taskdb_cli.database.schema import IDENTITY_TABLE, OUR_TABLES, head_revision, recorded_facts


def differences(connection: Connection, backend: Backend, revision: str | None = None) -> Iterator[str]:
    """Yield every difference from the newest revision, or from another one; change nothing."""
    live = backend.facts(connection, OUR_TABLES)
    wanted = recorded_facts(revision or head_revision(), backend.dialect)
    yield from compare(live, wanted)
    if f"table {IDENTITY_TABLE}" in live.keys() & wanted.keys() and read_identity(connection) is None:
        yield f"the row of {IDENTITY_TABLE} is missing"


def compare(live: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Yield every difference between two sets of facts: those found and those wanted."""
    for name in sorted(wanted.keys() | live.keys()):
        if name not in live:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not of taskdb"
        elif live[name] != wanted[name]:
            yield f"{name} is {live[name]}, not {wanted[name]}"
