"""Decide which archives of a directory count as those of a database.

An archive is a database's own if it carries the identity of the database and the label in use. Databases of
one name, and copies that share an identity, then leave each other's archives alone. An archive without
identity is of taskdb 0.1.0, or was taken before the migration that made the identity. It counts if its label
is the one in use, or the one that 0.1.0 gave, and no other database in the directory uses that label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePath

from taskdb_cli.backup.archive import Manifest, Origin, manifest_of
from taskdb_cli.backup.directory import BackupDirectory, Entry
from taskdb_cli.backup.history import Drill, Proof, Record
from taskdb_cli.backup.names import SAFETY_SUFFIX, label_of
from taskdb_cli.errors import Conflict, InvalidInput, TaskdbError


@dataclass(frozen=True)
class Owner:
    """What is compared with an archive to find out whether it is of this database.

    `identity` is None for a database that has none yet. `label` is the label in use, and `former_labels` are
    those under which taskdb 0.1.0 may have kept its archives, if the label in use is the default one.
    """

    identity: str | None
    place: str | None
    label: str
    former_labels: frozenset[str] = frozenset()

    @property
    def labels(self) -> set[str]:
        """The labels under which it may have archives."""
        return {self.label, *self.former_labels}


@dataclass(frozen=True)
class Holdings:
    """The archives under a database's labels, oldest first, and what is known of its own."""

    own: list[Entry]
    others: dict[Entry, Origin]
    """Those of other databases."""
    unreadable: dict[Entry, TaskdbError]
    """Those whose manifest cannot be read, each with the error."""
    record: Record
    place: str | None
    """Where the database is."""

    def not_own(self) -> Iterator[tuple[Entry, str]]:
        """Yield each archive that is not the database's own, with the reason in words."""
        for entry, origin in self.others.items():
            yield entry, f"of {self.whose(origin)}"
        for entry, error in self.unreadable.items():
            yield entry, f"damaged: {error.message}"

    def whose(self, origin: Origin) -> str:
        """Return in words which database an archive of these is of."""
        return whose(origin, self.place)

    def count_others(self, entries: Iterable[Entry]) -> list[str]:
        """Return in words how many of these archives of other databases are of which."""
        return [
            f"{'an archive' if number == 1 else f'{number} archives'} of {name}"
            for name, number in Counter(self.whose(self.others[entry]) for entry in entries).items()
        ]


def whose(origin: Origin, here: str | None) -> str:
    """Return in words which other database an archive is of, told by a database whose place is `here`."""
    if origin.place is None:
        return f"a database that taskdb 0.1.0 called {origin.label}, perhaps another database"
    if origin.place != here:
        return f"another database, {origin.place}"
    # The database was made anew, or a downgrade has dropped its identity.
    return f"a database with {'another' if origin.identity else 'no'} identity at the same place, {here}"


def holdings(directory: BackupDirectory, owner: Owner) -> Holdings:
    """Return what a directory has under the labels of a database; read manifests only.

    Raises StorageFailed if the directory cannot be read.
    """
    manifests, unreadable = _read(entry for entry in directory.entries() if entry.label in owner.labels)
    claims = _Claims(directory, owner)
    own, others = [], {}
    for entry, manifest in manifests.items():
        if claims.owns(entry.label, manifest.origin):
            own.append(entry)
        else:
            others[entry] = manifest.origin
    record = Record()
    for label in sorted(owner.labels):
        owned = partial(_may_own, claims, label)
        record = record.joined(directory.record(label).only(owned))
    return Holdings(own, others, unreadable, record, owner.place)


def other_labels(directory: BackupDirectory, owner: Owner) -> list[str]:
    """Return the other labels under which a directory has archives of that identity."""
    return sorted(
        {each.label for each in _owners(directory) if each.identity == owner.identity is not None}
        - {owner.label}
    )


def presumed(directory: BackupDirectory, owner: Owner, *, anywhere: bool) -> Owner:
    """Return whose archives are meant for a database that has none of its own, or cannot be reached.

    These are the archives under its labels. If there are none, with `anywhere` they are all archives of the
    directory except safety backups. Raises InvalidInput if they are of several databases.
    """
    everybody = _owners(directory)
    found = [each for each in everybody if each.label in owner.labels]
    if not found:
        # A default label has former labels; a label that a person chose has none.
        found = [] if owner.former_labels else _owners(directory, {owner.label})
    found = found or (everybody if anywhere else [])
    here = [each for each in found if each.place == owner.place]
    if len(found) > 1 and len(here) != 1:
        places = ", ".join(sorted(f"{each.label} ({each.place or 'by taskdb 0.1.0'})" for each in found))
        by_label = "choose one with --label, or " if len({each.label for each in found}) > 1 else ""
        raise InvalidInput(
            f"{directory.path} has archives of several databases: {places}",
            f"{by_label}name an archive: 'taskdb backup list -o json' shows the identity of each",
        )
    [chosen] = (here if len(found) > 1 else found) or [owner]
    return chosen


def identity_to_adopt(
    directory: BackupDirectory, owner: Owner, origin: Origin, *, occupied: bool, from_other_database: bool
) -> str | None:
    """Return the identity that a database takes over with the rows of an archive, or None to keep its own.

    A database without rows (not `occupied`) and without archives takes over the archive's identity.
    Raises Conflict if it has rows or archives and the archive is another database's, unless
    `from_other_database` allows that.
    """
    claims = _Claims(directory, owner)
    if origin.identity == owner.identity or from_other_database or claims.owns(origin.label, origin):
        return None
    if not occupied and not _has_archives(directory, owner, claims):
        return origin.identity
    raise Conflict(
        f"the archive is of {whose(origin, owner.place)}",
        "--from-other-database loads it anyway",
    )


def _may_own(claims: _Claims, label: str, known: Proof | Drill) -> bool:
    return claims.may_own(label, known.identity)


class _Claims:
    """The labels that other databases use in a directory. They are read when they are first needed."""

    def __init__(self, directory: BackupDirectory, owner: Owner) -> None:
        self._directory = directory
        self._owner = owner

    def owns(self, label: str, origin: Origin) -> bool:
        elsewhere = origin.identity is None and origin.place not in (None, self._owner.place)
        return not elsewhere and self.may_own(label, origin.identity)

    def may_own(self, label: str, identity: str | None) -> bool:
        if identity is not None:
            return (label, identity) == (self._owner.label, self._owner.identity)
        return label in self._owner.labels and label not in self._claimed

    @cached_property
    def _claimed(self) -> set[str]:
        manifests, _ = _read(self._directory.entries())
        return {
            label
            for entry, manifest in manifests.items()
            for label in self._claimed_by(entry, manifest.origin)
        }

    def _claimed_by(self, entry: Entry, origin: Origin) -> set[str]:
        elsewhere = origin.place not in (None, self._owner.place)
        if not elsewhere and origin.identity in (None, self._owner.identity):
            return set()
        if origin.identity is None or origin.identity != self._owner.identity:
            used = {entry.label}
        elif entry.label not in self._owner.labels:
            # A copy of the database elsewhere, for which 0.1.0 used the same label.
            used = set()
        else:
            return set()
        if self._owner.identity is None and not self._owner.former_labels:
            # The database cannot be asked, and a person chose the label.
            return used
        # 0.1.0 used the same label for both, so its archives may be of either.
        return used | former_labels(origin.place)


def _has_archives(directory: BackupDirectory, owner: Owner, claims: _Claims) -> bool:
    manifests, _ = _read(directory.entries())
    return any(
        claims.owns(entry.label, manifest.origin)
        or (owner.identity is not None and manifest.origin.identity == owner.identity)
        for entry, manifest in manifests.items()
    )


def _owners(directory: BackupDirectory, labels: set[str] | None = None) -> list[Owner]:
    """Return every database that has archives; those of 0.1.0 belong to a later one of the same label."""
    manifests, _ = _read(
        entry
        for entry in directory.entries()
        if (entry.label in labels if labels else not entry.label.endswith(SAFETY_SUFFIX))
    )
    found: dict[tuple[str | None, str], Owner] = {}
    for entry, manifest in manifests.items():
        origin = manifest.origin
        if origin.identity is not None:
            found[origin.identity, entry.label] = Owner(
                origin.identity, origin.place, entry.label, former_labels(origin.place)
            )
    for entry, manifest in manifests.items():
        known = {label for owner in found.values() for label in owner.labels}
        if manifest.origin.identity is None and entry.label not in known:
            found[None, entry.label] = Owner(None, manifest.origin.place, entry.label)
    return list(found.values())


def _read(entries: Iterable[Entry]) -> tuple[dict[Entry, Manifest], dict[Entry, TaskdbError]]:
    manifests, unreadable = {}, {}
    for entry in entries:
        try:
            manifests[entry] = manifest_of(entry.path)
        except TaskdbError as exc:
            unreadable[entry] = exc
    return manifests, unreadable


def former_labels(place: str | None) -> frozenset[str]:
    """Return what 0.1.0 may have called the database at a place, which is a path or HOST:PORT/NAME."""
    # 0.1.0 knew no schemas.
    name = PurePath((place or "").partition(" (schema ")[0]).name
    return frozenset({label_of(name), label_of(PurePath(name).stem)} if name else ())
