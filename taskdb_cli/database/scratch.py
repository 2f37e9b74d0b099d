"""A database that stands in for another one for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options

MEMORY = Path("/dev/shm")  # noqa: S108 (the directory in it is made safely)
"""The file system of Linux that is kept in memory."""


@contextmanager
def scratch_database(*, secret: bool = False) -> Iterator[Database]:
    """Yield a temporary SQLite database without tables, which nothing outlives.

    A `secret` one is kept in memory where the system has a file system for that; so is what is sorted.
    """
    place = MEMORY if secret and os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="taskdb-", dir=place) as directory:
        url = URL.create("sqlite", database=f"{directory}/scratch.sqlite3")
        yield Database(url, Options(disposable=True, secret=secret))
