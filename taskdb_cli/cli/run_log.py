"""What the log is told about one run of the command line."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from taskdb_cli.errors import ExitCode, InvalidConfiguration

if TYPE_CHECKING:
    from taskdb_cli.config import LogSettings


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


@dataclass
class RunLog:
    """The run as the log sees it: which command, for how long, and how it ended.

    Until it is opened it costs nothing; logging is not even imported.
    """

    id: str = field(default_factory=lambda: os.urandom(4).hex())
    command: str = "taskdb"
    rows: int | None = None
    outcome: str = ""
    """What the exit code means, where it is not one of `ExitCode`."""
    begun: float = field(default_factory=time.perf_counter)
    settings: LogSettings | None = None
    """Those that it was opened with."""
    given_up: bool = False
    """Whether nothing more is written to the log."""

    def open(self, settings: LogSettings, verbosity: int) -> None:
        """Log from now on; raise InvalidConfiguration if the log file cannot be opened."""
        if settings == self.settings:
            return
        from taskdb_cli.logging import configure

        configure(verbosity, run=self.id, file=settings.file, as_json=settings.format == "json")
        self.settings = settings

    def give_up(self) -> None:
        """Close the file, and write nothing more, not even how the run ended."""
        from taskdb_cli.logging import reset

        reset()
        self.given_up = True

    def close(self, code: int) -> None:
        """Log how the run ended, without a word of what the user wrote, and close the file."""
        if self.given_up or (self.settings is None and not self._open_for_failure(code)):
            return
        import logging

        from taskdb_cli.logging import reset

        elapsed = (time.perf_counter() - self.begun) * 1000
        outcome = self.outcome or _name(code)
        event = {
            "command": self.command,
            "duration_ms": round(elapsed),
            "exit_code": code,
            "outcome": outcome,
        }
        if self.rows is not None:
            event["rows"] = self.rows
        rows = "" if self.rows is None else f", {self.rows} row{'' if self.rows == 1 else 's'}"
        logging.getLogger("taskdb.command").info(
            "%s: %s (%d) in %.0f ms%s", self.command, outcome, code, elapsed, rows, extra=event
        )
        reset()

    def _open_for_failure(self, code: int) -> bool:
        # The command line was not understood, so that only the environment says where the log is.
        if code == ExitCode.OK or not os.environ.get("TASKDB_LOG_FILE"):
            return False
        from taskdb_cli.config import LogSettings

        try:
            self.open(LogSettings.read(os.environ), 0)
        except InvalidConfiguration:
            # The person has an error to read already.
            return False
        return True


def _name(code: int) -> str:
    try:
        return ExitCode(code).name.lower()
    except ValueError:
        return "failure"
