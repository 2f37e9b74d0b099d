"""A network that fails on demand: a TCP proxy in front of a PostgreSQL server."""

from __future__ import annotations

import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from sqlalchemy import URL

COMMIT = b"Q" + struct.pack("!i", 11) + b"COMMIT\0"
"""The message that commits, as the frontend protocol writes a simple query."""

STARTING_UP = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
"""The fields of what a server answers while it recovers, or wakes up."""


class Link:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.committing = False

    def close(self) -> None:
        for end in (self.client, self.server):
            end.close()


class Proxy:
    """Passes everything on, but for the faults that are set; each is used up by the first it meets.

    `cut_at` breaks a connection after so many bytes of both directions together; `swallow` lets a
    COMMIT through and breaks the connection in place of its answer, and `drop` in place of the COMMIT
    itself; `starting_up` answers so many connections with the `refusal`, by default that of a server which
    is not ready yet; `hold` keeps the first connection waiting until it is set, and `held` tells that there
    is one.
    """

    def __init__(self, server: URL) -> None:
        self._servers = [server]
        self._lock = Lock()
        self._links: set[Link] = set()
        self.port = 0
        self.listen()
        self.connections = 0
        self.cut_at: int | None = None
        self.swallow = False
        self.drop = False
        self.starting_up = 0
        self.refusal = STARTING_UP
        self.hold: Event | None = None
        self.held = Event()
        self.on_swallowed: Callable[[], None] = lambda: None
        self.passed = 0

    @property
    def url(self) -> URL:
        """The server as it is reached over the proxy."""
        return self._servers[0].set(host="127.0.0.1", port=self.port, query={})

    def listen(self) -> None:
        """Accept connections, again at the same port after `refuse`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def lead_on(self, *servers: URL) -> None:
        """Lead each new connection to the next of the servers, and all further ones to the last."""
        self._servers = list(servers)

    def refuse(self) -> None:
        """Refuse new connections: nobody listens."""
        with suppress(OSError):
            # It wakes the thread that accepts; closing alone would leave the port open under it.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            links = list(self._links)
        for link in links:
            for end in (link.client, link.server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.hold:
            self.hold.set()
        self.refuse()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        if self.hold and not self.held.is_set():
            self.held.set()
            self.hold.wait()
        if self.starting_up:
            self.starting_up -= 1
            _answer(client, self.refusal)
            return
        link = Link(client, self._connect())
        with self._lock:
            self._links.add(link)
        with suppress(OSError):
            self._pass_on(link)
        with self._lock:
            self._links.discard(link)
        link.close()

    def _connect(self) -> socket.socket:
        to = self._servers.pop(0) if len(self._servers) > 1 else self._servers[0]
        directory = to.query.get("host")
        if directory is None:
            return socket.create_connection((to.host, to.port or 5432))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{directory}/.s.PGSQL.{to.query.get('port') or to.port or 5432}")
        return server

    def _pass_on(self, link: Link) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(link.client, selectors.EVENT_READ, link.server)
            waiting.register(link.server, selectors.EVENT_READ, link.client)
            while True:
                for key, _ in waiting.select():
                    data = key.fileobj.recv(65536)
                    if not data or not self._deliver(link, key.fileobj, key.data, data):
                        return

    def _deliver(self, link: Link, source: socket.socket, target: socket.socket, data: bytes) -> bool:
        if source is link.client and COMMIT in data:
            if self.drop:
                self.drop = False
                return False
            link.committing = self.swallow
        elif source is link.server and link.committing:
            self.swallow = False
            self.on_swallowed()
            return False
        if self.cut_at is not None and self.passed + len(data) >= self.cut_at:
            target.sendall(data[: self.cut_at - self.passed])
            self.cut_at = None
            return False
        self.passed += len(data)
        target.sendall(data)
        return True


def _answer(client: socket.socket, fields: bytes) -> None:
    """Say that nothing is encrypted, read the start-up message, and fail."""
    with client:
        for _ in range(2):
            size, code = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
            if code not in (80877103, 80877104):  # SSLRequest, GSSENCRequest
                client.recv(size - 8, socket.MSG_WAITALL)
                break
            client.sendall(b"N")
        client.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
