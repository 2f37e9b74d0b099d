"""taskdb restore and taskdb copy: load rows into a database, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.backup_options import ArchiveArgument, Directory, Shelf
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import DryRun, Yes, with_option_groups
from taskdb_cli.cli.progress import progress
from taskdb_cli.errors import Conflict, TargetNotEmpty
from taskdb_cli.models.vocabulary import in_words

if TYPE_CHECKING:
    from taskdb_cli.backup.restore import Safety
    from taskdb_cli.backup.target_file import Damaged
    from taskdb_cli.database import Database
    from taskdb_cli.database.content import Content


@dataclass(frozen=True)
class Replacing:
    """The options that say what may be replaced."""

    replace: Annotated[bool, typer.Option("--replace", help="Delete the existing rows first.")] = False
    yes: Yes = False
    no_safety_backup: Annotated[
        bool, typer.Option("--no-safety-backup", help="Do not back up the rows that --replace deletes.")
    ] = False
    dry_run: DryRun = False


@with_option_groups
def restore(
    archive: ArchiveArgument,
    *,
    shelf: Shelf,
    from_other_database: Annotated[
        bool, typer.Option("--from-other-database", help="Load the rows of another database's archive.")
    ] = False,
    options: Replacing,
) -> None:
    """Load an archive into the database, in one transaction, and verify the rows before and after."""
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.ownership import identity_to_adopt
    from taskdb_cli.backup.target_file import find_damaged

    run, target = shelf.run, shelf.run.maintained
    # This comes first, because opening a damaged file may change it.
    damaged = find_damaged(target, run.now)
    path = shelf.find(archive, target, damaged=damaged is not None)
    found = service.preview(target, path, damaged=damaged is not None, trial=options.dry_run)
    tables, origin = found.manifest.tables, found.manifest.origin
    identity = identity_to_adopt(
        shelf.directory_of(archive),
        shelf.owner(found.identity),
        origin,
        occupied=bool(found.held),
        from_other_database=from_other_database,
    )
    _allow(run, target, found.held, damaged, options)
    if not options.dry_run:
        total = sum(table.bytes for table in tables)
        with progress(run, "restoring", total=total, then="building indexes") as advance:
            service.restore(
                target,
                path,
                replace=bool(found.held),
                damaged=damaged,
                safety=_safety(shelf, target, options),
                identity=identity,
                progress=advance,
            )
    rows = in_words({table.name: table.rows for table in tables})
    verb = "would restore" if options.dry_run else "restored"
    run.say(f"{verb} {rows} from {path} into {target.backend.place}")
    _say_kept(run, damaged, options)
    if identity:
        verb = "would take" if options.dry_run else "took"
        run.say(f"{target.backend.place} {verb} over the identity of {origin.place}")


@with_option_groups
def copy(
    ctx: typer.Context,
    *,
    to: Annotated[str, typer.Option(metavar="URL", help="The database to copy into.")],
    directory: Directory = None,
    options: Replacing,
) -> None:
    """Load all rows of the database into another one, of either engine."""
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.target_file import find_damaged

    run = invocation(ctx)
    origin, target = run.maintained, run.settings.other_database(to, "--to")
    damaged, rows = find_damaged(target, run.now), service.require_copyable(origin, target)
    held = {} if damaged else service.look_at(target)[0]
    _allow(run, target, held, damaged, options)
    if not options.dry_run:
        safety = _safety(Shelf(ctx, directory), target, options)
        with progress(run, "copying") as advance:
            rows = service.restore(
                target, origin, replace=bool(held), damaged=damaged, safety=safety, progress=advance
            )
    verb = "would copy" if options.dry_run else "copied"
    run.say(f"{verb} {in_words(rows)} from {origin.backend.place} into {target.backend.place}")
    _say_kept(run, damaged, options)


def _allow(
    run: Invocation, target: Database, held: Mapping[str, int], damaged: Damaged | None, options: Replacing
) -> None:
    """Raise TargetNotEmpty, Conflict or Refused unless what the target holds may be replaced.

    Rows that are inserted into an empty target after this are not replaced, because nobody was asked.
    """
    place = target.backend.place
    if damaged and not options.replace:
        raise Conflict(
            f"{place} is damaged: {damaged.what}",
            f"--replace keeps it as {damaged.kept.name} and makes a new file in its place",
        )
    if damaged and not options.dry_run:
        run.confirm(f"move the damaged {damaged.path} to {damaged.kept}", yes=options.yes)
    if held and not options.replace:
        raise TargetNotEmpty(place, in_words(held))
    if held and options.dry_run:
        from taskdb_cli.backup import restore as service

        service.rehearse(target)
        run.say(f"would delete {in_words(held)} of {place}")
    elif held:
        run.confirm(f"delete {in_words(held)} of {place}", yes=options.yes)


def _safety(shelf: Shelf, target: Database, options: Replacing) -> Safety | None:
    from taskdb_cli.backup.create import keep
    from taskdb_cli.backup.directory import SAFETY_SUFFIX, default_label

    if options.no_safety_backup:
        return None
    # The label names the database whose rows are replaced, whatever archive is restored.
    label = default_label(target.backend.name, target.backend.distinction) + SAFETY_SUFFIX

    def save(content: Content) -> None:
        backup = partial(keep, content, shelf.directory, label=label, now=shelf.run.now)
        shelf.saying(backup, "backed up the rows to be replaced to")

    return save


def _say_kept(run: Invocation, damaged: Damaged | None, options: Replacing) -> None:
    if damaged:
        run.say(f"the damaged file {'would be' if options.dry_run else 'is'} kept as {damaged.kept}")
