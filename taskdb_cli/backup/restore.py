"""Load the rows of an archive, or of another database, into a database: all of them or none."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from taskdb_cli import errors
from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.create import Progress, reported, silent
from taskdb_cli.backup.keys import Identities
from taskdb_cli.backup.layout import Digest, Manifest
from taskdb_cli.backup.stores import StoredFile
from taskdb_cli.backup.target_file import Damaged, open_target
from taskdb_cli.database import Database
from taskdb_cli.database.content import Column, Content, Layout, with_ids_left
from taskdb_cli.database.options import Origin
from taskdb_cli.database.recording import Recorder
from taskdb_cli.database.schema import adopt_identity, compare_revision, current_revision
from taskdb_cli.database.scratch import scratch_database
from taskdb_cli.models.history import OPERATIONS, PLACE_LENGTH
from taskdb_cli.services import migrate
from taskdb_cli.text.amounts import in_words, without_zeros
from taskdb_cli.text.escaping import escape

_log = logging.getLogger("taskdb.restore")

Rows = Mapping[Layout, Callable[[], Generator[bytes, None, None]]]
"""Rows that can be loaded: the tables, parents before their children, each with what reads its COPY text."""


Source = Archive | StoredFile | Database
"""What rows are loaded from: an archive, which is open if it is encrypted, or a database."""


class Held(NamedTuple):
    """What a target has: the number of users and of tasks, if any, and its identity. Or it is `damaged`."""

    rows: dict[str, int]
    identity: str | None
    damaged: Damaged | None


@contextmanager
def preview(
    target: Database,
    file: StoredFile,
    *,
    damaged: Damaged | None = None,
    identities: Identities = (),
    trial: bool = False,
) -> Iterator[tuple[Archive, Held]]:
    """Open an archive to be restored, and look at the target unless it is `damaged`; change nothing.

    The archive's seal, which covers every byte, is always checked. `restore` takes the open archive, and
    reads it once more: it compares the rows that it loads with the manifest, which is known from here. In a
    `trial` they are verified here, and also if others are to be replaced. But an encrypted archive, whose
    end is known only when all of it was decrypted, would then have to be read a third time.

    Raises ArchiveCorrupt, ArchiveEncrypted, FileMissing, SchemaAhead for an archive of a later version, and
    SchemaBehind, SchemaAhead or SchemaForeign for a target into which no rows can be loaded.
    """
    with Archive.open(file, identities, all_bytes=False) as archive:
        if archive.encrypted:
            archive.require_seal()
        require_known(archive.manifest)
        held = look_at(target, damaged)
        if trial or ((held.rows or damaged) and not archive.encrypted):
            _verify_rows(archived_rows(archive))
        archive.require_seal()
        yield archive, held


def restore(
    target: Database,
    source: Source,
    *,
    replace: bool = False,
    damaged: Damaged | None = None,
    safety: Callable[[Content], object] | None = None,
    identity: str | None = None,
    progress: Progress = silent,
    dry_run: bool = False,
) -> dict[str, int]:
    """Load an archive or another database into a database; return the number of users and of tasks.

    All is done in one transaction, which a `dry_run` rolls back after the engine has checked the rows once
    more. A target without tables gets them first. A target with rows is refused unless they are to be
    `replace`d; `safety` is called before they, or the history of rows that are gone, are deleted. The
    target's `damaged` file is kept under another name, and a new file takes its place at the end. New ids
    follow the highest one. The target takes over the `identity`, if one is given. The rows are read back and
    compared before the commit.

    The history is replaced too. That of an archive goes on with an operation, which says how many users and
    tasks were restored, and from where. That of another database stays as it is.

    Raises TargetNotEmpty; Conflict if rows of other applications refer to those that would be deleted, or
    something keeps rows from being deleted; OutcomeUnknown; and what `preview` and `require_copyable` raise.
    """
    place = target.backend.place
    with _opened(source) as opened, rows_at_head(opened) as rows, ExitStack() as stack:
        if isinstance(opened, Archive) and opened.encrypted:
            target = target.keeping_secrets()
        database = stack.enter_context(open_target(target, dry_run=dry_run, damaged=damaged))
        if _lacks_tables(database):
            migrate.upgrade(database)
        if replace and safety:
            # Refuse what cannot be deleted before an archive of it is made. Within the same transaction, by
            # a savepoint, SQLite would hold all pages in memory.
            rehearse(database)
        with database.replacement(dry_run=dry_run) as content:
            require_same_layout(rows, content)
            held = without_zeros(content.counts())
            if held and not replace:
                raise errors.TargetNotEmpty(place, in_words(held))
            if held:
                _require_unneeded(content, place)
            if safety and not content.is_empty():
                safety(content)
            if identity:
                adopt_identity(content.connection, identity)
            triggers = content.triggers()
            try:
                loaded = _load_rows(rows, content, progress)
            except errors.DataCorrupt as exc:
                if isinstance(exc, errors.ArchiveCorrupt) or not triggers:
                    raise
                what = f"the target has {', '.join(triggers)}, which may have changed the rows"
                hint = "nothing was changed; disable that, restore, and enable it again"
                raise errors.Conflict(f"{exc.message}; {what}", hint) from exc
            if dry_run and (faults := content.faults()):
                what = f"the restored rows are damaged: {'; '.join(faults)}"
                raise errors.DataCorrupt(what, "use another archive")
            if isinstance(opened, Archive) and not dry_run:
                _record(content, opened.place, target.options.origin.actor, sum(loaded.values()))
    _log.info("loaded %d rows into %s", sum(loaded.values()), place)
    return loaded


def _record(content: Content, archive: object, actor: str, rows: int) -> None:
    """Add the operation of a restore. A local archive is named without its directory."""
    place = archive.name if isinstance(archive, StoredFile) and archive.path else str(archive)
    values = {"restored_from": escape(place).strip()[:PLACE_LENGTH] or "-"}
    row = Recorder(Origin(actor, "restore")).row(sa.literal(rows, OPERATIONS.c.rows_changed.type))
    content.connection.execute(sa.insert(OPERATIONS).values({**row, **values}))


def counted(rows: Rows) -> Rows:
    """Return the rows of users and tasks, without the history."""
    return {layout: read for layout, read in rows.items() if layout.is_counted}


def drill(
    source: Archive | StoredFile,
    *,
    target: Database | None = None,
    identities: Identities = (),
    progress: Progress = silent,
) -> None:
    """Restore an archive as a test and check the rows. Leave nothing behind but empty tables.

    The rows are loaded into a temporary SQLite file, or into a target without rows. All bytes are compared
    with the seal in the end. An archive that is open and was verified is read only once more. Raises
    ArchiveCorrupt or DataCorrupt if the archive does not pass, and TargetNotEmpty.
    """
    with ExitStack() as stack:
        archive = source
        if isinstance(archive, StoredFile):
            archive = stack.enter_context(Archive.open(archive, identities, all_bytes=False))
        scratch = nullcontext(target) if target else scratch_database(secret=archive.encrypted)
        with scratch as database:
            restore(database, archive, progress=progress, dry_run=True)
        # The rows were read in order, so this reads no more of a good archive.
        archive.require_seal()


def require_copyable(origin: Database, target: Database) -> dict[str, int]:
    """Return the number of users and of tasks of a database that can be loaded into the target.

    Raises SchemaBehind or SchemaAhead unless the origin is at head, and Conflict if both are the same
    database, even under different names.
    """
    place = origin.backend.place
    if place == target.backend.place or origin.is_same(target):
        raise errors.Conflict(f"{place} is both ends of the copy", "name another database with --to")
    with origin.snapshot() as content:
        if problem := compare_revision(content.revision):
            raise problem
        may_be_its = origin.backend.is_standby(content.connection) and target.backend.file() is None
        if may_be_its and content.identity == look_at(target).identity:
            # Writes that it has not replayed would be lost.
            raise errors.Conflict(
                f"{place} is a standby, and {target.backend.place} may be its primary",
                "copy from the primary of the standby, or into another database",
            )
        return content.counts()


def _require_unneeded(content: Content, place: str) -> None:
    if others := content.referring_tables():
        raise errors.Conflict(
            f"rows of other applications refer to rows of {place}: in {', '.join(others)}",
            "nothing was changed; restore into another database, and copy from there what you need",
        )


def rehearse(target: Database) -> None:
    """Raise what `restore` would raise about the rows that it replaces; change nothing."""
    with target.replacement(dry_run=True) as content:
        _require_unneeded(content, target.backend.place)
        content.rehearse()


def look_at(target: Database, damaged: Damaged | None = None) -> Held:
    """Look at a database unless it is `damaged`; change nothing.

    Raises SchemaBehind, SchemaAhead or SchemaForeign for a database that has tables and is not at head.
    """
    if damaged or _lacks_tables(target):
        return Held({}, None, damaged)
    with target.connect(bulk=True) as connection:
        content = target.backend.content(connection)
        return Held(without_zeros(content.counts()), content.identity, None)


def _lacks_tables(target: Database) -> bool:
    """Return whether a database has none of taskdb's tables; raise a SchemaError unless it is at head."""
    try:
        with target.connect() as connection:
            current = current_revision(connection)
    except errors.DatabaseMissing:
        return True
    if current is not None and (problem := compare_revision(current)):
        raise problem
    return current is None


def _opened(source: Source) -> AbstractContextManager[Archive | Database]:
    return Archive.open(source) if isinstance(source, StoredFile) else nullcontext(source)


@contextmanager
def rows_at_head(source: Archive | Database) -> Iterator[Rows]:
    """Open the rows of a database, or those of an archive at the newest revision, which reading verifies.

    Archived rows of an older revision are loaded into a temporary SQLite file at that revision, and migrated
    there. Raises SchemaAhead for an archive of a later version.
    """
    if isinstance(source, Database):
        with source.snapshot() as content:
            yield database_rows(source, content)
        return
    require_known(source.manifest)
    revision, rows = source.manifest.origin.revision, archived_rows(source)
    if not compare_revision(revision):
        yield rows
        return
    with scratch_database(secret=source.encrypted) as scratch:
        migrate.upgrade(scratch, to=revision)
        with scratch.replacement() as content:
            require_same_layout(rows, content)
            _load_rows(rows, content)
        migrate.upgrade(scratch)
        with rows_at_head(scratch) as rows:
            yield rows


def require_known(manifest: Manifest) -> None:
    """Raise SchemaAhead for an archive of a revision that is not known."""
    revision = manifest.origin.revision
    if isinstance(compare_revision(revision), errors.SchemaAhead):
        raise errors.SchemaAhead(
            f"the archive is of revision {revision}, which this version does not know",
            f"restore it with {manifest.tool}, which wrote it, or a later version",
        )


def archived_rows(archive: Archive) -> Rows:
    """Return the rows of an archive. Reading a table to its end verifies it."""
    return {
        Layout(table.name, tuple(Column(column.name, column.type) for column in table.columns)): partial(
            archive.chunks, table.name
        )
        for table in archive.manifest.tables
    }


def database_rows(database: Database, content: Content) -> Rows:
    """Return the rows of a database. Its errors are translated here, so that they name this database."""

    def read(layout: Layout) -> Generator[bytes, None, None]:
        with database.translating(), content.chunks(layout) as chunks:
            yield from chunks

    return {layout: partial(read, layout) for layout in content.layouts}


def require_same_layout(rows: Rows, content: Content) -> None:
    """Raise SchemaDrift unless the rows have the columns of the tables."""
    given = {layout.table: set(layout.columns) for layout in rows}
    taken = {layout.table: set(layout.columns) for layout in content.layouts}
    if differing := sorted(table for table in given.keys() | taken if given.get(table) != taken.get(table)):
        raise errors.SchemaDrift(
            f"the rows of {' and '.join(differing)} do not fit the tables of the target",
            "'taskdb migrate check' looks at the tables",
        )


def _verify_rows(rows: Rows) -> None:
    """Read all rows; raise DataCorrupt for rows that `_load_rows` would refuse."""
    for layout, read in rows.items():
        if "id" not in layout.names:
            raise errors.DataCorrupt(f"the rows of {layout.table} have no id", "use another archive")
        for _ in with_ids_left(layout.table, layout.names, read()):
            pass


def _load_rows(rows: Rows, content: Content, progress: Progress = silent) -> dict[str, int]:
    """Replace all rows of a database, read them back and compare; return the number of users and of tasks.

    Raises DataCorrupt for rows that the tables refuse, and if the rows differ when they are read back.
    """
    content.clear()
    loaded: dict[Layout, Digest] = {}
    for layout, read in rows.items():
        before = sum(digest.bytes for digest in loaded.values())
        digest = loaded[layout] = Digest()
        with closing(read()) as chunks:
            checked = with_ids_left(layout.table, layout.names, chunks)
            content.load(layout, reported(digest.counting(checked), progress, before))
    with content.finishing():
        for layout, expected in loaded.items():
            found = Digest()
            with content.chunks(layout) as chunks:
                for chunk in chunks:
                    found.update(chunk)
            if (found.rows, found.sha256) != (expected.rows, expected.sha256):
                raise errors.DataCorrupt(
                    f"{layout.table} has {in_words({'rows': found.rows})}, not the {expected.rows:,} loaded",
                    "nothing was changed; use another archive",
                )
    return {layout.table: digest.rows for layout, digest in loaded.items() if layout.is_counted}
