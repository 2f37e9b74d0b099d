"""How much there is, whether it can grow, and whether a file is intact and nobody else's."""

from __future__ import annotations

import shlex

from taskdb_cli.backup import atomic
from taskdb_cli.database.health import NotMeasured
from taskdb_cli.health.report import Check, Status, Unit
from taskdb_cli.health.subject import Look

MB = 1e6


def size(look: Look) -> Check:
    """Tell the size of the database and its tables; there is no limit unless one is set."""
    found = look.probe.sizes()
    parts = [f"{table} {bytes / MB:,.1f} MB" for table, bytes in found.tables.items()]
    message = "; ".join([f"the database has {found.database / MB:,.1f} MB", *parts])
    return look.judged(found.database, message, remedy="archive or delete old tasks", unit=Unit.BYTES)


def disk(look: Look) -> Check:
    """Judge how much of the disk under the file is free, in per cent."""
    found = look.probe.disk()
    message = f"{found.free / MB:,.0f} of {found.total / MB:,.0f} MB are free"
    return look.judged(
        100 * found.free / found.total, message, remedy="make room on the disk", unit=Unit.PERCENT
    )


def leftovers(look: Look) -> Check:
    """Look for temporary files that a killed restore left beside the file."""
    file = look.subject.database.backend.file()
    if file is None:
        raise NotMeasured("the database is not a file")
    found = [str(path) for path in atomic.leftovers(file)] if file.parent.is_dir() else []
    return look.none_of(
        found,
        "no killed restore left files beside the database",
        "a restore was killed and left",
        remedy="delete them when no restore runs",
        status=Status.WARNING,
    )


def quick_check(look: Look) -> Check:
    """Let the engine read every page of the file."""
    return look.none_of(
        look.probe.damage(),
        "the file's pages are intact",
        "the file is damaged",
        remedy="'taskdb restore latest --replace' moves the file aside and makes a new one",
    )


def journal_mode(look: Look) -> Check:
    """Demand the mode in which readers and a writer do not wait for each other."""
    mode = look.probe.journal_mode()
    message = f"the journal mode is {mode}"
    if mode == "wal":
        return look.found(Status.OK, message)
    return look.found(Status.WARNING, f"{message}, not wal", remedy="taskdb migrate")


def permissions(look: Look) -> Check:
    """Demand that not everybody may write to the file or replace it."""
    found = look.probe.writable_by_others()
    return look.none_of(
        found, "others may not write", "anyone may write to", remedy=f"chmod o-w {shlex.join(found)}"
    )
