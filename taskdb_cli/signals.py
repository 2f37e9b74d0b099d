"""Ctrl-C and SIGTERM: both end the running statement, roll back, and leave with one line."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from taskdb_cli.errors import ExitCode

_received: list[int] = []


def listen() -> None:
    """Let SIGTERM interrupt this process as Ctrl-C does, and remember which of them it was."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def exit_code() -> ExitCode:
    """Return the code to leave with after an interruption."""
    return ExitCode.TERMINATED if signal.SIGTERM in _received else ExitCode.INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    # Whoever sends a second one does not want to wait.
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
