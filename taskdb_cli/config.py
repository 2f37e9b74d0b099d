"""Settings: an option wins over the environment, that over a dotenv file, that over the default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from taskdb_cli.errors import HomeMissing, InvalidConfiguration
from taskdb_cli.system.dotenv import DotenvFile, read_dotenv_file

if TYPE_CHECKING:
    from sqlalchemy import URL

    from taskdb_cli.database import Database
    from taskdb_cli.database.options import Options, Pool

ENVIRONMENT_VARIABLES = {
    "TASKDB_DATABASE_URL": "the database",
    "TASKDB_DIRECT_URL": "its direct endpoint, when the above is a pooler's",
    "DATABASE_URL": "the database, when TASKDB_DATABASE_URL is not set",
    "DATABASE_URL_UNPOOLED": "its direct endpoint, in the same way",
    "TASKDB_ENV_FILE": "the dotenv file, instead of the nearest .env",
    "TASKDB_SCHEMA": "the PostgreSQL schema of the tables, instead of the one that the search path finds",
    "TASKDB_POOLED": "1 if a pooler such as PgBouncer hands out the sessions",
    "TASKDB_POOL_SIZE": "connections that a long-lived process keeps",
    "TASKDB_POOL_OVERFLOW": "connections that it may open beyond them",
    "TASKDB_POOL_TIMEOUT": "seconds that it waits for one of them",
    "TASKDB_CLIENT_TIMEOUT": "seconds that a client of the HTTP API may stall before it is dropped",
    "TASKDB_CONNECT_TIMEOUT": "seconds that connecting may take",
    "TASKDB_STATEMENT_TIMEOUT": "seconds that a statement of a command may take, 0 for no limit",
    "TASKDB_API_STATEMENT_TIMEOUT": "seconds that a statement of an HTTP request may take, 0 for no limit",
    "TASKDB_LOCK_TIMEOUT": "seconds that a statement waits for another's lock, 0 for no limit",
    "TASKDB_RETRY_BUDGET": "seconds that work is tried again after a passing fault",
    "TASKDB_MIGRATION_WAIT": "seconds that a migration waits for another, for a backup, or for locks",
    "TASKDB_MIGRATION_TIMEOUT": "seconds that a statement of a migration may take, 0 for no limit",
    "TASKDB_SLOW_QUERY_MS": "milliseconds after which a statement is logged as slow, 0 for never",
    "TASKDB_BACKUP_DIR": "the directory of archives",
    "TASKDB_BACKUP_LABEL": "the label of this database's archives, instead of its name and place",
    "TASKDB_HEALTH_LIMITS": "from where on checks of health warn and are critical: CHECK=WARNING:CRITICAL …",
    "TASKDB_LOG_FILE": "a file that events are logged to, in addition to stderr",
    "TASKDB_LOG_FORMAT": "how a line of the log is written: text or json",
    "TASKDB_DEBUG": "anything but 0 shows the traceback of an unexpected error",
}
"""Every variable that taskdb reads, and what it sets."""

_URL_VARIABLES = {
    "TASKDB_DATABASE_URL": "TASKDB_DIRECT_URL",
    "DATABASE_URL": "DATABASE_URL_UNPOOLED",
}
_LONGEST_TIMEOUT = 600
_DAY = 86_400
_MOST_CONNECTIONS = 1000


@dataclass(frozen=True)
class LogSettings:
    """Where the log goes besides stderr, and how its lines are written."""

    file: Path | None = None
    as_json: bool = False

    @classmethod
    def read(
        cls, values: Mapping[str, str], *, file: Path | None = None, format: str | None = None
    ) -> LogSettings:
        """Read the variables; the arguments are the options that the user gave.

        Raises InvalidConfiguration for a format that does not exist.
        """
        named = values.get("TASKDB_LOG_FILE")
        word = format or values.get("TASKDB_LOG_FORMAT") or "text"
        if word not in ("text", "json"):
            raise InvalidConfiguration("TASKDB_LOG_FORMAT must be text or json")
        return cls(file or (Path(named) if named else None), word == "json")


@dataclass(frozen=True)
class BackupSettings:
    """Where archives are kept, and what they are called; None leaves it at the default."""

    directory: Path | None = None
    label: str | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that a command needs to know about where it runs."""

    database_url: URL
    direct_url: URL
    options: Options
    pool: Pool
    api_statement_timeout: float
    log: LogSettings = field(default_factory=LogSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    health_limits: str = ""
    """As they were written: the checks know what they mean."""
    dotenv: DotenvFile = field(default_factory=DotenvFile, compare=False)
    client_timeout: int = 30
    """Seconds that a client of the HTTP API may stall."""

    def database(self, *, long_lived: bool = False) -> Database:
        """Return the database of these settings, not connected yet.

        A server is `long_lived`: it keeps a pool of connections, and its statements have the API's limit.
        """
        from taskdb_cli.database import Database

        options = self.options
        if long_lived:
            options = replace(options, pool=self.pool, statement_timeout=self.api_statement_timeout)
        return Database(self.database_url, options)

    def direct_database(self) -> Database:
        """Return the same database by its direct endpoint, past any pooler.

        Raises InvalidConfiguration when only a pooler's address is known, whose sessions can hold no lock.
        """
        from taskdb_cli.database import Database

        if self.options.pooled and self.direct_url == self.database_url:
            raise InvalidConfiguration(
                "this needs the direct address of the database, past the pooler",
                "set TASKDB_DIRECT_URL to it in the same place as TASKDB_DATABASE_URL",
            )
        return Database(self.direct_url, replace(self.options, pooled=False))

    def named_database(self) -> Database:
        """Return the database for its name and place only, not for connecting.

        It has the direct address if that is known. Unlike `direct_database` it may have a pooler's.
        """
        from taskdb_cli.database import Database

        return Database(self.direct_url, self.options)

    def other_database(self, url: str, source: str) -> Database:
        """Return another database by its direct endpoint, reached with the same limits.

        The schema of these settings does not apply to it. `source` says in an error where the URL came
        from. Raises InvalidConfiguration.
        """
        from taskdb_cli.database import Database
        from taskdb_cli.database.url import parse_url, without_pooler

        direct = without_pooler(parse_url(url, source))
        return Database(direct, replace(self.options, pooled=False, schema=None))


def load_settings(
    *,
    database_url: str | None = None,
    env_file: Path | None = None,
    schema: str | None = None,
    log_file: Path | None = None,
    log_format: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings; the arguments are the options that the user gave.

    Raises InvalidConfiguration that names the variable at fault, and never shows a password.
    """
    from taskdb_cli.database.options import API_STATEMENT_TIMEOUT

    given = os.environ if environment is None else environment
    path = env_file or (Path(given["TASKDB_ENV_FILE"]) if given.get("TASKDB_ENV_FILE") else None)
    dotenv = read_dotenv_file(path)
    url, direct_url = _choose_urls(database_url, given, dotenv)
    merged = {**dotenv.values, **{name: value for name, value in given.items() if value}}
    # Only one of the addresses is used, and it is checked where it is parsed.
    addresses = {*_URL_VARIABLES, *_URL_VARIABLES.values()}
    dotenv.require_literal(
        name for name in ENVIRONMENT_VARIABLES if name not in addresses and not given.get(name)
    )
    return Settings(
        database_url=url,
        direct_url=direct_url,
        options=_read_options(merged, url, schema),
        pool=_read_pool(merged),
        api_statement_timeout=_seconds(merged, "TASKDB_API_STATEMENT_TIMEOUT", API_STATEMENT_TIMEOUT),
        log=LogSettings.read(merged, file=log_file, format=log_format),
        backup=_read_backup(merged),
        health_limits=merged.get("TASKDB_HEALTH_LIMITS", ""),
        dotenv=dotenv,
        client_timeout=_number(merged, "TASKDB_CLIENT_TIMEOUT", Settings.client_timeout, 1, _LONGEST_TIMEOUT),
    )


def _read_options(values: Mapping[str, str], url: URL, schema: str | None) -> Options:
    from taskdb_cli.database.options import Options
    from taskdb_cli.database.url import is_neon_pooler

    usual, longest = Options(), _LONGEST_TIMEOUT
    return Options(
        connect_timeout=_number(values, "TASKDB_CONNECT_TIMEOUT", usual.connect_timeout, 1, longest),
        statement_timeout=_seconds(values, "TASKDB_STATEMENT_TIMEOUT", usual.statement_timeout),
        lock_timeout=_number(values, "TASKDB_LOCK_TIMEOUT", usual.lock_timeout, 0, _DAY),
        retry_budget=_number(values, "TASKDB_RETRY_BUDGET", usual.retry_budget, 0, longest),
        migration_wait=_number(values, "TASKDB_MIGRATION_WAIT", usual.migration_wait, 0, _DAY),
        migration_timeout=_number(values, "TASKDB_MIGRATION_TIMEOUT", usual.migration_timeout, 0, _DAY),
        schema=values.get("TASKDB_SCHEMA") if schema is None else schema,
        pooled=bool(_number(values, "TASKDB_POOLED", int(is_neon_pooler(url)), 0, 1)),
        slow_query_ms=_number(values, "TASKDB_SLOW_QUERY_MS", usual.slow_query_ms, 0, _DAY * 1000),
    )


def _read_pool(values: Mapping[str, str]) -> Pool:
    from taskdb_cli.database.options import Pool

    usual = Pool()
    return Pool(
        size=_number(values, "TASKDB_POOL_SIZE", usual.size, 1, _MOST_CONNECTIONS),
        overflow=_number(values, "TASKDB_POOL_OVERFLOW", usual.overflow, 0, _MOST_CONNECTIONS),
        timeout=_number(values, "TASKDB_POOL_TIMEOUT", usual.timeout, 1, _LONGEST_TIMEOUT),
    )


def _read_backup(values: Mapping[str, str]) -> BackupSettings:
    directory = values.get("TASKDB_BACKUP_DIR")
    return BackupSettings(Path(directory) if directory else None, values.get("TASKDB_BACKUP_LABEL"))


def default_database_path() -> Path:
    """Return where the embedded database is kept, unless a setting says otherwise.

    Raises HomeMissing.
    """
    return _data_directory("TASKDB_DATABASE_URL") / "taskdb.sqlite3"


def default_backup_directory() -> Path:
    """Return where archives are kept, unless a setting says otherwise.

    Raises HomeMissing.
    """
    return _data_directory("TASKDB_BACKUP_DIR") / "backups"


def _data_directory(setting: str) -> Path:
    from platformdirs import user_data_path

    try:
        return user_data_path("taskdb", appauthor=False)
    except RuntimeError:
        raise HomeMissing(f"{setting}, or HOME or XDG_DATA_HOME") from None


def _choose_urls(option: str | None, environment: Mapping[str, str], dotenv: DotenvFile) -> tuple[URL, URL]:
    """Return the database's URL and its direct one, both from the first layer that names a database.

    They are never mixed from two layers: what is restored must be what is read.
    """
    from taskdb_cli.database.url import parse_url, without_pooler

    if option is not None:
        url = parse_url(option, "--database-url")
        return url, without_pooler(url)
    for layer, origin in (
        (environment, "the environment"),
        (dotenv.values, f"the dotenv file {dotenv.path}"),
    ):
        for name, direct_name in _URL_VARIABLES.items():
            if layer.get(name):
                return _pair(layer, name, direct_name, origin)
    from sqlalchemy import URL

    # The path goes into the URL as it is: a home directory may have any character in its name.
    url = URL.create("sqlite", database=str(default_database_path()))
    return url, url


def _pair(layer: Mapping[str, str], name: str, direct_name: str, origin: str) -> tuple[URL, URL]:
    from taskdb_cli.database.url import may_be_same, parse_url, without_pooler

    url = parse_url(layer[name], f"{name} in {origin}")
    if not layer.get(direct_name):
        return url, without_pooler(url)
    direct = parse_url(layer[direct_name], f"{direct_name} in {origin}")
    if not may_be_same(url, direct):
        raise InvalidConfiguration(
            f"{name} and {direct_name} in {origin} name two databases",
            f"make them the pooled and the direct address of one, or unset {direct_name}",
        )
    return url, direct


def _number(values: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    if not (re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most):
        raise InvalidConfiguration(f"{name} must be a number from {least} to {most}")
    return int(text)


def _seconds(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name)
    if text is None:
        return default
    if not (re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) and float(text) <= _DAY):
        raise InvalidConfiguration(
            f"{name} must be a number of seconds from 0 to {_DAY}, such as 5 or 0.25; 0 is no limit"
        )
    return float(text)
