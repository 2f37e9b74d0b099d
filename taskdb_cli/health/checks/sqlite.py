"""The checks of a SQLite file, and how it answers the checks of both engines."""

import shlex
import shutil
import sqlite3
import stat
from pathlib import Path

from taskdb_cli.backup import atomic
from taskdb_cli.database.sqlite import damage
from taskdb_cli.database.sqlite.files import sidecars
from taskdb_cli.health.examination import ENGINES, Engine, Examination, Identity
from taskdb_cli.health.registry import SQLITE, check
from taskdb_cli.health.report import Result, Status, none_of


def _identity(exam: Examination, table: str) -> Identity:
    """Compare what AUTOINCREMENT remembers with the rows."""
    # The library, too, takes for 0 what is not an integer.
    given = f"SELECT coalesce(CAST(seq AS INTEGER), 0) FROM sqlite_sequence WHERE name = '{table}'"
    [(highest, last)] = exam.ask(f"SELECT coalesce(max(id), 0), ({given}) FROM {table}")
    remedy = f"UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM {table}) WHERE name = '{table}'"
    if last is None:
        remedy = f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', max(id) FROM {table}"
    # The library also looks at the highest id in the table, so that an insert never fails.
    return Identity(table, (last or 0) + 1, highest, 2**63 - 1, remedy, collides=False)


def _files(exam: Examination) -> list[Path]:
    path = Path(exam.database.backend.place)
    return [path, *(sidecar for sidecar in sidecars(path) if sidecar.exists())]


def _size(exam: Examination) -> int:
    """Return the bytes of the file and of what has not been written back to it yet."""
    return sum(path.stat().st_size for path in _files(exam))


def _faults(exam: Examination) -> list[str]:
    return damage.check(exam.raw, _size(exam))


ENGINES[SQLITE] = Engine(
    absent="a file has no server",
    set_time=lambda exam, seconds: exam.raw.end_within(seconds),
    sever=lambda exam: exam.raw.interrupt(),
    # It reads the file's first page, which opening a file does not, and refuses UTF-16.
    first_statement="SELECT count(*) FROM sqlite_master",
    identity=_identity,
    sizes=lambda exam: (_size(exam), {}),
    count_tasks=lambda exam: exam.ask("SELECT count(*) FROM tasks")[0][0],
    explain="EXPLAIN QUERY PLAN",
    full_scan="^SCAN tasks(?!.*INDEX)",
    # Anybody who opens a file can turn its CHECK constraints off.
    vouches=False,
    broken_rows=lambda exam: [line for line in exam.once(_faults) if line.startswith(damage.OF_ROWS)],
)


@check("version", on=SQLITE)
def version(exam: Examination) -> Result:
    """Name the version of the library that Python was built with."""
    return Result(Status.OK, f"SQLite {sqlite3.sqlite_version}")


@check("quick_check", on=SQLITE)
def quick_check(exam: Examination) -> Result:
    """Let the library read every page of the file."""
    return none_of(
        [line for line in exam.once(_faults) if not line.startswith(damage.OF_ROWS)],
        "the file's pages are intact",
        "the file is damaged",
        remedy="'taskdb restore latest --replace' moves the file aside and makes a new one",
    )


@check("permissions", on=SQLITE)
def permissions(exam: Examination) -> Result:
    """Demand that not everybody may write to the file, to its sidecar files or to its directory."""
    files = _files(exam)
    found = [str(path) for path in (*files, files[0].parent) if path.stat().st_mode & stat.S_IWOTH]
    remedy = f"chmod o-w {shlex.join(found)}"
    return none_of(found, "not everybody may write to the file", "anyone may write to", remedy=remedy)


@check("disk", on=SQLITE)
def disk(exam: Examination) -> Result:
    """Judge how much of the disk under the file is free for this user, in per cent."""
    usage = shutil.disk_usage(Path(exam.database.backend.place).parent)
    message = f"{usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free"
    return exam.judged(100 * usage.free / usage.total, message, "make room on the disk")


@check("leftovers", on=SQLITE)
def leftovers(exam: Examination) -> Result:
    """Look for temporary files that a killed restore left beside the file."""
    file = Path(exam.database.backend.place)
    return none_of(
        [str(path) for path in atomic.leftovers(file)] if file.parent.is_dir() else [],
        "no killed restore left files beside the database",
        "a restore was killed and left",
        remedy="delete them when no restore runs",
        status=Status.WARNING,
    )
