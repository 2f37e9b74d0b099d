"""The history: operations, how they changed rows, and the lives of rows, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rich.text import Text

from taskdb_cli.output.differences import cut, print_change, print_value
from taskdb_cli.output.documents import write_document
from taskdb_cli.output.formats import Record, View, to_plain
from taskdb_cli.output.tables import console_for, print_detail
from taskdb_cli.system.clock import in_minutes
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from rich.console import Console

_ROW = ("action", "version_before", "version_after", "field", "old", "new")
CHANGED_FIELDS = View(("table", "id", *_ROW))
"""The changes of an operation in CSV and TSV: one line for each field that changed."""
LIVED_FIELDS = View(("operation", "at", "actor", "command", *_ROW))
"""The changes of a row in CSV and TSV."""

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
    """Yield one record a field that changed, and one for a row of which no field is known to have changed."""
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
    for each in changes:
        sign, style = _SIGNS[each["action"]]
        title = "" if each["title"] is None else f"  {escape(each['title'])}"
        line = Text(cut(f"{sign} {each['table']} {each['id']}{title}", room), style)
        versions = f"  version {each['version_before']} → {each['version_after']}"
        if each["action"] == "updated" and (room is None or line.cell_len + len(versions) <= room):
            line.append(versions, "dim")
        console.print(line, soft_wrap=True)
        _print_fields(each, room, console)


def print_life(changes: Iterable[Record], stream: TextIO) -> None:
    """Print the operations that changed a row, and below each of them what changed."""
    console = console_for(stream)
    room = console.width if stream.isatty() else None
    for number, each in enumerate(changes):
        if number:
            console.print()
        what = f"{escape(each['command'])}, {escape(each['actor'])}"
        line = f"operation {each['operation']}  {in_minutes(each['at'])}  {what}"
        console.print(Text(cut(line, room), "bold"), soft_wrap=True)
        sign, style = _SIGNS[each["action"]]
        versions = [each[name] for name in ("version_before", "version_after") if each[name] is not None]
        line = f"{sign} {each['action']}, version {' → '.join(map(str, versions))}"
        console.print(Text(line, style), soft_wrap=True)
        _print_fields(each, room, console)


def _print_fields(change: Record, room: int | None, console: Console) -> None:
    for name, values in change["fields"].items():
        shown, old, new = name, *_shown(name, values, change)
        if name == "user_id":
            shown = "user"
        if change["action"] == "updated":
            print_change(shown, old, new, room, console)
        elif old is not None:
            print_value(shown, old, "red", room, console)


def _shown(name: str, values: Record, change: Record) -> list[Any]:
    """Return both values of a field as people know them: owners by their addresses."""
    if name != "user_id":
        return [*values.values()]
    return [change["owners"][age] or id for age, id in values.items()]
