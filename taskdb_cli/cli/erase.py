"""taskdb user erase: delete a user and every trace of them, and name the archives that may hold some."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from taskdb_cli.cli import options
from taskdb_cli.cli.answers import answer
from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.cli.backup_options import Directory
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.output import FormatOption, show_json
from taskdb_cli.errors import HomeMissing, Incomplete, NotFound, TaskdbError
from taskdb_cli.output.formats import Format
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from datetime import datetime

    from taskdb_cli.backup.directory import BackupDirectory


def erase(
    ctx: typer.Context,
    user: options.UserArgument,
    *,
    yes: options.Yes = False,
    confirm: options.Confirm = None,
    dry_run: options.DryRun = False,
    directory: Directory = None,
    output: FormatOption = None,
) -> None:
    """Delete a user with all tasks and tokens, and remove them from the history.

    A user who is already deleted is removed from the history. It names archives that may contain the user.
    """
    from taskdb_cli.services.history import erasing

    run = invocation(ctx)
    person = run.database.read(partial(erasing.find, ref=user))
    archives, unread, looked = _archives(run, BackupLocation(ctx, directory), person.since)
    # By now somebody else may have the address.
    work = partial(erasing.erase, ref=str(person.id))
    if not (dry_run or run.agreed(yes=yes)):
        found = run.database.write(work, dry_run=True, bulk=True)
        run.confirm(f"erase {found.describe()}", yes=yes)
    done = run.database.write(work, dry_run=dry_run, bulk=True)
    failures = [f"{place} may hold the user too: {reason}" for place, reason in unread.items()]
    if not dry_run:
        run.did(f"erased {done.describe()}", look="taskdb history")
        try:
            erasing.wipe(run.database)
        except TaskdbError as exc:
            remedy = "run VACUUM and PRAGMA wal_checkpoint(TRUNCATE) with sqlite3 when nobody uses the file"
            failures.append(f"the file may hold deleted bytes: {exc.message}: {remedy}")
    answer(run, f"{'would erase' if dry_run else 'erased'} {done.describe()}")
    if archives:
        answer(run, f"{in_words({'archives': len(archives)})} may still hold the user:")
        for archive in archives:
            answer(run, archive)
    elif looked:
        answer(run, f"no archive in {', '.join(looked)} can hold the user; other places were not looked at")
    if output is Format.JSON:
        places = [{"place": place, "reason": reason} for place, reason in unread.items()]
        show_json({**done.report(), "archives": archives, "unread": places, "dry_run": dry_run})
    if failures and not dry_run:
        raise Incomplete(
            f"user {person.id} is erased, but {'; '.join(failures)}", "look at the archives yourself"
        )
    for failure in failures:
        run.say(failure)


def _archives(
    run: Invocation, location: BackupLocation, since: datetime | None
) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the archives that may hold a user, why a directory cannot tell, and those that were looked at.

    They are those that were taken since then, of a database with this identity or with one that is not known.
    """
    from taskdb_cli.services.migrate import identify

    archives: list[str] = []
    unread: dict[str, str] = {}
    identity, _ = identify(run.database)
    chosen = bool(location.given_directory or run.settings.backup_dir)
    try:
        directories = location.directories(patient=False)
    except HomeMissing as exc:
        return [], {"the backup directory": exc.message}, []
    for directory in directories:
        try:
            archives += _in_one(directory, identity, since, chosen=chosen)
        except TaskdbError as exc:
            unread[str(directory)] = exc.message
    return archives, unread, [place for place in map(str, directories) if place not in unread]


def _in_one(
    directory: BackupDirectory, identity: str | None, since: datetime | None, *, chosen: bool
) -> list[str]:
    from taskdb_cli.backup.ownership import taken_of

    if directory.store.directory is not None and not directory.store.exists():
        if chosen:
            raise NotFound(f"there is no directory {directory}")
        return []
    return [str(entry.file) for entry in taken_of(directory, identity, since)]
