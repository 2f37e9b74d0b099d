"""A watchdog: no command of a test lasts longer than LIMIT, and one that would shows where it stands.

Each process that runs taskdb watches itself, by `sitecustomize` beside this file, which Python imports as it
starts: it writes the tracebacks of its threads to stderr and ends with 1. `watched` does it in this process.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT = 60
"""Seconds that a command may last, or several in one process: tens of times as long as on an idle machine."""

_AGAIN = 5
_STDERR = 2


def watch_processes() -> None:
    """Let every process that is started from now on watch itself."""
    places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    os.environ["TESTS_WATCHDOG_LIMIT"] = str(LIMIT)


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Fail the test if what is done inside lasts too long."""
    # Only the main thread gets signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def bark(*_: object) -> None:
        faulthandler.dump_traceback(_STDERR)
        pytest.fail(f"{what} lasts longer than {LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, bark)
    # What cleans up after the failure may hang as well.
    signal.setitimer(signal.ITIMER_REAL, LIMIT, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
