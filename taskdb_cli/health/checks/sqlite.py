"""The checks of a SQLite file, and what it answers the checks of both engines."""

import os
import shlex
import shutil
import sqlite3
import stat
from functools import cached_property
from pathlib import Path

from taskdb_cli.backup import atomic
from taskdb_cli.database.sqlite import damage
from taskdb_cli.database.sqlite.files import sidecars
from taskdb_cli.health.examination import Examination, Identity
from taskdb_cli.health.report import Result, Status, none_of
from taskdb_cli.text.amounts import in_one_size


class SqliteExamination(Examination, on="sqlite"):
    """The look at a file."""

    absent = "a file has no server"
    explain = "EXPLAIN QUERY PLAN"
    full_scan = "^SCAN tasks(?!.*INDEX)"
    # It reads the file's first page, which opening a file does not, and refuses UTF-16.
    first_statement = "SELECT count(*) FROM sqlite_master"

    @cached_property
    def file(self) -> Path:
        """The file itself: SQLite follows links to it, and puts the others beside it."""
        path = self.database.backend.file()
        assert path
        return path

    @property
    def files(self) -> list[Path]:
        """The file and what is beside it."""
        return [self.file, *(sidecar for sidecar in sidecars(self.file) if sidecar.exists())]

    @property
    def size(self) -> int:
        """The bytes of the file and of the log that is not written back to it yet."""
        return sum(path.stat().st_size for path in self.files)

    @cached_property
    def damage(self) -> list[str]:
        """What the library's own check says."""
        return damage.check(self.raw, self.size)

    def set_time(self, seconds: float) -> None:
        """Limit the statements from now on."""
        self.raw.end_within(seconds)

    def sever(self) -> None:
        """Interrupt the running statement."""
        self.raw.interrupt()

    def identity(self, table: str) -> Identity:
        """Compare what AUTOINCREMENT remembers with the rows."""
        # The library, too, takes for 0 what is not an integer.
        given = f"SELECT coalesce(CAST(seq AS INTEGER), 0) FROM sqlite_sequence WHERE name = '{table}'"
        [(highest, last)] = self.ask(f"SELECT coalesce(max(id), 0), ({given}) FROM {table}")
        remedy = f"UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM {table}) WHERE name = '{table}'"
        if last is None:
            remedy = f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', max(id) FROM {table}"
        # The library also looks at the highest id in the table, so that an insert never fails.
        return Identity(table, (last or 0) + 1, highest, 2**63 - 1, remedy, collides=False)

    def broken_rows(self) -> list[str]:
        """Return what the library says of rows."""
        return [line for line in self.damage if line.startswith(damage.OF_ROWS)]


def check_version(exam: SqliteExamination) -> Result:
    """Name the version of the library that Python was built with."""
    return Result(Status.OK, f"SQLite {sqlite3.sqlite_version}")


def check_size(exam: SqliteExamination) -> Result:
    """Tell the size of the file; there is no limit unless one is set."""
    message = f"the database has {in_one_size(exam.size)}"
    return exam.judged(exam.size, message, "archive or delete old tasks")


def check_quick_check(exam: SqliteExamination) -> Result:
    """Let the library read every page of the file."""
    lines = [line for line in exam.damage if not line.startswith(damage.OF_ROWS)]
    remedy = "'taskdb restore latest --replace' moves the file aside and makes a new one"
    return none_of(dict.fromkeys(lines, remedy), "the file's pages are intact", "the file is damaged")


def check_permissions(exam: SqliteExamination) -> Result:
    """Demand that not everybody may write to the file, to its sidecar files or to its directory.

    Nor to the directory of a link to it, which could be made to lead elsewhere.
    """
    named = Path(os.path.realpath(Path(exam.database.backend.place).parent))
    places = dict.fromkeys([*exam.files, exam.file.parent, named])
    found = [str(path) for path in places if path.stat().st_mode & stat.S_IWOTH]
    faults = dict.fromkeys(found, f"chmod o-w {shlex.join(found)}")
    return none_of(faults, "not everybody may write to the file", "anyone may write to")


def check_disk(exam: SqliteExamination) -> Result:
    """Judge how much of the disk under the file is free for this user, in per cent."""
    usage = shutil.disk_usage(exam.file.parent)
    message = f"{in_one_size(usage.free)} of {in_one_size(usage.total)} are free"
    return exam.judged(100 * usage.free / usage.total, message, "make room on the disk")


def check_leftovers(exam: SqliteExamination) -> Result:
    """Look for temporary files that a killed restore left beside the file."""
    left = [str(path) for path in atomic.leftovers(exam.file)] if exam.file.parent.is_dir() else []
    fine, bad = "no killed restore left files beside the database", "a restore was killed and left"
    return none_of(dict.fromkeys(left, "delete them when no restore runs"), fine, bad, status=Status.WARNING)
