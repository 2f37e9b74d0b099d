"""taskdb health: say whether a database is fine, and whether it could be got back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.backup_options import Shelf
from taskdb_cli.cli.context import invocation
from taskdb_cli.errors import HomeMissing, InvalidInput
from taskdb_cli.health import TIMEOUT
from taskdb_cli.output.health import HealthFormat, write_report

if TYPE_CHECKING:
    from taskdb_cli.cli.context import Invocation
    from taskdb_cli.health.checks.backups import Backups
    from taskdb_cli.health.report import Report

Names = list[str] | None


def health(
    ctx: typer.Context,
    *,
    output: Annotated[HealthFormat, typer.Option("--output", "-o", help="How to print.")] = (
        HealthFormat.TABLE
    ),
    only: Annotated[Names, typer.Option(metavar="CHECK", help="Only this check; repeatable.")] = None,
    skip: Annotated[Names, typer.Option(metavar="CHECK", help="Not this check; repeatable.")] = None,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=0.1, max=3600, help="Seconds for all checks together.")
    ] = TIMEOUT,
    watch: Annotated[
        float | None,
        typer.Option(
            metavar="S", min=0.1, max=86400, help="Check again every so many seconds, until Ctrl-C."
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(metavar="S", min=0, max=3600, help="First wait up to so many seconds for the database."),
    ] = None,
) -> None:
    """Check the database and its backups; exit 0 if all is well, 1 warning, 2 critical, 3 unknown."""
    from taskdb_cli.health import runner
    from taskdb_cli.health.registry import DROPPED
    from taskdb_cli.health.thresholds import Thresholds

    run = invocation(ctx)
    for name in sorted(DROPPED.intersection([*(only or ()), *(skip or ())])):
        run.say(f"the check {name} was dropped; leave it out")
    check = partial(
        runner.run,
        run.database,
        thresholds=Thresholds.parse(run.settings.health_limits),
        backups=_backups(ctx),
        timeout=timeout,
        only=only or (),
        skip=skip or (),
    )
    if wait is not None:
        _wait(run, wait)
    if watch is not None:
        _watch(lambda: check(now=datetime.now(UTC)), watch, output)
    report = check(now=datetime.now(UTC))
    write_report(report, output, sys.stdout)
    run.log.outcome = report.status.value
    raise typer.Exit(report.exit_code)


def _backups(ctx: typer.Context) -> Backups | None:
    from taskdb_cli.health.checks.backups import Backups

    shelf = Shelf.of(ctx, None, None)
    try:
        directory = shelf.directory
    except HomeMissing:
        # Only the checks of backups need the directory, and they report this.
        return None
    owner, configured = shelf.owner(None), shelf.run.settings.backup.directory is not None
    return Backups(directory, owner.label, configured, owner.former_labels, owner.place)


def _wait(run: Invocation, seconds: float) -> None:
    from taskdb_cli.health.runner import wait_until_up

    if not wait_until_up(run.database, now=run.now, seconds=seconds):
        run.say(f"{run.database.backend.place} did not come up within {seconds:g} s")


def _watch(collect: Callable[[], Report], pause: float, output: HealthFormat) -> None:
    if output is not HealthFormat.TABLE or not sys.stdout.isatty():
        raise InvalidInput("--watch draws a table in a terminal", "elsewhere run 'taskdb health' by cron")
    from taskdb_cli.output.health_table import watch_reports

    watch_reports(collect, pause, sys.stdout)
