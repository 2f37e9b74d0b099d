"""Runs of the command line that are stopped at a place of the program, and not at a time.

The places are counted: each call of a function of taskdb, and each system call and statement that changes
something, before it and after it. The same run comes by the same places again.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.forked import run_forked

_PROGRAM = """
import os, sys

at, number, told = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
# These are called for each value or row: nearly all places would be theirs.
MANY = {"_same", "_time", "rows", "_lines", "unescape", "<genexpr>", "<listcomp>", "<lambda>", "<module>",
    "look_every", "within_limit", "_is_over"}
CALLS = {"write", "fsync", "link", "rename", "unlink", "mkdir", "flock", "execute", "executemany", "commit"}
passed = 0

def count(frame, event, argument):
    global passed
    if event == "call":
        code = frame.f_code
        if "taskdb_cli" not in code.co_filename or code.co_name in MANY:
            return
        if not passed and code.co_name != "_run":
            return
    elif not passed or event not in ("c_call", "c_return") or argument.__name__ not in CALLS:
        return
    passed += 1
    if passed == at:
        os.kill(os.getpid(), number)

import taskdb_cli.__main__ as program

leave = program.leave

def tell(code):
    sys.setprofile(None)
    with open(told, "w") as file:
        file.write(str(passed))
    leave(code)

program.leave = tell
sys.argv[1:] = sys.argv[4:]
sys.setprofile(count)
program.main()
"""


@dataclass(frozen=True)
class Stopped:
    """What a run left behind; the code is negative if a signal ended it."""

    code: int
    out: str
    err: str


class Places:
    """The places of one command line; `count` says how many they are in a run that nobody stops."""

    def __init__(self, scratch: Path, *arguments: object) -> None:
        self._told = scratch / "passed"
        self._arguments = [str(argument) for argument in arguments]
        self.count = 0

    def run(self) -> Stopped:
        """Run the command to its end, and count its places."""
        done = self.stop(0)
        self.count = int(self._told.read_text())
        return done

    def stop(self, place: int, number: int = signal.SIGKILL) -> Stopped:
        """Run the command, and send it a signal at a place, which counts from 1."""
        done = run_forked(place, int(number), self._told, *self._arguments, code=_PROGRAM)
        return Stopped(done.returncode, done.stdout, done.stderr)

    def spread(self, number: int) -> list[int]:
        """Return so many places from the first to the last, evenly apart."""
        return [1 + round(step * (self.count - 1) / (number - 1)) for step in range(number)]
