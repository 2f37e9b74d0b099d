"""Streams between two threads: one writes, the other reads, and an error on either side reaches the other.

Only queues are waited for, which Ctrl-C interrupts and leaves usable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

PIECE = 256 << 10
"""Bytes that pass from one thread to the other at once."""

PIECES = 8
"""The largest number of pieces that wait for the reader."""

T = TypeVar("T")


class Stopped(RuntimeError):
    """The other side of a stream has stopped before the end."""


class Pipe:
    """A bounded stream of bytes. One thread uses `write` and `close`, another one `read` and `stop`."""

    def __init__(self) -> None:
        self._filled: SimpleQueue[bytes] = SimpleQueue()
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(PIECES):
            self._free.put(None)
        self._unsent = bytearray()
        self._unread = memoryview(b"")
        self._failure: BaseException | None = None
        self._stopped: BaseException | None = None
        self.ended = False
        """Whether the reader has reached the end."""

    def write(self, data: bytes) -> int:
        """Take all of the data, and wait while the stream is full; raise what the reader stopped with."""
        if self._stopped:
            raise self._stopped
        self._unsent += data
        while len(self._unsent) >= PIECE:
            self._send(bytes(self._unsent[:PIECE]))
            del self._unsent[:PIECE]
        return len(data)

    def close(self) -> None:
        """Pass on the rest and the end of the stream; raise what the reader stopped with."""
        if self._unsent:
            self._send(bytes(self._unsent))
            self._unsent.clear()
        self._filled.put(b"")

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, which the reader gets instead of the end. Never waits."""
        self._failure = error
        self._filled.put(b"")

    def read(self, size: int = PIECE) -> bytes:
        """Return up to `size` bytes, and none only at the end; raise what the writer failed with."""
        if not self._unread and not self.ended:
            self._unread = memoryview(self._filled.get())
            if not self._unread:
                if self._failure:
                    # It is there again for the next read.
                    self._filled.put(b"")
                    raise self._failure
                self.ended = True
            self._free.put(None)
        data = bytes(self._unread[:size])
        self._unread = self._unread[len(data) :]
        return data

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces up to the end; raise what the writer failed with."""
        return iter(self.read, b"")

    def stop(self, error: BaseException) -> None:
        """Let the writer fail with an error, because nothing more will be read. Never waits."""
        self._stopped = error
        self._free.put(None)

    def _send(self, piece: bytes) -> None:
        if not self._stopped:
            self._free.get()
        if self._stopped:
            raise self._stopped
        self._filled.put(piece)


class Consumer(Generic[T]):
    """A thread that reads what is written here, for as long as the context lasts.

    Leaving it after an error lets the thread's `read` fail, and waits for the thread.
    """

    def __init__(self, work: Callable[[Pipe], T]) -> None:
        self._work, self._pipe = work, Pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._result: list[T] = []
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:
            self._pipe.fail(Stopped("it was interrupted"))
            raise
        return self

    def write(self, data: bytes) -> int:
        """Take all of the data, and wait while the thread is behind; raise what `work` failed with.

        Raises Stopped if `work` returned before the end of the stream.
        """
        return self._pipe.write(data)

    def finish(self) -> T:
        """Pass the end of the stream on, and return what `work` returns; raise as `write` does."""
        if self._thread.is_alive():
            self._pipe.close()
            self._thread.join()
        if self._error:
            raise self._error
        return self._result[0]

    def stop(self) -> None:
        """Let the thread's `read` fail if it is not at the end, and wait for the thread."""
        self._pipe.fail(Stopped("the writer of the stream has stopped"))
        self._thread.join()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.stop()

    def _run(self) -> None:
        try:
            self._result.append(self._work(self._pipe))
            if not self._pipe.ended:
                self._error = Stopped("the reader of the stream has stopped before the end")
        except BaseException as exc:  # noqa: BLE001 (it is raised in the other thread)
            self._error = exc
        self._pipe.stop(self._error or Stopped("the stream is at its end"))


class Filter(Consumer[T]):
    """A Consumer whose thread writes too, and never waits for that.

    So its user reads and writes files on its own thread, where Ctrl-C can interrupt it.
    """

    def __init__(self, work: Callable[[Pipe, Output], T]) -> None:
        self._output = Output()
        super().__init__(lambda pipe: work(pipe, self._output))

    def take(self) -> bytes:
        """Return what the thread has written since, which may be nothing; all of it after `finish`."""
        return self._output.take()


class Output:
    """What the thread of a Filter writes to."""

    def __init__(self) -> None:
        self._pieces: SimpleQueue[bytes] = SimpleQueue()

    def write(self, data: bytes) -> int:
        """Keep the data until they are taken."""
        self._pieces.put(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: all data can be taken at once."""

    def take(self) -> bytes:
        """Return what was written since."""
        return b"".join(self._pieces.get() for _ in range(self._pieces.qsize()))
