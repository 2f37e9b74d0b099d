"""Records out of JSON: an array of objects, or one object a line.

Text that is not JSON is a problem, and reading continues at the next record.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from math import isinf
from typing import Any, TextIO

from taskdb_cli.text.escaping import brief, described
from taskdb_cli.text.faults import NotJson, json_fault
from taskdb_cli.transfer.lines import (
    CHUNK,
    LONGEST_RECORD,
    TOO_LONG,
    Found,
    find_undecoded,
    read_lines,
    undecodable,
    undecoded,
    unread,
)

_SPACE = re.compile(r"[ \t\r\n]*")
_MARK, _MARK_IN_TEXT = re.compile(r'["\[\]{},]'), re.compile(r'["\\]')
_FAR = 1 << 12
_DEEPEST = 100
"""How deep values may be nested. Whatever reads them later needs as many calls."""

_CUT_OFF = "is cut off: the file ends before the JSON does"
UNFINISHED = "is not valid JSON: its end is missing (each line holds one object)"
_NOT_FOLLOWED = "is not followed by a comma or the end of the array"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise NotJson(f"names {brief(name)} twice")
    return values


def _refuse_constant(name: str) -> None:
    raise NotJson(f"holds {name}, which JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise NotJson(f"holds the number {brief(text)}, which is too large")
    return number


class _Decoder(json.JSONDecoder):
    """Raises RecursionError for a value that is nested too deeply."""

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        """Return the value that begins there, and its end."""
        value, end = super().raw_decode(s, idx)
        # Looking into the value takes longer.
        if s.count("[", idx, end) + s.count("{", idx, end) > _DEEPEST and _is_deep(value):
            raise RecursionError
        return value, end


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST + 1):
        nested = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
    return bool(nested)


_JSON = _Decoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


def _object(value: object) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"is not a JSON object, but {described(value)}"


def read_objects(text: TextIO, *, separator: str) -> Iterator[Found]:
    """Yield the object of each line, which may end with a separator."""
    for number, line in enumerate(read_lines(text), 1):
        if len(line) >= LONGEST_RECORD:
            rest = line
            while rest and rest[-1] not in "\r\n":
                rest = text.readline(CHUNK)
            yield number, TOO_LONG
        elif record := line.rstrip(" \t\r\n").removesuffix(separator):
            if fault := undecodable(record, number, text.encoding or "utf-8"):
                yield number, fault
                continue
            try:
                yield number, _object(_JSON.decode(record))
            except (ValueError, RecursionError) as exc:
                yield number, json_fault(exc, lambda at: f"character {at + 1}", UNFINISHED)


class _Array:
    """The text of a JSON array in a file, read as far as the next record needs.

    ijson would not do: it keeps the last of two equal keys, does not say which record is not UTF-8,
    and needs memory that grows with the square of the depth.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._encoding = text.encoding or "utf-8"
        self._line, self._column = 1, 0  # where the buffer begins
        self._buffer = ""
        self._ended = False
        self._begun = 1  # the line of the last value that took longer
        self.position = 0

    def _forget(self) -> None:
        """Drop what is before the position."""
        self._line, self._column = self._line_and_column(self.position)
        self._buffer, self.position = self._buffer[self.position :], 0

    def _read_on(self) -> None:
        self._forget()
        chunk = self._text.read(CHUNK)
        self._buffer, self._ended = self._buffer + chunk, not chunk

    def _line_and_column(self, position: int) -> tuple[int, int]:
        """Return the line of a position, and the characters before it in this line."""
        if lines := self._buffer.count("\n", 0, position):
            return self._line + lines, position - self._buffer.rfind("\n", 0, position) - 1
        return self._line, self._column + position

    @property
    def line(self) -> int:
        """The line of the position."""
        return self._line_and_column(self.position)[0]

    @property
    def place(self) -> str:
        """Where the position is, for a person."""
        return self._in_words(self.position)

    def _in_words(self, position: int) -> str:
        line, column = self._line_and_column(position)
        return f"line {line}, character {column + 1}"

    def next_character(self) -> str:
        """Return the next character that is not white space, or '' at the end. Do not advance."""
        while True:
            match = _SPACE.match(self._buffer, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self._buffer) or self._ended:
                return self._buffer[self.position : self.position + 1]
            self._read_on()

    def next_value(self) -> Any:
        """Return the next JSON value and go past it; raise ValueError with the reason if there is none."""
        try:
            value, end = _JSON.raw_decode(self._buffer, self.position)
            text = self._buffer[self.position : end]
            is_whole = end < len(self._buffer) or self._ended
            if is_whole and find_undecoded(text) is None:
                self.position = end
                return value
        except (ValueError, RecursionError):
            # The value may go on behind what has been read.
            pass
        if self.position > _FAR:
            # The decoder counts the lines before an error, so leave few of them.
            self._forget()
        self._begun = self.line
        end, reason = self._find_end()
        text = self._buffer[self.position : end]
        if not reason and (at := find_undecoded(text)) is not None:
            reason = undecoded(text[at], *self._line_and_column(self.position + at), self._encoding)
        if not reason:
            try:
                value, length = _JSON.raw_decode(text)
                self.position += length
                return value
            except (ValueError, RecursionError) as exc:
                reason = self._reason(exc, _CUT_OFF)
        self.position = end
        raise ValueError(reason)

    def next_record(self) -> dict[str, Any] | str:
        """Return the next object, or the reason why it is not one, and advance past it."""
        try:
            return _object(self.next_value())
        except ValueError as exc:
            reason = str(exc)
        self.skip()
        at_end = not self.next_character() and reason != _CUT_OFF
        return f"{reason}; {unread(f'line {self._begun}')}" if at_end else reason

    def skip(self) -> None:
        """Advance to what may stand between two records, or to the next one."""
        while self.next_character() not in (*",]{", ""):
            self.position, _ = self._find_end()

    def _find_end(self) -> tuple[int, str]:
        """Read on to the end of a value, broken or not. Return its end, and why it cannot be read, or ''.

        The value begins at the position then. One that is too long is forgotten on the way.
        """
        at, depth, in_text, reason = self.position, 0, False, ""
        while True:
            found = (_MARK_IN_TEXT if in_text else _MARK).search(self._buffer, at)
            if found is None:
                length = len(self._buffer)
                if self._ended:
                    return length, reason
                if length - self.position > LONGEST_RECORD:
                    reason = self._why_so_long()
                if reason:
                    self.position = length
                at = max(at, length) - self.position
                self._read_on()
                continue
            mark, at = found[0], found.end()
            if mark == '"':
                in_text = not in_text
                if not (in_text or depth):
                    return at, reason
            elif mark == "\\":
                at += 1
            elif mark in "[{":
                depth += 1
            elif depth and mark in "]}":
                depth -= 1
                if not depth:
                    return at, reason
            elif not depth and mark in ",]":
                return found.start(), reason

    def _why_so_long(self) -> str:
        """Return why a value goes on where the longest allowed value would end."""
        try:
            _JSON.raw_decode(self._buffer, self.position)
        except (ValueError, RecursionError) as exc:
            return self._reason(exc, TOO_LONG, self.position)
        return TOO_LONG

    def _reason(self, error: Exception, unfinished: str, begin: int = 0) -> str:
        return json_fault(error, lambda at: self._in_words(self.position + at - begin), unfinished)


def read_array(text: TextIO) -> Iterator[Found]:
    """Yield the objects of an array. Go on behind a broken one, unless it has no end."""
    array = _Array(text)
    array.next_character()
    array.position += 1
    number, after_comma = 0, False
    while (character := array.next_character()) != "]":
        number += 1
        if character == ",":
            record: dict[str, Any] | str = "is missing before a comma"
        else:
            record = array.next_record()
        yield number, record
        character = array.next_character()
        if character not in (",", "]") and isinstance(record, dict):
            rest = unread(f"line {array.line}")
            array.skip()
            cut_off = character and not array.next_character()
            yield number, f"{_NOT_FOLLOWED}; {rest}" if cut_off else _NOT_FOLLOWED
            character = array.next_character()
        if not character:
            return
        if after_comma := character == ",":
            array.position += 1
    if after_comma:
        yield number, "is followed by a comma, but no other record is"
    array.position += 1
    if array.next_character():
        rest = unread(f"line {array.line}")
        yield max(number, 1), f"is the last of the array, but the file goes on behind it; {rest}"


def read_json(text: TextIO, *, separator: str = "") -> Iterator[Found]:
    """Yield the objects of an array, or those of lines that may end with a separator, from the beginning."""
    text.seek(0)
    in_array = _Array(text).next_character() == "["
    text.seek(0)
    return read_array(text) if in_array else read_objects(text, separator=separator)


def read_members(text: TextIO) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object, and of those that are arrays each item by itself, under its name.

    Raises ValueError, saying where, at the first fault of its form. The rest is not read then.
    """
    array, name, number = _Array(text), "", 0

    def fault(reason: str) -> ValueError:
        item = f", item {number}" if number else ""
        where = f" (in {brief(name)}{item})" if name else ""
        rest = f"; {unread(f'line {array.line}')}" if array.next_character() else ""
        return ValueError(f"{reason}{where}{rest}")

    def next_value() -> Any:
        array.next_character()
        try:
            return array.next_value()
        except ValueError as exc:
            raise fault(str(exc)) from exc

    def take(*characters: str) -> str:
        found = array.next_character()
        if found not in characters:
            wanted = f"expecting {' or '.join(characters)} at {array.place}"
            raise fault(f"is not valid JSON: {wanted}" if found else _CUT_OFF)
        array.position += 1
        return found

    def separated(end: str) -> Iterator[None]:
        """Yield in front of each of the values that commas separate."""
        more = array.next_character() != end or take(end) != end
        while more:
            yield
            more = take(",", end) == ","

    if (first := array.next_character()) != "{":
        raise ValueError("is not a JSON object" if first else "is empty")
    take("{")
    for _ in separated("}"):
        name, number = "", 0
        key = next_value()
        if not isinstance(key, str):
            raise fault(f"is not valid JSON: expecting a name in quotes before {array.place}")
        name = key
        take(":")
        if array.next_character() != "[":
            yield name, next_value()
            continue
        take("[")
        for _ in separated("]"):
            number += 1  # noqa: SIM113 (a fault says it)
            yield name, next_value()
    name = ""
    if array.next_character():
        raise fault(f"is followed by more than an object, at {array.place}")
