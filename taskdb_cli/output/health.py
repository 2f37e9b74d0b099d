"""A report on health: a table, JSON, a line for Nagios and its kin, and Prometheus' text format."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from taskdb_cli.health.report import EXIT_CODES, Report, Result, Status
from taskdb_cli.output.formats import timestamp, write_json
from taskdb_cli.text.amounts import in_one_size, in_one_unit
from taskdb_cli.text.escaping import hide_secrets, one_line
from taskdb_cli.text.prometheus import Samples, gauges

if TYPE_CHECKING:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text


def write_report(report: Report, format: str, stream: TextIO, *, every: bool) -> None:
    """Write a report for people, or as "json", "nagios" or "prometheus".

    Unless it is to show `every` check, a terminal shows those that are not ok, and counts the others.
    """
    match format:
        case "json":
            write_json(_record(report), stream)
        case "nagios":
            stream.write(_nagios(report) + "\n")
        case "prometheus":
            stream.write(_prometheus(report))
        case _:
            from taskdb_cli.output.tables import console_for

            every = every or not stream.isatty()
            console_for(stream).print(_table(report, report.folded) if every else _problems(report))


def _record(report: Report) -> dict[str, Any]:
    return {
        "status": report.status.value,
        "exit_code": report.exit_code,
        "database": report.place,
        "checked_at": timestamp(report.at),
        "seconds": round(report.seconds, 6),
        "checks": [
            {
                "name": check.name,
                "status": check.status.value,
                "value": check.value,
                "unit": check.unit.value,
                "warning": check.limits.warning,
                "critical": check.limits.critical,
                "message": hide_secrets(check.message),
                "remedy": hide_secrets(check.remedy),
            }
            for check in report.checks
        ],
    }


def _nagios(report: Report) -> str:
    """Return one line: the status, what is wrong, and after a bar the performance data."""
    wrong = [f"{check.name} {check.status}: {check.message}" for check in report.folded if not check.is_fine]
    measured = any(check.status == "ok" for check in report.checks)
    fine = f"all is well with {report.place}" if measured else "nothing was measured"
    # A bar would end the text.
    text = one_line(re.sub(r"[\s|]+", " ", "; ".join(wrong) or fine))
    data = []
    for check in report.checks:
        if check.value is not None:
            limits = [check.limits.warning, check.limits.critical]
            # A lower limit has a colon behind it.
            colon = ":" if check.limits.falling else ""
            ranges = ["" if limit is None else _number(limit) + colon for limit in limits]
            data.append(";".join([f"{check.name}={_number(check.value)}{check.unit}", *ranges]).rstrip(";"))
    line = f"TASKDB {report.status.upper()} - {text}"
    return f"{line} | {' '.join(data)}" if data else line


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


_FAMILIES = {
    "s": ("_seconds", 1.0),
    "B": ("_bytes", 1.0),
    "%": ("_ratio", 0.01),
    "": ("", 1.0),
    "c": ("", 1.0),
}


def _prometheus(report: Report) -> str:
    checks = [({"check": each.name}, each) for each in report.checks]
    statuses = [(label, EXIT_CODES[each.status]) for label, each in checks if each.status in EXIT_CODES]
    families: list[tuple[str, str, Samples]] = [
        ("status", "0 ok, 1 warning, 2 critical, 3 unknown: the worst of all.", [({}, report.exit_code)]),
        ("check_status", "The same of each check; of one that was skipped, none.", statuses),
    ]
    for suffix, factor in dict.fromkeys(_FAMILIES.values()):
        found = [(label, each.value) for label, each in checks if _FAMILIES[each.unit] == (suffix, factor)]
        values = [(label, value * factor) for label, value in found if value is not None]
        families.append((f"value{suffix}", "What a check measured.", values))
    families += [
        ("duration_seconds", "How long all checks took.", [({}, report.seconds)]),
        ("timestamp_seconds", "When they began, in seconds since 1970.", [({}, report.at.timestamp())]),
    ]
    return gauges((f"taskdb_health_{name}", help, samples) for name, help, samples in families)


_STYLES = {"ok": "green", "warning": "yellow", "critical": "bold red", "unknown": "magenta", "skipped": "dim"}
"""How a table shows each status."""


def watch_reports(collect: Callable[[], Report], pause: float, stream: TextIO, *, every: bool) -> None:
    """Show one report after the other in the same place, so many seconds apart, until interrupted.

    Each shows `every` check or those that are not ok. What is wrong comes first, because what does not fit on
    the screen is cut off.
    """
    from rich.live import Live

    from taskdb_cli.output.tables import console_for

    with Live(console=console_for(stream), auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            report = collect()
            shown = _table(report, _worst_first(report), summary_first=True) if every else _problems(report)
            live.update(shown, refresh=True)
            time.sleep(pause)


def _worst_first(report: Report) -> list[Result]:
    return sorted(report.folded, key=lambda check: list(Status).index(check.status))


def _problems(report: Report) -> Group:
    """Return what is not ok, each with its remedy, and a line that counts the rest."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    shown: list[Text | Padding] = []
    for check in _worst_first(report):
        if not check.is_fine:
            # A number without a unit is one that the message says.
            value = f"  {_value(check)}" if check.unit else ""
            shown.append(Text(f"{check.status}  {check.name}{value}", _STYLES[check.status]))
            shown.append(Padding(_found(check), (0, 0, 1, 2)))
    fine = any(check.is_fine for check in report.checks)
    return Group(*shown, _summary(report, "; --all shows each" if fine else ""))


def _table(report: Report, checks: Sequence[Result], *, summary_first: bool = False) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

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
    from rich.text import Text

    # A part of it may be the words of a server.
    found = Text(one_line(check.message), "dim" if check.status == "skipped" else "")
    if check.remedy:
        found.append(f"\n→ {one_line(check.remedy)}", "bold")
    return found


def _summary(report: Report, hint: str = "") -> Text:
    from rich.text import Text

    numbers = Counter(str(check.status) for check in report.checks)
    counts = ", ".join(f"{numbers[status]} {status}" for status in _STYLES if numbers[status])
    length, clock = in_one_unit(report.seconds), f"{report.at.astimezone():%H:%M:%S}"
    said = f": {one_line(report.place)}: {counts or 'nothing was measured'} in {length} at {clock}{hint}"
    return Text.assemble((report.status, _STYLES[report.status]), said)


def _value(check: Result) -> str:
    value = check.value
    if value is None:
        return ""
    match check.unit:
        case "s":
            return in_one_unit(value)
        case "B":
            return in_one_size(value)
        case "%":
            return f"{value:.1f} %"
    return f"{value:,.0f}"
