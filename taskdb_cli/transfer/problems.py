"""What is wrong with the records of a file. Problems that differ only in a value count as one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from taskdb_cli.text.escaping import brief, one_line

LONGEST_REASON = 500
"""Characters of a reason that are kept."""

MOST_KINDS = 1000
"""How many kinds are told apart, so that a file of any size takes the same memory."""

_LONGEST_VALUE = 60

# A value in quotes as Python writes it. Its end may have been cut off, or hidden with a password.
# An apostrophe within a word is none.
_END = r"(?<=\*{3})(?= )|\\?$"
_QUOTED = re.compile(rf"""(?<!\w)(?:'(?:[^'\\]|\\.)*?(?:'|{_END})|"(?:[^"\\]|\\.)*?(?:"|{_END}))""")


class InvalidRecord(ValueError):
    """A record breaks rules. `faults` says each; the message says all of them, unless one is given."""

    def __init__(self, faults: Sequence[str], message: str = "") -> None:
        super().__init__(message or "; ".join(faults))
        self.faults = faults


@dataclass
class Problem:
    """A kind of problem: the reason and the place of the first record that has it, and how many have it."""

    reason: str
    place: str
    records: int = 1
    varies: bool = False
    """Whether it is told with another value of another record."""


class Problems:
    """The kinds of problems of a file, at constant memory."""

    def __init__(self) -> None:
        self._kinds: dict[str, Problem] = {}
        self._others = 0

    def add(self, place: str, fault: str) -> None:
        """Count a fault of the record at a place."""
        reason = brief(one_line(fault), LONGEST_REASON)
        kind = _kind(reason)
        found = self._kinds.get(kind)
        if found is not None:
            found.records += 1
            found.varies = found.varies or reason != found.reason
        elif len(self._kinds) < MOST_KINDS:
            self._kinds[kind] = Problem(reason, place)
        else:
            self._others += 1

    def most_frequent(self, most: int) -> tuple[list[Problem], int]:
        """Return the most frequent kinds, and how many problems are of other kinds. Long values are cut."""
        kinds = sorted(self._kinds.values(), key=lambda problem: -problem.records)
        more = self._others + sum(problem.records for problem in kinds[most:])
        return [replace(each, reason=_shortened(each.reason)) for each in kinds[:most]], more


def _kind(reason: str) -> str:
    """Return a reason without its values: what is in quotes, addresses and numbers."""
    words = _QUOTED.sub("…", reason).split(" ")
    return " ".join(["…" if "@" in word or any(map(str.isdigit, word)) else word for word in words])


def _shortened(reason: str) -> str:
    values = _QUOTED.sub(lambda found: brief(found[0], _LONGEST_VALUE), reason)
    return " ".join(brief(word, _LONGEST_VALUE) for word in values.split(" "))
