"""The search index on SQLite: an FTS5 table of trigrams, which triggers of tasks keep."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from math import ceil, isqrt
from pathlib import Path

from sqlalchemy import ColumnElement, and_, column, select, table

from taskdb_cli.database.search_index import MEND, SearchIndex
from taskdb_cli.database.sqlite.connection import LimitedConnection
from taskdb_cli.database.sqlite.damage import family, open_to_look
from taskdb_cli.errors import Conflict, DataCorrupt, SchemaError
from taskdb_cli.models import metadata

TABLE = "taskdb_search"

# Without positions (detail) and lengths (columnsize) it takes a quarter of the room and half of the time to
# build. The exact condition of a search looks at the order of the trigrams.
_DEFINITION = (
    f"CREATE VIRTUAL TABLE {TABLE} USING fts5(title, description, content='tasks', content_rowid='id',"
    " tokenize='trigram', detail=none, columnsize=0)"
)
_TRIAL = f"CREATE VIRTUAL TABLE temp.{TABLE} USING fts5(title, tokenize='trigram')"
_ADD = f"INSERT INTO {TABLE} (rowid, title, description) VALUES (new.id, new.title, new.description);"  # noqa: S608 (our own names)
_REMOVE = (
    f"INSERT INTO {TABLE} ({TABLE}, rowid, title, description)"  # noqa: S608
    " VALUES ('delete', old.id, old.title, old.description);"
)
_CHANGED = " OR ".join(f"old.{name} IS NOT new.{name}" for name in ("id", "title", "description"))
_TRIGGERS = {
    f"{TABLE}_insert": f"CREATE TRIGGER {TABLE}_insert AFTER INSERT ON tasks BEGIN {_ADD} END",
    f"{TABLE}_delete": f"CREATE TRIGGER {TABLE}_delete AFTER DELETE ON tasks BEGIN {_REMOVE} END",
    f"{TABLE}_update": f"CREATE TRIGGER {TABLE}_update AFTER UPDATE OF id, title, description ON tasks"
    f" WHEN {_CHANGED} BEGIN {_REMOVE} {_ADD} END",
}
_PARTS = {TABLE: _DEFINITION, **_TRIGGERS}

_FILL = [f"INSERT INTO {TABLE} ({TABLE}) VALUES ('{command}')" for command in ("rebuild", "optimize")]  # noqa: S608
# The library joins segments when there are so many of one size. With its usual 4, writing one row at a time
# takes three times as long.
_SETTING = f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('automerge', 8)"  # noqa: S608
_BUILD = (_DEFINITION, _SETTING, *_FILL, *_TRIGGERS.values())

_OF_INDEX = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT_VTAB, sqlite3.SQLITE_CONSTRAINT)
"""The library's codes for an index that lacks a part or contradicts itself, not for pages or rules."""

_LOOK = "SELECT name, sql, type, tbl_name FROM sqlite_master WHERE name IN (?, ?, ?, ?)"
_MATCHING = f"SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ?"  # noqa: S608

PATIENCE = 20_000
"""So many steps a search takes at most to find the next few rows of a page without the index. They read some
2000 rows in 1 to 2 ms. A page of a text that 1 % of the tasks have is found so, in any order of an index."""

_TRIGRAMS = 10
"""How many trigrams of a search are looked for. Each costs time, and so many tell texts apart."""

_MOST = 10_000
"""How many tasks are read by their ids at most. Ids may be high although tasks are few."""

_ROWS_FOR_EACH = 10
"""So many rows are read in the usual way while one is read by its id and sorted."""

_SAMPLE = 50
"""How many of the newest tasks, and of all, are looked for in the index to see whether it fits them."""

_search = table(TABLE, column("rowid"), column(TABLE))


def find(raw: sqlite3.Connection) -> SearchIndex:
    """Return what the file has of the index. Some rows are looked for in it."""
    found = {name: sql for name, sql, *_ in raw.execute(_LOOK, [*_PARTS])}
    if not found:
        return SearchIndex("off")
    faults = [
        f"{name} is {'not what taskdb makes' if name in found else 'missing'}"
        for name, sql in _PARTS.items()
        if found.get(name) != sql
    ]
    size, harmful = 0, found.get(TABLE) != _DEFINITION
    try:
        if TABLE in found:
            [(size,)] = raw.execute(f"SELECT coalesce(sum(length(block)), 0) FROM {TABLE}_data")  # noqa: S608
        if not harmful:
            raw.execute(f"{_MATCHING} LIMIT 1", ('"any"',)).fetchall()
        if not faults and (missed := _find_missed(raw, _SAMPLE)):
            faults, harmful = [f"it does not find task {missed}"], True
    except sqlite3.DatabaseError as exc:
        if not _is_unusable(exc):
            raise
        faults, harmful = [f"SQLite cannot read it: {exc}"], True
    return SearchIndex("incomplete" if faults else "on", size, "; ".join(faults), harmful=harmful)


def explain_failure(error: BaseException, place: str, path: Path) -> DataCorrupt | None:
    """Return ours for an error of the driver that a damaged index is behind, as a look at the file shows.

    The triggers of tasks write to the index, so it stops every write of a task.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code not in _OF_INDEX or "no such module" in str(error):
        return None
    with suppress(sqlite3.Error), open_to_look(path) as connection:
        if (index := find(connection)).harmful:
            return DataCorrupt(f"the search index of {place} is damaged: {index.problem}", MEND)
    return None


def is_on(raw: LimitedConnection) -> bool:
    """Return whether the table and the triggers are there as taskdb makes them, so that it has all rows."""
    return {name: sql for name, sql, *_ in raw.execute(_LOOK, [*_PARTS])} == _PARTS


def is_ours(name: str, sql: str) -> bool:
    """Return whether a trigger is one of the index, as taskdb makes it."""
    return _TRIGGERS.get(name) == sql


def build(raw: LimitedConnection, place: str) -> None:
    """Build the index anew, in the transaction of the connection.

    Raises SchemaError if this SQLite cannot have it, and Conflict if something else has one of the names.
    """
    try:
        raw.execute(_TRIAL)
    except sqlite3.OperationalError as exc:
        if family(exc) != sqlite3.SQLITE_ERROR:
            raise
        problem = f"SQLite {sqlite3.sqlite_version} cannot have a search index: {exc}"
        raise SchemaError(problem, "use a Python with SQLite 3.34 or later that has FTS5") from exc
    raw.execute(f"DROP TABLE temp.{TABLE}")
    drop(raw, place)
    for statement in _BUILD:
        raw.execute(statement)


def drop(raw: LimitedConnection, place: str) -> bool:
    """Drop the index, in the transaction of the connection; return False if there is none.

    Raises Conflict, before anything is dropped, for other things of its names.
    """
    found = raw.execute(_LOOK, [*_PARTS]).fetchall()
    for name, sql, kind, owner in found:
        if not sql.startswith(f"CREATE VIRTUAL TABLE {TABLE} ") and (kind, owner) != ("trigger", "tasks"):
            problem = f"the {kind} {name} in {place} is not part of a search index"
            raise Conflict(problem, "rename it: the search index needs the name")
    for name, _, kind, _ in found:
        if kind == "trigger":
            raw.execute(f"DROP TRIGGER {name}")
    if TABLE not in {name for name, *_ in found}:
        return bool(found)
    try:
        raw.execute(f"DROP TABLE {TABLE}")
    except sqlite3.DatabaseError as exc:
        if not _is_unusable(exc):
            raise
        # The library cannot drop such a table, but the tables under it.
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("DELETE FROM sqlite_master WHERE name = ?", (TABLE,))
        raw.execute("PRAGMA writable_schema = RESET")
        for part in ("data", "idx", "content", "docsize", "config"):
            raw.execute(f"DROP TABLE IF EXISTS {TABLE}_{part}")
    return True


def suspend(raw: LimitedConnection, place: str) -> Collection[str]:
    """Drop the index, whatever is wrong with it; return the statements that build it behind new rows."""
    # Things of others that have its names are no index.
    with suppress(Conflict):
        if drop(raw, place):
            return _BUILD
    return ()


@contextmanager
def kept(raw: LimitedConnection, place: str) -> Iterator[None]:
    """Let an index that is on be so after a migration, which drops its triggers where it rebuilds tasks."""
    was_on = is_on(raw)
    yield
    if was_on and not is_on(raw) and _exists(raw, TABLE):
        if _exists(raw, "tasks"):
            build(raw, place)
        else:
            drop(raw, place)


def forget(raw: LimitedConnection) -> None:
    """Let nothing of rows that are gone stay in the index: the library keeps it until segments are joined."""
    if _exists(raw, TABLE):
        for statement in _FILL:
            raw.execute(statement)


def patience(raw: LimitedConnection, text: str) -> int:
    """Do what `Backend.search_patience` says."""
    return PATIENCE if _trigrams(text) and is_on(raw) else 0


def condition(
    raw: LimitedConnection, text: str, users: Collection[int], *, whole: bool
) -> ColumnElement[bool] | None:
    """Do what `Backend.search_condition` says.

    Reading the matching tasks by their ids and sorting them pays if they are few. A page is found in the
    usual way after so many rows as there are tasks for each that matches, so few are the fewer, the smaller
    the table is. All matching tasks are found only after all rows, so more are few. The index does not pay
    for users with few tasks.
    """
    wanted = _trigrams(text)
    if not wanted or not is_on(raw):
        return None
    [(rows,)] = raw.execute("SELECT coalesce(max(id), 0) FROM tasks")
    few = min(2 * isqrt(rows), _MOST)
    theirs = f"SELECT 1 FROM tasks WHERE user_id IN ({', '.join('?' * len(users))})"  # noqa: S608 (marks only)
    if users and _count(raw, theirs, users, few + 1) <= few:
        return None
    try:
        if _count(raw, _MATCHING, [wanted], few + 1) > few:
            if whole and users:
                rows = _count(raw, theirs, users, rows)
            few = rows // _ROWS_FOR_EACH
            if not whole or _count(raw, _MATCHING, [wanted], few + 1) > few:
                return None
        if _find_missed(raw, 1):
            return None
    except sqlite3.DatabaseError as exc:
        if not _is_unusable(exc):
            raise
        return None
    tasks = metadata().tables["tasks"].c
    found = tasks.id.in_(select(_search.c.rowid).where(_search.c[TABLE].op("MATCH")(wanted)))
    # With "+ 0" no index has the tasks of the users. Its planner would take that for those that match.
    return and_(found, (tasks.user_id + 0).in_(sorted(users))) if users else found


def _count(raw: LimitedConnection, query: str, values: Collection[object], most: int) -> int:
    [(number,)] = raw.execute(f"SELECT count(*) FROM ({query} LIMIT ?)", (*values, most))  # noqa: S608 (our own)
    return int(number)


def _trigrams(*texts: str, most: int = _TRIGRAMS) -> str:
    """Return the search of FTS5 for rows that have some trigrams of each text; "" if there are none."""
    found = []
    for text in texts:
        places = range(0, len(text) - 2, max(1, ceil((len(text) - 2) / most)))
        found += [text[place : place + 3].replace('"', '""') for place in places]
    return " ".join(f'"{trigram}"' for trigram in dict.fromkeys(found))


def _find_missed(raw: sqlite3.Connection, most: int) -> int | None:
    """Return the id of a task that the index does not find: of the newest ones, and of as many others."""
    # A text that cannot be decoded is no fault of the index.
    query = "SELECT id, CAST(title AS BLOB), CAST(coalesce(description, '') AS BLOB) FROM tasks"
    rows = raw.execute(f"{query} ORDER BY id DESC LIMIT ?", (most,)).fetchall()
    step = max(1, (rows[-1][0] if rows else 0) // most)
    for start in range(0, step * most, step):
        rows += raw.execute(f"{query} WHERE id >= ? ORDER BY id LIMIT 1", (start,)).fetchall()
    asking = f"SELECT 1 FROM {TABLE} WHERE {TABLE} MATCH ? AND rowid = ?"  # noqa: S608
    for id, *texts in rows:
        with suppress(UnicodeDecodeError):
            wanted = _trigrams(*(text.decode() for text in texts), most=2)
            if wanted and not raw.execute(asking, (wanted, id)).fetchone():
                return int(id)
    return None


def _exists(raw: LimitedConnection, name: str) -> bool:
    return bool(raw.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())


def _is_unusable(error: sqlite3.DatabaseError) -> bool:
    """Return whether the table is damaged, or FTS5 or a table under it is missing."""
    return family(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
