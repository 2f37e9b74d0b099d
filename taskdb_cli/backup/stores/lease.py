"""A lock that is an object in a bucket, renewed by its owner, and judged by the clock of the store."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskdb_cli.backup.stores import lock_name
from taskdb_cli.backup.stores.faults import RequestUnknown
from taskdb_cli.errors import (
    BackupRunning,
    FileMissing,
    InvalidConfiguration,
    StorageFailed,
    StoreUnavailable,
)
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from taskdb_cli.backup.stores.objects import ObjectStore

RENEWAL = 300
"""Seconds after which a lock is renewed."""

EXPIRY = 1200
"""Seconds without a renewal after which a lock belongs to nobody."""

_FRESH = 60
"""Seconds for which a renewal proves that the lock is ours."""
_PAUSE = 30
_ATTEMPTS = 5
_LARGEST = 10_000

_left_behind: list[str] = []
"""The runs of locks that this process left, but could not delete."""

_log = logging.getLogger("taskdb.backup")


class Lease:
    """The lock on a name in a bucket. Its object `.NAME.lock` says which process has it."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store, self._name, self._object = store, name, lock_name(name)
        self._owner = {**_this_process(), "run": secrets.token_hex(16)}
        self._renewals = 0
        self._tag = ""
        self._renewed = 0.0
        self._unanswered = False
        self._lost: BackupRunning | None = None
        self._turn = threading.Lock()
        self._left = threading.Event()

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Have the lock; yield a function that raises BackupRunning if it was lost.

        Raises BackupRunning if another run has it, and InvalidConfiguration if the store ignores conditions.
        """
        try:
            self._take()
            self._try_conditions()
            renewer = threading.Thread(target=self._keep, daemon=True)
            renewer.start()
            yield self.require
        except StoreUnavailable:
            # It was waited for long enough.
            self._store = self._store.hasty
            raise
        finally:
            self._left.set()
            self._release()

    def require(self) -> None:
        """Raise BackupRunning if the lock was lost, or StoreUnavailable if that cannot be found out."""
        with self._turn:
            if not self._lost and _seconds() - self._renewed > _FRESH:
                self._renew()
            if self._lost:
                raise self._lost

    def _take(self) -> None:
        for _ in range(_ATTEMPTS):
            if self._put(None):
                return
            found = self._store.look(self._object, _LARGEST)
            if not found:
                continue
            owner = _owner_of(found.data)
            left = owner.get("run") in _left_behind or _is_dead(owner)
            if not left and not self._has_expired(found.changed):
                raise self._running(owner)
            # Of all that find it left behind, the condition lets one win.
            if self._put(found.tag):
                _log.warning("took over the lock %s of a run that has ended", self._location)
                return
        raise self._running({})

    def _has_expired(self, changed: datetime) -> bool:
        # Another run that asks now may remove the object that tells the time.
        with suppress(FileMissing):
            return self._store.now(f".{self._name}.clock") - changed > timedelta(seconds=EXPIRY)
        return False

    def _try_conditions(self) -> None:
        """Find out whether the store obeys the conditions of requests."""
        body = self._body()
        for tag in (None, f'"{"0" * 32}"'):
            try:
                ignored = self._store.put(self._object, body + b" ", instead_of=tag) is not None
            except RequestUnknown:
                ignored = True
            if ignored:
                message = f"{self._store} ignores conditions in requests, so two runs could write at once"
                raise InvalidConfiguration(message, "use a service that has conditional writes")

    def _put(self, tag: str | None) -> bool:
        before, self._unanswered = _seconds(), True
        found = self._store.put(self._object, self._body(), instead_of=tag)
        self._unanswered = False
        if found is not None:
            self._tag, self._renewed = found, before
        return found is not None

    def _body(self) -> bytes:
        # The tag is a hash of the content, so each renewal needs another one.
        return json.dumps({**self._owner, "renewals": self._renewals}).encode()

    def _renew(self) -> None:
        if self._unanswered:
            self._find()
        self._renewals += 1
        if not self._tag or not self._put(self._tag):
            self._lost = self._running({})

    def _find(self) -> None:
        """Find the tag of our object, if it is there: the request that no answer came to may have made it."""
        before = _seconds()
        found = self._store.fetch(self._object, _LARGEST)
        ours = found and _owner_of(found[0]).get("run") == self._owner["run"]
        self._tag, self._renewed, self._unanswered = found[1] if found and ours else "", before, False

    def _keep(self) -> None:
        pause: float = RENEWAL
        while not self._left.wait(pause) and not self._lost:
            try:
                with self._turn:
                    if not self._left.is_set():
                        self._renew()
                pause = RENEWAL
            except Exception as exc:  # noqa: BLE001 (nobody else would hear of it)
                _log.warning("the lock %s could not be renewed: %s", self._location, exc)
                pause = _PAUSE

    def _release(self) -> None:
        """Delete the object if it is ours, which a last renewal or a look proves."""
        with self._turn:
            if self._lost or not (self._tag or self._unanswered):
                return
            try:
                if self._unanswered:
                    self._find()
                elif _seconds() - self._renewed > _FRESH:
                    self._renew()
                if self._tag and not self._lost:
                    self._store.delete(self._object)
            except StorageFailed as exc:
                _left_behind.append(self._owner["run"])
                _log.warning("the lock %s stays until it expires: %s", self._location, exc.message)

    def _running(self, owner: dict[str, Any]) -> BackupRunning:
        who = f", for process {brief(owner.get('pid'))} on {brief(owner.get('host'))}" if owner else ""
        hint = f"try again when it has ended; a lock that is not renewed ends after {EXPIRY // 60} minutes"
        return BackupRunning(self._name, f"{self._location}{who}", hint)

    @property
    def _location(self) -> str:
        return self._store.location(self._object)


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot": _boot(),
        "namespace": _namespace(),
        "started": _started(os.getpid()),
    }


def _is_dead(owner: dict[str, Any]) -> bool:
    """Return whether the process was one of this machine, and is gone for certain."""
    here = _boot(), _namespace()
    known = None not in here and here == (owner.get("boot"), owner.get("namespace"))
    pid = owner.get("pid")
    return known and type(pid) is int and pid > 0 and _started(pid) != owner.get("started")


def _boot() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None


def _namespace() -> str | None:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return None


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since the machine did; None if it does not run any more."""
    with suppress(OSError):
        # The name before the bracket is the only part that can hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode("ascii")
    return None


def _owner_of(data: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        owner = json.loads(data)
        return owner if isinstance(owner, dict) else {}
    return {}


def _seconds() -> float:
    """Return seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
