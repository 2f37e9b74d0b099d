"""Rows on their way into a database: read from an archive or another database, loaded, read back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass

from taskdb_cli.backup.archive import Archive
from taskdb_cli.backup.create import Progress, silent
from taskdb_cli.backup.layout import Digest
from taskdb_cli.database import Database
from taskdb_cli.database.content import Column, Content, Layout, with_ids_left
from taskdb_cli.errors import DataCorrupt, SchemaDrift


@dataclass(frozen=True)
class Rows:
    """Rows that can be loaded."""

    layouts: tuple[Layout, ...]
    """The tables, parents before their children."""
    chunks: Callable[[Layout], AbstractContextManager[Iterator[bytes]]]
    """Opens a table, to be read as COPY text until the context is left."""


def archived_rows(archive: Archive) -> Rows:
    """Return the rows of an archive. Reading a table to its end verifies it."""
    layouts = tuple(
        Layout(table.name, tuple(Column(column.name, column.type) for column in table.columns))
        for table in archive.manifest.tables
    )
    return Rows(layouts, lambda layout: closing(archive.chunks(layout.table)))


def database_rows(database: Database, content: Content) -> Rows:
    """Return the rows of a database. Its errors are translated here, so that they name this database."""

    def translated(chunks: Iterator[bytes]) -> Iterator[bytes]:
        with database.translating():
            yield from chunks

    @contextmanager
    def read(layout: Layout) -> Iterator[Iterator[bytes]]:
        with ExitStack() as stack:
            with database.translating():
                chunks = stack.enter_context(content.chunks(layout))
            yield translated(chunks)

    return Rows(content.layouts, read)


def require_same_layout(rows: Rows, content: Content) -> None:
    """Raise SchemaDrift unless rows and tables have the same columns."""
    given = {layout.table: set(layout.columns) for layout in rows.layouts}
    taken = {layout.table: set(layout.columns) for layout in content.layouts}
    if differing := sorted(table for table in given.keys() | taken if given.get(table) != taken.get(table)):
        raise SchemaDrift(
            f"the rows of {' and '.join(differing)} do not fit the tables of the target",
            "'taskdb migrate check' looks at the tables",
        )


def verify_rows(rows: Rows) -> None:
    """Read all rows; raise DataCorrupt for rows that `load_rows` would refuse."""
    for layout in rows.layouts:
        if "id" not in layout.names:
            raise DataCorrupt(f"the rows of {layout.table} have no id", "use another archive")
        with rows.chunks(layout) as chunks:
            for _ in with_ids_left(layout.table, layout.names, chunks):
                pass


def load_rows(rows: Rows, content: Content, progress: Progress = silent) -> dict[str, int]:
    """Replace all rows of a database, read them back and compare; return the number of rows of each table.

    Raises DataCorrupt for rows that the tables refuse, and if the rows differ when they are read back.
    """
    content.clear()
    loaded: dict[str, Digest] = {}
    for layout in rows.layouts:
        before = sum(digest.bytes for digest in loaded.values())
        digest = loaded[layout.table] = Digest()
        with rows.chunks(layout) as chunks:
            checked = with_ids_left(layout.table, layout.names, chunks)
            content.load(layout, _counted(checked, digest, progress, before))
    with content.finishing():
        for layout in rows.layouts:
            expected, found = loaded[layout.table], Digest()
            with content.chunks(layout) as chunks:
                for chunk in chunks:
                    found.update(chunk)
            if (found.rows, found.sha256) != (expected.rows, expected.sha256):
                raise DataCorrupt(
                    f"{layout.table} does not read as it was loaded: {found.rows} rows of {expected.rows}",
                    "nothing was changed; use another archive",
                )
    return {table: digest.rows for table, digest in loaded.items()}


def _counted(
    chunks: Iterable[bytes], digest: Digest, progress: Progress, bytes_before: int
) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
        progress(bytes_before + digest.bytes)
