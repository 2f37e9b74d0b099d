"""A program `taskdb` for a shell, whose commands run in processes that have imported everything already.

It hands over its streams, environment and directory, passes signals on, and ends with the same code. The
process that runs a command belongs to no terminal: Ctrl-C and job control do not reach it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tests import forked

_PACKET = 1 << 17
_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as there:
    there.connect({address!r})
    given = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()])
    socket.send_fds(there, [given.encode()], [0, 1, 2])
    process = int(there.recv(16))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(process, number))
    code = int(there.recv(16))
os._exit(code if code >= 0 else 128 - code)
"""


def _run(client: socket.socket) -> None:
    with client:
        given, streams, *_ = socket.recv_fds(client, _PACKET, 3)
        words, environment, place = json.loads(given)
        process = forked.start("", forked.RUN, words, streams, environment, Path(place))
        for stream in streams:
            os.close(stream)
        client.send(b"%d" % process.pid)
        process.join()
        client.send(b"%d" % process.exitcode)


def _listen(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            # The test is over.
            return
        Thread(target=_run, args=[client], daemon=True).start()


@contextmanager
def stand_in(directory: Path) -> Iterator[Path]:
    """Make the program in a new directory, for as long as the context lasts."""
    directory.mkdir()
    address, program = directory / "socket", directory / "taskdb"
    program.write_text(_PROGRAM.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    forked.context()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(address))
        server.listen()
        listener = Thread(target=_listen, args=[server])
        listener.start()
        yield directory
        server.shutdown(socket.SHUT_RDWR)
        listener.join()
