"""Where log lines go, which levels are logged, what a line looks like, and how a person is warned.

Only the command line calls this. A program that uses taskdb as a library configures the loggers under
`taskdb` itself. Until it does, they write nothing.
"""

import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from taskdb_cli.text.escaping import escape_json, hide_secrets, one_line

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
_LIBRARIES = ("psycopg", "urllib3", "botocore")
"""They warn about what fails on the way to an error, or only needs another try. taskdb reports the error."""


def configure(
    verbosity: int,
    *,
    run: str,
    file: Path | None = None,
    as_json: bool = False,
    advice: Callable[[], str] | None = None,
) -> None:
    """Log to stderr: errors at verbosity -1, warnings at 0, events at 1, and SQL without its values above.

    A file always gets events. Every line carries `run`, the id of the invocation. With `advice`, a person
    reads stderr and gets sentences instead of lines; it says after a slow statement what to do. An earlier
    configuration is undone. Raises InvalidConfiguration if the file cannot be opened.
    """
    reset()
    root = logging.getLogger()
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    lines = _Lines(run, as_json=as_json)
    stderr = _Sentences(advice) if advice else logging.StreamHandler(sys.stderr)
    stderr.setLevel(level)
    stderr.setFormatter(_Sentence() if advice else lines)
    handlers: list[logging.Handler] = [stderr]
    if file is not None:
        from taskdb_cli.system.logfile import open_log_file

        log_file = open_log_file(file, min(level, logging.INFO))
        log_file.setFormatter(lines)
        handlers.append(log_file)
    for handler in handlers:
        root.addHandler(handler)
    logging.getLogger("taskdb").setLevel(min(handler.level for handler in handlers))
    # Below WARNING, the libraries log SQL and rows. taskdb logs statements itself, without values.
    root.setLevel(logging.WARNING)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    # An error of stderr cannot be reported anywhere.
    logging.raiseExceptions = False
    # Python would print warnings unescaped, and warnings of SQLAlchemy name columns and types.
    logging.captureWarnings(True)


def reset() -> None:
    """Undo `configure`, and close its file."""
    logging.raiseExceptions = True
    logging.captureWarnings(False)
    for name in ("taskdb", *_LIBRARIES):
        logging.getLogger(name).setLevel(logging.NOTSET)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each.formatter, (_Lines, _Sentence))]:
        root.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _Lines(logging.Formatter):
    """One line for each record. It has no traceback, because frames and messages may hold user data."""

    def __init__(self, run: str, *, as_json: bool) -> None:
        super().__init__()
        self.run, self.as_json = run, as_json

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        if not self.as_json:
            message = one_line(" ".join(record.getMessage().split())) + (f" ({error})" if error else "")
            return f"{time} {record.levelname} {record.name} [{self.run}] {message}"
        import json

        level, message = record.levelname.lower(), record.getMessage()
        line = {"time": time, "level": level, "logger": record.name, "message": message, "run": self.run}
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD | line.keys()}
        line |= extra | ({"error": error} if error else {})
        line = {key: hide_secrets(value) if isinstance(value, str) else value for key, value in line.items()}
        # An unknown object is written as its text.
        shown = json.dumps(line, ensure_ascii=False, default=lambda value: hide_secrets(str(value)))
        return escape_json(shown)


class _Sentence(logging.Formatter):
    """A record for people: without its time, its logger and the id of the run."""

    def format(self, record: logging.LogRecord) -> str:
        # Python puts a place in the code and a class before the words of a warning, and the code behind them.
        words = re.sub(r"^\S+:\d+: \w+: ", "", record.getMessage()).partition("\n")[0]
        return one_line(f"{record.levelname.lower()}: {words}")


class _Sentences(logging.StreamHandler[TextIO]):
    """Prints log records for people. At the end of the run it prints the slowest of the slow queries."""

    def __init__(self, advice: Callable[[], str]) -> None:
        super().__init__(sys.stderr)
        self._advice, self._slowest = advice, 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "taskdb.sql":
            self._slowest = max(self._slowest, vars(record)["duration_ms"])
        else:
            super().emit(record)

    def close(self) -> None:
        super().close()
        if self._slowest:
            seconds = self._slowest / 1000
            took = f"{seconds:.1f} s" if seconds >= 1 else f"{self._slowest} ms"
            self.stream.write(f"warning: the query took {took}; {self._advice()}\n")
            self.flush()
