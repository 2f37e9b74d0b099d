"""A directory of archives: how they are found and listed, and one run at a time on each label."""

import errno
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from taskdb_cli.backup.atomic import storage
from taskdb_cli.backup.entry import Entry, OriginAndRows, origin_of
from taskdb_cli.backup.file_names import RECORD_SUFFIX, SUFFIXES, archive_name, check_label, parse_name
from taskdb_cli.backup.history import LARGEST, Damage, Drill, News, Proof, Record, from_json, to_json
from taskdb_cli.backup.stores import Found, LeftoversUnknown, Store, StoredFile
from taskdb_cli.backup.stores.calls import in_order
from taskdb_cli.backup.stores.lease import EXPIRY
from taskdb_cli.backup.stores.places import file_at, is_address
from taskdb_cli.errors import (
    ArchiveEncrypted,
    FileMissing,
    Incomplete,
    NotFound,
    StorageFailed,
    StoreUnavailable,
    TaskdbError,
)
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import brief

_log = logging.getLogger("taskdb.backup")


class BackupDirectory:
    """The archives of one or more databases in a store, which need not exist until it is written to.

    Methods that read it raise StorageFailed if it cannot be read, and treat a missing one as empty.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._locked: dict[str, Callable[[], None]] = {}
        self._read: dict[Entry, OriginAndRows] = {}

    def __str__(self) -> str:
        return str(self.store)

    def file(self, name: str) -> StoredFile:
        """Return the file of that name, which need not exist."""
        return StoredFile(self.store, name)

    def entries(self, label: str | None = None) -> list[Entry]:
        """Return the archives, of one label or of all, oldest first."""
        wanted, found = None if label is None else check_label(label), []
        for each in self.store.list_files():
            named = parse_name(each.name)
            if each.regular and named and wanted in (None, named[0]):
                found.append(Entry(self.file(each.name), *named, each.size, each.tag))
        return sorted(found, key=lambda entry: (entry.taken_at, entry.label))

    def records(
        self, label: str | None = None, *, say: Callable[[str], object]
    ) -> Iterator[dict[str, object]]:
        """Yield a record of each archive, oldest first, with what is known of it and of its database.

        `say` gets a line for each archive whose manifest cannot be read; its database is not known. For those
        that are encrypted and were never verified here it gets one line at the end.
        """
        record_of, unknown = cache(self.record), 0
        for entry, found in self.origins(self.entries(label), record_of):
            known, origin, rows = record_of(entry.label).of(entry.name), None, None
            if isinstance(found, ArchiveEncrypted):
                unknown += 1
            elif isinstance(found, TaskdbError):
                say(found.message)
            else:
                origin, rows = found
                if known.damaged:
                    say(known.damaged.what)
            yield {
                "archive": entry.name,
                "label": entry.label,
                "taken_at": entry.taken_at,
                "size": entry.size,
                "rows": rows,
                "verified_at": known.verified and known.verified.verified_at,
                "drilled_at": known.drilled and known.drilled.at,
                "identity": origin and origin.identity,
                "place": origin and origin.place,
            }
        if unknown:
            what = in_words({"encrypted archives": unknown})
            say(f"no record says what is in {what}; 'taskdb backup verify NAME --identity FILE' records it")

    def origins(
        self, entries: Iterable[Entry], record_of: Callable[[str], Record]
    ) -> Iterator[tuple[Entry, OriginAndRows | TaskdbError]]:
        """Yield each archive with what `origin_of` says, or its error; raise StoreUnavailable.

        Several are read at the same time. `record_of` returns the record of a label.
        """

        def read(given: tuple[Entry, Record]) -> tuple[Entry, OriginAndRows | TaskdbError]:
            entry = given[0]
            try:
                found = self._read.get(entry) or origin_of(*given)
            except StoreUnavailable:
                raise
            except TaskdbError as exc:
                return entry, exc
            # A file with the same tag holds the same manifest.
            return entry, self._read.setdefault(entry, found) if entry.tag else found

        return in_order(read, ((each, record_of(each.label)) for each in entries))

    def find(self, name: str) -> StoredFile:
        """Return the archive that a person names.

        It is the name of a file in this directory, or a path or an address. A file in the working directory
        with the same name as one in this directory is written './name'. Raises NotFound.
        """
        given = file_at(name)
        here = given.name == name and not is_address(name)
        for file in [self.file(name), given] if here and name else [given]:
            if _is_there(file):
                return file
        message = f"there is no archive {brief(name)!r}, neither here nor in {self}"
        raise NotFound(message, "'taskdb backup list' shows the archives")

    def strays(self, now: datetime) -> list[str]:
        """Return files that look like a part or a copy of an archive, in the order of their names.

        These are files that no run writes any more, whatever has the suffix of an archive without being a
        regular file of such a name, and locks in a bucket that nobody renews. Raises LeftoversUnknown if the
        store does not tell what runs have left.
        """
        found = []
        for left in self.store.leftovers():
            if left.final.endswith((*SUFFIXES, RECORD_SUFFIX)) and left.abandoned is not False:
                untold = "" if left.abandoned else " (a run may still be writing it)"
                found.append(left.location + untold)
        for each in self.store.list_files():
            if each.name.endswith(SUFFIXES) and not (parse_name(each.name) and each.regular):
                found.append(self.store.location(each.name))
            elif self._is_stale_lock(each, now):
                found.append(f"{self.store.location(each.name)} (a lock that no run renews)")
        return sorted(found)

    def stale_locks(self, labels: Collection[str], now: datetime) -> list[str]:
        """Return the locks of these labels in a bucket that nobody renews; the next run removes them."""
        found = (each for each in self.store.list_files() if each.locked in labels)
        return sorted(self.store.location(each.name) for each in found if self._is_stale_lock(each, now))

    def _is_stale_lock(self, file: Found, now: datetime) -> bool:
        # A lock on a disk is no longer held when the process has ended, and its file stays.
        is_old = now - file.changed > timedelta(seconds=EXPIRY)
        return file.locked is not None and not self.store.directory and is_old

    def sweep(self, label: str) -> None:
        """Remove what dead runs left unfinished under a label.

        The label must be locked: no other run can then be writing it. Call it before the first file of this
        run is opened.
        """
        assert label in self._locked
        try:
            leftovers = self.store.leftovers()
        except LeftoversUnknown as exc:
            _log.info("nothing is swept: %s", exc.message)
            return
        for left in leftovers:
            if (parse_name(left.final) or ("",))[0] == label:
                self.store.discard(left)

    @contextmanager
    def lock(self, label: str) -> Iterator[None]:
        """Keep other runs off a label. The lock ends with the process, however that ends.

        Raises BackupRunning at once if another run holds it, NotFound if the directory is missing, or
        StorageFailed where there can be no lock.
        """
        with self.store.lock(check_label(label)) as require_held:
            self._locked[label] = require_held
            try:
                yield
            finally:
                del self._locked[label]

    def require_lock(self, label: str) -> None:
        """Raise BackupRunning if the lock of a label, which this run took, was lost since."""
        assert label in self._locked
        self._locked[label]()

    def record(self, label: str) -> Record:
        """Return what is known of a label's archives; raise StoreUnavailable.

        A damaged record counts as missing, with a warning.
        """
        try:
            return self.load_record(label)
        except StoreUnavailable:
            # A record that cannot be read now would be taken for archives that nobody has verified.
            raise
        except StorageFailed as exc:
            _log.warning("the record of the archives is not used: %s", exc.message)
            return Record()

    def load_record(self, label: str) -> Record:
        """Return what is known of a label's archives; raise StorageFailed for a record that is damaged."""
        name = _record_name(label)
        try:
            data = self.store.read(name, LARGEST)
            return from_json(data) if data is not None else Record()
        except StoreUnavailable:
            raise
        except (StorageFailed, ValueError) as exc:
            path = self.store.location(name)
            what = exc.message.removeprefix(path) if isinstance(exc, StorageFailed) else f": {exc}"
            hint = "remove it, then run 'taskdb backup verify latest'"
            raise StorageFailed(f"the record {path} cannot be used{what}", hint) from exc

    def blocked(self, label: str) -> list[str]:
        """Return the files that a run on a label locks, and that cannot be locked."""
        locked = {label, f"{_record_name(label)}+"}
        found = (each for each in self.store.list_files() if each.locked in locked and not each.regular)
        return sorted(self.store.location(each.name) for each in found)

    def note(self, label: str, *news: News) -> None:
        """Record what was found of archives, all of it at once, or raise Incomplete. Backups may run.

        A proof without a tag gets the one that its file has now.
        """
        now = max(each.at for each in news)

        def changed(data: bytes | None) -> bytes:
            try:
                record = from_json(data) if data is not None else Record()
            except ValueError as exc:
                _log.warning("the record of the archives cannot be used: %s", exc)
                record = Record()
            return to_json(record.joined(*tagged).without_gone(tags, now)).encode()

        try:
            tags = {each.name: each.tag for each in self.store.list_files()}
            tagged = [_tagged(each, tags) for each in news]
            self.store.update(_record_name(label), LARGEST, changed)
        except StorageFailed as exc:
            read = f"{self.file(news[0].archive)} is good" if len(news) == 1 else "archives were read"
            raise Incomplete(f"{read}, but {exc.message}", exc.hint) from exc

    def known_of(self, file: StoredFile) -> Record:
        """Return what is known of an archive: nothing if it is not here. Raises StoreUnavailable."""
        entry = next(self._entries_of(file), None)
        return self.record(entry.label).of(entry.name) if entry else Record()

    def note_damage(self, file: StoredFile, what: str, now: datetime) -> None:
        """Record that an archive is damaged, if it is in this directory."""
        for entry in self._entries_of(file):
            self.note(entry.label, Damage(entry.name, what, now, entry.size, entry.tag))

    def note_archive(self, file: StoredFile, news: Proof | Drill) -> None:
        """Record the same of an archive, if it is in this directory."""
        for entry in self._entries_of(file):
            self.note(entry.label, replace(news, archive=entry.name))

    def _entries_of(self, file: StoredFile) -> Iterator[Entry]:
        return (entry for entry in self.entries() if entry.file.is_same(file))

    def remove(self, entry: Entry) -> None:
        """Delete one of these archives, whose label must be locked; one that is gone already is no error.

        Raises StorageFailed. Only after `store.sync` does a power cut not bring it back.
        """
        assert entry.file == self.file(archive_name(entry.label, entry.taken_at, encrypted=entry.encrypted))
        self.require_lock(entry.label)
        self.store.delete(entry.name)


def _tagged(news: News, tags: Mapping[str, str]) -> News:
    if isinstance(news, Proof) and not news.tag:
        return replace(news, tag=tags.get(news.archive, ""))
    return news


def _record_name(label: str) -> str:
    return f"{check_label(label)}{RECORD_SUFFIX}"


def _is_there(file: StoredFile) -> bool:
    if file.path:
        with storage(f"{brief(str(file))!r} cannot be looked up"):
            try:
                return file.path.is_file()
            except OSError as exc:
                if exc.errno != errno.ENAMETOOLONG:
                    raise
                return False
    try:
        return file.store.size(file.name) >= 0
    except FileMissing:
        return False
