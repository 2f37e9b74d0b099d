"""The options that commands about archives share, and what follows from them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.errors import Conflict, DatabaseMissing, HomeMissing, Incomplete, InvalidInput, TaskdbError
from taskdb_cli.system.paths import reserved

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskdb_cli.backup.create import Backup
    from taskdb_cli.backup.directory import BackupDirectory
    from taskdb_cli.backup.ownership import Owner
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.database import Database

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", help="The directory of archives. [env: TASKDB_BACKUP_DIR]", show_default=False
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL",
        help="How archive names begin; by default the database's name and place. [env: TASKDB_BACKUP_LABEL]",
        show_default=False,
    ),
]
KeepLast = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep the last N archives.", show_default=False)
]
KeepDaily = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep one of each of N days.", show_default=False)
]
KeepWeekly = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep one of each of N weeks.", show_default=False)
]
KeepMonthly = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep one of each of N months.", show_default=False)
]
KeepAtLeast = Annotated[
    int, typer.Option(metavar="N", min=0, help="Keep the newest N sound ones whatever else is said.")
]
ArchiveArgument = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="A path, a name in the directory, or 'latest'.")
]


LATEST = "latest"


@dataclass(frozen=True)
class Shelf:
    """Where the archives of a run are, and what they are called."""

    run: Invocation
    given_directory: Path | None
    given_label: str | None

    @classmethod
    def of(cls, ctx: typer.Context, directory: Path | None, label: str | None) -> Shelf:
        """Return what the options of a command say, or those of its group before it.

        Raises InvalidInput for a label that cannot be.
        """
        outer: dict[str, Any] = ctx.parent.params if ctx.parent else {}
        if label := label or outer.get("label"):
            from taskdb_cli.backup.names import check_label

            check_label(label)
        return cls(invocation(ctx), directory or outer.get("directory"), label)

    @cached_property
    def directory(self) -> BackupDirectory:
        """The directory, which need not exist yet; raise InvalidInput for the address of a database."""
        from taskdb_cli.backup.directory import BackupDirectory
        from taskdb_cli.config import default_backup_directory

        chosen = self.given_directory or self.run.settings.backup.directory or default_backup_directory()
        if str(chosen).lower().startswith(("postgres:", "postgresql:", "postgresql+")):
            # Directories would be made whose names hold its password.
            raise InvalidInput(
                "the backup directory is the address of a database",
                "name a directory with --dir or TASKDB_BACKUP_DIR",
            )
        return BackupDirectory(chosen.absolute())

    def directory_of(self, archive: str) -> BackupDirectory:
        """Return the directory in which an archive is looked for, and its verification is recorded.

        If no directory is set and the user has no home directory, it is the one of the archive's path.
        """
        from taskdb_cli.backup.directory import BackupDirectory

        try:
            return self.directory
        except HomeMissing:
            if Path(archive).name == archive:
                raise
            return BackupDirectory(Path(archive).absolute().parent)

    @cached_property
    def chosen_label(self) -> str | None:
        """The label that an option or a setting names."""
        from taskdb_cli.backup.names import check_label

        label = self.given_label or self.run.settings.backup.label
        return check_label(label) if label else None

    @cached_property
    def label(self) -> str:
        """The chosen label, or the default one, made from the name and the place of the database."""
        return self.owner(None).label

    def owner(self, identity: str | None) -> Owner:
        """Return what archives are compared with to find those of the database with this identity."""
        from taskdb_cli.backup.names import default_label, label_of
        from taskdb_cli.backup.ownership import Owner

        backend = self.run.settings.named_database().backend
        if self.chosen_label:
            return Owner(identity, backend.place, self.chosen_label)
        former = frozenset({label_of(backend.name)})
        return Owner(identity, backend.place, default_label(backend.name, backend.distinction), former)

    def find(
        self,
        archive: str,
        database: Database,
        *,
        offline: bool = False,
        damaged: bool = False,
        read_anyway: bool = False,
    ) -> Path:
        """Return the path of the archive that a person means; 'latest' is the database's own latest one.

        With `offline` the label decides if the database cannot be reached. For a `damaged` file, which is
        not opened, the label always decides. A caller that will `read_anyway` checks the seal itself.
        """
        from taskdb_cli.backup.ownership import latest, presumed

        if archive != LATEST:
            return self.directory_of(archive).find(archive)
        if damaged:
            owner = presumed(self.directory, self.owner(None), anywhere=False)
        else:
            owner = self._meant_by(database, offline=offline)
        return latest(self.directory, owner, now=self.run.now, say=self.run.say, read_anyway=read_anyway)

    def _meant_by(self, database: Database, *, offline: bool) -> Owner:
        """Return whose archives are meant: the database's own, unless it is new or cannot be reached."""
        from taskdb_cli.backup.ownership import holdings, presumed
        from taskdb_cli.services.migrate import identify

        try:
            identity, holds_rows = identify(database)
        except DatabaseMissing:
            identity, holds_rows = None, False
        except TaskdbError as exc:
            if not offline:
                raise
            self.run.say(f"choosing by the label alone: {exc.message}")
            return presumed(self.directory, self.owner(None), anywhere=not self.chosen_label)
        owner = self.owner(identity)
        if holds_rows or holdings(self.directory, owner).own:
            return owner
        return presumed(self.directory, owner, anywhere=not self.chosen_label)

    def saying(self, backup: Callable[[], Backup], what: str) -> None:
        """Take a backup before something else, and say where it is; that it is unrecorded stops nothing."""
        try:
            self.run.say(f"{what} {backup().path}")
        except Incomplete as exc:
            self.run.say(exc.message)


def new_file(name: str) -> Path:
    """Return the path of an archive to be made; raise InvalidInput or Conflict if none can be there."""
    path = Path(name).absolute()
    if not name or not path.name or path.is_dir():
        raise InvalidInput(f"--file {name!r} names no file", "name a new file, or - for stdout")
    if os.path.lexists(path):
        raise Conflict(f"{path} exists already", "choose another name, or - for stdout")
    if reason := reserved(path):
        raise InvalidInput(f"{path} is refused: {reason}", "choose another name")
    return path


def is_stdout(path: Path | None) -> bool:
    """Return whether a path leads to what stdout leads to."""
    try:
        return path is not None and os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False


def policy_of(*, last: int, daily: int, weekly: int, monthly: int, at_least: int) -> Policy | None:
    """Return the policy that the options spell, or None when they say nothing."""
    from taskdb_cli.backup.retention import Policy

    if not (last or daily or weekly or monthly):
        return None
    return Policy(last, daily, weekly, monthly, at_least)
