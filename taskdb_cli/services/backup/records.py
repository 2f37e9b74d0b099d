"""What is known of the archives of a label, kept beside them in a small file."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskdb_cli.errors import StorageFailed
from taskdb_cli.services.backup.files import write_atomically

FORMAT_VERSION = 1
LARGEST = 1_000_000
"""Bytes beyond which a file is none of ours."""

_log = logging.getLogger("taskdb.backup")


@dataclass(frozen=True)
class Proof:
    """What was found when all of an archive was last read and verified."""

    archive: str
    seal: str
    size: int
    taken_at: datetime
    verified_at: datetime
    revision: str
    rows: Mapping[str, int]
    bytes: int


@dataclass(frozen=True)
class Drill:
    """Which archive was last restored as a trial, and when that was done."""

    archive: str
    at: datetime


@dataclass(frozen=True)
class Record:
    """The newest proof, the one before it, and the last drill; None is what is not known."""

    verified: Proof | None = None
    drilled: Drill | None = None
    previous: Proof | None = None

    def with_proof(self, proof: Proof) -> Record:
        """Return the record after another verification; one of the same archive has no predecessor."""
        same = self.verified is not None and self.verified.archive == proof.archive
        return Record(proof, self.drilled, self.previous if same else self.verified)

    def with_drill(self, drill: Drill) -> Record:
        """Return the record after another drill."""
        return Record(self.verified, drill, self.previous)


def to_json(record: Record) -> str:
    """Return the record as the text of a file, times in UTC."""
    content = {"version": FORMAT_VERSION} | vars(record)
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"


def from_json(text: str | bytes) -> Record:
    """Return the record that a file holds; raise ValueError for anything that is none."""
    try:
        content = json.loads(text)
        if content["version"] != FORMAT_VERSION:
            raise ValueError(f"its version is {content['version']!r}, not {FORMAT_VERSION}")
        verified, drilled, previous = (content[name] for name in ("verified", "drilled", "previous"))
        return Record(
            None if verified is None else _proof(verified),
            None if drilled is None else _drill(drilled),
            None if previous is None else _proof(previous),
        )
    except KeyError as exc:
        raise ValueError(f"it has no {exc}") from exc
    except (TypeError, OverflowError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def read_record(path: Path) -> Record:
    """Return what a file holds; nothing is known if it is missing, or, with a warning, unusable."""
    try:
        return load_record(path)
    except StorageFailed as exc:
        _log.warning("nothing is known of the archives: %s", exc.message)
        return Record()


def load_record(path: Path) -> Record:
    """Return what a file holds; nothing is known if it is missing. Raises StorageFailed if it is unusable."""
    try:
        return from_json(_read(path))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise StorageFailed(
            f"the record {path} cannot be used: {reason}", "remove it, then: taskdb backup verify latest"
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


def _proof(value: Any) -> Proof:
    return Proof(
        archive=_text(value["archive"]),
        seal=_text(value["seal"]),
        size=_count(value["size"]),
        taken_at=_time(value["taken_at"]),
        verified_at=_time(value["verified_at"]),
        revision=_text(value["revision"]),
        rows={_text(table): _count(rows) for table, rows in dict(value["rows"]).items()},
        bytes=_count(value["bytes"]),
    )


def _drill(value: Any) -> Drill:
    return Drill(_text(value["archive"]), _time(value["at"]))


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
