"""Commands in processes that have imported everything already, which takes longer than most commands run.

They are forked from a process that did nothing else, by the fork server of the standard library. `processes`
is for what only the start of a process decides: privileges, what Python itself reads of the
environment. With TASKDB_SOAK=1 every process starts anew.
"""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import multiprocessing
import os
import pkgutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO

import pexpect
from pexpect.fdpexpect import fdspawn

import taskdb_cli
from tests.processes import command
from tests.watchdog import LIMIT

RUN = "from taskdb_cli.__main__ import main; main()"
"""Python that becomes the command line."""

SOAK = os.environ.get("TASKDB_SOAK") == "1"

_LIBRARIES = (
    "alembic.command",
    "email_validator",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
)
_ENVIRONMENT = dict(os.environ)
_context = multiprocessing.get_context("forkserver")
_lock = threading.Lock()


class _Descriptor(int):
    """A file descriptor, of which a process gets a copy."""

    def __reduce__(self) -> tuple[object, ...]:
        return _copied, (DupFd(int(self)),)


def _copied(descriptor: object) -> int:
    return descriptor.detach()


def run_forked(
    *arguments: object, code: str = RUN, first: str = "", **streams: IO
) -> subprocess.CompletedProcess[str]:
    """Run taskdb, or other Python, to its end with nothing on stdin, and return what it left behind.

    `first` is Python that runs before the process looks at its standard streams.
    """
    words, texts = list(map(str, arguments)), dict.fromkeys(("stdout", "stderr"), "")
    begin = _start_anew if SOAK else _start_forked
    # No files: a process that may write none of that size may still write to a pipe.
    pipes = {name: os.pipe() for name in texts if name not in streams}
    ends = {name: writing for name, (_, writing) in pipes.items()}
    ends |= {name: file.fileno() for name, file in streams.items()}
    with Path(os.devnull).open() as nothing, ThreadPoolExecutor() as readers:
        status = begin(first, code, words, [nothing.fileno(), ends["stdout"], ends["stderr"]])
        for _, writing in pipes.values():
            os.close(writing)
        texts |= dict(zip(pipes, readers.map(_read, (reading for reading, _ in pipes.values())), strict=True))
        done = subprocess.CompletedProcess(arguments, status(), **texts)
    for noise in ("Traceback", "Timeout (", "Exception ignored"):
        assert noise not in done.stderr, done.stderr
    return done


def _read(descriptor: int) -> str:
    with open(descriptor, errors="replace") as file:
        return file.read()


def _start_anew(first: str, code: str, words: list[str], streams: list[int]) -> Callable[[], int]:
    become = f"os.execv(sys.executable, [sys.executable, '-c', {code!r}, *sys.argv[1:]])"
    command = [sys.executable, "-c", f"import os, sys\n{first}\n{become}", *words]
    stdin, stdout, stderr = streams
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr).wait


class ForkedProcess:
    """A process of taskdb whose stderr can be read while it runs, with the methods of subprocess.Popen."""

    def __init__(self, *arguments: object, environment: dict[str, str]) -> None:
        reading, writing = os.pipe()
        # A process that starts anew gets no descriptor twice.
        with Path(os.devnull).open() as nothing, Path(os.devnull).open("w") as nowhere:
            streams = [nothing.fileno(), nowhere.fileno(), writing]
            self._process = start("", RUN, list(map(str, arguments)), streams, environment)
        os.close(writing)
        self.pid = self._process.pid
        self.stderr = os.fdopen(reading)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_TAKE_TERMINAL = "import fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


class _ForkedTerminal(fdspawn):
    """A process of taskdb on a terminal of its own, with the methods of pexpect.spawn."""

    def __init__(self, *arguments: object, environment: dict[str, str], size: tuple[int, int]) -> None:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self._process = start(_TAKE_TERMINAL, RUN, list(map(str, arguments)), [theirs] * 3, environment)
        os.close(theirs)
        super().__init__(ours, encoding="utf-8", timeout=60)
        self.pid = self._process.pid

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def close(self, *, force: bool = False) -> None:
        if force:
            self._process.kill()
        self._process.join(self.timeout)
        self.exitstatus = self._process.exitcode
        super().close()


def start_on_terminal(
    *arguments: object, env: dict[str, str] | None = None, dimensions: tuple[int, int] = (24, 80)
) -> pexpect.spawnbase.SpawnBase:
    """Run taskdb on a terminal with that many lines and columns, and return what types and reads there."""
    environment = dict(os.environ) if env is None else env
    if SOAK:
        program, *words = command(*arguments)
        return pexpect.spawn(
            program, words, env=environment, dimensions=dimensions, encoding="utf-8", timeout=60
        )
    context()
    return _ForkedTerminal(*arguments, environment=environment, size=dimensions)


def _start_forked(first: str, code: str, words: list[str], streams: list[int]) -> Callable[[], int]:
    # The first call exchanges the environment for a moment.
    context()
    process = start(first, code, words, streams, dict(os.environ))

    def wait() -> int:
        process.join()
        return process.exitcode

    return wait


def start(  # noqa: PLR0917 (as _become)
    first: str,
    code: str,
    words: list[str],
    streams: list[int],
    environment: dict[str, str],
    place: Path | None = None,
) -> BaseProcess:
    """Start a process with these streams and this environment, in a directory or here."""
    given = (first, code, ["-c", *words], environment, place or Path.cwd(), list(map(_Descriptor, streams)))
    process = context().Process(target=_become, args=given, daemon=True)
    process.start()
    return process


def context() -> BaseContext:
    """Return what makes processes for the library's pools; the first call starts the process to fork from."""
    if SOAK:
        return multiprocessing.get_context("spawn")
    with _lock:
        _start_server()
    return _context


@cache
def _start_server() -> None:
    # It gets the environment of the tests themselves.
    _context.set_forkserver_preload(["__main__", __name__])
    now = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(_ENVIRONMENT, PYTHONPATH=os.pathsep.join(sys.path), TESTS_FORKED="1")
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(now)


def _become(  # noqa: PLR0917 (the fork server passes them)
    first: str, code: str, words: list[str], environment: dict[str, str], place: Path, streams: list[int]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(place)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv[:] = words
    exec(first, {"os": os})
    for number, (name, mode, errors) in enumerate(
        (("stdin", "r", "strict"), ("stdout", "w", "strict"), ("stderr", "w", "backslashreplace"))
    ):
        try:
            stream = open(number, mode, errors=errors, closefd=False)  # noqa: SIM115
        except OSError:
            # As Python does where a stream is closed.
            stream = None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    # A server runs for as long as its test.
    if sys.stderr and "serve" not in words:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
    exec(code, {"__name__": "__main__"})
    os._exit(0)


if "TESTS_FORKED" in os.environ:
    # The server, which the watchdog may have taken for a command.
    faulthandler.cancel_dump_traceback_later()
    modules = [module.name for module in pkgutil.walk_packages(taskdb_cli.__path__, "taskdb_cli.")]
    for name in (*modules, *_LIBRARIES):
        importlib.import_module(name)
