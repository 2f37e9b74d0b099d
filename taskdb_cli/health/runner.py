"""Run checks one after another within one time, whatever they meet."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event, Lock, Thread

from taskdb_cli.database import Database
from taskdb_cli.database.health import NotMeasured
from taskdb_cli.errors import DataCorrupt, InvalidInput, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.checks import DEFINITIONS, Definition
from taskdb_cli.health.report import Check, Report, Status
from taskdb_cli.health.subject import Backups, Look, NoAnswer, Subject
from taskdb_cli.health.thresholds import Thresholds

CLOSE_CALL = 0.05
"""A statement that fails with no more seconds left than this was ended by the limit that we set."""

WAIT_POLL = 0.2
"""Seconds between two looks at whether a database is up."""


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

    Without `backups` nothing is said of archives.

    It returns when `timeout` seconds are over, even if the server has stopped answering: what was not
    measured by then is unknown. Raises InvalidInput for the name of a check that does not exist.
    """
    begun = time.monotonic()
    chosen = _choose(only, skip)
    subject = Subject(_own(database, timeout), now, backups)
    round = _Round(subject, chosen, thresholds or Thresholds(), timeout, begun + timeout)
    Thread(target=round.work, name="taskdb-health", daemon=True).start()
    if not round.over.wait(timeout):
        subject.sever()
    checks = round.results()
    return Report(database.backend.place, now, time.monotonic() - begun, checks)


def wait_until_up(database: Database, *, now: datetime, seconds: float) -> bool:
    """Wait until the database can be connected to, so many seconds at most; return whether it can be."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), WAIT_POLL)
        report = run(database, now=now, timeout=left, only=["connection"])
        if report.checks[0].value is not None:
            return True
        if time.monotonic() + WAIT_POLL >= deadline:
            return False
        time.sleep(WAIT_POLL)


def _choose(only: Collection[str], skip: Collection[str]) -> list[Definition]:
    known = [definition.name for definition in DEFINITIONS]
    for name in (*only, *skip):
        if name not in known:
            raise InvalidInput(f"there is no check {name!r}", f"the checks are {', '.join(known)}")
    chosen = [each for each in DEFINITIONS if (not only or each.name in only) and each.name not in skip]
    if not chosen:
        raise InvalidInput("no check is left", "name one with --only, and skip fewer")
    return chosen


def _own(database: Database, timeout: float) -> Database:
    # A pool's connections say nothing about connecting, and a second try would hide the first.
    limits = replace(
        database.options,
        connect_timeout=max(1, min(database.options.connect_timeout, math.ceil(timeout))),
        retry_budget=0,
        pool=None,
        slow_query_ms=0,
    )
    return Database(database.url, limits)


@dataclass
class _Round:
    """The checks of one run, as a thread of its own goes through them."""

    subject: Subject
    chosen: Sequence[Definition]
    thresholds: Thresholds
    timeout: float
    deadline: float
    over: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _done: dict[str, Check] = field(default_factory=dict)

    def work(self) -> None:
        """Run every check, those first that no server can hold up, and close the connection."""
        try:
            offline = [each for each in self.chosen if each.offline]
            self._measure_all(offline)
            if self._learn_identity():
                self._measure_all(offline)
            others = [each for each in self.chosen if not each.offline]
            # A check of our tables may wait for a lock until the time is over. Those that say who holds it
            # come before.
            self._measure_all(sorted(others, key=lambda each: (each.scans, each.needs_head)))
            self.subject.close()
        finally:
            self.over.set()

    def _measure_all(self, definitions: Iterable[Definition]) -> None:
        for definition in definitions:
            found = self._measure(definition)
            with self._lock:
                self._done[definition.name] = found

    def _learn_identity(self) -> bool:
        """Ask for the identity; return whether the checks of archives must be made again."""
        try:
            self.subject.set_time(max(self._left, CLOSE_CALL))
            with self.subject.database.translating():
                return self.subject.learn_identity()
        except (NoAnswer, TaskdbError):
            self._recover()
            return False

    def results(self) -> tuple[Check, ...]:
        """Return what has been found by now, and what there was no time for as unknown."""
        with self._lock:
            done = dict(self._done)
        return tuple(done.get(each.name) or self._timed_out(each) for each in self.chosen)

    def _measure(self, definition: Definition) -> Check:
        look = Look(definition.name, self.thresholds, self.subject)
        try:
            with self.subject.database.translating():
                return self._ask(definition, look)
        except NotMeasured as exc:
            self._recover()
            return look.found(Status.SKIPPED, exc.reason, remedy=exc.remedy)
        except NoAnswer as exc:
            return look.found(Status.UNKNOWN, str(exc))
        except TaskdbError as exc:
            self._recover()
            if self._left <= CLOSE_CALL:
                return self._timed_out(definition)
            status = Status.CRITICAL if isinstance(exc, DataCorrupt) else Status.UNKNOWN
            return look.found(status, exc.message, remedy=exc.hint)
        except Exception as exc:  # noqa: BLE001 (the others still run)
            self._recover()
            return look.found(Status.UNKNOWN, f"the check failed: {type(exc).__name__}: {exc}")

    def _ask(self, definition: Definition, look: Look) -> Check:
        if self._left <= 0:
            return self._timed_out(definition)
        self.subject.set_time(self._left)
        if definition.needs_head:
            self.subject.require_head()
        return definition.measure(look)

    @property
    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _timed_out(self, definition: Definition) -> Check:
        reason = f"timed out: all {self.timeout:g} s were spent before it was measured"
        remedy = "raise --timeout, or leave slow checks out with --skip"
        return Check(definition.name, Status.UNKNOWN, reason, remedy=remedy)

    def _recover(self) -> None:
        try:
            self.subject.recover()
        except TaskdbError:
            # The next statement will say so.
            return
