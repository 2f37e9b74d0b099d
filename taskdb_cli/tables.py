"""Records as a person reads them in a terminal.

Text of users is only ever shown as `rich.text.Text`, so that nothing in it is taken for markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.output import Record, View, to_plain

_UNLIMITED = 10_000
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
_TITLES = {"id": "ID", "due_at": "Due", "email": "E-mail", "is_active": "Active"}
_COUNTED_DAYS = 14
_ELASTIC = frozenset({"title", "user", "name", "email", "message"})


def print_table(records: Iterable[Record], view: View, stream: TextIO) -> None:
    """Print one row a record, with the view's columns, fitted to the terminal's width."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in view.columns:
        table.add_column(
            _TITLES.get(column, column.capitalize()),
            justify="right" if column == "id" else "left",
            # Rich shrinks the columns that may wrap, the widest first; their cells do not wrap all the same.
            no_wrap=column not in _ELASTIC,
            overflow="ellipsis",
        )
    now = datetime.now(UTC)
    for record in records:
        table.add_row(*(_line(_cell(column, record, now)) for column in view.columns))
    _console(stream).print(table)


def print_detail(record: Record, stream: TextIO) -> None:
    """Print every field of one record, one below the other."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    now = datetime.now(UTC)
    for field in record:
        table.add_row(field, _cell(field, record, now))
    _console(stream).print(table)


def humanize(moment: datetime, now: datetime) -> str:
    """Return a time as a person would say it, in the local zone: the nearer, the finer."""
    local, today = moment.astimezone(), now.astimezone().date()
    days = (local.date() - today).days
    if days in _NEAR_DAYS:
        return f"{_NEAR_DAYS[days]} {local:%H:%M}"
    if abs(days) <= _COUNTED_DAYS:
        return f"in {days} days" if days > 0 else f"{-days} days ago"
    return f"{local:%Y-%m-%d}"


_NEAR_DAYS = {-1: "yesterday", 0: "today", 1: "tomorrow"}


def _console(stream: TextIO) -> Console:
    # Off a terminal nothing may be cut to a width that nobody asked for.
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
    return Text(str(to_plain(value)), style=style)


def _line(cell: Text) -> Text:
    cell.no_wrap = True
    return cell


def _time_cell(field: str, value: datetime, record: Record, now: datetime) -> Text:
    if field != "due_at":
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S %Z}")
    overdue = value < now and record["status"] in OPEN_STATUSES
    return Text(humanize(value, now), style="red" if overdue else "")


_STYLES: dict[str, Callable[[Any], str]] = {
    "status": _STATUS_STYLES.__getitem__,
    "priority": _PRIORITY_STYLES.__getitem__,
}
