"""Whole processes side by side: their seconds, and the most memory that each of them had."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from measuring import track

TASKDB = [sys.executable, "-c", "from taskdb_cli.__main__ import main; main()"]


@dataclass(frozen=True)
class Run:
    """One process: its seconds, those of the processor, its peak memory and what it wrote, both in MB."""

    seconds: float
    processor: float
    peak: float
    size: float = 0.0

    def __add__(self, other: Run) -> Run:
        """Return both, one after the other."""
        return Run(
            self.seconds + other.seconds,
            self.processor + other.processor,
            max(self.peak, other.peak),
            self.size + other.size,
        )


Works = Mapping[str, Callable[[], Run]]


def run(
    command: list[str], *, output: Path | None = None, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a process to its end; `output` is where its stdout goes, `environment` is added to ours."""
    with (output or Path(os.devnull)).open("wb") as stdout:
        start, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=stdout, env=os.environ | (environment or {}))
        status = Path(f"/proc/{process.pid}/status")
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            # What wait4() reports counts the memory of this process too, from before the other program began.
            high = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = max([peak, *(int(line.split()[1]) / 1024 for line in high)])
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, command
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak)


def writing(command: list[str], path: Path, *, named: bool = False) -> Run:
    """Run a process that writes a file, to stdout or, `named`, to the path that is put behind it."""
    path.unlink(missing_ok=True)
    done = run([*command, str(path)]) if named else run(command, output=path)
    return replace(done, size=path.stat().st_size / 1e6)


def take_turns(works: Works, turns: int, title: str) -> dict[str, list[Run]]:
    """Run each in turn, so many times; return the runs of each."""
    runs: dict[str, list[Run]] = {name: [] for name in works}
    for name, work in track(list(works.items()) * turns, title):
        runs[name].append(work())
    return runs
