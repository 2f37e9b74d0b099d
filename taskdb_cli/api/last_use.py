"""The hour in which each access token was last used, written without making any request wait."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from threading import Lock

from taskdb_cli.database import Database
from taskdb_cli.errors import TaskdbError
from taskdb_cli.services.token import Access, note_use

LIMIT = 5
"""Seconds that connecting may take, and a statement, and the last writes when the server ends."""

TRY_AGAIN = 60
"""Seconds until an hour that could not be written is tried again."""

_log = logging.getLogger("taskdb.server")


class LastUse:
    """Writes the hours in a thread of its own, over connections of its own. A failure is only logged.

    The UPDATE itself compares the hours, so two servers together write each hour once.
    """

    def __init__(self, database: Database) -> None:
        hasty = replace(
            database.options,
            pool=None,
            retry_budget=0,
            connect_timeout=min(LIMIT, database.options.connect_timeout),
            statement_timeout=LIMIT,
            lock_timeout=1,
        )
        self._database = Database(database.url, hasty)
        self._thread = ThreadPoolExecutor(1, "last-use")
        self._lock = Lock()
        self._tried: dict[int, tuple[datetime, float]] = {}

    def note(self, access: Access, now: datetime) -> None:
        """Have the hour of this use written, and return at once."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if access.last_used_at is not None and access.last_used_at >= hour:
            return
        with self._lock:
            last_hour, last_time = self._tried.get(access.token_id, (None, 0.0))
            if last_hour == hour and time.monotonic() - last_time < TRY_AGAIN:
                return
            self._tried[access.token_id] = hour, time.monotonic()
            # A request may outlast the thread when the server is told to stop.
            with suppress(RuntimeError):
                self._thread.submit(self._keep, access.token_id, hour)

    def close(self) -> None:
        """Finish what was begun, and give it up if that takes longer than the limit."""
        # It may be closed already, if the application was served twice.
        with suppress(RuntimeError):
            wait([self._thread.submit(lambda: None)], timeout=LIMIT)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _keep(self, token_id: int, hour: datetime) -> None:
        try:
            self._database.write(lambda session: note_use(session, token_id, hour=hour))
        except TaskdbError as exc:
            _log.info("the last use of token %d is not kept: %s", token_id, exc.message)
        except Exception as exc:  # noqa: BLE001 (the boundary of the thread)
            _log.warning("the last use of token %d is not kept: %s", token_id, type(exc).__name__)
