"""Run work again after a passing fault, and wait longer before each attempt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from taskdb_cli.errors import DatabaseUnavailable

T = TypeVar("T")

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0

_log = logging.getLogger("taskdb.retry")


def persist(attempt: Callable[[], T], *, budget: float) -> T:
    """Run `attempt`, again and again while it fails on a passing fault and the budget lasts.

    Waits are random and grow (exponential backoff with full jitter). The budget, in seconds, counts
    from the beginning of the first attempt. Raises what the last attempt raised.
    """
    begin = time.monotonic()

    def is_over(error: BaseException | None) -> bool:
        if not isinstance(error, DatabaseUnavailable) or not error.passing:
            return True
        return time.monotonic() - begin + error.cost >= budget

    def tell(error: BaseException | None) -> None:
        _log.info("trying again: %s", error, extra={"error": type(error).__name__})

    try:
        return attempt()
    except DatabaseUnavailable as error:
        if is_over(error):
            raise
        tell(error)
    # Import it only now: work that succeeds at once should not wait for this.
    import tenacity

    def failure(state: tenacity.RetryCallState) -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
        stop=lambda state: is_over(failure(state)),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        before_sleep=lambda state: tell(failure(state)),
        reraise=True,
    )
    return retrying(attempt)
