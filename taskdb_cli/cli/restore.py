"""taskdb restore and taskdb copy: bring rows into a database, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.backup_options import ArchiveArgument, Directory, Label, Shelf
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import DryRun, Yes
from taskdb_cli.cli.progress import progress
from taskdb_cli.errors import Conflict, DatabaseMissing, TargetNotEmpty
from taskdb_cli.models.vocabulary import in_words

if TYPE_CHECKING:
    from taskdb_cli.backup.aside import Damaged
    from taskdb_cli.backup.restore import Plan, Safety
    from taskdb_cli.database import Database
    from taskdb_cli.database.content import Content

Replace = Annotated[bool, typer.Option("--replace", help="Delete the rows that are there first.")]
FromOtherDatabase = Annotated[
    bool, typer.Option("--from-other-database", help="Load the rows of another database's archive.")
]
NoSafetyBackup = Annotated[
    bool, typer.Option("--no-safety-backup", help="Keep no archive of what --replace deletes.")
]


def restore(
    ctx: typer.Context,
    archive: ArchiveArgument,
    *,
    directory: Directory = None,
    label: Label = None,
    replace: Replace = False,
    from_other_database: FromOtherDatabase = False,
    yes: Yes = False,
    no_safety_backup: NoSafetyBackup = False,
    dry_run: DryRun = False,
) -> None:
    """Load an archive into the database: in one transaction, verified before and after."""
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.aside import find_damaged

    shelf = Shelf.of(ctx, directory, label)
    run, target = shelf.run, shelf.run.maintained
    # First of all: whoever opens a damaged file may change it.
    damaged = find_damaged(target, run.now)
    path = shelf.find(archive, target, damaged=damaged is not None)
    plan = service.plan(target, path, damaged=damaged, trial=dry_run)
    identity = _identity_to_adopt(shelf, archive, target, plan, from_other_database=from_other_database)
    if _may_replace(run, target, plan.replaced, damaged, replace=replace, yes=yes, dry_run=dry_run):
        safety = None if no_safety_backup else _safety(shelf, target)
        with progress(run, "restoring", total=plan.bytes, then="building indexes") as advance:
            service.restore(
                target,
                path,
                replace=bool(plan.replaced),
                damaged=damaged,
                safety=safety,
                identity=identity,
                progress=advance,
            )
    verb = "would restore" if dry_run else "restored"
    run.say(f"{verb} {in_words(plan.rows)} from {path} into {target.backend.place}")
    _say_kept(run, damaged, dry_run=dry_run)
    if identity:
        verb = "would take" if dry_run else "took"
        run.say(f"{target.backend.place} {verb} over the identity of {plan.manifest.origin.place}")


def copy(
    ctx: typer.Context,
    *,
    to: Annotated[str, typer.Option(metavar="URL", help="The database to copy into.")],
    directory: Directory = None,
    replace: Replace = False,
    yes: Yes = False,
    no_safety_backup: NoSafetyBackup = False,
    dry_run: DryRun = False,
) -> None:
    """Load all that the database holds into another one, of either engine."""
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.aside import find_damaged

    run = invocation(ctx)
    origin, target = run.maintained, run.settings.other_database(to, "--to")
    damaged, rows = find_damaged(target, run.now), service.require_copyable(origin, target)
    held = {} if damaged else service.occupied(target)
    if _may_replace(run, target, held, damaged, replace=replace, yes=yes, dry_run=dry_run):
        safety = None if no_safety_backup else _safety(Shelf.of(ctx, directory, None), target)
        with progress(run, "copying") as advance:
            rows = service.copy(
                origin, target, replace=bool(held), damaged=damaged, safety=safety, progress=advance
            )
    verb = "would copy" if dry_run else "copied"
    run.say(f"{verb} {in_words(rows)} from {origin.backend.place} into {target.backend.place}")
    _say_kept(run, damaged, dry_run=dry_run)


def _identity_to_adopt(
    shelf: Shelf, archive: str, target: Database, plan: Plan, *, from_other_database: bool
) -> str | None:
    """Return the identity that goes with the rows; raise Conflict if they are of another database."""
    from taskdb_cli.backup.ownership import identity_to_adopt
    from taskdb_cli.services.migrate import identify

    identity = None
    if not plan.damaged:
        with suppress(DatabaseMissing):
            identity, _ = identify(target)
    return identity_to_adopt(
        shelf.directory_of(archive),
        shelf.owner(identity),
        plan.manifest.origin,
        occupied=bool(plan.replaced),
        from_other_database=from_other_database,
    )


def _may_replace(
    run: Invocation,
    target: Database,
    held: Mapping[str, int],
    damaged: Damaged | None,
    *,
    replace: bool,
    yes: bool,
    dry_run: bool,
) -> bool:
    """Return whether to go on: not for a dry run; raise TargetNotEmpty or Refused.

    Rows that come into a target that was empty here are not part of the answer, and not to be replaced.
    """
    if damaged and not replace:
        raise Conflict(
            f"{target.backend.place} is damaged: {damaged.what}",
            f"--replace keeps it as {damaged.kept.name} and makes a new file in its place",
        )
    if damaged and not dry_run:
        run.confirm(f"move the damaged {damaged.path} to {damaged.kept}", yes=yes)
    if held and not replace:
        raise TargetNotEmpty(target.backend.place, in_words(held))
    if held and dry_run:
        from taskdb_cli.backup import restore as service

        service.rehearse(target)
        run.say(f"would delete {in_words(held)} of {target.backend.place}")
    elif held:
        run.confirm(f"delete {in_words(held)} of {target.backend.place}", yes=yes)
    return not dry_run


def _say_kept(run: Invocation, damaged: Damaged | None, *, dry_run: bool) -> None:
    if damaged:
        verb = "would be" if dry_run else "is"
        run.say(f"the damaged file {verb} kept as {damaged.kept}")


def _safety(shelf: Shelf, target: Database) -> Safety:
    from taskdb_cli.backup.create import keep
    from taskdb_cli.backup.names import SAFETY_SUFFIX, default_label

    # Whose archive is restored says nothing of whose rows are replaced.
    label = default_label(target.backend.name, target.backend.distinction) + SAFETY_SUFFIX

    def save(content: Content) -> None:
        backup = partial(keep, content, shelf.directory, label=label, now=shelf.run.now)
        shelf.saying(backup, "what was there is kept in")

    return save
