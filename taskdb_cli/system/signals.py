"""Ctrl-C, SIGTERM and SIGHUP: each ends the running statement, rolls back, and leaves with one true line."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from taskdb_cli.errors import Interrupted
from taskdb_cli.exit_codes import ExitCode

_received: list[int] = []
_held = False
_made: bool | None = None


def listen() -> None:
    """Let SIGTERM and SIGHUP interrupt this process as Ctrl-C does, and remember which signal came."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a command outlives its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> ExitCode:
    """Return the exit code of an interruption."""
    codes = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HANGUP}
    return next((code for number, code in codes.items() if number in _received), ExitCode.INTERRUPTED)


@contextmanager
def held() -> Iterator[None]:
    """Delay an interruption while a commit runs whose outcome cannot be looked up later.

    Use it for work that takes a moment only. It does nothing in a thread that gets no signals.
    """
    global _held  # noqa: PLW0603 (signals belong to the whole process)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = len(_received)
    _held = True
    try:
        yield
    finally:
        _held = False
        if len(_received) > before:
            raise KeyboardInterrupt


@contextmanager
def left_to_child() -> Iterator[list[int]]:
    """Leave Ctrl-C to a program on the same terminal, such as an editor, which may have a meaning for it.

    Yields a list of the signals that came.
    """
    received: list[int] = []
    # A handler ends with exec, but the child would go on ignoring what this process ignores.
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def note_change(*, made: bool | None) -> None:
    """Note whether the change of this command is committed. None means that it changes nothing."""
    global _made  # noqa: PLW0603
    _made = made


def interrupted() -> Interrupted:
    """Return the error of a command that was interrupted. It says whether a change was made."""
    outcomes = {None: "", True: ", but the change was made", False: "; the change was not made"}
    return Interrupted(f"interrupted{outcomes[_made]}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    # A second signal ends the process at once. But both a shell and the system send SIGHUP.
    signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
    if not _held:
        raise KeyboardInterrupt
