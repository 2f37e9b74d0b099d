"""How a file is to be read, where its beginning does not tell."""

import codecs
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from encodings.aliases import aliases

from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief

# Encodings of Python's own, in which no other program writes a file.
_INTERNAL = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
ENCODINGS = (
    "utf-8",
    "windows-1252",
    "utf-16-le",
    "utf-16-be",
    "latin-1",
    "mac-roman",
    "shift-jis",
    "gbk",
    "big5",
)
"""The encodings that files of other programs mostly have."""

_TAB = ("tab", "\\t")
_MOST_LISTED = 8


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file. The beginning of the file tells what is not given.

    `delimiter` is that of CSV. `map` has a name of a field for each name in the file, as `Task name=title`.
    With `ignore_unknown` fields that are not known are left out. Raises InvalidInput for a value of no use.
    """

    delimiter: str | None = None
    encoding: str | None = None
    map: Sequence[str] | None = None
    ignore_unknown: bool = False

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            given = self.delimiter
            character = "\t" if given.lower() in _TAB else given
            if len(character) != 1 or character in '"\r\n':
                raise InvalidInput(
                    f"the delimiter must be one character, or tab, not {brief(given)!r}",
                    "leave --delimiter away: a comma, semicolon, tab or | is found by itself",
                )
            object.__setattr__(self, "delimiter", character)
        if self.encoding is not None:
            object.__setattr__(self, "encoding", _encoding(self.encoding))

    def fields_by_name(self, known: Sequence[str]) -> dict[str, str]:
        """Return the field for each name of `map`. Raise InvalidInput if it is not clear."""
        found: dict[str, str] = {}
        for each in self.map or ():
            name, equals, field = each.rpartition("=")
            field = field.strip()
            if not (equals and name.strip()):
                raise InvalidInput(
                    f"--map must be COLUMN=FIELD, not {brief(each)!r}",
                    "such as --map 'Created on=created_at'",
                )
            if field not in known:
                near = get_close_matches(field.lower(), known, n=1, cutoff=0.75)
                meant = f", did you mean {near[0]!r}?" if near else ""
                raise InvalidInput(
                    f"--map {brief(each)!r}: {brief(field)!r} is not a known field{meant}",
                    f"fields are {', '.join(known)}",
                )
            if name in found:
                raise InvalidInput(f"--map names the column {brief(name)!r} twice", "leave one out")
            if field in found.values():
                raise InvalidInput(f"--map gives two columns to the field {field}", "leave one out")
            found[name] = field
        return found


NO_OPTIONS = ReadOptions()
"""The beginning of the file tells everything."""


def _encoding(name: str) -> str:
    """Return Python's name of an encoding of text. Raise InvalidInput, naming near ones, for any other."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        every, typed = [alias.replace("_", "-") for alias in aliases], name.lower().replace("_", "-")
        near = get_close_matches(typed, ENCODINGS) or get_close_matches(typed, every)
        hint = f"near ones are {', '.join(near)}" if near else "such as utf-8, windows-1252 or utf-16"
        raise InvalidInput(f"there is no encoding {brief(name)!r}", hint) from None
    if not codec._is_text_encoding or codec.name in _INTERNAL:  # noqa: SLF001
        raise InvalidInput(
            f"{brief(name)!r} is not an encoding of text files", "such as utf-8, windows-1252 or utf-16"
        )
    # The mark at the beginning is no part of the text.
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def resolve(names: Collection[str], wanted: dict[str, str], known: Sequence[str]) -> dict[str, str]:
    """Return the field that each of the names stands for, as far as the `wanted` names say it.

    A wanted name that is not among the names means the one that differs from it in case and blanks only.
    """
    found = {}
    for name, field in wanted.items():
        if name in names:
            found[name] = field
        else:
            others = [each for each in names if each not in known and each not in wanted]
            like = [each for each in others if _folded(each) == _folded(name)]
            if len(like) == 1:
                found[like[0]] = field
    return found


def _folded(name: str) -> str:
    return "".join(name.casefold().split())


def listed(names: Iterable[str]) -> str:
    """Return names of a file in quotes, the first of them if there are many, and how many more there are."""
    every = [*names]
    shown = ", ".join(f"{brief(name, 40)!r}" for name in every[:_MOST_LISTED])
    return f"{shown} and {len(every) - _MOST_LISTED:,} more" if len(every) > _MOST_LISTED else shown
