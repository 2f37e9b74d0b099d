"""The environment variables that taskdb reads, as one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.text.escaping import BLANK, brief, escape

T = TypeVar("T")

_DAY = 86_400
_NUMBERS = {int: "[0-9]{1,9}", bool: "[0-9]{1,9}", float: r"[0-9]{1,5}(\.[0-9]{1,3})?"}


@dataclass(frozen=True)
class Setting:
    """What a variable sets. `.ci/reference.py` writes docs/settings.md and `.env.example` from these."""

    help: str
    """What it means, in Markdown; links are relative to docs/."""
    type: type[str | Path | int | float | bool] = str
    """A float is a number of seconds."""
    least: int = 0
    most: int = _DAY
    longest: int = 0
    """How many characters a text may have that must be a line which a person can see; 0 is any text."""
    words: tuple[str, ...] = ()
    """The values that are accepted, if not every value is."""
    default: str = ""
    """The text for readers, if the default is not a fixed value."""

    def parse(self, name: str, text: str) -> str | Path | int | float:
        """Return a value as its type. Raise InvalidConfiguration for one that is not accepted."""
        number = _NUMBERS.get(self.type)
        if number and not (re.fullmatch(number, text) and self.least <= float(text) <= self.most):
            kind = "number of seconds, such as 5 or 0.25," if self.type is float else "whole number"
            raise InvalidConfiguration(f"{name} must be a {kind} from {self.least} to {self.most}")
        if self.longest:
            text = text.strip(" ")
            if len(text) > self.longest or text != escape(text) or not re.search(f"[^{BLANK}]", text):
                what = f"1 to {self.longest} characters, none of them a control character or invisible"
                hint = f"without it, it is {self.default}"
                raise InvalidConfiguration(f"{name} must be one line of {what}", hint)
        if self.words and text not in self.words:
            raise InvalidConfiguration(f"{name} must be {' or '.join(self.words)}")
        return bool(int(text)) if self.type is bool else self.type(text)


@dataclass(frozen=True)
class LogSettings:
    """Where the log goes besides stderr, and how its lines are written."""

    file: Path | None = None
    format: str = "text"


def likely(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant by another one: a similar name, or one with its words."""
    from difflib import get_close_matches

    plain = {each.removeprefix("TASKDB_").lower(): each for each in known}
    given = name.upper().removeprefix("TASKDB_").lower()
    words = set(given.split("_"))
    near = get_close_matches(given, plain, n=1)
    near += [each for each in plain if words.issubset(each.split("_"))]
    return plain[near[0]] if near else None


def unknown_variables(names: Iterable[str], origin: str) -> list[str]:
    """Return a warning for each name that looks like a setting but is not one, with the likely name."""
    ours = (name for name in names if name[:7].upper() == "TASKDB_")
    known = [name for name in SETTINGS if name.startswith("TASKDB_")]
    return [
        f"{brief(name)} in {origin} is not a setting of taskdb"
        + (f"; did you mean {meant}?" if (meant := likely(name, known)) else "")
        for name in sorted(ours)
        if name not in SETTINGS and name not in _OF_OUR_TESTS
    ]


def read_settings(
    kind: Callable[..., T],
    values: Mapping[str, str],
    prefix: str = "",
    *,
    places: Mapping[str, str] | None = None,
    **given: object,
) -> T:
    """Return a dataclass of settings. The variable TASKDB_{prefix}NAME sets its field `name`.

    An option that is not None wins, and its variable is not read. An empty variable counts as not set.
    Raises InvalidConfiguration, which says where a variable is set if `places` does.
    """
    for field in fields(cast("Any", kind)):
        name = f"TASKDB_{prefix}{field.name.upper()}"
        if given.get(field.name) is None and name in SETTINGS and values.get(name):
            given[field.name] = SETTINGS[name].parse((places or {}).get(name, name), values[name])
    return kind(**{name: value for name, value in given.items() if value is not None})


READ_ADDRESS = "TASKDB_READ_URL"
"""The variable that names a replica of the database, whichever variable names that."""

SETTINGS: Mapping[str, Setting] = {
    "TASKDB_DATABASE_URL": Setting(
        "the database: `postgresql://user:password@host/name`, or `sqlite:///path` with a fourth slash for "
        "an absolute path; write `@` in a password as `%40`",
        default="`taskdb.sqlite3` in your data directory",
    ),
    "TASKDB_DIRECT_URL": Setting(
        "the direct address of that database, if `TASKDB_DATABASE_URL` is that of a pooler; `migrate`, "
        "`backup`, `restore`, `copy`, `search on` and `search off` use it; for Neon, taskdb finds it by the "
        "name of the host"
    ),
    "DATABASE_URL": Setting("the same as `TASKDB_DATABASE_URL`, used if that is not set"),
    "DATABASE_URL_UNPOOLED": Setting("the same as `TASKDB_DIRECT_URL`, for `DATABASE_URL`"),
    "TASKDB_READ_URL": Setting(
        "the address of a [read replica](growing.md#read-replicas) of that database, set in the same "
        "place; `serve` and commands with `--replica` read there"
    ),
    "TASKDB_READ_LAG": Setting(
        "seconds that the [replica may be behind](growing.md#how-far-behind) without a notice; "
        "`serve` reads the primary above that",
        float,
    ),
    "TASKDB_ENV_FILE": Setting("the `.env` file", default="the nearest `.env`"),
    "TASKDB_PROFILE": Setting("the [profile](settings.md#profiles); the other variables override it"),
    "TASKDB_SCHEMA": Setting(
        "the same as `--schema`: the [PostgreSQL schema](postgresql.md#schemas) of the tables",
        default="the first of the search path",
    ),
    "TASKDB_USER": Setting(
        "the [default user](interactive.md#the-default-user), an id or e-mail address: the owner of new "
        "tasks, and on a terminal of the listed tasks"
    ),
    "TASKDB_ACTOR": Setting(
        "the [name](history.md#the-name-in-the-history-taskdb_actor) in the history of the person who "
        "changes rows; one line",
        longest=200,
        default="the user of the system",
    ),
    "TASKDB_POOLED": Setting(
        "`1` if a pooler in transaction mode, such as PgBouncer, stands before the server",
        bool,
        most=1,
        default="`1` for Neon's pooler",
    ),
    "TASKDB_CONNECT_TIMEOUT": Setting("seconds for connecting", int, 1, 600),
    "TASKDB_STATEMENT_TIMEOUT": Setting(
        "seconds for a statement of a command, such as `0.5` or `60`; 0 is no limit", float
    ),
    "TASKDB_BULK_TIMEOUT": Setting(
        "seconds for a statement of [bulk work](settings.md#bulk-work), such as an import or a backup; "
        "0 is no limit",
        float,
    ),
    "TASKDB_API_STATEMENT_TIMEOUT": Setting(
        "seconds for a statement of an [HTTP request](api.md#time-limits); 0 is no limit", float
    ),
    "TASKDB_LOCK_TIMEOUT": Setting("seconds that a statement waits for a lock; 0 is no limit", int),
    "TASKDB_RETRY_BUDGET": Setting(
        "seconds that work is tried again after a passing fault; a request to `serve` takes at most 5",
        int,
        most=600,
    ),
    "TASKDB_MIGRATION_WAIT": Setting("seconds that a migration waits for locks, also those of a backup", int),
    "TASKDB_MIGRATION_TIMEOUT": Setting("seconds for one statement of a migration; 0 is no limit", int),
    "TASKDB_SLOW_QUERY_MS": Setting(
        "milliseconds after which a statement is logged as slow, without its values; 0 is never",
        int,
        most=_DAY * 1000,
    ),
    "TASKDB_POOL_SIZE": Setting("connections that `serve` keeps open", int, 1, 1000),
    "TASKDB_POOL_OVERFLOW": Setting("more connections that `serve` may open", int, 0, 1000),
    "TASKDB_POOL_TIMEOUT": Setting("seconds that a request to `serve` waits for a connection", int, 1, 600),
    "TASKDB_CLIENT_TIMEOUT": Setting(
        "seconds that a [client of `serve`](api.md#time-limits) may stall before it is dropped", int, 1, 600
    ),
    "TASKDB_BACKUP_DIR": Setting(
        "the directory or bucket of archives", default="`backups` in your data directory"
    ),
    "TASKDB_BACKUP_LABEL": Setting(
        "the [label](backup.md#identity-label-and-address) of this database's archives",
        default="its name, and its host or path",
    ),
    "TASKDB_BACKUP_RECIPIENTS": Setting(
        "a file of [recipients](offsite.md#encryption), the keys for which archives are encrypted; "
        "`--encrypt-to` replaces it",
        Path,
        default="archives are not encrypted",
    ),
    "TASKDB_BACKUP_IDENTITY": Setting(
        "the same as `--identity`: the file of the [key](offsite.md#encryption) that opens encrypted "
        "archives",
        Path,
    ),
    "TASKDB_HISTORY_KEEP": Setting(
        "how long `backup` keeps [operations in the history](privacy.md#delete-old-history), such as `12w`, "
        "`1y` or `forever`"
    ),
    "TASKDB_HEALTH_LIMITS": Setting(
        "when checks of [health](health.md) warn and become critical, such as `backup=26h:50h disk=10%:5%`"
    ),
    "TASKDB_ALLOW_SPECIAL_DOMAINS": Setting(
        "`1` if addresses of new users may be in [special-use domains](import.md#e-mail-addresses), "
        "such as `ann@corp.local`",
        bool,
        most=1,
        default="`0`",
    ),
    "TASKDB_LOG_FILE": Setting("the same as `--log-file`: a log in addition to stderr", Path),
    "TASKDB_LOG_FORMAT": Setting("the same as `--log-format`", words=("text", "json")),
    "TASKDB_PAGER": Setting(
        "the [pager](lists.md#the-pager) of tables; `cat` or nothing turns it off",
        default="`PAGER`, else `less`",
    ),
    "TASKDB_DEBUG": Setting("`1` is the same as `--debug`"),
}
"""Every variable that taskdb reads. The names without TASKDB_ are those that Neon and others use."""

ONLY_IN_ENVIRONMENT = frozenset({"TASKDB_ENV_FILE", "TASKDB_DEBUG", "TASKDB_PAGER"})

KEYS = {
    name.removeprefix("TASKDB_").lower(): name
    for name in SETTINGS
    if name.startswith("TASKDB_") and name not in ONLY_IN_ENVIRONMENT | {"TASKDB_PROFILE"}
}
"""The variable of each setting that a profile may have, by its name there."""

_OF_OUR_TESTS = frozenset({"TASKDB_SOAK", "TASKDB_TEST_DATABASE_URL", "TASKDB_RECORD_FACTS"})
