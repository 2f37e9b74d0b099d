"""Run checks one after another within one time limit, whatever they meet."""

import math
import time
from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from threading import Thread
from typing import Any

from taskdb_cli.database import Database
from taskdb_cli.database.schema import read_identity
from taskdb_cli.errors import InvalidInput, TaskdbError
from taskdb_cli.health import TIMEOUT
from taskdb_cli.health.archives import Backups
from taskdb_cli.health.examination import EXAMINATIONS, Examination
from taskdb_cli.health.registry import CHECKS, DROPPED, Check
from taskdb_cli.health.report import Limits, Report, Result, Status, Unmeasured
from taskdb_cli.text.escaping import brief

REPLICA_SHARE = 4
"""The share of the time that the replica may take to answer, once."""

WAIT_POLL = 0.2
"""Seconds between two attempts to find out whether a database is up."""


def run(
    database: Database,
    *,
    now: datetime,
    thresholds: Mapping[str, Limits] | None = None,
    backups: Sequence[Backups] = (),
    replica: Database | None = None,
    timeout: float = TIMEOUT,
    only: Collection[str] = (),
    skip: Collection[str] = (),
) -> Report:
    """Run the checks over a connection of their own, and return what they found; change nothing.

    `backups` are the archives in each place. Without any the checks of archives are skipped. The names of
    dropped checks are ignored. `replica` is the one that the settings name, if any.

    It returns when `timeout` seconds are over, even if the server has stopped answering. What was not
    measured by then is unknown. Raises InvalidInput for the name of a check that does not exist.
    """
    chosen = choose(database.backend.dialect, thresholds or {}, only=only, skip=skip)
    # The time to import a driver is not the database's.
    begun = time.monotonic()
    # A pool's connections say nothing about connecting, and a second try would hide the first.
    once: dict[str, Any] = {"retry_budget": 0, "pool": None, "slow_query_ms": 0}
    patience = max(1, min(database.options.connect_timeout, math.ceil(timeout)))
    options = replace(database.options, connect_timeout=patience, **once)
    if replica:
        share = timeout / REPLICA_SHARE
        limit = max(1, min(patience, math.ceil(share)))
        given = replace(replica.options, connect_timeout=limit, statement_timeout=share, **once)
        replica = Database(replica.url, given)
    examination = EXAMINATIONS[database.backend.dialect]
    exam = examination(Database(database.url, options), now, begun + timeout, backups, replica=replica)
    found: dict[str, Result | None] = {}
    thread = Thread(target=_make_all, args=(exam, chosen, found), name="taskdb-health", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive() and exam.raw is not None:
        exam.sever()
    reason = f"timed out: all {timeout:g} s were spent before it was measured"
    timed_out = Result(Status.UNKNOWN, reason, remedy="raise --timeout, or leave slow checks out with --skip")
    results = tuple(found.get(each.name) or replace(timed_out, name=each.name) for each in chosen)
    # With several hosts, the place names the one that has answered.
    return Report(exam.database.backend.place, now, time.monotonic() - begun, results)


def choose(
    dialect: str, thresholds: Mapping[str, Limits], *, only: Collection[str] = (), skip: Collection[str] = ()
) -> list[Check]:
    """Return the checks to make on an engine, with their functions and the limits that count.

    Raises InvalidInput for the name of a check that does not exist, and if no check is left.
    """
    for name in (*only, *skip):
        if name not in CHECKS and name not in DROPPED:
            raise InvalidInput(f"there is no check {brief(name)!r}", f"the checks are {', '.join(CHECKS)}")
    chosen = {name: each for name, each in CHECKS.items() if (not only or name in only) and name not in skip}
    if not chosen and DROPPED.isdisjoint(only):
        raise InvalidInput("no check is left", "name one with --only, and skip fewer")
    modules = [import_module(f"taskdb_cli.health.checks.{name}") for name in (dialect, "common", "backups")]
    functions = ChainMap(*map(vars, modules))
    return [
        replace(each, limits=thresholds.get(name, each.limits), function=functions.get(f"check_{name}"))
        for name, each in chosen.items()
    ]


def wait_until_up(database: Database, *, now: datetime, seconds: float) -> bool:
    """Wait until the database can be connected to, at most so many seconds; return whether it can be."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), WAIT_POLL)
        if run(database, now=now, timeout=left, only=["connection"]).checks[0].value is not None:
            return True
        if time.monotonic() + WAIT_POLL >= deadline:
            return False
        time.sleep(WAIT_POLL)


def _make_all(exam: Examination, chosen: list[Check], found: dict[str, Result | None]) -> None:
    """Make every check, first those that no server can hold up, and close the connection."""
    offline = [check for check in chosen if check.offline]
    # A check of our tables may wait for a lock until the time is over. The checks that say who holds the lock
    # come before.
    others = [check for check in chosen if not check.offline]
    others.sort(key=lambda check: (check.scans, check.needs_head))
    for check in offline:
        found[check.name] = exam.make(check)
    # Only the database knows its identity, which decides what archives are its own.
    again = offline if offline and exam.backups and _learn_identity(exam) else []
    for check in [*again, *others]:
        found[check.name] = exam.make(check)
    exam.close()


def _learn_identity(exam: Examination) -> bool:
    """Ask the database for its identity; return whether other archives count as its own then."""
    before = exam.counted
    with suppress(Unmeasured, TaskdbError), exam.limited():
        identity = read_identity(exam.connection)
        exam.counted = {
            each: known if (known := before.get(each)) and known.fault else each.owned_by(identity)
            for each in exam.backups
        }
    return exam.counted != before
