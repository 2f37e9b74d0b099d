"""What commands print on stdout, the options that say how, and what happens if stdout takes nothing."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.errors import InvalidInput
from taskdb_cli.output.formats import Format, Record, View, plain, write_json, write_records
from taskdb_cli.system.clock import require_offset
from taskdb_cli.text.escaping import escape

if TYPE_CHECKING:
    from taskdb_cli.database.backend import Plan


def format_option(help: str) -> Any:
    """Return the option --output for Typer; `help` says what is printed."""
    return typer.Option(
        "--output", "-o", metavar="FORMAT", case_sensitive=False, help=help, show_default=False
    )


FormatOption = Annotated[
    Format | None,
    format_option("The format. By default table on a terminal (one line after a change), and tsv elsewhere."),
]
CsvSafe = Annotated[bool, typer.Option("--csv-safe", help="Keep spreadsheets from running formulas in CSV.")]


@dataclass(frozen=True)
class Output:
    """The options that say how records are printed."""

    format: FormatOption = None
    csv_safe: CsvSafe = False

    def __post_init__(self) -> None:
        if self.csv_safe and self.format != Format.CSV:
            raise InvalidInput("--csv-safe works with CSV only", "add -o csv, or leave --csv-safe out")
        if self.effective_format is Format.TABLE:
            # The answer shows local times, and comes after a change.
            require_offset()

    @property
    def effective_format(self) -> Format:
        """The format that was asked for, or else a table on a terminal and TSV elsewhere."""
        return self.format or (Format.TABLE if sys.stdout.isatty() else Format.TSV)


def show_records(
    records: Iterable[Record],
    view: View,
    output: Output,
    *,
    wide: bool | None = None,
    equal: Collection[str] = (),
) -> Format:
    """Print records in the format that the options or stdout ask for; return that format.

    A table that is longer than the screen goes through a pager. `wide` is the option of that name, or None if
    the command has none; `equal` are fields that are the same in all records.
    """
    format = output.effective_format
    if format is Format.TABLE:
        from taskdb_cli.output.pager import paged
        from taskdb_cli.output.tables import print_table

        hint = "" if wide is None else "--wide shows all"
        with paged(sys.stdout, chop=bool(wide)) as stream:
            print_table(records, view, stream, wide=bool(wide), equal=equal, hint=hint)
    else:
        write_records(records, view, format, sys.stdout, csv_safe=output.csv_safe)
    return format


def show_record(record: Record, view: View, output: Output) -> None:
    """Print one record: JSON is an object, and a table shows every field."""
    format = output.effective_format
    if format is Format.TABLE:
        from taskdb_cli.output.tables import print_detail

        print_detail(record, sys.stdout)
    elif format is Format.JSON:
        write_json(plain(record, view.fields), sys.stdout)
    else:
        show_records([record], view, output)


def show_json(value: object) -> None:
    """Print a report that is not a record."""
    write_json(value, sys.stdout)


def show_count(number: int, output: Output) -> None:
    """Print how many records match."""
    if output.format is Format.JSON:
        show_json({"count": number})
    else:
        sys.stdout.write(f"{number}\n")


def show_plans(plans: Sequence[Plan], output: Output) -> None:
    """Print the SQL of each query, the engine's plan for it, and what that means in words."""
    if output.format is Format.JSON:
        show_json([{"sql": plan.sql, "plan": plan.lines, "summary": plan.summary()} for plan in plans])
    else:
        for plan in plans:
            text = "\n".join([plan.sql, "", *plan.lines, "", plan.summary(), ""])
            sys.stdout.write(escape(text, lines=True) + "\n")


class StdoutError(OSError):
    """The answer of a command could not be written, for another reason than a reader that went away."""


def prepare_streams() -> None:
    """Make stdout and stderr write UTF-8, and stdout raise StdoutError. Either may be closed."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_Closed(), write_through=True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (until the process ends)
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if isinstance(sys.stdout, io.TextIOWrapper) and type(raw) is io.FileIO and raw.fileno() == 1:
        buffered = io.BufferedWriter(_File(1, "w", closefd=False))
        at_once = sys.stdout.line_buffering or sys.stdout.write_through
        sys.stdout = io.TextIOWrapper(buffered, newline="", line_buffering=at_once)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


class _Closed(io.RawIOBase):
    """Stands in for a closed stdout, which a cron job may have. Only a command that prints fails."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise StdoutError(errno.EBADF, "stdout is closed")


class _File(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise StdoutError(exc.errno, exc.strerror) from exc
        if written is None:
            # Another process has made the pipe or terminal non-blocking.
            raise StdoutError(errno.EAGAIN, "its reader is too slow")
        return written
