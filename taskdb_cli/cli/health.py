"""taskdb health: say whether a database is fine, and whether it could be got back."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from taskdb_cli.cli.backup_location import BackupLocation
from taskdb_cli.cli.backup_options import Directory
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.offers import complete_checks
from taskdb_cli.errors import HomeMissing, InvalidInput
from taskdb_cli.health import TIMEOUT

if TYPE_CHECKING:
    from taskdb_cli.health.report import Limits

Format = Literal["table", "json", "nagios", "prometheus"]
Names = list[str] | None
Seconds = float | None


def _seconds(help: str, least: float, most: float) -> Any:
    return typer.Option(metavar="S", min=least, max=most, help=help)


def _check(help: str) -> Any:
    return typer.Option(metavar="CHECK", help=help, autocompletion=complete_checks)


def health(
    ctx: typer.Context,
    *,
    output: Annotated[
        Format, typer.Option("--output", "-o", metavar="FORMAT", case_sensitive=False, help="The format.")
    ] = "table",
    only: Annotated[Names, _check("Only this check; several with commas.")] = None,
    skip: Annotated[Names, _check("Not this check; several with commas.")] = None,
    all: Annotated[
        bool, typer.Option("--all", help="Show every check; a terminal shows only what is not ok.")
    ] = False,
    timeout: Annotated[float, _seconds("The time limit for all checks, in seconds.", 0.1, 3600)] = TIMEOUT,
    watch: Annotated[Seconds, _seconds("Repeat every S seconds, until Ctrl-C.", 0.1, 86400)] = None,
    directory: Directory = None,
    wait: Annotated[Seconds, _seconds("Wait up to S seconds for the database first.", 0, 3600)] = None,
) -> None:
    """Check the database and its backups.

    Exits 0 if all is well, 1 for a warning, 2 if something is critical, 3 if it is unknown.
    """
    from taskdb_cli.health import runner
    from taskdb_cli.health.archives import Backups
    from taskdb_cli.health.registry import DROPPED, parse_limits
    from taskdb_cli.output.health import watch_reports, write_report

    run = invocation(ctx)
    for name in sorted(DROPPED.intersection([*(only or ()), *(skip or ())])):
        run.say(f"the check {name} was dropped; leave it out")
    location, backups = BackupLocation(ctx, directory), list[Backups]()
    # Only the checks of backups need the directory, and they report that there is none.
    with suppress(HomeMissing):
        chosen, owner = bool(directory or run.settings.backup_dir), location.owner(None)
        backups = [Backups(each, owner, chosen) for each in location.directories(patient=False)]
    check = partial(
        runner.run,
        run.database,
        thresholds=_limits(run) | parse_limits(run.settings.health_limits),
        backups=backups,
        replica=run.settings.replica_database() if run.settings.read_url else None,
        timeout=timeout,
        only=only or (),
        skip=skip or (),
    )
    if wait is not None and not runner.wait_until_up(run.database, now=run.now, seconds=wait):
        run.say(f"{run.database.backend.place} did not answer within {wait:g} s")
    # A check that is named by --only is always shown.
    every = all or bool(only)
    if watch is not None:
        if output != "table" or not sys.stdout.isatty():
            raise InvalidInput(
                "--watch needs a terminal and the format table", "elsewhere run 'taskdb health' from cron"
            )
        watch_reports(lambda: check(now=datetime.now(UTC)), watch, sys.stdout, every=every)
    report = check(now=datetime.now(UTC))
    write_report(report, output, sys.stdout, every=every)
    run.outcome = report.status.value
    raise typer.Exit(report.exit_code)


def _limits(run: Invocation) -> dict[str, Limits]:
    """Return the limits that follow from other settings.

    The history is too old two days after a nightly backup should have pruned it. A replica lags when it is
    over TASKDB_READ_LAG.
    """
    from taskdb_cli.cli.history_prune import history_begin
    from taskdb_cli.health.registry import DAY, LAG_CRITICAL
    from taskdb_cli.health.report import Limits

    begin = history_begin(run)
    oldest = (run.now - begin).total_seconds() + 2 * DAY if begin else None
    lag = run.settings.read_lag
    return {"history": Limits(oldest), "replica_lag": Limits(lag, LAG_CRITICAL * lag)}
