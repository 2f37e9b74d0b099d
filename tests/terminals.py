"""A stream that claims to be a terminal, for command lines that run in this process."""

import io
import re

import pytest

from taskdb_cli.cli import progress


class Terminal(io.StringIO):
    """What was written to a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What was written, without its styles."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).splitlines()


def open_terminal(monkeypatch: pytest.MonkeyPatch, stream: str, *, width: int = 80) -> Terminal:
    """Put a terminal without colours in the place of stdout or stderr, for the rest of the test."""
    terminal = Terminal()
    monkeypatch.setattr(f"sys.{stream}", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    # A bar would show on a slow machine only.
    monkeypatch.setattr(progress, "PATIENCE", 3600.0)
    return terminal
