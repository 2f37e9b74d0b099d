"""Where the log goes, and how much of it."""

from __future__ import annotations

import logging

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}


def configure(verbosity: int) -> None:
    """Log to stderr: errors at -1, warnings at 0, events at 1, and SQL without its parameters above."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = _LEVELS.get(verbosity, logging.DEBUG)
    # The engines hide parameters, which may be anybody's text.
    names = ["taskdb", "alembic.runtime", *(["sqlalchemy.engine"] if level == logging.DEBUG else [])]
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(max(level, logging.INFO) if name != "taskdb" else level)
        logger.propagate = False
