"""Write metrics of backups to a file for node_exporter's textfile collector."""

import os
from pathlib import Path

from taskdb_cli.backup.atomic import storage, write_atomically
from taskdb_cli.backup.history import Record
from taskdb_cli.errors import StorageFailed
from taskdb_cli.system.paths import descriptor_of, reserved
from taskdb_cli.text.escaping import escape
from taskdb_cli.text.prometheus import Samples, gauges

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
        if path.is_file() and not foreign:
            with path.open("rb", buffering=0) as file:
                foreign = file.read(len(_BEGINNING)) not in (b"", _BEGINNING)
        if foreign:
            raise StorageFailed(f"{path} is not a metrics file of taskdb", "name another with --metrics-file")
    write_atomically(target, exposition(label, record, seconds=seconds).encode(), mode=READABLE)


def exposition(label: str, record: Record, *, seconds: float) -> str:
    """Return the metrics in Prometheus' text format; `seconds` is how long the last backup took."""
    here, proof, drill = {"label": label}, record.verified, record.drilled
    families: list[tuple[str, str, Samples]] = []
    if proof:
        taken = [(here, proof.taken_at.timestamp())]
        # Somebody may have edited the names of tables in the history.
        rows = [(here | {"table": escape(table)}, number) for table, number in proof.rows.items()]
        families += [
            ("last_success_timestamp_seconds", "When the last verified backup was taken.", taken),
            ("duration_seconds", "How long it took, verification included.", [(here, seconds)]),
            ("size_bytes", "The size of its archive.", [(here, proof.size)]),
            ("rows", "How many rows of each table it holds.", rows),
        ]
    if drill:
        help, drilled = "When an archive was last restored for trial.", [(here, drill.at.timestamp())]
        families.append(("last_drill_timestamp_seconds", help, drilled))
    return gauges((f"taskdb_backup_{name}", help, samples) for name, help, samples in families)
