"""The dotenv file: which one is read, whether it can be trusted, and what it says."""

import io
import logging
import os
import select
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskdb_cli.errors import InvalidConfiguration

LARGEST = 256_000
"""Bytes of a dotenv file."""

PATIENCE = 30
"""Seconds that a named pipe or a terminal is waited for."""


class _Untrusted(ValueError):
    """A file that was found may be another user's. It is read if it is named."""


@dataclass(frozen=True)
class DotenvFile:
    """What a dotenv file says, and what is odd about it. Without a path there is no dotenv file."""

    path: Path | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def log(self, *, use: bool) -> None:
        """Log the warnings, and with `use` which file is used."""
        logger = logging.getLogger("taskdb.settings")
        if use:
            logger.info("dotenv file: %s", self.path or "none")
        for warning in self.warnings:
            logger.warning("the dotenv file %s %s", self.path, warning)


def read_dotenv_file(named: Path | None) -> DotenvFile:
    """Read the file that the user named, or else the nearest .env of the working directory and its parents.

    Values are taken literally. Variables that are empty are left out. Raises InvalidConfiguration, also for
    a .env that was not named and that somebody else may have written.
    """
    path = named or _nearest()
    if path is None:
        return DotenvFile()
    try:
        if named is None and path.exists() and not path.is_file():
            raise _Untrusted("it is not a regular file; rename it")
        # Opening must neither wait for a writer of a pipe nor take over a terminal.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if named is None:
                _require_trusted(path, status)
            text = _read(file.fileno())
    except (OSError, ValueError) as exc:
        problem = f"cannot be read: {exc.strerror}" if isinstance(exc, OSError) else f"is refused: {exc}"
        hint = f"{'or name it' if isinstance(exc, _Untrusted) else 'name another one'} with --env-file"
        raise InvalidConfiguration(f"the dotenv file {path} {problem}", hint) from exc
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(io.StringIO(text)))
    values = {binding.key: binding.value for binding in bindings if binding.key is not None}
    misread = [binding.original.line for binding in bindings if binding.error]
    warnings = [f"is not understood in line {line}, which is passed over" for line in misread[:1]]
    # A file that was named may have any owner and mode. If everybody may write it there is a warning.
    who, may_write = ("everybody", stat.S_IWOTH) if named else ("its group", stat.S_IWGRP)
    if stat.S_ISREG(status.st_mode) and status.st_mode & may_write:
        warnings.append(f"can be changed by {who}: run 'chmod go-w' on it")
    return DotenvFile(path, {name: value for name, value in values.items() if value}, tuple(warnings))


def _nearest() -> Path | None:
    # A virtual environment may have this name. A broken link is an error, because settings are missing.
    found = (directory / ".env" for directory in (Path.cwd() / ".env").parents)
    return next((path for path in found if os.path.lexists(path) and not path.is_dir()), None)


def _require_trusted(path: Path, status: os.stat_result) -> None:
    """Raise _Untrusted for a file that was found and that another user may have written."""
    for owner in (path.lstat().st_uid, status.st_uid):
        if owner not in (0, os.geteuid()):
            raise _Untrusted(f"it belongs to the user with the id {owner}; make it yours with 'chown'")
    if status.st_mode & stat.S_IWOTH:
        raise _Untrusted("everybody may write it; look at what it says and run 'chmod o-w' on it")
    for directory in (path.parent, Path(os.path.realpath(path)).parent):
        mode = directory.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise _Untrusted(f"everybody may replace files in {directory}; run 'chmod o-w' on that")


def _read(descriptor: int) -> str:
    """Read to the end. Raise ValueError for too much or no text, or for a pipe that nobody writes to."""
    data, part = b"", b"?"
    while part:
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            raise ValueError(f"nothing was written to it for {PATIENCE} seconds")
        part = os.read(descriptor, LARGEST)
        data += part
        if len(data) > LARGEST:
            raise ValueError(f"it is longer than {LARGEST} bytes")
    text = data.decode("utf-8-sig", "replace")
    if "\0" in text or "\ufffd" in text:
        raise ValueError("it is not text in UTF-8")
    return text
