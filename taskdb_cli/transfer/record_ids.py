"""External ids for records that have none of their own."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from taskdb_cli.errors import StorageFailed
from taskdb_cli.transfer.foreign import digest

_COUNT = "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"


@contextmanager
def record_ids() -> Iterator[Callable[[str], str]]:
    """Give a function that names a record by a hash of its text, and by its ordinal among equal ones.

    The memory is constant. Raises StorageFailed if there is no room for a temporary file.
    """
    # SQLite keeps a database without a name in memory, and in a temporary file when it grows.
    with closing(sqlite3.connect("", isolation_level=None)) as seen:
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID")

        def name(text: str) -> str:
            id = digest(text)
            try:
                [(times,)] = seen.execute(_COUNT, (id,)).fetchall()
            except sqlite3.Error as exc:
                hint = "nothing was imported; make room there, or set TMPDIR to a directory on another disk"
                raise StorageFailed(f"a temporary file cannot be written: {exc}", hint) from exc
            return id if times == 1 else f"{id}-{times}"

        yield name
