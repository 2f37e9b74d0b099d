"""Reads from a replica, while it is sound, and never behind what this server has committed.

If the replica fails in any way, the primary answers the read. One thread looks at the replica, and only while
requests read, so that a server without requests asks nothing.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition, Event, Thread, Timer
from typing import TypeVar

from prometheus_client import Counter, Gauge
from sqlalchemy import Connection
from sqlmodel import Session

from taskdb_cli import errors
from taskdb_cli.database import Database
from taskdb_cli.database.backend import COMPARED
from taskdb_cli.database.options import Pool
from taskdb_cli.database.replica import Standing, compare, look, look_at_replica, look_over, require_alike
from taskdb_cli.errors import DatabaseUnavailable, TaskdbError

T = TypeVar("T")

HEADER = b"taskdb-log-position"
"""The header that carries a position of the log, of answers to changes and of requests."""

PATIENCE = 0.1
"""Seconds that a read waits for the replica."""

LOOK_EVERY, TRY_AGAIN = 1.0, 5.0
"""Seconds between two looks at a replica that is in use, and until one that failed is looked at again."""

SOUND_FOR = 5.0
"""Seconds after a look in which the replica is read without another one."""

# A look waits for the replay for half a second, and for a lock as a read does.
_LOOK_SECONDS, _CONNECT_SECONDS, _LOCK_SECONDS, _START_SECONDS, _CLOSE_SECONDS = 1.5, 2, 1, 5, 1
_TOUCH = "SELECT 1 FROM users, tasks LIMIT 0"

ANSWERS = (errors.NotFound, errors.InvalidInput, errors.Refused, errors.Conflict, errors.TimedOut)
"""Errors that are answers, except for the faults: the primary would answer the same as the replica."""
_FAULTS = (errors.DatabaseMissing, errors.InvalidConfiguration)

_POSITION = re.compile(rb"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")

_log = logging.getLogger("taskdb.replica")


def parse_position(text: bytes) -> int:
    """Return a position as PostgreSQL writes it, such as 0/16B3748; 0 for everything else."""
    match = _POSITION.fullmatch(text)
    return int(match[1], 16) << 32 | int(match[2], 16) if match else 0


def write_position(position: int) -> bytes:
    """Return a position as PostgreSQL writes it."""
    return b"%X/%X" % (position >> 32, position & 0xFFFFFFFF)


class Replica:
    """The replica of a database, and how far this server has written the log of the primary."""

    def __init__(self, primary: Database, replica: Database, *, most_lag: float) -> None:
        pool = primary.options.pool or Pool()
        options = replace(
            replica.options,
            # One connection for each thread, and one to look: to open them takes long, so all stay open.
            pool=replace(pool, size=pool.size + pool.overflow + 1, overflow=0),
            retry_budget=0,
            connect_timeout=min(_CONNECT_SECONDS, replica.options.connect_timeout),
            lock_timeout=_LOCK_SECONDS,
        )
        self.database, self._primary, self._most_lag = Database(replica.url, options), primary, most_lag
        alone = replace(primary.options, pool=Pool(1, 0, _CONNECT_SECONDS), retry_budget=0)
        self._observer = Database(primary.url, alone)
        self._changed = Condition()
        self._fault: str | None = ""
        """Why reads go to the primary; None if they do not."""
        self._standing: Standing | None = None
        """What the primary was when it was looked at last."""
        self._sound_until = self._look_at = self._failed_at = 0.0
        self._written = 0
        """The position behind the commits of this server, apart from those that it missed."""
        self._missed = self._regained = 0
        """How many positions could not be asked for, and how many of these are written all the same."""
        self._hurry_until = {True: 0.0, False: 0.0}
        self._wanted, self._stopped = Event(), Event()
        self._thread: Thread | None = None
        help = "Reads by how they ended: answered by the replica, or why they went to the primary."
        self._reads = Counter("taskdb_replica_reads", help, ["outcome"], registry=None)
        help = "Whether reads go to the replica."
        up = Gauge("taskdb_replica_up", help, registry=None)
        up.set_function(lambda: self._fault is None)
        help = "The highest possible age of the rows of the replica at the last check."
        self._lag = Gauge("taskdb_replica_lag_seconds", help, registry=None)
        self.metrics = (self._reads, up, self._lag)

    def begin(self) -> None:
        """Look at the replica for the first time.

        Raises InvalidConfiguration for another database, SchemaError for one of another revision, and
        DatabaseUnavailable for what may pass.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._accept(self._examine(look(self._observer)))
            except errors.SchemaError:
                # It may not have replayed a migration that has just ended.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_START_SECONDS / 50)
            except DatabaseUnavailable as exc:
                self._fault, self._look_at = exc.message, time.monotonic() + TRY_AGAIN
                raise
            else:
                return

    def watch(self) -> None:
        """Begin to look at the replica in a thread."""
        self._thread = Thread(target=self._watch, name="replica", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close all connections."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        for database in (self.database, self._observer):
            database.engine.dispose()

    def is_ready(self) -> bool:
        """Return whether a read may go to the replica. After a pause it waits briefly for a look at it."""
        self._wanted.set()
        if self._fault is None and not self._is_sound():
            with self._changed:
                self._changed.wait_for(lambda: self._fault is not None or self._is_sound(), PATIENCE)
        if self._fault is None and self._is_sound() and self._missed == self._regained:
            return True
        self._reads.labels("down").inc()
        return False

    def read(self, work: Callable[[Session], T], given: int) -> T:
        """Run `work` as `Database.read` does, on the replica or else on the primary.

        It sees everything that this server has committed, and everything up to the `given` position if that
        exists.
        """
        own = self._written
        is_given = given > own
        # While the log stands still, or for a position that nobody wrote, one read waits and not all.
        patience = PATIENCE if time.monotonic() >= self._hurry_until[is_given] else 0
        options = self.database.backend.options_after(max(own, given), patience)
        outcome = "replica"

        def compared(session: Session) -> T:
            self._require_alike(session.connection())
            return work(session)

        try:
            return self.database.read(compared, options=options)
        except errors.ReplicaBehind:
            outcome = "behind"
            if patience:
                self._hurry_until[is_given] = time.monotonic() + LOOK_EVERY
        except errors.TransactionConflict as exc:
            outcome = "conflict"
            # The next read would wait for the same lock.
            if exc.cost:
                self._turn_away(exc.message)
        except TaskdbError as exc:
            if isinstance(exc, ANSWERS) and not isinstance(exc, _FAULTS):
                raise
            outcome = "failed"
            if not isinstance(exc, errors.DataCorrupt):
                self._turn_away(exc.message)
        finally:
            self._reads.labels(outcome).inc()
        return self._primary.read(work)

    def _require_alike(self, connection: Connection) -> None:
        """Raise unless a connection leads to a replica of the database. Each connection is compared once."""
        primary = self._standing
        assert primary
        if connection.info.get(COMPARED) != (name := (primary.identity, primary.revision)):
            require_alike(primary, look_over(connection, self.database))
            connection.info[COMPARED] = name

    def note_commits(self) -> int:
        """Return a position behind all commits so far, for which reads wait from now on; 0 if not known."""
        try:
            position = _committed_position(self._primary)
        except TaskdbError:
            self.note_unknown()
            return 0
        with self._changed:
            self._written = max(self._written, position)
        return position

    def note_unknown(self) -> None:
        """Let reads go to the primary until it can be asked: something may have been committed."""
        with self._changed:
            self._missed += 1

    def _is_sound(self) -> bool:
        return time.monotonic() < self._sound_until

    def _watch(self) -> None:
        while True:
            self._wanted.wait()
            while (pause := self._look_at - time.monotonic()) > 0 and not self._stopped.wait(pause):
                # A read may have failed meanwhile, and then the wait is longer.
                pass
            if self._stopped.is_set():
                return
            self._wanted.clear()
            try:
                self._look()
            except Exception as exc:  # noqa: BLE001 (the boundary of the thread)
                self._turn_away(type(exc).__name__)

    def _look(self) -> None:
        before, missed = self._written, self._missed
        try:
            position = _committed_position(self._observer)
            primary = look(self._observer)
        except TaskdbError:
            # Nobody is answered without the primary, which says so.
            self._look_at = time.monotonic() + LOOK_EVERY
            return
        with self._changed:
            if position < before == self._written:
                # Another server became the primary, without the end of the log.
                self._written = position
            if missed > self._regained:
                self._written, self._regained = max(self._written, position), missed
        try:
            self._accept(self._examine(primary))
        except TaskdbError as exc:
            self._turn_away(exc.message)
            if not isinstance(exc, errors.ReplicaBehind | errors.TransactionConflict):
                # A request that still waits for the replica could wait for ever.
                self.database.backend.break_connections()

    def _examine(self, primary: Standing) -> float:
        """Return the time at which a look at the replica began; raise why it cannot be read."""
        begun, place, self._standing = time.monotonic(), self.database.backend.place, primary
        with self._watchdog():
            found = look_at_replica(self.database)
            lag = compare(primary, found)
        if not found.log.in_recovery:
            hint = "set it to a replica, or unset it"
            raise DatabaseUnavailable(
                f"{self.database.options.read_address}: {place} is the primary itself", hint
            )
        with self._watchdog():
            # If the replay holds a lock on these tables, this statement waits, and no request has to.
            self.database.read(lambda session: session.connection().exec_driver_sql(_TOUCH).close())
        self._lag.set(lag)
        if lag > self._most_lag:
            how = "it is not known how far" if lag == math.inf else f"{lag:.0f} s"
            raise errors.ReplicaBehind(f"{place} is behind: {how}")
        return begun

    @contextmanager
    def _watchdog(self) -> Iterator[None]:
        """Stop reading from a server that is silent for too long in the body: readers would wait for ever."""
        place = self.database.backend.place
        silence = DatabaseUnavailable(
            f"{self.database.options.read_address}: {place} has been silent for {_LOOK_SECONDS:g} s"
        )

        def give_up() -> None:
            self._turn_away(silence.message)
            self.database.backend.break_connections()

        timer = Timer(_LOOK_SECONDS, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except DatabaseUnavailable as exc:
            if self._fault == silence.message:
                raise silence from exc
            raise
        finally:
            timer.cancel()

    def _accept(self, begun: float) -> None:
        """Let reads go to the replica, unless one has failed since the look began."""
        with self._changed:
            if self._failed_at > begun:
                return
            before, self._fault = self._fault, None
            self._sound_until, self._look_at = begun + SOUND_FOR, begun + LOOK_EVERY
            self._changed.notify_all()
        if before:
            _log.warning("%s is read again", self.database.backend.place)

    def _turn_away(self, fault: str) -> None:
        with self._changed:
            before, self._fault, self._failed_at = self._fault, fault, time.monotonic()
            self._look_at = self._failed_at + TRY_AGAIN
            self._changed.notify_all()
        if not before:
            _log.warning("reading the primary, not the replica: %s", fault)


def _committed_position(database: Database) -> int:
    backend = database.backend
    return database.read(
        lambda session: backend.committed_position(session.connection()), options=backend.single_options
    )
