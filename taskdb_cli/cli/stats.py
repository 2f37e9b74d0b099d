"""taskdb stats: numbers about tasks."""

from __future__ import annotations

import sys
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli import services
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.options import optional_user, with_option_groups
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.output.formats import FIGURES, TASKS, Format, plain

if TYPE_CHECKING:
    from taskdb_cli.services.stats import Stats

WEEKS = 12


@with_option_groups
def stats(
    ctx: typer.Context, *, user: Annotated[str | None, optional_user("Only theirs.")] = None, output: Output
) -> None:
    """Count tasks by status, priority and week, and show the oldest open one."""
    run = invocation(ctx)
    # The weeks begin on Mondays at midnight, local time. The current week is the last one.
    today = run.now.astimezone().date()
    monday = today - timedelta(days=today.weekday())
    days = [monday + timedelta(weeks=number) for number in range(1 - WEEKS, 2)]
    boundaries = [datetime.combine(day, time.min).astimezone() for day in days]
    found = run.database.read(
        lambda session: services.stats.collect(session, user, now=run.now, boundaries=boundaries)
    )
    format = output.format_for(sys.stdout)
    if format is Format.TABLE:
        from taskdb_cli.output.tables import print_stats

        print_stats(found, sys.stdout)
    elif format is Format.JSON:
        show_json(_report(found))
    else:
        figures = _flatten(_report(found)).items()
        show_records(({"figure": name, "value": value} for name, value in figures), FIGURES, output)


def _report(stats: Stats) -> dict[str, Any]:
    return {
        "total": stats.total,
        "by_status": {status.value: number for status, number in stats.by_status.items()},
        "by_priority": {priority.word: number for priority, number in stats.by_priority.items()},
        "overdue": stats.overdue,
        "weeks": [
            {"start": f"{week.start:%Y-%m-%d}", "created": week.created, "completed": week.completed}
            for week in stats.weeks
        ],
        "oldest_open": plain(stats.oldest_open, TASKS.fields) if stats.oldest_open else None,
    }


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
