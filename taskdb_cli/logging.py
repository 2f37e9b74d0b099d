"""Where the log goes, how much of it, and what a line of it looks like.

Only the command line sets this up. A program that uses taskdb as a library configures the loggers under
`taskdb` as it likes; until it does, they say nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from taskdb_cli.text.escaping import escape_json, hide_secrets, one_line

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
_LIBRARIES = ("alembic", "asyncio", "psycopg", "py.warnings", "sqlalchemy", "uvicorn")
_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


def configure(verbosity: int, *, run: str, file: Path | None = None, as_json: bool = False) -> None:
    """Log to stderr: errors at -1, warnings at 0, events at 1, and SQL without its parameters above.

    A file gets events at least. Every line carries `run`, the id of the invocation. What was set up
    before is undone. Raises InvalidConfiguration for a file that cannot be opened.
    """
    reset()
    level = _LEVELS.get(verbosity, logging.DEBUG)
    handlers: list[logging.Handler] = [_Stderr(level)]
    if file is not None:
        from taskdb_cli.system.logfile import open_log_file

        handlers.append(open_log_file(file, min(level, logging.INFO)))
    formatter = _JsonLines(run) if as_json else _TextLines(run)
    for handler in handlers:
        handler.setFormatter(formatter)
    # The libraries would log SQL and rows at their more talkative levels: that part is ours.
    least = {"taskdb": min(handler.level for handler in handlers)} | dict.fromkeys(
        _LIBRARIES, logging.WARNING
    )
    # It warns of what it could not tidy up after a failure, which is reported in any case.
    least["psycopg"] = logging.ERROR
    # Python itself would print a warning as it is, and SQLAlchemy's name columns and types.
    logging.captureWarnings(True)
    for name, threshold in least.items():
        logger = logging.getLogger(name)
        logger.handlers = list(handlers)
        logger.setLevel(threshold)
        logger.propagate = False


def reset() -> None:
    """Undo `configure`, and close its file."""
    logging.captureWarnings(False)
    for name in ("taskdb", *_LIBRARIES):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            with suppress(OSError):
                handler.close()
        logger.handlers = [logging.NullHandler()]
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


class _Stderr(logging.StreamHandler[TextIO]):
    def __init__(self, level: int) -> None:
        super().__init__(sys.stderr)
        self.setLevel(level)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name in logging)
        """Say nothing: there is nowhere left to say it."""


class _Lines(logging.Formatter):
    """One line for each record, without any traceback, whose frames and messages may hold anything."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run

    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        for name, value in vars(record).items():
            if name not in _STANDARD:
                yield name, hide_secrets(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0]:
            yield "error", record.exc_info[0].__name__


class _TextLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        message = one_line(" ".join(record.getMessage().split()))
        if record.exc_info and record.exc_info[0]:
            message += f" ({record.exc_info[0].__name__})"
        return f"{_time(record)} {record.levelname} {record.name} [{self.run}] {message}"


class _JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        import json

        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hide_secrets(record.getMessage()),
            "run": self.run,
        }
        # First and for certain what every line has.
        everything = line | dict(self.fields(record)) | line
        # An unknown object is written as its text.
        shown = json.dumps(everything, ensure_ascii=False, default=lambda value: hide_secrets(str(value)))
        return escape_json(shown)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
