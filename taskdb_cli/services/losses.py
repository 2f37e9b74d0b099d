"""What data a migration takes away, told before it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, column, func, inspect, select, table

from taskdb_cli.database.schema import IDENTITY_TABLE, VERSION_TABLE

_LOSING = re.compile(
    r"""^\s*(?:
        DROP\ TABLE\ (?:IF\ EXISTS\ )?(?P<dropped>\w+)
      | ALTER\ TABLE\ (?P<narrowed>\w+)\ DROP\ COLUMN\ (?:IF\ EXISTS\ )?(?P<column>\w+)
      | (?:DELETE\ FROM|TRUNCATE(?:\ TABLE)?)\ (?P<emptied>\w+)(?P<partly>\s+WHERE\ )?
      | UPDATE\ (?P<changed>\w+)\ SET
    )""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)

_MEANING = {IDENTITY_TABLE: ", without which older backups do not count,"}


@dataclass(frozen=True)
class Loss:
    """One thing that a migration drops, empties or changes, and how much it may be of."""

    action: str
    amount: int
    unit: str

    def __str__(self) -> str:
        """Say it as a part of a sentence: drops table tasks with 1 204 rows."""
        amount = f"{self.amount:,}".replace(",", " ")
        return f"{self.action} with {amount} {self.unit}{'' if self.amount == 1 else 's'}"


def losses(connection: Connection, script: str) -> list[Loss]:
    """Return what the statements of a script would take away from the database, in their order."""
    inspector = inspect(connection)
    live = {
        name: {each["name"] for each in inspector.get_columns(name)} for name in inspector.get_table_names()
    }
    found = (match.groupdict() for match in _LOSING.finditer(script))
    return [loss for parts in found for loss in _losses(connection, live, parts)]


def _losses(
    connection: Connection, live: dict[str, set[str]], parts: dict[str, str | None]
) -> Iterator[Loss]:
    name = next(part for part in parts.values() if part)
    if name == VERSION_TABLE or name not in live:
        return
    if lost := parts["column"]:
        if lost in live[name]:
            yield Loss(f"drops column {name}.{lost}", _count(connection, name, lost), "value")
        return
    deletes = "deletes some of" if parts["partly"] else "deletes from"
    verb = "drops" if parts["dropped"] else deletes if parts["emptied"] else "changes"
    yield Loss(f"{verb} table {name}{_MEANING.get(name, '')}", _count(connection, name), "row")


def _count(connection: Connection, name: str, of: str | None = None) -> int:
    counted = func.count(column(of)) if of else func.count()
    return connection.execute(select(counted).select_from(table(name))).scalar_one()
