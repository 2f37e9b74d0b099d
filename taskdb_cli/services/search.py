"""The index that makes searches in titles and descriptions fast: build it, drop it, and say what it costs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlmodel import Session, col

from taskdb_cli.database import Database
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.search_index import MEND, SearchIndex
from taskdb_cli.errors import DataCorrupt, Interrupted, TaskdbError
from taskdb_cli.models.task import Task
from taskdb_cli.services.migrate import require_head
from taskdb_cli.text.amounts import in_one_size, in_words

PAYS_FROM = 20_000
"""The number of tasks from which on a search without the index is noticeably slow."""


@dataclass(frozen=True)
class SearchStatus:
    """The search index of a database, how many tasks there are to search in, and what writing them costs."""

    index: SearchIndex
    tasks: int
    write_factor: float
    """How many times as long it takes to add many tasks at once with the index."""

    @property
    def pays(self) -> bool:
        """Whether searches without the index are so slow that it is worth its cost."""
        return self.tasks >= PAYS_FROM

    def advice(self) -> str:
        """Say in one line what the index costs and whether it would pay."""
        index, tasks = self.index, in_words({"tasks": self.tasks})
        if index.state == "incomplete":
            return f"it is faulty: {index.problem}; {MEND}"
        cost = f"makes adding many tasks take about {self.write_factor:g} times as long"
        if index.only_ascii:
            cost += "; it does not help to find words with letters other than A to Z, because of LC_CTYPE C"
        if index.state == "on" and self.pays:
            share = f", {index.bytes / index.tasks_bytes:.0%} of their table" if index.tasks_bytes else ""
            return f"it takes {in_one_size(index.bytes)}{share}, and {cost}"
        if self.pays:
            return f"'taskdb search on' would speed up searches in {tasks}; it {cost}"
        few = f"{tasks} {'is' if self.tasks == 1 else 'are'} too few to need it"
        return f"{few}, and it {cost}" if index.state == "on" else few


def on(database: Database, *, starting: Callable[[], None] = lambda: None) -> tuple[SearchIndex, SearchIndex]:
    """Build the search index, or what is missing of it; return it as it was before and as it is.

    `starting` is called before work that may take minutes. Raises SchemaError if the engine cannot have it or
    the database has no tables of taskdb, NotPermitted, and DatabaseUnavailable while a migration, a restore,
    a backup or another build is running. After a failure a note says what is left.
    """

    def build(connection: Connection) -> None:
        starting()
        database.backend.build_search_index(connection)

    return _change(database, "on", build)


def off(database: Database) -> tuple[SearchIndex, SearchIndex]:
    """Drop the search index; return it as it was before and as it is. Raises as `on` does."""
    return _change(database, "off", database.backend.drop_search_index)


def _change(
    database: Database, wanted: str, change: Callable[[Connection], None]
) -> tuple[SearchIndex, SearchIndex]:
    require_head(database)
    before = None
    try:
        with database.migration() as (connection, observer):
            before = database.backend.search_index(observer)
            if before.state == wanted:
                return before, before
            change(connection)
            return before, database.backend.search_index(observer)
    except KeyboardInterrupt as exc:
        if before is None:
            raise
        raise Interrupted(f"interrupted; {_what_is_left(database)}") from exc
    except Exception as exc:
        # The error of a damaged file says what the file needs.
        if before is not None and not isinstance(exc, DataCorrupt):
            exc.add_note(_what_is_left(database))
        raise


def _what_is_left(database: Database) -> str:
    with suppress(TaskdbError), database.connect() as connection:
        left = database.backend.search_index(connection)
        if left.state == "incomplete":
            return f"{left.problem}: {MEND}"
        return f"the search index is {left.state}"
    return "'taskdb search status' shows what is left"


def status(session: Session) -> SearchStatus:
    """Return the search index, what it costs, and how many tasks there are; this counts them."""
    backend: Backend = session.info[Backend]
    tasks = session.execute(select(func.count(col(Task.id)))).scalar_one()
    return SearchStatus(backend.search_index(session.connection()), tasks, backend.search_write_factor)
