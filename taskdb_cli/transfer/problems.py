"""What is wrong with the records of a file. Problems that differ only in a value count as one."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import IO

from taskdb_cli.system.paths import temporary_storage
from taskdb_cli.text.escaping import brief, one_line

LONGEST_REASON = 500
"""Characters of a reason that are kept."""

MOST_KINDS = 1000
"""How many kinds are kept, so that a file of any size takes the same memory."""

_LONGEST_VALUE = 60
_LONGEST_WORD = 64
"""A value has up to four marks around it, such as brackets."""

# A value in quotes as Python writes it. Its end may have been cut off, or hidden with a password.
# An apostrophe within a word is none.
_END = r"(?<=\*{3})(?= )|\\?$"
# Python finds a quote much faster than what is not before it.
_QUOTED = re.compile(rf"""'(?<!\w')(?:[^'\\]|\\.)*?(?:'|{_END})|"(?<!\w")(?:[^"\\]|\\.)*?(?:"|{_END})""")
_VALUE = re.compile(r"(?<![^ ])[^ @\d]*+[@\d][^ ]*")


class InvalidRecord(ValueError):
    """A record breaks rules. `faults` says each; the message says all of them."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass
class Problem:
    """A kind of problem: how many records have it, the places of the first and the last, and a reason."""

    reason: str
    first: str
    last: str
    records: int = 1
    varies: bool = False
    """Whether other records had it with another value."""


class Problems:
    """The kinds of problems of a file, at constant memory.

    With `keep` each record is kept too, in a temporary file.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._kinds: dict[str, Problem] = {}
        self._others = 0
        self._keep = keep
        self._kept: IO[bytes] | None = None
        self._begun: tuple[dict[str, Problem], int, int] = {}, 0, 0

    def add(self, place: str, *faults: str) -> None:
        """Count each fault of the record at a place. Raises StorageFailed if there is no room to keep it."""
        # A secret is hidden before the text is cut, so that no half of it is left.
        reasons = [brief(one_line(fault), LONGEST_REASON) for fault in faults]
        for reason in reasons:
            self._count(place, reason)
        if self._keep:
            detail = {"place": place, "reason": "; ".join(reasons)}
            with temporary_storage("nothing was imported"):
                self._kept = self._kept or TemporaryFile()  # noqa: SIM115 (closed by `details`)
                self._kept.write(json.dumps(detail).encode() + b"\n")

    def _count(self, place: str, reason: str) -> None:
        kind = _kind(reason)
        found = self._kinds.get(kind)
        if found is not None:
            # A record may have one kind in several fields.
            found.records += found.last != place
            found.last = place
            found.varies = found.varies or reason != found.reason
        elif len(self._kinds) < MOST_KINDS:
            self._kinds[kind] = Problem(reason, place, place)
        else:
            self._others += 1

    def mark(self) -> None:
        """Note what has been added so far, for `back`."""
        kept = self._kept.tell() if self._kept else 0
        self._begun = {kind: replace(each) for kind, each in self._kinds.items()}, self._others, kept

    def back(self) -> None:
        """Forget what has been added since the mark."""
        kinds, self._others, kept = self._begun
        self._kinds = {kind: replace(each) for kind, each in kinds.items()}
        if self._kept:
            with temporary_storage("nothing was imported"):
                self._kept.seek(kept)
                self._kept.truncate()

    def most_frequent(self, most: int) -> tuple[list[Problem], int]:
        """Return the most frequent kinds, and how many problems are of other kinds. Long values are cut."""
        kinds = sorted(self._kinds.values(), key=lambda problem: -problem.records)
        more = self._others + sum(problem.records for problem in kinds[most:])
        return [replace(each, reason=_shortened(each.reason)) for each in kinds[:most]], more

    def details(self) -> Iterator[Mapping[str, str]] | None:
        """Return the place and the reason of each record that is kept, to be read once, or None.

        Raises StorageFailed if there was no room for them.
        """
        if self._kept is None:
            return None
        with temporary_storage("nothing was imported"):
            self._kept.flush()
        return _read(self._kept)


def _read(kept: IO[bytes]) -> Iterator[Mapping[str, str]]:
    with kept:
        kept.seek(0)
        for line in kept:
            yield json.loads(line)


def _kind(reason: str) -> str:
    """Return a reason without its values: what is in quotes, addresses and numbers."""
    return _VALUE.sub("…", _QUOTED.sub("…", reason))


def _shortened(reason: str) -> str:
    words = _QUOTED.sub(lambda found: _short_value(found[0]), reason).split(" ")
    return " ".join(brief(word, _LONGEST_WORD) for word in words)


def _short_value(quoted: str) -> str:
    """Return a value with both of its quotes."""
    return quoted if len(quoted) <= _LONGEST_VALUE else f"{brief(quoted, _LONGEST_VALUE - 1)}{quoted[0]}"
