"""Settings: an option wins over the environment, that over a dotenv file, that over the default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.database.url import may_be_same, parse_url, without_pooler
from taskdb_cli.errors import HomeMissing, InvalidConfiguration
from taskdb_cli.system.dotenv import DotenvFile, read_dotenv_file
from taskdb_cli.system.environment import SETTINGS, LogSettings, read_settings

_URL_VARIABLES = {"TASKDB_DATABASE_URL": "TASKDB_DIRECT_URL", "DATABASE_URL": "DATABASE_URL_UNPOOLED"}


@dataclass(frozen=True)
class Settings:
    """Everything that a command needs to know about where it runs. `SETTINGS` says what the fields mean."""

    database_url: URL
    direct_url: URL
    options: Options
    pool: Pool
    log: LogSettings
    dotenv: DotenvFile = field(compare=False)
    backup_dir: Path | None = None
    backup_label: str | None = None
    api_statement_timeout: float = 5
    client_timeout: int = 30
    health_limits: str = ""

    def database(self, *, long_lived: bool = False) -> Database:
        """Return the database of these settings, not connected yet.

        A server is `long_lived`: it keeps a pool of connections, and its statements have the API's limit.
        """
        options = self.options
        if long_lived:
            options = replace(options, pool=self.pool, statement_timeout=self.api_statement_timeout)
        return Database(self.database_url, options)

    def direct_database(self) -> Database:
        """Return the same database by its direct endpoint, past any pooler.

        Raises InvalidConfiguration when only a pooler's address is known, whose sessions can hold no lock.
        """
        if self.options.pooled and self.direct_url == self.database_url:
            hint = "set TASKDB_DIRECT_URL to it in the same place as TASKDB_DATABASE_URL"
            raise InvalidConfiguration("this needs the direct address of the database, past the pooler", hint)
        return Database(self.direct_url, replace(self.options, pooled=False))

    def other_database(self, url: str, source: str) -> Database:
        """Return another database by its direct endpoint, reached with the same limits.

        The schema of these settings does not apply to it. `source` says in an error where the URL came
        from. Raises InvalidConfiguration.
        """
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
    given = os.environ if environment is None else environment
    path = env_file or (Path(given["TASKDB_ENV_FILE"]) if given.get("TASKDB_ENV_FILE") else None)
    dotenv = read_dotenv_file(path)
    url, direct_url = _choose_urls(database_url, given, dotenv)
    # Only one of the addresses is used, and it is checked where it is parsed.
    addresses = {*_URL_VARIABLES, *_URL_VARIABLES.values()}
    for name in SETTINGS:
        if name not in addresses and "${" in dotenv.values.get(name, "") and not given.get(name):
            problem = f"{name} in the dotenv file {dotenv.path} contains ${{, which is not expanded"
            raise InvalidConfiguration(problem, "write the value out")
    pooled = {"TASKDB_POOLED": f"{without_pooler(url) != url:d}"}
    values = {**pooled, **dotenv.values, **{name: value for name, value in given.items() if value}}
    return read_settings(
        Settings,
        values,
        database_url=url,
        direct_url=direct_url,
        options=read_settings(Options, values, schema=schema),
        pool=read_settings(Pool, values, "POOL_"),
        log=read_settings(LogSettings, values, "LOG_", file=log_file, format=log_format),
        dotenv=dotenv,
    )


def data_directory(setting: str) -> Path:
    """Return where taskdb keeps what no setting places. Raises HomeMissing, which names the setting."""
    from platformdirs import user_data_path

    try:
        return user_data_path("taskdb", appauthor=False)
    except RuntimeError:
        raise HomeMissing(f"{setting}, or HOME or XDG_DATA_HOME") from None


def _choose_urls(option: str | None, environment: Mapping[str, str], dotenv: DotenvFile) -> tuple[URL, URL]:
    """Return the database's URL and its direct one, both from the first layer that names a database.

    They are never mixed from two layers: what is restored must be what is read.
    """
    if option is not None:
        url = parse_url(option, "--database-url")
        return url, without_pooler(url)
    layers = ((environment, "the environment"), (dotenv.values, f"the dotenv file {dotenv.path}"))
    for (layer, origin), (name, direct_name) in product(layers, _URL_VARIABLES.items()):
        if not layer.get(name):
            continue
        url = parse_url(layer[name], f"{name} in {origin}")
        if not layer.get(direct_name):
            return url, without_pooler(url)
        direct = parse_url(layer[direct_name], f"{direct_name} in {origin}")
        if not may_be_same(url, direct):
            hint = f"make them the pooled and the direct address of one, or unset {direct_name}"
            raise InvalidConfiguration(f"{name} and {direct_name} in {origin} name two databases", hint)
        return url, direct
    # The path goes into the URL as it is: a home directory may have any character in its name.
    url = URL.create("sqlite", database=str(data_directory("TASKDB_DATABASE_URL") / "taskdb.sqlite3"))
    return url, url
