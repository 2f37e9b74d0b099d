"""The context of one run: the global options, and what a command needs that follows from them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, cast

import typer

from taskdb_cli.errors import DatabaseMissing, InvalidConfiguration, InvalidInput, Refused
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.output.formats import Record
from taskdb_cli.system.clock import require_zone
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import brief, one_line

if TYPE_CHECKING:
    from taskdb_cli.config import Settings
    from taskdb_cli.database import Database
    from taskdb_cli.system.environment import LogSettings
    from taskdb_cli.system.layers import Layers
    from taskdb_cli.system.steps import Told

DECLINED = "declined: nothing was changed"


@dataclass
class Invocation:
    """One run of the command line: what its global options say, and what it has done so far.

    Until its log is opened, the log costs nothing. Not even logging is imported.
    """

    options: dict[str, Any] = field(default_factory=dict)
    """The global options that settings can be given with."""
    verbosity: int = 0
    no_input: bool = False
    """Whether nothing may be asked."""
    command: str = "taskdb"
    rows: int | None = None
    """How many rows it was about, for the log."""
    outcome: str = ""
    """What the exit code means, if it is not one of `ExitCode`."""
    changed: str = ""
    """What this run has changed, as the beginning of a sentence, or empty."""
    look: str = ""
    """The command that shows the change."""
    logged: LogSettings | None = None
    """The settings that the log was opened with."""
    confirmed: str | None = None
    """The profile that --confirm names."""
    replica: bool = False
    """Whether --replica was given."""
    sources: dict[str, str] = field(default_factory=dict)
    """The directories and buckets that settings name, each with its setting, for errors about them."""
    opened: ExitStack = field(default_factory=ExitStack)
    """What is closed when the run ends."""
    id: str = field(default_factory=lambda: os.urandom(4).hex())
    begun: float = field(default_factory=time.perf_counter)

    def take_options(self, given: dict[str, Any]) -> None:
        """Note the values of the global options. Those behind a command come after those in front of it."""
        names = ("database_url", "profile", "env_file", "schema", "log_file", "log_format")
        self.options = {name: given[name] for name in names}
        self.no_input = given["no_input"]
        self.verbosity = -1 if given["quiet"] else given["verbose"]

    def open_log_early(self) -> None:
        """Log from the beginning if options or the environment ask for a log; raise InvalidConfiguration.

        So nothing is done if the log file cannot be opened.
        """
        file, format = self.options.get("log_file"), self.options.get("log_format")
        if file or self.verbosity > 0 or os.environ.get("TASKDB_LOG_FILE"):
            from taskdb_cli.system.environment import LogSettings, read_settings

            self.open_log(read_settings(LogSettings, os.environ, "LOG_", file=file, format=format))

    def open_log(self, settings: LogSettings) -> None:
        """Log from now on. Raises InvalidConfiguration if the log file cannot be opened."""
        if settings != self.logged:
            from taskdb_cli.logging import configure

            as_json = settings.format == "json"
            # A server's log has its times on a terminal too. With a log file, the format is that of the file.
            person = self.verbosity <= 0 and self.command != "taskdb serve" and sys.stderr.isatty()
            advice = self._slow_advice if person and (settings.file or not as_json) else None
            configure(self.verbosity, run=self.id, file=settings.file, as_json=as_json, advice=advice)
            self.logged = settings

    def _slow_advice(self) -> str:
        return "--explain shows why" if self.command == "taskdb task list" else "-v shows its SQL"

    def close_log(self, code: int) -> None:
        """Log how the run ended, without any user data, and close the file."""
        if self.logged is None and code != ExitCode.OK:
            # The command line was not understood, or its own log file cannot be opened.
            with suppress(InvalidConfiguration):  # the person has an error to read already
                self.open_log_early()
        if self.logged is None and code != ExitCode.OK:
            self.options = {}
            with suppress(InvalidConfiguration):
                self.open_log_early()
        if self.logged is None:
            return
        import logging

        from taskdb_cli.logging import reset

        took = round((time.perf_counter() - self.begun) * 1000)
        outcome = self.outcome or (ExitCode(code).name.lower() if code in set(ExitCode) else "failure")
        rows = {} if self.rows is None else {"rows": self.rows}
        event = {"command": self.command, "duration_ms": took, "exit_code": code, "outcome": outcome}
        message = f"{self.command}: {outcome} ({code}) in {took} ms" + (f", {in_words(rows)}" if rows else "")
        logging.getLogger("taskdb.command").info("%s", message, extra=event | rows)
        reset()

    def failure_code(self, code: int) -> int:
        """Return the exit code of a failure. For monitoring, any failure of `health` means unknown."""
        interrupted = (ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
        if self.command != "taskdb health" or code in interrupted:
            return code
        self.outcome = "unknown"
        return 3

    def did(self, change: str, *, look: str) -> None:
        """Note a committed change, such as "created user 3", and the command that shows it.

        An error says both if the answer cannot be printed.
        """
        self.changed, self.look = change, look

    def find_layers(self, failures: list[InvalidConfiguration] | None = None) -> Layers:
        """Read the places that settings come from; raise or collect failures as `find_layers` says."""
        from taskdb_cli.system.layers import find_layers

        names = ("database_url", "profile", "env_file")
        return find_layers(os.environ, **{name: self.options.get(name) for name in names}, failures=failures)

    def settings_in(self, layers: Layers) -> Settings:
        """Return the settings that the options and these layers say. Raises InvalidConfiguration."""
        from taskdb_cli.config import settings_of

        names = ("database_url", "schema", "log_file", "log_format")
        return settings_of(layers, **{name: self.options.get(name) for name in names})

    @cached_property
    def layers(self) -> Layers:
        """The places that settings come from, read on first use."""
        return self.find_layers()

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use. From then on warnings at least are logged."""
        settings = self.settings_in(self.layers)
        self.open_log_of(settings)
        options = replace(settings.options, command=self.command.removeprefix("taskdb "))
        settings = replace(settings, options=options)
        for warning in self.layers.warnings:
            self.say(f"warning: {warning}")
        if sys.stdout.isatty() and self.verbosity >= 0:
            # A person sees local times, and a program those of UTC.
            try:
                require_zone()
            except InvalidInput as exc:
                self.say(f"warning: {exc.message}, so times are those of UTC ({exc.hint})")
        return settings

    def open_log_of(self, settings: Settings) -> None:
        """Log as the settings say. Raises InvalidConfiguration for a log file that cannot be used."""
        from taskdb_cli.database.sqlite.url import files_of
        from taskdb_cli.logging import reset
        from taskdb_cli.system.paths import is_same

        log, layers = settings.log.file, settings.layers
        for path in [*files_of(settings.database_url), layers.dotenv.path, layers.profiles.path]:
            if log and path and is_same(log, path):
                # From here on nothing is written to the log, also not the end of the run.
                reset()
                self.logged = settings.log
                problem = "is refused: it belongs to the database or is a file of settings"
                hint = "name another one with --log-file or TASKDB_LOG_FILE"
                raise InvalidConfiguration(f"the log file {log} {problem}", hint)
        self.open_log(settings.log)
        layers.dotenv.log(use=self.verbosity > 0)

    @cached_property
    def database(self) -> Database:
        """The database, not connected yet; or its replica for --replica, which is compared with it first."""
        if self.replica:
            from taskdb_cli.cli.replica import open_replica

            return open_replica(self)
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
        if self.is_database_missing():
            from taskdb_cli.services import migrate

            migrate.upgrade(self.database)
            self.say(f"created {self.database.backend.place}")
        return self.database

    def is_database_missing(self) -> bool:
        """Return whether there is no SQLite file. A server says by itself that a database is missing."""
        try:
            self.database.backend.require()
        except DatabaseMissing:
            return True
        return False

    def counting(self, rows: Iterable[Record]) -> Iterator[Record]:
        """Pass rows on, and count them for the log."""
        self.rows = 0
        for row in rows:
            self.rows += 1
            yield row

    def temporary_file(self) -> IO[bytes]:
        """Return a file that is closed and gone when the run ends."""
        from tempfile import TemporaryFile

        file = TemporaryFile()  # noqa: SIM115 (closed by `close`)

        def close() -> None:
            with suppress(OSError):  # the rest of a file that has found no room
                file.close()

        self.opened.callback(close)
        return file

    @property
    def on_terminal(self) -> bool:
        """Whether a person can read what is said and type an answer."""
        return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))

    @property
    def may_ask(self) -> bool:
        """Whether a person can be asked for what is missing."""
        return self.on_terminal and not self.no_input

    def say(self, message: str) -> None:
        """Write a message to stderr, unless --quiet was given."""
        if self.verbosity >= 0:
            write_stderr(one_line(message))

    def say_time(self, name: str, moment: datetime | None, *, deadline: bool = False) -> None:
        """Say on a terminal how a time was understood, and anywhere that a deadline is over."""
        over = deadline and moment is not None and moment < self.now
        if moment is not None and (over or sys.stderr.isatty()):
            from taskdb_cli.system.clock import describe

            self.say(f"{name} {describe(moment, self.now)}{', which is in the past' if over else ''}")

    def progress(self) -> AbstractContextManager[Told]:
        """Return the context of a function that shows on a terminal how far long work has come."""
        if not sys.stderr.isatty() or self.verbosity < 0:
            return nullcontext(lambda _: None)
        from taskdb_cli.cli.progress import progress_bar

        return progress_bar()

    def agreed(self, *, yes: bool, destroys: bool = True, database: Database | None = None) -> bool:
        """Return whether `confirm` would ask nothing, because --yes or --confirm has answered already.

        Raises Refused if --confirm names another profile than that of the database.
        """
        settings, database = self.settings, database or self.database
        guard = settings.protector_of(database) if destroys else None
        if self.confirmed is None:
            return yes and guard is None
        if self.confirmed != (name := guard or settings.profile_of(database)):
            whose = f"belongs to the profile {name}" if name else "belongs to no profile"
            problem = f"--confirm names {brief(self.confirmed)!r}, but {database.backend.place} {whose}"
            raise Refused(problem, "nothing was changed")
        return True

    def confirm(
        self, action: str, *, yes: bool, destroys: bool = True, database: Database | None = None
    ) -> None:
        """Ask before rows of a database are changed; by default it is the database of this run.

        If a protected profile names the database, what `destroys` rows asks for the name of the profile, and
        `yes` is not enough. Raise Refused if the answer is another one, or nobody can be asked.
        """
        if self.agreed(yes=yes, destroys=destroys, database=database):
            return
        database = database or self.database
        guard = self.settings.protector_of(database) if destroys else None
        if self.no_input or sys.stdin is None or not sys.stdin.isatty():
            if guard:
                what = f"will not {action}: {database.backend.place} is protected by the profile {guard}"
                raise Refused(what, f"--confirm {guard} goes ahead; --yes is not enough")
            raise Refused(f"will not {action} without a confirmation", "add --yes to go ahead")
        # Some actions name the place themselves.
        place = database.backend.place
        where = "" if place in action else f" in {place}"
        if name := guard or self.settings.profile_of(database):
            where += f" (profile {name})"
        typer.echo(one_line(f"{action[0].upper()}{action[1:]}{where}?"), err=True, nl=bool(guard))
        typer.echo("Type the name of the profile to go ahead: " if guard else " [y/N] ", err=True, nl=False)
        answer = sys.stdin.readline().strip()
        agreed = answer == guard if guard else answer.lower() in ("y", "yes")
        if not agreed:
            raise Refused(DECLINED)


def write_stderr(text: str) -> None:
    """Write to stderr. If stderr takes nothing, the work and the exit code stay the same."""
    with suppress(OSError):
        typer.echo(text, err=True)


def invocation(ctx: typer.Context) -> Invocation:
    """Return the context of this run."""
    return cast("Invocation", ctx.obj)
