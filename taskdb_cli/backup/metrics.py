"""What a monitoring system is told of a backup, as node_exporter's textfile collector reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from taskdb_cli.backup.atomic import storage, write_atomically
from taskdb_cli.backup.history import Record
from taskdb_cli.errors import StorageFailed
from taskdb_cli.system.paths import descriptor_of, reserved
from taskdb_cli.text.escaping import escape

READABLE = 0o644
"""The collector runs as another user, and nothing in the file is secret."""

_BEGINNING = b"# HELP taskdb_backup_"
"""How the file begins, also that of taskdb 0.1.0."""


def write_metrics(path: Path, label: str, record: Record, *, seconds: float) -> None:
    """Replace the file, or the one that a symbolic link leads to, by the metrics of a label.

    Raises StorageFailed, also for a file that holds anything else, and leaves that as it is.
    """
    target = Path(os.path.realpath(path))
    with storage(f"{path} cannot be read"):
        # What goes to stdout would be lost with the file that /dev/stdout leads to.
        foreign = descriptor_of(path) is not None or reserved(path) or target.is_symlink()
        if foreign or (path.is_file() and not _begins_as_ours(path)):
            raise StorageFailed(f"{path} is not a metrics file of taskdb", "name another with --metrics-file")
    write_atomically(target, exposition(label, record, seconds=seconds).encode(), mode=READABLE)


def _begins_as_ours(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        beginning = file.read(len(_BEGINNING))
    return beginning in (b"", _BEGINNING)


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
        yield f'taskdb_backup_rows{{label="{label}",table="{_label_value(table)}"}} {number}\n'


def _label_value(text: str) -> str:
    # A record may have been edited. The format has escapes for these characters only.
    return escape(text).replace("\\", "\\\\").replace('"', '\\"')
