"""The log file: readable by its owner only, rotated, and shared by any number of processes.

`RotatingFileHandler` measures and renames. By itself it would lose lines if several processes rotate one log,
replace any file called `taskdb.log.1`, and leave the mode of new files to the umask.
"""

import fcntl
import logging
import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from taskdb_cli.errors import InvalidConfiguration
from taskdb_cli.system.paths import descriptor_of, reserved
from taskdb_cli.text.escaping import one_line

LARGEST = 5_000_000
"""Bytes after which a new file is begun."""

OLD_FILES = 5
"""How many full files are kept beside the log."""

_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z"
_OUR_LINE = re.compile(
    rb"%(time)s [A-Z]+ [\w.]+ \[\w+\] "
    rb"|\{\"time\": \"%(time)s\", \"level\": \"\w+\", \"logger\": \"" % {b"time": _TIME}
)
"""How a line of the log begins in either format, also in the logs of taskdb 0.1.0."""


def open_log_file(path: Path, level: int) -> logging.Handler:
    """Return the handler of a log file. A missing file is made when its first line is written.

    Raises InvalidConfiguration if the file cannot be written, or holds anything but a log of taskdb.
    """
    try:
        return _LogFile(path, level)
    except (OSError, ValueError) as exc:
        problem = f"cannot be opened: {exc.strerror}" if isinstance(exc, OSError) else f"is refused: {exc}"
        hint = "name another one with --log-file or TASKDB_LOG_FILE"
        raise InvalidConfiguration(f"the log file {path} {problem}", hint) from exc


class _LogFile(RotatingFileHandler):
    def __init__(self, path: Path, level: int) -> None:
        """Raise OSError if no line can be written, or ValueError if none may be written."""
        self._path, self._warned = path.absolute(), ""
        self._descriptor = descriptor_of(self._path)
        # What a descriptor leads to is not rotated.
        most = LARGEST if self._descriptor is None else 0
        super().__init__(self._path, maxBytes=most, backupCount=OLD_FILES, delay=True)
        self.setLevel(level)
        reason = "it is a block device" if self._path.is_block_device() else reserved(self._path)
        if reason:
            raise ValueError(reason)
        try:
            self._path.stat()
        except FileNotFoundError:
            # The file is not made yet: the settings may name this path as the database.
            directory = Path(os.path.realpath(self._path)).parent
            if self._descriptor is not None or not directory.exists():
                raise
            if not os.access(directory, os.W_OK | os.X_OK):
                raise ValueError(f"no file can be made in {directory}") from None
        else:
            self._require_ours()
            self.stream = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line while no other process writes to this path."""
        try:
            self._lock()
            # Another program may have put its own file there since the last line.
            self._require_ours()
            super().emit(record)
        except (OSError, ValueError):
            self.handleError(record)
        finally:
            with suppress(OSError):
                if self.stream:
                    fcntl.flock(self.stream, fcntl.LOCK_UN)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name in logging)
        """Warn once and log no more: a full disk under the log is no reason to stop working."""
        self.setLevel(sys.maxsize)
        error = sys.exc_info()[1]
        self._warn(f"cannot be written: {getattr(error, 'strerror', error)}")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 (the name in logging)
        """Return whether the file is full and can be renamed without replacing a file of somebody else."""
        if not super().shouldRollover(record):
            return False
        for number in range(1, self.backupCount + 1):
            old = Path(f"{self.baseFilename}.{number}")
            if os.path.lexists(old) and (old.is_symlink() or not _is_log(old)):
                self._warn(f"is not rotated: {old} is not a log of taskdb")
                return False
        return True

    def doRollover(self) -> None:  # noqa: N802 (the name in logging)
        """Rename the files while a second descriptor keeps the lock, because the stream is closed first."""
        with os.fdopen(os.dup(self.stream.fileno())):  # type: ignore[union-attr]
            super().doRollover()

    def _warn(self, text: str) -> None:
        if text != self._warned:
            with suppress(OSError, AttributeError):
                sys.stderr.write(one_line(f"warning: the log file {self._path} {text}") + "\n")
        self._warned = text

    def _open(self) -> TextIOWrapper:
        # Rotation must rename the file that a symbolic link leads to, not the link.
        self.baseFilename = os.path.realpath(self._path)
        # A file name in a message need not be valid text.
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=self._opener)

    def _opener(self, path: str, flags: int) -> int:
        if self._descriptor is not None:
            # Opening /dev/stdout again would overwrite a file that stdout leads to.
            return os.dup(self._descriptor)
        try:
            descriptor = os.open(path, flags | os.O_EXCL, 0o600)
            # The umask may have taken away even the owner's rights.
            os.fchmod(descriptor, 0o600)
        except FileExistsError:
            # Without O_NONBLOCK, opening a named pipe would wait for a reader.
            descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
            os.set_blocking(descriptor, True)
        return descriptor

    def _require_ours(self) -> None:
        # A file behind stdout or stderr may hold other lines too.
        if self._descriptor not in (1, 2) and self._path.is_file() and not _is_log(self._path):
            raise ValueError("it does not begin with a line of the log of taskdb")

    def _lock(self) -> None:
        """Open and lock the file that the path leads to now. Another process may have renamed an open one."""
        while True:
            self.stream = self.stream or self._open()
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(self.stream, fcntl.LOCK_EX)
            if self._descriptor is not None:
                # The number of a closed stdout may belong to a connection by now, so stdout is not compared.
                return
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self.stream.fileno()), self._path.stat()):
                    return
            self.stream.close()
            self.stream = None


def _is_log(path: Path) -> bool:
    """Return whether a file is empty or begins with a line of the log."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                beginning = file.read(500)
            return not beginning or bool(_OUR_LINE.match(beginning))
    return False
