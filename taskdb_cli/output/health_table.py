"""A report on health as a person reads it in a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from taskdb_cli.health.report import WORST_FIRST, Report, Result, Status, Unit
from taskdb_cli.output.tables import console_for
from taskdb_cli.text.escaping import one_line

_STYLES = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
    Status.SKIPPED: "dim",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def print_report(report: Report, stream: TextIO) -> None:
    """Print a row for each check and a line that sums them up."""
    console_for(stream).print(_render(report, report.folded))


def watch_reports(collect: Callable[[], Report], pause: float, stream: TextIO) -> None:
    """Show one report after the other in the same place, so many seconds apart, until interrupted.

    What is wrong comes first: what does not fit on the screen is cut off.
    """
    console: Console = console_for(stream)
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            report = collect()
            worst_first = sorted(report.folded, key=lambda check: WORST_FIRST.index(check.status))
            live.update(_render(report, tuple(worst_first), summary_first=True), refresh=True)
            time.sleep(pause)


def _render(report: Report, checks: tuple[Result, ...], *, summary_first: bool = False) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("Check", "Status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("Found", overflow="fold")
    for check in checks:
        table.add_row(check.name, Text(check.status, _STYLES[check.status]), _value(check), _found(check))
    summary = _summary(report)
    return Group(summary, table) if summary_first else Group(table, summary)


def _found(check: Result) -> Text:
    # Some of it are the words of a server.
    text = Text(one_line(check.message), "dim" if check.status is Status.SKIPPED else "")
    return text.append(f"\n→ {one_line(check.remedy)}", "bold") if check.remedy else text


def _summary(report: Report) -> Text:
    counts = ", ".join(f"{number} {status}" for status, number in report.count().items() if number)
    style = _STYLES[report.status]
    clock = f"{report.at.astimezone():%H:%M:%S}"
    place, length = one_line(report.place), f"{report.seconds * 1000:.0f} ms"
    return Text.assemble((report.status, style), f": {place}: {counts} in {length} at {clock}")


def _value(check: Result) -> str:
    value = check.value
    if value is None:
        return ""
    if check.unit is Unit.SECONDS:
        return _duration(value)
    if check.unit is Unit.BYTES:
        return next(
            (f"{value / size:.1f} {name}" for size, name in _SIZES if value >= size), f"{value:.0f} B"
        )
    return f"{value:.1f} %" if check.unit is Unit.PERCENT else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    sign, length = ("-", -seconds) if seconds < 0 else ("", seconds)
    if length < 1:
        return f"{sign}{length * 1000:.0f} ms"
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if length >= 2 * size:
            return f"{sign}{length / size:,.0f} {name}"
    return f"{sign}{length:.0f} s"
