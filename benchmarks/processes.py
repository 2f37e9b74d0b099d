"""Whole processes side by side: their seconds, and the most memory that each of them had."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from measuring import track

TASKDB = [sys.executable, "-c", "from taskdb_cli.__main__ import main; main()"]


@dataclass(frozen=True)
class Run:
    """One process: its seconds, the most memory that it had, and the size of what it wrote, in MB."""

    seconds: float
    peak: float
    size: float = 0.0

    def __add__(self, other: Run) -> Run:
        """Return both, one after the other."""
        return Run(self.seconds + other.seconds, max(self.peak, other.peak), self.size + other.size)


Works = Mapping[str, Callable[[], Run]]


def run(
    command: list[str], *, output: Path | None = None, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a process to its end; `output` is where its stdout goes, `environment` is added to ours."""
    with (output or Path(os.devnull)).open("wb") as stdout:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, env=os.environ | (environment or {}))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return Run(seconds, usage.ru_maxrss / 1024)


def writing(command: list[str], path: Path, *, named: bool = False) -> Run:
    """Run a process that writes a file, to stdout or, `named`, to the path that is put behind it."""
    path.unlink(missing_ok=True)
    done = run([*command, str(path)]) if named else run(command, output=path)
    return Run(done.seconds, done.peak, path.stat().st_size / 1e6)


def take_turns(works: Works, turns: int, title: str) -> dict[str, list[Run]]:
    """Run each in turn, so many times; return the runs of each."""
    runs: dict[str, list[Run]] = {name: [] for name in works}
    for name, work in track(list(works.items()) * turns, title):
        runs[name].append(work())
    return runs
