"""What one run of the command line carries from the global options to the command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taskdb_cli.errors import DatabaseMissing, Refused

if TYPE_CHECKING:
    from taskdb_cli.config import Settings
    from taskdb_cli.database import Database


@dataclass
class Invocation:
    """The global options, and what follows from them once a command asks."""

    database_url: str | None
    env_file: Path | None
    verbosity: int
    debug: bool

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use."""
        from taskdb_cli.config import load_settings

        return load_settings(database_url=self.database_url, env_file=self.env_file)

    @cached_property
    def database(self) -> Database:
        """The database, not connected yet."""
        from taskdb_cli.logs import configure

        configure(self.verbosity)
        return self.settings.database()

    @cached_property
    def maintained(self) -> Database:
        """The database by its direct endpoint, for work that a pooler cannot carry."""
        from taskdb_cli.logs import configure

        configure(self.verbosity)
        return self.settings.direct_database()

    @cached_property
    def now(self) -> datetime:
        """The time of this run, the same for everything it writes and compares."""
        return datetime.now(UTC)

    def database_made_if_missing(self) -> Database:
        """Return the database; an embedded one that is missing is made and migrated first."""
        try:
            self.database.backend.require()
        except DatabaseMissing:
            from taskdb_cli.services import migrate

            migrate.upgrade(self.database)
            self.say(f"created {self.database.backend.place}")
        return self.database

    def say(self, message: str) -> None:
        """Tell the person something on stderr, unless they want quiet."""
        if self.verbosity >= 0:
            typer.echo(message, err=True)

    def confirm(self, action: str, *, yes: bool) -> None:
        """Ask before something is destroyed; raise Refused if nobody can be asked, or they decline."""
        if yes:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            raise Refused(f"will not {action} without a confirmation", "add --yes to go ahead")
        typer.echo(f"{action[0].upper()}{action[1:]}? [y/N] ", err=True, nl=False)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("declined: nothing was changed")


def invocation(ctx: typer.Context) -> Invocation:
    """Return what the global options of this run said."""
    found: Invocation = ctx.obj
    return found
