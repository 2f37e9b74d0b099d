"""Numbers about tasks for a person: counts, and a chart of the tasks that came and went each week."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import dropwhile
from typing import TYPE_CHECKING, TextIO

from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.output.tables import STYLES, console_for
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.services.stats import Stats, Week

LONGEST_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"
"""The end of a bar: how many eighths of a cell it fills."""


def print_stats(stats: Stats, stream: TextIO, *, owner: str | None) -> None:
    """Print counts, a chart that begins with the first week in which anything happened, and the oldest task.

    `owner` is the user whose numbers they are, or None for everybody's.
    """
    console = console_for(stream)
    if not stats.total:
        whose = "there are no tasks" if owner is None else f"user {owner} has no tasks"
        console.print(Text(escape(f"{whose}; 'taskdb task create' makes one")))
        return
    console.print(_counts(stats))
    if weeks := list(dropwhile(lambda week: not (week.created or week.completed), stats.weeks)):
        console.print(Text(), _chart(weeks, console.width), Text(), sep="\n")
    else:
        console.print(f"nothing was created or completed in the last {len(stats.weeks)} weeks")
    if stats.oldest_open is not None:
        age = max((datetime.now(UTC) - stats.oldest_open["created_at"]).days, 0)
        line = f"oldest open: task {stats.oldest_open['id']}, {in_words({'days': age})} old, "
        console.print(Text(escape(line + stats.oldest_open["title"])), no_wrap=True, overflow="ellipsis")


def _counts(stats: Stats) -> Table:
    numbers = (Column(), Column(justify="right"), Column(), Column(justify="right"))
    table = Table(*numbers, box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    pairs = zip(stats.by_status.items(), stats.by_priority.items(), strict=True)
    for (status, with_status), (priority, with_priority) in pairs:
        left = Text(status, STYLES["status"].get(status, ""))
        right = Text(priority.word, STYLES["priority"].get(priority, ""))
        table.add_row(left, f"{with_status:,}", right, f"{with_priority:,}")
    overdue = "red" if stats.overdue else ""
    table.add_row("total", f"{stats.total:,}", Text("overdue", overdue), f"{stats.overdue:,}")
    return table


def _chart(weeks: list[Week], width: int) -> Table:
    """Return a row for each week, with both bars on one scale, in a table that fits the width."""
    most = max(max(week.created, week.completed) for week in weeks)
    number = len(f"{most:,}")
    fixed = len("2026-11-23") + 2 + max(number, len("Created")) + 2 + 2 + max(number, len("Completed")) + 2
    room = max(1, min(LONGEST_BAR, (width - fixed) // 2))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Week of", no_wrap=True)
    for name in ("Created", "Completed"):
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
    for week in weeks:
        cells: list[Text] = []
        for count, style in ((week.created, "cyan"), (week.completed, "green")):
            cells += [Text(f"{count:,}", "" if count else "dim"), _bar(count / most * room, style)]
        table.add_row(f"{week.start:%Y-%m-%d}", *cells)
    return table


def _bar(length: float, style: str) -> Text:
    # A week with any task shows at least a thin bar.
    whole, eighths = divmod(max(round(length * 8), bool(length)), 8)
    return Text("█" * whole + _EIGHTHS[eighths].strip(), style)
