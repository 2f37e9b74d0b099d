"""A bucket as a store of files, each of which is one object below a prefix."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeVar

from taskdb_cli.backup.stores import Found, Leftover, LeftoversUnknown
from taskdb_cli.backup.stores.addresses import parse_address
from taskdb_cli.backup.stores.calls import Call, Panicked
from taskdb_cli.backup.stores.connections import HASTY, PATIENT, Patience
from taskdb_cli.backup.stores.faults import NO_BUCKET, failure, status_and_code, untrusted
from taskdb_cli.backup.stores.lease import EXPIRY, Lease
from taskdb_cli.backup.stores.object_files import CHANGED, WINDOW, NewObject, OpenObject
from taskdb_cli.backup.stores.s3 import S3, Listed
from taskdb_cli.errors import (
    ArchiveCorrupt,
    Conflict,
    FileMissing,
    NotFound,
    StorageFailed,
    StoreUnavailable,
    TaskdbError,
)
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import AzureStore, HTTPStore, S3Store

_ATTEMPTS = 20

T = TypeVar("T")


class Seen(NamedTuple):
    """A small object: its bytes (none if it is large), its last change by the store's clock, its tag."""

    data: bytes
    changed: datetime
    tag: str


@dataclass(frozen=True)
class ObjectStore:
    """The objects directly below a prefix of a bucket. Nothing is asked of the bucket until it is used."""

    scheme: ClassVar[str] = "s3"
    bucket: str
    prefix: str
    patience: Patience = field(default=PATIENT, compare=False)
    directory: Path | None = field(default=None, init=False)

    @classmethod
    def at(cls, address: str, *, patient: bool = True) -> Self:
        """Return the store at an address such as `s3://bucket/prefix`; raise as `store_at` does."""
        return cls(*parse_address(address, cls.scheme), PATIENT if patient else HASTY)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + f"/{self.prefix}" * bool(self.prefix)

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
    def objects(self) -> "S3Store | AzureStore":
        """The bucket as obstore knows it."""
        return self._store(self.patience.answering)

    @cached_property
    def uploads(self) -> "S3Store | AzureStore":
        """The same, with the time that a part of an upload takes."""
        return self._store(self.patience.sending)

    @cached_property
    def deletions(self) -> "S3Store | AzureStore | HTTPStore":
        """The same, for deletions."""
        return self.objects

    def _store(self, seconds: float) -> "S3Store | AzureStore":
        self.service.connect()
        return self.service.store(seconds)

    @property
    def hasty(self) -> "ObjectStore":
        """The same, for tidying up when the service was waited for already."""
        return replace(self, patience=HASTY)

    @property
    def endpoint(self) -> str:
        """The address of the service."""
        return self.service.endpoint

    def exists(self) -> bool:
        """Return whether there is such a bucket."""
        try:
            self.make()
        except NotFound:
            return False
        return True

    def make(self) -> None:
        """Raise NotFound if there is no such bucket. A prefix need not be made."""
        next(self._listing(**{"max-keys": "1"}))

    def list_files(self) -> list[Found]:
        """Return the objects of the prefix, a thousand in a request; a missing bucket is an error."""
        return [file for file, _ in self._listed()]

    def size(self, name: str) -> int:
        """Return the size of an object."""
        import obstore

        return self._call(name, lambda key: obstore.head(self.objects, key))["size"]

    @contextmanager
    def open(self, name: str) -> Iterator[OpenObject]:
        """Open an object as it is now; if it changes while it is read, it counts as damaged."""
        import obstore

        def beginning(key: str) -> tuple["ObjectMeta", memoryview]:
            try:
                found = obstore.get(self.objects, key, options={"range": (0, WINDOW)})
                return found.meta, memoryview(found.bytes())
            except Exception as exc:
                # An empty object has no first byte.
                if status_and_code(str(exc))[0] != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
                return obstore.head(self.objects, key), memoryview(b"")

        meta, data = self._call(name, beginning)
        yield OpenObject(self, name, meta["size"], meta["e_tag"] or "", data)

    @contextmanager
    def create(self, name: str) -> Iterator[NewObject]:
        """Upload an object; after an error on the way it is deleted, or never appears.

        The name is looked up first, so one that was taken before is refused. Only a small file is also
        refused by the store itself if another run takes the name now: S3 can do so for an upload in parts,
        but obstore does not ask it to. The lock of the label keeps other runs of taskdb off.
        """
        with suppress(FileMissing):
            self.size(name)
            raise self.taken(name)
        with ExitStack() as uploading:
            new = NewObject(self, name, uploading)
            try:
                yield new
                new.complete()
            except BaseException as exc:
                if new.stored:
                    store = self.hasty if isinstance(exc, StoreUnavailable) else self
                    with suppress(StorageFailed, NotFound):
                        store.delete(name)
                raise

    def taken(self, name: str) -> Conflict:
        """Return the error for a name that an object has already."""
        return Conflict(f"{self.location(name)} exists already", "remove it, or choose another name")

    def delete(self, name: str) -> None:
        """Delete an object."""
        import obstore

        with suppress(FileMissing):
            self._call(name, lambda key: obstore.delete(self.deletions, key))

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

    def look(self, name: str, limit: int) -> Seen | None:
        """Return what one answer says of a small object, or None if it is not there."""
        import obstore

        def get(key: str) -> Seen:
            answer = obstore.get(self.objects, key)
            meta = answer.meta
            data = answer.bytes().to_bytes() if meta["size"] <= limit else b""
            return Seen(data, meta["last_modified"], meta["e_tag"] or "")

        with suppress(FileMissing):
            return self._call(name, get)
        return None

    def now(self, name: str) -> datetime:
        """Return the time by the clock of the store, which a new object with that name tells."""
        import obstore

        self._call(name, lambda key: obstore.put(self.objects, key, b"", use_multipart=False))
        told = self._call(name, lambda key: obstore.head(self.objects, key))["last_modified"]
        self.delete(name)
        return told

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
        raise StorageFailed(
            f"{self.location(name)} is being changed by others again and again", "try again later"
        )

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
        except StorageFailed as exc:
            message = f"unfinished uploads cannot be listed: {exc.message}"
            hint = "give the keys the right s3:ListBucketMultipartUploads, or use --skip backup_strays"
            raise LeftoversUnknown(message, hint) from exc
        locked = self._locked() if found else ()
        return [left._replace(abandoned=not left.final.startswith(locked)) for left in found]

    def _locked(self) -> tuple[str, ...]:
        """Return the names whose locks somebody renews, with what follows a name in those of archives."""
        return tuple(
            f"{file.locked}-"
            for file, now in self._listed()
            if file.locked is not None and now - file.changed < timedelta(seconds=EXPIRY)
        )

    def discard(self, leftover: Leftover) -> None:
        """Abort an upload in parts."""
        with suppress(StorageFailed):
            self.service.request("DELETE", self.key(leftover.final), uploadId=leftover.key)

    @property
    def _below(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _listed(self) -> Iterator[tuple[Found, datetime]]:
        """Yield each file, and when the store listed it, by its clock."""
        for fields, now in chain.from_iterable(self._listing()):
            name = fields["Key"][len(self._below) :]
            # Consoles make an empty object with the name of the prefix itself.
            if name:
                changed = datetime.fromisoformat(fields["LastModified"])
                yield Found(name, int(fields["Size"]), changed, fields.get("ETag", "")), now

    def _listing(self, **query: str) -> Iterator[list[Listed]]:
        following = {"NextContinuationToken": "continuation-token"}
        listing = {"list-type": "2", "delimiter": "/", "prefix": self._below}
        return self.service.pages("Contents", following, **listing, **query)

    def _call(self, name: str, work: Callable[[str], T]) -> T:
        key = self.key(name)
        return self._ask(lambda: work(key), name)

    def _ask(self, work: Callable[[], T], name: str = "") -> T:
        try:
            return Call(work).result()
        except Exception as exc:  # noqa: BLE001 (whatever a library raises)
            raise self.translated(exc, name) from None

    def _refusal(self) -> TaskdbError | None:
        """Return why there are no credentials any more, if that was found out."""
        return self.service.credentials.failure

    def translated(self, error: Exception, name: str) -> Exception:
        """Return what an error of obstore about a file means."""
        from obstore.exceptions import BaseError, InvalidPathError, PreconditionError

        location = self.location(name) if name else str(self)
        if isinstance(error, InvalidPathError):
            message = f"{location}: the name of an object there cannot be listed"
            return StorageFailed(message, "remove objects with '..' or control characters in their names")
        if isinstance(error, PreconditionError):
            return ArchiveCorrupt(location, *CHANGED)
        if isinstance(error, Panicked):
            message = f"{location}: obstore, which moves the data, fails without a reason ({error})"
            return StorageFailed(message, "check the credentials and the endpoint; this is a bug")
        if not isinstance(error, (BaseError, FileNotFoundError)):
            return error
        status, code = status_and_code(str(error))
        known = untrusted(location, str(error)) if status is None else None
        if known := self._refusal() or known:
            return known
        if isinstance(error, FileNotFoundError) and code not in NO_BUCKET:
            return FileMissing(location)
        return failure(location, status, code, endpoint=self.endpoint)
