"""Copy archives between places: each is there complete or not at all, verified, and recorded there."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from taskdb_cli.backup.archive import Archive, manifest_of, seal_of
from taskdb_cli.backup.create import read_back, silent
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.encryption import MAGIC, Encryption, digest_of, is_encrypted
from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import archive_name, parse_name
from taskdb_cli.backup.history import Drill, Proof, Record
from taskdb_cli.backup.keys import Identities, Recipients
from taskdb_cli.backup.stores import ReadableFile, Sink, StoredFile
from taskdb_cli.errors import ArchiveCorrupt, Conflict, InvalidInput
from taskdb_cli.system.piping import PIECE

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Copy:
    """An archive in another place, and its size there in bytes; `made` says that it was not there before.

    `known` says whether its record there tells what it holds.
    """

    source: StoredFile
    target: StoredFile
    size: int
    made: bool
    known: bool = True


class Target:
    """A directory that archives are copied to, which need not exist until one is.

    They are encrypted for the `recipients` on the way, unless they are encrypted already. `progress` is
    called with the number of bytes of each piece. Raises StorageFailed if the directory cannot be read.
    """

    def __init__(
        self,
        directory: BackupDirectory,
        *,
        now: datetime,
        recipients: Recipients = (),
        identities: Identities = (),
        progress: Callable[[int], None] = silent,
    ) -> None:
        self._directory, self._now, self._progress = directory, now, progress
        self._recipients, self._identities = recipients, identities
        self._entries = {entry.name: entry for entry in directory.entries()}
        self._record = cache(directory.record)

    def copy(self, file: StoredFile, known: Record, *, dry_run: bool = False) -> Copy:
        """Copy an archive unless it is there already; `known` is its record.

        What was stored is read back and compared before it has its name; then what is known of the archive
        is recorded. Raises BackupRunning, Conflict if something else has the name, InvalidInput for a name
        that does not say what an encrypted archive is, StorageFailed, ArchiveCorrupt if the archive is
        damaged or is not the one that was recorded, and Incomplete if it is there, but could not be recorded.
        """
        label, taken_at = parse_name(file.name) or _origin_of(file)
        encrypted = bool(self._recipients) or is_encrypted(file.name)
        target = self._directory.file(archive_name(label, taken_at, encrypted=encrypted))
        if entry := self._entries.get(target.name):
            if not self._is_recorded(entry, known):
                self._compare(file, known, entry, dry_run=dry_run)
            return Copy(file, target, entry.size, made=False)
        if dry_run:
            return Copy(file, target, file.store.size(file.name), made=True)
        self._directory.store.make()
        with self._directory.lock(label):
            self._directory.sweep(label)
            news, size = self._write(file, known, target, label)
            if news:
                self._directory.note(label, *news)
        _log.info("copied %s to %s", file, target)
        return Copy(file, target, size, made=True, known=bool(news))

    def _is_recorded(self, entry: Entry, known: Record) -> bool:
        """Return whether the records say that the archive is there, with the same content and unchanged."""
        noted, here = self._record(entry.label).of(entry.name), known.verified
        if (there := noted.verified) is None or here is None or there.seal != here.seal:
            return False
        # Of two encrypted archives of the same content only the bytes say whether they are the same.
        same = not here.digest or here.digest == there.digest
        return same and _is_unchanged(entry, noted)

    def _compare(self, file: StoredFile, known: Record, entry: Entry, *, dry_run: bool) -> None:
        """Compare an archive with the file that has its name, and record what was not; raise Conflict."""
        noted = self._record(entry.label).of(entry.name)
        if is_encrypted(entry.name) == is_encrypted(file.name):
            with file.open() as one, entry.file.open() as other:
                same = one.size == other.size and (digest := digest_of(one)) == digest_of(other)
            if same:
                # A run that was killed after the archive had its name may not have recorded it.
                if not dry_run and (news := self._news(file, known, entry.file, digest, entry.size)):
                    self._directory.note(entry.label, *news)
                return
        elif self._identities:
            with Archive.open(entry.file, self._identities) as archive:
                if archive.seal == seal_of(file):
                    return
        elif _is_unchanged(entry, noted) and noted.verified and noted.verified.seal == seal_of(file):
            return
        what = f"{entry.file} is there already, and is not known to be {file}"
        raise Conflict(what, "compare them by 'taskdb backup verify', then rename or delete the wrong one")

    def _write(
        self, file: StoredFile, known: Record, target: StoredFile, label: str
    ) -> tuple[list[Proof | Drill], int]:
        with file.open() as source, target.store.create(target.name) as new:
            if is_encrypted(target.name) and not is_encrypted(file.name):
                with Encryption(new, self._recipients) as sink:
                    _send(file, source, sink, known.verified, self._progress)
                    sent = sink.finish()
            else:
                sent = _send(file, source, new, known.verified, self._progress)
            with new.reopen() as stored:
                size = stored.size
                if digest_of(stored) != sent:
                    raise ArchiveCorrupt(target, "it does not hold what was written to it")
            news = self._news(file, known, target, sent, size)
            self._directory.require_lock(label)
        return news, size

    def _news(
        self, file: StoredFile, known: Record, target: StoredFile, digest: str, size: int
    ) -> list[Proof | Drill]:
        """Return what can be recorded of a copy after all its bytes were compared.

        It is nothing if the archive is encrypted, was never recorded, and no identity opens it.
        """
        if (proof := known.verified) is None:
            if is_encrypted(file.name) and not self._identities:
                return []
            proof = read_back(file, self._identities).proof(self._now)
        digest = digest if is_encrypted(target.name) else ""
        proof = replace(proof, archive=target.name, size=size, verified_at=self._now, tag="", digest=digest)
        return [proof, *(replace(drill, archive=target.name) for drill in known.drills)]


def _is_unchanged(entry: Entry, noted: Record) -> bool:
    proof = noted.verified
    same = proof and proof.size == entry.size and proof.tag in ("", entry.tag)
    return bool(same) and not noted.damaged


def _origin_of(file: StoredFile) -> tuple[str, datetime]:
    """Return the label of an archive whose name does not say it, and when it was taken."""
    if is_encrypted(file.name):
        what = f"{file} is encrypted, and its name does not say whose archive it is"
        raise InvalidInput(what, "give it the name that it had: LABEL-TIME.taskdb.zip.age")
    origin = manifest_of(file).origin
    return origin.label, origin.created_at


def _send(
    file: StoredFile, source: ReadableFile, sink: Sink, proof: Proof | None, progress: Callable[[int], None]
) -> str:
    """Write the bytes of an archive to a sink, and return their digest.

    Raises ArchiveCorrupt if they do not match the seal, or if they are not those that were recorded.
    """
    digest, seal = hashlib.sha256(), ""
    if not is_encrypted(file.name):
        seal = Archive(file, source).seal
        if proof and (proof.seal, proof.size) != (seal, source.size):
            raise ArchiveCorrupt(file, "it is not the file that was verified")
    elif source.read_at(0, len(MAGIC)) != MAGIC:
        raise ArchiveCorrupt(file, "it is not encrypted, as its name says")
    for data in _pieces(file, source, source.size - len(seal)):
        digest.update(data)
        sink.write(data)
        progress(len(data))
    if seal:
        if seal != f"sha256:{digest.hexdigest()}":
            raise ArchiveCorrupt(file, "its bytes do not match its seal")
        digest.update(seal.encode())
        sink.write(seal.encode())
    found = f"sha256:{digest.hexdigest()}"
    if proof and proof.digest not in ("", found):
        raise ArchiveCorrupt(file, "its bytes are not those that were recorded")
    return found


def _pieces(file: StoredFile, source: ReadableFile, end: int) -> Iterator[bytes]:
    position = 0
    while position < end:
        data = source.read_at(position, min(PIECE, end - position))
        if not data:
            raise ArchiveCorrupt(file, "it became shorter while it was read")
        position += len(data)
        yield data
