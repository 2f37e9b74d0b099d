"""Records as a person reads them in a terminal.

Text of users is shown only escaped and as `rich.text.Text`, so that nothing in it drives the terminal or
is taken for markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.output.formats import Record, View, to_plain
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.services.stats import Stats, Week

_UNLIMITED = 10_000
_CHUNK = 500
_LONGEST_ADDRESS = 32
_COUNTED_DAYS = 14
_BAR = 16
_FLEXIBLE = ("title", "name", "description", "message")
_FOLDED = ("archive", "reasons", "sha256")
"""Columns that take more lines in a narrow terminal: nothing of them may be missing."""
_TITLES = {"id": "ID", "user_id": "User ID", "due_at": "Due", "email": "E-mail", "is_active": "Active"}
_STATUS_STYLES = {
    TaskStatus.TODO: "",
    TaskStatus.IN_PROGRESS: "cyan",
    TaskStatus.DONE: "green",
    TaskStatus.CANCELLED: "dim",
}
_PRIORITY_STYLES = {
    TaskPriority.LOW: "dim",
    TaskPriority.MEDIUM: "",
    TaskPriority.HIGH: "yellow",
    TaskPriority.URGENT: "bold red",
}
_STYLES: dict[str, Callable[[Any], str]] = {
    "status": _STATUS_STYLES.__getitem__,
    "priority": _PRIORITY_STYLES.__getitem__,
}
_NEAR_DAYS = {-1: "yesterday", 0: "today", 1: "tomorrow"}


def print_table(records: Iterable[Record], view: View, stream: TextIO) -> None:
    """Print one row a record, fitted to the terminal's width, at constant memory.

    The first rows decide how wide the columns are. Without any row nothing is printed.
    """
    console, now, columns = console_for(stream), datetime.now(UTC), view.table or view.columns
    chunks = _chunks([_cell(column, record, now) for column in columns] for record in records)
    widths: list[int] = []
    for chunk in chunks:
        first = not widths
        widths = widths or _widths(columns, chunk, console.width)
        table = _table(columns, widths, header=first, expand=stream.isatty())
        for row in chunk:
            table.add_row(*row)
        console.print(table)


def print_detail(record: Record, stream: TextIO) -> None:
    """Print every field of one record, one below the other."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    now = datetime.now(UTC)
    for field in record:
        table.add_row(field, _cell(field, record, now))
    console_for(stream).print(table)


def print_stats(stats: Stats, stream: TextIO) -> None:
    """Print counts, and a bar for what was created and completed in each week."""
    console, now = console_for(stream), datetime.now(UTC)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column()
    statuses = [(status.value, number, _STATUS_STYLES[status]) for status, number in stats.by_status.items()]
    priorities = [(key.word, number, _PRIORITY_STYLES[key]) for key, number in stats.by_priority.items()]
    for (status, many, style), (priority, more, look) in zip(statuses, priorities, strict=True):
        table.add_row(Text(status, style), f"{many:,}", Text(priority, look), f"{more:,}")
    table.add_row("total", f"{stats.total:,}", Text("overdue", "red"), f"{stats.overdue:,}")
    console.print(table)
    console.print(_weeks(stats.weeks))
    if stats.oldest_open is not None:
        age = max((now - stats.oldest_open["created_at"]).days, 0)
        days = f"{age:,} day{'' if age == 1 else 's'}"
        line = f"oldest open: task {stats.oldest_open['id']}, {days} old, "
        console.print(Text(escape(line + stats.oldest_open["title"])), no_wrap=True, overflow="ellipsis")


def _weeks(weeks: Sequence[Week]) -> Table:
    most = max([1, *(max(week.created, week.completed) for week in weeks)])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("Week of", "Created", "", "Completed", ""):
        table.add_column(heading, justify="left", no_wrap=True)
    for week in weeks:
        created, completed = (_bar(number, most) for number in (week.created, week.completed))
        table.add_row(
            f"{week.start:%Y-%m-%d}",
            Text(created, "cyan"),
            f"{week.created:,}",
            Text(completed, "green"),
            f"{week.completed:,}",
        )
    return table


def _bar(number: int, most: int) -> str:
    # A week with anything at all shows something.
    return "█" * max(round(number / most * _BAR), 1 if number else 0)


def humanize(moment: datetime, now: datetime) -> str:
    """Return a time as a person would say it, in the local zone: the nearer, the finer."""
    local = _local(moment)
    days = (local.date() - now.astimezone().date()).days
    if days in _NEAR_DAYS:
        # The last minute of a day stands for the day.
        clock = "" if (local.hour, local.minute) == (23, 59) else f" {local:%H:%M}"
        return _NEAR_DAYS[days] + clock
    if abs(days) <= _COUNTED_DAYS:
        return f"in {days} days" if days > 0 else f"{-days} days ago"
    return f"{local:%Y-%m-%d}"


def _local(moment: datetime) -> datetime:
    """Return a time in the local zone, or in UTC if the year there is before 1 or after 9999."""
    try:
        return moment.astimezone()
    except OverflowError:
        return moment


def _chunks(rows: Iterator[list[Text]]) -> Iterator[list[list[Text]]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


def _widths(columns: Sequence[str], rows: Sequence[Sequence[Text]], space: int) -> list[int]:
    longest_address = min(space // 5, _LONGEST_ADDRESS)
    widths = []
    for index, column in enumerate(columns):
        width = max([len(_heading(column)), *(row[index].cell_len for row in rows)])
        widths.append(min(width, longest_address) if column in ("user", "email") else width)
    return widths


def _table(columns: Sequence[str], widths: Sequence[int], *, header: bool, expand: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_edge=False,
        padding=(0, 1, 0, 0),
        show_header=header,
        header_style="bold",
        pad_edge=False,
        expand=expand and any(column in (*_FLEXIBLE, *_FOLDED) for column in columns),
    )
    for column, width in zip(columns, widths, strict=True):
        folded = expand and column in _FOLDED
        flexible = folded or (expand and column in _FLEXIBLE)
        table.add_column(
            _heading(column),
            justify="right" if column in ("id", "user_id", "tasks", "version") else "left",
            no_wrap=not folded,
            overflow="fold" if folded else "ellipsis",
            # Everything else keeps its width, and the text takes what is left of the line.
            ratio=1 if flexible else None,
            width=None if flexible or column == "id" else width,
            min_width=width if column == "id" else None,
        )
    return table


def _heading(column: str) -> str:
    return _TITLES.get(column, column.removesuffix("_at").replace("_", " ").capitalize())


def console_for(stream: TextIO) -> Console:
    """Return a console that cuts nothing, off a terminal, to a width that nobody asked for."""
    return Console(file=stream, width=None if stream.isatty() else _UNLIMITED, highlight=False, markup=False)


def _cell(field: str, record: Record, now: datetime) -> Text:
    value = record[field]
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return _time_cell(field, value, record, now)
    style = _STYLES.get(field, lambda _: "")(value)
    # A description has lines. No other text has, unless it breaks a rule of its table.
    return Text(escape(str(to_plain(value)), lines=field == "description"), style=style)


def _time_cell(field: str, value: datetime, record: Record, now: datetime) -> Text:
    if field != "due_at":
        return Text(f"{_local(value):%Y-%m-%d %H:%M}")
    overdue = value < now and record["status"] in OPEN_STATUSES
    return Text(humanize(value, now), style="red" if overdue else "")
