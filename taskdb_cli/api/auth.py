"""Access tokens: who makes a request, their only way to the database, and when a token was last used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlmodel import Session

from taskdb_cli.api.replica import ANSWERS, Replica
from taskdb_cli.database import Database
from taskdb_cli.database.options import Origin
from taskdb_cli.errors import DatabaseUnavailable, OutcomeUnknown, TaskdbError
from taskdb_cli.services.token import Access, note_use, recognize

T = TypeVar("T")
Work = Callable[[Session, Access], T]

KEY = "taskdb.caller"
"""The key of the caller in the ASGI scope."""

_SECONDS, _TRY_AGAIN = 5, 60
"""Seconds that a step of background work may take, and seconds until a write that failed is tried again."""

_log = logging.getLogger("taskdb.server")


class Caller:
    """The bearer of a token. Each unit of work looks the token up before it does anything else."""

    def __init__(
        self,
        database: Database,
        last_use: LastUse,
        secret: str,
        *,
        writing: bool,
        replica: Replica | None = None,
        given: int = 0,
    ) -> None:
        self.database = database
        self.now = datetime.now(UTC)
        self.route = ""
        """The method and the route, without values, once it was found."""
        self.admitted = False
        """Whether the token was found in force, and allows what the method asks for."""
        self.position = 0
        """The position of the log after a change or a conflict; 0 without either, or without a replica."""
        self._arrived = time.monotonic()
        self._last_use, self._secret, self._writing = last_use, secret, writing
        self._replica, self._given = replica, given

    def admit(self) -> Access:
        """Return what the token allows; raise Unauthorized or Forbidden."""
        self._require_turn()
        options = self.database.backend.single_options
        return self.database.read(lambda session: self._admit(session, alone=True), options=options)

    def read(self, work: Work[T]) -> T:
        """Run `work` as `Database.read` does, and look the token up in the same transaction.

        If there is a replica, it answers, and the token is looked up on the primary before. Raises
        DatabaseUnavailable for a request that has waited too long for a thread.
        """
        if self._replica is not None and self._replica.is_ready():
            access = self.admit()
            return self._replica.read(lambda session: work(session, access), self._given)
        self._require_turn()
        return self.database.read(lambda session: work(session, self._admit(session)))

    def write(self, work: Work[T], *, dry_run: bool = False) -> T:
        """Run `work` as `Database.write` does, also if the client no longer waits for the answer.

        The history has the name of the token and the route.
        A transaction of its own looks the token up first, so that a caller who may not write waits for no
        lock and holds none.
        """
        access = self.admit()
        origin = Origin(access.token_name, self.route)
        with nullcontext() if self._replica is None else self._noting(self._replica):
            return self.database.write(lambda session: work(session, access), dry_run=dry_run, origin=origin)

    @contextmanager
    def _noting(self, replica: Replica) -> Iterator[None]:
        """Note the position of the log after a commit, or after a conflict with rows of others."""
        try:
            yield
        except OutcomeUnknown:
            replica.note_unknown()
            raise
        except ANSWERS:
            # The client needs the position to see the row that is in conflict.
            self.position = replica.note_commits()
            raise
        self.position = replica.note_commits()

    def _require_turn(self) -> None:
        # While the database is away each request holds a thread for seconds. A late request would only make
        # the requests behind it wait as well.
        pool = self.database.options.pool
        if pool is not None and time.monotonic() - self._arrived > pool.timeout:
            raise DatabaseUnavailable(
                f"the server is busy: no free thread within {pool.timeout} s", "try again later"
            )

    def _admit(self, session: Session, *, alone: bool = False) -> Access:
        # Not the time of arrival: a token may expire while the request waits for its turn.
        now = datetime.now(UTC)
        access = recognize(session, self._secret, now=now, alone=alone)
        self._last_use.note(access, now)
        if self._writing:
            access.require_write()
        self.admitted = True
        return access


async def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    found: Caller = request.scope[KEY]
    found.route = f"{request.method} {request.scope['route'].path_format}"
    return found


Authorized = Annotated[Caller, Depends(caller_of)]


class LastUse:
    """Write the hour of each token's last use, in a thread and over connections that no request waits for.

    A failure is only logged. The UPDATE itself compares the hours, so two servers write each hour once.
    """

    def __init__(self, database: Database) -> None:
        self._database = hasty_database(database)
        self._thread = ThreadPoolExecutor(1, "last-use")
        self._lock = Lock()
        self._tried: dict[int, tuple[datetime, float]] = {}

    def note(self, access: Access, now: datetime) -> None:
        """Have the thread write the hour of this use, and return at once."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if access.last_used_at is not None and access.last_used_at >= hour:
            return
        with self._lock:
            last_hour, last_time = self._tried.get(access.token_id, (None, 0.0))
            if last_hour == hour and time.monotonic() - last_time < _TRY_AGAIN:
                return
            self._tried[access.token_id] = hour, time.monotonic()
            # A request may outlast the thread when the server is told to stop.
            with suppress(RuntimeError):
                self._thread.submit(self._write, access.token_id, hour)

    def close(self) -> None:
        """Finish the writes that have begun, for 5 s at most."""
        # The thread has ended already if the application was served twice.
        with suppress(RuntimeError):
            wait([self._thread.submit(lambda: None)], timeout=_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, token_id: int, hour: datetime) -> None:
        try:
            self._database.write(lambda session: note_use(session, token_id, hour=hour))
        except TaskdbError as exc:
            _log.info("the last use of token %d was not recorded: %s", token_id, exc.message)
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread)
            _log.warning("the last use of token %d was not recorded: %s", token_id, type(exc).__name__)


def hasty_database(database: Database) -> Database:
    """Return the database without pool and retries, with 5 s for each step and 1 s for a lock."""
    options = replace(
        database.options,
        pool=None,
        retry_budget=0,
        connect_timeout=min(_SECONDS, database.options.connect_timeout),
        statement_timeout=_SECONDS,
        lock_timeout=1,
    )
    return Database(database.url, options)
