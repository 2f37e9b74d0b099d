"""Indexes that are dropped before many rows are written, and built anew behind them."""

from collections.abc import Collection, Iterable

from taskdb_cli.database.content import keys_and_indexes
from taskdb_cli.database.sqlite.connection import LimitedConnection


def more_memory(raw: LimitedConnection) -> None:
    """Use more memory for rows that are written.

    They fill the index of a unique constraint in no order. With the usual 2 MiB, its pages would be written
    and read again and again.
    """
    raw.execute("PRAGMA cache_size = -16384")


def drop_indexes(raw: LimitedConnection, tables: Collection[str]) -> list[str]:
    """Drop the indexes of taskdb that are no constraints; return the statements that make them again."""
    query = "SELECT sql, name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
    definitions = []
    for sql, name, table in raw.execute(query).fetchall():
        if table in tables and name in keys_and_indexes(table):
            definitions.append(sql)
            raw.execute(f'DROP INDEX "{name}"')
    return definitions


def build_indexes(raw: LimitedConnection, definitions: Iterable[str]) -> None:
    """Make indexes again."""
    # SQLite sorts faster in the processor's cache. Two threads may sort besides the one that reads.
    raw.execute("PRAGMA cache_size = -4096")
    raw.execute("PRAGMA threads = 2")
    for sql in definitions:
        raw.execute(sql)
