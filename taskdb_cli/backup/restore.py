"""Load the rows of an archive, or of another database, into a database: all of them or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypedDict, Unpack

from sqlalchemy import URL

from taskdb_cli.backup.archive import Archive, Manifest
from taskdb_cli.backup.create import Progress, silent
from taskdb_cli.backup.rows import (
    Rows,
    archived_rows,
    database_rows,
    load_rows,
    require_same_layout,
    verify_rows,
)
from taskdb_cli.backup.target_file import Damaged, open_target
from taskdb_cli.database import Database
from taskdb_cli.database.content import Content
from taskdb_cli.database.identity import adopt_identity
from taskdb_cli.database.options import Options
from taskdb_cli.database.schema import compare_revision, current_revision, revisions
from taskdb_cli.errors import (
    ArchiveCorrupt,
    Conflict,
    DatabaseMissing,
    DataCorrupt,
    SchemaAhead,
    TargetNotEmpty,
)
from taskdb_cli.models.vocabulary import in_words
from taskdb_cli.services import migrate

_log = logging.getLogger("taskdb.restore")

Safety = Callable[[Content], object]
"""Saves rows before they are deleted."""


class Preview(NamedTuple):
    """What a restore would load, and the rows and the identity that the target has now."""

    manifest: Manifest
    held: dict[str, int]
    identity: str | None


class LoadOptions(TypedDict, total=False):
    """The options of `restore` and `copy`."""

    replace: bool
    """Delete the rows of the target first. Without this, a target with rows is refused."""
    damaged: Damaged | None
    """The damaged file of the target. It is kept under another name, and a new file takes its place."""
    safety: Safety | None
    """Is called before rows are deleted."""
    identity: str | None
    """An identity that the target takes over."""
    progress: Progress


def preview(target: Database, path: Path, *, damaged: bool = False, trial: bool = False) -> Preview:
    """Look at an archive, and at the target unless it is `damaged`; change nothing.

    The archive's seal, which covers every byte, is always checked. A restore verifies the rows while it
    loads them. If other rows are to be replaced, or if this is only a `trial`, they are verified here.
    Raises ArchiveCorrupt, FileMissing, SchemaAhead for an archive of a later version, and SchemaBehind,
    SchemaAhead or SchemaForeign for a target into which no rows can be loaded.
    """
    with Archive.open(path) as archive:
        _require_known(archive.manifest)
        held, identity = ({}, None) if damaged else _look_at(target)
        if held or damaged or trial:
            verify_rows(archived_rows(archive))
        return Preview(archive.manifest, held, identity)


def restore(target: Database, path: Path, **options: Unpack[LoadOptions]) -> Manifest:
    """Load an archive into a database in one transaction, and return the archive's manifest.

    A target without tables gets them first. New ids follow the highest one. The rows are read back and
    compared before the commit. Raises TargetNotEmpty; Conflict if rows of other applications refer to those
    that would be deleted, or something keeps rows from being deleted; OutcomeUnknown; and what `preview`
    raises.
    """
    with Archive.open(path) as archive, _at_head(archive) as rows:
        _load(rows, target, **options)
        return archive.manifest


def copy(origin: Database, target: Database, **options: Unpack[LoadOptions]) -> dict[str, int]:
    """Load the rows of a database into another one, as `restore` does; return the number for each table.

    Raises what `require_copyable` and `restore` raise.
    """
    with origin.snapshot() as content:
        return _load(database_rows(origin, content), target, **options)


def require_copyable(origin: Database, target: Database) -> dict[str, int]:
    """Return the number of rows of each table of a database, if `copy` could load them into the target.

    Raises SchemaBehind or SchemaAhead unless the origin is at head, and Conflict if both are the same
    database, even under different names.
    """
    if origin.backend.place == target.backend.place or origin.is_same(target):
        raise Conflict(f"{origin.backend.place} is both ends of the copy", "name another database with --to")
    with origin.snapshot() as content:
        if problem := compare_revision(content.revision):
            raise problem
        return content.counts()


def drill(path: Path, *, target: Database | None = None, progress: Progress = silent) -> Manifest:
    """Restore an archive as a test and check the rows. Leave nothing behind but empty tables.

    The rows are loaded into a temporary SQLite file, or into a target without rows. Raises ArchiveCorrupt
    or DataCorrupt if the archive does not pass, and TargetNotEmpty.
    """
    scratch = nullcontext(target) if target else _scratch()
    with Archive.open(path) as archive, _at_head(archive) as rows, scratch as database:
        _load(rows, database, dry_run=True, progress=progress)
        return archive.manifest


def _load(
    rows: Rows,
    target: Database,
    *,
    replace: bool = False,
    damaged: Damaged | None = None,
    safety: Safety | None = None,
    identity: str | None = None,
    progress: Progress = silent,
    dry_run: bool = False,
) -> dict[str, int]:
    """Load all rows into a database, in one transaction; a `dry_run` checks them once more and rolls back."""
    place = target.backend.place
    with open_target(target, dry_run=dry_run, damaged=damaged) as database:
        if _lacks_tables(database):
            migrate.upgrade(database)
        with database.replacement(dry_run=dry_run) as content:
            require_same_layout(rows, content)
            held = {table: number for table, number in content.counts().items() if number}
            if held and not replace:
                raise TargetNotEmpty(place, in_words(held))
            if held:
                _require_unneeded(content, place)
            if held and safety:
                # Refuse what cannot be deleted before an archive of it is made.
                content.rehearse()
                safety(content)
            if identity:
                adopt_identity(content.connection, identity)
            with _naming_triggers(content):
                loaded = load_rows(rows, content, progress)
            if dry_run and (faults := content.faults()):
                raise DataCorrupt(
                    f"the restored rows are damaged: {'; '.join(faults)}", "use another archive"
                )
    _log.info("loaded %d rows into %s", sum(loaded.values()), place)
    return loaded


def _require_unneeded(content: Content, place: str) -> None:
    if others := content.referring_tables():
        raise Conflict(
            f"rows of other applications refer to rows of {place}: in {', '.join(others)}",
            "nothing was changed; restore into another database, and copy from there what you need",
        )


def rehearse(target: Database) -> None:
    """Raise what `restore` would raise about the rows that it replaces; change nothing."""
    with target.replacement(dry_run=True) as content:
        _require_unneeded(content, target.backend.place)
        content.rehearse()


def occupied(target: Database) -> dict[str, int]:
    """Return the number of rows of each table that has any.

    Raises SchemaBehind, SchemaAhead or SchemaForeign for a database that has tables and is not at head.
    """
    return _look_at(target)[0]


def _look_at(target: Database) -> tuple[dict[str, int], str | None]:
    """Return the number of rows of each table that has any, and the identity."""
    if _lacks_tables(target):
        return {}, None
    with target.connect() as connection:
        content = target.backend.content(connection)
        return {table: number for table, number in content.counts().items() if number}, content.identity


@contextmanager
def _naming_triggers(content: Content) -> Iterator[None]:
    """Raise Conflict instead of DataCorrupt if triggers of the target may have changed the rows."""
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


@contextmanager
def _at_head(archive: Archive) -> Iterator[Rows]:
    """Open the rows of an archive at the newest revision.

    Rows of an older revision are loaded into a temporary SQLite file at that revision, and migrated there.
    """
    _require_known(archive.manifest)
    revision, rows = archive.manifest.origin.revision, archived_rows(archive)
    if revision == revisions().get_current_head():
        yield rows
        return
    with _scratch() as scratch:
        migrate.upgrade(scratch, to=revision)
        with scratch.replacement() as content:
            require_same_layout(rows, content)
            load_rows(rows, content)
        migrate.upgrade(scratch)
        with scratch.snapshot() as content:
            yield database_rows(scratch, content)


def _require_known(manifest: Manifest) -> None:
    revision = manifest.origin.revision
    if revision not in {known.revision for known in revisions().walk_revisions()}:
        raise SchemaAhead(
            f"the archive is of revision {revision}, which this version does not know",
            f"restore it with {manifest.tool}, which wrote it, or a later version",
        )


@contextmanager
def _scratch() -> Iterator[Database]:
    with TemporaryDirectory(prefix="taskdb-") as directory:
        url = URL.create("sqlite", database=f"{directory}/scratch.sqlite3")
        yield Database(url, Options(disposable=True))
