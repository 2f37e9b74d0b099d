"""Calls on other threads: how many run at once, in which order, and on which threads."""

import threading

import pytest

from taskdb_cli.backup.stores.calls import AT_ONCE, Call, in_order


def test_calls_run_at_the_same_time_and_their_results_come_in_order():
    """No call of a round returns before all of the round have begun."""
    everybody = threading.Barrier(AT_ONCE, timeout=30)

    def work(number: int) -> int:
        everybody.wait()
        return number

    assert next(in_order(work, range(AT_ONCE))) == 0
    everybody.reset()
    assert list(in_order(work, range(AT_ONCE))) == list(range(AT_ONCE))


def test_an_error_comes_in_its_turn():
    """Results before it are there."""
    found = in_order(lambda number: 1 // number, [1, 1, 0, 1])
    assert [next(found), next(found)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_calls_one_after_another_share_a_thread():
    """A thread serves the next call as soon as its result can be had."""
    # A few may still serve others.
    assert len({Call(threading.current_thread).result() for _ in range(20)}) < 5
