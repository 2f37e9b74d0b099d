"""Databases of every engine, and the command line, for all tests.

The servers are real: PostgreSQL 16, 17 and 18 come with packages from PyPI, 15 with Debian's. They are
started once, by the process that starts the tests. TASKDB_TEST_DATABASE_URL names another server to use
instead; its role must be allowed to create databases. A PgBouncer, where it is installed, stands in front of
PostgreSQL 18.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, make_url

from taskdb_cli.cli.run import run
from taskdb_cli.database import Database, schema
from taskdb_cli.database.options import Options
from taskdb_cli.services import migrate
from tests.pooler import PGBOUNCER, start_pooler
from tests.proxy import Proxy
from tests.servers import PROGRAMS, PostgresServer, Replication, start_server
from tests.watchdog import watch_processes, watched

pytest_plugins = ["tests.azurite", "tests.s3"]

SOAK = os.environ.get("TASKDB_SOAK") == "1"

POSTGRESQL_VERSIONS = (16, 18)
WHERE_VERSIONS_DIFFER = ("database", "backup", "services", "health")
WHERE_THEY_DO_NOT = "services/history"
"""Directories whose tests run on every version, and one in them whose tests do not.

All others run on the older ones with TASKDB_SOAK=1 only.
"""

TEMPLATE = "taskdb_template"
MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
"""Bytes that all databases and files of the tests find enough at any moment."""

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)

IMPATIENT = Options(lock_timeout=1, retry_budget=3)
"""A test that waits for what will not come should not wait for long."""

_external = os.environ.get("TASKDB_TEST_DATABASE_URL")
SERVERS = ("server",) if _external else tuple(f"postgresql{version}" for version in POSTGRESQL_VERSIONS)
ENGINES = ("sqlite", *SERVERS)
ENDS = pytest.mark.parametrize("engine", ENGINES if SOAK else ("sqlite", SERVERS[-1]), indirect=True)
"""For a long test, one engine of each kind; with TASKDB_SOAK=1 all."""

PAIRS = (
    list(itertools.product(ENGINES, repeat=2))
    if SOAK
    else list(itertools.pairwise(("sqlite", "sqlite", SERVERS[0], SERVERS[-1], "sqlite")))
)
"""From which engine to which: both kinds each way, every version on both sides; with TASKDB_SOAK=1 all."""

FAULT_SERVERS = (
    *SERVERS,
    *(
        pytest.param(
            f"postgresql{version}",
            marks=pytest.mark.skipif(
                not programs.is_dir() and os.environ.get("CI") != "true",
                reason=f"PostgreSQL {version} is not installed",
            ),
        )
        for version, programs in ({} if _external else PROGRAMS).items()
    ),
)
"""The servers that tests of faults run on: two more major versions."""

POOLED = pytest.param(
    "pgbouncer",
    marks=pytest.mark.skipif(
        PGBOUNCER is None and os.environ.get("CI") != "true", reason="pgbouncer is not installed"
    ),
)
"""PostgreSQL 18 as an engine that the command line reaches through a pooler."""

POOLERS = () if _external else (POOLED,)

_numbers = itertools.count()
_root_key = pytest.StashKey[Path]()
_stop_key = pytest.StashKey[list[Callable[[], None]]]()
_urls_key = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    if worker := getattr(config, "workerinput", None):
        config.stash[_urls_key] = worker["urls"]
        # Under nohup every command of the tests would ignore the signal too.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        return
    watch_processes()
    place = _place_for_files()
    # tmp_path is below it too, in this process and in the workers.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", place)
    config.stash[_root_key] = root = Path(tempfile.mkdtemp(prefix="taskdb-tests-", dir=place))
    config.stash[_stop_key] = []
    if config.option.collectonly:
        config.stash[_urls_key] = {}
        return
    urls = {"server": _external} if _external else _start_servers(root, config.stash[_stop_key])
    for name, url in urls.items():
        _make_template(plain_url(url), f"{TEMPLATE}_{os.getpid()}")
        config.stash[_stop_key].insert(0, _dropper(plain_url(url), f"{TEMPLATE}_{os.getpid()}"))
        urls[name] = url
    if not _external:
        urls["pgbouncer"] = urls[SERVERS[-1]]
        if PGBOUNCER is not None:
            pooler, stop = start_pooler(
                PGBOUNCER,
                plain_url(urls["pgbouncer"]),
                root,
                owner=root / f"pg{POSTGRESQL_VERSIONS[-1]}",
            )
            config.stash[_stop_key].insert(0, stop)
            urls["pooler"] = pooler.render_as_string()
    sqlite = f"sqlite:///{root}/template.sqlite3"
    migrate.upgrade(Database(make_url(sqlite)))
    config.stash[_urls_key] = {**urls, "sqlite": sqlite, "template": f"{TEMPLATE}_{os.getpid()}"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    older = [item for item in items if _is_for_the_soak(item)]
    for item in older:
        item.add_marker("soak")
    if older and not SOAK:
        config.hook.pytest_deselected(items=older)
        items[:] = [item for item in items if not _is_for_the_soak(item)]
    # The longest tests, begun at the end, would keep two of three processes waiting.
    items.sort(key=lambda item: item.path.name not in {"test_disaster.py", "test_readme.py"})


def _is_for_the_soak(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    if call is None or call.params.get("engine") not in SERVERS[:-1]:
        return False
    place = item.path.relative_to(Path(__file__).parent)
    return place.parts[0] not in WHERE_VERSIONS_DIFFER or place.is_relative_to(WHERE_THEY_DO_NOT)


def pytest_configure_node(node: Any) -> None:
    node.workerinput["urls"] = node.config.stash[_urls_key]


def pytest_unconfigure(config: pytest.Config) -> None:
    for stop in config.stash.get(_stop_key, []):
        stop()
    if root := config.stash.get(_root_key, None):
        shutil.rmtree(root, ignore_errors=True)


def _place_for_files() -> str:
    # Nothing needs to survive; making a database takes a disk several times as long.
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return str(MEMORY) if in_memory else tempfile.gettempdir()


def _start_servers(root: Path, stops: list[Callable[[], None]]) -> dict[str, str]:
    root.chmod(0o755)
    urls = {}
    # The data is thrown away: it need not survive a power cut. Autovacuum, which comes when it likes, would
    # hold locks, change plans and be one session more.
    settings = "fsync = off\nfull_page_writes = off\nmax_connections = 200\nautovacuum = off\n"
    for version in POSTGRESQL_VERSIONS:
        server = start_server(root / f"pg{version}", version, settings)
        stops.append(server.cleanup)
        urls[f"postgresql{version}"] = server.get_uri()
    for version, programs in PROGRAMS.items():
        if programs.is_dir():
            other = PostgresServer(programs, root / f"pg{version}", settings)
            stops.append(other.stop)
            urls[f"postgresql{version}"] = other.url
    return urls


def _make_template(url: URL, name: str) -> None:
    with connect(url) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING UTF8')
    migrate.upgrade(Database(sqlalchemy_url(url.set(database=name))))


def _dropper(url: URL, name: str) -> Callable[[], None]:
    def drop() -> None:
        with connect(url) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    return drop


def plain_url(text: str) -> URL:
    """Return a URL as libpq reads it."""
    return make_url(text).set(drivername="postgresql")


def sqlalchemy_url(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def connect(url: URL) -> psycopg.Connection[Any]:
    """Return an autocommit connection, past all of taskdb."""
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that this run of the test is about."""
    name: str = request.param
    return name


@pytest.fixture
def urls(pytestconfig: pytest.Config) -> dict[str, str]:
    """The servers' own databases, and the migrated templates."""
    return pytestconfig.stash[_urls_key]


@pytest.fixture
def make_url_of(urls: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., URL]]:
    """Makes a database of an engine: migrated, or empty (an absent file on SQLite)."""
    drops = []

    def make(engine: str, *, migrated: bool = True) -> URL:
        name = f"taskdb_test_{os.getpid()}_{next(_numbers)}"
        if engine == "sqlite":
            path = tmp_path / f"{name}.sqlite3"
            if migrated:
                shutil.copy(str(make_url(urls["sqlite"]).database), path)
            return make_url(f"sqlite:///{path}")
        url = plain_url(urls[engine])
        with connect(url) as connection:
            template = urls["template"] if migrated else "template0"
            connection.execute(
                f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING UTF8 STRATEGY FILE_COPY'
            )
        drops.append(_dropper(url, name))
        return url.set(database=name)

    yield make
    for drop in drops:
        drop()


@pytest.fixture
def new_url(engine: str, make_url_of: Callable[..., URL]) -> Callable[..., URL]:
    """Makes a database of the test's engine: migrated, or empty (an absent file on SQLite)."""
    return partial(make_url_of, engine)


@pytest.fixture
def url(new_url: Callable[..., URL]) -> URL:
    """A migrated database of the engine, for this test alone."""
    return new_url()


@pytest.fixture
def empty_url(new_url: Callable[..., URL]) -> URL:
    """A database of the engine that no migration has touched."""
    return new_url(migrated=False)


@pytest.fixture(scope="session")
def replication(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replication]:
    """A primary server and its hot standby, started when a test first asks for them."""
    both = Replication(tmp_path_factory.mktemp("replication", numbered=False))
    yield both
    both.stop()


@pytest.fixture
def standby(replication: Replication) -> Iterator[tuple[URL, URL]]:
    """The addresses of a migrated database on a primary and on its hot standby, which has replayed it."""
    server, name = plain_url(replication.primary.url), f"taskdb_test_{next(_numbers)}"
    with connect(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    primary = server.set(database=name)
    migrate.upgrade(Database(sqlalchemy_url(primary)))
    replication.catch_up()
    yield primary, replication.standby_url(primary)
    _dropper(server, name)()


@pytest.fixture
def two_standbys(
    standby: tuple[URL, URL], replication: Replication, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], URL]]:
    """Returns an address for the database that leads so many times to a standby, and then to another.

    The second one replays nothing more.
    """
    directory = tmp_path_factory.mktemp("other") / "standby"
    good = PostgresServer(PROGRAMS[17], directory, "", origin=replication.primary)
    replication.pause()
    here = make_url(good.url).set(database=standby[0].database)

    def lead(times: int) -> URL:
        proxy.lead_on(*[here] * times, standby[1])
        return proxy.url.set(username="postgres")

    with Proxy(here) as proxy:
        yield lead
    replication.resume()
    good.stop()


@pytest.fixture
def fork(
    standby: tuple[URL, URL], replication: Replication, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[URL]:
    """The address of the database on a server that became the primary before the standby had its last log."""
    server = PostgresServer(
        PROGRAMS[17], tmp_path_factory.mktemp("fork") / "server", "", origin=replication.primary
    )
    server.control("promote")
    with connect(standby[0]) as connection:
        # Much more than the new primary writes of its own.
        for _ in range(3):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()")
    replication.catch_up()
    yield make_url(server.url).set(database=standby[0].database)
    server.stop()


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations to add revisions to."""
    directory = tmp_path / "migrations"
    shutil.copytree(schema.migrations_directory(), directory, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "migrations_directory", lambda: directory)
    return directory


@pytest.fixture
def database(url: URL) -> Database:
    """The migrated database as services use it."""
    return open_database(url)


def open_database(url: URL, options: Options = IMPATIENT) -> Database:
    return Database(url if url.drivername == "sqlite" else sqlalchemy_url(url), options)


@dataclass(frozen=True)
class Result:
    """What one run of the command line left behind."""

    code: int
    out: str
    err: str


class TaskdbCommand:
    """Runs the command line in this process, on the database of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object, stdin: str | bytes = b"", expect: int | None = 0) -> Result:
        """Run, and check the exit code unless `expect` is None."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
            words = [str(argument) for argument in arguments]
            with watched(f"taskdb {' '.join(words)}"):
                code = run(words)
        captured = self._capsys.readouterr()
        result = Result(int(code), captured.out, captured.err)
        if expect is not None:
            assert result.code == expect, result
        assert "Traceback" not in result.err
        return result


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test: a home, a working directory and an environment of its own."""
    isolate(monkeypatch, tmp_path)


def isolate(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TASKDB_") or "DATABASE_URL" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(place / "data"))
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TASKDB_LOCK_TIMEOUT", str(IMPATIENT.lock_timeout))
    monkeypatch.setenv("TASKDB_RETRY_BUDGET", str(IMPATIENT.retry_budget))
    # On a busy machine any statement may be a slow one, and a warning is a line more.
    monkeypatch.setenv("TASKDB_SLOW_QUERY_MS", "0")
    (place / "cwd").mkdir()
    monkeypatch.chdir(place / "cwd")


@pytest.fixture
def bare_taskdb(
    isolated: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> TaskdbCommand:
    """The command line with no setting at all: it would use the embedded default."""
    return TaskdbCommand(monkeypatch, capsys)


@pytest.fixture
def pooled(urls: dict[str, str]) -> Callable[[URL], URL]:
    """Makes the pooler's address of a database of PostgreSQL 18."""
    if "pooler" not in urls:
        pytest.fail("pgbouncer is not installed, which is an error where CI is true")
    return lambda url: plain_url(urls["pooler"]).set(database=url.database)


@pytest.fixture
def use(
    engine: str, isolated: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[URL], None]:
    """Makes a database of the engine the command line's; the URL is the direct one."""

    def use(url: URL) -> None:
        text = url.render_as_string(hide_password=False)
        if engine == "pgbouncer":
            monkeypatch.setenv("TASKDB_POOLED", "1")
            monkeypatch.setenv("TASKDB_DIRECT_URL", text)
            text = request.getfixturevalue("pooled")(url).render_as_string()
        monkeypatch.setenv("TASKDB_DATABASE_URL", text)

    return use


@pytest.fixture
def taskdb(bare_taskdb: TaskdbCommand, use: Callable[[URL], None], url: URL) -> TaskdbCommand:
    """The command line on the migrated database of the engine."""
    use(url)
    return bare_taskdb


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of archives that the settings name."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", str(tmp_path / "shelf"))
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    return tmp_path / "shelf"


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The SQL that this process sends, as it logs it."""
    seen: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("taskdb.sql")
    handler.emit = lambda record: seen.append(record.sql)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield seen
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)
