"""Who makes a request, and their one way to the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlmodel import Session

from taskdb_cli.api.last_use import LastUse
from taskdb_cli.database import Database
from taskdb_cli.errors import DatabaseUnavailable
from taskdb_cli.services.token import Access, recognize

T = TypeVar("T")
Work = Callable[[Session, Access], T]

KEY = "taskdb.caller"
"""Where the caller is in the ASGI scope."""


class Caller:
    """The bearer of a token, which each unit of work looks up before it does anything."""

    def __init__(self, database: Database, last_use: LastUse, secret: str, *, writing: bool) -> None:
        self.database = database
        self.now = datetime.now(UTC)
        self.admitted = False
        """Whether the token has been found in force, and to allow what the method asks for."""
        self._arrived = time.monotonic()
        self._last_use = last_use
        self._secret = secret
        self._writing = writing

    def admit(self) -> Access:
        """Return what the token allows; raise Unauthorized or Forbidden."""
        self._require_turn_in_time()
        return self.database.read(self._admit)

    def read(self, work: Work[T]) -> T:
        """Run `work` as `Database.read` does, the token looked up in the same transaction."""
        self._require_turn_in_time()
        return self.database.read(lambda session: work(session, self._admit(session)))

    def write(self, work: Work[T], *, dry_run: bool = False) -> T:
        """Run `work` as `Database.write` does, also for a client that no longer waits for the answer.

        The token is looked up before, so that a caller who may not write waits for no lock and holds none.
        """
        access = self.admit()
        return self.database.write(lambda session: work(session, access), dry_run=dry_run)

    def _require_turn_in_time(self) -> None:
        # While the database is away each request takes a thread for seconds. Whoever has waited for one for
        # long is told so, instead of making those behind wait as well.
        pool = self.database.options.pool
        if pool is not None and time.monotonic() - self._arrived > pool.timeout:
            raise DatabaseUnavailable(
                f"the server is busy: the request waited {pool.timeout:g} s for its turn", "try again later"
            )

    def _admit(self, session: Session) -> Access:
        # Not the time of arrival: a token may expire while the request waits for its turn.
        now = datetime.now(UTC)
        access = recognize(session, self._secret, now=now)
        self._last_use.note(access, now)
        if self._writing:
            access.require_write()
        self.admitted = True
        return access


async def caller_of(request: Request) -> Caller:
    """Return who makes the request."""
    found: Caller = request.scope[KEY]
    return found


Authorized = Annotated[Caller, Depends(caller_of)]
