"""Read archives again, and know those that need it: of most of them the record says enough."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from math import ceil

from taskdb_cli.backup.create import read_back
from taskdb_cli.backup.directory import BackupDirectory
from taskdb_cli.backup.entry import Entry, proof_of
from taskdb_cli.backup.history import Damage, Proof
from taskdb_cli.backup.proving import compare
from taskdb_cli.errors import StoreUnavailable, TaskdbError


class Recheck:
    """What is known of archives: what the record says of them, and what is found when they are read."""

    def __init__(self, directory: BackupDirectory, entries: Iterable[Entry], now: datetime) -> None:
        self._directory, self._now = directory, now
        self._record_of = cache(directory.record)
        self._known = {entry: self._recorded(entry) for entry in entries}
        self._news: dict[Entry, Proof | Damage] = {}

    def _recorded(self, entry: Entry) -> Proof | Damage | None:
        damage = self._record_of(entry.label).of(entry.name).damaged
        if damage is None:
            return proof_of(entry, self._record_of(entry.label))
        return damage if (damage.size, damage.tag) == (entry.size, entry.tag) else None

    @property
    def unknown(self) -> list[Entry]:
        """The archives that were never read here, or whose files have changed since."""
        return [entry for entry, known in self._known.items() if known is None]

    def damage(self, entry: Entry) -> str | None:
        """Return what is known to be wrong with an archive."""
        known = self._known[entry]
        return known.what if isinstance(known, Damage) else None

    def due(self, entries: Collection[Entry], days: int) -> list[Entry]:
        """Return which of these archives to read again, so that each is read once in so many nights.

        At most the share of one night is returned, and no archive that was read in the last so many days. The
        archives that were read longest ago come first. A damaged archive takes its turn like any other.
        """
        if not days:
            return []
        read_at = {entry: known.at for entry in entries if (known := self._known.get(entry))}
        since = self._now - timedelta(days=days)
        late = [entry for entry, at in read_at.items() if not since < at <= self._now]
        return sorted(late, key=lambda entry: read_at[entry])[: ceil(len(entries) / days)]

    def read(self, entries: Iterable[Entry]) -> None:
        """Read all of these archives; raise StoreUnavailable."""
        for entry in entries:
            self._news[entry] = self._known[entry] = self._read(entry)

    def note(self) -> None:
        """Record what was found; raise Incomplete."""
        news: defaultdict[str, list[Proof | Damage]] = defaultdict(list)
        for entry, each in self._news.items():
            news[entry.label].append(each)
        for label, found in news.items():
            self._directory.note(label, *found)

    def _read(self, entry: Entry) -> Proof | Damage:
        proof = self._record_of(entry.label).of(entry.name).verified
        try:
            if proof is None:
                return replace(read_back(entry.file).proof(self._now), tag=entry.tag)
            compare(entry.file, proof)
            return replace(proof, verified_at=self._now, tag=entry.tag)
        except StoreUnavailable:
            raise
        except TaskdbError as exc:
            return Damage(entry.name, exc.message, self._now, entry.size, entry.tag)
