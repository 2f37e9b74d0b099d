"""Archives for people: a list of them, and one in detail. Nothing is cut off in a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, TextIO

from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from taskdb_cli.backup.encryption import is_encrypted
from taskdb_cli.backup.file_names import parse_name
from taskdb_cli.backup.stores.places import store_at
from taskdb_cli.output.formats import Record
from taskdb_cli.output.tables import console_for, ruled_table
from taskdb_cli.system.clock import in_minutes
from taskdb_cli.text.amounts import in_age, in_one_size
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.backup.history import Record as History
    from taskdb_cli.backup.layout import Manifest
    from taskdb_cli.backup.stores import StoredFile


def print_archives(
    records: Sequence[Record], names: Sequence[str], heading: str, stream: TextIO, *, now: datetime
) -> None:
    """Print one row an archive, or two lines an archive where the terminal is too narrow for a table.

    The records are those of `BackupDirectory.records`, and `names` is what the list calls them.
    """
    console = console_for(stream)
    console.print(Text(escape(heading)))
    encrypted = [is_encrypted(record["archive"]) for record in records]
    mixed = any(encrypted) and not all(encrypted)
    rows = [_cells(record, name, now, mixed=mixed) for record, name in zip(records, names, strict=True)]
    unlimited = console.options.update(width=10_000)
    for folded, gap in product((False, True), (2, 1)):
        table = _list(rows, gap, folded=folded, mixed=mixed)
        if console.measure(table, options=unlimited).maximum <= console.width:
            console.print(table)
            return
    for record, (name, taken, _, size, number, verified, tested, *marks) in zip(records, rows, strict=True):
        age = _ago(record["taken_at"], now)
        console.print(Text.assemble((name.plain, "bold"), "  ", taken, " (", age, ")"))
        noun = " row" if record["rows"] == 1 else " rows"
        line = Text.assemble(size, ", ", number, noun, ", verified ", verified, ", test restore ", tested)
        if marks:
            line = Text.assemble(line, ", encrypted: ", *marks)
        console.print(Padding(line, (0, 0, 0, 4)))


def print_archive(
    file: StoredFile,
    size: int,
    manifest: Manifest | None,
    known: History,
    stream: TextIO,
    *,
    now: datetime,
    encrypted: bool,
) -> None:
    """Print where an archive is from, what is known of it, and what it holds.

    Without its manifest, only the record of it is known.
    """
    console, proof, none = console_for(stream), known.verified, "unknown"
    origin = manifest.origin if manifest else None
    source = origin or proof
    named = parse_name(file.name)
    taken = origin.created_at if origin else proof.taken_at if proof else named[1] if named else None
    names, values = Column(style="bold", no_wrap=True), Column(overflow="fold")
    details = Table(names, values, box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, value in {
        "archive": file.name,
        "directory": str(store_at(str(file.store))),
        "taken": _moment(taken, now, none),
        "size": in_one_size(size),
        "encrypted": "yes" if encrypted else "",
        "database": (source and source.place) or none,
        "label": origin.label if origin else named[0] if named else none,
        "engine": f"{origin.engine} {origin.server_version}" if origin else none,
        "revision": source.revision if source else none,
        "written by": manifest.tool if manifest else none,
        "verified": _moment(proof.verified_at if proof else None, now),
        "test restore": _moment(known.drilled.at if known.drilled else None, now),
    }.items():
        if value:
            details.add_row(name, Text(escape(value)))
    console.print(details)
    tables = ruled_table("Table", Column("Rows", justify="right"), Column("Bytes", justify="right"))
    if manifest:
        for table in manifest.tables:
            tables.add_row(Text(escape(table.name)), f"{table.rows:,}", f"{table.bytes:,}")
    elif proof:
        for name, rows in proof.rows.items():
            tables.add_row(Text(escape(name)), f"{rows:,}", none)
    console.print()
    console.print(tables)


def _cells(record: Record, name: str, now: datetime, *, mixed: bool) -> list[Text]:
    """Return the cells of an archive. If only some archives are encrypted, the last cell says which."""
    taken, rows = record["taken_at"], record["rows"]
    mark = Text("yes") if is_encrypted(record["archive"]) else Text("no", "yellow")
    return [
        Text(escape(name)),
        Text(in_minutes(taken)),
        Text("future", "red") if taken > now else Text(in_age(now - taken)),
        Text(in_one_size(record["size"])),
        Text("unknown", "red") if rows is None else Text(f"{rows:,}"),
        _ago(record["verified_at"], now, "yellow"),
        _ago(record["drilled_at"], now, "dim"),
        *([mark] if mixed else []),
    ]


def _list(rows: Sequence[Sequence[Text]], gap: int, *, folded: bool, mixed: bool) -> Table:
    """Return the table. If it is `folded`, the time in a name is on a line of its own behind a label."""
    right = (Column(name, justify="right", no_wrap=True) for name in ("Age", "Size", "Rows"))
    marks = ("Encrypted",) if mixed else ()
    left = (Column(name, no_wrap=True) for name in ("Verified", "Test restore", *marks))
    begin = (Column(name, no_wrap=True) for name in ("Archive", "Taken"))
    table = ruled_table(*begin, *right, *left, gap=gap)
    for name, *others in rows:
        label, hyphen, time = name.plain.rpartition("-")
        table.add_row(Text(f"{label}-\n{time}") if folded and hyphen else name, *others)
    return table


def _moment(moment: datetime | None, now: datetime, none: str = "never") -> str:
    return f"{in_minutes(moment)} ({_ago(moment, now).plain})" if moment else none


def _ago(moment: datetime | None, now: datetime, never: str = "") -> Text:
    if moment is None:
        return Text("never", never)
    return Text(f"{in_age(now - moment)} ago" if moment <= now else "future")
