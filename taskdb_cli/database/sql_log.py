"""Log SQL statements, and warn about slow ones unless they may be slow. Never log parameter values."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

_log = logging.getLogger("taskdb.sql")

LONG_WORK = "taskdb_long_work"
"""The execution option of a connection whose statements may well be slow, such as those of an import. A slow
one is an event then, and no warning."""


def log_statements(engine: Engine, threshold_ms: int) -> None:
    """Log each statement for debugging, and warn about those that reach the threshold; 0 is never."""

    def before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        connection.info["taskdb_started"] = _start(statement)

    def after(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        long = LONG_WORK in connection.get_execution_options()
        _tell_if_slow(statement, connection.info["taskdb_started"], threshold_ms, long=long)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)


@contextmanager
def logged(statement: str, threshold_ms: int, *, long: bool = False) -> Iterator[None]:
    """Log in the same way a statement that only the driver can run; `long` is that of LONG_WORK."""
    started = _start(statement)
    yield
    _tell_if_slow(statement, started, threshold_ms, long=long)


def _start(statement: str) -> float:
    if _log.isEnabledFor(logging.DEBUG):
        text = _without_values(statement)
        _log.debug("%s", text, extra={"sql": text})
    return time.perf_counter()


def _tell_if_slow(statement: str, started: float, threshold_ms: int, *, long: bool) -> None:
    elapsed = (time.perf_counter() - started) * 1000
    if threshold_ms and elapsed >= threshold_ms:
        text = _without_values(statement)
        extra = {"sql": text, "duration_ms": round(elapsed)}
        level = logging.INFO if long else logging.WARNING
        _log.log(level, "slow query: %.0f ms: %s", elapsed, text, extra=extra)


def _without_values(statement: str) -> str:
    # All other statements have parameters; a statement to explain has the values in its text.
    return "EXPLAIN …" if statement.startswith("EXPLAIN") else " ".join(statement.split())
