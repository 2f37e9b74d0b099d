"""Streams between two threads: in order, bounded, and ended by the errors of either side."""

import os
import threading
from itertools import repeat

import pytest

from taskdb_cli.system.piping import PIECE, PIECES, Consumer, Filter, Stopped
from tests.backups import run_python

DATA = os.urandom(3 * PIECE + 5)
MANY = repeat(bytes(PIECE))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("size", [1000, PIECE, len(DATA), 10 * PIECE])
def test_what_is_written_is_read_in_order(size):
    with Consumer(b"".join) as consumer:
        for start in range(0, len(DATA), size):
            assert consumer.write(DATA[start : start + size]) == len(DATA[start : start + size])
        assert consumer.finish() == consumer.finish() == DATA


def test_an_empty_stream_has_an_end():
    with Consumer(lambda pipe: pipe.read()) as consumer:
        assert consumer.finish() == b""


def test_what_a_filter_writes_is_taken_in_order():
    def double(pipe, output):
        for piece in pipe:
            output.write(piece)
            output.write(piece)
        return "done"

    taken = b""
    with Filter(double) as filter:
        for _ in range(5 * PIECES):
            filter.write(bytes(PIECE))
            taken += filter.take()
        assert filter.finish() == "done"
        assert len(taken + filter.take()) == 10 * PIECES * PIECE
        assert filter.take() == b""


def test_what_waits_for_the_reader_is_bounded():
    def wait(pipe):
        for _ in range(PIECES + 1):
            pipe.read()
        written = len(seen)
        list(pipe)
        return written

    seen = []
    with Consumer(wait) as consumer:
        for piece in repeat(bytes(PIECE), 10 * PIECES):
            consumer.write(piece)
            seen.append(piece)
        assert consumer.finish() <= 2 * PIECES + 1


def write_all(pipe, pieces):
    for piece in pieces:
        pipe.write(piece)


def fail(pipe):
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("work", "error"), [(fail, KeyError), (lambda pipe: pipe.read(), Stopped)], ids=["failed", "returned"]
)
def test_a_reader_that_stopped_ends_its_writer(work, error):
    for pieces in (MANY, repeat(bytes(PIECE), 2)):
        with pytest.raises(error), Consumer(work) as consumer:
            write_all(consumer, pieces)


def test_an_error_outside_does_not_look_like_the_end():
    def consume(pipe):
        try:
            list(pipe)
        except Stopped as exc:
            seen.append(exc)
            raise

    def write_and_fail(consumer):
        consumer.write(DATA)
        fail(None)

    seen = []
    with pytest.raises(KeyError), Consumer(consume) as consumer:
        write_and_fail(consumer)
    assert len(seen) == 1


INTERRUPTED = """
import signal, sys, threading
from itertools import repeat
from taskdb_cli.system.piping import PIECE, Consumer
# A job in the background begins with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupted, reads = threading.Event(), sys.argv[1] == "True"
def consume(pipe):
    pipe.read()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    # A thread that reads no more lets the other one wait until it is interrupted.
    return list(pipe) if reads else interrupted.wait()
try:
    with Consumer(consume) as consumer:
        try:
            for piece in repeat(bytes(PIECE)):
                consumer.write(piece)
        finally:
            interrupted.set()
except KeyboardInterrupt:
    print(threading.active_count())
"""


@pytest.mark.parametrize("reads", [True, False])
def test_an_interruption_ends_both_threads(reads):
    assert run_python(INTERRUPTED, reads).stdout == "1\n"
