"""taskdb backup: take archives of the database, look at them, prove them, and thin them out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
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
    is_stdout,
    new_file,
    policy_of,
)
from taskdb_cli.cli.options import DryRun, NotingGroup, with_option_groups
from taskdb_cli.cli.output import Output, show_json, show_record, show_records
from taskdb_cli.cli.progress import progress
from taskdb_cli.errors import (
    DataCorrupt,
    Incomplete,
    Interrupted,
    InvalidInput,
    NotFound,
    StorageFailed,
    TaskdbError,
)
from taskdb_cli.output.formats import ARCHIVES, BACKUPS, CONTENTS, DECISIONS, FIGURES, Format
from taskdb_cli.text.escaping import hide_secrets

if TYPE_CHECKING:
    from taskdb_cli.backup.create import Backup
    from taskdb_cli.backup.ownership import Owner
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.cli.context import Invocation

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
@with_option_groups
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
    output: Output,
) -> None:
    """Take a verified backup of the database, or do what the subcommand says."""
    if ctx.invoked_subcommand is not None:
        _refuse_own_options(ctx)
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
        _back_up_to(shelf, file, output)
    else:
        _back_up(shelf, policy, metrics_file, drill=drill, output=output)


@app.command("list", epilog="Example: taskdb backup list --label neondb -o json")
@with_option_groups
def list_(
    ctx: typer.Context,
    *,
    directory: Directory = None,
    label: Label = None,
    output: Output,
) -> None:
    """List the archives of the directory, oldest first, with their last verification and drill."""
    shelf = Shelf.of(ctx, directory, label)
    found = shelf.directory.records(shelf.given_label, say=shelf.run.say)
    show_records(shelf.run.counting(found), ARCHIVES, output)
    if not shelf.directory.path.exists():
        shelf.run.say(f"there is no directory {shelf.directory.path}")


@app.command(epilog="Example: taskdb backup show latest")
@with_option_groups
def show(
    ctx: typer.Context,
    archive: ArchiveArgument,
    *,
    directory: Directory = None,
    label: Label = None,
    output: Output,
) -> None:
    """Show what an archive says of itself, once its seal is found whole."""
    from taskdb_cli.backup.archive import Archive

    shelf = Shelf.of(ctx, directory, label)
    with Archive.open(shelf.find(archive, shelf.run.database, offline=True)) as found:
        pass
    if output.format is Format.JSON:
        show_json(found.record())
    else:
        show_records(found.manifest.table_records(), CONTENTS, output)
        shelf.run.say(found.manifest.summary())


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
    from taskdb_cli.backup import verify
    from taskdb_cli.backup.create import read_back

    shelf = Shelf.of(ctx, directory, label)
    failures: list[TaskdbError] = []
    for archive in archives:
        try:
            its_directory = shelf.directory_of(archive)
            path = shelf.find(archive, shelf.run.database, offline=True, read_anyway=True)
            backup = read_back(path)
            shelf.run.say(f"{path}: {backup.manifest.rows} rows, as they were written")
            verify.note(backup, its_directory, now=shelf.run.now)
            if drill or drill_url:
                _drill(shelf, path, drill_url, tell=True)
        except (NotFound, DataCorrupt, StorageFailed, Incomplete) as exc:
            if len(archives) == 1:
                raise
            shelf.run.say(exc.message)
            failures.append(exc)
    if failures:
        worst = next((each for each in failures if isinstance(each, DataCorrupt)), failures[0])
        worst.message = f"{len(failures)} of {len(archives)} archives did not pass: {worst.message}"
        raise worst


@app.command(epilog="Example: taskdb backup prune --keep-daily 7 --keep-weekly 5 --dry-run")
@with_option_groups
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
    output: Output,
) -> None:
    """Delete the archives of the label that no rule keeps; say why each stays or goes."""
    from taskdb_cli.backup import retention
    from taskdb_cli.backup.retention import Policy
    from taskdb_cli.services.migrate import identify

    shelf = Shelf.of(ctx, directory, label)
    policy = Policy(keep_last, keep_daily, keep_weekly, keep_monthly, keep_at_least)
    identity, _ = identify(shelf.run.database)
    owner = shelf.owner(identity)
    decisions = retention.prune(shelf.directory, owner, policy, now=shelf.run.now, dry_run=dry_run)
    if all(decision.suspect for decision in decisions):
        shelf.run.say(f"{shelf.directory.path} has no archive of {owner.label} that counts for this database")
    if (deleted := sum(not decision.keep for decision in decisions)) and not dry_run:
        shelf.run.did(f"deleted {deleted} archive{'' if deleted == 1 else 's'}", look="taskdb backup list")
    show_records([decision.record() for decision in decisions], DECISIONS, output)


def _back_up(
    shelf: Shelf,
    policy: Policy | None,
    metrics_file: Path | None,
    *,
    drill: bool,
    output: Output,
) -> None:
    from taskdb_cli.backup import create

    run, began = shelf.run, time.monotonic()
    with progress(run, "backing up") as advance:
        backup = create.take(
            run.maintained, shelf.directory, label=shelf.label, now=run.now, progress=advance
        )
    seconds = time.monotonic() - began
    _tell(run, backup, output)
    owner = shelf.owner(backup.manifest.origin.identity)
    steps: list[Callable[[], object]] = []
    if drill:
        steps.append(partial(_drill, shelf, backup.path, None, tell=sys.stderr.isatty()))
    if policy:
        steps.append(partial(_thin_out, shelf, owner, policy))
    if metrics_file:
        steps.append(partial(_write_metrics, shelf, owner, metrics_file, seconds))
    _follow_up(steps)


def _tell(run: Invocation, backup: Backup, output: Output) -> None:
    run.log.rows = backup.manifest.rows
    run.did(
        f"backed up {run.maintained.backend.place} to {backup.path}",
        look=f"taskdb backup show {quote(str(backup.path))}",
    )
    # Cron mails whatever a job prints.
    if sys.stderr.isatty():
        from rich.filesize import decimal

        place, size = run.maintained.backend.place, decimal(backup.size)
        run.say(f"backed up {backup.manifest.rows} rows of {place} to {backup.path}: {size}, verified")
    if output.format is not None:
        show_record(backup.record(), BACKUPS, output)


def _drill(shelf: Shelf, path: Path, url: str | None, *, tell: bool) -> None:
    from taskdb_cli.backup import verify

    target = shelf.run.settings.other_database(url, "--drill-url") if url else None
    with progress(shelf.run, "drilling") as advance:
        verify.drill(
            path, shelf.directory_of(str(path.absolute())), now=shelf.run.now, target=target, progress=advance
        )
    if tell:
        shelf.run.say(f"{path}: restored for trial, and whole")


def _thin_out(shelf: Shelf, owner: Owner, policy: Policy) -> None:
    from taskdb_cli.backup import retention

    decisions = retention.prune(shelf.directory, owner, policy, now=shelf.run.now)
    if suspect := [decision for decision in decisions if decision.suspect]:
        number = f"{len(suspect)} archive{'' if len(suspect) == 1 else 's'}"
        example = f"{suspect[-1].entry.path.name} is {'; '.join(suspect[-1].reasons)}"
        shelf.run.say(f"kept {number} that no rule counts: {example}")


def _write_metrics(shelf: Shelf, owner: Owner, path: Path, seconds: float) -> None:
    from taskdb_cli.backup import metrics
    from taskdb_cli.backup.ownership import holdings

    record = holdings(shelf.directory, owner).record
    metrics.write_metrics(path.absolute(), shelf.label, record, seconds=seconds)


def _follow_up(steps: Sequence[Callable[[], object]]) -> None:
    """Do what follows a good backup; what fails of it is Incomplete, after all of it was tried.

    An archive that does not pass its drill is no good backup: DataCorrupt, at once.
    """
    failures: list[TaskdbError] = []
    for step in steps:
        try:
            step()
        except (DataCorrupt, Interrupted):
            raise
        except TaskdbError as exc:
            failures.append(exc)
        except OSError as exc:
            failures.append(StorageFailed(f"{exc.filename or 'a file'}: {exc.strerror}"))
    if failures:
        reasons = "; ".join(failure.message for failure in failures)
        raise Incomplete(f"the backup is good, but {reasons}", failures[0].hint)


def _refuse_own_options(ctx: typer.Context) -> None:
    # The directory and the label are the subcommands' too; all else they would not hear of.
    for parameter in ctx.command.params:
        given = ctx.params.get(parameter.name or "")
        if parameter.name not in ("directory", "label") and given != parameter.get_default(ctx):
            raise InvalidInput(
                f"{parameter.opts[0]} stands before '{ctx.invoked_subcommand}', which would not heed it",
                f"'taskdb backup {ctx.invoked_subcommand} --help' shows what it takes",
            )


def _back_up_to(shelf: Shelf, file: str, output: Output) -> None:
    from taskdb_cli.backup import create

    run = shelf.run
    if file == "-" and sys.stdout.isatty():
        raise InvalidInput("an archive is nothing for a terminal", "send it into a file or a pipe")
    if file == "-" and output.format is not None:
        raise InvalidInput("--output has no place beside an archive on stdout", "leave one of them away")
    if file == "-" and is_stdout(run.settings.log.file):
        raise InvalidInput("the archive and the log cannot both go to stdout", "name another log file")
    path = new_file(file) if file != "-" else Path()
    with progress(run, "backing up") as advance, run.maintained.snapshot() as content:
        if file == "-":
            try:
                manifest = create.write(
                    content, sys.stdout.buffer, label=shelf.label, now=run.now, progress=advance
                )
                sys.stdout.buffer.flush()
            except OSError as exc:
                # Half an archive is a failure, even if it is its reader who went away.
                raise StorageFailed(
                    f"stdout cannot be written: {exc.strerror}", "what was written is no archive"
                ) from exc
            run.log.rows = manifest.rows
        else:
            backup = create.save(content, path, label=shelf.label, now=run.now, progress=advance)
            _tell(run, backup, output)


def _configuration(shelf: Shelf, policy: Policy | None, metrics_file: Path | None) -> list[dict[str, object]]:
    values = {
        "database": shelf.run.maintained.backend.place,
        "directory": shelf.directory.path,
        "label": shelf.label,
        "policy": policy.in_words() if policy else "keep everything",
        "metrics file": metrics_file.absolute() if metrics_file else "none",
    }
    return [{"figure": name, "value": hide_secrets(str(value))} for name, value in values.items()]
