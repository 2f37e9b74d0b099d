"""The server: one process, which runs until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import uvicorn
from uvicorn.protocols.http.flow_control import CLOSE_HEADER

from taskdb_cli.api.app import create_app
from taskdb_cli.api.connections import Connection, most_connections, once_a_minute
from taskdb_cli.api.problems import LONGEST_HEAD
from taskdb_cli.api.replica import Replica
from taskdb_cli.database import Database
from taskdb_cli.database.options import Pool
from taskdb_cli.errors import DatabaseUnavailable, InvalidInput, TaskdbError
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system import signals
from taskdb_cli.text.escaping import brief

GRACE = 10
"""Seconds that requests may still take when the server is told to stop."""

_LONGEST_HOST = 253
"""Characters of a host name."""

_log = logging.getLogger("taskdb.server")
_clients = logging.getLogger("taskdb.clients")


class AddressUnusable(TaskdbError):
    """The server cannot listen where it was told to."""


def serve(
    database: Database,
    host: str,
    port: int,
    *,
    patience: int,
    say: Callable[[str], None],
    replica: Database | None = None,
    most_lag: float = 0,
) -> None:
    """Answer requests until SIGTERM, SIGHUP or Ctrl-C, then finish those that are running.

    A client that stalls for `patience` seconds is dropped. A `replica` is read unless it is behind for more
    than `most_lag` seconds. A database or a replica that cannot be reached is waited for; raises SchemaError,
    DatabaseMissing or InvalidConfiguration for one that no waiting puts right, InvalidInput for what is no
    host name, AddressUnusable, FilesLimited.
    """
    # After 5 s a client is better told to come back than held any longer: it may have gone by then.
    options = replace(database.options, retry_budget=min(database.options.retry_budget, 5))
    primary = Database(database.url, options)
    reader = Replica(primary, replica, most_lag=most_lag) if replica else None
    app = create_app(primary, reader)
    away = ""
    try:
        app.state.readiness.check()
    except DatabaseUnavailable as exc:
        away = exc.message
        say(f"warning: {exc.message}; starting anyway")
    place = database.backend.place
    if reader is not None:
        try:
            reader.begin()
            place = f"{place} and its replica {reader.database.backend.place}"
        except DatabaseUnavailable as exc:
            # That the primary is away has been said.
            if exc.message != away:
                hint = f" ({exc.hint})" if exc.hint else ""
                say(f"warning: {exc.message}{hint}; reading the primary until then")
    listener = _listen(host, port)
    most = most_connections(listener, options.pool or Pool(), databases=1 if reader is None else 2)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    _tidy_memory()
    address, port, *_ = listener.getsockname()
    authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    say(f"serving {place} at http://{authority}; Ctrl-C stops it")
    once = once_a_minute()
    for name in ("taskdb.clients", "uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(once)
    _Server(config, listener, most, patience).run()
    say("stopped")


class _Server(uvicorn.Server):
    """Ends by returning: to be told to stop is how a server is meant to end, and no failure."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, most: int, patience: int) -> None:
        super().__init__(config)
        self._listener, self._most, self._patience = listener, most, patience

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup([])
        self._accepting = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        """Accept connections until cancelled. While all are in use, others wait to be accepted."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue
            except OSError as exc:
                _clients.warning("no connection can be accepted: %s", exc.strerror)
                await asyncio.sleep(1)
                continue
            try:
                while len(self.server_state.connections) >= self._most:
                    self._make_room()
                    await asyncio.sleep(0.05)
                # asyncio does so only for sockets that name their protocol. The body of an answer would wait
                # until the client has confirmed its head, which takes Linux 40 ms.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                new = partial(Connection, self.config, self.server_state, self.lifespan.state)
                await loop.connect_accepted_socket(new, client)
            except OSError:
                client.close()
            except asyncio.CancelledError:
                client.close()
                raise

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, and let others close after their next answer."""
        _clients.warning("all %d connections are in use, and others have to wait", self._most)
        state = self.server_state
        if CLOSE_HEADER not in state.default_headers:
            # uvicorn sets these headers anew every second, so this ends by itself.
            state.default_headers = [*state.default_headers, CLOSE_HEADER]
        idle = {each.idle_until: each for each in self._connections() if each.idle_until}
        if idle:
            idle[min(idle)].timeout_keep_alive_handler()

    async def on_tick(self, counter: int) -> bool:
        """Drop, once a second, the clients that keep the server waiting for too long."""
        if counter % 10 == 0:
            is_full = len(self.server_state.connections) >= self._most
            for each in self._connections():
                each.drop_if_stalled(self._patience, is_full=is_full)
        return await super().on_tick(counter)

    def _connections(self) -> list[Connection]:
        return [each for each in self.server_state.connections if isinstance(each, Connection)]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGHUP and Ctrl-C stop the server."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {each: signal.signal(each, self.handle_exit) for each in numbers}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is running, but for no longer than the grace."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        # uvicorn would cancel what still runs when its own limit is over, answer 500, and count nothing.
        limit = asyncio.get_running_loop().call_later(GRACE, setattr, self, "force_exit", True)
        await super().shutdown([self._listener])
        limit.cancel()
        if unfinished := len(self.server_state.tasks):
            with suppress(OSError):
                sys.stderr.write(f"error: stopped with {unfinished} requests unfinished\n")
            _log.error("stopped with %d requests unfinished", unfinished, extra={"unfinished": unfinished})
            logging.shutdown()
            # A thread that waits for the database cannot be ended otherwise; the database undoes its work.
            os._exit(ExitCode.FAILURE)


def _listen(host: str, port: int) -> socket.socket:
    no_host = InvalidInput(f"{brief(host)!r} is not a host name", "give an address with --host")
    # Python would encode a long text for seconds, until it finds out that it is too long.
    if len(host) > _LONGEST_HOST:
        raise no_host
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        is_ipv6 = family is socket.AF_INET6
        # This listens too. Two may bind the same address, and only then does the second one fail.
        return socket.create_server(address, family=family, backlog=socket.SOMAXCONN, dualstack_ipv6=is_ipv6)
    except UnicodeError:
        raise no_host from None
    except OSError as exc:
        reason = str(exc.strerror).partition(" (")[0]
        raise AddressUnusable(
            f"cannot listen on {host} port {port}: {reason}", "choose others with --host and --port"
        ) from exc


def _tidy_memory() -> None:
    # A command puts collections off, because it is over soon; what is loaded by now stays for good.
    # Python ignores what a signal raises in a collection, and the server would go on.
    with signals.held():
        gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
