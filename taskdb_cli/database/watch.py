"""Tell the log of statements that take long."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy import Connection, Engine, event

_log = logging.getLogger("taskdb.sql")
_BEGUN = "taskdb_begun"


def watch(engine: Engine, threshold_ms: int) -> None:
    """Log each statement that takes the threshold or longer, without its values; 0 logs none."""
    if not threshold_ms:
        return

    def before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        connection.info[_BEGUN] = time.perf_counter()

    def after(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        elapsed = (time.perf_counter() - connection.info[_BEGUN]) * 1000
        if elapsed >= threshold_ms:
            _log.warning("slow query: %.0f ms: %s", elapsed, " ".join(statement.split()))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
