"""A directory of archives: how they are named, found and listed, and one run at a time on each label.

The name of an archive holds the label of a database and the time of the backup in UTC, as in
`tasks-20261122T123015.123456Z.taskdb.zip`.
"""

import errno
import fcntl
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from taskdb_cli.backup import atomic
from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.atomic import final_name, is_abandoned, storage
from taskdb_cli.backup.history import LARGEST, Drill, Proof, Record, from_json, to_json
from taskdb_cli.errors import BackupRunning, Incomplete, InvalidInput, NotFound, StorageFailed, TaskdbError
from taskdb_cli.system.paths import is_same
from taskdb_cli.text.escaping import brief

SUFFIX = ".taskdb.zip"
RECORD_SUFFIX = ".taskdb.json"

SAFETY_SUFFIX = "-before-restore"
"""The end of the label of safety backups, which a restore takes of the rows that it replaces."""

LONGEST_LABEL = 100

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME = re.compile(
    rf"(?P<label>{_LABEL.pattern})-(?P<time>[0-9]{{8}}T[0-9]{{6}}\.[0-9]{{6}}Z){re.escape(SUFFIX)}"
)

_LABEL_LOCK = ".lock"
# A label cannot contain a plus, so this is never the lock of another label.
_RECORD_LOCK = "+record.lock"

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Entry:
    """An archive as its directory shows it; the size is in bytes."""

    path: Path
    label: str
    taken_at: datetime
    size: int


class BackupDirectory:
    """The archives of one or more databases; the directory need not exist until it is written to.

    Methods that read it raise StorageFailed if it cannot be read, and treat a missing one as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locked: set[str] = set()

    def create(self) -> None:
        """Make the directory and its parents, for the owner alone, where they are missing."""
        atomic.make_directory(self.path)

    def entries(self, label: str | None = None) -> list[Entry]:
        """Return the archives, of one label or of all, oldest first."""
        wanted = None if label is None else check_label(label)
        found = []
        for file in self._scan():
            named = parse_name(file.name)
            if named and wanted in (None, named[0]):
                with storage(f"the backup directory {self.path} cannot be read"), suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(Entry(Path(file.path), *named, status.st_size))
        return sorted(found, key=lambda entry: (entry.taken_at, entry.label))

    def records(
        self, label: str | None = None, *, say: Callable[[str], object]
    ) -> Iterator[dict[str, object]]:
        """Yield a record of each archive, oldest first, with what is known of it and of its database.

        `say` gets a line for each archive whose manifest cannot be read; its database is not known.
        """
        record_of = cache(self.record)
        for entry in self.entries(label):
            known = record_of(entry.label).of(entry.path.name)
            try:
                manifest = manifest_of(entry.path)
            except TaskdbError as exc:
                say(exc.message)
                manifest = None
            origin = manifest and manifest.origin
            yield {
                "archive": entry.path.name,
                "label": entry.label,
                "taken_at": entry.taken_at,
                "size": entry.size,
                "rows": manifest and manifest.rows,
                "verified_at": known.verified and known.verified.verified_at,
                "drilled_at": known.drilled and known.drilled.at,
                "identity": origin and origin.identity,
                "place": origin and origin.place,
            }

    def find(self, name: str) -> Path:
        """Return the path of the archive that a person names.

        It is the name of a file in this directory, or a path. A file in the working directory with the same
        name as one in this directory is written './name'. Raises NotFound.
        """
        paths = [self.path / name, Path(name)] if Path(name).name == name else [Path(name)]
        for path in paths:
            with storage(f"{brief(name)!r} cannot be looked up"):
                try:
                    if path.is_file():
                        return path
                except OSError as exc:
                    if exc.errno != errno.ENAMETOOLONG:
                        raise
        message = f"there is no archive {brief(name)!r}, neither here nor in {self.path}"
        raise NotFound(message, "'taskdb backup list' shows the archives")

    def strays(self) -> list[Path]:
        """Return files that look like a part or a copy of an archive, in the order of their names.

        These are temporary files that no run holds locked, and whatever has the suffix of an archive
        without being a regular file of such a name.
        """
        found = []
        for file in self._scan():
            if final := final_name(file.name):
                stray = final.endswith((SUFFIX, RECORD_SUFFIX)) and is_abandoned(Path(file.path)) is not False
            else:
                archive = parse_name(file.name) and file.is_file(follow_symlinks=False)
                stray = file.name.endswith(SUFFIX) and not archive
            if stray:
                found.append(self.path / file.name)
        return sorted(found)

    def sweep(self, label: str) -> list[Path]:
        """Remove the temporary files that dead runs left under a label; return which were there.

        The label must be locked: no other run can then be writing them. Call it before the first file
        of this run is opened.
        """
        assert label in self._locked
        finals = {file.name: parse_name(final_name(file.name)) for file in self._scan()}
        swept = [self.path / name for name, final in finals.items() if final and final[0] == label]
        for path in swept:
            atomic.discard(path)
        return swept

    @contextmanager
    def lock(self, label: str) -> Iterator[None]:
        """Keep other runs off a label. The lock ends with the process, however that ends.

        Raises BackupRunning at once if another run holds it, NotFound if the directory is missing, or
        StorageFailed where there can be no lock.
        """
        with self._flock(label, _LABEL_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._locked.add(label)
            try:
                yield
            finally:
                self._locked.discard(label)

    def record(self, label: str) -> Record:
        """Return what is known of a label's archives; a damaged record counts as missing, with a warning."""
        try:
            return self.load_record(label)
        except StorageFailed as exc:
            _log.warning("nothing is known of the archives: %s", exc.message)
            return Record()

    def load_record(self, label: str) -> Record:
        """Return what is known of a label's archives; raise StorageFailed for a record that is damaged."""
        path = self._record_path(label)
        try:
            # A named pipe that nobody writes to would otherwise be waited for.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                return from_json(file.read(LARGEST))
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError) as exc:
            what = exc.strerror if isinstance(exc, OSError) else exc
            hint = "remove it, then run 'taskdb backup verify latest'"
            raise StorageFailed(f"the record {path} cannot be used: {what}", hint) from exc

    def lock_files(self, label: str) -> list[Path]:
        """Return the files that a run on a label locks; they are made when they are first needed."""
        return [self.path / f".{check_label(label)}{ending}" for ending in (_LABEL_LOCK, _RECORD_LOCK)]

    def note(self, label: str, news: Proof | Drill) -> None:
        """Record that an archive was verified or restored as a test, or raise Incomplete. Backups may run."""
        path = self._record_path(label)
        now = news.verified_at if isinstance(news, Proof) else news.at
        try:
            # Others who change the record need a moment only, so this run waits for them.
            with self._flock(label, _RECORD_LOCK, fcntl.LOCK_EX):
                names = {file.name for file in self._scan()}
                record = self.record(label).joined(news).without_gone(names, now)
                atomic.write_atomically(path, to_json(record).encode())
        except StorageFailed as exc:
            raise Incomplete(f"{self.path / news.archive} is good, but {exc.message}", exc.hint) from exc

    def known_of(self, path: Path) -> Record:
        """Return what is known of the archive at a path: nothing if it is not in this directory."""
        for entry in self.entries():
            if is_same(entry.path, path):
                return self.record(entry.label).of(entry.path.name)
        return Record()

    def note_archive(self, path: Path, news: Proof | Drill) -> None:
        """Record the same of the archive at a path, if it is in this directory."""
        for entry in self.entries():
            if is_same(entry.path, path):
                self.note(entry.label, replace(news, archive=entry.path.name))

    def new_path(self, label: str, taken_at: datetime) -> Path:
        """Return the path for an archive that was taken at a time with a time zone."""
        return self.path / archive_name(label, taken_at)

    def remove(self, entry: Entry) -> None:
        """Delete one of these archives, whose label must be locked; one that is gone already is no error.

        Raises StorageFailed. Only after `sync_directory` does a power cut not bring it back.
        """
        assert entry.label in self._locked
        assert entry.path == self.new_path(entry.label, entry.taken_at)
        with storage(f"{entry.path} cannot be deleted"):
            entry.path.unlink(missing_ok=True)

    def _record_path(self, label: str) -> Path:
        return self.path / f"{check_label(label)}{RECORD_SUFFIX}"

    @contextmanager
    def _flock(self, label: str, ending: str, operation: int) -> Iterator[None]:
        path = self.path / f".{check_label(label)}{ending}"
        with ExitStack() as held:
            with storage(f"{path} cannot be locked"):
                try:
                    descriptor = atomic.open_private(path)
                    held.callback(os.close, descriptor)
                    fcntl.flock(descriptor, operation)
                except FileNotFoundError:
                    raise NotFound(f"there is no backup directory {self.path}", "check the path") from None
                except BlockingIOError:
                    raise BackupRunning(label, path) from None
            yield

    def _scan(self) -> list[os.DirEntry[str]]:
        unreadable = f"the backup directory {self.path} cannot be read"
        with storage(unreadable), suppress(FileNotFoundError), os.scandir(self.path) as files:
            return list(files)
        return []


def default_label(name: str, distinction: str) -> str:
    """Return the default label, of a name and what distinguishes its place, with room for SAFETY_SUFFIX."""
    longest = LONGEST_LABEL - len(SAFETY_SUFFIX) - len(distinction) - 1
    return f"{label_of(name)[:longest].rstrip('-')}-{distinction}"


def label_of(name: str) -> str:
    """Return the label that taskdb 0.1.0 gave a database of this name, with hyphens for other characters."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("_.-")
    return text[:LONGEST_LABEL].rstrip("-") or "database"


def check_label(label: str) -> str:
    """Return the label as it is; raise InvalidInput if it is not a label."""
    if len(label) > LONGEST_LABEL or not _LABEL.fullmatch(label):
        raise InvalidInput(
            f"{brief(label)!r} is not a label",
            f"use up to {LONGEST_LABEL} letters, digits, '_', '.' and '-', a letter or digit first",
        )
    return label


def archive_name(label: str, taken_at: datetime) -> str:
    """Return the name of an archive that was taken at a time with a time zone."""
    assert taken_at.tzinfo is not None
    utc = taken_at.astimezone(UTC)
    return f"{check_label(label)}-{utc.year:04}{utc:%m%dT%H%M%S.%f}Z{SUFFIX}"


def parse_name(name: str) -> tuple[str, datetime] | None:
    """Return the label and the time in the name of an archive, or None if it is not such a name."""
    match = _NAME.fullmatch(name)
    if match is None or len(match["label"]) > LONGEST_LABEL:
        return None
    try:
        return match["label"], datetime.fromisoformat(match["time"])
    except ValueError:
        return None
