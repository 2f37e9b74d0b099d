"""Where the log goes, and how much of it."""

from __future__ import annotations

import logging

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}


def configure(verbosity: int) -> None:
    """Log to stderr: errors at -1, warnings at 0, events at 1, and SQL without its parameters above."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = _LEVELS.get(verbosity, logging.DEBUG)
    levels = {
        "taskdb": level,
        "alembic.runtime": max(level, logging.INFO),
        # The engines hide parameters, which may be anybody's text; below INFO they would log rows.
        "sqlalchemy.engine": logging.INFO if level == logging.DEBUG else logging.WARNING,
    }
    for name, least in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
