"""What is known of the archives of a label, kept beside them in a small file.

Several databases may share a label: each proof and each drill says by an identity which database it is of.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from taskdb_cli.backup.atomic import write_atomically
from taskdb_cli.errors import StorageFailed

FORMAT_VERSION = 2
"""The version that is written. Version 1, of taskdb 0.1.0, has no identity; it is read too."""

LARGEST = 32_000_000
"""The largest size of a record in bytes: room for the proofs of some 50,000 archives."""

_KEPT_WITHOUT_ARCHIVE = 2
"""Proofs of a database that stay although their archives are gone: health compares the last two."""

_DAY = timedelta(days=1)

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Proof:
    """What was found when all of an archive was last read and verified.

    `identity` and `place` say which database it is of; they are None for an archive of taskdb 0.1.0.
    """

    archive: str
    seal: str
    size: int
    taken_at: datetime
    verified_at: datetime
    revision: str
    rows: Mapping[str, int]
    bytes: int
    identity: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Drill:
    """When an archive was last restored as a trial, and which database it is of."""

    archive: str
    at: datetime
    identity: str | None = None


Known = TypeVar("Known", Proof, Drill)


@dataclass(frozen=True)
class Record:
    """One proof of each archive, those of newer archives last, and one drill of each, the last one last."""

    proofs: tuple[Proof, ...] = ()
    drills: tuple[Drill, ...] = ()

    @property
    def verified(self) -> Proof | None:
        """The proof of the newest archive."""
        return self.proofs[-1] if self.proofs else None

    @property
    def previous(self) -> Proof | None:
        """The proof of the archive before that."""
        return self.proofs[-2] if len(self.proofs) > 1 else None

    @property
    def drilled(self) -> Drill | None:
        """The last drill."""
        return self.drills[-1] if self.drills else None

    def proof_of(self, archive: str) -> Proof | None:
        """Return the proof of an archive of that name."""
        return next((proof for proof in self.proofs if proof.archive == archive), None)

    def drill_of(self, archive: str) -> Drill | None:
        """Return the drill of an archive of that name."""
        return next((drill for drill in self.drills if drill.archive == archive), None)

    def joined(self, other: Record) -> Record:
        """Return both joined; for an archive in both, the entry of `other` counts."""
        return Record(
            tuple(sorted(_latest(self.proofs + other.proofs), key=lambda proof: proof.taken_at)),
            tuple(sorted(_latest(self.drills + other.drills), key=lambda drill: drill.at)),
        )

    def only(self, wanted: Callable[[Proof | Drill], bool]) -> Record:
        """Return a part of it."""
        return Record(tuple(filter(wanted, self.proofs)), tuple(filter(wanted, self.drills)))

    def without_gone(self, archives: Collection[str], now: datetime) -> Record:
        """Leave out what is known of archives that are none of these.

        The last two proofs and the last drill of each database stay, because health judges by them, unless
        they are dated a day or more in the future.
        """
        known = self.only(lambda each: each.archive in archives or _time_of(each) < now + _DAY)
        return Record(_kept(known.proofs, archives, _KEPT_WITHOUT_ARCHIVE), _kept(known.drills, archives, 1))


def _time_of(known: Proof | Drill) -> datetime:
    return known.at if isinstance(known, Drill) else max(known.taken_at, known.verified_at)


def _latest(known: Iterable[Known]) -> Iterable[Known]:
    return {each.archive: each for each in known}.values()


def _kept(known: tuple[Known, ...], archives: Collection[str], number: int) -> tuple[Known, ...]:
    last = {
        each.archive
        for identity in {each.identity for each in known}
        for each in [each for each in known if each.identity == identity][-number:]
    }
    return tuple(each for each in known if each.archive in archives or each.archive in last)


def to_json(record: Record) -> str:
    """Return the record as the text of a file, times in UTC."""
    content = {"version": FORMAT_VERSION} | vars(record)
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"


def from_json(text: str | bytes) -> Record:
    """Return the record that a file holds; raise ValueError for anything that is none."""
    try:
        content = json.loads(text)
        match content["version"]:
            case 1:
                proofs = [content[name] for name in ("previous", "verified") if content[name] is not None]
                drills = [content["drilled"]] if content["drilled"] is not None else []
            case 2:
                proofs, drills = content["proofs"], content["drills"]
            case other:
                raise ValueError(f"its version is {other!r}, not 1 or {FORMAT_VERSION}")
        return Record().joined(Record(tuple(map(_proof, proofs)), tuple(map(_drill, drills))))
    except KeyError as exc:
        raise ValueError(f"it has no {exc}") from exc
    except (TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def read_record(path: Path) -> Record:
    """Return what a file holds; nothing is known if it is missing, or, with a warning, unusable."""
    try:
        return load_record(path)
    except StorageFailed as exc:
        _log.warning("nothing is known of the archives: %s", exc.message)
        return Record()


def load_record(path: Path) -> Record:
    """Return what a file holds; an empty record if it is missing. Raises StorageFailed if it is unusable."""
    try:
        return from_json(_read(path))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise StorageFailed(
            f"the record {path} cannot be used: {reason}", "remove it, then run 'taskdb backup verify latest'"
        ) from exc


def write_record(path: Path, record: Record) -> None:
    """Replace the record in a file, all of it or nothing; raise StorageFailed."""
    write_atomically(path, to_json(record).encode())


def _read(path: Path) -> bytes:
    # A named pipe that nobody writes to would otherwise be waited for.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST} bytes")
    return data


def _proof(value: Mapping[str, Any]) -> Proof:
    return Proof(
        archive=_text(value["archive"]),
        seal=_text(value["seal"]),
        size=_count(value["size"]),
        taken_at=_time(value["taken_at"]),
        verified_at=_time(value["verified_at"]),
        revision=_text(value["revision"]),
        rows={_text(table): _count(rows) for table, rows in dict(value["rows"]).items()},
        bytes=_count(value["bytes"]),
        identity=_optional(value.get("identity")),
        place=_optional(value.get("place")),
    )


def _drill(value: Mapping[str, Any]) -> Drill:
    return Drill(_text(value["archive"]), _time(value["at"]), _optional(value.get("identity")))


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _time(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} names no time zone")
    return moment.astimezone(UTC)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
        case Mapping():
            return dict(value)
        case _:
            return vars(value)
