"""Work on other threads, for calls that Ctrl-C cannot interrupt: waiting for them here can be interrupted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

AT_ONCE = 8
"""How many calls `in_order` makes at the same time."""

S = TypeVar("S")
T = TypeVar("T")


class Panicked(RuntimeError):
    """obstore met something that it holds impossible. What it says may hold anything."""


@contextmanager
def calmed() -> Iterator[None]:
    """Raise Panicked for a panic of obstore, which is no Exception, and would pass everything that tidies up.

    Only for threads that get no signals.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as exc:  # noqa: BLE001 (no signal comes here)
        raise Panicked(type(exc).__name__) from None


class Call(Generic[T]):
    """Work on a thread that later calls use again: each new one may keep some memory for itself."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
        try:
            calls = _idle.pop()
        except IndexError:
            calls = SimpleQueue()
            threading.Thread(target=_serve, args=(calls,), daemon=True).start()
        calls.put(self)

    def result(self) -> T:
        """Wait for the work, and return what it returns or raise what it raises. Can be called once."""
        return self._outcome(None)

    def result_within(self, seconds: float) -> T | None:
        """Do the same, but return None if it takes more seconds. The work then goes on alone."""
        try:
            return self._outcome(seconds)
        except Empty:
            return None

    def _outcome(self, seconds: float | None) -> T:
        results, error = self._done.get(timeout=seconds)
        if error:
            raise error
        return results[0]

    def run(self, calls: SimpleQueue[Call[T]]) -> None:
        """Do the work on the thread that serves these calls."""
        results: list[T] = []
        error: BaseException | None = None
        try:
            with calmed():
                results.append(self._work())
        except Exception as exc:  # noqa: BLE001 (it is raised in the other thread)
            error = exc
        # What waits for the result may have the next call at once.
        _idle.append(calls)
        self._done.put((results, error))


_idle: list[SimpleQueue[Call[Any]]] = []
"""The calls of each thread that has nothing to do."""


def _serve(calls: SimpleQueue[Call[Any]]) -> None:
    while True:
        calls.get().run(calls)


def in_order(work: Callable[[S], T], each: Iterable[S]) -> Iterator[T]:
    """Yield what `work` returns for each, in their order, while it works on the next few on other threads.

    Raises what `work` raises; then, and when nobody takes any more, what has begun goes on alone.
    """
    calls: deque[Call[T]] = deque()
    for one in each:
        calls.append(Call(partial(work, one)))
        if len(calls) == AT_ONCE:
            yield calls.popleft().result()
    while calls:
        yield calls.popleft().result()
