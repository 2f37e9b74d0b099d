"""The options that commands about archives share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from taskdb_cli.backup.retention import Policy


def complete_directories(incomplete: str) -> list[str]:
    """Offer the directories whose paths begin so; offer none if they cannot be listed."""
    above, slash, begin = incomplete.rpartition("/")
    with suppress(OSError):
        found = [each for each in Path(above + slash).iterdir() if each.name.startswith(begin)]
        return [f"{above}{slash}{each.name}/" for each in sorted(found) if each.is_dir()]
    return []


Directory = Annotated[
    list[str] | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        autocompletion=complete_directories,
        help="The directory or bucket of archives. [env: TASKDB_BACKUP_DIR]",
        show_default=False,
    ),
]
"""Only a backup, health and erasing a user take several."""
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="LABEL",
        help="How archive names begin; by default the database's name and place. [env: TASKDB_BACKUP_LABEL]",
    ),
]

EncryptTo = Annotated[
    list[str] | None,
    typer.Option(
        "--encrypt-to",
        metavar="RECIPIENT",
        help="Encrypt archives for this public key: age1…, ssh-ed25519 … or ssh-rsa …; repeat for several. "
        "[env: TASKDB_BACKUP_RECIPIENTS, a file]",
        show_default=False,
    ),
]
IdentityFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="Open encrypted archives by the secret key in this file. [env: TASKDB_BACKUP_IDENTITY]",
        show_default=False,
    ),
]


def _number(help: str, *, show_default: bool = False) -> Any:
    return typer.Option(metavar="N", min=0, help=help, show_default=show_default)


@dataclass(frozen=True)
class Keep:
    """The options that say which archives to keep."""

    keep_last: Annotated[int, _number("Keep the last N archives.")] = 0
    keep_hourly: Annotated[int, _number("Keep the newest archive of each of N hours.")] = 0
    keep_daily: Annotated[int, _number("Keep the newest archive of each of N days.")] = 0
    keep_weekly: Annotated[int, _number("Keep the newest archive of each of N weeks.")] = 0
    keep_monthly: Annotated[int, _number("Keep the newest archive of each of N months.")] = 0
    keep_yearly: Annotated[int, _number("Keep the newest archive of each of N years.")] = 0
    keep_at_least: Annotated[int, _number("Always keep the N newest good archives.", show_default=True)] = 3
    recheck: Annotated[
        int,
        typer.Option(
            metavar="DAYS",
            min=0,
            max=36500,
            help="Read all kept archives again within DAYS nights; 0: never.",
        ),
    ] = 30

    def policy(self) -> Policy | None:
        """Return the policy, or None if no option says which archives to keep."""
        from taskdb_cli.backup.retention import Policy

        return Policy(*astuple(self)) if any(astuple(self)[:-2]) else None
