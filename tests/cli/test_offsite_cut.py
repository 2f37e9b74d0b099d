"""Connections to a bucket that break at any byte of any request or answer: nothing half done, and no lock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from taskdb_cli.backup.stores import objects
from taskdb_cli.backup.stores.connections import Patience
from taskdb_cli.backup.stores.object_files import PART
from taskdb_cli.backup.stores.objects import ObjectStore
from taskdb_cli.errors import StoreUnavailable
from tests.proxy import Link, Proxy
from tests.samples import add_task, add_user

SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
SOAK = os.environ.get("TASKDB_SOAK") == "1"
STEPS = 10 if SOAK else 2
"""Into how many pieces each message is divided, at the ends of which the connection breaks."""
SHARE = 1 if SOAK else 29
"""Of so many breaks one is tried."""


class Cutter(Proxy):
    """A proxy that counts what goes one way, a request or an answer, and breaks one at a byte.

    `messages` are their sizes, and `place` is the number of one with the byte before which it breaks.
    """

    def __init__(self, server: str) -> None:
        self.place: tuple[int, int] | None = None
        self.restart()
        super().__init__(make_url(server))

    def restart(self, place: tuple[int, int] | None = None) -> None:
        self.messages: list[int] = []
        self._current: dict[Link, tuple[socket.socket, int]] = {}
        self.place = place

    def _deliver(self, link: Link, source: socket.socket, target: socket.socket, data: bytes) -> bool:
        if self._current.get(link, (None,))[0] is not source:
            self._current[link] = source, len(self.messages)
            self.messages.append(0)
        number = self._current[link][1]
        before = self.messages[number]
        self.messages[number] += len(data)
        if self.place and self.place[0] == number and before + len(data) >= self.place[1]:
            target.sendall(data[: self.place[1] - before])
            self.place = None
            return False
        target.sendall(data)
        return True


@pytest.fixture(params=[0, 2], ids=["no-retry", "retries"])
def cutter(request, bucket, monkeypatch) -> Iterator[Cutter]:
    """What this process takes for the service, with as many retries as the test wants."""
    monkeypatch.setattr(objects, "PATIENT", Patience(1, 5, 5, request.param, 5))
    with Cutter(bucket.server.url) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
        yield made


def breaks(messages: list[int], first: int = 0) -> list[tuple[int, int]]:
    """Return where to break the messages: early, between, before the last byte and behind it; or a share."""
    found = []
    for number, size in enumerate(messages):
        places = {1, *(size * step // STEPS for step in range(1, STEPS)), size - 1, size}
        found += [(number, place) for place in sorted(places) if place > 0]
    return found[first % SHARE :: SHARE]


@pytest.mark.soak
@SQLITE_ONLY
def test_a_backup_over_a_connection_that_breaks(taskdb, database, bucket, cutter, monkeypatch):
    """It succeeds by another attempt, or ends by 5 or 8 in one line; then the next one succeeds at once."""
    add_user(database)
    add_task(database)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    backup = ("backup", "--keep-last", "1", "--keep-at-least", "1")
    taskdb(*backup)
    cutter.restart()
    taskdb(*backup)
    retries = objects.PATIENT.retries
    for place in breaks(cutter.messages, retries):
        before = _archives(bucket)
        cutter.restart(place)
        ended = taskdb(*backup, expect=None)
        assert ended.code in {0, 5, 8}, (place, ended)
        assert ended.code == 0 or ended.err.count("error:") == 1, (place, ended)
        assert ended.code == 0 or cutter.place is None
        assert ended.code == 8 or len(_archives(bucket) - before) == (ended.code == 0), place
        cutter.restart()
        for name in _archives(bucket) - before:
            taskdb("backup", "verify", name)
        if _others(bucket):
            # The answer to its deletion was lost. This process lives, so its lock counts.
            assert not retries, place
            bucket.server.request("DELETE", f"/{bucket.name}/backups/.work.lock")


@pytest.mark.soak
@SQLITE_ONLY
def test_reading_over_a_connection_that_breaks(taskdb, database, bucket, cutter, new_url, monkeypatch):  # noqa: PLR0917
    """A list, a verification and a restore succeed or end by 5, and the archive stays as it is."""
    add_user(database)
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    taskdb("backup")
    [name] = _archives(bucket)
    kept = bucket.get(f"backups/{name}")
    other = ("--database-url", new_url().render_as_string())
    commands = [
        ("backup", "list"),
        ("backup", "verify", name),
        (*other, "restore", name, "--replace", "--yes"),
    ]
    for number, words in enumerate(commands):
        cutter.restart()
        taskdb(*words)
        for place in breaks(cutter.messages, number):
            cutter.restart(place)
            ended = taskdb(*words, expect=None)
            assert ended.code in {0, 5, 8}, (words, place, ended)
            assert ended.code == 0 or ended.err.count("error:") == 1, (words, place, ended)
            bucket.server.request("DELETE", f"/{bucket.name}/backups/.work.lock")
    assert bucket.get(f"backups/{name}") == kept
    taskdb("backup", "verify", name)


@pytest.mark.soak
def test_an_upload_in_parts_that_breaks(bucket, cutter):
    """The object is whole or not there, and the sweep of the next run leaves no part of it."""
    data = os.urandom(2 * PART + 9)
    store = ObjectStore.at(bucket.address)
    _upload(store, data)
    cutter.restart()
    store.delete("file")
    _upload(store, data)
    for place in breaks(cutter.messages, objects.PATIENT.retries):
        store.delete("file")
        cutter.restart(place)
        try:
            _upload(store, data)
            assert bucket.get("backups/file") == data
        except StoreUnavailable:
            assert bucket.get("backups/file") is None
        cutter.restart()
        for left in store.leftovers():
            store.discard(left)
        assert bucket.uploads() == 0


def _upload(store, data: bytes) -> None:
    with store.create("file") as new:
        new.write(data)
        with new.reopen() as file:
            assert file.read_at(file.size - 9, 9) == data[-9:]


def _archives(bucket) -> set[str]:
    return {key.rpartition("/")[2] for key in bucket.keys() if key.endswith(".zip")}  # noqa: SIM118


def _others(bucket) -> list[str]:
    return [key for key in bucket.keys() if not key.endswith((".zip", ".json"))]  # noqa: SIM118
