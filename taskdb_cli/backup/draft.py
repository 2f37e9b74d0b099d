"""Databases in files that appear under their name whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import URL

from taskdb_cli.backup.aside import Damaged, take_place
from taskdb_cli.backup.atomic import discard, make_directory, open_partial, publish
from taskdb_cli.database import Database
from taskdb_cli.errors import Conflict
from taskdb_cli.system import signals


@contextmanager
def filled(target: Database, *, dry_run: bool = False, damaged: Damaged | None = None) -> Iterator[Database]:
    """Open the database that all rows of a target are to be loaded into.

    It is the target itself, unless that is a file which is missing or `damaged`: then it is another file
    beside it, which gets the name on leaving without an error, but for a `dry_run`. Until then nobody
    sees it, so that it needs no journal. A damaged file is kept under another name. Raises StorageFailed,
    and Conflict if the target is there meanwhile, or was changed.
    """
    from taskdb_cli.database.sqlite.connection import keep_wal

    path = damaged.path if damaged else target.backend.missing_file()
    if path is None:
        yield target
        return
    make_directory(path.parent)
    if not dry_run:
        signals.note_change(made=False)
    stream = open_partial(path)
    partial = Path(stream.name)
    try:
        with stream:
            draft = _draft(target, partial)
            yield draft
        if not dry_run:
            with draft.translating():
                keep_wal(partial)
            # The new file gets its name all at once, as a transaction commits.
            with signals.held():
                if damaged:
                    take_place(partial, damaged)
                else:
                    _publish(partial, path)
                signals.note_change(made=True)
    finally:
        discard(partial)


def _publish(partial: Path, path: Path) -> None:
    try:
        publish(partial, path)
    except Conflict as exc:
        raise Conflict(
            f"{path} was made by somebody else meanwhile", "look at what it holds, and try again"
        ) from exc


def _draft(target: Database, path: Path) -> Database:
    draft = Database(
        URL.create("sqlite", database=str(path)), replace(target.options, disposable=True, pool=None)
    )
    # Errors name the file that was asked for.
    draft.backend.place = target.backend.place
    return draft
