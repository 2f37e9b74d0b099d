"""Ctrl-C and SIGTERM: both end the running statement, roll back, and leave with one true line."""

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
    """Let SIGTERM interrupt this process as Ctrl-C does, and remember which signal came."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def exit_code() -> ExitCode:
    """Return the exit code of an interruption."""
    return ExitCode.TERMINATED if signal.SIGTERM in _received else ExitCode.INTERRUPTED


@contextmanager
def held() -> Iterator[None]:
    """Delay an interruption while a commit runs whose outcome cannot be looked up later.

    Use it for work that takes a moment only. It does nothing in a thread that gets no signals.
    """
    global _held, _waiting  # noqa: PLW0603 (signals belong to the whole process)
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
    """Note whether the change of this command is committed. None means that it changes nothing."""
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
    # A second signal ends the process at once.
    signal.signal(number, signal.SIG_DFL)
    if _held:
        _waiting = True
    else:
        raise KeyboardInterrupt
