"""How the health of a SQLite file is measured."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.sql.schema import Table

from taskdb_cli.database.health import (
    Access,
    Encryption,
    Identity,
    NotMeasured,
    Orphans,
    Sessions,
    Sizes,
    Slots,
    Space,
    Version,
    foreign_keys,
    numbered_tables,
)
from taskdb_cli.database.plan import literal_sql
from taskdb_cli.database.sqlite.damage import OF_ROWS, check
from taskdb_cli.database.sqlite.files import sidecars
from taskdb_cli.database.sqlite.limits import LimitedConnection

_IN_A_FILE = "a file has no server"

_WRITE_VERSION, _WAL = 18, b"\x02"
"""Where the mode is in the header of a file, by SQLite's documentation of its format."""


class SQLiteProbe:
    """Asks the library, and the file system about the file."""

    # Anybody who opens a file can turn its CHECK constraints off.
    vouches = False

    def __init__(self, connection: Connection, path: str) -> None:
        """Begin, which reads the file's first page and refuses UTF-16; opening a file does neither."""
        self._connection = connection
        self._path = Path(path)
        raw = connection.connection.driver_connection
        assert isinstance(raw, LimitedConnection)
        self._raw = raw
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")

    def version(self) -> Version:
        """Return the version of the library that Python was built with."""
        return Version(f"SQLite {sqlite3.sqlite_version}")

    def encryption(self) -> Encryption:
        """Not measured."""
        raise NotMeasured(_IN_A_FILE)

    def unvalidated(self) -> dict[str, str]:
        """Return none: a table is always made with its constraints."""
        return {}

    def unenforced(self) -> dict[str, str]:
        """Return none: every connection decides by itself whether it checks foreign keys, and ours does."""
        return {}

    def access(self) -> Access:
        """Not measured."""
        raise NotMeasured(_IN_A_FILE)

    def require_all_rows(self) -> None:
        """Do nothing: a file shows all its rows."""

    def how_to_validate(self, table: str, constraint: str) -> str:
        """Never asked."""
        raise AssertionError(constraint)

    def invalid_indexes(self) -> list[str]:
        """Return none: an index is built entirely or not at all."""
        return []

    def how_to_rebuild(self, index: str) -> str:
        """Never asked."""
        raise AssertionError(index)

    def orphans(self) -> list[Orphans]:
        """Count what the library's own check of foreign keys finds."""
        found = Counter((row[0], row[2]) for row in self._all("PRAGMA foreign_key_check"))
        return [
            Orphans(table, column, parent, found[table, parent]) for table, column, parent in foreign_keys()
        ]

    def identities(self) -> list[Identity]:
        """Compare what AUTOINCREMENT remembers with what is there."""
        # The library takes what is no integer for 0 too.
        given = dict(self._all("SELECT name, coalesce(CAST(seq AS INTEGER), 0) FROM sqlite_sequence"))
        return [self._identity(table, given.get(table)) for table in numbered_tables()]

    def _identity(self, table: str, last: int | None) -> Identity:
        [(highest,)] = self._all(f"SELECT coalesce(max(id), 0) FROM {table}")
        remedy = f"UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM {table}) WHERE name = '{table}'"
        if last is None:
            remedy = f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', max(id) FROM {table}"
        # The library also looks at the highest id that is there, so that an insert never fails.
        return Identity(table, (last or 0) + 1, highest, 2**63 - 1, collides=False, remedy=remedy)

    def broken_rows(self) -> list[str]:
        """Return what quick_check says of rows: values that are missing, or of another type."""
        return [line for line in self._quick_check if line.startswith(OF_ROWS)]

    def damage(self) -> list[str]:
        """Return what quick_check says of pages."""
        return [line for line in self._quick_check if not line.startswith(OF_ROWS)]

    @cached_property
    def _quick_check(self) -> list[str]:
        return check(self._raw, self.sizes().database)

    def slots(self) -> Slots:
        """Not measured."""
        raise NotMeasured(_IN_A_FILE)

    def transactions(self, *, idle: bool) -> Sessions:
        """Not measured."""
        raise NotMeasured(_IN_A_FILE)

    def how_to_end(self, pid: int) -> str:
        """Never asked."""
        raise AssertionError(pid)

    def blocked(self) -> Sessions:
        """Not measured."""
        raise NotMeasured(_IN_A_FILE)

    def sizes(self) -> Sizes:
        """Return the sizes of the file and of what has not been written back to it yet."""
        return Sizes(sum(path.stat().st_size for path in self._files()), {})

    def rows(self, table: str) -> int:
        """Count them."""
        [(number,)] = self._all(f"SELECT count(*) FROM {table}")
        return int(number)

    def journal_mode(self) -> str:
        """Return the mode that is kept in the file."""
        with self._path.open("rb") as file:
            if file.read(_WRITE_VERSION + 1)[_WRITE_VERSION:] == _WAL:
                return "wal"
        # Of a file that it only reads, where nobody can write, the library names another mode than WAL.
        [(mode,)] = self._all("PRAGMA journal_mode")
        return str(mode)

    def writable_by_others(self) -> list[str]:
        """Look at the mode of the file, its sidecar files and its directory."""
        places = [*self._files(), self._path.parent]
        return [str(place) for place in places if place.stat().st_mode & stat.S_IWOTH]

    def disk(self) -> Space:
        """Return what is free for this user."""
        usage = shutil.disk_usage(self._path.parent)
        return Space(usage.free, usage.total)

    def reads_everything(self, query: Select[Any], table: Table) -> bool:
        """Look for a scan without an index in the plan."""
        sql = literal_sql(self._connection, query)
        lines = [row[-1] for row in self._all(f"EXPLAIN QUERY PLAN {sql}")]
        return any(line.startswith(f"SCAN {table.name}") and "INDEX" not in line for line in lines)

    def set_time(self, seconds: float) -> None:
        """Limit the statements of this connection together."""
        self._raw.clock.end_within(seconds)

    def sever(self) -> None:
        """Interrupt the statement."""
        self._raw.interrupt()

    def _files(self) -> list[Path]:
        return [self._path, *(path for path in sidecars(self._path) if path.exists())]

    def _all(self, sql: str) -> list[Any]:
        return list(self._raw.execute(sql))
