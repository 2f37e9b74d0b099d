"""taskdb stats: numbers about tasks."""

from __future__ import annotations

import sys
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.options import with_option_groups
from taskdb_cli.cli.output import Output, show_json, show_records
from taskdb_cli.output.formats import FIGURES, TASKS, Format, plain

if TYPE_CHECKING:
    from taskdb_cli.services.stats import Stats

WEEKS = 12


@with_option_groups
def stats(
    ctx: typer.Context,
    *,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only theirs.", autocompletion=complete_users, show_default=False),
    ] = None,
    output: Output,
) -> None:
    """Count tasks by status, priority and week, and show the oldest open one."""
    from taskdb_cli.services import stats as service

    run = invocation(ctx)
    boundaries = week_boundaries(run.now, WEEKS)
    found = run.database.read(
        lambda session: service.collect(session, user, now=run.now, boundaries=boundaries)
    )
    format = output.format_for(sys.stdout)
    if format is Format.TABLE:
        from taskdb_cli.output.tables import print_stats

        print_stats(found, sys.stdout)
    elif format is Format.JSON:
        show_json(_report(found))
    else:
        figures = _flatten(_report(found))
        show_records(({"figure": name, "value": value} for name, value in figures), FIGURES, output)


def week_boundaries(now: datetime, weeks: int) -> list[datetime]:
    """Return the local midnights of Mondays that bound the last `weeks` weeks, the current one included."""
    today = now.astimezone().date()
    monday = today - timedelta(days=today.weekday())
    starts = [monday + timedelta(weeks=number - weeks + 1) for number in range(weeks + 1)]
    return [datetime.combine(start, time.min).astimezone() for start in starts]


def _report(stats: Stats) -> dict[str, Any]:
    oldest = stats.oldest_open
    return {
        "total": stats.total,
        "by_status": {status.value: number for status, number in stats.by_status.items()},
        "by_priority": {priority.word: number for priority, number in stats.by_priority.items()},
        "overdue": stats.overdue,
        "weeks": [
            {"start": f"{week.start:%Y-%m-%d}", "created": week.created, "completed": week.completed}
            for week in stats.weeks
        ],
        "oldest_open": plain(oldest, TASKS.fields) if oldest else None,
    }


def _flatten(report: dict[str, Any]) -> list[tuple[str, Any]]:
    oldest = report["oldest_open"]
    return [
        ("total", report["total"]),
        *((f"status.{name}", number) for name, number in report["by_status"].items()),
        *((f"priority.{name}", number) for name, number in report["by_priority"].items()),
        ("overdue", report["overdue"]),
        *((f"created.{week['start']}", week["created"]) for week in report["weeks"]),
        *((f"completed.{week['start']}", week["completed"]) for week in report["weeks"]),
        ("oldest_open", oldest and oldest["id"]),
    ]
