"""Log SQL statements and warn about slow ones. Never log parameter values."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

_log = logging.getLogger("taskdb.sql")


def log_statements(engine: Engine, threshold_ms: int) -> None:
    """Log each statement for debugging, and warn about those that reach the threshold; 0 is never."""

    def before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        connection.info["taskdb_started"] = _start(statement)

    def after(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        _warn_if_slow(statement, connection.info["taskdb_started"], threshold_ms)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)


@contextmanager
def logged(statement: str, threshold_ms: int) -> Iterator[None]:
    """Log in the same way a statement that only the driver can run, such as COPY."""
    started = _start(statement)
    yield
    _warn_if_slow(statement, started, threshold_ms)


def _start(statement: str) -> float:
    if _log.isEnabledFor(logging.DEBUG):
        text = _without_values(statement)
        _log.debug("%s", text, extra={"sql": text})
    return time.perf_counter()


def _warn_if_slow(statement: str, started: float, threshold_ms: int) -> None:
    elapsed = (time.perf_counter() - started) * 1000
    if threshold_ms and elapsed >= threshold_ms:
        text = _without_values(statement)
        extra = {"sql": text, "duration_ms": round(elapsed)}
        _log.warning("slow query: %.0f ms: %s", elapsed, text, extra=extra)


def _without_values(statement: str) -> str:
    # All other statements have parameters; a statement to explain has the values in its text.
    return "EXPLAIN …" if statement.startswith("EXPLAIN") else " ".join(statement.split())
