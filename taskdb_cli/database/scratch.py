"""A database that stands in for another one for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options


@contextmanager
def scratch_database() -> Iterator[Database]:
    """Yield a temporary SQLite database without tables, which nothing outlives."""
    with TemporaryDirectory(prefix="taskdb-") as directory:
        url = URL.create("sqlite", database=f"{directory}/scratch.sqlite3")
        yield Database(url, Options(disposable=True))
