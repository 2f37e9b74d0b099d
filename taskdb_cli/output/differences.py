"""What differs between two archives: one JSON object, records for programs, and lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.output.formats import Record, View, plain, to_plain
from taskdb_cli.output.tables import console_for
from taskdb_cli.system.clock import to_local, zone_mark
from taskdb_cli.text.escaping import escape, escape_json

if TYPE_CHECKING:
    from rich.console import Console

    from taskdb_cli.backup.difference import Comparison, Difference, Side

COUNTS = View(("table", "added", "removed", "changed", "unchanged"))
ROWS = View(("table", "id", "change", "old", "new"))
FIELDS = View(("table", "id", "change", "field", "old", "new"))
"""The same in CSV and TSV: one line for each field."""

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_KEPT = 12
"""Characters of a common beginning that are shown in front of the first difference."""


def count_records(comparison: Comparison) -> Iterator[Record]:
    """Yield how many rows of each table were added, removed, changed, or are the same."""
    for table, counter in comparison.counts.items():
        yield {"table": table} | {name: counter[name] for name in COUNTS.fields[1:]}


def row_records(differences: Iterable[Difference]) -> Iterator[Record]:
    """Yield one record a row: the fields that one side has or that differ, as objects."""
    for each in differences:
        old, new = (values and plain(values, [*values]) for values in (each.old, each.new))
        yield {"table": each.table, "id": each.id, "change": each.change, "old": old, "new": new}


def field_records(differences: Iterable[Difference]) -> Iterator[Record]:
    """Yield one record a field that differs. A side that does not have the row has no value of it."""
    for each in differences:
        old, new = each.old or {}, each.new or {}
        for name in old or new:
            was, now = old.get(name), new.get(name)
            if was != now and name != "id":
                row = {"table": each.table, "id": each.id, "change": each.change}
                yield {**row, "field": name, "old": was, "new": now}


def write_comparison(
    comparison: Comparison, differences: Iterable[Difference] | None, stream: TextIO
) -> None:
    """Write one JSON object: both sides, the `differences` if there are to be any, the counts, and `equal`.

    The differences are taken one at a time. If an exception ends them, the object stays open.
    """
    sides = {"a": _side(comparison.old), "b": _side(comparison.new)}
    head = _json({**sides, "same_database": comparison.is_same_database}, indent=2)
    if differences is not None:
        head = head.removesuffix("\n}") + ',\n  "details": ['
        between = "\n    "
        for record in row_records(differences):
            stream.write(head + between + _json(record))
            head, between = "", ",\n    "
        head += "]" if head else "\n  ]"
    else:
        head = head.removesuffix("\n}")
    counts = {
        record["table"]: {name: record[name] for name in COUNTS.fields[1:]}
        for record in count_records(comparison)
    }
    stream.write(
        head + "," + _json({**counts, "equal": comparison.is_equal}, indent=2).removeprefix("{") + "\n"
    )


def _side(side: Side) -> Record:
    known = {"source": side.name, "taken_at": side.taken_at, "place": side.place, "identity": side.identity}
    return plain(known, [*known])


def _json(value: object, **options: Any) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, **options))


def print_differences(differences: Iterable[Difference], stream: TextIO) -> None:
    """Print each row with a sign and its title, and below it the fields that differ, one at a time.

    On a terminal long texts are cut, so that what differs is shown. Elsewhere nothing is cut.
    """
    console, table = console_for(stream), ""
    room = console.width if stream.isatty() else None
    for each in differences:
        if each.table != table:
            console.print(Text(("\n" if table else "") + each.table, "bold"), soft_wrap=True)
            table = each.table
        sign, style = _SIGNS[each.change]
        title = _cut(f"{sign} {each.id}  {escape(each.title)}", room)
        console.print(Text(title, style), soft_wrap=True)
        if each.old and each.new:
            for name, was in each.old.items():
                _print_change(name, was, each.new[name], room, console)
    if table:
        console.print()


def _print_change(name: str, old: Any, new: Any, room: int | None, console: Console) -> None:
    was, now = _shown(old), _shown(new)
    if was == now:
        # The clock was set back between the two.
        was, now = str(to_plain(old)), str(to_plain(new))
    line = f"    {name}: {was} → {now}"
    if room is None or cell_len(line) <= room:
        console.print(Text(line), soft_wrap=True)
        return
    console.print(Text(f"    {name}:"), soft_wrap=True)
    # What both begin with says nothing of the difference.
    same = len(commonprefix([was, now]))  # noqa: RUF071 (no paths)
    for sign, style, text in (("-", "red", was), ("+", "green", now)):
        cut = cell_len(text) > room - len("      + ") and same > _KEPT
        shown = "…" + text[same - _KEPT :] if cut else text
        console.print(Text(_cut(f"      {sign} {shown}", room), style), soft_wrap=True)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        local = to_local(value)
        return local.replace(tzinfo=None).isoformat(" ") + zone_mark(local)
    return escape(str(to_plain(value)))


def _cut(text: str, room: int | None) -> str:
    return text if room is None or cell_len(text) <= room else set_cell_size(text, room - 1).rstrip(" ") + "…"


def print_counts(comparison: Comparison, stream: TextIO) -> None:
    """Print both sides, how many rows differ, and whether any does."""
    console = console_for(stream)
    facts = Table(
        Column(style="bold", no_wrap=True),
        Column(overflow="fold"),
        box=None,
        show_header=False,
        pad_edge=False,
    )
    for name, side in (("A", comparison.old), ("B", comparison.new)):
        when = (
            f"taken {_shown(side.taken_at.replace(microsecond=0))}" if side.taken_at else "the database now"
        )
        facts.add_row(name, Text(f"{escape(side.name)}\n{when}"))
    right = (Column(name.title(), justify="right", no_wrap=True) for name in COUNTS.fields[1:])
    table = Table(
        "Table",
        *right,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        pad_edge=False,
    )
    for record in count_records(comparison):
        table.add_row(Text(escape(record["table"])), *(f"{record[name]:,}" for name in COUNTS.fields[1:]))
    for part in (facts, "", table, "", "The rows are equal." if comparison.is_equal else "The rows differ."):
        console.print(part)
