"""The context of one run: the global options, and what a command needs that follows from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from taskdb_cli.cli.run_log import LogFormat, RunLog
from taskdb_cli.cli.stdout import StdoutFailed
from taskdb_cli.errors import (
    DatabaseMissing,
    ExitCode,
    Incomplete,
    InvalidConfiguration,
    Refused,
    TaskdbError,
)
from taskdb_cli.text.escaping import one_line

if TYPE_CHECKING:
    from taskdb_cli.config import Settings
    from taskdb_cli.database import Database


T = TypeVar("T")

MONITORING_UNKNOWN = 3
"""The exit code of a failed `taskdb health`. Elsewhere the code has another meaning."""


@dataclass
class Invocation:
    """The global options of one run, and what follows from them when a command asks."""

    database_url: str | None = None
    env_file: Path | None = None
    schema: str | None = None
    verbosity: int = 0
    debug: bool = False
    log_file: Path | None = None
    log_format: LogFormat | None = None
    log: RunLog = field(default_factory=RunLog)
    changed: str = ""
    """What this run has changed, as the beginning of a sentence, or empty."""
    look: str = ""
    """The command that shows the change."""

    def failure_code(self, code: int) -> int:
        """Return the exit code of a failure. For monitoring, any failure of `health` means unknown."""
        if self.log.command != "taskdb health" or code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return code
        self.log.outcome = "unknown"
        return MONITORING_UNKNOWN

    def did(self, change: str, *, look: str) -> None:
        """Note a committed change, such as "created user 3", and the command that shows it.

        An error says both if the answer cannot be printed.
        """
        self.changed, self.look = change, look

    def after_changes(self, error: TaskdbError) -> TaskdbError:
        """Return the error, or Incomplete if a change was made and only its answer is lost."""
        if not (self.changed and isinstance(error, StdoutFailed)):
            return error
        return Incomplete(f"{self.changed}, but {error.message}", f"do not run it again; see '{self.look}'")

    def open_log(self) -> None:
        """Log from the beginning if the options or the environment ask for more than warnings.

        Raises InvalidConfiguration if the log file cannot be opened, before anything is done.
        """
        if self.log_file or self.verbosity > 0 or os.environ.get("TASKDB_LOG_FILE"):
            from taskdb_cli.config import LogSettings

            settings = LogSettings.read(os.environ, file=self.log_file, format=self.log_format)
            self.log.open(settings, self.verbosity)

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use. From then on warnings at least are logged."""
        from taskdb_cli.config import load_settings
        from taskdb_cli.database.sqlite.url import files_of
        from taskdb_cli.system.paths import is_same

        settings = load_settings(
            database_url=self.database_url,
            env_file=self.env_file,
            schema=self.schema,
            log_file=self.log_file,
            log_format=self.log_format,
        )
        log = settings.log.file
        own = dict.fromkeys(files_of(settings.database_url), "it belongs to the database")
        if settings.dotenv.path:
            own[settings.dotenv.path] = "it is the dotenv file"
        for path, what in own.items():
            if log and is_same(log, path):
                self.log.give_up()
                raise InvalidConfiguration(
                    f"the log file {log} is refused: {what}",
                    "name another one with --log-file or TASKDB_LOG_FILE",
                )
        self.log.open(settings.log, self.verbosity)
        settings.dotenv.log(use=self.verbosity > 0)
        return settings

    @cached_property
    def database(self) -> Database:
        """The database, not connected yet."""
        return self.settings.database()

    @cached_property
    def maintained(self) -> Database:
        """The database at its direct endpoint, for work that does not fit through a pooler."""
        return self.settings.direct_database()

    @cached_property
    def now(self) -> datetime:
        """The time of this run, the same for everything that it writes and compares."""
        return datetime.now(UTC)

    def database_made_if_missing(self) -> Database:
        """Return the database. An SQLite file that is missing is made and migrated first."""
        try:
            self.database.backend.require()
        except DatabaseMissing:
            from taskdb_cli.services import migrate

            migrate.upgrade(self.database)
            self.say(f"created {self.database.backend.place}")
        return self.database

    def counting(self, rows: Iterable[T]) -> Iterator[T]:
        """Pass rows on, and count them for the log."""
        self.log.rows = 0
        for row in rows:
            self.log.rows += 1
            yield row

    def say(self, message: str) -> None:
        """Write a message to stderr, unless --quiet was given."""
        if self.verbosity >= 0:
            tell(message)

    def confirm(self, action: str, *, yes: bool) -> None:
        """Ask before something is destroyed. Raise Refused if the answer is no, or nobody can be asked."""
        if yes:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            raise Refused(f"will not {action} without a confirmation", "add --yes to go ahead")
        typer.echo(one_line(f"{action[0].upper()}{action[1:]}? [y/N] "), err=True, nl=False)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("declined: nothing was changed")


def tell(message: str) -> None:
    """Write one line to stderr, escaped and without secrets."""
    write_stderr(one_line(message))


def write_stderr(text: str) -> None:
    """Write to stderr. If stderr takes nothing, the work and the exit code stay the same."""
    with suppress(OSError):
        typer.echo(text, err=True)


def invocation(ctx: typer.Context) -> Invocation:
    """Return the context of this run."""
    found: Invocation = ctx.obj
    return found
