"""The argument that names an archive, and what the shell offers for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.cli.completion import settings_of
from taskdb_cli.cli.context import Invocation
from taskdb_cli.text.amounts import in_age, in_one_size


def complete_archives(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the archives of the directory by their short names, newest first, with time, age and size.

    What is typed may also begin a time, a whole name, or `today` or `yesterday` if an archive is of that day.
    """
    from datetime import UTC, date, datetime

    from taskdb_cli.backup.naming import short_names
    from taskdb_cli.system.clock import to_local

    ctx.obj, now = Invocation(), datetime.now(UTC)
    ctx.obj.settings = settings_of(ctx)
    location = BackupLocation(ctx, ctx.params.get("given_directory"), ctx.params.get("given_label"))
    entries = location.directory.entries()
    _, names = short_names([entry.name for entry in entries], location.label)
    offered = [("latest", "the newest good archive")] if entries else []
    days = set[date]()
    for entry, name in zip(reversed(entries), reversed(names), strict=True):
        taken = to_local(entry.taken_at).replace(tzinfo=None)
        words = (name, taken.isoformat(timespec="seconds"), entry.name)
        word = next((word for word in words if word.startswith(incomplete)), entry.name)
        age = in_age(max(now - entry.taken_at, timedelta()))
        offered.append((word, f"{taken.isoformat(' ', 'seconds')}, {age} ago, {in_one_size(entry.size)}"))
        days.add(taken.date())
    today = to_local(now).date()
    recent = {"today": today, "yesterday": today - timedelta(days=1)}
    return offered + [(word, f"{day}") for word, day in recent.items() if incomplete and day in days]


ARCHIVE_HELP = "A path, the beginning of a name, a date such as 2026-12-01, or 'latest'."
ArchiveArgument = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help=ARCHIVE_HELP, autocompletion=complete_archives)
]
ArchiveArguments = Annotated[
    list[str], typer.Argument(metavar="ARCHIVE…", help=ARCHIVE_HELP, autocompletion=complete_archives)
]
