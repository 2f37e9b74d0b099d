"""The command line as a process of its own, for what only a process can show."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.waiting import PATIENCE, wait_until

# The superuser may read and write everything: give that up, as one program's start allows.
WITHOUT_PRIVILEGE = """
import ctypes
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
"""


def limited(size: int) -> str:
    """Return Python after which no file can grow beyond so many bytes, as on a full disk.

    Python ignores the signal that comes with it.
    """
    return f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


UNPRIVILEGED = (
    sys.executable,
    "-c",
    f"import os, sys\n{WITHOUT_PRIVILEGE}\nos.execv(sys.argv[1], sys.argv[1:])",
)
"""The words before those of a process that has given the privilege up."""

# One process runs many command lines: to start takes longer than most of them.
_MANY_LINES = """
import io, json, os, sys
from taskdb_cli.cli.run import run
done = []
for line in json.loads(sys.argv[1]):
    streams = sys.stdout, sys.stderr = [io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2)]
    code = run(line)
    done.append([int(code), *(stream.buffer.getvalue().decode() for stream in streams)])
os.write(1, json.dumps(done).encode())
os._exit(0)
"""


class Outcome(NamedTuple):
    """What one command line left behind."""

    code: int
    out: str
    err: str


def command(*arguments: object, first: str = "") -> list[str]:
    """Return the arguments of a process that runs some Python first and then becomes taskdb."""
    words = [str(argument) for argument in arguments]
    if not first:
        return [sys.executable, "-m", "taskdb_cli", *words]
    become = "os.execv(sys.executable, [sys.executable, '-m', 'taskdb_cli', *sys.argv[1:]])"
    code = f"import os, sys\n{first}\n{become}"
    return [sys.executable, "-c", code, *words]


def run_process(*arguments: object, first: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """Run taskdb to its end with nothing on stdin, and return what it left behind."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run(
        command(*arguments, first=first),
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        **options,
    )
    for noise in ("Traceback", "Timeout ("):
        assert noise not in (done.stderr or ""), done.stderr
    return done


def run_lines(lines: Sequence[Sequence[object]], *, enter: Sequence[str] = ()) -> list[Outcome]:
    """Run command lines one after the other in one process, which the words of `enter` start."""
    words = json.dumps([[str(word) for word in line] for line in lines])
    done = subprocess.run(
        [*enter, sys.executable, "-c", _MANY_LINES, words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    outcomes = [Outcome(*each) for each in json.loads(done.stdout)]
    assert not any("Traceback" in each.err for each in outcomes), outcomes
    return outcomes


def free_port() -> int:
    """Return a port that is free, as long as nobody else gets it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start_on_free_port(
    start: Callable[[int], subprocess.Popen[bytes]], answers: Callable[[int], bool]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a server that has to be told its port, and return both as soon as it answers.

    One that ends at once has lost its port to another process meanwhile, and is started on another port.
    """
    for _ in range(3):
        port = free_port()
        process = start(port)
        try:
            wait_until(lambda port=port, process=process: process.poll() is not None or answers(port))
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.poll() is None:
            return port, process
    raise AssertionError(f"{process.args} does not stay")
