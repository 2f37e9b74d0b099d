"""Tell the log of statements, and of those that take long; never of their values."""

from __future__ import annotations

import logging
import time
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


class watching:  # noqa: N801 (a context manager, for each statement: a generator would take longer)
    """Log in the same way a statement that goes to the driver past the engine."""

    __slots__ = ("_begun", "_statement", "_threshold_ms")

    def __init__(self, statement: str, threshold_ms: int) -> None:
        self._statement = statement
        self._threshold_ms = threshold_ms

    def __enter__(self) -> None:
        _log_statement(self._statement)
        self._begun = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            _warn_if_slow(self._statement, self._begun, self._threshold_ms)


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
