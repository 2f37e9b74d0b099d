"""What a monitoring system is told of a backup, as node_exporter's textfile collector reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from taskdb_cli.services.backup.files import write_atomically
from taskdb_cli.services.backup.records import Record

READABLE = 0o644
"""The collector runs as another user, and nothing in the file is secret."""


def write_metrics(path: Path, label: str, record: Record, *, seconds: float) -> None:
    """Replace the file by what is recorded of a label; raise StorageFailed, and keep the old one."""
    write_atomically(path, exposition(label, record, seconds=seconds).encode(), mode=READABLE)


def exposition(label: str, record: Record, *, seconds: float) -> str:
    """Return the metrics in Prometheus' text format; `seconds` is how long the last backup took."""
    return "".join(_lines(label, record, seconds))


def _lines(label: str, record: Record, seconds: float) -> Iterator[str]:
    if proof := record.verified:
        yield from _metric(
            "last_success_timestamp_seconds",
            "When the last verified backup was taken.",
            label,
            proof.taken_at,
        )
        yield from _metric("duration_seconds", "How long it took, verification included.", label, seconds)
        yield from _metric("size_bytes", "The size of its archive.", label, proof.size)
        yield from _rows(label, proof.rows)
    if record.drilled:
        yield from _metric(
            "last_drill_timestamp_seconds",
            "When an archive was last restored for trial.",
            label,
            record.drilled.at,
        )


def _metric(name: str, help: str, label: str, value: float | datetime) -> Iterator[str]:
    number = value.timestamp() if isinstance(value, datetime) else value
    yield f"# HELP taskdb_backup_{name} {help}\n# TYPE taskdb_backup_{name} gauge\n"
    yield f'taskdb_backup_{name}{{label="{label}"}} {number:.15g}\n'


def _rows(label: str, rows: Mapping[str, int]) -> Iterator[str]:
    yield "# HELP taskdb_backup_rows How many rows of each table it holds.\n# TYPE taskdb_backup_rows gauge\n"
    for table, number in rows.items():
        yield f'taskdb_backup_rows{{label="{label}",table="{table}"}} {number}\n'
