"""Run checks one after another within one time limit, whatever they meet."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from threading import Thread

from taskdb_cli.database import Database
from taskdb_cli.database.identity import read_identity
from taskdb_cli.errors import DataCorrupt, InvalidInput, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.checks.backups import Backups
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import CHECKS, DROPPED, Check
from taskdb_cli.health.report import NO_LIMITS, Report, Result, Status, Unmeasured
from taskdb_cli.health.thresholds import Thresholds

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
    begun = time.monotonic()
    for name in (*only, *skip):
        if name not in CHECKS and name not in DROPPED:
            raise InvalidInput(f"there is no check {name!r}", f"the checks are {', '.join(CHECKS)}")
    chosen = [each for name, each in CHECKS.items() if (not only or name in only) and name not in skip]
    if not chosen and DROPPED.isdisjoint(only):
        raise InvalidInput("no check is left", "name one with --only, and skip fewer")
    for module in ("common", database.backend.dialect):
        import_module(f"taskdb_cli.health.checks.{module}")
    # A pool's connections say nothing about connecting, and a second try would hide the first.
    options = replace(
        database.options,
        connect_timeout=max(1, min(database.options.connect_timeout, math.ceil(timeout))),
        retry_budget=0,
        pool=None,
        slow_query_ms=0,
    )
    exam = Examination(Database(database.url, options), now, thresholds or Thresholds(), backups)
    round = _Round(exam, chosen, timeout, begun + timeout)
    round.start()
    round.join(timeout)
    if round.is_alive():
        exam.sever()
    return Report(database.backend.place, now, time.monotonic() - begun, round.results())


def wait_until_up(database: Database, *, now: datetime, seconds: float) -> bool:
    """Wait until the database can be connected to, at most so many seconds; return whether it can be."""
    deadline = time.monotonic() + seconds
    while True:
        timeout = max(deadline - time.monotonic(), WAIT_POLL)
        report = run(database, now=now, timeout=timeout, only=["connection"])
        if report.checks[0].value is not None:
            return True
        if time.monotonic() + WAIT_POLL >= deadline:
            return False
        time.sleep(WAIT_POLL)


class _Round(Thread):
    """The checks of one run, as a thread of its own goes through them."""

    def __init__(self, exam: Examination, chosen: list[Check], timeout: float, deadline: float) -> None:
        super().__init__(name="taskdb-health", daemon=True)
        self._exam = exam
        self._chosen = chosen
        self._deadline = deadline
        reason = f"timed out: all {timeout:g} s were spent before it was measured"
        remedy = "raise --timeout, or leave slow checks out with --skip"
        self._timed_out = Result(Status.UNKNOWN, reason, remedy=remedy)
        self._done: dict[str, Result] = {}

    def run(self) -> None:
        """Make every check, first those that no server can hold up, and close the connection."""
        offline = [check for check in self._chosen if check.offline]
        # A check of our tables may wait for a lock until the time is over. The checks that say who holds the
        # lock come before.
        others = [check for check in self._chosen if not check.offline]
        others.sort(key=lambda check: (check.scans, check.needs_head))
        for check in offline:
            self._done[check.name] = self._measure(check)
        # Only the database knows its identity, by which archives count as its own.
        for check in [*(offline if offline and self._learn_identity() else []), *others]:
            self._done[check.name] = self._measure(check)
        self._exam.close()

    def _learn_identity(self) -> bool:
        """Ask the database for its identity; return whether other archives count as its own then."""
        exam, before = self._exam, self._exam.counted
        try:
            if exam.backups:
                with exam.database.translating():
                    exam.set_time(max(self._left, CLOSE_CALL))
                    owner = replace(exam.backups.owner, identity=read_identity(exam.connection))
                exam.counted = replace(exam.backups, owner=owner)
        except (Unmeasured, TaskdbError):
            exam.recover()
        return exam.counted != before

    def results(self) -> tuple[Result, ...]:
        """Return what has been found by now. What there was no time for is unknown, and has no limits."""
        found = {check.name: self._done.get(check.name, self._timed_out) for check in self._chosen}
        limits = self._exam.thresholds.of
        return tuple(
            replace(each, name=name, limits=NO_LIMITS if each is self._timed_out else limits(name))
            for name, each in found.items()
        )

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _measure(self, check: Check) -> Result:
        if self._left <= 0:
            return self._timed_out
        try:
            with self._exam.database.translating():
                self._exam.set_time(self._left)
                return self._exam.make(check)
        except Unmeasured as exc:
            found = exc.result
        except TaskdbError as exc:
            status = Status.CRITICAL if isinstance(exc, DataCorrupt) else Status.UNKNOWN
            ended_by_us = self._left <= CLOSE_CALL
            found = self._timed_out if ended_by_us else Result(status, exc.message, remedy=exc.hint)
        except Exception as exc:  # noqa: BLE001 (the other checks still run)
            found = Result(Status.UNKNOWN, f"the check failed: {type(exc).__name__}: {exc}")
        self._exam.recover()
        return found
