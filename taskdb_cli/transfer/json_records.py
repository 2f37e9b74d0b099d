"""Records out of JSON: an array of objects, or one object a line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

from taskdb_cli.text.escaping import brief
from taskdb_cli.transfer.lines import CHUNK, LONGEST_RECORD, TOO_LONG, Found, read_lines

_SPACE = re.compile(r"[ \t\r\n]*")
_CUT_OFF = "is cut off: the file ends before the array does"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"names {brief(name)} twice")
    return values


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _object(value: object) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else "is not a JSON object"


def read_objects(text: TextIO, *, separator: str) -> Iterator[Found]:
    """Yield the object of each line, which may end with a separator."""
    for number, line in enumerate(read_lines(text), 1):
        if len(line) >= LONGEST_RECORD:
            yield number, TOO_LONG
            return
        if record := line.strip(" \t\r\n").removesuffix(separator):
            try:
                yield number, _object(_JSON.decode(record))
            except (ValueError, RecursionError) as exc:
                yield number, _not_json(exc)


def _not_json(error: Exception, unfinished: str = "") -> str:
    """Return why a text is not JSON: it is `unfinished` if only its end is missing."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    detail = str(error)
    if isinstance(error, json.JSONDecodeError):
        detail = error.msg
        if unfinished and (detail.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())):
            return unfinished
    return f"is not valid JSON: {detail[:1].lower()}{detail[1:]}"


class _Array:
    """The text of a JSON array in a file, read as far as the next record needs.

    ijson would not do: it keeps the last of two equal keys, does not say which record is not UTF-8,
    and needs memory that grows with the square of the depth.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.buffer = ""
        self.position = 0
        self.ended = False

    def _read_on(self) -> None:
        chunk = self._text.read(CHUNK)
        self.buffer, self.position, self.ended = self.buffer[self.position :] + chunk, 0, not chunk

    def next_character(self) -> str:
        """Return the next character that is not white space, or '' at the end. Do not advance."""
        while True:
            match = _SPACE.match(self.buffer, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.buffer) or self.ended:
                return self.buffer[self.position : self.position + 1]
            self._read_on()

    def next_value(self) -> object:
        """Return the next JSON value and advance. Raise ValueError for anything else."""
        while True:
            try:
                value, end = _JSON.raw_decode(self.buffer, self.position)
                if end < len(self.buffer) or self.ended:
                    self.position = end
                    return value
            except ValueError:
                # The value may continue beyond what has been read.
                if self.ended or len(self.buffer) - self.position > LONGEST_RECORD:
                    raise
            self._read_on()


def read_array(text: TextIO) -> Iterator[Found]:
    """Yield the objects of an array. Stop at the first fault of its form."""
    array = _Array(text)
    array.next_character()
    array.position += 1
    number = 0
    while array.next_character() != "]":
        number += 1
        try:
            yield number, _object(array.next_value())
        except (ValueError, RecursionError) as exc:
            yield number, _not_json(exc, _CUT_OFF if array.ended else TOO_LONG)
            return
        if (separator := array.next_character()) == ",":
            array.position += 1
        elif separator != "]":
            yield number, "is not followed by a comma or the end of the array"
            return
    array.position += 1
    if array.next_character():
        yield number, "is the last of the array, but the file goes on behind it"


def read_json(text: TextIO, *, separator: str = "") -> Iterator[Found]:
    """Yield the objects of an array, or those of lines that may end with a separator, from the beginning."""
    text.seek(0)
    in_array = _Array(text).next_character() == "["
    text.seek(0)
    return read_array(text) if in_array else read_objects(text, separator=separator)


def read_members(text: TextIO) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object, and of those that are arrays each item by itself, under its name.

    Raises ValueError, saying where, at the first fault of its form.
    """
    array, name, number = _Array(text), "", 0

    def fault(reason: str) -> ValueError:
        return ValueError(f"{reason} (in {brief(name)}, item {number})" if name else reason)

    def next_value() -> Any:
        array.next_character()
        try:
            return array.next_value()
        except (ValueError, RecursionError) as exc:
            raise fault(_not_json(exc, _CUT_OFF if array.ended else TOO_LONG)) from exc

    def take(*characters: str) -> str:
        found = array.next_character()
        if found not in characters:
            wanted = " or ".join(characters)
            raise fault(f"is not valid JSON: expecting {wanted}" if found else _CUT_OFF)
        array.position += 1
        return found

    def separated(end: str) -> Iterator[None]:
        """Yield in front of each of the values that commas separate."""
        more = array.next_character() != end or take(end) != end
        while more:
            yield
            more = take(",", end) == ","

    take("{")
    for _ in separated("}"):
        name, number = "", 0
        key = next_value()
        if not isinstance(key, str):
            raise fault("is not valid JSON: expecting a name in quotes")
        name = key
        take(":")
        if array.next_character() != "[":
            yield name, next_value()
            continue
        take("[")
        for _ in separated("]"):
            number += 1  # noqa: SIM113 (a fault says it)
            yield name, next_value()
    if array.next_character():
        raise ValueError("is followed by more than an object")
