"""When work that failed is done again, and how long to wait before."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from taskdb_cli.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from tenacity import RetryCallState

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

    def is_spent(error: BaseException | None) -> bool:
        cost = error.cost if isinstance(error, DatabaseUnavailable) else 0
        return time.monotonic() - begin + cost >= budget

    try:
        return attempt()
    except DatabaseUnavailable as error:
        if not error.passing or is_spent(error):
            raise
        _tell(error)
    # Only now: nothing that works at once should wait for this import.
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_passing),
        stop=lambda state: is_spent(_error(state)),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        before_sleep=lambda state: _tell(_error(state)),
        reraise=True,
    )
    return retrying(attempt)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, DatabaseUnavailable) and error.passing


def _tell(error: BaseException | None) -> None:
    _log.info("trying again: %s", error, extra={"error": type(error).__name__})
