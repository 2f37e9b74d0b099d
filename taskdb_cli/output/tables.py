"""Records as tables for people.

User text is escaped and wrapped in `rich.text.Text`: it can neither drive the terminal nor act as markup.
"""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TextIO

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.output.formats import Format, Record, View, to_plain
from taskdb_cli.output.layout import ADDRESSES, FOLDED, GAP, fit
from taskdb_cli.system.clock import describe, in_minutes, to_local, zone_mark
from taskdb_cli.text.amounts import in_one_size
from taskdb_cli.text.escaping import escape

_CHUNK = 500
"""Rows or lines that are laid out at a time. The first rows decide which columns there are."""
_TITLES = {
    "id": "ID",
    "at": "When",
    "user_id": "User ID",
    "external_id": "External ID",
    "due_at": "Due",
    "email": "E-mail",
    "is_active": "Active",
}
_STATUSES = {TaskStatus.IN_PROGRESS: "cyan", TaskStatus.DONE: "green", TaskStatus.CANCELLED: "dim"}
_PRIORITIES = {TaskPriority.LOW: "dim", TaskPriority.HIGH: "yellow", TaskPriority.URGENT: "bold red"}
STYLES: dict[str, dict[Any, str]] = {"status": _STATUSES, "priority": _PRIORITIES}
_RARE = ("undoes", "restored_from")
"""Columns that are empty in most lists, so that nobody need be told."""
_COUNTED_DAYS = 14
_NEAR_DAYS = {-1: "yesterday", 0: "today", 1: "tomorrow"}


def print_table(
    records: Iterable[Record],
    view: View,
    stream: TextIO,
    *,
    wide: bool = False,
    equal: Collection[str] = (),
    hint: str = "",
) -> None:
    """Print one row a record, fitted to the terminal's width, at constant memory.

    A terminal shows no column that is empty or the same in every row, and none without room. A line above the
    table names these columns, with the `hint` how to see those without room. If the table is `wide`, or the
    stream is no terminal, nothing is left out or cut. Many records are compared only if they are a list;
    otherwise only the fields that are `equal` are left out. Without rows nothing is printed.
    """
    console, now = console_for(stream), datetime.now(UTC)
    fitted, rest = stream.isatty() and not wide, iter(records)
    names = view.all_columns() if wide else view.chosen_for(Format.TABLE)
    chunk = list(islice(rest, _CHUNK))
    if not chunk:
        return
    if fitted and not view.named:
        compared = records if isinstance(records, list) else chunk if len(chunk) < _CHUNK else None
        same = _same_columns(names, compared) if compared else [name for name in names if name in equal]
        names = [name for name in names if name not in same]
    rows = [_cells(names, record, now) for record in chunk]
    if fitted and not view.named:
        kept = fit(_needs(rows), console.width, drop=True)
        dropped = [name for name in names if name not in kept]
        _print_left_out(_cells(same, chunk[0], now), dropped, hint, console)
        names, rows = list(kept), [{name: row[name] for name in kept} for row in rows]
    grid = Grid(console, fitted=fitted)
    while rows:
        grid.print(rows)
        rows = [_cells(names, record, now) for record in islice(rest, _CHUNK)]


class Grid:
    """Rows of cells below headings. Columns are named as fields are, which says what may be cut in them."""

    def __init__(self, console: Console, *, fitted: bool) -> None:
        """Fit the columns to the console if asked, or else let lines be as long as they are."""
        self._console = console
        self._room = console.width if fitted else None
        self._needs: dict[str, int] = {}

    def print(self, rows: Sequence[Mapping[str, Text]]) -> None:
        """Print rows that all have the same columns. Later rows may need more room than the first did."""
        first = not self._needs
        self._needs = {name: max(need, self._needs.get(name, 0)) for name, need in _needs(rows).items()}
        widths = fit(self._needs, self._room, drop=False) if self._room else self._needs
        # Rich would cut whatever is wider than its console.
        self._console.width = max(self._console.width, sum(widths.values()) + GAP * (len(widths) - 1))
        table = ruled_table(*(_column(name, width) for name, width in widths.items()))
        table.show_header = first
        for row in rows:
            for name in ADDRESSES:
                if name in row:
                    _cut_middle(row[name], widths[name])
            table.add_row(*row.values())
        self._console.print(table)


def print_detail(record: Record, stream: TextIO) -> None:
    """Print every field of one record, one below the other."""
    table, now = fields_table(), datetime.now(UTC)
    for field in record:
        cell = _cell(field, record, now)
        if field == "due_at" and cell.plain:
            # A row of a list has less room.
            cell.plain = describe(record[field], now)
        table.add_row(field, cell)
    console_for(stream).print(table)


def ruled_table(*columns: Column | str, gap: int = GAP) -> Table:
    """Return a table with bold headings and a line below them, and so many cells between two columns."""
    return Table(
        *columns,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        header_style="bold",
        pad_edge=False,
    )


def fields_table() -> Table:
    """Return a table for the names and the values of fields, without headings."""
    return Table(Column(style="bold"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)


def print_lines(lines: Iterable[Text], console: Console) -> None:
    """Print lines as long as they are, some at a time, at constant memory.

    Rich takes ten times as long to print each by itself.
    """
    rest = iter(lines)
    while some := list(islice(rest, _CHUNK)):
        segments = [segment for line in some for segment in _segments(line, console)]
        console.print(Segments(segments), soft_wrap=True, end="")


def _segments(line: Text, console: Console) -> Iterable[Segment]:
    # Most lines have one style, for which Rich's way takes three times as long.
    if line.spans or "\t" in line.plain:
        line.expand_tabs()
        return line.render(console, end="\n")
    return Segment(line.plain, console.get_style(line.style)), Segment.line()


def console_for(stream: TextIO) -> Console:
    """Return a console for the stream. If the stream is no terminal, the console cuts nothing off."""
    console = Console(file=stream, width=None if stream.isatty() else 10_000, highlight=False, markup=False)
    if console.is_dumb_terminal or not console.width:
        # Rich takes a dumb one to have 80 columns, and believes COLUMNS=0.
        console.width = shutil.get_terminal_size().columns
    return console


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
    return local.date().isoformat() + zone_mark(local)


def _same_columns(names: Sequence[str], records: Sequence[Record]) -> list[str]:
    """Return the columns that are empty or the same in all records, but never the first one and the title."""
    first = records[0]
    return [
        name
        for name in names[1:]
        if name != "title"
        and (first[name] is None or len(records) > 1)
        and all(record[name] == first[name] for record in records)
    ]


def _print_left_out(same: Mapping[str, Text], dropped: Sequence[str], hint: str, console: Console) -> None:
    full = ", ".join(f"{_label(name)} {cell.plain}" for name, cell in same.items() if cell.plain)
    empty = ", ".join(_label(name) for name, cell in same.items() if not cell.plain and name not in _RARE)
    no_room = ", ".join(map(_label, dropped))
    no_room += f" ({hint})" if no_room and hint else ""
    parts = full and f"all: {full}", empty and f"empty: {empty}", no_room and f"no room for {no_room}"
    if said := " \N{MIDDLE DOT} ".join(part for part in parts if part):
        console.print(Text(said, "dim"))


def _label(name: str) -> str:
    return _heading(name).lower()


def _heading(name: str) -> str:
    return _TITLES.get(name, name.removesuffix("_at").replace("_", " ").capitalize())


def _needs(rows: Sequence[Mapping[str, Text]]) -> dict[str, int]:
    """Return how wide the columns of these rows would have to be."""
    return {
        name: max(cell_len(_heading(name)), *(_cell_width(row[name].plain) for row in rows))
        for name in rows[0]
    }


def _cell_width(text: str) -> int:
    return max(map(cell_len, text.split("\n"))) if "\n" in text else cell_len(text)


def _column(name: str, width: int) -> Column:
    return Column(
        _heading(name),
        justify="right" if name in ("id", "user_id", "tasks", "version", "rows", "undoes") else "left",
        no_wrap=name not in FOLDED,
        overflow="fold" if name in FOLDED else "ellipsis",
        width=width,
    )


def _cut_middle(cell: Text, width: int) -> None:
    """Shorten an address to so many cells. Its beginning tells more than its end."""
    text = cell.plain
    if cell_len(text) <= width:
        return
    end = text[-(width // 3) :]
    while cell_len(end) > width // 3:
        end = end[1:]
    cell.plain = set_cell_size(text, width - 1 - cell_len(end)).rstrip(" ") + "…" + end


def _cells(names: Iterable[str], record: Record, now: datetime) -> dict[str, Text]:
    return {name: _cell(name, record, now) for name in names}


def _cell(field: str, record: Record, now: datetime) -> Text:
    value = record[field]
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime) and field != "due_at":
        return Text(in_minutes(value))
    if isinstance(value, datetime):
        overdue = value < now and record["status"] in OPEN_STATUSES
        return Text(_humanize(value, now), style="red" if overdue else "")
    if field in ("size", "tasks_size"):
        return Text(in_one_size(value))
    style = STYLES.get(field, {}).get(value, "")
    # A description may have several lines. Other text has them only if it breaks a rule of its table.
    return Text(escape(str(to_plain(value)), lines=field == "description"), style=style)
