"""Records and statistics as tables for people.

User text is escaped and wrapped in `rich.text.Text`: it can neither drive the terminal nor act as markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.output.formats import Format, Record, View, to_plain
from taskdb_cli.system.clock import to_local
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.services.stats import Stats

_ELLIPSIZED = ("title", "name", "description", "message")
"""Columns that take the rest of the line, and are cut off in a narrow terminal."""
_FOLDED = ("archive", "reasons", "sha256")
"""Columns that take the rest of the line, and more lines in a narrow terminal: nothing may be missing."""
_TITLES = {"id": "ID", "user_id": "User ID", "due_at": "Due", "email": "E-mail", "is_active": "Active"}
_STATUSES = {TaskStatus.IN_PROGRESS: "cyan", TaskStatus.DONE: "green", TaskStatus.CANCELLED: "dim"}
_PRIORITIES = {TaskPriority.LOW: "dim", TaskPriority.HIGH: "yellow", TaskPriority.URGENT: "bold red"}
_STYLES: dict[str, dict[Any, str]] = {"status": _STATUSES, "priority": _PRIORITIES}
_COUNTED_DAYS = 14
_NEAR_DAYS = {-1: "yesterday", 0: "today", 1: "tomorrow"}


def print_table(records: Iterable[Record], view: View, stream: TextIO) -> None:
    """Print one row a record, fitted to the terminal's width, at constant memory.

    The first rows decide how wide the columns are. If there are no rows, nothing is printed.
    """
    console, now, names = console_for(stream), datetime.now(UTC), view.chosen_for(Format.TABLE)
    rows = ([_cell(name, record, now) for name in names] for record in records)
    columns: list[Column] = []
    while chunk := list(islice(rows, 500)):
        first = not columns
        if first:
            widths = [max(cell.cell_len for cell in cells) for cells in zip(*chunk, strict=True)]
            columns = [_column(name, width, console) for name, width in zip(names, widths, strict=True)]
        table = Table(
            *(column.copy() for column in columns),
            box=box.SIMPLE_HEAD if first else None,
            show_edge=False,
            padding=(0, 1, 0, 0),
            show_header=first,
            header_style="bold",
            pad_edge=False,
            expand=any(column.ratio for column in columns),
        )
        for row in chunk:
            table.add_row(*row)
        console.print(table)


def print_detail(record: Record, stream: TextIO) -> None:
    """Print every field of one record, one below the other."""
    table = Table(Column(style="bold"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    now = datetime.now(UTC)
    for field in record:
        table.add_row(field, _cell(field, record, now))
    console_for(stream).print(table)


def print_stats(stats: Stats, stream: TextIO) -> None:
    """Print counts, and bars for the tasks that were created and completed in each week."""
    console = console_for(stream)
    counts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    pairs = zip(stats.by_status.items(), stats.by_priority.items(), strict=True)
    for (status, with_status), (priority, with_priority) in pairs:
        left = Text(status, _STATUSES.get(status, ""))
        right = Text(priority.word, _PRIORITIES.get(priority, ""))
        counts.add_row(left, f"{with_status:,}", right, f"{with_priority:,}")
    counts.add_row("total", f"{stats.total:,}", Text("overdue", "red"), f"{stats.overdue:,}")
    console.print(counts)
    columns = (Column(name, no_wrap=True) for name in ("Week of", "Created", "", "Completed", ""))
    weeks = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    most = max([1, *(max(week.created, week.completed) for week in stats.weeks)])
    for week in stats.weeks:
        cells: list[Text | str] = [f"{week.start:%Y-%m-%d}"]
        for number, style in ((week.created, "cyan"), (week.completed, "green")):
            # A week with any task shows at least a short bar.
            length = max(round(number / most * 16), bool(number))
            cells += [Text("█" * length, style), f"{number:,}"]
        weeks.add_row(*cells)
    console.print(weeks)
    if stats.oldest_open is not None:
        age = max((datetime.now(UTC) - stats.oldest_open["created_at"]).days, 0)
        line = f"oldest open: task {stats.oldest_open['id']}, {age:,} day{'' if age == 1 else 's'} old, "
        console.print(Text(escape(line + stats.oldest_open["title"])), no_wrap=True, overflow="ellipsis")


def console_for(stream: TextIO) -> Console:
    """Return a console for the stream. If the stream is no terminal, the console cuts nothing off."""
    return Console(file=stream, width=None if stream.isatty() else 10_000, highlight=False, markup=False)


def _humanize(moment: datetime, now: datetime) -> str:
    """Return a time as a person would say it, in the local zone. A time that is near is more exact."""
    local = to_local(moment)
    days = (local.date() - now.astimezone().date()).days
    if days in _NEAR_DAYS:
        # A due date without a clock time is stored as the last minute of its day.
        clock = "" if (local.hour, local.minute) == (23, 59) else f" {local:%H:%M}"
        return _NEAR_DAYS[days] + clock
    if abs(days) <= _COUNTED_DAYS:
        return f"in {days} days" if days > 0 else f"{-days} days ago"
    return local.date().isoformat()


def _column(name: str, width: int, console: Console) -> Column:
    heading = _TITLES.get(name, name.removesuffix("_at").replace("_", " ").capitalize())
    width = max(width, len(heading))
    if name in ("user", "email"):
        width = min(width, console.width // 5, 32)
    # The other columns keep their widths, and the flexible ones take the rest of the line.
    flexible = console.file.isatty() and name in (*_ELLIPSIZED, *_FOLDED)
    folded = flexible and name in _FOLDED
    return Column(
        heading,
        justify="right" if name in ("id", "user_id", "tasks", "version") else "left",
        no_wrap=not folded,
        overflow="fold" if folded else "ellipsis",
        ratio=1 if flexible else None,
        width=None if flexible or name == "id" else width,
        min_width=width if name == "id" else None,
    )


def _cell(field: str, record: Record, now: datetime) -> Text:
    value = record[field]
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime) and field != "due_at":
        return Text(to_local(value).replace(tzinfo=None).isoformat(" ", "minutes"))
    if isinstance(value, datetime):
        overdue = value < now and record["status"] in OPEN_STATUSES
        return Text(_humanize(value, now), style="red" if overdue else "")
    style = _STYLES.get(field, {}).get(value, "")
    # A description may have several lines. Other text has them only if it breaks a rule of its table.
    return Text(escape(str(to_plain(value)), lines=field == "description"), style=style)
