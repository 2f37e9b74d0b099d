"""Standard output. Its errors say that stdout failed, and not another file."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, BinaryIO, TextIO, TypeGuard

from taskdb_cli.errors import StorageFailed

STDOUT = 1


class StdoutError(OSError):
    """Writing to stdout failed, for another reason than a closed pipe."""


class StdoutFailed(StorageFailed):
    """The answer of a command could not be written."""


def failed(error: StdoutError) -> StdoutFailed:
    """Return our error for that of the operating system."""
    return StdoutFailed(f"the answer could not be written to stdout: {error.strerror}")


def prepare() -> None:
    """Make stdout write UTF-8 and raise StdoutError, or StdoutFailed if it is closed."""
    if sys.stdout is None:
        sys.stdout = ClosedStdout()
    elif _is_of_the_process(sys.stdout):
        buffered = io.BufferedWriter(_File(STDOUT, "w", closefd=False))
        at_once = sys.stdout.line_buffering or sys.stdout.write_through
        sys.stdout = io.TextIOWrapper(buffered, "utf-8", "backslashreplace", "", at_once)
    elif hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


class ClosedStdout(io.TextIOBase):
    """Takes the place of a closed stdout, as a job of cron may have it; only a command that prints minds."""

    def write(self, text: str) -> int:
        """Raise StdoutFailed."""
        raise StdoutFailed("stdout is closed", "send it to /dev/null if nobody is to read it")

    @property
    def buffer(self) -> BinaryIO:
        """Raise StdoutFailed, as `write` does."""
        self.write("")
        raise AssertionError


class _File(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise StdoutError(exc.errno, exc.strerror) from exc
        if written is None:
            # Another process made the pipe or terminal non-blocking, and its reader is slow.
            raise StdoutError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return written


def _is_of_the_process(stream: TextIO) -> TypeGuard[io.TextIOWrapper]:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return type(raw) is io.FileIO and raw.fileno() == STDOUT
