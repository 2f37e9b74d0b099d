"""Objects of a bucket that are open: for reading by parts, or while they are uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from taskdb_cli.backup.stores.calls import Call, calmed
from taskdb_cli.backup.stores.faults import status_and_code
from taskdb_cli.errors import ArchiveCorrupt
from taskdb_cli.system.piping import Consumer, Pipe

if TYPE_CHECKING:
    from obstore import GetOptions

    from taskdb_cli.backup.stores.objects import ObjectStore

PART = 5 << 20
"""Bytes in a part of an upload; there may be 10,000 of them."""

_AT_ONCE = 1 << 20
"""Bytes of a file that is still sent by one request."""

WINDOW = 256 << 10
"""Bytes that opening an object fetches at most, and a read somewhere else at least."""
_AHEAD = 2 << 20
"""Bytes that reading forwards fetches at once, while those before are worked on."""

CHANGED = "it was changed while it was read", "run the command again"
"""What is said of an object that was replaced meanwhile, and what to do."""


class OpenObject:
    """An object that is open for reading, as long as it has the tag that it had; `data` is its beginning."""

    def __init__(self, store: ObjectStore, name: str, size: int, tag: str, data: memoryview) -> None:
        self._store, self._name, self.size, self.tag = store, name, size, tag
        self._start, self._data = 0, data
        self._step = WINDOW
        self._next: tuple[int, Call[memoryview]] | None = None

    def read_at(self, position: int, size: int) -> bytes:
        """Read from what was fetched. Reading on fetches more at once, and what follows it on a thread."""
        end = min(position + size, self.size)
        pieces = []
        while position < end:
            if not self._start <= position < self._start + len(self._data):
                self._fetch(position)
            piece = self._data[position - self._start : end - self._start]
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)

    def _fetch(self, position: int) -> None:
        forwards = position == self._start + len(self._data)
        expected, call = self._next or (None, None)
        self._data, self._next = memoryview(b""), None
        if not call or expected != position:
            self._step = min(4 * self._step, _AHEAD) if forwards else WINDOW
            # The structure of an archive is read backwards from its end.
            position -= 0 if forwards else position % WINDOW
            call = self._request(position)
        self._start, self._data = position, call.result()
        following = position + len(self._data)
        if forwards and self._step == _AHEAD and following < self.size:
            self._next = following, self._request(following)

    def _request(self, position: int) -> Call[memoryview]:
        return Call(lambda: self._get(position, min(position + self._step, self.size)))

    def _get(self, start: int, end: int) -> memoryview:
        import obstore

        options: GetOptions = {"range": (start, end)}
        if self.tag:
            options["if_match"] = self.tag
        try:
            found = obstore.get(self._store.objects, self._store.key(self._name), options=options)
            # A copy would be held beside it.
            data = memoryview(found.bytes())
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            raise self._store.translated(exc, self._name) from None
        # Some stores ignore conditions.
        if len(data) != end - start or (found.meta["e_tag"] or "") != self.tag:
            raise ArchiveCorrupt(self._store.location(self._name), *CHANGED)
        return data


class NewObject:
    """An object that is being uploaded: at once if it is small, else in parts by a thread."""

    def __init__(self, store: ObjectStore, name: str, uploading: ExitStack) -> None:
        self._store, self._name, self._uploading = store, name, uploading
        self._beginning = bytearray()
        self._parts: Consumer[str] | None = None
        self._size = 0
        self._tag: str | None = None
        self.stored = False
        """Whether there may be such an object."""

    def write(self, data: bytes) -> int:
        """Take all of the bytes."""
        self._size += len(data)
        if self._parts:
            return self._parts.write(data)
        self._beginning += data
        if len(self._beginning) > _AT_ONCE:
            self._parts = self._uploading.enter_context(Consumer(self._upload))
            self._parts.write(bytes(self._beginning))
            self._beginning.clear()
        return len(data)

    @contextmanager
    def reopen(self) -> Iterator[OpenObject]:
        """Complete the upload, and open what the store has."""
        self.complete()
        with self._store.open(self._name) as file:
            if (file.size, file.tag) != (self._size, self._tag):
                raise ArchiveCorrupt(self._store.location(self._name), "it is not what was uploaded")
            yield file

    def complete(self) -> None:
        """Complete the upload, once."""
        if self._tag is not None:
            return
        self.stored = True
        if self._parts:
            self._tag = self._parts.finish()
            return
        self._tag = self._store.put(self._name, bytes(self._beginning), instead_of=None)
        if self._tag is None:
            self.stored = False
            raise self._store.taken(self._name)

    def _upload(self, pipe: Pipe) -> str:
        import obstore

        key = self._store.key(self._name)
        try:
            with calmed():
                stored = obstore.put(self._store.uploads, key, iter(pipe), chunk_size=PART, max_concurrency=1)
            return stored["e_tag"] or ""
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            # If the answer to the completion is lost, the next attempt finds its parts used up.
            if pipe.ended and status_and_code(str(exc))[1] in ("NoSuchUpload", "InvalidBlockList"):
                with self._store.open(self._name) as file:
                    if file.size == self._size:
                        return file.tag
            raise self._store.translated(exc, self._name) from None
