"""taskdb backup: take archives of the database, look at them, prove them, and thin them out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.backup_options import (
    ArchiveArgument,
    Directory,
    KeepAtLeast,
    KeepDaily,
    KeepLast,
    KeepMonthly,
    KeepWeekly,
    Label,
    Shelf,
    policy_of,
)
from taskdb_cli.cli.options import DryRun, NotingGroup, Output
from taskdb_cli.cli.progress import progress
from taskdb_cli.cli.rendering import show_json, show_record, show_records
from taskdb_cli.errors import Incomplete, InvalidInput, StorageFailed, TaskdbError
from taskdb_cli.output import ARCHIVES, BACKUPS, CONTENTS, DECISIONS, FIGURES, Format

if TYPE_CHECKING:
    from taskdb_cli.cli.invocation import Invocation
    from taskdb_cli.services.backup.retention import Policy
    from taskdb_cli.services.backup.taking import Backup

FLOOR = 3

app = typer.Typer(
    cls=NotingGroup, help="Take backups, look at them, prove them.", invoke_without_command=True
)

Drill = Annotated[bool, typer.Option("--drill", help="Restore it for trial too, and check what comes out.")]
DrillUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Drill in this database without rows, not in a scratch file.", show_default=False
    ),
]


@app.callback(epilog="Example: taskdb backup --dir /var/backups/taskdb --keep-daily 7 --keep-weekly 5")
def main(
    ctx: typer.Context,
    *,
    directory: Directory = None,
    label: Label = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Write to this new file; - is stdout, not read back.", show_default=False
        ),
    ] = None,
    keep_last: KeepLast = 0,
    keep_daily: KeepDaily = 0,
    keep_weekly: KeepWeekly = 0,
    keep_monthly: KeepMonthly = 0,
    keep_at_least: KeepAtLeast = FLOOR,
    metrics_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Tell Prometheus' textfile collector of it.", show_default=False),
    ] = None,
    drill: Drill = False,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print what would be used, and do nothing.")
    ] = False,
    output: Output = None,
) -> None:
    """Take a verified backup of the database, or do what the subcommand says."""
    if ctx.invoked_subcommand is not None:
        return
    shelf = Shelf.of(ctx, directory, label)
    policy = policy_of(
        last=keep_last, daily=keep_daily, weekly=keep_weekly, monthly=keep_monthly, at_least=keep_at_least
    )
    if file is not None and (policy or drill or metrics_file):
        raise InvalidInput(
            "--file is one archive by itself", "leave --keep-…, --drill and --metrics-file away"
        )
    if check_config:
        show_records(_configuration(shelf, policy, metrics_file), FIGURES, output)
    elif file is not None:
        _back_up_to(shelf, file)
    else:
        _back_up(shelf, policy, metrics_file, drill=drill, output=output)


@app.command("list", epilog="Example: taskdb backup list --label neondb -o json")
def list_(
    ctx: typer.Context, *, directory: Directory = None, label: Label = None, output: Output = None
) -> None:
    """List the archives of the directory, oldest first, without opening them."""
    from taskdb_cli.services.backup import inventory

    shelf = Shelf.of(ctx, directory, label)
    found = inventory.archives(shelf.directory, shelf.given_label)
    show_records(shelf.run.counting(found), ARCHIVES, output)


@app.command(epilog="Example: taskdb backup show latest")
def show(
    ctx: typer.Context,
    archive: ArchiveArgument,
    *,
    directory: Directory = None,
    label: Label = None,
    output: Output = None,
) -> None:
    """Show what an archive says of itself, once its seal is found whole."""
    from taskdb_cli.services.backup import inventory

    shelf = Shelf.of(ctx, directory, label)
    found = inventory.describe(shelf.directory.find(archive, shelf.chosen_label))
    if output is Format.JSON:
        show_json(found.record())
    else:
        show_records(found.tables(), CONTENTS, output)
        shelf.run.say(found.summary())


@app.command(epilog="Example: taskdb backup verify latest --drill")
def verify(
    ctx: typer.Context,
    archives: Annotated[list[str], typer.Argument(metavar="ARCHIVE...", help="Paths, names, or 'latest'.")],
    *,
    directory: Directory = None,
    label: Label = None,
    drill: Drill = False,
    drill_url: DrillUrl = None,
) -> None:
    """Read archives from the first byte to the last; exit 7 if one is not as it was written."""
    from taskdb_cli.services.backup import proving

    shelf = Shelf.of(ctx, directory, label)
    for archive in archives:
        path = shelf.directory.find(archive, shelf.chosen_label)
        backup = proving.verify(path, shelf.directory, now=shelf.run.now)
        shelf.run.say(f"{path}: {backup.manifest.rows} rows, as they were written")
        if drill or drill_url:
            _drill(shelf, path, drill_url)


@app.command(epilog="Example: taskdb backup prune --keep-daily 7 --keep-weekly 5 --dry-run")
def prune(
    ctx: typer.Context,
    *,
    directory: Directory = None,
    label: Label = None,
    keep_last: KeepLast = 0,
    keep_daily: KeepDaily = 0,
    keep_weekly: KeepWeekly = 0,
    keep_monthly: KeepMonthly = 0,
    keep_at_least: KeepAtLeast = FLOOR,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Delete the archives of the label that no rule keeps; say why each stays or goes."""
    from taskdb_cli.services.backup import proving
    from taskdb_cli.services.backup.retention import Policy

    shelf = Shelf.of(ctx, directory, label)
    policy = Policy(keep_last, keep_daily, keep_weekly, keep_monthly, keep_at_least)
    decisions = proving.thin_out(shelf.directory, shelf.label, policy, now=shelf.run.now, dry_run=dry_run)
    show_records([decision.record() for decision in decisions], DECISIONS, output)


def _back_up(
    shelf: Shelf, policy: Policy | None, metrics_file: Path | None, *, drill: bool, output: Format | None
) -> None:
    from taskdb_cli.services.backup import taking

    run, began = shelf.run, time.monotonic()
    with progress(run, "backing up") as advance:
        backup = taking.take(
            run.maintained, shelf.directory, label=shelf.label, now=run.now, progress=advance
        )
    seconds = time.monotonic() - began
    _tell(run, backup, output)
    if drill:
        _drill(shelf, backup.path, None)
    _follow_up(shelf, policy, metrics_file, seconds)


def _tell(run: Invocation, backup: Backup, output: Format | None) -> None:
    run.journal.rows = backup.manifest.rows
    # Cron mails whatever a job prints.
    if sys.stderr.isatty():
        from rich.filesize import decimal

        place, size = run.maintained.backend.place, decimal(backup.size)
        run.say(f"backed up {backup.manifest.rows} rows of {place} to {backup.path}: {size}, verified")
    if output is not None:
        show_record(backup.record(), BACKUPS, output)


def _drill(shelf: Shelf, path: Path, url: str | None) -> None:
    from taskdb_cli.services.backup import proving

    target = shelf.run.settings.other_database(url, "--drill-url") if url else None
    with progress(shelf.run, "drilling") as advance:
        proving.drill(path, shelf.directory, now=shelf.run.now, target=target, progress=advance)
    if sys.stderr.isatty():
        shelf.run.say(f"{path}: restored for trial, and whole")


def _follow_up(shelf: Shelf, policy: Policy | None, metrics_file: Path | None, seconds: float) -> None:
    """Do what follows a good backup; what fails of it is Incomplete, after all of it was tried."""
    from taskdb_cli.services.backup import metrics, proving

    failures: list[TaskdbError] = []
    if policy:
        try:
            proving.thin_out(shelf.directory, shelf.label, policy, now=shelf.run.now)
        except TaskdbError as exc:
            failures.append(exc)
    if metrics_file:
        try:
            record = shelf.directory.record(shelf.label)
            metrics.write_metrics(metrics_file.absolute(), shelf.label, record, seconds=seconds)
        except StorageFailed as exc:
            failures.append(exc)
    if failures:
        reasons = "; ".join(failure.message for failure in failures)
        raise Incomplete(f"the backup is good, but {reasons}", failures[0].hint)


def _back_up_to(shelf: Shelf, file: str) -> None:
    from taskdb_cli.services.backup import taking

    run = shelf.run
    if file == "-" and sys.stdout.isatty():
        raise InvalidInput("an archive is nothing for a terminal", "send it into a file or a pipe")
    with progress(run, "backing up") as advance, run.maintained.snapshot() as content:
        if file == "-":
            try:
                manifest = taking.write(
                    content, sys.stdout.buffer, label=shelf.label, now=run.now, progress=advance
                )
                sys.stdout.buffer.flush()
            except OSError as exc:
                # Half an archive is a failure, even if it is its reader who went away.
                raise StorageFailed(
                    f"stdout cannot be written: {exc.strerror}", "what was written is no archive"
                ) from exc
            run.journal.rows = manifest.rows
        else:
            path = Path(file).absolute()
            backup = taking.save(content, path, label=shelf.label, now=run.now, progress=advance)
            _tell(run, backup, None)


def _configuration(shelf: Shelf, policy: Policy | None, metrics_file: Path | None) -> list[dict[str, object]]:
    values = {
        "database": shelf.run.maintained.backend.place,
        "directory": shelf.directory.path,
        "label": shelf.label,
        "policy": policy.in_words() if policy else "keep everything",
        "metrics file": metrics_file.absolute() if metrics_file else "none",
    }
    return [{"figure": name, "value": str(value)} for name, value in values.items()]
