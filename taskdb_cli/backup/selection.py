"""Find the rows of some users and tasks in the text of an archive's tables.

The text is searched by regular expressions, a piece at a time, because a look at each row would take longer
than everything else that is done with an archive.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from taskdb_cli.backup.row_lines import Lines
from taskdb_cli.errors import NotFound
from taskdb_cli.models.fields import normalize_email
from taskdb_cli.services.user import to_id
from taskdb_cli.text.escaping import brief

_ROW = rb"[^\n]*"
_FIELD = rb"[^\t\n]*"

_MOST_NEAR = 1000
"""How many addresses are kept to find those that are like one that is missing."""


def rows_where(
    lines: Lines, chunks: Iterable[bytes], wanted: Mapping[str, Collection[bytes]]
) -> Iterator[bytes]:
    """Yield the rows in which one of the columns has one of the fields that are wanted in it.

    The text is read to its end in any case, which proves that the archive is whole.
    """
    pattern = _pattern(lines, wanted)
    for block in lines.blocks(chunks):
        if found := pattern.findall(b"\n" + block):
            yield _text(found)


class UserSearch:
    """Users of an archive by their ids and e-mail addresses; a range means those of its ids that exist."""

    def __init__(self, refs: Sequence[str | range]) -> None:
        """Raise NotFound for what is neither an id nor an address."""
        self.found: dict[int, str] = {}
        """The addresses of the users that were found, by id."""
        self._refs = refs
        self._ids = {each for ref in refs if isinstance(ref, range) for each in ref}
        self._emails: dict[str | range, str] = {}
        self._near: list[str] = []
        for ref in refs:
            if isinstance(ref, str) and (id := to_id(ref)) is not None:
                self._ids.add(id)
            elif isinstance(ref, str):
                try:
                    self._emails[ref] = normalize_email(ref)
                except ValueError as exc:
                    raise NotFound(f"{brief(ref)!r} is no user: it {exc}") from None

    def rows(self, lines: Lines, chunks: Iterable[bytes], *, everybody: bool = False) -> Iterator[bytes]:
        """Yield the rows of these users, or of `everybody`; in both cases note which of them are found."""
        wanted = {"id": fields_of(self._ids), "email": [email.encode() for email in self._emails.values()]}
        chosen, near = _pattern(lines, wanted), self._near_pattern(lines)
        id, email = lines.names.index("id"), lines.names.index("email")
        for block in lines.blocks(chunks):
            text = b"\n" + block
            found = chosen.findall(text)
            for row in found:
                fields = row[1:].split(b"\t")
                try:
                    self.found[int(fields[id])] = fields[email].decode()
                except (ValueError, IndexError):
                    raise lines.malformed() from None
            if near and len(self._near) < _MOST_NEAR:
                self._near += [each.decode(errors="replace") for each in near.findall(text)]
            if everybody:
                yield block
            elif found:
                yield _text(found)

    def require(self, archive: object) -> None:
        """Raise NotFound for a user that the archive does not have, with similar addresses that it has."""
        emails = set(self.found.values())
        for ref in self._refs:
            if isinstance(ref, range):
                there = any(id in self.found for id in ref)
            else:
                there = self._emails[ref] in emails if ref in self._emails else to_id(ref) in self.found
            if not there:
                name = f"{ref[0]}-{ref[-1]}" if isinstance(ref, range) else ref
                near = get_close_matches(self._emails.get(ref, ""), self._near, n=3, cutoff=0.75)
                hint = (
                    f"it holds {', '.join(map(brief, near))}" if near else "'taskdb backup list' shows others"
                )
                raise NotFound(f"{archive} holds no user {brief(name)}", hint)

    def _near_pattern(self, lines: Lines) -> re.Pattern[bytes] | None:
        begins = sorted({email.encode()[:2] for email in self._emails.values()})
        before = _before(lines, "email")
        begun = b"|".join(map(re.escape, begins))
        return re.compile(rb"\n" + before + rb"((?:" + begun + rb")[^\t\n]*)") if begins else None


def fields_of(ids: Iterable[int]) -> set[bytes]:
    """Return ids as fields of the text."""
    return {b"%d" % id for id in ids}


def _pattern(lines: Lines, wanted: Mapping[str, Collection[bytes]]) -> re.Pattern[bytes]:
    """Return a pattern that finds rows, each with the newline before it."""
    cases = [_before(lines, name) + _one_of(set(fields)) for name, fields in wanted.items() if fields]
    # What begins with a newline is searched for as fast as a newline is.
    return re.compile(rb"\n(?=" + b"|".join(cases) + rb")" + _ROW if cases else rb"(?!)")


def _before(lines: Lines, column: str) -> bytes:
    """Return a pattern of the fields before a column; raise DataCorrupt if there is no such column."""
    if column not in lines.names:
        raise lines.corrupt(f"the rows of {lines.table} have no {column}")
    return (_FIELD + rb"\t") * lines.names.index(column)


def _one_of(fields: set[bytes]) -> bytes:
    """Return a pattern of these whole fields. Their number does not matter for the time of a match."""
    endings: dict[bytes, set[bytes]] = {}
    for field in fields - {b""}:
        endings.setdefault(field[:1], set()).add(field[1:])
    begins: dict[bytes, bytes] = {}
    for first, rest in endings.items():
        after = _one_of(rest)
        begins[after] = begins.get(after, b"") + re.escape(first)
    cases = [rb"[" + firsts + rb"]" + after for after, firsts in begins.items()]
    if b"" in fields:
        cases.append(rb"(?=[\t\n])")
    return cases[0] if len(cases) == 1 else rb"(?:" + b"|".join(cases) + rb")"


def _text(rows: Sequence[bytes]) -> bytes:
    return b"".join(rows)[1:] + b"\n"
