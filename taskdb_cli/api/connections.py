"""The connections of clients: how many there may be, and how long each may keep the server waiting."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import resource
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from taskdb_cli.database.options import Pool
from taskdb_cli.errors import TaskdbError

MOST = 1000
"""The highest number of connections, however many files may be open."""

SLOWEST = 1000
"""Bytes a second that a client must send or read on average while the server waits for it."""

_log = logging.getLogger("taskdb.clients")


class FilesLimited(TaskdbError):
    """The process may open too few files to serve anybody."""


def most_connections(listener: socket.socket, pool: Pool, *, databases: int) -> int:
    """Return how many connections a listener may accept beside everything else that needs open files.

    Raises FilesLimited if there can be none.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST
    # The system gives a new file the lowest free number, so the numbers below the listener are in use. A
    # connection to the database may need 3 files; 10 are for the log, looking up names and so on.
    needed = listener.fileno() + 1 + (pool.size + pool.overflow) * 3 * databases + 10
    if allowed <= needed:
        raise FilesLimited(
            f"cannot serve with at most {allowed} open files: at least {needed + 1} are needed",
            "raise the limit with ulimit -n, or lower TASKDB_POOL_SIZE and TASKDB_POOL_OVERFLOW",
        )
    return min(MOST, allowed - needed)


def once_a_minute() -> Callable[[logging.LogRecord], bool]:
    """Return a filter of a log that lets each message through once a minute: clients can cause any number."""
    quiet_until: dict[str, float] = {}

    def is_news(record: logging.LogRecord) -> bool:
        # asyncio names the connection in the lines below the first.
        message, now = str(record.msg).partition("\n")[0], time.monotonic()
        if now < quiet_until.get(message, now):
            return False
        quiet_until[message] = now + 60
        return True

    return is_news


class Connection(H11Protocol):
    """The connection of one client."""

    def __init__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, state, app_state)
        self._received = self._unsent = self._moved = 0
        self._waiting_for, self._since = "", 0.0

    @property
    def idle_until(self) -> float:
        """When uvicorn closes the connection if no other request begins to come; 0 if it is not idle."""
        closing = self.timeout_keep_alive_task
        is_busy = self.transport.is_closing() or self.transport.get_write_buffer_size()
        return 0.0 if closing is None or is_busy else closing.when()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to read, a little at a time."""
        super().connection_made(transport)
        # asyncio reads up to 256 KiB, and these are parsed before other connections have their turn. To parse
        # so many bytes takes 15 ms at worst.
        transport.max_size = 2048  # type: ignore[attr-defined]

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

    def resume_writing(self) -> None:
        """Go on after most of an answer was sent."""
        super().resume_writing()
        if self.cycle.response_complete:
            self.on_response_complete()

    def drop_if_stalled(self, patience: float, *, is_full: bool) -> None:
        """Drop the client if it has kept the server waiting for so many seconds.

        The seconds begin anew each time that the client has sent or read as much as it must in that time.
        While others wait for its place, a new connection may be silent for a second only.
        """
        if is_full and self.cycle is None and not self.conn.trailing_data[0]:
            patience = min(1, patience)
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
