"""The connections of clients: how many there are, and how long each may keep the server waiting."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import resource
import socket
import struct
import termios
import time
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from taskdb_cli.database.options import Pool
from taskdb_cli.errors import TaskdbError

MOST = 1000
"""The highest number of connections, however many files may be open."""

SLOWEST = 1000
"""Bytes a second that a client must send or read on average while the server waits for it."""

_AT_ONCE = 2048
"""Bytes of a connection that are parsed before the next one has its turn; at worst they take 15 ms."""

_PATIENCE_WHEN_FULL = 1
"""Seconds that a new connection may be silent while all connections are in use."""

_FILES_PER_SESSION = 3
"""Open files that a connection to the database may need."""

_OTHER_FILES = 10
"""Open files for the log, for looking up names, and the like."""

_PAUSE = 1.0
"""Seconds until a connection is accepted again after the system failed to."""

_log = logging.getLogger("taskdb.clients")


class FilesLimited(TaskdbError):
    """The process may open too few files to serve anybody."""


def most_connections(listener: socket.socket, pool: Pool) -> int:
    """Return how many connections a listener may accept beside everything else that needs open files.

    Raises FilesLimited if there can be none.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST
    # The system gives a new file the lowest free number, so the numbers below the listener are in use.
    needed = listener.fileno() + 1 + (pool.size + pool.overflow) * _FILES_PER_SESSION + _OTHER_FILES
    if allowed <= needed:
        raise FilesLimited(
            f"cannot serve with at most {allowed} open files: at least {needed + 1} are needed",
            "raise the limit with ulimit -n, or lower TASKDB_POOL_SIZE and TASKDB_POOL_OVERFLOW",
        )
    return min(MOST, allowed - needed)


class OnceAMinute(logging.Filter):
    """Let each message through once a minute, because clients can cause any number."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message was not let through in the last minute."""
        # asyncio names the connection in the lines below the first.
        message, now = str(record.msg).partition("\n")[0], time.monotonic()
        if now < self._next.get(message, now):
            return False
        self._next[message] = now + 60
        return True


class Clients:
    """The clients of one server. Only so many are connected at a time."""

    def __init__(self, config: uvicorn.Config, state: ServerState, *, most: int, patience: float) -> None:
        self.config = config
        self.state = state
        self.changed = asyncio.Event()
        """Set when a connection was closed, or can be closed because it became idle."""
        self._most = most
        self._patience = patience

    async def accept(self, listener: socket.socket, app_state: dict[str, Any]) -> None:
        """Accept connections until cancelled. While all are in use, others wait to be accepted."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as exc:
                _log.warning("no connection can be accepted: %s", exc.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            try:
                while len(self.state.connections) >= self._most:
                    await self._wait_for_room()
            except asyncio.CancelledError:
                client.close()
                raise
            try:
                # asyncio does so only for sockets that name their protocol. The body of an answer would wait
                # until the client has confirmed its head, which takes Linux 40 ms.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(lambda: Connection(self, app_state), client)
            except OSError:
                client.close()

    async def _wait_for_room(self) -> None:
        _log.warning("all %d connections are in use, and others have to wait", self._most)
        if CLOSE_HEADER not in self.state.default_headers:
            # uvicorn sets these headers anew every second, so this ends by itself.
            self.state.default_headers = [*self.state.default_headers, CLOSE_HEADER]
        idle = {each.idle_until: each for each in self.connections if each.idle_until}
        if idle:
            idle[min(idle)].timeout_keep_alive_handler()
        self.changed.clear()
        await self.changed.wait()

    def drop_stalled(self) -> None:
        """Drop the clients that keep the server waiting for too long. Call it once a second."""
        is_full = len(self.state.connections) >= self._most
        for connection in self.connections:
            has_sent_nothing = connection.cycle is None and not connection.conn.trailing_data[0]
            hurry = is_full and has_sent_nothing
            connection.drop_if_stalled(min(_PATIENCE_WHEN_FULL, self._patience) if hurry else self._patience)

    @property
    def connections(self) -> list[Connection]:
        """The open connections."""
        return [each for each in self.state.connections if isinstance(each, Connection)]


class Connection(H11Protocol):
    """The connection of one client."""

    def __init__(self, clients: Clients, app_state: dict[str, Any]) -> None:
        super().__init__(clients.config, clients.state, app_state)
        self._clients = clients
        self._received = 0
        self._unsent = 0
        self._waiting_for = ""
        self._since = 0.0
        self._moved = 0

    @property
    def idle_until(self) -> float:
        """When uvicorn closes the connection if no other request begins to come; 0 if it is not idle."""
        closing = self.timeout_keep_alive_task
        is_busy = self.transport.is_closing() or self.transport.get_write_buffer_size()
        return 0.0 if closing is None or is_busy else closing.when()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to read, a little at a time."""
        super().connection_made(transport)
        # asyncio reads up to 256 KiB, and these are parsed without a pause.
        transport.max_size = _AT_ONCE  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another connection."""
        super().connection_lost(exc)
        self._clients.changed.set()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to what is not HTTP, or close the connection if another answer has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request as soon as most of the answer was sent."""
        self._waiting_for = ""
        if not self.flow.write_paused:
            super().on_response_complete()
            self._clients.changed.set()

    def resume_writing(self) -> None:
        """Go on after most of an answer was sent."""
        super().resume_writing()
        if self.cycle.response_complete:
            self.on_response_complete()

    def drop_if_stalled(self, patience: float) -> None:
        """Drop the client if it has kept the server waiting for so many seconds.

        The seconds begin anew each time that the client has sent or read as much as it must in that time.
        """
        now, awaited = time.monotonic(), self._awaited()
        before, self._unsent = self._unsent, self._count_unsent()
        received, self._received = self._received, 0
        if awaited == "request":
            self._moved += received
        elif awaited == "reading":
            self._moved += max(0, before - self._unsent)
        if not awaited or awaited != self._waiting_for or self._moved >= SLOWEST * patience:
            self._waiting_for, self._since, self._moved = awaited, now, 0
        elif now - self._since >= patience:
            _log.info("dropped a client that stalled for %g s", patience, extra={"stalled": awaited})
            self.transport.abort()

    def _awaited(self) -> str:
        """Return what the client has to do before the server can go on, or nothing."""
        theirs = self.conn.their_state
        if self.transport.get_write_buffer_size():
            return "reading"
        if theirs is h11.IDLE:
            # uvicorn closes an idle connection.
            return "" if self.timeout_keep_alive_task else "request"
        if theirs is not h11.SEND_BODY:
            return ""
        if self.conn.our_state is h11.DONE:
            # The request was refused before its end. The rest may come for a while, but not for ever.
            return "rest"
        return "" if self.flow.read_paused or self.cycle.waiting_for_100_continue else "request"

    def _count_unsent(self) -> int:
        """Return how many bytes of answers have not reached the client, or 0 if the system has taken all."""
        waiting = self.transport.get_write_buffer_size()
        if waiting:
            # Linux takes many bytes at once and then none for long, so count those that it has not sent.
            sent_from = self.transport.get_extra_info("socket").fileno()
            with suppress(OSError):
                waiting += struct.unpack("i", fcntl.ioctl(sent_from, termios.TIOCOUTQ, bytes(4)))[0]
        return waiting
