"""What is known of the archives of a label, which several databases may share: its file and its metrics."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from taskdb_cli.backup.atomic import storage, write_atomically
from taskdb_cli.backup.layout import Moment
from taskdb_cli.errors import StorageFailed
from taskdb_cli.system.paths import descriptor_of, reserved
from taskdb_cli.text.escaping import escape
from taskdb_cli.text.faults import reasons
from taskdb_cli.text.prometheus import gauges

LARGEST = 64_000_000
"""The largest size of a history in bytes: room for the proofs of some 50,000 archives."""

_BEGINNING = b"# HELP taskdb_backup_"
"""How the file begins, also that of taskdb 0.1.0."""

_Count = Annotated[int, Field(strict=True, ge=0)]
_IF_ANY = Field(exclude_if=lambda value: not value)


@dataclass(frozen=True)
class Proof:
    """What was found when all of an archive was last read and verified.

    `identity` and `place` say which database it is of; they are None for an archive of taskdb 0.1.0. `tag` is
    that of its store, or empty if it is not known. `digest` is that of all bytes of an encrypted archive,
    `sha256:` and 64 digits, and empty for another one.
    """

    archive: str
    seal: str
    size: _Count
    taken_at: Moment
    verified_at: Moment
    revision: str
    rows: Mapping[str, _Count]
    bytes: _Count
    identity: str | None = None
    place: str | None = None
    tag: Annotated[str, _IF_ANY] = ""
    digest: Annotated[str, _IF_ANY] = ""

    @property
    def at(self) -> datetime:
        """When it became known, as a damage and a drill say it."""
        return self.verified_at


@dataclass(frozen=True)
class Damage:
    """What was wrong with an archive when all of it was last read, and the size and tag that it had then."""

    archive: str
    what: str
    at: Moment
    size: _Count
    tag: str = ""


@dataclass(frozen=True)
class Drill:
    """When an archive was last restored as a trial, and which database it is of."""

    archive: str
    at: Moment
    identity: str | None = None


News = Proof | Damage | Drill
"""What may become known of an archive."""

Known = TypeVar("Known", Proof, Drill)


@dataclass(frozen=True)
class Record:
    """One proof of each archive, in the order of the archives; the last drill of each, in the order of time.

    `damages` has the archives that were damaged when they were last read.
    """

    proofs: tuple[Proof, ...] = ()
    drills: tuple[Drill, ...] = ()
    damages: tuple[Damage, ...] = ()

    @property
    def verified(self) -> Proof | None:
        """The proof of the newest archive."""
        return self.proofs[-1] if self.proofs else None

    @property
    def drilled(self) -> Drill | None:
        """The last test restore."""
        return self.drills[-1] if self.drills else None

    @property
    def damaged(self) -> Damage | None:
        """The damage of one of the archives."""
        return self.damages[-1] if self.damages else None

    def of(self, archive: str) -> Record:
        """Return what is known of the archive of that name. It takes no longer in a long record."""
        return self._by_archive.get(archive, Record())

    @cached_property
    def _by_archive(self) -> dict[str, Record]:
        found: defaultdict[str, list[News]] = defaultdict(list)
        for each in self.everything:
            found[each.archive].append(each)
        return {archive: Record().joined(*known) for archive, known in found.items()}

    @property
    def everything(self) -> tuple[News, ...]:
        """All that is known, in an order in which `joined` takes it."""
        return *self.proofs, *self.drills, *self.damages

    def joined(self, *news: News) -> Record:
        """Return the record with more entries. They replace older entries of the same archive.

        A new proof says that an archive is no longer damaged. Damage leaves its last proof known.
        """
        proofs: dict[str, Proof] = {}
        drills: dict[str, Drill] = {}
        damages: dict[str, Damage] = {}
        for each in (*self.everything, *news):
            if isinstance(each, Damage):
                damages[each.archive] = each
            elif isinstance(each, Drill):
                drills[each.archive] = each
            else:
                proofs[each.archive] = each
                damages.pop(each.archive, None)
        return Record(
            tuple(sorted(proofs.values(), key=lambda proof: proof.taken_at)),
            tuple(sorted(drills.values(), key=lambda drill: drill.at)),
            tuple(damages.values()),
        )

    def only(self, wanted: Callable[[Proof | Drill], bool]) -> Record:
        """Return it with a part of the proofs and drills."""
        return Record(tuple(filter(wanted, self.proofs)), tuple(filter(wanted, self.drills)), self.damages)

    def without_gone(self, archives: Collection[str], now: datetime) -> Record:
        """Leave out the entries of all other archives.

        The last two proofs and the last drill of each database stay, because health judges by them, unless
        they are dated a day or more in the future.
        """
        there = tuple(each for each in self.damages if each.archive in archives)
        return Record(_kept(self.proofs, archives, now, 2), _kept(self.drills, archives, now, 1), there)


@dataclass(frozen=True)
class _File1:
    """The file of taskdb 0.1.0: the last two proofs, and the last test restore. It names no database."""

    version: Literal[1]
    previous: Proof | None
    verified: Proof | None
    drilled: Drill | None


@dataclass(frozen=True)
class _File2:
    """The file that is written."""

    version: Literal[2]
    proofs: tuple[Proof, ...]
    drills: tuple[Drill, ...]
    damages: Annotated[tuple[Damage, ...], _IF_ANY] = ()


_FILE: TypeAdapter[_File1 | _File2] = TypeAdapter(Annotated[_File1 | _File2, Field(discriminator="version")])


def _kept(
    known: tuple[Known, ...], archives: Collection[str], now: datetime, number: int
) -> tuple[Known, ...]:
    kept, of_databases = [], Counter[str | None]()
    for each in reversed(known):
        dated = each.at if isinstance(each, Drill) else max(each.taken_at, each.verified_at)
        if each.archive in archives or dated < now + timedelta(days=1):
            of_databases[each.identity] += 1
            if each.archive in archives or of_databases[each.identity] <= number:
                kept.append(each)
    return tuple(reversed(kept))


def to_json(record: Record) -> str:
    """Return the record as the text of a file, as taskdb writes it."""
    content = _File2(2, record.proofs, record.drills, record.damages)
    return _FILE.dump_json(content, indent=2).decode() + "\n"


def from_json(text: str | bytes) -> Record:
    """Return the record in a file. Raise ValueError for any other content."""
    try:
        found = _FILE.validate_json(text)
    except ValidationError as exc:
        raise ValueError(reasons(exc)[0]) from exc
    if isinstance(found, _File2):
        return Record().joined(*found.proofs, *found.drills, *found.damages)
    return Record().joined(*(each for each in (found.previous, found.verified, found.drilled) if each))


class Measured(NamedTuple):
    """What is known of the archives in one place, and how many seconds a backup to it took, if one did."""

    record: Record
    seconds: float | None


def write_metrics(path: Path, label: str, places: Mapping[str, Measured]) -> None:
    """Replace the file, or the one that a symbolic link leads to, by the metrics of a label.

    Raises StorageFailed, also for a file that holds anything else, and leaves that as it is.
    """
    target = Path(os.path.realpath(path))
    with storage(f"{path} cannot be read"):
        # What goes to stdout would be lost with the file that /dev/stdout leads to.
        foreign = descriptor_of(path) is not None or reserved(path) or target.is_symlink()
        if path.is_file() and not foreign:
            with path.open("rb", buffering=0) as file:
                foreign = file.read(len(_BEGINNING)) not in (b"", _BEGINNING)
        if foreign:
            raise StorageFailed(f"{path} is not a metrics file of taskdb", "name another with --metrics-file")
    # The collector runs as another user, and nothing in the file is secret.
    write_atomically(target, exposition(label, places).encode(), mode=0o644)


def exposition(label: str, places: Mapping[str, Measured]) -> str:
    """Return the metrics in Prometheus' text format. With several places, each sample names its place."""
    families: dict[str, tuple[str, list[tuple[Mapping[str, str], float]]]] = {
        "last_success_timestamp_seconds": ("When the last verified backup was taken.", []),
        "duration_seconds": ("How long it took, verification included.", []),
        "size_bytes": ("The size of its archive.", []),
        "rows": ("How many rows of each table it holds.", []),
        "last_drill_timestamp_seconds": ("When an archive last passed a test restore.", []),
    }
    taken, duration, size, rows, drilled = (samples for _, samples in families.values())
    for place, (record, seconds) in places.items():
        here = {"label": label} | ({"dir": escape(place)} if len(places) > 1 else {})
        if proof := record.verified:
            taken.append((here, proof.taken_at.timestamp()))
            size.append((here, proof.size))
            # Somebody may have edited the names of tables in the history.
            rows += [(here | {"table": escape(table)}, number) for table, number in proof.rows.items()]
            if seconds is not None:
                duration.append((here, seconds))
        if drill := record.drilled:
            drilled.append((here, drill.at.timestamp()))
    return gauges((f"taskdb_backup_{name}", help, samples) for name, (help, samples) in families.items())
