"""Backups to a bucket that are killed or meet each other: nothing half done, and the next one works."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from sqlalchemy import make_url

from taskdb_cli.backup import directory
from taskdb_cli.backup.stores import lease
from tests.conftest import SERVERS
from tests.contents import fill
from tests.forked import ForkedProcess
from tests.proxy import Link, Proxy
from tests.s3 import on_each_service
from tests.samples import add_user
from tests.schemas import execute
from tests.sessions import settle

SOAK = os.environ.get("TASKDB_SOAK") == "1"
SQLITE_ONLY = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
ENDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]] if SOAK else ["sqlite"], indirect=True)
PLACES = 50 if SOAK else 2
"""At how many places the backup is killed."""


class Turnstile(Proxy):
    """A proxy that does something, once, before it lets through the byte that has some number."""

    place: int | None = None
    reached: Callable[[], None]

    def _deliver(self, link: Link, source: socket.socket, target: socket.socket, data: bytes) -> bool:
        if self.place is not None and self.passed + len(data) >= self.place:
            self.place = None
            self.reached()
        return super()._deliver(link, source, target, data)


@pytest.fixture
def turnstile(bucket) -> Iterator[Turnstile]:
    """A turnstile before the bucket."""
    with Turnstile(make_url(bucket.server.url)) as made:
        yield made


@pytest.fixture
def start(offsite, turnstile) -> Iterator[Callable[..., ForkedProcess]]:
    """Starts a command in a process that reaches the bucket through the turnstile."""
    started = []

    def start(*words: object, **variables: str) -> ForkedProcess:
        through = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{turnstile.port}"}
        turnstile.passed = 0
        started.append(ForkedProcess(*words, environment={**os.environ, **through, **variables}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.stderr.close()


@pytest.fixture
def offsite(taskdb, bucket, monkeypatch):
    """The command line, whose archives are in the bucket."""
    monkeypatch.setenv("TASKDB_BACKUP_DIR", bucket.address)
    monkeypatch.setenv("TASKDB_BACKUP_LABEL", "work")
    return taskdb


def fill_parts(url) -> None:
    """Put in rows whose archive, of some 15 MB, is uploaded in several parts."""
    fill(url, users=5, tasks=3000)
    random = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 312 + 0 * id))"
    if url.drivername == "sqlite":
        random = "hex(randomblob(5000))"
    execute(url, f"UPDATE tasks SET description = {random}")


@pytest.mark.soak
@ENDS
def test_an_upload_that_is_killed(offsite, url, bucket, turnstile, start):
    """Killed anywhere: each archive is whole, no part and no lock stays, the next run succeeds at once."""
    fill_parts(url)
    assert start("backup").wait() == 0
    whole = turnstile.passed
    for number in range(1, PLACES + 1):
        before = archives(bucket)
        process = start("backup")
        turnstile.place, turnstile.reached = whole * number // (PLACES + 1), process.kill
        assert process.wait() == -signal.SIGKILL
        settle(url)
        after = archives(bucket)
        assert after >= before
        for name in after - before:
            offsite("backup", "verify", name)
        offsite("backup", "--keep-last", "3")
        assert len(archives(bucket) - after) == 1
        assert bucket.uploads() == 0
        assert names(bucket) - archives(bucket) == {"work.taskdb.json"}


@pytest.mark.soak
@SQLITE_ONLY
def test_a_copy_that_is_killed(offsite, url, bucket, turnstile, start, tmp_path):  # noqa: PLR0917 (fixtures)
    """Killed anywhere: no half archive is in the bucket, and the next copy succeeds at once."""
    fill_parts(url)
    near = str(tmp_path / "near")
    copy = ("backup", "copy", "--dir", near, "--to", bucket.address)
    for number in range(1, PLACES // 2 + 1):
        offsite("backup", "--dir", near)
        process = start(*copy)
        turnstile.place, turnstile.reached = 20_000_000 * number // (PLACES // 2 + 1), process.kill
        process.wait()
        for name in archives(bucket):
            offsite("backup", "verify", name)
        offsite(*copy)
        assert len(archives(bucket)) == number
        assert bucket.uploads() == 0
        assert names(bucket) - archives(bucket) == {"work.taskdb.json"}


@SQLITE_ONLY
def test_a_second_machine(offsite, new_url, url, bucket, turnstile, start):  # noqa: PLR0917 (fixtures)
    """While one machine uploads, another one with its label is refused at once; both archives are whole."""
    fill_parts(url)
    held, go_on = Event(), Event()

    def hold() -> None:
        held.set()
        go_on.wait()

    first = start("backup")
    turnstile.place, turnstile.reached = 10_000_000, hold
    held.wait()
    other = ("--database-url", new_url().render_as_string())
    assert ".work.lock" in offsite(*other, "backup", expect=5).err
    assert archives(bucket) == set()
    go_on.set()
    assert first.wait() == 0
    offsite(*other, "backup")
    offsite("backup", "verify", *archives(bucket))
    assert len(archives(bucket)) == 2


@pytest.mark.soak
@SQLITE_ONLY
def test_many_machines_at_once(offsite, new_url, bucket, start):
    """However many begin at the same moment with one label, each either makes an archive or is refused."""
    made = 0
    for _ in range(20 if SOAK else 1):
        places = [new_url().render_as_string() for _ in range(4 if SOAK else 2)]
        runs = [start("backup", TASKDB_DATABASE_URL=place) for place in places]
        codes = [run.wait() for run in runs]
        assert set(codes) <= {0, 5}
        assert 0 in codes
        made += codes.count(0)
        assert len(archives(bucket)) == made
    offsite("backup", "verify", *archives(bucket))
    assert bucket.uploads() == 0


def names(bucket) -> set[str]:
    """Return the names of all files in the bucket."""
    return {key.rpartition("/")[2] for key in bucket.keys()}  # noqa: SIM118 (no dictionary)


def archives(bucket) -> set[str]:
    """Return the names of the archives among them."""
    return {name for name in names(bucket) if name.endswith(".taskdb.zip")}


@on_each_service
@SQLITE_ONLY
def test_an_old_lock_is_named_before_it_is_removed(taskdb, database, bucket, monkeypatch):
    """A dry run of prune names those of its label, which prune then removes; others stay."""
    add_user(database)
    taskdb("backup", "--dir", bucket.address, "--label", "work")
    for label in ("work", "other"):
        bucket.put(f"backups/.{label}.lock", b"{}")
    for module in (directory, lease):
        monkeypatch.setattr(module, "EXPIRY", -1)
    words = ("backup", "prune", "--dir", bucket.address, "--label", "work", "--keep-last", "1", "-o", "json")
    told = taskdb(*words, "--dry-run").err
    assert f"{bucket.address}/.work.lock" in told
    assert ".other.lock" not in told
    taskdb(*words)
    assert list(filter(lambda key: key.endswith(".lock"), bucket.keys())) == ["backups/.other.lock"]
