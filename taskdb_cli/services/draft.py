"""Databases in files that appear under their name whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.services import migrate
from taskdb_cli.services.backup.files import discard, make_directory, open_partial, publish


@contextmanager
def filled(target: Database, *, dry_run: bool = False) -> Iterator[Database]:
    """Open the database that all rows of a target are to be loaded into.

    It is the target itself, unless that is a file which is missing: then it is another file beside it,
    which gets the name on leaving without an error, but for a `dry_run`. Until then nobody sees it, so
    that it needs no journal. Raises StorageFailed, and Conflict if the target is there meanwhile.
    """
    path = target.backend.missing_file()
    if path is None:
        yield target
        return
    make_directory(path.parent)
    with open_partial(path) as stream:
        partial = Path(stream.name)
        try:
            yield _draft(target, partial)
            if not dry_run:
                publish(partial, path)
        finally:
            discard(partial)
    if not dry_run:
        # What a file that others use is set to, beside its tables.
        migrate.upgrade(target)


def _draft(target: Database, path: Path) -> Database:
    draft = Database(
        URL.create("sqlite", database=str(path)), replace(target.options, disposable=True, pool=None)
    )
    # Errors name the file that was asked for.
    draft.backend.place = target.backend.place
    return draft
