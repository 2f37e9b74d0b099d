"""The checks of a SQLite file."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select

from taskdb_cli.backup import atomic
from taskdb_cli.database.plan import literal_sql
from taskdb_cli.database.sqlite import damage
from taskdb_cli.database.sqlite.files import sidecars
from taskdb_cli.database.sqlite.limits import LimitedConnection
from taskdb_cli.health.checks.common import (
    MB,
    Identity,
    broken_rules,
    judge_constraints,
    judge_identities,
    judge_ids_left,
    judge_indexes,
    judge_plans,
    judge_rules,
    lost_constraints,
    numbered_tables,
)
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import ENGINES, SQLITE, Engine, check
from taskdb_cli.health.report import Result, Status, Unit, judged, none_of


def _raw(connection: Connection) -> LimitedConnection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, LimitedConnection)
    return raw


ENGINES[SQLITE] = Engine(
    absent="a file has no server",
    set_time=lambda connection, seconds: _raw(connection).clock.end_within(seconds),
    sever=lambda connection: _raw(connection).interrupt(),
    # It reads the file's first page, which opening a file does not, and refuses UTF-16.
    first_statement="SELECT count(*) FROM sqlite_master",
)


def _all(exam: Examination, sql: str) -> list[Any]:
    return list(_raw(exam.connection).execute(sql))


def _files(exam: Examination) -> list[Path]:
    path = Path(exam.database.backend.place)
    return [path, *(sidecar for sidecar in sidecars(path) if sidecar.exists())]


def _size(exam: Examination) -> int:
    """Return the bytes of the file and of what has not been written back to it yet."""
    return sum(path.stat().st_size for path in _files(exam))


@check("version", on=SQLITE)
def version(exam: Examination) -> Result:
    """Name the version of the library that Python was built with."""
    return Result(Status.OK, f"SQLite {sqlite3.sqlite_version}")


@check("constraints", on=SQLITE)
def constraints(exam: Examination) -> Result:
    """Demand that every constraint is there. Each connection of ours enforces them."""
    return judge_constraints(lost_constraints(exam))


@check("indexes", on=SQLITE)
def indexes(exam: Examination) -> Result:
    """Demand that every index is there. An index is built entirely or not at all."""
    return judge_indexes(exam, {})


def _identities(exam: Examination) -> list[Identity]:
    """Compare what AUTOINCREMENT remembers with the rows."""
    # The library, too, takes for 0 what is not an integer.
    given = dict(_all(exam, "SELECT name, coalesce(CAST(seq AS INTEGER), 0) FROM sqlite_sequence"))
    found = []
    for table in numbered_tables():
        [(highest,)] = _all(exam, f"SELECT coalesce(max(id), 0) FROM {table}")
        remedy = f"UPDATE sqlite_sequence SET seq = (SELECT max(id) FROM {table}) WHERE name = '{table}'"
        if table not in given:
            remedy = f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', max(id) FROM {table}"
        # The library also looks at the highest id in the table, so that an insert never fails.
        found.append(Identity(table, given.get(table, 0) + 1, highest, 2**63 - 1, remedy, collides=False))
    return found


@check("identity", on=SQLITE)
def identity(exam: Examination) -> Result:
    """Demand that the next id of each table is above the highest id in it."""
    return judge_identities(_identities(exam))


@check("identity_left", on=SQLITE)
def identity_left(exam: Examination) -> Result:
    """Judge how many of the possible ids are left, in per cent."""
    return judge_ids_left(_identities(exam), exam.thresholds.identity_left)


def _quick_check(exam: Examination) -> list[str]:
    return damage.check(_raw(exam.connection), _size(exam))


@check("rules", on=SQLITE)
def rules(exam: Examination) -> Result:
    """Hold every row to every rule, because anybody who opens a file can turn its rules off."""
    found = [line for line in exam.once(_quick_check) if line.startswith(damage.OF_ROWS)]
    return judge_rules([*found, *broken_rules(exam, unvalidated={}, vouches=False)])


@check("quick_check", on=SQLITE)
def quick_check(exam: Examination) -> Result:
    """Let the library read every page of the file."""
    return none_of(
        [line for line in exam.once(_quick_check) if not line.startswith(damage.OF_ROWS)],
        "the file's pages are intact",
        "the file is damaged",
        remedy="'taskdb restore latest --replace' moves the file aside and makes a new one",
    )


@check("size", on=SQLITE)
def size(exam: Examination) -> Result:
    """Tell the size of the file; there is no limit unless one is set."""
    bytes = _size(exam)
    message = f"the database has {bytes / MB:,.1f} MB"
    remedy = "archive or delete old tasks"
    return judged(bytes, exam.thresholds.size, message, remedy=remedy, unit=Unit.BYTES)


@check("permissions", on=SQLITE)
def permissions(exam: Examination) -> Result:
    """Demand that not everybody may write to the file, to its sidecar files or to its directory."""
    files = _files(exam)
    found = [str(path) for path in (*files, files[0].parent) if path.stat().st_mode & stat.S_IWOTH]
    return none_of(
        found, "others may not write", "anyone may write to", remedy=f"chmod o-w {shlex.join(found)}"
    )


@check("disk", on=SQLITE)
def disk(exam: Examination) -> Result:
    """Judge how much of the disk under the file is free for this user, in per cent."""
    usage = shutil.disk_usage(Path(exam.database.backend.place).parent)
    message = f"{usage.free / MB:,.0f} of {usage.total / MB:,.0f} MB are free"
    remedy = "make room on the disk"
    percent = 100 * usage.free / usage.total
    return judged(percent, exam.thresholds.disk, message, remedy=remedy, unit=Unit.PERCENT)


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


@check("plans", on=SQLITE)
def plans(exam: Examination) -> Result:
    """Look for a scan without an index in the plans of the usual lists."""

    def reads_all(query: Select[Any]) -> bool:
        lines = _all(exam, f"EXPLAIN QUERY PLAN {literal_sql(exam.connection, query)}")
        return any(line.startswith("SCAN tasks") and "INDEX" not in line for *_, line in lines)

    [(tasks,)] = _all(exam, "SELECT count(*) FROM tasks")
    return judge_plans(exam, tasks, reads_all)
