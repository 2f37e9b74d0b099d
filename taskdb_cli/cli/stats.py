"""taskdb stats: numbers about tasks."""

import sys
from datetime import datetime, time, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from taskdb_cli import services
from taskdb_cli.cli import options
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.options import optional_user
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.cli.owner import AllUsers, users_to_show
from taskdb_cli.output.formats import FIGURES, TASKS, Format, plain

WEEKS = 12


def stats(
    ctx: typer.Context,
    *,
    user: Annotated[str | None, optional_user("Only theirs.")] = None,
    all_users: AllUsers = False,
    replica: options.Replica = False,
    output: Output,
) -> None:
    """Count tasks by status, priority and week.

    It also shows the oldest open task.
    """
    run = invocation(ctx)
    users = users_to_show(run, [] if user is None else [user], all_users=all_users, output=output)
    # The weeks begin on Mondays at midnight, local time. The current week is the last one.
    today = run.now.astimezone().date()
    monday = today - timedelta(days=today.weekday())
    days = [monday + timedelta(weeks=number) for number in range(1 - WEEKS, 2)]
    boundaries = [datetime.combine(day, time.min).astimezone() for day in days]
    owner = next(iter(users), None)
    collect = partial(services.stats.collect, owner=owner, now=run.now, boundaries=boundaries)
    found = run.database.read(collect)
    format = output.effective_format
    if format is Format.TABLE:
        from taskdb_cli.output.stats import print_stats

        print_stats(found, sys.stdout, owner=owner)
    elif format is Format.JSON:
        oldest = found.oldest_open
        show_json({**found.report(), "oldest_open": oldest and plain(oldest, TASKS.fields)})
    else:
        figures = _flatten(found.report()).items()
        show_records(({"figure": name, "value": value} for name, value in figures), FIGURES, output)


def _flatten(report: dict[str, Any]) -> dict[str, Any]:
    weeks, oldest = report["weeks"], report["oldest_open"]
    return {
        "total": report["total"],
        **{f"status.{name}": number for name, number in report["by_status"].items()},
        **{f"priority.{name}": number for name, number in report["by_priority"].items()},
        "overdue": report["overdue"],
        **{f"created.{week['start']}": week["created"] for week in weeks},
        **{f"completed.{week['start']}": week["completed"] for week in weeks},
        "oldest_open": oldest and oldest["id"],
    }
