"""Compare the users and tasks of two archives, or of an archive and a database, at constant memory.

Both sides are COPY text in the order of the ids. Equal bytes are skipped without a look at their rows, and
of other rows only the fields that differ are decoded.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from taskdb_cli import errors
from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.create import Progress, silent
from taskdb_cli.backup.keys import Identities
from taskdb_cli.backup.restore import Rows, counted, database_rows, rows_at_head
from taskdb_cli.backup.row_lines import Lines, Values, differing_values, unlike
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.database import Database
from taskdb_cli.database.content import Layout
from taskdb_cli.database.schema import compare_revision, head_revision

CHANGES = ("added", "removed", "changed")
"""What may have happened to a row between two sides."""

Source = StoredFile | Database


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared: an archive, or a database as it is at one moment.

    `place` and `identity` say which database it is, or was taken of. Only an archive has a time, a seal and a
    `size`, the bytes of its rows, if that is known.
    """

    name: str
    rows: Rows
    place: str | None
    identity: str | None
    taken_at: datetime | None = None
    seal: str | None = None
    size: int | None = None


class Difference(NamedTuple):
    """A row that is not the same on both sides.

    `old` and `new` are the fields of a row that one side has, and nothing for the other side. If both have
    the row, they are the fields that differ, and `title` is what the row is called on the new side.
    """

    table: str
    id: int
    change: str
    title: str
    old: Values | None
    new: Values | None


@dataclass
class Comparison:
    """What differs between two sides. It is known, and both sides are proven, when `run` is at its end."""

    old: Side
    new: Side
    progress: Progress = silent
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """How many rows of each table were added, removed or changed, or are `unchanged`."""
    _done: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return not any(counter[change] for counter in self.counts.values() for change in CHANGES)

    @property
    def is_same_database(self) -> bool | None:
        """Whether both are of the same database; None if one of them does not say which one it is of."""
        known = self.old.identity and self.new.identity
        return self.old.identity == self.new.identity if known else None

    def run(self, *, details: bool = False) -> Generator[Difference, None, None]:
        """Read both sides to their ends and count; with `details` yield each difference, by table and id.

        Raises ArchiveCorrupt if an archive is damaged, DataCorrupt for rows that are malformed or out of
        order, and SchemaDrift if the two do not have the same columns.
        """
        if self.old.seal and self.old.seal == self.new.seal:
            self._read_once()
            return
        tables = {layout.table: (layout, read) for layout, read in self.new.rows.items()}
        given = {layout.table: {*layout.columns} for layout in self.old.rows}
        if given != {table: {*layout.columns} for table, (layout, _) in tables.items()}:
            raise errors.SchemaDrift(
                f"{self.old.name} and {self.new.name} do not have the same columns",
                "'taskdb migrate check' looks at the tables",
            )
        for layout, read in self.old.rows.items():
            yield from self._compare(layout, read, *tables[layout.table], details=details)

    def _read_once(self) -> None:
        """Verify an archive that both sides are a copy of."""
        for layout, read in self.old.rows.items():
            counter = self.counts[layout.table] = Counter()
            with closing(read()) as chunks:
                for _ in self._counted(chunks, counter):
                    pass

    def _compare(
        self,
        layout: Layout,
        read: Callable[[], Generator[bytes, None, None]],
        other: Layout,
        read_other: Callable[[], Generator[bytes, None, None]],
        *,
        details: bool,
    ) -> Iterator[Difference]:
        counter = self.counts[layout.table] = Counter()
        old, new = Lines(layout, self.old.name), Lines(other, self.new.name)
        with closing(read()) as chunks, closing(read_other()) as others:
            ours, theirs = old.blocks(self._counted(chunks, counter)), new.blocks(self._counted(others))
            for id, line, another in unlike(old, ours, new, theirs):
                values = other_values = None
                if line is not None and another is not None:
                    values, other_values = differing_values(old, line, new, another)
                    if not values:
                        continue
                change = "added" if line is None else "removed" if another is None else "changed"
                counter[change] += 1
                if details:
                    title = new.title(another) if another else old.title(line or b"")
                    if not values:
                        values = None if line is None else old.values(line)
                        other_values = None if another is None else new.values(another)
                    yield Difference(layout.table, id, change, title, values, other_values)
        counter["unchanged"] -= counter["removed"] + counter["changed"]

    def _counted(self, chunks: Iterable[bytes], counter: Counter[str] | None = None) -> Iterator[bytes]:
        """Pass the text of a table on, and count its rows as unchanged until it is found otherwise."""
        for chunk in chunks:
            if counter is not None:
                counter["unchanged"] += chunk.count(b"\n")
            yield chunk
            self._done += len(chunk)
            self.progress(self._done)


@contextmanager
def comparing(old: Source, new: Source, identities: Identities = ()) -> Iterator[Comparison]:
    """Open both sides to be compared. The seals of archives are checked first.

    Raises what `Archive.open`, `rows_at_head` and `Database.snapshot` raise, and SchemaBehind or
    SchemaAhead for a database that is not at head.
    """
    with ExitStack() as opened:
        older, newer = (opened.enter_context(_opened(source, identities)) for source in (old, new))
        yield Comparison(older, newer)


@contextmanager
def _opened(source: Source, identities: Identities) -> Iterator[Side]:
    if isinstance(source, Database):
        with source.snapshot() as content:
            if problem := compare_revision(content.revision):
                raise problem
            name, place = source.backend.place, content.address
            yield Side(name, counted(database_rows(source, content)), place, content.identity)
        return
    with Archive.open(source, identities) as archive:
        manifest, origin = archive.manifest, archive.manifest.origin
        # Migrated rows have other bytes.
        same = origin.revision == head_revision()
        size = sum(table.bytes for table in manifest.counted) if same else None
        with rows_at_head(archive) as rows:
            known = origin.place, origin.identity, origin.created_at, archive.seal
            yield Side(str(source), counted(rows), *known, size)
