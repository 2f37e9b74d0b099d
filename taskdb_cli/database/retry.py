"""Run work again after a passing fault, and wait longer before each attempt."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from taskdb_cli.errors import ConnectionFailed, ConnectionLost, DatabaseUnavailable

T = TypeVar("T")

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0

_log = logging.getLogger("taskdb.retry")


def persist(
    attempt: Callable[[], T], *, budget: float, on: type[DatabaseUnavailable] = DatabaseUnavailable
) -> T:
    """Run `attempt`, again and again while it fails on a passing fault of type `on` and the budget lasts.

    Waits are random and grow (exponential backoff with full jitter). The budget, in seconds, counts
    from the beginning of the first attempt. Raises what the last attempt raised, or ConnectionLost if the
    connection of an earlier one broke and there is no other.
    """
    begin, longest, lost = time.monotonic(), FIRST_WAIT, None
    while True:
        try:
            return attempt()
        except on as error:
            if time.monotonic() - begin + error.cost >= budget or not error.passing:
                if lost and isinstance(error, ConnectionFailed):
                    hint = "the transaction was rolled back; try again when the server answers"
                    raise ConnectionLost(f"{lost.message}; then: {error.message}", hint) from error
                raise
            lost = error if isinstance(error, ConnectionLost) else lost
            _log.info("trying again: %s", error, extra={"error": type(error).__name__})
        time.sleep(random.uniform(0, longest))  # noqa: S311 (no secret)
        longest = min(2 * longest, LONGEST_WAIT)
