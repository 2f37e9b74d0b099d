"""Measure `GET /users/{id}/tasks` beside two peers: `python benchmarks/api.py`.

The first peer is what a user would otherwise write: an ordinary FastAPI and SQLModel application that does
the same work (ordinary_api.py). The second, on PostgreSQL only, is a bare FastAPI route on raw psycopg
(bare_api.py); its "same queries" are the same SQL: a transaction of the same kind, the token's look-up, and
the page.

Run build.py for 1 000 000 tasks first. All servers run at once, each one process of the same uvicorn with the
same settings; the clients ask them in turn, so that what is compared ran side by side. On a busy machine the
processor time of the server's process for a request says more than its requests per second.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import NamedTuple

from databases import address, argument_parser, count_tasks, databases, describe, place
from measuring import add_output_option, ratio, record, report, table, track

from taskdb_cli.database import Database
from taskdb_cli.models.token import TokenCreate
from taskdb_cli.models.vocabulary import TokenScope
from taskdb_cli.services import migrate, token

CLIENTS = 8
SECONDS = 0.5
OURS, ORDINARY, SAME = "taskdb serve", "ordinary FastAPI and SQLModel", "bare, the same queries"
LEAST_RATE = 2.0
PATH = "/users/1/tasks?limit=50"
UVICORN = ["--loop", "asyncio", "--http", "h11", "--ws", "none", "--no-access-log", "--log-level", "warning"]
HERE = Path(__file__).resolve().parent


class Server(NamedTuple):
    """A process that answers at a port."""

    port: int
    pid: int


class Rate(NamedTuple):
    """Requests per second, and the processor time of the server for each in milliseconds."""

    requests: float
    milliseconds: float


def main() -> None:
    """Measure each database, and report."""
    parser = argument_parser(__doc__, tasks=[1_000_000])
    add_output_option(parser, turns=15)
    given = parser.parse_args()
    sections = {}
    with databases(given) as found:
        for database in found:
            migrate.upgrade(database)
            sections[f"{describe(database, count_tasks(database))}: {PATH}"] = _measure(database, given.turns)
    report(sections, given.output)


def _measure(database: Database, turns: int) -> str:
    url = address(database.url)
    with ExitStack() as stack:
        secret = stack.enter_context(access_token(database))
        places = {ORDINARY: (_server(stack, "ordinary_api:app", ORDINARY_URL=url), PATH)}
        if database.backend.dialect == "postgresql":
            bare = _server(stack, "bare_api:app", BARE_URL=url)
            same = _server(stack, "bare_api:app", BARE_URL=url, BARE_SAME_SQL="1")
            places |= {
                "bare, the page's query alone": (bare, PATH),
                SAME: (same, PATH),
                "bare, the page's query alone, in the event loop": (bare, f"/async{PATH}"),
                "bare, the same queries, JSON left to FastAPI": (same, f"/plain{PATH}"),
            }
        serve = [sys.executable, "-m", "taskdb_cli", "serve", "--port"]
        places[OURS] = start_process(stack, serve, TASKDB_DATABASE_URL=url), PATH
        _require_equal([_get(server.port, path, secret) for server, path in places.values()])
        works = {name: partial(_ask, server, path, secret) for name, (server, path) in places.items()}
        rates = _turns(works, turns)
        _record(rates, f"API, {place(database, count_tasks(database))}: a page")
        return _table(rates)


def _turns(works: dict[str, partial[Rate]], turns: int) -> dict[str, list[Rate]]:
    rates: dict[str, list[Rate]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in track(range(turns), f"{CLIENTS} clients"):
        for name, work in works.items():
            rates[name].append(work())
    return rates


def _record(rates: dict[str, list[Rate]], what: str) -> None:
    requests = {name: [each.requests for each in found] for name, found in rates.items()}
    used = {name: min(each.milliseconds for each in found) for name, found in rates.items()}
    rate = ratio(requests[OURS], requests[ORDINARY])
    record(f"{what}, requests a second, `{OURS}` / {ORDINARY}", rate, at_least=LEAST_RATE)
    rate = used[ORDINARY] / used[OURS]
    record(f"{what}, processor time, {ORDINARY} / `{OURS}`", rate, more_is_better=True)
    if SAME in requests:
        rate = ratio(requests[OURS], requests[SAME])
        record(f"{what}, requests a second, `{OURS}` / {SAME}", rate, more_is_better=True)


def _table(rates: dict[str, list[Rate]]) -> str:
    ours = rates[OURS]
    used = min(each.milliseconds for each in ours)
    rows = []
    for name, theirs in rates.items():
        ratios = [a.requests / b.requests for a, b in zip(ours, theirs, strict=True)]
        least = min(each.milliseconds for each in theirs)
        requests = statistics.median(each.requests for each in theirs)
        rows.append(
            [name, requests, statistics.median(ratios), min(ratios), max(ratios), least, least / used]
        )
    head = ["server", "requests/s", "taskdb / it", "lowest", "highest", "processor ms", "it / taskdb"]
    return table(head, rows)


def _ask(server: Server, path: str, secret: str) -> Rate:
    """Measure a server with some clients that ask again as soon as they have the answer.

    One thread asks for all of them over plain sockets, because it shares the processors with the server.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
    answered, used = 0, _processor_seconds(server.pid)
    with ExitStack() as stack, DefaultSelector() as selector:
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(request)
            selector.register(client, EVENT_READ, bytearray())
        begun = time.perf_counter()
        while time.perf_counter() < begun + SECONDS:
            for key, _ in selector.select(SECONDS):
                part = key.fileobj.recv(65536)
                key.data.extend(part)
                if not part:
                    sys.exit("error: a server closed a connection")
                if _is_complete(key.data):
                    key.data.clear()
                    answered += 1
                    key.fileobj.sendall(request)
        taken = time.perf_counter() - begun
    used = _processor_seconds(server.pid) - used
    return Rate(answered / taken, used * 1000 / max(1, answered))


def _is_complete(received: bytearray) -> bool:
    """Return whether a whole answer has come; leave if it is not a page."""
    head, end, body = received.partition(b"\r\n\r\n")
    if end and not head.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"error: {head.decode()}")
    length = re.search(rb"(?i)content-length: (\d+)", head) if end else None
    return length is not None and len(body) == int(length[1])


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process, as Linux tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _get(port: int, path: str, secret: str) -> list[dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
    items: list[dict[str, object]] = json.loads(connection.getresponse().read())["items"]
    return items


def _require_equal(answers: list[list[dict[str, object]]]) -> None:
    if any(answer != answers[0] for answer in answers) or len(answers[0]) != 50:
        sys.exit("error: the servers do not answer the same")


@contextmanager
def access_token(database: Database, *, scope: TokenScope = TokenScope.READ) -> Iterator[str]:
    """Make an access token, and revoke it at the end."""
    secret, now = token.generate(), datetime.now(UTC)
    given = TokenCreate(name=f"benchmark {os.getpid()}", scope=scope)
    database.write(lambda session: token.create(session, given, secret, now=now))
    try:
        yield secret
    finally:
        database.write(lambda session: token.revoke(session, given.name))


def _server(stack: ExitStack, app: str, **environment: str) -> Server:
    """Start an application, which ends with the stack."""
    command = [sys.executable, "-m", "uvicorn", app, "--app-dir", str(HERE), *UVICORN, "--port"]
    return start_process(stack, command, **environment)


def start_process(stack: ExitStack, command: list[str], **environment: str) -> Server:
    """Start a process that serves at a port, which is its last argument; it ends with the stack."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([*command, str(port)], env=os.environ | environment, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    _wait_for(port, process)
    return Server(port, process.pid)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("error: a server did not start")


if __name__ == "__main__":
    main()
