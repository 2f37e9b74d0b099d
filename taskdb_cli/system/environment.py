"""The environment variables that taskdb reads, as one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from taskdb_cli.errors import InvalidConfiguration

T = TypeVar("T")

_DAY = 86_400


@dataclass(frozen=True)
class Setting:
    """A variable. `.ci/settings` writes the README's rows and `.env.example` from these."""

    name: str
    help: str
    """What it means, in Markdown."""
    type: type[str | Path | int | float | bool] = str
    """A float is a number of seconds."""
    least: int = 0
    most: int = _DAY
    words: tuple[str, ...] = ()
    """The values that are accepted, if not every value is."""
    default: str = ""
    """What a reader is told, if the default is no fixed value."""
    example: str = ""
    """The value in `.env.example`, if it is not the default."""
    in_file: bool = True
    """Whether a dotenv file may set it."""

    def parse(self, text: str) -> str | Path | int | float:
        """Return a value as its type. Raise InvalidConfiguration for one that is not accepted."""
        if self.words:
            accepted, pattern = " or ".join(self.words), "|".join(self.words)
        elif self.type in (int, bool):
            accepted, pattern = f"a number from {self.least} to {self.most}", "[0-9]{1,9}"
        elif self.type is float:
            accepted = f"a number of seconds from 0 to {self.most}, such as 5 or 0.25; 0 is no limit"
            pattern = r"[0-9]{1,5}(\.[0-9]{1,3})?"
        else:
            return self.type(text)
        if not re.fullmatch(pattern, text) or not (self.words or self.least <= float(text) <= self.most):
            raise InvalidConfiguration(f"{self.name} must be {accepted}")
        return bool(int(text)) if self.type is bool else self.type(text)


@dataclass(frozen=True)
class LogSettings:
    """Where the log goes besides stderr, and how its lines are written."""

    file: Path | None = None
    format: str = "text"


def read_log_settings(
    values: Mapping[str, str], *, file: Path | None = None, format: str | None = None
) -> LogSettings:
    """Return the settings of the log. They can be read before all others."""
    return read_settings(LogSettings, values, "LOG_", file=file, format=format)


def read_settings(
    kind: Callable[..., T], values: Mapping[str, str], prefix: str = "", **options: object
) -> T:
    """Return a dataclass of settings. The variable TASKDB_{prefix}NAME sets its field `name`.

    An option that is not None wins, and its variable is not read. An empty variable is as good as none.
    Raises InvalidConfiguration.
    """
    given = {name: value for name, value in options.items() if value is not None}
    names = {f"TASKDB_{prefix}{field.name.upper()}": field.name for field in fields(cast("Any", kind))}
    for setting in SETTINGS:
        name = names.get(setting.name, "")
        if name and name not in given and values.get(setting.name):
            given[name] = setting.parse(values[setting.name])
    return kind(**given)


_SERVER = "postgresql://user:password@localhost:5432/taskdb"
_NEON = (
    "postgresql://user:password@ep-name-123456{}.eu-central-1.aws.neon.tech/neondb"
    "?sslmode=require&channel_binding=require"
)

SETTINGS = (
    Setting(
        "TASKDB_DATABASE_URL",
        "the database: `postgresql://user:password@host/name`, or `sqlite:///path` with a fourth slash for "
        "an absolute path; write `@` in a password as `%40`",
        default="`taskdb.sqlite3` in your data directory",
        example=_SERVER,
    ),
    Setting(
        "TASKDB_DIRECT_URL",
        "the direct address of that database, if the above is a connection pooler's; `migrate`, `backup`, "
        "`restore` and `copy` use it; Neon's follows from the name of the host",
        example=_SERVER,
    ),
    Setting(
        "DATABASE_URL",
        "the same as `TASKDB_DATABASE_URL`, read if that is not set",
        example=_NEON.format("-pooler"),
    ),
    Setting(
        "DATABASE_URL_UNPOOLED",
        "the same as `TASKDB_DIRECT_URL`, for `DATABASE_URL`",
        example=_NEON.format(""),
    ),
    Setting("TASKDB_ENV_FILE", "the dotenv file", default="the nearest `.env`", in_file=False),
    Setting(
        "TASKDB_SCHEMA",
        "the same as `--schema`: the [PostgreSQL schema](docs/postgresql.md#schemas) of the tables",
        default="the first of the search path",
        example="taskdb",
    ),
    Setting(
        "TASKDB_POOLED",
        "`1` if a pooler in transaction mode, such as PgBouncer, hands out the sessions",
        bool,
        most=1,
        default="`1` for Neon's pooler",
        example="0",
    ),
    Setting("TASKDB_CONNECT_TIMEOUT", "seconds for connecting", int, 1, 600),
    Setting(
        "TASKDB_STATEMENT_TIMEOUT",
        "seconds for a statement of a command, such as `0.5` or `60`; 0 is no limit",
        float,
    ),
    Setting(
        "TASKDB_API_STATEMENT_TIMEOUT",
        "seconds for a statement of an [HTTP request](docs/api.md#time-limits); 0 is no limit",
        float,
    ),
    Setting(
        "TASKDB_LOCK_TIMEOUT", "seconds that a statement waits for another session's lock; 0 is no limit", int
    ),
    Setting(
        "TASKDB_RETRY_BUDGET",
        "seconds that work is tried again after a passing fault; a request to `serve` takes at most 5",
        int,
        most=600,
    ),
    Setting(
        "TASKDB_MIGRATION_WAIT",
        "seconds that a migration waits for another migration, for a backup or for a lock",
        int,
    ),
    Setting("TASKDB_MIGRATION_TIMEOUT", "seconds for one statement of a migration; 0 is no limit", int),
    Setting(
        "TASKDB_SLOW_QUERY_MS",
        "milliseconds after which a statement is logged as slow, without its values; 0 is never",
        int,
        most=_DAY * 1000,
    ),
    Setting("TASKDB_POOL_SIZE", "connections that `serve` keeps open", int, 1, 1000),
    Setting("TASKDB_POOL_OVERFLOW", "connections that it opens beyond them", int, 0, 1000),
    Setting("TASKDB_POOL_TIMEOUT", "seconds that it waits for a free one", int, 1, 600),
    Setting(
        "TASKDB_CLIENT_TIMEOUT",
        "seconds that a [client of `serve`](docs/api.md#limits) may stall before it is dropped",
        int,
        1,
        600,
    ),
    Setting(
        "TASKDB_BACKUP_DIR",
        "the directory of archives",
        Path,
        default="`backups` in your data directory",
        example="/var/backups/taskdb",
    ),
    Setting(
        "TASKDB_BACKUP_LABEL",
        "the [label](docs/backup.md#identity-label-and-place) of this database's archives",
        default="its name and where it is",
        example="taskdb",
    ),
    Setting(
        "TASKDB_HEALTH_LIMITS",
        "when checks of [health](#health) warn and become critical, such as `backup=26h:50h disk=10%:5%`",
        example="connection=500ms:5s disk=10%:5%",
    ),
    Setting("TASKDB_LOG_FILE", "the same as `--log-file`: a log besides stderr", Path),
    Setting("TASKDB_LOG_FORMAT", "the same as `--log-format`", words=("text", "json")),
    Setting("TASKDB_DEBUG", "`1` is the same as `--debug`", in_file=False),
)
"""Every variable that taskdb reads. The names without TASKDB_ are those that Neon and others use."""
