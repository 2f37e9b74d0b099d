"""The history: operations, how they changed rows, and the lives of rows, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, TextIO

from rich.text import Text

from taskdb_cli.output.differences import change_lines, cut, value_lines
from taskdb_cli.output.documents import write_document
from taskdb_cli.output.formats import Record, View, to_plain
from taskdb_cli.output.tables import console_for, print_detail, print_lines
from taskdb_cli.system.clock import in_minutes
from taskdb_cli.text.escaping import escape

_ROW = ("action", "version_before", "version_after", "field", "old", "new")
CHANGED_FIELDS = View(("table", "id", *_ROW))
"""The changes of an operation in CSV and TSV: one line for each field that changed."""
LIVED_FIELDS = View(("operation", "at", "actor", "command", *_ROW))
"""The changes of a row in CSV and TSV."""

_LEAST = 8
"""Columns without which a title says nothing."""
_SIGNS = {"created": ("+", "green"), "updated": ("~", "yellow"), "deleted": ("-", "red")}


def change_records(changes: Iterable[Record]) -> Iterator[Record]:
    """Yield one record a row, with the old and new values of its `fields` as objects."""
    for each in changes:
        fields = {
            name: {age: to_plain(value) for age, value in values.items()}
            for name, values in each["fields"].items()
        }
        yield {**each, "fields": fields}


def field_records(changes: Iterable[Record]) -> Iterator[Record]:
    """Yield one record for each field that changed, and one for a row without known changed fields."""
    for each in changes:
        known = [
            (name, values)
            for name, values in each["fields"].items()
            if any(value is not None for value in values.values())
        ]
        for name, values in known or [(None, {"old": None, "new": None})]:
            yield {**each, "field": name, **values}


def write_operation(operation: Record, changes: Iterable[Record], stream: TextIO) -> None:
    """Write one JSON object: the operation, and its `changes`, which are taken one at a time.

    If an exception ends them, the object stays open.
    """
    write_document([*operation.items(), ("changes", change_records(changes))], stream)


def print_operation(operation: Record, changes: Iterable[Record], stream: TextIO) -> None:
    """Print who did what when, and each row with its sign and name, and below it what changed."""
    print_detail({name: value for name, value in operation.items() if value is not None}, stream)
    console = console_for(stream)
    room = console.width if stream.isatty() else None
    console.print()
    rest = iter(changes)
    first = next(rest, None)
    if first is None:
        what = "What it changed was erased from the history."
        if operation["restored_from"] is not None:
            what = "It replaced all rows, and the history does not list them."
        console.print(what)
        return
    print_lines(chain.from_iterable(_row_lines(each, room) for each in chain([first], rest)), console)


def print_life(changes: Iterable[Record], stream: TextIO) -> None:
    """Print the operations that changed a row, and below each of them what changed."""
    console = console_for(stream)
    room = console.width if stream.isatty() else None
    print_lines(chain.from_iterable(_life_lines(*each, room) for each in enumerate(changes)), console)


def _row_lines(change: Record, room: int | None) -> Iterator[Text]:
    sign, style = _SIGNS[change["action"]]
    head, title, versions = f"{sign} {change['table']} {change['id']}", "", ""
    if change["action"] == "updated":
        versions = f"  version {change['version_before']} → {change['version_after']}"
    if change["title"] is not None:
        left = None if room is None else room - len(head) - len(versions)
        title = cut(f"  {escape(change['title'])}", left) if left is None or left >= _LEAST else ""
    line = Text(cut(head + title, room), style)
    if room is None or line.cell_len + len(versions) <= room:
        line.append(versions, "dim")
    yield line
    yield from _field_lines(change, room)


def _life_lines(number: int, change: Record, room: int | None) -> Iterator[Text]:
    if number:
        yield Text()
    what = f"{escape(change['command'])}, {escape(change['actor'])}"
    line = f"operation {change['operation']}  {in_minutes(change['at'])}  {what}"
    yield Text(cut(line, room), "bold")
    sign, style = _SIGNS[change["action"]]
    versions = [change[name] for name in ("version_before", "version_after") if change[name] is not None]
    # Only a row that was there before is created with a later version: an undo brings it back, for one.
    is_back = change["action"] == "created" and change["version_after"] > 1
    what = "brought back" if is_back else change["action"]
    yield Text(f"{sign} {what}, version {' → '.join(map(str, versions))}", style)
    yield from _field_lines(change, room)


def _field_lines(change: Record, room: int | None) -> Iterator[Text]:
    for name, values in change["fields"].items():
        shown, old, new = name, *_shown(name, values, change)
        if name == "user_id":
            shown = "user"
        if change["action"] == "updated":
            yield from change_lines(shown, old, new, room)
        elif old is not None:
            yield from value_lines(shown, old, "red", room)


def _shown(name: str, values: Record, change: Record) -> list[Any]:
    """Return both values of a field as people know them: owners by their addresses."""
    if name != "user_id":
        return [*values.values()]
    return [change["owners"][age] or id for age, id in values.items()]
