"""A report on health as text: JSON, a line for Nagios and its kin, and Prometheus' format for files."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from taskdb_cli.output.formats import timestamp, write_json
from taskdb_cli.text.escaping import hide_secrets, one_line

if TYPE_CHECKING:
    from taskdb_cli.health.report import Limits, Report, Result


class HealthFormat(StrEnum):
    """How a report on health is written."""

    TABLE = "table"
    JSON = "json"
    NAGIOS = "nagios"
    PROMETHEUS = "prometheus"


def write_report(report: Report, format: HealthFormat, stream: TextIO) -> None:
    """Write a report in that format."""
    if format is HealthFormat.TABLE:
        from taskdb_cli.output.health_table import print_report

        print_report(report, stream)
    elif format is HealthFormat.JSON:
        write_json(record(report), stream)
    elif format is HealthFormat.NAGIOS:
        stream.write(nagios(report) + "\n")
    else:
        stream.write(prometheus(report))


def record(report: Report) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "status": report.status.value,
        "exit_code": report.exit_code,
        "database": report.place,
        "checked_at": timestamp(report.at),
        "seconds": round(report.seconds, 6),
        "checks": [_check_record(check) for check in report.checks],
    }


def _check_record(check: Result) -> dict[str, Any]:
    return {
        "name": check.name,
        "status": check.status.value,
        "value": check.value,
        "unit": check.unit.value,
        "warning": check.limits.warning,
        "critical": check.limits.critical,
        "message": hide_secrets(check.message),
        "remedy": hide_secrets(check.remedy),
    }


def nagios(report: Report) -> str:
    """Return one line of status, what is wrong, and performance data after a bar."""
    wrong = [f"{check.name} {check.status}: {check.message}" for check in report.folded if not check.is_fine]
    fine = f"all is well with {report.place}" if report.exit_code == 0 else "nothing was measured"
    text = "; ".join(wrong) or fine
    measured = [check for check in report.checks if check.value is not None]
    # A bar would end the text.
    text = one_line(re.sub(r"[\s|]+", " ", text))
    line = f"TASKDB {report.status.upper()} - {text}"
    return f"{line} | {' '.join(map(_performance, measured))}" if measured else line


def _performance(check: Result) -> str:
    limits = check.limits
    parts = [_range(limits, limits.warning), _range(limits, limits.critical)]
    return ";".join([f"{check.name}={_number(check.value or 0)}{check.unit}", *parts]).rstrip(";")


def _range(limits: Limits, limit: float | None) -> str:
    if limit is None:
        return ""
    return f"{_number(limit)}:" if limits.falling else _number(limit)


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


_FAMILIES = {"s": ("_seconds", 1.0), "B": ("_bytes", 1.0), "%": ("_ratio", 0.01), "": ("", 1.0)}


def prometheus(report: Report) -> str:
    """Return gauges in Prometheus' text format, complete with their help."""
    from taskdb_cli.health.report import EXIT_CODES
    from taskdb_cli.text.prometheus import Samples, gauges

    checks = [({"check": each.name}, each) for each in report.checks]
    families: list[tuple[str, str, Samples]] = [
        ("status", "0 ok, 1 warning, 2 critical, 3 unknown: the worst of all.", [({}, report.exit_code)]),
        (
            "check_status",
            "The same of each check; of one that was skipped, none.",
            [(label, EXIT_CODES[each.status]) for label, each in checks if each.status in EXIT_CODES],
        ),
    ]
    for unit, (suffix, factor) in _FAMILIES.items():
        values = [
            (label, each.value * factor)
            for label, each in checks
            if each.unit == unit and each.value is not None
        ]
        families.append((f"value{suffix}", "What a check measured.", values))
    families += [
        ("duration_seconds", "How long all checks took.", [({}, report.seconds)]),
        ("timestamp_seconds", "When they began, in seconds since 1970.", [({}, report.at.timestamp())]),
    ]
    return gauges((f"taskdb_health_{name}", help, samples) for name, help, samples in families)
