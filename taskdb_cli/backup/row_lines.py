"""Lines of COPY text: where they end, what they mean, and which of them differ as bytes."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from taskdb_cli.database.content import Layout
from taskdb_cli.database.sqlite.copy_text import CONVERTERS
from taskdb_cli.errors import DataCorrupt
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus

_LONGEST_ROW = 1 << 20
"""Bytes that no row can have by the rules of the tables."""

_READ: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "text": str,
    "boolean": bool,
    "timestamp": datetime.fromisoformat,
}
"""What reads the value that SQLite would store, by the type of the column."""
_MEANINGS: dict[str, Callable[[Any], Any]] = {"status": TaskStatus, "priority": TaskPriority}

Values = dict[str, Any]


class Pair(NamedTuple):
    """The two lines with an id: one of them is missing, or they are not the same bytes."""

    id: int
    old: bytes | None
    new: bytes | None


class Lines:
    """How the lines of a table are read. Raises DataCorrupt, naming the side, for a malformed one."""

    def __init__(self, layout: Layout, place: str) -> None:
        self.table, self.names, self._place = layout.table, layout.names, place
        self._id = self.names.index("id") if "id" in self.names else len(self.names)
        self._types = {column.name: column.type for column in layout.columns}
        self._last: int | None = None

    def blocks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the text in blocks of whole lines."""
        rest = b""
        for chunk in chunks:
            text = rest + chunk
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > _LONGEST_ROW:
                break
            if end:
                yield text[:end]
        if rest:
            raise self.malformed()

    def id(self, line: bytes) -> int:
        """Return the id of a line, which is higher than that of the line before that was asked for."""
        try:
            found = int(line.split(b"\t", self._id + 1)[self._id])
        except (ValueError, IndexError):
            raise self.malformed() from None
        if self._last is not None and found <= self._last:
            what = f"the rows of {self.table} are not in the order of their ids"
            raise self.corrupt(what)
        return found

    def passed(self, id: int) -> None:
        """Note that the line with this id was taken."""
        self._last = id

    def fields(self, line: bytes) -> dict[str, bytes]:
        """Return the fields of a line by the names of their columns."""
        found = line.split(b"\t")
        if len(found) != len(self.names):
            raise self.malformed()
        return dict(zip(self.names, found, strict=True))

    def value(self, name: str, given: bytes) -> Any:
        """Return what a field means: text, a number, a truth value, a time, a status or priority, or None."""
        try:
            kind = self._types[name]
            [stored] = CONVERTERS[kind]([given.decode()])
            if stored is None:
                return None
            value = _READ[kind](stored)
            return _MEANINGS[name](value) if name in _MEANINGS else value
        except (ValueError, KeyError):
            raise self.malformed() from None

    def values(self, line: bytes) -> Values:
        """Return what all fields of a line mean."""
        return {name: self.value(name, given) for name, given in self.fields(line).items()}

    def records(self, blocks: Iterable[bytes]) -> Iterator[Values]:
        """Yield what all fields of each line mean."""
        for block in blocks:
            yield from map(self.values, block.split(b"\n")[:-1])

    def title(self, line: bytes) -> str:
        """Return what the row of a line is called."""
        fields = self.fields(line)
        name = next((name for name in ("title", "email") if name in fields), "id")
        return str(self.value(name, fields[name]))

    def malformed(self) -> DataCorrupt:
        """Return the error of a line that is no row of the table."""
        return self.corrupt(f"a row of {self.table} is malformed")

    def corrupt(self, what: str) -> DataCorrupt:
        """Return the error of an archive or a database with such rows."""
        return DataCorrupt(f"{self._place}: {what}", "use another archive")


def differing_values(
    old: Lines, line: bytes, new: Lines, another: bytes
) -> tuple[Values | None, Values | None]:
    """Return the fields that do not mean the same in two lines, from either; nothing if there are none."""
    theirs, before, after = new.fields(another), Values(), Values()
    for name, given in old.fields(line).items():
        if given != theirs[name]:
            was, now = old.value(name, given), new.value(name, theirs[name])
            if was != now:
                before[name], after[name] = was, now
    return (before, after) if before else (None, None)


def unlike(
    old: Lines, old_blocks: Iterator[bytes], new: Lines, new_blocks: Iterator[bytes]
) -> Iterator[Pair]:
    """Yield the lines that are not on both sides as the same bytes, in the order of their ids."""
    ours = theirs = b""
    while True:
        ours, theirs = ours or next(old_blocks, b""), theirs or next(new_blocks, b"")
        if not (ours and theirs):
            break
        # Both begin and end where a line does. If the shorter one is the beginning of the longer one, that
        # goes on with a line, too.
        size = min(len(ours), len(theirs))
        if ours[:size] == theirs[:size]:
            ours, theirs = ours[size:], theirs[size:]
            continue
        lines, others = ours.split(b"\n")[:-1], theirs.split(b"\n")[:-1]
        here = there = 0
        while here < len(lines) and there < len(others):
            line, another = lines[here], others[there]
            if line == another:
                here, there = here + 1, there + 1
                continue
            id, other_id = old.id(line), new.id(another)
            if id <= other_id:
                old.passed(id)
                here += 1
            if other_id <= id:
                new.passed(other_id)
                there += 1
            yield Pair(
                min(id, other_id), line if id <= other_id else None, another if other_id <= id else None
            )
        ours, theirs = _rejoined(lines[here:]), _rejoined(others[there:])
    for id, line in _left(old, ours, old_blocks):
        yield Pair(id, line, None)
    for id, line in _left(new, theirs, new_blocks):
        yield Pair(id, None, line)


def _left(side: Lines, first: bytes, blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that only one side has left, with their ids."""
    for block in chain([first] if first else [], blocks):
        for line in block.split(b"\n")[:-1]:
            id = side.id(line)
            side.passed(id)
            yield id, line


def _rejoined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
