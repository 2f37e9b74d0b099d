"""taskdb migrate: bring the schema of a database up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.cli.backup_options import EncryptTo
from taskdb_cli.cli.commands import Commands, Group
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.options import Confirm, Yes
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.output.formats import REVISIONS, Format
from taskdb_cli.system import signals

if TYPE_CHECKING:
    from taskdb_cli.database import Database
    from taskdb_cli.services.migrate import SchemaStatus

app = Commands(cls=Group, help="Upgrade the schema, or show its state.", invoke_without_command=True)

NoBackup = Annotated[
    bool, typer.Option("--no-backup", help="Do not back up a database with rows before the migration.")
]
Revision = Annotated[
    str, typer.Argument(metavar="[REVISION]", help="The revision to go to.", show_default=True)
]


@app.callback(epilog="taskdb migrate\ntaskdb migrate --no-backup")
def main(ctx: typer.Context, *, no_backup: NoBackup = False, encrypt_to: EncryptTo = None) -> None:
    """Back the database up, and upgrade it to the newest revision."""
    if ctx.invoked_subcommand is None:
        up(ctx, no_backup=no_backup, encrypt_to=encrypt_to)


@app.command(epilog="taskdb migrate up\ntaskdb migrate up 0001")
def up(
    ctx: typer.Context,
    revision: Revision = "head",
    *,
    no_backup: NoBackup = False,
    encrypt_to: EncryptTo = None,
) -> None:
    """Upgrade to a revision, after a backup.

    An embedded database that is missing is created.
    """
    from taskdb_cli.services.migrate import upgrade

    save = _safety_backup(ctx, no_backup, encrypt_to)
    _move(ctx, "upgraded", partial(upgrade, to=revision), save)


# Without this setting -1 would be an option.
@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog="taskdb migrate down\ntaskdb migrate down 0003 --yes",
)
def down(
    ctx: typer.Context,
    revision: Revision = "-1",
    *,
    yes: Yes = False,
    confirm: Confirm = None,
    no_backup: NoBackup = False,
    encrypt_to: EncryptTo = None,
) -> None:
    """Downgrade to an older revision, by default by one.

    It says what is lost, asks, and makes a backup first.
    """
    from taskdb_cli.services.migrate import downgrade, preview_downgrade

    run, save = invocation(ctx), _safety_backup(ctx, no_backup, encrypt_to)
    if not run.agreed(yes=yes):
        way = preview_downgrade(run.maintained, to=revision)
        if way.end != way.current:
            lost = f"this loses {'; '.join(way.losses)}" if way.losses else "no data is lost"
            place = run.maintained.backend.place
            action = f"downgrade {place} from {way.current} to {way.end or 'nothing'} ({lost})"
            run.confirm(action, yes=yes, database=run.maintained)
            # Somebody else may have downgraded meanwhile: go to the target that the question named, and not
            # by the same number of steps.
            revision = way.end or "base"
    _move(ctx, "downgraded", partial(downgrade, to=revision), save)


def _safety_backup(
    ctx: typer.Context, no_backup: bool, encrypt_to: list[str] | None
) -> Callable[[Database], None] | None:
    """Return a function that backs the database up before a migration, or None with --no-backup.

    Raises InvalidInput for keys that cannot be used.
    """
    # The options may also stand before the subcommand.
    outer = ctx.parent.params if ctx.parent else {}
    if no_backup or outer.get("no_backup"):
        return None
    location = BackupLocation(ctx)
    recipients = location.recipients(encrypt_to or outer.get("encrypt_to"))

    def save(database: Database) -> None:
        location.save(
            database, database.backend.place, label=location.label, recipients=recipients, guarded=True
        )

    return save


def _move(
    ctx: typer.Context,
    moved: str,
    move: Callable[..., SchemaStatus],
    save: Callable[[Database], None] | None,
) -> None:
    run = invocation(ctx)
    before = move(run.maintained, before=save)
    # The migration is done, so nothing more is asked of the database: that could only fail.
    start, end = before.current or "nothing", before.end or "nothing"
    if start != end:
        signals.note_change(made=True)
    place = run.maintained.backend.place
    run.say(f"{place} is at {end} already" if start == end else f"{moved} {place} from {start} to {end}")


@app.command(epilog="taskdb migrate status\ntaskdb migrate status -o json")
def status(ctx: typer.Context, *, output: Output) -> None:
    """Show the revision of the database, the newest one, and the steps between."""
    from taskdb_cli.services import migrate as service

    run = invocation(ctx)
    found = service.status(run.maintained)
    pending = [asdict(step) for step in found.pending]
    if output.format is Format.JSON:
        show_json({"current": found.current, "head": found.head, "pending": pending})
        return
    run.say(f"current {found.current or 'none'}; head {found.head}; {len(pending)} pending")
    show_records(pending, REVISIONS, output)


@app.command(epilog="taskdb migrate history\ntaskdb migrate history -o json")
def history(ctx: typer.Context, *, output: Output) -> None:
    """List all revisions, and mark those that the database has."""
    from taskdb_cli.services import migrate as service

    found = service.history(invocation(ctx).maintained)
    show_records([asdict(step) for step in found], REVISIONS, output)


@app.command(epilog="taskdb migrate check\ntaskdb migrate check && echo in order")
def check(ctx: typer.Context) -> None:
    """Compare the schema with the newest revision.

    Exits 0 if the tables are exactly those of the newest revision, else 6 with the reason.
    """
    from taskdb_cli.services import migrate as service

    run = invocation(ctx)
    found = service.check(run.maintained)
    run.say(f"the schema is at revision {found.head}, as it should be")


@app.command(epilog=("taskdb migrate sql > schema.sql\ntaskdb migrate sql 0001:head > review.sql"))
def sql(ctx: typer.Context, revisions: Annotated[str, typer.Argument(metavar="[RANGE]")] = "head") -> None:
    """Print the SQL of a migration, and run nothing.

    RANGE is a revision, beginning with an empty database, or FROM:TO in either direction.
    """
    from taskdb_cli.services import migrate as service

    dialect = invocation(ctx).maintained.backend.dialect
    typer.echo(service.offline_sql(dialect, revision_range=revisions), nl=False)


@app.command(epilog="taskdb migrate stamp\ntaskdb migrate stamp 0002")
def stamp(
    ctx: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(metavar="REVISION", help="The revision to record; by default the newest.")
    ] = None,
) -> None:
    """Record a revision in the version table, if the tables match it."""
    from taskdb_cli.services import stamp as service

    run = invocation(ctx)
    found = service.stamp(run.maintained, to=revision)
    place, old = run.maintained.backend.place, ", ".join(found.before) or "nothing"
    if found.was_right:
        run.say(f"{place} is at {found.revision} already, and its tables match")
    else:
        run.say(f"recorded revision {found.revision} in {place} (before: {old}); the tables match it")
