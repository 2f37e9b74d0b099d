"""Standard output, whose errors say that stdout failed and not another file."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, BinaryIO

from taskdb_cli.errors import StorageFailed

STDOUT = 1


class StdoutError(OSError):
    """Writing to stdout failed for another reason than a closed pipe."""


class StdoutFailed(StorageFailed):
    """The answer of a command could not be written."""


def prepare() -> None:
    """Make stdout write UTF-8 and raise StdoutError, or StdoutFailed if it is closed."""
    if sys.stdout is None:
        sys.stdout = ClosedStdout()
        return
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if isinstance(sys.stdout, io.TextIOWrapper) and type(raw) is io.FileIO and raw.fileno() == STDOUT:
        buffered = io.BufferedWriter(_File(STDOUT, "w", closefd=False))
        at_once = sys.stdout.line_buffering or sys.stdout.write_through
        sys.stdout = io.TextIOWrapper(buffered, "utf-8", "backslashreplace", "", at_once)
    elif hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


class ClosedStdout(io.TextIOBase):
    """Stands in for a closed stdout, which a cron job may have. Only a command that prints fails."""

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
            # Another process has made the pipe or terminal non-blocking, and the reader is slow.
            raise StdoutError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return written
