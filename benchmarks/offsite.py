"""Backups off the machine, beside what they are measured by: a part of `backup.py`.

The bucket is one of moto's server, a process of its own beside the benchmark.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from socket import create_server
from statistics import median
from typing import Self

import pyrage
from databases import address, count_tasks, empty_database, place
from measuring import ratio, record, table
from processes import TASKDB, Run, Works, run, take_turns

from taskdb_cli.backup.file_names import archive_name, parse_name
from taskdb_cli.database import Database

LOCAL = "`backup --dir DIRECTORY`, then `curl -T`"
BUCKET = "`backup --dir s3://…`"
ENCRYPTED = "`backup --dir s3://… --encrypt-to …`"
VERIFY = "`backup verify latest --identity …` of the bucket"
DIFFERENCE = "`backup diff latest live` of the bucket"
WHOLE = "`restore ARCHIVE`"
ONE_USER = "`restore ARCHIVE --only-user …`, {tasks} tasks"
MOST_MB = 120
MILLION = 1_000_000
HEADERS = ["process", "s", "measured by", "ratio", "at most", "peak MB", "at most"]
LOOKS = ["backup list", "backup prune --keep-daily 7 --dry-run", "health"]
MANY = (100, 1000)
MOST_SECONDS = 5
MANY_HEADERS = ["process", *(f"s, {each} archives" for each in MANY), "at most", "peak MB", "at most"]
_ADDRESS = "s3://taskdb-benchmark/backups"


@dataclass(frozen=True)
class Moto:
    """A server with one bucket, at a URL."""

    url: str

    def empty(self) -> None:
        """Forget everything, and make the bucket anew."""
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", "/taskdb-benchmark")

    def fill(self, number: int) -> None:
        """Store the only archive and its proof under more names, an hour apart, until there are so many."""
        below = f"/{_ADDRESS.removeprefix('s3://')}/"
        [name] = re.findall(
            r"<Key>backups/([^<]+\.zip)</Key>", self._ask("GET", "/taskdb-benchmark").decode()
        )
        label, taken_at = parse_name(name) or ("", datetime.now(UTC))
        data, record_at = self._ask("GET", below + name), f"{below}{label}.taskdb.json"
        record = json.loads(self._ask("GET", record_at))
        for hours in range(1, number):
            earlier = taken_at - timedelta(hours=hours)
            self._ask("PUT", below + archive_name(label, earlier), data)
            proof = {"archive": archive_name(label, earlier), "taken_at": earlier.isoformat()}
            record["proofs"].append({**record["proofs"][0], **proof})
        self._ask("PUT", record_at, json.dumps(record).encode())

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        # moto gives the owner's objects to whoever has signed, and does not look how.
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=benchmark/20260101/us-east-1/s3/aws4_request",
            "Content-Type": "application/octet-stream",
        }
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            content: bytes = answer.read()
        return content

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which it is reached."""
        credentials = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
        return {**credentials, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1"}


@contextmanager
def moto() -> Iterator[Moto]:
    """Start a server with an empty bucket, and stop it at the end."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Moto(f"http://127.0.0.1:{port}")
    try:
        for _ in range(200):
            with suppress(OSError):
                server.empty()
                break
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


class Measured:
    """What is measured of one database, with its files in a directory; leave it to remove its scratch."""

    def __init__(self, database: Database, files: Path, server: Moto) -> None:
        self._database, self._files, self._server = database, files, server
        key = pyrage.x25519.Identity.generate()
        self._recipient, self._key = str(key.to_public()), files / "key.txt"
        self._key.write_text(f"{key}\n")
        self._key.chmod(0o600)
        self._source, self._scratch, self._drop = address(database.url), "", ExitStack()
        with database.connect() as connection:
            self._user, self._tasks = connection.exec_driver_sql(_ABOUT_1000).one()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop.close()

    @property
    def works(self) -> Works:
        """What runs in turn; each but the first few needs what those before it have left."""
        one_user = ONE_USER.format(tasks=self._tasks)
        return {
            LOCAL: self._to_directory,
            BUCKET: self._to_bucket,
            DIFFERENCE: partial(self._taskdb, "backup", "diff", "latest", "live", "--dir", _ADDRESS),
            ENCRYPTED: partial(self._to_bucket, "--encrypt-to", self._recipient),
            VERIFY: partial(
                self._taskdb, "backup", "verify", "latest", "--dir", _ADDRESS, "--identity", str(self._key)
            ),
            WHOLE: self._restore,
            one_user: self._restore_one_user,
        }

    @property
    def goals(self) -> dict[str, tuple[str, float]]:
        """What each is measured by, and at most how many times as long it may take."""
        one_user = ONE_USER.format(tasks=self._tasks)
        return {BUCKET: (LOCAL, 1.25), ENCRYPTED: (BUCKET, 1.15), one_user: (WHOLE, 0.35)}

    def _taskdb(self, *words: str, url: str = "") -> Run:
        command = [*TASKDB, "-q", "--database-url", url or self._source, *words]
        return run(command, environment=self._server.environment)

    def _to_directory(self) -> Run:
        shutil.rmtree(self._files / "local", ignore_errors=True)
        self._server.empty()
        backup = self._taskdb("backup", "--dir", str(self._files / "local"))
        archive = self._archive
        # Without the header, curl may wait a second for the server's leave.
        upload = ["curl", "-sSf", "-H", "Expect:", "-T", str(archive)]
        sent = run([*upload, f"{self._server.url}/taskdb-benchmark/{archive.name}"])
        return backup + replace(sent, peak=0.0)

    @property
    def _archive(self) -> Path:
        [archive] = (self._files / "local").glob("*.taskdb.zip")
        return archive

    def _to_bucket(self, *options: str) -> Run:
        self._server.empty()
        return self._taskdb("backup", "--dir", _ADDRESS, *options)

    def _restore(self) -> Run:
        self._drop.close()
        if self._database.backend.dialect == "sqlite":
            self._scratch = f"sqlite:///{self._files}/restored.sqlite3"
            (self._files / "restored.sqlite3").unlink(missing_ok=True)
        else:
            self._scratch = address(self._drop.enter_context(empty_database(self._database.url)))
        return self._taskdb("restore", str(self._archive), url=self._scratch)

    def _restore_one_user(self) -> Run:
        self._taskdb("user", "delete", self._user, "--yes", url=self._scratch)
        return self._taskdb("restore", str(self._archive), "--only-user", self._user, url=self._scratch)


_ABOUT_1000 = """
    SELECT users.email, count(*) FROM tasks JOIN users ON users.id = tasks.user_id
    GROUP BY users.email ORDER BY abs(count(*) - 1000), users.email LIMIT 1
"""


def compare(database: Database, files: Path, turns: int, title: str) -> str:
    """Run each in turn, so many times; return a table with the goals."""
    with moto() as server, Measured(database, files, server) as measured:
        runs = take_turns(measured.works, turns, title)
        tasks = count_tasks(database)
        where = f"off the machine, {place(database, tasks)}"
        rows = [_row(where, tasks, name, runs, measured.goals.get(name)) for name in runs]
        most = max(each.peak for found in runs.values() for each in found)
        record(f"{where}: peak memory", most, unit="MB", at_most=MOST_MB)
        return table(HEADERS, rows)


def _row(
    where: str, tasks: int, name: str, runs: dict[str, list[Run]], goal: tuple[str, float] | None
) -> list[object]:
    seconds = [each.seconds for each in runs[name]]
    row: list[object] = [name, median(seconds), "", "", ""]
    if goal:
        base, most = goal
        rate = ratio(seconds, [each.seconds for each in runs[base]])
        # With few tasks, the start of the process is most of it.
        goal = most if tasks >= MILLION else None
        row[2:] = [base, record(f"{where}: {name} / {base}", rate, at_most=goal), goal or ""]
    return [*row, max(each.peak for each in runs[name]), MOST_MB]


def compare_many(files: Path, turns: int) -> str:
    """Run what looks at all archives of a bucket, whose record knows them; return a table."""
    url = f"sqlite:///{files}/small.sqlite3"
    runs: dict[str, list[list[Run]]] = {name: [] for name in LOOKS}
    with moto() as server:
        variables = {**server.environment, "TASKDB_BACKUP_DIR": _ADDRESS}
        run([*TASKDB, "-q", "--database-url", url, "migrate", "up"])
        for number in MANY:
            server.empty()
            run([*TASKDB, "-q", "--database-url", url, "backup", "--drill"], environment=variables)
            server.fill(number)
            commands = {name: [*TASKDB, "-q", "--database-url", url, *name.split()] for name in LOOKS}
            works = {name: partial(run, command, environment=variables) for name, command in commands.items()}
            for name, found in take_turns(works, turns, f"{number} archives").items():
                runs[name].append(found)
    return table(MANY_HEADERS, [_row_of_many(name, found) for name, found in runs.items()])


def _row_of_many(name: str, found: list[list[Run]]) -> list[object]:
    seconds = [median(each.seconds for each in runs) for runs in found]
    record(f"off the machine, {MANY[-1]} archives: `{name}`", seconds[-1], unit="s", at_most=MOST_SECONDS)
    growth = ratio([each.seconds for each in found[-1]], [each.seconds for each in found[0]])
    record(f"off the machine, {MANY[-1]} / {MANY[0]} archives: `{name}`", growth, at_most=MANY[-1] / MANY[0])
    return [f"`{name}`", *seconds, MOST_SECONDS, max(each.peak for runs in found for each in runs), MOST_MB]
