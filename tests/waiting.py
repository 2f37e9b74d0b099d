"""Waiting for what a server, a process or a thread is about to do, however slow the machine is."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic

PATIENCE = 90
"""Seconds after which what has not come about never will: longer than the watchdog lets a command hang."""


def wait_until(condition: Callable[[], object]) -> None:
    """Ask again and again until something is so; fail if it never is."""
    pause, deadline = Event(), monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it never came about"
        pause.wait(0.01)
