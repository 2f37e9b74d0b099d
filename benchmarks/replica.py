"""Measure `taskdb serve` with a replica: `python benchmarks/replica.py`.

Run build.py for 1 000 000 tasks first. A hot standby of that server is made, and removed at the end. Two
servers of the API run at once, one with the replica and one without, and answer the same reads in turn. The
processor time of the primary is that of its sessions on this database. Then the server with the replica gets
10 000 changes, each followed by a read of what it changed: none may be stale.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from api import OURS, access_token, start_process
from databases import address, argument_parser, count_tasks, databases, describe, place, standby
from measuring import add_output_option, ratio, record, report, table, track

from taskdb_cli.database import Database
from taskdb_cli.models.vocabulary import TokenScope
from taskdb_cli.services import migrate

CLIENTS = 4
WRITES, READS = 500, 600
"""In one turn, by all clients together."""
MOST_SHARE = 0.1
"""What the primary may need for a read if there is a replica, beside what it needs without one."""
MIX = (
    "/users/1/tasks?limit=50",
    "/users/1/tasks?limit=50&status=todo&sort=-priority,due",
    "/users/1/tasks?limit=50&sort=due",
    "/users/5/tasks?limit=50&priority=high",
    "/tasks?limit=50",
    "/tasks/{}",
    "/tasks/{}",
    "/users?limit=20&with_counts=true",
)
"""What a dashboard asks for; `{}` is one task after another."""
SIDES = ("without a replica", "with a replica")


def main() -> None:
    """Measure each database of PostgreSQL, and report."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    add_output_option(parser, turns=20)
    given = parser.parse_args()
    given.engine = ["postgresql"]
    sections = {}
    with databases(given) as found:
        for database in found:
            migrate.upgrade(database)
            with standby(given, database) as replica:
                heading = f"{describe(database, count_tasks(database))}: {OURS} with a replica"
                sections[heading] = _measure(database, replica, given.turns)
    report(sections, given.output)


def _measure(database: Database, replica: Database, turns: int) -> str:
    url, what = address(database.url), f"Replica, {place(database, count_tasks(database))}"
    serve, sessions = ["-m", "taskdb_cli", "serve", "--port"], Sessions(database)
    with ExitStack() as stack:
        secret = stack.enter_context(access_token(database, scope=TokenScope.WRITE))
        settings = {"TASKDB_DATABASE_URL": url}
        start = partial(start_process, stack, [sys.executable, *serve])
        ports = [
            start(**settings).port,
            start(**settings, TASKDB_READ_URL=address(replica.url)).port,
        ]
        clients = [stack.enter_context(_clients(port, secret)) for port in ports]
        used: list[list[float]] = [[], []]
        for every in clients:
            _read(every, 0)
        for turn in track(range(turns), "reads"):
            for side, every in enumerate(clients):
                begun = sessions.seconds()
                _read(every, turn)
                used[side].append((sessions.seconds() - begun) * 1e6 / READS)
        share = ratio(used[1], used[0])
        record(
            f"{what}: processor time of the primary for a read, with it / without", share, at_most=MOST_SHARE
        )
        before, stale = _outcomes(clients[1][0]), 0
        for turn in track(range(turns), "changes, each read at once"):
            stale += _write_and_read(clients[1], turn)
        record(f"{what}: stale reads of {WRITES * turns} own changes", stale, unit="reads", at_most=0)
        ended = _outcomes(clients[1][0])
        ended.subtract(before)
    rows: list[list[object]] = [
        [f"a read {side}, µs of the primary", statistics.median(times)]
        for side, times in zip(SIDES, used, strict=True)
    ]
    rows += [
        ["with / without", share],
        ["changes, each followed by a read of it", WRITES * turns],
        ["stale reads", stale],
        *([f"reads that ended with `{name}`", number] for name, number in sorted(ended.items())),
    ]
    return table(["", "number"], rows)


class Sessions:
    """The processes that a server has for its clients on one database."""

    def __init__(self, database: Database) -> None:
        self._name = database.backend.name.encode()
        with database.connect() as connection:
            pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            # The process ends with the connection.
            self._server = _stat(pid)[1]

    def seconds(self) -> float:
        """Return the processor time of all, and of those that have ended."""
        used = sum(int(each) for each in _stat(self._server)[13:15]) / os.sysconf("SC_CLK_TCK")
        for entry in Path("/proc").iterdir():
            try:
                ours = entry.name.isdigit() and _stat(int(entry.name))[1] == self._server
                if ours and self._name in (entry / "cmdline").read_bytes():
                    used += int((entry / "schedstat").read_text().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                # It has just ended.
                continue
        return used


def _stat(pid: int) -> list[int]:
    """Return the numbers behind the state of a process; the one at 1 is its parent."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    )
    return [0, *map(int, fields[1:])]


class Client:
    """One connection to a server of the API."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def ask(self, path: str, method: str = "GET", body: object = None) -> bytes:
        """Return the body of an answer, which must be a success."""
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        found = answer.read()
        assert answer.status in (200, 201), found
        return found

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def _clients(port: int, secret: str) -> Iterator[list[Client]]:
    clients = [Client(port, secret) for _ in range(CLIENTS)]
    yield clients
    for each in clients:
        each.close()


def _read(clients: list[Client], turn: int) -> None:
    """Let all clients read at once."""

    def read(number: int) -> None:
        for each in range(number, READS, CLIENTS):
            clients[number].ask(MIX[each % len(MIX)].format(1 + (turn * READS + each) % 1000))

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(read, range(CLIENTS)))


def _write_and_read(clients: list[Client], turn: int) -> int:
    """Let each client change a task of its own and read it, again and again; return how many were stale."""

    def work(number: int) -> int:
        client, stale, path = clients[number], 0, f"/tasks/{number + 1}"
        for each in range(number, WRITES, CLIENTS):
            title = f"turn {turn}, change {each}"
            client.ask(path, "PATCH", {"title": title})
            stale += json.loads(client.ask(path))["title"] != title
        return stale

    with ThreadPoolExecutor(CLIENTS) as threads:
        return sum(threads.map(work, range(CLIENTS)))


def _outcomes(client: Client) -> Counter[str]:
    """Return how many reads of a server ended how."""
    text = client.ask("/metrics").decode()
    found = re.findall(r'^taskdb_replica_reads_total\{outcome="(\w+)"\} (\S+)', text, re.MULTILINE)
    return Counter({name: int(float(number)) for name, number in found})


if __name__ == "__main__":
    main()
