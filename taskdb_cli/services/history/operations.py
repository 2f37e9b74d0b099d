"""Operations of the history, newest first, and how each of them changed rows."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlmodel import Session

from taskdb_cli.errors import NotFound, OperationNotFound, TaskNotFound, UserNotFound
from taskdb_cli.models.fields import normalize_email
from taskdb_cli.models.history import AGES, CHANGES, OPERATIONS, RECORDED_FIELDS
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import USERS
from taskdb_cli.models.vocabulary import LIFE_FIELDS
from taskdb_cli.services import user as users
from taskdb_cli.services.history.names import with_names
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import (
    OPERATION_SORT_KEYS,
    operation_count_query,
    operation_query,
)
from taskdb_cli.services.listing.pages import Order, Page, Position, Record, SortKey
from taskdb_cli.services.listing.query import OperationFilter
from taskdb_cli.system.clock import in_utc

_users, _operations, _changes = USERS.c, OPERATIONS.c, CHANGES.c

NEWEST_FIRST = Order.parse("-id", OPERATION_SORT_KEYS)
"""The order of operations."""

IN_ORDER = Order((SortKey("id", _changes.id, itemgetter("change"), OPERATION_SORT_KEYS["id"].accepts),))
"""The order of changes. Those of one row are in the order in which they happened: it was locked meanwhile."""

NOUNS = {"users": "user", "tasks": "task", "access_tokens": "token"}
"""The tables by their names, each with what one of its rows is called in a record."""

_KEPT = [each for each in CHANGES.columns if each.name.startswith(("old_", "new_"))]


@dataclass(frozen=True)
class Beginning:
    """The oldest operation that the history holds."""

    id: int
    at: datetime

    def __str__(self) -> str:
        return f"the history begins at {in_utc(self.at)}, with operation {self.id}"


def beginning(session: Session) -> Beginning | None:
    """Return where the history begins, or None while it is empty."""
    query = select(_operations.id, _operations.at).order_by(_operations.id).limit(1)
    row = session.execute(query).one_or_none()
    return None if row is None else Beginning(row.id, row.at)


def find(
    session: Session,
    filter: OperationFilter,
    order: Order = NEWEST_FIRST,
    *,
    limit: int,
    after: Position | None = None,
    skip: int = 0,
    fits: Callable[[Record], bool] | None = None,
) -> Page:
    """Return one page of matching operations' records, which ends early where a record does not fit.

    The first `skip` records are passed over. Users and tasks may be deleted by now. Raises UserNotFound or
    TaskNotFound if neither the tables nor the history know one.
    """
    query = operation_query(filter, owners(session, filter.users))
    found = pages.page(session, query, order, limit=limit, after=after, skip=skip, fits=fits)
    if not found.records:
        _require_known(session, filter)
    return found


def stream(
    session: Session, filter: OperationFilter, order: Order = NEWEST_FIRST, *, after: Position | None = None
) -> Generator[Record, None, None]:
    """Yield every matching operation's record at constant memory; raise as `find` does."""
    _require_known(session, filter)
    return pages.stream(session, operation_query(filter, owners(session, filter.users)), order, after=after)


def count(session: Session, filter: OperationFilter, *, most: int | None = None) -> int:
    """Return how many operations match, or `most` if there are more; raise as `find` does."""
    _require_known(session, filter)
    return int(
        session.execute(operation_count_query(filter, owners(session, filter.users), most)).scalar_one()
    )


def get(session: Session, id: int) -> Record:
    """Return an operation's record; raise OperationNotFound, which says if the history begins later."""
    if 0 < id <= MAX_ID:
        query = operation_query(OperationFilter(), ()).where(_operations.id == id)
        row = session.execute(query).one_or_none()
        if row is not None:
            return row._asdict()
    missing, begins = OperationNotFound(id), beginning(session)
    if begins is None or 0 < id < begins.id:
        raise _told(session, missing)
    raise missing


def changes(
    session: Session,
    id: int,
    order: Order = IN_ORDER,
    *,
    limit: int,
    after: Position | None = None,
    fits: Callable[[Record], bool] | None = None,
    of: int | None = None,
) -> Page:
    """Return one page of the changes of an operation, which ends early where a record does not fit.

    An operation that is not there has none. If it is `of` a user, others' rows are left out.
    """
    query = _changes_of(id).where(*_concerning(of))
    return _page(session, query, order, limit=limit, after=after, fits=fits)


def stream_changes(session: Session, id: int, *, named: bool = False) -> Generator[Record, None, None]:
    """Yield the changes of an operation at constant memory.

    If they are to be `named`, each record has a `title` too: that of the task, the address of the user or
    the name of the token, as the row is now or was last, or None. And it has `owners`: the `old` and the
    `new` one of a task that moved, by their addresses, or None for one who is gone.
    """
    return _stream(session, _changes_of(id), named=named)


def life(
    session: Session,
    table: str,
    id: int,
    order: Order = IN_ORDER,
    *,
    limit: int,
    after: Position | None = None,
    fits: Callable[[Record], bool] | None = None,
    of: int | None = None,
) -> Page:
    """Return one page of the changes of a row, oldest first, each with its operation.

    A row that was deleted has its life too. If it is `of` a user, the time in which it was another's is left
    out. Raises UserNotFound or TaskNotFound if neither the table nor the history knows the row.
    """
    query = _life_of(table, id).where(*_concerning(of))
    page = _page(session, query, order, limit=limit, after=after, fits=fits)
    if not page.records:
        _require_row(session, table, id)
    return page


def stream_life(
    session: Session, table: str, id: int, *, named: bool = False
) -> Generator[Record, None, None]:
    """Yield the changes of a row, oldest first, at constant memory; raise as `life` does.

    If they are to be `named`, they are as those of `stream_changes` are.
    """
    _require_row(session, table, id)
    return _stream(session, _life_of(table, id), named=named)


def stream_owned(session: Session, user: int) -> Generator[Record, None, None]:
    """Yield the changes of rows that belonged to a user before or after them, with operations, oldest first.

    It takes constant memory. The rows include the user's own row.
    """
    return _stream(session, _with_operation(*_concerning(user)))


def find_user(session: Session, ref: str) -> int:
    """Return the id of a user who may be deleted, by id or address; raise UserNotFound.

    An address that nobody has now is that of the last user who had it.
    """
    id = users.to_id(ref)
    if id is None:
        return _by_address(session, ref)[0]
    _require_row(session, "users", id, ref)
    return id


def owners(session: Session, refs: Iterable[str]) -> list[int]:
    """Return the ids that these ids and addresses of users may mean, deleted ones too; raise UserNotFound.

    An address that nobody has now means everybody who ever had it. Whether ids exist is not looked up.
    """
    found = set[int]()
    for ref in refs:
        id = users.to_id(ref)
        found.update(_by_address(session, ref) if id is None else [id])
    return sorted(found)


def find_by_prefix(session: Session, digits: str, *, limit: int) -> list[Record]:
    """Return the newest operations whose ids begin with these digits."""
    query = operation_query(OperationFilter(), ()).order_by(_operations.id.desc()).limit(limit)
    if digits:
        query = query.where(users.begins_with(_operations.id, digits))
    return [row._asdict() for row in session.execute(query)]


def _by_address(session: Session, ref: str) -> list[int]:
    """Return who has an address, or else everybody who had it, the last one first; raise UserNotFound."""
    try:
        email = normalize_email(ref)
    except ValueError:
        raise UserNotFound(ref) from None
    found = session.scalar(select(_users.id).where(_users.email == email))
    if found is not None:
        return [found]
    last = func.max(_changes.id)
    had = (_changes.table_name == "users", _changes.old_email == email)
    query = select(_changes.row_id).where(*had).group_by(_changes.row_id).order_by(last.desc())
    if ids := [*session.scalars(query)]:
        return ids
    raise _told(session, UserNotFound(ref))


def _require_known(session: Session, filter: OperationFilter) -> None:
    for ref in filter.users:
        find_user(session, ref)
    for id in filter.tasks:
        _require_row(session, "tasks", id)


def _require_row(session: Session, table: str, id: int, ref: object = None) -> None:
    """Raise UserNotFound or TaskNotFound unless the row is there or the history tells of it."""
    if 0 < id <= MAX_ID:
        rows = CHANGES.metadata.tables[table].c
        recorded = select(_changes.row_id).where(_changes.table_name == table, _changes.row_id == id)
        for query in (select(rows.id).where(rows.id == id), recorded.limit(1)):
            if session.scalar(query) is not None:
                return
        if table == "users":
            # A deleted user may be known only as the owner of recorded rows.
            owned = select(_changes.owner_id).where(_changes.owner_id == id).limit(1)
            if session.scalar(owned) is not None:
                return
    missing: NotFound = UserNotFound(ref or id) if table == "users" else TaskNotFound([id])
    raise _told(session, missing)


def _told(session: Session, missing: NotFound) -> NotFound:
    """Return the error, with a hint where the history begins."""
    begins = beginning(session)
    missing.hint = f"{begins}; {missing.hint}" if begins else f"the history is empty; {missing.hint}"
    return missing


def _concerning(user: int | None) -> list[ColumnElement[bool]]:
    """Return the condition that a row was the user's before the change, or is so after it."""
    return [] if user is None else [or_(_changes.owner_id == user, _changes.new_user_id == user)]


def _changes_of(id: int) -> Select[Any]:
    return _change_query().where(_changes.operation_id == (id if 0 < id <= MAX_ID else 0))


def _life_of(table: str, id: int) -> Select[Any]:
    return _with_operation(_changes.table_name == table, _changes.row_id == (id if 0 < id <= MAX_ID else 0))


def _with_operation(*which: ColumnElement[bool]) -> Select[Any]:
    operation = [_operations.id.label("operation"), *[_operations[name] for name in LIFE_FIELDS[1:4]]]
    return _change_query().add_columns(*operation).join_from(CHANGES, OPERATIONS).where(*which)


def _change_query() -> Select[Any]:
    about = ("table_name", "row_id", "owner_id", "version_before", "version_after")
    return select(_changes.id.label("change"), *[_changes[name] for name in about], *_KEPT)


def _page(
    session: Session,
    query: Select[Any],
    order: Order,
    *,
    limit: int,
    after: Position | None,
    fits: Callable[[Record], bool] | None,
) -> Page:
    # The cursor needs the id of a change, and the record does not have it.
    may = None if fits is None else lambda row: fits(_change(row))
    page = pages.page(session, query, order, limit=limit, after=after, fits=may)
    return replace(page, records=[_change(row) for row in page.records])


def _stream(session: Session, query: Select[Any], *, named: bool = False) -> Generator[Record, None, None]:
    query = with_names(query) if named else query
    with closing(pages.stream(session, query, IN_ORDER)) as rows:
        for row in rows:
            yield _change(row)


def _ages_of(name: str, row: Record) -> dict[str, Any]:
    return {age: row[f"{age}_{name}"] for age in AGES}


def _change(row: Record) -> Record:
    """Return the record of a change, with its operation if the row has it."""
    before, after, table = row["version_before"], row["version_after"], row["table_name"]
    action = "created" if before is None else "deleted" if after is None else "updated"
    fields: dict[str, Any] = {}
    for name in () if action == "created" else RECORDED_FIELDS[table]:
        values = _ages_of(name, row)
        if action == "deleted" or any(value is not None for value in values.values()):
            fields[name] = values
    return {
        **{name: row[name] for name in LIFE_FIELDS[:4] if name in row},
        "table": NOUNS[table],
        "id": row["row_id"],
        "owner_id": row["owner_id"],
        "action": action,
        "version_before": before,
        "version_after": after,
        "fields": fields,
        **({} if "title" not in row else {"title": row["title"], "owners": _ages_of("owner", row)}),
    }
