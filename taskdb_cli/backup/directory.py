"""A directory of archives: how they are named and found, and one run at a time on each label.

Nothing here opens an archive: all that is said of one is in its name and its size.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taskdb_cli.backup.atomic import (
    discard,
    final_name,
    is_abandoned,
    make_directory,
    open_private,
    storage,
    write_atomically,
)
from taskdb_cli.backup.history import Drill, Proof, Record, load_record, to_json
from taskdb_cli.backup.names import RECORD_SUFFIX, SUFFIX, archive_name, check_label, parse_name
from taskdb_cli.errors import BackupRunning, NotFound, StorageFailed

_LABEL_LOCK = ".lock"
# A label cannot contain a plus, so this is never the lock of another label.
_RECORD_LOCK = "+record.lock"
_log = logging.getLogger("taskdb.backup")
_LIST = "'taskdb backup list' shows the archives"


@dataclass(frozen=True)
class Entry:
    """An archive as its directory shows it; the size is in bytes."""

    path: Path
    label: str
    taken_at: datetime
    size: int


class BackupDirectory:
    """The archives of one or more databases; the directory need not exist until it is written to.

    What reads it raises StorageFailed if the directory cannot be read, and takes a missing one as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locked: set[str] = set()

    def create(self) -> None:
        """Make the directory and its parents, for the owner alone, where they are missing."""
        make_directory(self.path)

    def entries(self, label: str | None = None) -> list[Entry]:
        """Return the archives, of one label or of all, oldest first."""
        if label is not None:
            check_label(label)
        with self._reading():
            found = [_entry(file) for file in self._scan()]
        entries = [entry for entry in found if entry and label in (None, entry.label)]
        return sorted(entries, key=lambda entry: (entry.taken_at, entry.label))

    def labels(self) -> list[str]:
        """Return the labels of which there are archives, in the order of the alphabet."""
        return sorted({entry.label for entry in self.entries()})

    def find(self, name: str) -> Path:
        """Return the path of the archive that a person names.

        That is the name of a file in the directory, or a path, which for a file of the same name in the
        working directory is written './name'. Raises NotFound.
        """
        paths = [self.path / name, Path(name)] if Path(name).name == name else [Path(name)]
        with storage(f"{name!r} cannot be looked up"):
            for path in paths:
                if path.is_file():
                    return path
        raise NotFound(f"there is no archive {name!r}, neither here nor in {self.path}", _LIST)

    def strays(self) -> list[Path]:
        """Return what is no archive but looks like a part or a copy of one, in the order of the names.

        These are temporary files that no run holds locked, and whatever has the suffix of an archive
        without being a regular file of such a name.
        """
        return sorted(self.path / file.name for file in self._scan() if _is_stray(file))

    def sweep(self, label: str) -> list[Path]:
        """Remove the temporary files that dead runs left under a label; return which were there.

        The label must be locked: no other run can then be writing them. Call it before the first file
        of this run is opened.
        """
        assert label in self._locked
        swept = [self.path / file.name for file in self._scan() if _is_partial_of(label, file.name)]
        for path in swept:
            discard(path)
        return swept

    @contextmanager
    def lock(self, label: str) -> Iterator[None]:
        """Keep other runs off a label; the end of the process, however it comes, is the end of the lock.

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
        return load_record(self._record_path(label))

    def lock_files(self, label: str) -> list[Path]:
        """Return the files that a run on a label locks; they are made when they are first needed."""
        return [self.path / f".{check_label(label)}{ending}" for ending in (_LABEL_LOCK, _RECORD_LOCK)]

    def note_verified(self, label: str, proof: Proof) -> None:
        """Record that an archive was verified."""
        self._note(label, Record(proofs=(proof,)), proof.verified_at)

    def note_drilled(self, label: str, drill: Drill) -> None:
        """Record that an archive was restored as a trial; a backup may run meanwhile."""
        self._note(label, Record(drills=(drill,)), drill.at)

    def new_path(self, label: str, taken_at: datetime) -> Path:
        """Return where an archive goes that was taken at a time, which knows its zone."""
        return self.path / archive_name(label, taken_at)

    def remove(self, entry: Entry) -> None:
        """Delete one of these archives, whose label must be locked; one that is gone already is no error.

        Raises StorageFailed. Whether it is also gone after a power cut, `sync_directory` says.
        """
        assert entry.label in self._locked
        assert entry.path == self.new_path(entry.label, entry.taken_at)
        with storage(f"{entry.path} cannot be deleted"):
            entry.path.unlink(missing_ok=True)

    def _record_path(self, label: str) -> Path:
        return self.path / f"{check_label(label)}{RECORD_SUFFIX}"

    def _note(self, label: str, news: Record, now: datetime) -> None:
        with self._changing_record(label):
            names = {file.name for file in self._scan()}
            record = self.record(label).joined(news).without_gone(names, now)
            write_atomically(self._record_path(label), to_json(record).encode())

    @contextmanager
    def _changing_record(self, label: str) -> Iterator[None]:
        """Wait until nobody else changes the record, which takes each a moment."""
        path = self._record_path(label)
        with self._flock(label, _RECORD_LOCK, fcntl.LOCK_EX):
            for file in self._scan():
                if final_name(file.name) == path.name:
                    discard(self.path / file.name)
            yield

    @contextmanager
    def _flock(self, label: str, ending: str, operation: int) -> Iterator[None]:
        path = self.path / f".{check_label(label)}{ending}"
        with storage(f"{path} cannot be locked"):
            descriptor = self._open_lock(path)
        try:
            with storage(f"{path} cannot be locked"):
                try:
                    fcntl.flock(descriptor, operation)
                except BlockingIOError:
                    raise BackupRunning(label, path) from None
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, path: Path) -> int:
        try:
            return open_private(path)
        except FileNotFoundError:
            raise NotFound(f"there is no backup directory {self.path}", "check the path") from None

    def _reading(self) -> AbstractContextManager[None]:
        return storage(f"the backup directory {self.path} cannot be read")

    def _scan(self) -> list[os.DirEntry[str]]:
        with self._reading():
            try:
                with os.scandir(self.path) as files:
                    return list(files)
            except FileNotFoundError:
                return []


def _entry(file: os.DirEntry[str]) -> Entry | None:
    """Return the archive that a file is by its name, if it is one and has not gone meanwhile."""
    named = parse_name(file.name)
    if named is None or not file.is_file(follow_symlinks=False):
        return None
    try:
        size = file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
    return Entry(Path(file.path), *named, size)


def _is_stray(file: os.DirEntry[str]) -> bool:
    if final := final_name(file.name):
        return final.endswith((SUFFIX, RECORD_SUFFIX)) and is_abandoned(Path(file.path)) is not False
    if not file.name.endswith(SUFFIX):
        return False
    return parse_name(file.name) is None or not file.is_file(follow_symlinks=False)


def _is_partial_of(label: str, name: str) -> bool:
    named = parse_name(final_name(name))
    return named is not None and named[0] == label
