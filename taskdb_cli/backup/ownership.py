"""Find the archives of a database in a directory, and the newest good one of them.

An archive belongs to a database if it has the identity of the database and the label in use. So databases
with the same name, and copies with the same identity, never touch each other's archives. An archive of taskdb
0.1.0, or of a database before the migration that adds the identity, has none. It belongs to the database with
its label, now or with 0.1.0, if no other database in the directory uses that label.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import PurePath

from taskdb_cli.backup.archive import manifest_of
from taskdb_cli.backup.create import read_back
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.entry import Entry
from taskdb_cli.backup.file_names import SAFETY_SUFFIX, label_of
from taskdb_cli.backup.history import Drill, Proof, Record
from taskdb_cli.backup.keys import Identities
from taskdb_cli.backup.layout import Origin
from taskdb_cli.backup.proving import compare
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.errors import (
    ArchiveEncrypted,
    Conflict,
    DataCorrupt,
    InvalidInput,
    NotFound,
    StorageFailed,
    StoreUnavailable,
    TaskdbError,
)
from taskdb_cli.text.amounts import in_words


@dataclass(frozen=True)
class Owner:
    """A database, as its archives are compared with it.

    `identity` is None for a database that has none yet. `label` is the label in use. If that is the default
    label, `former_labels` are the labels that taskdb 0.1.0 may have used.
    """

    identity: str | None
    place: str | None
    label: str
    former_labels: frozenset[str] = frozenset()

    @property
    def labels(self) -> set[str]:
        """The labels that its archives may have."""
        return {self.label, *self.former_labels}


class Holdings:
    """The archives under a database's labels, oldest first, and the history of its own archives.

    Only manifests are read, and those under other labels only when they are needed. Raises StorageFailed if
    the directory cannot be read.
    """

    def __init__(self, directory: BackupDirectory, owner: Owner) -> None:
        self._directory, self._owner = directory, owner
        self.own: list[Entry] = []
        self.others: dict[Entry, str] = {}
        """The archives of other databases, each with its database in words."""
        labelled = (entry for entry in directory.entries() if entry.label in owner.labels)
        origins, self.unreadable = _origins(directory, labelled)
        """The archives whose manifest cannot be read, each with the error."""
        for entry, origin in origins.items():
            if self._owns(entry.label, origin):
                self.own.append(entry)
            else:
                self.others[entry] = _describe(entry.label, origin, owner.place)

    @property
    def labels(self) -> set[str]:
        """The labels that the database's archives may have."""
        return self._owner.labels

    @cached_property
    def record(self) -> Record:
        """What is known of the database's own archives."""
        found = Record()
        for label in sorted(self._owner.labels):
            known = self._directory.record(label).only(partial(self._may_own, label))
            found = found.joined(*known.everything)
        return found

    def count_others(self, since: datetime | None = None) -> list[str]:
        """Count the archives of each other database, or those since a time; return a phrase for each."""
        counts = Counter(name for entry, name in self.others.items() if not since or entry.taken_at > since)
        return [f"{in_words({'archives': number})} of {name}" for name, number in counts.items()]

    def other_labels(self) -> list[str]:
        """Return the other labels under which the directory has archives with the database's identity."""
        mine, owners = self._owner, _owners(self._everything, self._owner.label)
        found = {each.label for each in owners if each.identity == mine.identity is not None}
        return sorted(found - {mine.label})

    def latest(
        self,
        *,
        now: datetime,
        say: Callable[[str], object],
        read_anyway: bool = False,
        identities: Identities = (),
    ) -> StoredFile:
        """Return the newest archive of the database that is verified and not dated in the future.

        Its bytes are compared with its record, unless the caller will `read_anyway`. In a bucket its tag is
        compared, which differs whenever the bytes do. An archive without a record is read and verified here;
        if it is encrypted, an identity must open it. `say` gets one line for each archive that is skipped.

        Raises StoreUnavailable, NotFound if there is no such archive, InvalidInput if the database has
        archives under other labels only, and the error of the newest archive that is damaged or cannot be
        opened if none is good.
        """
        skipped: list[str] = []
        damage: TaskdbError | None = None
        for entry in sorted([*self.own, *self.unreadable], key=lambda each: each.taken_at, reverse=True):
            if entry.taken_at > now:
                skipped.append(f"{entry.file} is dated in the future")
                continue
            known = self.record.of(entry.name)
            try:
                origin = self._prove(entry, known, identities, read_anyway=read_anyway)
                if origin and not self._owns(entry.label, origin):
                    who = _describe(entry.label, origin, self._owner.place)
                    skipped.append(f"{entry.file} is of {who}")
                    continue
            except StoreUnavailable:
                # An older archive would be taken for the newest.
                raise
            except TaskdbError as exc:
                skipped.append(exc.message)
                damage = damage or exc
                continue
            for reason in [*skipped, *self.count_others(entry.taken_at)]:
                say(f"skipped: {reason}")
            if origin:
                say(f"{entry.file} had not been verified here; it was verified now")
            return entry.file
        raise self._no_good_archive(skipped, damage)

    def _prove(
        self, entry: Entry, known: Record, identities: Identities, *, read_anyway: bool
    ) -> Origin | None:
        """Raise unless an archive is good; return where it is from if no record says that."""
        error, proof = self.unreadable.get(entry), known.verified
        if error and not (identities and isinstance(error, ArchiveEncrypted)):
            raise error
        if error or proof is None:
            return read_back(entry.file, identities).manifest.origin
        if known.damaged or not _is_tagged(entry, proof):
            # A flipped bit changes neither the size nor the text of the seal.
            compare(entry.file, proof, seconds=-1 if read_anyway else math.inf)
        return None

    def _no_good_archive(self, skipped: Sequence[str], damage: TaskdbError | None) -> TaskdbError:
        """Return the error of `latest`, by the reasons why archives were skipped and the first damage."""
        labels, reasons = self.other_labels(), [*skipped, *self.count_others()]
        if labels:
            reasons.append(f"this database has archives under the label {', '.join(labels)}")
        nothing = f"there is no good archive of {self._owner.label} in {self._directory}"
        message = "; ".join([nothing, *reasons[:5]])
        if damage:
            damage.message = message
            return damage
        if labels and self._owner.former_labels:
            return InvalidInput(message, "choose one with --label")
        return NotFound(message, "'taskdb backup list' shows all archives; name one of them")

    def identity_to_adopt(self, origin: Origin, *, occupied: bool) -> str | None:
        """Return the identity that the database takes over with the rows of an archive, or None.

        A database without rows (not `occupied`) and without archives takes over the identity of the archive.
        Raises Conflict if it has rows or archives, and the archive is another database's.
        """
        if self._owns(origin.label, origin):
            return None
        if not occupied and not any(
            self._owns(entry.label, each) or self._owner.identity == each.identity is not None
            for entry, each in self._everything.items()
        ):
            return origin.identity
        what = f"the archive is of {_describe(origin.label, origin, self._owner.place)}"
        raise Conflict(what, "--from-other-database loads it anyway")

    def _owns(self, label: str, origin: Origin | Proof) -> bool:
        if origin.identity is None and origin.place not in (None, self._owner.place):
            return False
        return self._may_own(label, origin)

    def _may_own(self, label: str, archive: Origin | Proof | Drill) -> bool:
        if archive.identity is not None:
            return (label, archive.identity) == (self._owner.label, self._owner.identity)
        return label in self._owner.labels and label not in self._claimed

    @cached_property
    def _everything(self) -> dict[Entry, Origin | Proof]:
        return _origins(self._directory, self._directory.entries())[0]

    @cached_property
    def _claimed(self) -> set[str]:
        """The labels that other databases use, or may have used with taskdb 0.1.0."""
        owner, claimed = self._owner, set()
        for entry, origin in self._everything.items():
            elsewhere = origin.place not in (None, owner.place)
            if origin.identity is not None and origin.identity == owner.identity:
                is_other = elsewhere and entry.label not in owner.labels
            else:
                is_other = elsewhere or origin.identity is not None
            if not is_other:
                continue
            claimed.add(entry.label)
            # taskdb 0.1.0 used the same label for a database and a copy, so its archives may be of either.
            # But it is not asked about a database that is out of reach and whose label somebody chose.
            if owner.identity or owner.former_labels:
                claimed |= former_labels(origin.place)
        return claimed


def _is_tagged(entry: Entry, proof: Proof) -> bool:
    """Return whether the store says that the bytes are those that were verified."""
    in_bucket = entry.file.store.directory is None
    return in_bucket and (proof.size, proof.tag) == (entry.size, entry.tag) and bool(entry.tag)


def presumed(
    directory: BackupDirectory, owner: Owner, *, anywhere: bool, identities: Identities = ()
) -> Owner:
    """Choose the owner of the archives that are meant for a database without any, or out of reach.

    It is the owner of the archives under the labels of the database. If there are none, `anywhere` allows
    every owner in the directory; safety backups do not count. Of encrypted archives that no record knows, the
    newest of each label is opened. Raises InvalidInput if there are several owners, and ArchiveEncrypted if
    there are only such archives, and no identity.
    """
    origins, unreadable = _origins(directory, directory.entries())
    encrypted = {entry: exc for entry, exc in unreadable.items() if isinstance(exc, ArchiveEncrypted)}
    if identities:
        origins |= _opened(encrypted, owner.label, identities)
    everybody = _owners(origins, owner.label)
    found = [each for each in everybody if each.label in owner.labels]
    if not found and anywhere:
        found = everybody
        if not (found or identities) and encrypted:
            raise list(encrypted.values())[-1]
    if len(found) > 1:
        here = [each for each in found if each.place == owner.place]
        if len(here) != 1:
            places = ", ".join(sorted(f"{each.label} ({each.place or 'by taskdb 0.1.0'})" for each in found))
            by_label = "choose one with --label, or " if len({each.label for each in found}) > 1 else ""
            raise InvalidInput(
                f"{directory} has archives of several databases: {places}",
                f"{by_label}name an archive: 'taskdb backup list -o json' shows the identity of each",
            )
        found = here
    return found[0] if found else owner


def _opened(encrypted: Iterable[Entry], chosen: str, identities: Identities) -> dict[Entry, Origin | Proof]:
    """Return where the newest of these archives of each label is from, as far as they can be opened."""
    found: dict[Entry, Origin | Proof] = {}
    for entry in sorted(encrypted, key=lambda each: each.taken_at, reverse=True):
        known = {each.label for each in found}
        if entry.label not in known and (entry.label == chosen or not entry.label.endswith(SAFETY_SUFFIX)):
            with suppress(ArchiveEncrypted, DataCorrupt):
                found[entry] = manifest_of(entry.file, identities).origin
    return found


def _describe(label: str, origin: Origin | Proof, here: str | None) -> str:
    """Name the database of an archive, for a database whose place is `here`."""
    if origin.place is None:
        return f"a database that taskdb 0.1.0 called {label}, perhaps another database"
    if origin.place != here:
        return f"another database, {origin.place}"
    # A downgrade has dropped the identity of the one or the other.
    return f"a database with another identity at {here} (made anew, downgraded, or on another machine)"


def _owners(origins: Mapping[Entry, Origin | Proof], chosen: str) -> list[Owner]:
    """Return every database that archives are of. Safety backups count only under the `chosen` label.

    Archives of taskdb 0.1.0 belong to a later database of the same label.
    """
    found: dict[tuple[str | None, str], Owner] = {}
    for entry, origin in sorted(origins.items(), key=lambda each: each[1].identity is None):
        label = entry.label
        if label.endswith(SAFETY_SUFFIX) and label != chosen:
            continue
        if origin.identity is not None:
            former = former_labels(origin.place)
            found[origin.identity, label] = Owner(origin.identity, origin.place, label, former)
        elif not any(label in owner.labels for owner in found.values()):
            found[None, label] = Owner(None, origin.place, label)
    return list(found.values())


def _origins(
    directory: BackupDirectory, entries: Iterable[Entry]
) -> tuple[dict[Entry, Origin | Proof], dict[Entry, TaskdbError]]:
    """Return where the archives are from, and the errors of those whose manifest cannot be read.

    Raises StoreUnavailable.
    """
    origins: dict[Entry, Origin | Proof] = {}
    unreadable: dict[Entry, TaskdbError] = {}

    @cache
    def record_of(label: str) -> Record:
        try:
            return directory.load_record(label)
        except StoreUnavailable:
            raise
        except StorageFailed:
            # The manifests are enough here. Other commands report a damaged record.
            return Record()

    for entry, found in directory.origins(entries, record_of):
        if isinstance(found, TaskdbError):
            unreadable[entry] = found
        else:
            origins[entry] = found[0]
    return origins, unreadable


def taken_of(directory: BackupDirectory, identity: str | None, since: datetime | None) -> list[Entry]:
    """Return the archives since a time that may be of a database with this identity, whatever their labels.

    Those are among them that have no identity, or whose manifest cannot be read. Raises StorageFailed.
    """
    entries = [each for each in directory.entries() if since is None or each.taken_at >= since]
    origins, unreadable = _origins(directory, entries)
    return [each for each in entries if each in unreadable or origins[each].identity in (None, identity)]


def former_labels(place: str | None) -> frozenset[str]:
    """Return the labels that taskdb 0.1.0 may have given to the database at a path or HOST:PORT/NAME."""
    # 0.1.0 knew no schemas.
    name = PurePath((place or "").partition(" (schema ")[0]).name
    return frozenset({label_of(name), label_of(PurePath(name).stem)} if name else ())
