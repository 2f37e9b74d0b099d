"""The options that commands about archives share, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.invocation import Invocation, invocation
from taskdb_cli.errors import HomeMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskdb_cli.services.backup.directory import BackupDirectory
    from taskdb_cli.services.backup.retention import Policy
    from taskdb_cli.services.backup.taking import Backup

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
        help="What the database's archives are called; by default its name. [env: TASKDB_BACKUP_LABEL]",
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


@dataclass(frozen=True)
class Shelf:
    """Where the archives of a run are, and what they are called."""

    run: Invocation
    given_directory: Path | None
    given_label: str | None

    @classmethod
    def of(cls, ctx: typer.Context, directory: Path | None, label: str | None) -> Shelf:
        """Return what the options of a command say, or those of its group before it."""
        outer: dict[str, Any] = ctx.parent.params if ctx.parent else {}
        return cls(invocation(ctx), directory or outer.get("directory"), label or outer.get("label"))

    @cached_property
    def directory(self) -> BackupDirectory:
        """The directory, which need not exist yet."""
        from taskdb_cli.config import default_backup_directory
        from taskdb_cli.services.backup.directory import BackupDirectory

        chosen = self.given_directory or self.run.settings.backup.directory or default_backup_directory()
        return BackupDirectory(chosen.absolute())

    def directory_of(self, archive: str) -> BackupDirectory:
        """Return the directory in which to look for an archive, and to record what is found out about it.

        Without a home directory that of an archive which is named by a path is its own.
        """
        from taskdb_cli.services.backup.directory import BackupDirectory

        try:
            return self.directory
        except HomeMissing:
            if Path(archive).name == archive:
                raise
            return BackupDirectory(Path(archive).absolute().parent)

    @cached_property
    def chosen_label(self) -> str | None:
        """The label that an option or a setting names."""
        from taskdb_cli.services.backup.names import check_label

        label = self.given_label or self.run.settings.backup.label
        return check_label(label) if label else None

    @cached_property
    def label(self) -> str:
        """The label that was chosen, or else the name of the database."""
        from taskdb_cli.services.backup.names import label_of

        return self.chosen_label or label_of(self.run.maintained.backend.name)

    def saying(self, backup: Callable[[], Backup], what: str) -> None:
        """Take a backup before something else, and say where it is; that it is unrecorded stops nothing."""
        from taskdb_cli.errors import Incomplete

        try:
            self.run.say(f"{what} {backup().path}")
        except Incomplete as exc:
            self.run.say(exc.message)


def policy_of(*, last: int, daily: int, weekly: int, monthly: int, at_least: int) -> Policy | None:
    """Return the policy that the options spell, or None when they say nothing."""
    from taskdb_cli.services.backup.retention import Policy

    if not (last or daily or weekly or monthly):
        return None
    return Policy(last, daily, weekly, monthly, at_least)
