"""taskdb restore and taskdb copy: load rows into a database, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.archive_argument import ArchiveArgument
from taskdb_cli.cli.backup_location import BackupLocation, LocationWithKeys
from taskdb_cli.cli.backup_options import Directory, EncryptTo
from taskdb_cli.cli.options import Confirm, DryRun, Yes
from taskdb_cli.cli.partial_restore import Only, RowsOutput, bring_back
from taskdb_cli.cli.progress import in_bytes
from taskdb_cli.errors import Conflict, InvalidInput, TargetNotEmpty
from taskdb_cli.text.amounts import in_words

if TYPE_CHECKING:
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.keys import Recipients
    from taskdb_cli.backup.layout import Origin
    from taskdb_cli.backup.restore import Held
    from taskdb_cli.database import Database
    from taskdb_cli.database.content import Content


@dataclass(frozen=True)
class Replacing:
    """The options that say what may be replaced."""

    replace: Annotated[bool, typer.Option("--replace", help="Delete the existing rows first.")] = False
    yes: Yes = False
    confirm: Confirm = None
    no_safety_backup: Annotated[
        bool, typer.Option("--no-safety-backup", help="Do not back up the rows that --replace deletes.")
    ] = False
    dry_run: DryRun = False
    encrypt_to: EncryptTo = None

    def recipients(self, location: BackupLocation) -> Recipients:
        """Return for whom the safety backup is encrypted; raise InvalidInput for keys that cannot be used."""
        needed = self.replace and not self.no_safety_backup
        return location.recipients(self.encrypt_to) if needed or self.encrypt_to else ()


def restore(
    archive: ArchiveArgument,
    *,
    location: LocationWithKeys,
    from_other_database: Annotated[
        bool, typer.Option("--from-other-database", help="Accept an archive of another database.")
    ] = False,
    only: Only,
    options: Replacing,
    output: RowsOutput,
) -> None:
    """Load an archive into the database, or only some users and tasks.

    It is one transaction, and the rows are verified before and after.
    """
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.archive import Archive
    from taskdb_cli.backup.target_file import find_damaged

    run, target = location.run, location.run.maintained
    save, keys = _safety_backup(location, target, options.recipients(location)), location.identities
    if only:
        with Archive.open(location.find(archive, target), keys) as opened:
            identity = service.look_at(target).identity
            # A database without tables is refused later. Any other one keeps its identity.
            if identity and not from_other_database:
                _identity_to_adopt(location, archive, opened.manifest.origin, identity, occupied=True)
            bring_back(run, target, opened, only, options=options, output=output, save=save)
        return
    if output.format is not None:
        raise InvalidInput("-o works with --only-user and --only-task only", "leave it out")
    # This comes first, because opening a damaged file may change it.
    damaged = find_damaged(target, run.now)
    file = location.find(archive, None if damaged else target)
    looking = service.preview(target, file, damaged=damaged, trial=options.dry_run, identities=keys)
    with looking as (opened, held):
        manifest, identity = opened.manifest, None
        origin, occupied = manifest.origin, bool(held.rows)
        if not from_other_database:
            identity = _identity_to_adopt(location, archive, origin, held.identity, occupied=occupied)
        rows, total = manifest.counts(), sum(table.bytes for table in manifest.tables)
        _load(location, target, opened, held, options, save=save, rows=rows, identity=identity, total=total)
    if identity and origin.place != target.backend.place:
        verb = "would count" if options.dry_run else "now count"
        run.say(f"the archives of {origin.place} {verb} as those of {target.backend.place}")


def _identity_to_adopt(
    location: BackupLocation, archive: str, origin: Origin, identity: str | None, *, occupied: bool
) -> str | None:
    """Return the identity that the database with this one takes over; raise as `Holdings` does."""
    from taskdb_cli.backup.ownership import Holdings

    if identity == origin.identity:
        return None
    mine = Holdings(location.directory_of(archive), location.owner(identity))
    return mine.identity_to_adopt(origin, occupied=occupied)


def copy(
    ctx: typer.Context,
    *,
    to: Annotated[str, typer.Option(metavar="URL", help="The database to copy into.")],
    directory: Directory = None,
    options: Replacing,
) -> None:
    """Copy all rows into another database, on SQLite or PostgreSQL."""
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.target_file import find_damaged

    location = BackupLocation(ctx, directory)
    location.refuse_several()
    source, target = location.run.maintained, location.run.settings.other_database(to, "--to")
    save = _safety_backup(location, target, options.recipients(location))
    damaged, rows = find_damaged(target, location.run.now), service.require_copyable(source, target)
    _load(location, target, source, service.look_at(target, damaged), options, save=save, rows=rows)


def _safety_backup(location: BackupLocation, target: Database, recipients: Recipients) -> Callable[..., None]:
    """Return a function that backs up the rows that will be replaced."""
    from taskdb_cli.backup.file_names import SAFETY_SUFFIX, default_label

    # The label names the database whose rows are replaced, whatever archive is restored.
    label = default_label(target.backend.name, target.backend.distinction) + SAFETY_SUFFIX
    return partial(location.save, what="the rows to be replaced", label=label, recipients=recipients)


def _history_backup(
    save: Callable[..., None], location: BackupLocation, options: Replacing, notes: list[str]
) -> Callable[[Content], None]:
    """Return a function that backs up a history without users and tasks, and notes its message."""

    def back_up(content: Content) -> None:
        # Most databases without rows have no history either, and then no key is needed.
        keys = location.recipients(options.encrypt_to)
        save(content, what="the history to be replaced", recipients=keys, say=notes.append)

    return back_up


def _loss(held: Held, place: str, *, replace: bool) -> str:
    """Return what replacing does to the content of the target, or nothing if it is empty.

    Without `replace`, raises Conflict for a damaged target, and TargetNotEmpty for one with rows.
    """
    if (damaged := held.damaged) is not None:
        if not replace:
            hint = f"--replace keeps it as {damaged.kept.name} and makes a new file in its place"
            raise Conflict(f"{place} is damaged: {damaged.what}", hint)
        return f"move the damaged {damaged.path} to {damaged.kept}"
    if not held.rows:
        return ""
    if not replace:
        raise TargetNotEmpty(place, in_words(held.rows))
    return f"delete {in_words(held.rows)} of {place}"


def _load(
    location: BackupLocation,
    target: Database,
    source: Archive | Database,
    held: Held,
    options: Replacing,
    *,
    save: Callable[..., None],
    rows: Mapping[str, int],
    identity: str | None = None,
    total: int | None = None,
) -> None:
    """Ask whether what the target holds may be replaced, then load the rows; say what was or would be done.

    Raises as `_loss` does, and Refused if the answer is no. Rows that are inserted into an
    empty target after this are not replaced, because nobody was asked.
    """
    from taskdb_cli.backup import restore as service
    from taskdb_cli.backup.archive import Archive

    run, place, damaged, notes = location.run, target.backend.place, held.damaged, list[str]()
    loss = _loss(held, place, replace=options.replace)
    doing, done = ("restore", "restored") if isinstance(source, Archive) else ("copy", "copied")
    origin = source.place if isinstance(source, Archive) else source.backend.place
    if options.dry_run:
        done = f"would {doing}"
        if held.rows:
            service.rehearse(target)
        if loss:
            run.say(f"would {loss}")
    else:
        if loss:
            run.confirm(loss, yes=options.yes, database=target)
        safety = save if held.rows else _history_backup(save, location, options, notes)
        with run.progress() as show:
            rows = service.restore(
                target,
                source,
                replace=bool(held.rows),
                damaged=damaged,
                safety=None if options.no_safety_backup else safety,
                identity=identity,
                progress=in_bytes(show, doing, total=total, then="building indexes"),
            )
    run.say(f"{done} {in_words(rows)} from {origin} into {place}")
    for note in notes:
        run.say(note)
    if damaged and not options.dry_run:
        run.say(f"the damaged file is kept as {damaged.kept}")
