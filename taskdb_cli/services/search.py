"""The index that makes searches in titles and descriptions fast: build it, drop it, and say what it costs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlmodel import Session, col

from taskdb_cli.database import Database
from taskdb_cli.database.backend import Backend
from taskdb_cli.database.search_index import SearchIndex
from taskdb_cli.errors import Interrupted, TaskdbError
from taskdb_cli.models.task import Task
from taskdb_cli.services.migrate import require_head

PAYS_FROM = 20_000
"""How many tasks it takes until a search through all of them takes long enough for somebody to notice."""


@dataclass(frozen=True)
class SearchStatus:
    """The search index of a database, and how many tasks there are to search in."""

    index: SearchIndex
    tasks: int

    @property
    def pays(self) -> bool:
        """Whether the index saves more than it costs, if somebody searches at all."""
        return self.tasks >= PAYS_FROM


def on(database: Database) -> tuple[SearchIndex, SearchIndex]:
    """Build the search index, or what is missing of it; return it as it was before and as it is.

    Raises SchemaError if the engine cannot have it or the database has no tables of taskdb, NotPermitted, and
    DatabaseUnavailable while a migration, a restore, a backup or another build is running. After a failure a
    note says what is left.
    """
    return _change(database, "on", database.backend.build_search_index)


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
        if before is not None:
            exc.add_note(_what_is_left(database))
        raise


def _what_is_left(database: Database) -> str:
    with suppress(TaskdbError), database.connect() as connection:
        left = database.backend.search_index(connection)
        if left.state == "incomplete":
            return f"{left.problem}: 'taskdb search on' builds it anew, 'taskdb search off' drops it"
        return f"the search index is {left.state}"
    return "'taskdb search status' shows what is left"


def status(session: Session) -> SearchStatus:
    """Return the search index and the number of tasks."""
    index = session.info[Backend].search_index(session.connection())
    return SearchStatus(index, session.execute(select(func.count(col(Task.id)))).scalar_one())
