"""The lines that one run of the command line writes to the log, about itself."""

from __future__ import annotations

import os
import time
from contextlib import suppress
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
    """The log of one run: which command ran, how long it took, and how it ended.

    Until it is opened it costs nothing. Not even logging is imported.
    """

    id: str = field(default_factory=lambda: os.urandom(4).hex())
    command: str = "taskdb"
    rows: int | None = None
    outcome: str = ""
    """What the exit code means, if it is not one of `ExitCode`."""
    begun: float = field(default_factory=time.perf_counter)
    settings: LogSettings | None = None
    """The settings that the log was opened with."""
    given_up: bool = False

    def open(self, settings: LogSettings, verbosity: int) -> None:
        """Log from now on. Raises InvalidConfiguration if the log file cannot be opened."""
        if settings != self.settings:
            from taskdb_cli.logging import configure

            configure(verbosity, run=self.id, file=settings.file, as_json=settings.format == "json")
            self.settings = settings

    def give_up(self) -> None:
        """Close the file and write nothing more, not even how the run ended."""
        from taskdb_cli.logging import reset

        reset()
        self.given_up = True

    def close(self, code: int) -> None:
        """Log how the run ended, without any user data, and close the file."""
        if self.settings is None and code != ExitCode.OK and os.environ.get("TASKDB_LOG_FILE"):
            # The command line was not understood, so only the environment says where the log is.
            from taskdb_cli.config import LogSettings

            with suppress(InvalidConfiguration):  # the person has an error to read already
                self.open(LogSettings.read(os.environ), 0)
        if self.settings is None or self.given_up:
            return
        import logging

        from taskdb_cli.logging import reset

        elapsed = (time.perf_counter() - self.begun) * 1000
        names = {each.value: each.name.lower() for each in ExitCode}
        outcome = self.outcome or names.get(code, "failure")
        event = {
            "command": self.command,
            "duration_ms": round(elapsed),
            "exit_code": code,
            "outcome": outcome,
        }
        rows = ""
        if self.rows is not None:
            event["rows"] = self.rows
            rows = f", {self.rows} row{'' if self.rows == 1 else 's'}"
        logging.getLogger("taskdb.command").info(
            "%s: %s (%d) in %.0f ms%s", self.command, outcome, code, elapsed, rows, extra=event
        )
        reset()
