"""Tell the log of statements, and of those that take long; never of their values."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

_log = logging.getLogger("taskdb.sql")
_BEGUN = "taskdb_begun"


def watch(engine: Engine, threshold_ms: int) -> None:
    """Log each statement for debugging, and warn of one that takes the threshold or longer; 0 is never."""

    def before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        _log_statement(statement)
        connection.info[_BEGUN] = time.perf_counter()

    def after(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        _warn_if_slow(statement, connection.info[_BEGUN], threshold_ms)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)


@contextmanager
def watching(statement: str, threshold_ms: int) -> Iterator[None]:
    """Log in the same way a statement that goes to the driver past the engine."""
    _log_statement(statement)
    begun = time.perf_counter()
    yield
    _warn_if_slow(statement, begun, threshold_ms)


def _log_statement(statement: str) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        text = _without_values(statement)
        _log.debug("%s", text, extra={"sql": text})


def _warn_if_slow(statement: str, begun: float, threshold_ms: int) -> None:
    elapsed = (time.perf_counter() - begun) * 1000
    if threshold_ms and elapsed >= threshold_ms:
        text = _without_values(statement)
        extra = {"sql": text, "duration_ms": round(elapsed)}
        _log.warning("slow query: %.0f ms: %s", elapsed, text, extra=extra)


def _without_values(statement: str) -> str:
    # Values are parameters everywhere else; a statement to explain has them written in.
    return "EXPLAIN …" if statement.startswith("EXPLAIN") else " ".join(statement.split())
