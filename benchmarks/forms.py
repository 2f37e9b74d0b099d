"""The documented forms of `taskdb task list`, each beside the SQL that one would write for it by hand."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import product
from typing import Any

import psycopg
from build import NOW
from sqlmodel import Session

from taskdb_cli.models.types import TextTimestamp
from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order, Position
from taskdb_cli.services.listing.query import TaskFilter

LIMIT = 50
DEEP = 0.6
"""How far down its list a deep page begins."""

USER = "user0@example.com"
USER_ID = 1
_COLUMNS = (
    "t.id, t.user_id, u.email, t.external_id, t.title, t.description, t.status, t.priority,"
    " t.due_at, t.completed_at, t.version, t.created_at, t.updated_at"
)
_OPEN = "t.status IN ('in_progress', 'todo')"
_LOOKUP = "SELECT id FROM users WHERE email = %(email)s"


@dataclass(frozen=True)
class Form:
    """A listing as options, and in SQL: its WHERE, its ORDER BY, and where a deep page begins.

    In `after` %(p0)s, %(p1)s … are the values of the position. `tail` orders the rows without a due
    date where they are read by a query of their own.
    """

    options: str
    filter: TaskFilter
    sort: str
    where: str
    order: str
    after: str
    tail: str = ""
    pinned: bool = False
    deep: float = DEEP

    def values(self, position: Position | None) -> dict[str, Any]:
        """Return the values of `after`: those of the keys by which the tasks differ."""
        if position is None:
            return {}
        named = zip(Order.parse(self.sort, TASK_SORT_KEYS).keys, position, strict=True)
        differing = [value for key, value in named if key.name not in self.filter.equal]
        return {f"p{index}": value for index, value in enumerate(differing)}

    def queries(self, *, deep: bool) -> Iterator[str]:
        """Yield the hand-written queries of a page; the second is for when the first does not fill it."""
        where = f"{self.where} AND t.due_at IS NOT NULL" if self.tail else self.where
        yield _page(f"{where} AND {self.after}" if deep else where, self.order)
        if self.tail:
            yield _page(f"{self.where} AND t.due_at IS NULL", self.tail)

    def count(self) -> str:
        """Return the hand-written query of how many tasks match."""
        return f"SELECT count(*) FROM tasks t WHERE {self.where}"

    def find_position(self, session: Session, rows: int) -> Position | None:
        """Return where the deep page begins in a list of so many rows; None if without a due date.

        For such a place one would write another condition by hand.
        """
        where = f"{self.where} AND t.due_at IS NOT NULL" if self.tail else self.where
        offset = int(rows * self.deep)
        query = f"SELECT t.id FROM tasks t WHERE {where} ORDER BY {self.order} LIMIT 1 OFFSET {offset}"
        found = Raw(session).fetch(query, {"user": USER_ID})
        if not found:
            return None
        position = Order.parse(self.sort, TASK_SORT_KEYS).position(service.get(session, found[0][0]))
        return None if None in position else position


class Raw:
    """The driver's own connection under a session, asked with hand-written SQL."""

    def __init__(self, session: Session) -> None:
        self.connection: Any = session.connection().connection.driver_connection
        self.is_postgresql = isinstance(self.connection, psycopg.Connection)

    def fetch(self, query: str, values: dict[str, Any]) -> list[Any]:
        """Return all rows; the marks of psycopg are rewritten for sqlite3."""
        rows: list[Any] = self.connection.execute(self.sql(query), self._given(values)).fetchall()
        return rows

    def page(self, form: Form, position: Position | None) -> list[Any]:
        """Look the user up, as the service does, and return the rows of one page."""
        values = form.values(position)
        if form.filter.users:
            [[values["user"]]] = self.fetch(_LOOKUP, {"email": USER})
        rows: list[Any] = []
        for query in form.queries(deep=position is not None):
            rows += self.fetch(query, values)[: LIMIT + 1 - len(rows)]
            if len(rows) > LIMIT:
                break
        return rows[:LIMIT]

    def count(self, form: Form) -> int:
        """Look the user up, and return how many tasks match."""
        [[id]] = self.fetch(_LOOKUP, {"email": USER})
        [[number]] = self.fetch(form.count(), {"user": id})
        return int(number)

    def sql(self, query: str) -> str:
        """Return a query with the marks of this driver."""
        return query if self.is_postgresql else re.sub(r"%\((\w+)\)s", r":\1", query)

    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"now": self._plain(NOW)} | {name: self._plain(value) for name, value in values.items()}

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, datetime) and not self.is_postgresql:
            return TextTimestamp().process_bind_param(value, None)  # type: ignore[arg-type]
        return value


def database_ms(session: Session, queries: Sequence[str]) -> tuple[float, float]:
    """Return what planning and running the queries that fill a page took in the database.

    PostgreSQL tells; on SQLite it is the time of the driver, and planning is a part of running.
    """
    raw = Raw(session)
    planning = execution = rows = 0.0
    for query in queries:
        if raw.is_postgresql:
            [[[plan]]] = raw.connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}")
            planning, execution = planning + plan["Planning Time"], execution + plan["Execution Time"]
            rows += plan["Plan"]["Actual Rows"]
        else:
            start = time.perf_counter()
            rows += len(raw.connection.execute(query).fetchall())
            execution += (time.perf_counter() - start) * 1000
        if rows > LIMIT:
            break
    return planning, execution


def explained(session: Session, form: Form, position: Position | None) -> tuple[list[str], str]:
    """Return the service's own SQL for a page, and how the engine reached its rows."""
    order = Order.parse(form.sort, TASK_SORT_KEYS)
    plans = service.explain(session, form.filter, order, limit=LIMIT, after=position)
    return [plan.sql for plan in plans], plans[0].summary()


def _page(where: str, order: str) -> str:
    return (
        f"SELECT {_COLUMNS} FROM tasks t JOIN users u ON u.id = t.user_id"
        f" WHERE {where} ORDER BY {order} LIMIT {LIMIT + 1}"
    )


_USER = "t.user_id = %(user)s"


def _by(column: str, *, descending: bool) -> tuple[str, str]:
    way, beyond = ("DESC", "<") if descending else ("ASC", ">")
    return f"t.{column} {way}, t.id {way}", f"(t.{column}, t.id) {beyond} (%(p0)s, %(p1)s)"


def _pinned() -> Iterator[Form]:
    columns = {"created": "created_at", "due": "due_at", "updated": "updated_at", "priority": "priority"}
    restrictions: list[tuple[str, dict[str, Any], str]] = [
        ("", {}, ""),
        (" --status todo", {"statuses": frozenset({TaskStatus.TODO})}, " AND t.status = 'todo'"),
        (" --priority high", {"priorities": frozenset({TaskPriority.HIGH})}, " AND t.priority = 3"),
    ]
    for key, (option, filter, condition), descending in product(columns, restrictions, (False, True)):
        order, after = _by(columns[key], descending=descending)
        if key == "priority" and "priorities" in filter:
            way, beyond = ("DESC", "<") if descending else ("ASC", ">")
            order, after = f"t.id {way}", f"t.id {beyond} %(p0)s"
        yield Form(
            options=f"--user{option} --sort {'-' if descending else ''}{key}",
            filter=TaskFilter(users=(USER,), **filter),
            sort=f"{'-' if descending else ''}{key}",
            where=_USER + condition,
            order=order,
            after=after,
            tail=f"t.id {'DESC' if descending else 'ASC'}" if key == "due" else "",
            pinned=True,
        )


_NEWEST = _by("created_at", descending=True)
_DUE = _by("due_at", descending=False)

FORMS = [
    *_pinned(),
    Form(
        "--user --sort status,due",
        TaskFilter(users=(USER,)),
        "status,due",
        _USER,
        "t.status, t.due_at NULLS LAST, t.id",
        "t.status >= %(p0)s AND (t.status > %(p0)s OR t.status = %(p0)s AND (t.due_at > %(p1)s"
        " OR t.due_at IS NULL OR t.due_at = %(p1)s AND t.id > %(p2)s))",
        pinned=True,
        deep=0.4,  # at a task that has a due date, for which the condition above is written
    ),
    Form(
        "--user --status open --sort -priority,due",
        TaskFilter(users=(USER,), statuses=OPEN_STATUSES),
        "-priority,due",
        f"{_USER} AND {_OPEN}",
        "t.priority DESC, t.due_at NULLS LAST, t.id",
        "t.priority <= %(p0)s AND (t.priority < %(p0)s OR t.priority = %(p0)s AND (t.due_at > %(p1)s"
        " OR t.due_at IS NULL OR t.due_at = %(p1)s AND t.id > %(p2)s))",
    ),
    Form(
        "--user --sort title",
        TaskFilter(users=(USER,)),
        "title",
        _USER,
        "lower(t.title), t.id",
        "(lower(t.title), t.id) > (%(p0)s, %(p1)s)",
    ),
    Form(
        "--user --overdue --sort due",
        TaskFilter(users=(USER,), overdue_at=NOW),
        "due",
        f"{_USER} AND {_OPEN} AND t.due_at < %(now)s",
        *_DUE,
    ),
    Form("--sort -created", TaskFilter(), "-created", "true", *_NEWEST),
    Form(
        "--overdue --sort due",
        TaskFilter(overdue_at=NOW),
        "due",
        f"{_OPEN} AND t.due_at < %(now)s",
        *_DUE,
    ),
    Form(
        "--user --search (no match)",
        TaskFilter(users=(USER,), search="nowhere to be found"),
        "-created",
        f"{_USER} AND (lower(t.title) LIKE '%%nowhere to be found%%'"
        " OR lower(t.description) LIKE '%%nowhere to be found%%')",
        *_NEWEST,
    ),
]

COUNT = Form(
    "--user --status done --count",
    TaskFilter(users=(USER,), statuses=frozenset({TaskStatus.DONE})),
    "-created",
    f"{_USER} AND t.status = 'done'",
    *_NEWEST,
)
