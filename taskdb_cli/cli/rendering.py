"""What commands print on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from taskdb_cli.output import Format, Record, View, default_format, write_json, write_record, write_records


def show_records(records: Iterable[Record], view: View, output: Format | None) -> None:
    """Print records in the format that was asked for, or the one that suits stdout."""
    write_records(records, view, output or default_format(sys.stdout), sys.stdout)


def show_record(record: Record, view: View, output: Format | None) -> None:
    """Print the one record that a command is about."""
    write_record(record, view, output or default_format(sys.stdout), sys.stdout)


def show_json(value: object) -> None:
    """Print a report that is not a record."""
    write_json(value, sys.stdout)
