"""A bucket as a store of files, each of which is one object below a prefix."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskdb_cli.backup.stores import Found, Leftover
from taskdb_cli.backup.stores.faults import failure, status_and_code
from taskdb_cli.backup.stores.lease import EXPIRY, Lease
from taskdb_cli.backup.stores.s3 import HASTY, PATIENT, S3, Patience, parse_address
from taskdb_cli.errors import ArchiveCorrupt, Conflict, FileMissing, NotFound, StorageFailed, StoreUnavailable
from taskdb_cli.system.piping import Consumer, Pipe
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import S3Store

PART = 16 << 20
"""Bytes in a part of an upload; there may be 10,000 of them. A file of up to half of it is sent at once."""

_WINDOW = 256 << 10
"""Bytes that a read somewhere else fetches at least."""
_AHEAD = 4 << 20
"""Bytes that reading forwards fetches at once, while those before are worked on."""
_ATTEMPTS = 20

T = TypeVar("T")


class Call(Generic[T]):
    """Work on a thread of its own, because Ctrl-C cannot interrupt a call of obstore."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> T:
        """Wait for the work, and return what it returns or raise what it raises. Can be called once."""
        results, error = self._done.get()
        if error:
            raise error
        return results[0]

    def _run(self) -> None:
        try:
            self._done.put(([self._work()], None))
        except BaseException as exc:  # noqa: BLE001 (it is raised in the other thread)
            self._done.put(([], exc))


@dataclass(frozen=True)
class ObjectStore:
    """The objects directly below a prefix of a bucket. Nothing is asked of the bucket until it is used."""

    bucket: str
    prefix: str
    patience: Patience = field(default=PATIENT, compare=False)
    directory: Path | None = field(default=None, init=False)

    def __str__(self) -> str:
        return f"s3://{self.bucket}" + f"/{self.prefix}" * bool(self.prefix)

    def location(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self}/{name}"

    def key(self, name: str) -> str:
        """Return the key of a file's object; raise FileMissing for a name that no file can have."""
        if name in ("", ".", "..") or "/" in name or not name.isprintable():
            raise FileMissing(brief(self.location(name)))
        return f"{self.prefix}/{name}" if self.prefix else name

    @cached_property
    def service(self) -> S3:
        """The service, for requests that obstore has no call for."""
        return S3(self.bucket, self.patience, location=str(self))

    @cached_property
    def objects(self) -> "S3Store":
        """The bucket as obstore knows it."""
        return self.service.store()

    def exists(self) -> bool:
        """Return whether there is such a bucket."""
        try:
            next(self._listing(**{"max-keys": "1"}))
        except NotFound:
            return False
        return True

    def make(self) -> None:
        """Raise NotFound if there is no such bucket. A prefix need not be made."""
        next(self._listing(**{"max-keys": "1"}))

    def list_files(self) -> list[Found]:
        """Return the objects of the prefix, a thousand in a request; a missing bucket is an error."""
        found = []
        for page in self._listing():
            for entry in page:
                known = entry.fields
                name = known["Key"][len(self._below) :]
                # Consoles make an empty object with the name of the prefix itself.
                if name:
                    changed = datetime.fromisoformat(known["LastModified"])
                    found.append(Found(name, int(known["Size"]), changed, known.get("ETag", "")))
        return found

    def size(self, name: str) -> int:
        """Return the size of an object."""
        import obstore

        return self._call(name, lambda key: obstore.head(self.objects, key))["size"]

    @contextmanager
    def open(self, name: str) -> Iterator["_OpenObject"]:
        """Open an object as it is now; if it changes while it is read, it counts as damaged."""
        import obstore

        meta = self._call(name, lambda key: obstore.head(self.objects, key))
        yield _OpenObject(self, name, meta["size"], meta["e_tag"] or "")

    @contextmanager
    def create(self, name: str) -> Iterator["_NewObject"]:
        """Upload an object; after an error on the way it is deleted, or never appears.

        The name is looked up first, so one that was taken before is refused. Only a small file is also
        refused by the store itself if another run takes the name now: S3 can do so for an upload in parts,
        but obstore does not ask it to. The lock of the label keeps other runs of taskdb off.
        """
        with suppress(FileMissing):
            self.size(name)
            raise self.taken(name)
        with ExitStack() as uploading:
            new = _NewObject(self, name, uploading)
            try:
                yield new
                new.complete()
            except BaseException:
                if new.stored:
                    with suppress(StorageFailed, NotFound):
                        self.delete(name)
                raise

    def taken(self, name: str) -> Conflict:
        """Return the error for a name that an object has already."""
        return Conflict(f"{self.location(name)} exists already", "remove it, or choose another name")

    def delete(self, name: str) -> None:
        """Delete an object."""
        import obstore

        with suppress(FileMissing):
            self._call(name, lambda key: obstore.delete(self.objects, key))

    def sync(self) -> None:
        """Do nothing: an answer of the store is durable."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the beginning of an object."""
        found = self.fetch(name, limit)
        return found and found[0]

    def fetch(self, name: str, limit: int) -> tuple[bytes, str] | None:
        """Return the beginning of an object and the tag of all of it, or None if it is not there."""
        try:
            with self.open(name) as file:
                return file.read_at(0, min(limit, file.size)), file.tag
        except FileMissing:
            return None

    def put(self, name: str, data: bytes, *, instead_of: str | None) -> str | None:
        """Store an object in place of the one with that tag, or of none, and return its tag.

        Returns None if another object, or none, is there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = "create" if instead_of is None else {"e_tag": instead_of}
        key = self.key(name)
        try:
            return Call(lambda: obstore.put(self.objects, key, data, mode=mode)).result()["e_tag"] or ""
        except (AlreadyExistsError, PreconditionError):
            pass
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            error = self.translated(exc, name)
            if not isinstance(error, FileMissing):
                raise error from None
        # The answer to the first attempt may have been lost. Then the second one met our own object.
        found = self.fetch(name, len(data) + 1)
        return found[1] if found and found[0] == data else None

    def update(self, name: str, limit: int, change: Callable[[bytes | None], bytes]) -> None:
        """Replace an object by conditional requests until no other run came between."""
        for _ in range(_ATTEMPTS):
            found = self.fetch(name, limit)
            data = change(found and found[0])
            if self.put(name, data, instead_of=found and found[1]) is not None:
                return
        raise StorageFailed(f"{self.location(name)} is changed by others all the time", "try again later")

    def lock(self, name: str) -> AbstractContextManager[Callable[[], None]]:
        """Make an object that says who works here, and renew it as long as the context lasts."""
        return Lease(self, name).held()

    def leftovers(self) -> list[Leftover]:
        """Return uploads in parts that were not finished. One whose lock is alive is not abandoned."""
        found: list[Leftover] = []
        following = {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"}
        try:
            for page in self.service.pages("Upload", following, uploads="", prefix=self._below):
                for known in (entry.fields for entry in page):
                    name = known["Key"][len(self._below) :]
                    if "/" not in name:
                        location = f"{self.location(name)} (an upload in parts)"
                        found.append(Leftover(name, location, None, known["UploadId"]))
        except StoreUnavailable:
            raise
        except StorageFailed:
            # Somebody may not list uploads, and some services know none.
            return []
        locked = self._locked() if found else []
        return [left._replace(abandoned=not left.final.startswith((*locked,))) for left in found]

    def _locked(self) -> list[str]:
        """Return the names whose locks somebody renews, with what follows a name in those of archives."""
        return [
            f"{entry.fields['Key'][len(self._below) + 1 : -len('.lock')]}-"
            for page in self._listing()
            for entry in page
            if entry.fields["Key"][len(self._below) :].startswith(".")
            and entry.fields["Key"].endswith(".lock")
            and entry.now - datetime.fromisoformat(entry.fields["LastModified"]) < timedelta(seconds=EXPIRY)
        ]

    def discard(self, leftover: Leftover) -> None:
        """Abort an upload in parts."""
        with suppress(StorageFailed):
            self.service.request("DELETE", self.key(leftover.final), uploadId=leftover.key)

    @property
    def _below(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _listing(self, **query: str) -> Iterator[list[Any]]:
        following = {"NextContinuationToken": "continuation-token"}
        listing = {"list-type": "2", "delimiter": "/", "prefix": self._below}
        return self.service.pages("Contents", following, **listing, **query)

    def _call(self, name: str, work: Callable[[str], T]) -> T:
        key = self.key(name)
        try:
            return Call(lambda: work(key)).result()
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            raise self.translated(exc, name) from None

    def translated(self, error: Exception, name: str) -> Exception:
        """Return what an error of obstore about a file means."""
        from obstore.exceptions import BaseError, PreconditionError

        location = self.location(name)
        if isinstance(error, PreconditionError):
            return ArchiveCorrupt(location, "it was changed while it was read")
        if not isinstance(error, (BaseError, FileNotFoundError)):
            return error
        status, code = status_and_code(str(error))
        if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
            return FileMissing(location)
        return failure(location, status, code)


class _OpenObject:
    """An object that is open for reading, as long as it has the tag that it had."""

    def __init__(self, store: ObjectStore, name: str, size: int, tag: str) -> None:
        self._store, self._name, self.size, self.tag = store, name, size, tag
        self._start, self._data = 0, b""
        self._step = _WINDOW
        self._next: tuple[int, Call[bytes]] | None = None

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
        self._data, self._next = b"", None
        if not call or expected != position:
            self._step = min(4 * self._step, _AHEAD) if forwards else _WINDOW
            # The structure of an archive is read backwards from its end.
            position -= 0 if forwards else position % _WINDOW
            call = self._request(position)
        self._start, self._data = position, call.result()
        following = position + len(self._data)
        if forwards and self._step == _AHEAD and following < self.size:
            self._next = following, self._request(following)

    def _request(self, position: int) -> Call[bytes]:
        return Call(lambda: self._get(position, min(position + self._step, self.size)))

    def _get(self, start: int, end: int) -> bytes:
        import obstore

        options: GetOptions = {"range": (start, end)}
        if self.tag:
            options["if_match"] = self.tag
        try:
            found = obstore.get(self._store.objects, self._store.key(self._name), options=options)
            data = found.bytes().to_bytes()
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            raise self._store.translated(exc, self._name) from None
        # Some stores ignore conditions.
        if len(data) != end - start or (found.meta["e_tag"] or "") != self.tag:
            raise ArchiveCorrupt(self._store.location(self._name), "it was changed while it was read")
        return data


class _NewObject:
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
        if len(self._beginning) > PART // 2:
            self._parts = self._uploading.enter_context(Consumer(self._upload))
            self._parts.write(bytes(self._beginning))
            self._beginning.clear()
        return len(data)

    @contextmanager
    def reopen(self) -> Iterator[_OpenObject]:
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
            stored = obstore.put(self._store.objects, key, iter(pipe), chunk_size=PART, max_concurrency=2)
            return stored["e_tag"] or ""
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            # If the answer to the completion is lost, the next attempt finds no such upload any more.
            if pipe.ended and isinstance(exc, FileNotFoundError) and "NoSuchUpload" in str(exc):
                with self._store.open(self._name) as file:
                    if file.size == self._size:
                        return file.tag
            raise self._store.translated(exc, self._name) from None


def object_store(address: str, *, patient: bool = True) -> ObjectStore:
    """Return the store at an address such as `s3://bucket/prefix`; nothing is looked at yet.

    Without patience it tells soon that a bucket cannot be reached. Raises InvalidInput for any other address.
    """
    return ObjectStore(*parse_address(address), PATIENT if patient else HASTY)
