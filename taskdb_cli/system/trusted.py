"""Read the text of a file that decides what taskdb does, and see who else may have written it."""

import os
import select
import stat
from pathlib import Path
from urllib.parse import unquote

from taskdb_cli.text.escaping import hide_secrets

LARGEST = 256_000
"""Bytes of such a file."""

PATIENCE = 30
"""Seconds that a named pipe or a terminal is waited for."""


class Untrusted(ValueError):
    """A file that was found may be another user's."""


def read_text(path: Path, *, named: bool) -> tuple[str, os.stat_result]:
    """Return the text of a file, and its status.

    Raises OSError, ValueError for what is no text, and Untrusted for a file that was not `named` by the user
    and is not regular, or that somebody else may have written.
    """
    if not named and path.exists() and not path.is_file():
        raise Untrusted("it is not a regular file; rename it")
    # Opening must neither wait for a writer of a pipe nor take over a terminal.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not named:
            _require_trusted(path, status)
        return _read(file.fileno()), status


def is_open(status: os.stat_result) -> bool:
    """Return whether others than its owner may read a regular file."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & (stat.S_IRGRP | stat.S_IROTH))


def holds_password(text: str) -> bool:
    """Return whether there is a password in a text, also if the text is percent-encoded."""
    return any(hide_secrets(each) != each for each in (text, unquote(text)))


def _require_trusted(path: Path, status: os.stat_result) -> None:
    """Raise Untrusted for a file that was found and that another user may have written."""
    for owner in (path.lstat().st_uid, status.st_uid):
        if owner not in (0, os.geteuid()):
            raise Untrusted(f"it belongs to the user with the id {owner}; make it yours with 'chown'")
    if status.st_mode & stat.S_IWOTH:
        raise Untrusted("everybody may write to it; check its content and run 'chmod o-w' on it")
    for directory in (path.parent, Path(os.path.realpath(path)).parent):
        mode = directory.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise Untrusted(f"everybody may replace files in {directory}; run 'chmod o-w' on the directory")


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
