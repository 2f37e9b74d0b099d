"""Streams between two threads: in order, bounded, and ended by the errors of either side."""

import os
import signal
import threading
from itertools import repeat

import pytest

from taskdb_cli.system.piping import PIECE, PIECES, Consumer, Producer, Stopped

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
    with Producer(lambda pipe: pipe.write(DATA)) as producer:
        assert b"".join(iter(lambda: producer.read(size), b"")) == DATA
        assert producer.read() == b""


def test_an_empty_stream_has_an_end():
    with Consumer(lambda pipe: pipe.read()) as consumer:
        assert consumer.finish() == b""
    with Producer(lambda pipe: pipe.write(b"")) as producer:
        assert producer.read() == b""


def test_what_waits_for_the_reader_is_bounded():
    written = []

    def write(pipe):
        for piece in MANY:
            pipe.write(piece)
            written.append(piece)

    with Producer(write) as producer:
        for number in range(1, 100):
            producer.read()
            assert len(written) <= PIECES + number


def write_all(pipe, pieces):
    for piece in pieces:
        pipe.write(piece)


def fail(pipe):
    raise KeyError("mine")


def write_and_fail(pipe):
    pipe.write(DATA)
    fail(pipe)


def test_a_writer_that_failed_does_not_look_like_the_end():
    with Producer(write_and_fail) as producer:
        for _ in range(2):
            with pytest.raises(KeyError, match="mine"):
                list(iter(producer.read, b""))


@pytest.mark.parametrize(
    ("work", "error"), [(fail, KeyError), (lambda pipe: pipe.read(), Stopped)], ids=["failed", "returned"]
)
def test_a_reader_that_stopped_ends_its_writer(work, error):
    for pieces in (MANY, repeat(bytes(PIECE), 2)):
        with pytest.raises(error), Consumer(work) as consumer:
            write_all(consumer, pieces)


def test_an_error_outside_reaches_the_thread():
    def kept(work):
        def run(pipe):
            try:
                work(pipe)
            except Stopped as exc:
                seen.append(exc)
                raise

        return run

    seen = []
    with pytest.raises(KeyError), Consumer(kept(list)) as consumer:
        write_and_fail(consumer)
    with pytest.raises(KeyError), Producer(kept(lambda pipe: write_all(pipe, MANY))) as producer:
        fail(producer.read())
    assert len(seen) == 2


@pytest.mark.parametrize("reads", [True, False])
def test_an_interruption_ends_both_threads(reads):
    def consume(pipe):
        pipe.read()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        # A thread that reads no more lets the other one wait until it is interrupted.
        return list(pipe) if reads else interrupted.wait()

    def write_until_interrupted(consumer):
        try:
            write_all(consumer, MANY)
        finally:
            interrupted.set()

    interrupted = threading.Event()
    with pytest.raises(KeyboardInterrupt), Consumer(consume) as consumer:
        write_until_interrupted(consumer)
