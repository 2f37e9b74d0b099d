"""Every check, in the order in which they run and are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taskdb_cli.health.checks import activity, backups, connection, integrity, queries, schema, storage
from taskdb_cli.health.report import Check
from taskdb_cli.health.subject import Look


@dataclass(frozen=True)
class Definition:
    """A check, by the name of its function."""

    measure: Callable[[Look], Check]
    needs_head: bool = False
    """Whether it looks at the tables of the newest revision."""
    offline: bool = False
    """Whether it needs no connection, so that it is measured even when the server hangs."""
    scans: bool = False
    """Whether it reads whole tables or the whole file, so that it runs when all else is measured."""

    @property
    def name(self) -> str:
        """What the check is called."""
        return self.measure.__name__


DEFINITIONS = (
    Definition(connection.connection),
    Definition(connection.version),
    Definition(connection.tls),
    Definition(schema.revision),
    Definition(schema.drift, needs_head=True),
    Definition(schema.access, needs_head=True),
    Definition(schema.constraints, needs_head=True),
    Definition(schema.indexes, needs_head=True),
    Definition(integrity.orphans, needs_head=True, scans=True),
    Definition(integrity.identity, needs_head=True),
    Definition(integrity.identity_left, needs_head=True),
    Definition(integrity.rules, needs_head=True, scans=True),
    Definition(activity.connections),
    Definition(activity.long_transactions),
    Definition(activity.idle_in_transaction),
    Definition(activity.blocked),
    Definition(storage.size, needs_head=True),
    Definition(storage.quick_check, scans=True),
    Definition(storage.journal_mode),
    Definition(storage.permissions),
    Definition(storage.disk),
    Definition(storage.leftovers, offline=True),
    Definition(queries.plans, needs_head=True),
    Definition(backups.backup, offline=True),
    Definition(backups.backup_archive, offline=True),
    Definition(backups.drill, offline=True),
    Definition(backups.shrinkage, offline=True),
    Definition(backups.growth, needs_head=True),
    Definition(backups.backup_space, offline=True),
    Definition(backups.backup_strays, offline=True),
)
