"""Run checks one after another within one time limit, whatever they meet."""

import math
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from threading import Thread

from taskdb_cli.database import Database
from taskdb_cli.database.schema import read_identity
from taskdb_cli.errors import DataCorrupt, InvalidInput, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.checks.backups import Backups
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import CHECKS, DROPPED, Check, Thresholds
from taskdb_cli.health.report import NO_LIMITS, Report, Result, Status, Unmeasured

CLOSE_CALL = 0.05
"""A statement that fails when no more seconds than this are left was ended by the limit that we set."""

WAIT_POLL = 0.2
"""Seconds between two attempts to find out whether a database is up."""


def run(
    database: Database,
    *,
    now: datetime,
    thresholds: Thresholds | None = None,
    backups: Backups | None = None,
    timeout: float = TIMEOUT,
    only: Collection[str] = (),
    skip: Collection[str] = (),
) -> Report:
    """Run the checks over a connection of their own, and return what they found; change nothing.

    Without `backups` the checks of archives are skipped. The names of dropped checks are ignored.

    It returns when `timeout` seconds are over, even if the server has stopped answering. What was not
    measured by then is unknown. Raises InvalidInput for the name of a check that does not exist.
    """
    for name in (*only, *skip):
        if name not in CHECKS and name not in DROPPED:
            raise InvalidInput(f"there is no check {name!r}", f"the checks are {', '.join(CHECKS)}")
    chosen = [each for name, each in CHECKS.items() if (not only or name in only) and name not in skip]
    if not chosen and DROPPED.isdisjoint(only):
        raise InvalidInput("no check is left", "name one with --only, and skip fewer")
    for module in ("common", database.backend.dialect):
        import_module(f"taskdb_cli.health.checks.{module}")
    # The time to import a driver is not the database's.
    begun = time.monotonic()
    # A pool's connections say nothing about connecting, and a second try would hide the first.
    options = replace(
        database.options,
        connect_timeout=max(1, min(database.options.connect_timeout, math.ceil(timeout))),
        retry_budget=0,
        pool=None,
        slow_query_ms=0,
    )
    exam = Examination(Database(database.url, options), now, thresholds or Thresholds(), backups)
    found: dict[str, Result | None] = {}
    arguments = (exam, chosen, begun + timeout, found)
    thread = Thread(target=_make_all, args=arguments, name="taskdb-health", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive() and exam.raw is not None:
        exam.engine.sever(exam)
    reason = f"timed out: all {timeout:g} s were spent before it was measured"
    timed_out = Result(Status.UNKNOWN, reason, remedy="raise --timeout, or leave slow checks out with --skip")
    results = []
    for name in [check.name for check in chosen]:
        result = found.get(name)
        limits = exam.thresholds.of(name) if result else NO_LIMITS
        results.append(replace(result or timed_out, name=name, limits=limits))
    return Report(database.backend.place, now, time.monotonic() - begun, tuple(results))


def wait_until_up(database: Database, *, now: datetime, seconds: float) -> bool:
    """Wait until the database can be connected to, at most so many seconds; return whether it can be."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), WAIT_POLL)
        report = run(database, now=now, timeout=left, only=["connection"])
        if report.checks[0].value is not None:
            return True
        if time.monotonic() + WAIT_POLL >= deadline:
            return False
        time.sleep(WAIT_POLL)


def _make_all(
    exam: Examination, chosen: list[Check], deadline: float, found: dict[str, Result | None]
) -> None:
    """Make every check, first those that no server can hold up, and close the connection."""
    offline = [check for check in chosen if check.offline]
    # A check of our tables may wait for a lock until the time is over. The checks that say who holds the lock
    # come before.
    others = [check for check in chosen if not check.offline]
    others.sort(key=lambda check: (check.scans, check.needs_head))
    for check in offline:
        found[check.name] = _make(exam, check, deadline)
    # Only the database knows its identity, by which archives count as its own.
    again = offline if offline and exam.backups and _learn_identity(exam, exam.backups, deadline) else []
    for check in [*again, *others]:
        found[check.name] = _make(exam, check, deadline)
    exam.close()


def _learn_identity(exam: Examination, backups: Backups, deadline: float) -> bool:
    """Ask the database for its identity; return whether other archives count as its own then."""
    before = exam.counted
    try:
        with exam.database.translating():
            exam.set_time(max(deadline - time.monotonic(), CLOSE_CALL))
            owner = replace(backups.owner, identity=read_identity(exam.connection))
        exam.counted = replace(backups, owner=owner)
    except (Unmeasured, TaskdbError):
        exam.recover()
    return exam.counted != before


def _make(exam: Examination, check: Check, deadline: float) -> Result | None:
    """Make a check, and return its result, whatever it met. Return None if the time was over before."""
    result: Result | None
    try:
        if (left := deadline - time.monotonic()) <= 0:
            return None
        with exam.database.translating():
            exam.set_time(left)
            return exam.make(check)
    except Unmeasured as exc:
        result = exc.result
    except TaskdbError as exc:
        status = Status.CRITICAL if isinstance(exc, DataCorrupt) else Status.UNKNOWN
        ended_by_us = deadline - time.monotonic() <= CLOSE_CALL
        result = None if ended_by_us else Result(status, exc.message, remedy=exc.hint)
    except Exception as exc:  # noqa: BLE001 (the other checks still run)
        result = Result(Status.UNKNOWN, f"the check failed: {type(exc).__name__}: {exc}")
    exam.recover()
    return result
