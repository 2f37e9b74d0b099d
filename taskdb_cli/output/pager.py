"""A pager, as git has one: for what is longer than the screen, if stdout is a terminal."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.system import signals

if TYPE_CHECKING:
    import subprocess

_STYLE = re.compile(r"\x1b\[[0-9;]*m")

_KEPT = 2**21
"""Characters that are kept, in case the pager fails before it showed any. A pipe holds half as many."""

_PIPE = 2**20
"""Bytes that the pipe to a pager holds, where the system allows it.

What fits is read from the database at once, so that no transaction waits for the reader.
"""


@contextmanager
def paged(stream: TextIO, *, chop: bool = False) -> Iterator[TextIO]:
    """Yield a stream to write to: the pager's, once there is more than a screen, or else the given one.

    On leaving, wait until the reader quits the pager. A reader who quits early or presses Ctrl-C has seen
    enough, which raises BrokenPipeError. If the pager fails, everything is written to the given stream.
    With `chop`, less shows a long line as one line that can be scrolled sideways.
    """
    command = _command() if stream.isatty() else None
    if command is None:
        yield stream
        return
    # With F, less leaves at once if all lines are on the screen, even those that S has cut off.
    paging = _Paging(stream, command, {"LESS": "RSX" if chop else "FRX"})
    try:
        yield cast("TextIO", paging)
    except _ReaderLeft:
        raise BrokenPipeError from None
    except KeyboardInterrupt:
        if not paging.finish(interrupted=True) or signals.exit_code() is not ExitCode.INTERRUPTED:
            raise
        raise BrokenPipeError from None
    except BaseException:
        paging.finish()
        raise
    paging.finish()


def _command() -> str | None:
    """Return the command of the pager, or None if there is to be none."""
    command = os.environ.get("TASKDB_PAGER", os.environ.get("PAGER", "less")).strip()
    program = command.split(" ")[0]
    # A dumb terminal cannot scroll. A shell would complain of a program that is missing.
    missing = re.fullmatch(r"[\w./+-]+", program) and not shutil.which(program)
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return None if dumb or missing or command in ("", "cat") else command


class _ReaderLeft(Exception):
    """The reader quit the pager early. Rich would leave by itself after a BrokenPipeError."""


class _Paging:
    """A stream that holds the first screen back, and starts the pager when there is more."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO, command: str, defaults: dict[str, str]) -> None:
        self._stream = stream
        self._command = command
        self._defaults = defaults | {"LV": "-c", "LESSCHARSET": "utf-8"}
        self._held: list[str] = []
        self._size = 0
        self._lines = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._plain = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._plain:
            return self._stream.write(text)
        self._size += len(text)
        if self._size <= _KEPT:
            self._held.append(text)
        if self._process is not None:
            self._send(self._process, text)
            return len(text)
        size = shutil.get_terminal_size()
        widths = (len(_STYLE.sub("", line)) for line in text.splitlines())
        self._lines += sum(max(1, -(-width // size.columns)) for width in widths)
        # The prompt of the shell takes a line, too.
        if self._lines >= size.lines:
            self._start()
        return len(text)

    def flush(self) -> None:
        if self._plain:
            self._stream.flush()

    def finish(self, *, interrupted: bool = False) -> bool:
        """Write what is held back, or wait for the pager to end; return whether there was one."""
        if self._process is None:
            if not self._plain:
                self._write_held()
            return False
        if interrupted and signals.exit_code() is not ExitCode.INTERRUPTED:
            self._process.terminate()
        if not self._ended_well(self._process) and not interrupted:
            self._write_held()
        return True

    def _start(self) -> None:
        import subprocess

        self._stream.flush()
        # Without a shell between, SIGTERM reaches the pager.
        plain = re.fullmatch(r"[\w./+-]+( [\w./+:,=-]+)*", self._command)
        words = self._command.split(" ") if plain else ["/bin/sh", "-c", self._command]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (the user's own command, as git runs it)
                words,
                stdin=subprocess.PIPE,
                env={**self._defaults, **os.environ},
            )
        except OSError:
            self._write_held()
            return
        with suppress(ImportError, AttributeError, OSError):
            import fcntl

            assert self._process.stdin
            fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
        self._send(self._process, "".join(self._held))

    def _send(self, process: subprocess.Popen[bytes], text: str) -> None:
        assert process.stdin
        try:
            process.stdin.write(text.encode(errors="backslashreplace"))
            process.stdin.flush()
        except BrokenPipeError:
            if self._ended_well(process):
                raise _ReaderLeft from None
            self._process = None
            self._write_held()

    def _ended_well(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the pager; return whether the reader has seen what they want."""
        assert process.stdin
        with signals.left_to_child() as received:
            with suppress(BrokenPipeError):
                process.stdin.close()
            try:
                code = process.wait()
            except KeyboardInterrupt:  # SIGTERM or SIGHUP
                process.terminate()
                process.wait()
                raise
        return code == 0 or bool(received) or self._size > _KEPT

    def _write_held(self) -> None:
        self._plain = True
        self._stream.write("".join(self._held))
        self._held.clear()
