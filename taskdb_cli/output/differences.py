"""What differs between two archives: one JSON object, records for programs, and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from functools import partial
from itertools import chain, islice
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.table import Column
from rich.text import Text

from taskdb_cli.output.documents import write_document
from taskdb_cli.output.formats import Record, View, plain, to_plain
from taskdb_cli.output.tables import console_for, fields_table, print_lines, ruled_table
from taskdb_cli.system.clock import to_local, zone_mark
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.backup.difference import Comparison, Difference, Side

COUNTS = View(("table", "added", "removed", "changed", "unchanged"))
ROWS = View(("table", "id", "change", "old", "new"))
FIELDS = View(("table", "id", "change", "field", "old", "new"))
"""The same in CSV and TSV: one line for each field."""

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_KEPT = 12
"""Characters of a common beginning that are shown in front of the first difference."""
_LINES = 20
"""Lines of a text that a terminal shows."""
_COMPARED = 250_000
"""Pairs of lines up to which all are compared."""


def count_records(comparison: Comparison) -> Iterator[Record]:
    """Yield how many rows of each table were added, removed, changed, or are the same."""
    for table, counter in comparison.counts.items():
        yield {"table": table} | {name: counter[name] for name in COUNTS.fields[1:]}


def row_records(differences: Iterable[Difference]) -> Iterator[Record]:
    """Yield one record a row: the fields that one side has or that differ, as objects."""
    for each in differences:
        old, new = (values and plain(values, [*values]) for values in (each.old, each.new))
        yield {**_row(each), "old": old, "new": new}


def field_records(differences: Iterable[Difference]) -> Iterator[Record]:
    """Yield one record a field that differs. A side that does not have the row has no value of it."""
    for each in differences:
        old, new = each.old or {}, each.new or {}
        for name in old or new:
            was, now = old.get(name), new.get(name)
            if was != now and name != "id":
                yield {**_row(each), "field": name, "old": was, "new": now}


def _row(difference: Difference) -> Record:
    return {"table": difference.table, "id": difference.id, "change": difference.change}


def write_comparison(
    comparison: Comparison, differences: Iterator[Difference] | None, stream: TextIO
) -> None:
    """Write one JSON object: both sides, the `differences` if there are to be any, the counts, and `equal`.

    The differences are taken one at a time. If an exception ends them, the object stays open.
    """
    # Nothing is written before the archives could be read.
    rows = None if differences is None else chain([*islice(differences, 1)], differences)

    def parts() -> Iterator[tuple[str, Any]]:
        yield "a", _side(comparison.old)
        yield "b", _side(comparison.new)
        yield "same_database", comparison.is_same_database
        if rows is not None:
            yield "details", ({**_row(each), "old": each.old, "new": each.new} for each in rows)
        for record in count_records(comparison):
            yield record["table"], {name: record[name] for name in COUNTS.fields[1:]}
        yield "equal", comparison.is_equal

    write_document(parts(), stream)


def _side(side: Side) -> Record:
    return {"source": side.name, "taken_at": side.taken_at, "place": side.place, "identity": side.identity}


def print_differences(differences: Iterable[Difference], stream: TextIO) -> None:
    """Print each row with a sign and its title, and below it the fields that differ.

    On a terminal long texts are cut, so that what differs is shown. Elsewhere nothing is cut.
    """
    console = console_for(stream)
    print_lines(_lines(differences, console.width if stream.isatty() else None), console)


def _lines(differences: Iterable[Difference], room: int | None) -> Iterator[Text]:
    table = ""
    for each in differences:
        if each.table != table:
            yield Text(("\n" if table else "") + each.table, "bold")
            table = each.table
        sign, style = _SIGNS[each.change]
        yield Text(cut(f"{sign} {each.id}  {escape(each.title)}", room), style)
        if each.old and each.new:
            for name, was in each.old.items():
                yield from change_lines(name, was, each.new[name], room)
    if table:
        yield Text()


def change_lines(name: str, old: Any, new: Any, room: int | None) -> Iterator[Text]:
    """Yield the old and the new value of a field, one below the other if a line has no room for both."""
    was, now = _in_lines(name, old), _in_lines(name, new)
    if was == now:
        # The clock was set back between the two.
        was, now = [escape(str(to_plain(old)))], [escape(str(to_plain(new)))]
    if len(was) == len(now) == 1:
        line = Text.assemble(f"    {name}: ", (was[0], "red"), " → ", (now[0], "green"))
        if room is None or line.cell_len <= room:
            yield line
            return
    yield Text(f"    {name}:")
    shown = end = 0
    hunks = _hunks(was, now)
    for number, (begin, gone, come) in enumerate(hunks):
        if room and shown >= _LINES:
            yield Text(f"      … and {in_words({'places': len(hunks) - number})} more", "dim")
            return
        if number and begin > end + 1:
            yield Text("        …", "dim")
        if begin:
            yield Text(cut(f"        {was[begin - 1]}", room), "dim")
        late = _begin_late(gone, come, room - len("      + ")) if room else (gone, come)
        for sign, style, lines in zip("-+", ("red", "green"), late, strict=True):
            yield from _text_lines(lines, f"      {sign} ", style, room)
        shown, end = shown + max(len(gone), len(come)), begin + len(gone)


def _hunks(was: list[str], now: list[str]) -> list[tuple[int, list[str], list[str]]]:
    """Return where the old lines differ from the new ones, and the lines of both that differ there."""
    same = len(commonprefix([was, now]))  # noqa: RUF071 (no paths)
    end = len(commonprefix([was[same:][::-1], now[same:][::-1]]))  # noqa: RUF071
    was, now = was[same : len(was) - end], now[same : len(now) - end]
    # Without the heuristic the time grows with the square of the lines.
    matcher = SequenceMatcher(None, was, now, autojunk=len(was) * len(now) > _COMPARED)
    return [
        (same + begin, was[begin:gone], now[first:come])
        for what, begin, gone, first, come in matcher.get_opcodes()
        if what != "equal"
    ]


def value_lines(name: str, value: Any, style: str, room: int | None) -> Iterator[Text]:
    """Yield the value of a field of a row that is new or gone."""
    first, *rest = _in_lines(name, value)
    shown = f"    {name}:" if rest else f"    {name}: {first}"
    yield Text(cut(shown, room), style)
    if rest:
        yield from _text_lines([first, *rest], "      ", style, room)


def _text_lines(lines: Sequence[str], before: str, style: str, room: int | None) -> Iterator[Text]:
    shown = lines if room is None or len(lines) <= _LINES else lines[: _LINES - 1]
    for line in shown:
        yield Text(cut(before + line, room), style)
    if len(shown) < len(lines):
        yield Text(f"{before}… {len(lines) - len(shown):,} lines more", style)


def _begin_late(gone: list[str], come: list[str], room: int) -> tuple[list[str], list[str]]:
    """Cut the common beginning of the lines, if the difference would have no room after it.

    A line and the one that it is most alike lose the same, to stand one below the other.
    """

    def late(line: str, others: list[str]) -> str:
        alike = [(len(commonprefix([line, other])), other) for other in others[:_LINES]]  # noqa: RUF071
        same, other = max(alike, default=(0, ""))
        cuts = cell_len(line) > room or cell_len(other) > room
        return "…" + line[same - _KEPT :] if cuts and cell_len(line[:same]) + _KEPT > room else line

    if not gone or not come:
        return gone, come
    return (
        [*map(partial(late, others=come), gone[:_LINES]), *gone[_LINES:]],
        [*map(partial(late, others=gone), come[:_LINES]), *come[_LINES:]],
    )


def _in_lines(name: str, value: Any) -> list[str]:
    """Return the value as a person reads it. Only a description may have several lines."""
    if isinstance(value, str) and name == "description":
        return escape(value, lines=True).split("\n")
    return [_shown(value)]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        local = to_local(value)
        return local.replace(tzinfo=None).isoformat(" ") + zone_mark(local)
    return escape(str(to_plain(value)))


def cut(text: str, room: int | None) -> str:
    """Return a line that has room, with an ellipsis if it lost its end; without a limit all of it."""
    return text if room is None or cell_len(text) <= room else set_cell_size(text, room - 1).rstrip(" ") + "…"


def print_counts(comparison: Comparison, stream: TextIO) -> None:
    """Print both sides, how many rows differ, and whether any does."""
    console = console_for(stream)
    sides = fields_table()
    for name, side in (("A", comparison.old), ("B", comparison.new)):
        when = (
            f"taken {_shown(side.taken_at.replace(microsecond=0))}" if side.taken_at else "the database now"
        )
        sides.add_row(name, Text(f"{escape(side.name)}\n{when}"))
    right = (Column(name.title(), justify="right", no_wrap=True) for name in COUNTS.fields[1:])
    table = ruled_table("Table", *right)
    for record in count_records(comparison):
        table.add_row(Text(escape(record["table"])), *(f"{record[name]:,}" for name in COUNTS.fields[1:]))
    for part in (sides, "", table, "", "The rows are equal." if comparison.is_equal else "The rows differ."):
        console.print(part)
