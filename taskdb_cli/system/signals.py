"""Ctrl-C and SIGTERM: both end the running statement, roll back, and leave with one line that is true."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from taskdb_cli.errors import ExitCode, Interrupted

_received: list[int] = []
_held = False
_waiting = False
_made: bool | None = None


def listen() -> None:
    """Let SIGTERM interrupt this process as Ctrl-C does, and remember which of them it was."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def exit_code() -> ExitCode:
    """Return the code to leave with after an interruption."""
    return ExitCode.TERMINATED if signal.SIGTERM in _received else ExitCode.INTERRUPTED


@contextmanager
def held() -> Iterator[None]:
    """Let a signal wait while a commit runs that cannot be looked up later, and interrupt after it.

    It is for work that takes a moment. In a thread that gets no signals it does nothing.
    """
    global _held, _waiting  # noqa: PLW0603 (signals are the whole process's)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _held = True
    try:
        yield
    finally:
        _held = False
        if _waiting:
            _waiting = False
            raise KeyboardInterrupt


def note_change(*, made: bool | None) -> None:
    """Note whether the change of this command is committed; None if it changes nothing."""
    global _made  # noqa: PLW0603
    _made = made


def interrupted() -> Interrupted:
    """Return the error of a command that was interrupted. It says whether a change was made."""
    if _made is None:
        return Interrupted("interrupted")
    outcome = ", but the change was made" if _made else "; the change was not made"
    return Interrupted(f"interrupted{outcome}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _waiting  # noqa: PLW0603
    _received.append(number)
    # Whoever sends a second one does not want to wait.
    signal.signal(number, signal.SIG_DFL)
    if _held:
        _waiting = True
    else:
        raise KeyboardInterrupt
