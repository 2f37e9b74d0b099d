"""Run checks one after another within one time limit, whatever they meet."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from threading import Event, Thread

from taskdb_cli.database import Database
from taskdb_cli.errors import DataCorrupt, InvalidInput, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.checks.backups import Backups
from taskdb_cli.health.examination import Examination
from taskdb_cli.health.registry import CHECKS, DROPPED, ENGINES, Check
from taskdb_cli.health.report import Report, Result, Status, Unmeasured
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
    chosen = _choose(only, skip)
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
    examination = Examination(
        Database(database.url, options), now=now, thresholds=thresholds or Thresholds(), backups=backups
    )
    round = _Round(examination, chosen, timeout, begun + timeout)
    Thread(target=round.work, name="taskdb-health", daemon=True).start()
    if not round.over.wait(timeout):
        examination.sever()
    results = round.results()
    return Report(database.backend.place, now, time.monotonic() - begun, results)


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


def _choose(only: Collection[str], skip: Collection[str]) -> list[Check]:
    for name in (*only, *skip):
        if name not in CHECKS and name not in DROPPED:
            raise InvalidInput(f"there is no check {name!r}", f"the checks are {', '.join(CHECKS)}")
    chosen = [each for name, each in CHECKS.items() if (not only or name in only) and name not in skip]
    if not chosen and DROPPED.isdisjoint(only):
        raise InvalidInput("no check is left", "name one with --only, and skip fewer")
    return chosen


class _Round:
    """The checks of one run, as a thread of its own goes through them."""

    def __init__(
        self, examination: Examination, chosen: list[Check], timeout: float, deadline: float
    ) -> None:
        self.over = Event()
        self._examination = examination
        self._chosen = chosen
        self._timeout = timeout
        self._deadline = deadline
        self._done: dict[str, Result] = {}

    def work(self) -> None:
        """Make every check, first those that no server can hold up, and close the connection."""
        try:
            offline = [each for each in self._chosen if each.offline]
            self._measure_all(offline)
            if self._learn_identity():
                self._measure_all(offline)
            others = [each for each in self._chosen if not each.offline]
            # A check of our tables may wait for a lock until the time is over. The checks that say who
            # holds the lock come before.
            self._measure_all(sorted(others, key=lambda each: (each.scans, each.needs_head)))
            self._examination.close()
        finally:
            self.over.set()

    def results(self) -> tuple[Result, ...]:
        """Return what has been found by now. What there was no time for is unknown."""
        done = self._done.copy()
        return tuple(self._finished(each, done.get(each.name) or self._timed_out()) for each in self._chosen)

    def _finished(self, check: Check, found: Result) -> Result:
        remedy = "" if found.status is Status.OK else found.remedy
        limits = self._examination.thresholds.of(check.name)
        return replace(found, name=check.name, limits=limits, remedy=remedy)

    def _timed_out(self) -> Result:
        reason = f"timed out: all {self._timeout:g} s were spent before it was measured"
        remedy = "raise --timeout, or leave slow checks out with --skip"
        return Result(Status.UNKNOWN, reason, remedy=remedy)

    def _measure_all(self, checks: Iterable[Check]) -> None:
        for check in checks:
            self._done[check.name] = self._measure(check)

    def _learn_identity(self) -> bool:
        try:
            with self._examination.database.translating():
                self._examination.set_time(max(self._left, CLOSE_CALL))
                return self._examination.learn_identity()
        except (Unmeasured, TaskdbError):
            self._examination.recover()
            return False

    def _measure(self, check: Check) -> Result:
        try:
            with self._examination.database.translating():
                return self._ask(check)
        except Unmeasured as exc:
            found = exc.result
        except TaskdbError as exc:
            status = Status.CRITICAL if isinstance(exc, DataCorrupt) else Status.UNKNOWN
            found = Result(status, exc.message, remedy=exc.hint)
            if self._left <= CLOSE_CALL:
                found = self._timed_out()
        except Exception as exc:  # noqa: BLE001 (the other checks still run)
            found = Result(Status.UNKNOWN, f"the check failed: {type(exc).__name__}: {exc}")
        self._examination.recover()
        return found

    def _ask(self, check: Check) -> Result:
        if self._left <= 0:
            return self._timed_out()
        self._examination.set_time(self._left)
        if not (check.offline or check.connects):
            self._examination.require_connection()
        if check.needs_head:
            self._examination.require_head()
        engine = self._examination.database.backend.dialect
        if engine not in check.functions:
            return Result(Status.SKIPPED, ENGINES[engine].absent)
        return check.functions[engine](self._examination)

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()
