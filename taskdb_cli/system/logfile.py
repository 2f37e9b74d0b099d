"""The log file: for its owner alone, rotated, and shared by any number of processes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.system.paths import descriptor_of, reserved
from taskdb_cli.text.escaping import one_line

LARGEST = 5_000_000
"""Bytes after which a new file is begun."""

OLD_FILES = 5
"""How many full ones are kept beside it."""

OWNER_ONLY = 0o600

_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z"
_OUR_LINE = re.compile(
    rb"%(time)s [A-Z]+ [\w.]+ \[\w+\] "
    rb"|\{\"time\": \"%(time)s\", \"level\": \"\w+\", \"logger\": \"" % {b"time": _TIME}
)
"""How a line of the log begins, in both formats; those of taskdb 0.1.0 begin in the same way."""

_OUTPUTS = (1, 2)
"""The descriptors of stdout and stderr: what they lead to gets other lines too, so it need not be a log."""

_LONGEST_BEGINNING = 500
"""Bytes of a file that are compared with that."""


def open_log_file(path: Path, level: int) -> logging.Handler:
    """Return the handler of a log file; a missing file is made with its first line.

    Raises InvalidConfiguration for a file that cannot be written, or that holds anything but a log of taskdb.
    """
    handler = None
    try:
        handler = _LogFile(path, level)
        handler.probe()
    except (OSError, ValueError) as exc:
        if handler:
            handler.close()
        verb = "cannot be opened" if isinstance(exc, OSError) else "is refused"
        raise InvalidConfiguration(
            f"the log file {path} {verb}: {_reason(exc)}",
            "name another one with --log-file or TASKDB_LOG_FILE",
        ) from exc
    else:
        return handler


class _Foreign(ValueError):
    """The file is not a log of taskdb: nothing may be written to it."""


class _LogFile(RotatingFileHandler):
    def __init__(self, path: Path, level: int) -> None:
        super().__init__(path, maxBytes=LARGEST, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        self.setLevel(level)
        self._path = path.absolute()
        self._descriptor = descriptor_of(self._path)
        self._failed = self._kept_whole = False

    def probe(self) -> None:
        """See that the file can be written; raise OSError or ValueError."""
        if reason := reserved(self._path):
            raise _Foreign(reason)
        try:
            if stat.S_ISBLK(self._path.stat().st_mode):
                raise _Foreign("it is a block device")
        except FileNotFoundError:
            # The settings may yet show that a database is to be made there.
            directory = Path(os.path.realpath(self._path)).parent
            if self._descriptor is not None or not directory.exists():
                raise
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        else:
            self.stream = self._open()
            self._require_ours(self.stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, alone among all processes that write to this path."""
        if self._failed:
            return
        try:
            with self._alone():
                # Another program may have put its own file there since the last line.
                self._require_ours(self.stream)
                super().emit(record)
        except (OSError, _Foreign):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name in logging)
        """Warn once, and log no more: a full disk under the log is no reason to stop working."""
        self._failed = True
        self._warn(f"cannot be written: {_reason(sys.exc_info()[1])}")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 (the name in logging)
        """Return whether the file is full, and may be renamed without replacing a file of anybody else."""
        if self._descriptor is not None or not super().shouldRollover(record):
            return False
        for number in range(1, self.backupCount + 1):
            old = Path(f"{self.baseFilename}.{number}")
            if os.path.lexists(old) and not _is_old_log(old):
                if not self._kept_whole:
                    self._warn(f"is not begun anew: {old} is not a log of taskdb")
                self._kept_whole = True
                return False
        return True

    def _warn(self, text: str) -> None:
        with suppress(OSError, AttributeError):
            sys.stderr.write(one_line(f"warning: the log file {self._path} {text}") + "\n")

    def _open(self) -> TextIOWrapper:
        # Rotation must rename the file that a symbolic link leads to, not the link.
        self.baseFilename = os.path.realpath(self._path)
        # For what it cannot encode: a file name need not be text.
        return open(
            self.baseFilename, "a", encoding=self.encoding, errors="backslashreplace", opener=self._opened
        )

    def _opened(self, path: str, flags: int) -> int:
        # To open /dev/stdout again would write over what goes to stdout, if that is a file.
        return _open_private(path, flags) if self._descriptor is None else os.dup(self._descriptor)

    def _require_ours(self, stream: TextIOWrapper | None) -> None:
        assert stream
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or self._descriptor in _OUTPUTS:
            return
        if status.st_size and not _begins_as_ours(self._path):
            raise _Foreign("it does not begin with a line of the log of taskdb")

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
        if self._descriptor is not None:
            # If stdout was closed meanwhile, a connection may have got its number.
            return True
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def _begins_as_ours(path: Path) -> bool:
    """Return whether a file is empty or begins with a line of the log."""
    with path.open("rb", buffering=0) as file:
        beginning = file.read(_LONGEST_BEGINNING)
    return not beginning or bool(_OUR_LINE.match(beginning))


def _is_old_log(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and _begins_as_ours(path)
    except OSError:
        return False


def _reason(error: BaseException | None) -> object:
    return getattr(error, "strerror", None) or (error if isinstance(error, ValueError) else "it is broken")


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
