"""The log file: for its owner alone, rotated, and shared by any number of processes."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from taskdb_cli.errors import InvalidConfiguration

LARGEST = 5_000_000
"""Bytes after which a new file is begun."""

OLD_FILES = 5
"""How many full ones are kept beside it."""

OWNER_ONLY = 0o600


def open_log_file(path: Path, level: int) -> logging.Handler:
    """Open the log file, and make it if it is missing; raise InvalidConfiguration if that fails."""
    try:
        return _LogFile(path, level)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise InvalidConfiguration(
            f"the log file {path} cannot be opened: {reason}", "check --log-file and TASKDB_LOG_FILE"
        ) from exc


class _LogFile(RotatingFileHandler):
    def __init__(self, path: Path, level: int) -> None:
        super().__init__(path, maxBytes=LARGEST, backupCount=OLD_FILES, encoding="utf-8")
        self.setLevel(level)
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, alone among all processes that write to this path."""
        if self._failed:
            return
        try:
            with self._alone():
                super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name in logging)
        """Warn once, and log no more: a full disk under the log is no reason to stop working."""
        self._failed = True
        reason = getattr(sys.exc_info()[1], "strerror", None) or "it is broken"
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"warning: the log file {self.baseFilename} cannot be written: {reason}\n")

    def _open(self) -> TextIOWrapper:
        # For what it cannot encode: a file name need not be text.
        return open(
            self.baseFilename, "a", encoding=self.encoding, errors="backslashreplace", opener=_open_private
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the file that the path names now; another process may have moved ours away."""
        while True:
            if self.stream is None:
                self.stream = self._open()
            # Rotating closes the stream, which must not release the lock before the files have moved.
            guard = os.dup(self.stream.fileno())
            try:
                with suppress(OSError):  # not every file system has locks
                    fcntl.flock(guard, fcntl.LOCK_EX)
                if self._is_current(guard):
                    yield
                    return
                self.stream.close()
                self.stream = self._open()
            finally:
                with suppress(OSError):
                    fcntl.flock(guard, fcntl.LOCK_UN)
                os.close(guard)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.baseFilename))  # noqa: PTH116
        except FileNotFoundError:
            return False


def _open_private(path: str, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        # A named pipe that nobody reads would otherwise be waited for.
        descriptor = os.open(path, flags | os.O_NONBLOCK, OWNER_ONLY)
        os.set_blocking(descriptor, True)
        return descriptor
    # The umask may have taken away even the owner's rights.
    os.fchmod(descriptor, OWNER_ONLY)
    return descriptor
