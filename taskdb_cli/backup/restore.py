"""Bring the rows of an archive, or of another database, into a database: all of them or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from sqlalchemy import URL

from taskdb_cli.backup.archive import Archive, Digest, Manifest
from taskdb_cli.backup.aside import Damaged
from taskdb_cli.backup.create import Progress, silent
from taskdb_cli.backup.draft import filled
from taskdb_cli.database import Database
from taskdb_cli.database.content import Column, Content, Layout, with_ids_left
from taskdb_cli.database.identity import adopt_identity
from taskdb_cli.database.options import Options
from taskdb_cli.database.schema import compare_revision, current_revision, revisions
from taskdb_cli.errors import (
    ArchiveCorrupt,
    Conflict,
    DatabaseMissing,
    DataCorrupt,
    SchemaAhead,
    SchemaDrift,
    TargetNotEmpty,
)
from taskdb_cli.models.vocabulary import in_words
from taskdb_cli.services import migrate

_log = logging.getLogger("taskdb.restore")

Chunks = AbstractContextManager[Iterator[bytes]]
"""Text that can be read until the context is left."""

Safety = Callable[[Content], object]
"""Saves what is about to be replaced."""


class Source(Protocol):
    """Where rows come from."""

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The tables, parents before their children."""

    def chunks(self, layout: Layout) -> Chunks:
        """Open a table to be read as COPY text."""


class ArchivedRows:
    """The rows of an archive; reading a table to its end verifies it."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The tables as the manifest names them."""
        return tuple(
            Layout(table.name, tuple(Column(column.name, column.type) for column in table.columns))
            for table in self._archive.manifest.tables
        )

    def chunks(self, layout: Layout) -> Chunks:
        """Open a table to be read as COPY text."""
        return closing(self._archive.chunks(layout.table))


class DatabaseRows:
    """The rows of a database; what goes wrong there is told of it, and not of where the rows go."""

    def __init__(self, database: Database, content: Content) -> None:
        self._database = database
        self._content = content

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The tables that are archived."""
        return self._content.layouts

    @contextmanager
    def chunks(self, layout: Layout) -> Iterator[Iterator[bytes]]:
        """Open a table to be read as COPY text."""
        with ExitStack() as stack:
            with self._database.translating():
                chunks = stack.enter_context(self._content.chunks(layout))
            yield self._translated(chunks)

    def _translated(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with self._database.translating():
            yield from chunks


@dataclass(frozen=True)
class Plan:
    """What a restore would do: the archive's manifest, and the rows that the target has now."""

    manifest: Manifest
    replaced: Mapping[str, int]
    damaged: Damaged | None = None
    """The file that makes room for a new one, if the target cannot be read."""

    @property
    def rows(self) -> dict[str, int]:
        """The rows of each table of the archive."""
        return {table.name: table.rows for table in self.manifest.tables}

    @property
    def bytes(self) -> int:
        """How much text that is."""
        return sum(table.bytes for table in self.manifest.tables)


def plan(target: Database, path: Path, *, damaged: Damaged | None = None, trial: bool = False) -> Plan:
    """Look at an archive and at the target, unless that is `damaged`; change nothing.

    The archive's seal, which is over every byte, is checked in any case. Its rows, which a restore checks
    as it loads them, are so before if there are others to be replaced, or if it stays at this `trial`.
    Raises ArchiveCorrupt, FileMissing, SchemaAhead for an archive of a later version, and SchemaBehind,
    SchemaAhead or SchemaForeign for a target that rows cannot be loaded into.
    """
    with Archive.open(path) as archive:
        _require_known(archive.manifest)
        replaced = {} if damaged else occupied(target)
        if replaced or damaged or trial:
            _verify(archive)
        return Plan(archive.manifest, replaced, damaged)


def restore(
    target: Database,
    path: Path,
    *,
    replace: bool = False,
    damaged: Damaged | None = None,
    safety: Safety | None = None,
    identity: str | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Load an archive into a database in one transaction, and return the archive's manifest.

    With an `identity` the database takes that over, and so becomes the one that the archive is of.

    A target without tables gets them first. One that holds rows is refused unless they are to be
    `replace`d; they go through `safety` before that. A `damaged` file is kept under another name, and a
    new one takes its place at the very end. New ids follow the highest one. The outcome is read again and
    compared before it is committed. Raises TargetNotEmpty, Conflict if rows of others refer to those to
    replace or something keeps them from being deleted, what `plan` raises, and OutcomeUnknown.
    """
    with Archive.open(path) as archive, _at_head(archive) as source:
        bring(
            source,
            target,
            replace=replace,
            damaged=damaged,
            safety=safety,
            identity=identity,
            progress=progress,
        )
        return archive.manifest


def copy(
    origin: Database,
    target: Database,
    *,
    replace: bool = False,
    damaged: Damaged | None = None,
    safety: Safety | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Load what a database holds into another one, as `restore` does; return the rows of each table.

    Raises what `require_copyable` and `restore` raise.
    """
    with origin.snapshot() as content:
        rows = DatabaseRows(origin, content)
        return bring(rows, target, replace=replace, damaged=damaged, safety=safety, progress=progress)


def require_copyable(origin: Database, target: Database) -> dict[str, int]:
    """Return how many rows each table of a database has, if `copy` could bring them into the target.

    Raises SchemaBehind or SchemaAhead unless the origin is at head, and Conflict if both are one, under
    whatever names.
    """
    if origin.backend.place == target.backend.place or origin.is_same(target):
        raise Conflict(f"{origin.backend.place} is both ends of the copy", "name another database with --to")
    with origin.snapshot() as content:
        if problem := compare_revision(content.revision):
            raise problem
        return content.counts()


def drill(path: Path, *, target: Database | None = None, progress: Progress = silent) -> Manifest:
    """Restore an archive for trial, check what comes out, and leave nothing behind but empty tables.

    That is done in a SQLite file that is thrown away, or in a target without rows. Raises
    ArchiveCorrupt or DataCorrupt if the archive does not pass, and TargetNotEmpty.
    """
    with Archive.open(path) as archive, _at_head(archive) as source, _or_scratch(target) as database:
        bring(source, database, dry_run=True, progress=progress)
        return archive.manifest


def bring(
    source: Source,
    target: Database,
    *,
    replace: bool = False,
    damaged: Damaged | None = None,
    safety: Safety | None = None,
    identity: str | None = None,
    progress: Progress = silent,
    dry_run: bool = False,
) -> dict[str, int]:
    """Load all rows of a source into a database at head, in one transaction; return how many they were.

    A `dry_run` also lets the engine check the rows, and then rolls back.
    """
    with filled(target, dry_run=dry_run, damaged=damaged) as database:
        _make_tables(database)
        with database.replacement(dry_run=dry_run) as content:
            _prepare(source, content, target.backend.place, replace=replace, safety=safety)
            if identity:
                adopt_identity(content.connection, identity)
            with _naming_triggers(content):
                loaded = _load(source, content, progress)
            if dry_run and (faults := content.faults()):
                raise DataCorrupt(
                    f"the restored rows are damaged: {'; '.join(faults)}", "use another archive"
                )
    _log.info("loaded %d rows into %s", sum(loaded.values()), target.backend.place)
    return loaded


def _prepare(source: Source, content: Content, place: str, *, replace: bool, safety: Safety | None) -> None:
    """Raise what speaks against loading; let what is there be saved."""
    _require_same_layout(source, content)
    held = {table: rows for table, rows in content.counts().items() if rows}
    if held and not replace:
        raise TargetNotEmpty(place, in_words(held))
    if held:
        _require_unneeded(content, place)
    if held and safety:
        # What cannot be replaced is refused before an archive of it is made.
        content.rehearse()
        safety(content)


def _require_unneeded(content: Content, place: str) -> None:
    if others := content.referring_tables():
        raise Conflict(
            f"rows of other applications refer to those of {place}: in {', '.join(others)}",
            "nothing was changed; restore into another database, and bring over what you need",
        )


def rehearse(target: Database) -> None:
    """Raise what `restore` would raise about the rows that are there; change nothing."""
    with target.replacement(dry_run=True) as content:
        _require_unneeded(content, target.backend.place)
        content.rehearse()


def occupied(target: Database) -> dict[str, int]:
    """Return how many rows each table of a database holds that has any; none in one without tables.

    Raises SchemaBehind, SchemaAhead or SchemaForeign for a database that is not at head.
    """
    if _lacks_tables(target):
        return {}
    with target.connect() as connection:
        counts = target.backend.content(connection).counts()
    return {table: rows for table, rows in counts.items() if rows}


def _verify(archive: Archive) -> None:
    """Read every row before anything is changed, and refuse what `_load` would."""
    source = ArchivedRows(archive)
    for layout in source.layouts:
        if "id" not in layout.names:
            raise DataCorrupt(f"the rows of {layout.table} have no id", "use another archive")
        with source.chunks(layout) as chunks:
            for _ in with_ids_left(layout.table, layout.names, chunks):
                pass


def _load(source: Source, content: Content, progress: Progress) -> dict[str, int]:
    content.clear()
    digests = {layout.table: Digest() for layout in source.layouts}
    passed = 0
    for layout in source.layouts:
        digest = digests[layout.table]
        with source.chunks(layout) as chunks:
            checked = with_ids_left(layout.table, layout.names, chunks)
            content.load(layout, _observed(checked, digest, partial(_report, progress, passed)))
        passed += digest.bytes
    with content.finishing():
        for layout in source.layouts:
            _require_same_rows(content, layout, digests[layout.table])
    return {table: digest.rows for table, digest in digests.items()}


@contextmanager
def _naming_triggers(content: Content) -> Iterator[None]:
    """Raise Conflict, and not DataCorrupt, where triggers of the target may have changed the rows."""
    triggers = content.triggers()
    try:
        yield
    except ArchiveCorrupt:
        raise
    except DataCorrupt as exc:
        if not triggers:
            raise
        raise Conflict(
            f"{exc.message}; the target has {', '.join(triggers)}, which may have changed the rows",
            "nothing was changed; disable that, restore, and enable it again",
        ) from exc


def _report(progress: Progress, before: int, digest: Digest) -> None:
    progress(before + digest.bytes)


def _observed(chunks: Iterable[bytes], digest: Digest, report: Callable[[Digest], None]) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
        report(digest)


def _require_same_rows(content: Content, layout: Layout, expected: Digest) -> None:
    found = Digest()
    with content.chunks(layout) as chunks:
        for chunk in chunks:
            found.update(chunk)
    if (found.rows, found.sha256) != (expected.rows, expected.sha256):
        raise DataCorrupt(
            f"{layout.table} does not read as it was loaded: {found.rows} rows of {expected.rows}",
            "nothing was changed; use another archive",
        )


def _require_same_layout(source: Source, content: Content) -> None:
    given = {layout.table: set(layout.columns) for layout in source.layouts}
    taken = {layout.table: set(layout.columns) for layout in content.layouts}
    if differing := sorted(table for table in given.keys() | taken if given.get(table) != taken.get(table)):
        raise SchemaDrift(
            f"the rows of {' and '.join(differing)} do not fit the tables they should be loaded into",
            "'taskdb migrate check' looks at the tables",
        )


def _lacks_tables(target: Database) -> bool:
    """Return whether a database has none of taskdb's tables; raise a SchemaError unless it is at head."""
    try:
        with target.connect() as connection:
            current = current_revision(connection)
    except DatabaseMissing:
        return True
    if current is not None and (problem := compare_revision(current)):
        raise problem
    return current is None


def _make_tables(target: Database) -> None:
    if _lacks_tables(target):
        migrate.upgrade(target)


@contextmanager
def _at_head(archive: Archive) -> Iterator[Source]:
    """Open the rows of an archive as the newest revision has them.

    Those of an older one are loaded at that revision into a SQLite file, and migrated there.
    """
    _require_known(archive.manifest)
    rows = ArchivedRows(archive)
    if archive.manifest.origin.revision == revisions().get_current_head():
        yield rows
        return
    with _scratch() as scratch:
        migrate.upgrade(scratch, to=archive.manifest.origin.revision)
        with scratch.replacement() as content:
            _require_same_layout(rows, content)
            _load(rows, content, silent)
        migrate.upgrade(scratch)
        with scratch.snapshot() as content:
            yield DatabaseRows(scratch, content)


def _require_known(manifest: Manifest) -> None:
    known = {revision.revision for revision in revisions().walk_revisions()}
    if manifest.origin.revision not in known:
        raise SchemaAhead(
            f"the archive is of revision {manifest.origin.revision}, which this version does not know",
            f"restore it with {manifest.tool}, which wrote it, or a later version",
        )


@contextmanager
def _or_scratch(target: Database | None) -> Iterator[Database]:
    if target is not None:
        yield target
        return
    with _scratch() as scratch:
        yield scratch


@contextmanager
def _scratch() -> Iterator[Database]:
    with TemporaryDirectory(prefix="taskdb-") as directory:
        url = URL.create("sqlite", database=f"{directory}/scratch.sqlite3")
        yield Database(url, Options(disposable=True))
