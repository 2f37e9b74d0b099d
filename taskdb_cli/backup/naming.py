"""How people name archives: by the beginning of a name or by a time, as docs/backup.md says."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from difflib import SequenceMatcher

from taskdb_cli.backup import encryption
from taskdb_cli.backup.entry import Entry, first_names
from taskdb_cli.backup.file_names import SUFFIX
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import brief

Span = tuple[datetime, datetime]
"""A first moment, and the one before which it ends."""

_TIME_LENGTHS = (len("20261122T1230"), len("20261122T123015"), len("20261122T123015.123456Z"))
"""Where the time in a short name may end: the first of these at which all names differ."""
_NEAREST = 3
_COMPARED = 200
_ALIKE = 0.6


def matching(
    word: str, span: Span | None, *, own: Collection[Entry], labels: Collection[str], everything: list[Entry]
) -> list[Entry]:
    """Return the archives that a word may mean; `span` is the time that the word means, if it means one.

    These are the database's `own` archives whose names begin so, or else those of that time. If there are
    none, they are any archives in the directory whose names begin so. There the word must hold a part of the
    label, except under the database's `labels`.
    """
    named = [entry for entry in own if begins(entry, word)]
    dated = [entry for entry in own if is_within(entry, span)]
    others = (entry for entry in everything if begins(entry, word, with_label=entry.label not in labels))
    return named or dated or list(others)


def several(word: str, found: Sequence[Entry]) -> InvalidInput:
    """Return the error of a word that may mean several archives."""
    what = f"{brief(word)!r} fits {in_words({'archives': len(found)})}: {first_names([*reversed(found)])}"
    return InvalidInput(what, "name one of them by more of its name, or by day and time")


def nearest(word: str, span: Span | None, entries: Iterable[Entry]) -> list[str]:
    """Return the names of the archives that are nearest to a word that fits none, the nearest first."""
    newest_first = sorted(entries, key=lambda entry: entry.taken_at, reverse=True)
    if span:
        first, end = span
        near = sorted(newest_first, key=lambda entry: max(first - entry.taken_at, entry.taken_at - end))
    else:
        alike = {entry: _likeness(word, entry) for entry in newest_first[:_COMPARED]}
        near = sorted(alike, key=lambda entry: alike[entry], reverse=True)
        near = [entry for entry in near if alike[entry] >= _ALIKE] or near
    return [entry.name for entry in near[:_NEAREST]]


def begins(entry: Entry, word: str, *, with_label: bool = False) -> bool:
    """Return whether a name, or what is behind a hyphen in it, begins with a word.

    `with_label` says that the word must hold a part of the label.
    """
    name = entry.name
    starts = [0, *(hyphen.end() for hyphen in re.finditer("-", name))]
    return any(name.startswith(word, start) for start in starts[: -1 if with_label else None])


def is_within(entry: Entry, span: Span | None) -> bool:
    """Return whether an archive was taken in that time."""
    return span is not None and span[0] <= entry.taken_at < span[1]


def short_names(archives: Sequence[str], label: str) -> tuple[str, list[str]]:
    """Return what the names of all archives begin with, and the rest of each name, as `matching` takes it.

    The rest is the time alone where all archives have the `label` in use, and else holds a part of the label.
    """
    names = [archive.removesuffix(encryption.SUFFIX).removesuffix(SUFFIX) for archive in archives]
    common = os.path.commonprefix([f"{label}-", *names])  # noqa: RUF071 (no paths)
    common = common[: common.rfind("-") + 1]
    longest = _TIME_LENGTHS[-1]
    for length in _TIME_LENGTHS:
        cut = [name[: len(name) - longest + length] for name in names]
        if len({*cut}) == len(names):
            break
    return common, [name.removeprefix(common) for name in cut]


def _likeness(word: str, entry: Entry) -> float:
    name = entry.name
    parts = [name, *(name[hyphen.end() :] for hyphen in re.finditer("-", name))]
    return max(SequenceMatcher(None, word, part[: len(word)]).ratio() for part in parts)
