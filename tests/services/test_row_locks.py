"""Whoever changes several rows locks all of them first, in the order of their ids.

Each test holds the row in the middle and looks at which rows the writer has locked while it waits.
SQLite has one writer at a time, and no row locks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import URL

from taskdb_cli.database import Database
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.models.vocabulary import Existing, TaskStatus
from taskdb_cli.services import bulk, task, user
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.transfer.tasks import import_tasks
from tests.conftest import NOW, SERVERS, connect
from tests.samples import add_task, add_user
from tests.sessions import until_waiting
from tests.transfer.test_imports import batch_of, bring_in_users

pytestmark = pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)

ANN, BOB, CAROL, DAVE = (f"{name}@example.com" for name in ("ann", "bob", "carol", "dave"))
MATCHING = TaskFilter(users=["1"])


@pytest.fixture(autouse=True)
def house(url: URL, database: Database) -> None:
    """Users 1 to 4, and three tasks each of the first and the third.

    The first row of each table lies behind the others, and no index is used: without ORDER BY the server
    finds rows in another order than that of their ids.
    """
    for email in (ANN, BOB, CAROL, DAVE):
        add_user(database, email)
    for number, owner in enumerate((ANN, CAROL) * 3, start=1):
        add_task(database, owner, external_id=f"x{number}")
    with connect(url) as connection:
        connection.execute("UPDATE tasks SET title = title WHERE id = 1")
        connection.execute("UPDATE users SET name = name WHERE id = 1")
        for scan in ("enable_indexscan", "enable_bitmapscan"):
            connection.execute(f'ALTER DATABASE "{url.database}" SET {scan} = off')


def locked_while_waiting(
    url: URL, database: Database, table: str, held: int, work: Callable[..., object]
) -> list[int]:
    """Run `work` against another session's lock on the row `held`; return which other rows it has locked."""
    with ThreadPoolExecutor(1) as other, connect(url) as holder:
        with holder.transaction():
            holder.execute(f"SELECT FROM {table} WHERE id = %s FOR UPDATE", (held,))
            waiting = other.submit(database.write, work)
            until_waiting(url)
            with connect(url) as observer:
                every = {row[0] for row in observer.execute(f"SELECT id FROM {table}")}
                free = {row[0] for row in observer.execute(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED")}
        waiting.result()
    return sorted(every - free - {held})


@pytest.mark.parametrize(
    "work",
    [
        partial(task.change, ids=[5, 3, 1], given=TaskUpdate(title="Other"), now=NOW),
        partial(task.change, ids=[5, 3, 1], given=TaskUpdate(), now=NOW, owner=BOB),
        partial(task.change, ids=[5, 3, 1], given=TaskUpdate(status=TaskStatus.DONE), now=NOW),
        partial(task.remove, ids=[5, 3, 1]),
        lambda session: [*bulk.change(session, MATCHING, TaskUpdate(title="Other"), now=NOW)],
        lambda session: [*bulk.remove(session, MATCHING)],
        partial(user.remove, refs=[ANN], now=NOW),
        partial(user.remove, refs=[ANN], now=NOW, reassign_to=BOB),
    ],
    ids=["change", "move", "done", "remove", "change_matching", "remove_matching", "remove_user", "reassign"],
)
def test_tasks_are_locked_in_order(url, database, work):
    """While the middle one of three tasks is held, the lowest is locked and the highest is not."""
    assert locked_while_waiting(url, database, "tasks", 3, work) == [1]


@pytest.mark.parametrize(
    ("users", "held", "locked"),
    [
        ({"refs": [CAROL, BOB, ANN]}, 2, [1]),
        ({"refs": [CAROL, ANN], "reassign_to": BOB}, 2, [1]),
        ({"refs": [DAVE, CAROL], "reassign_to": ANN}, 3, [1]),
        ({"refs": [BOB, ANN], "reassign_to": DAVE}, 2, [1]),
        ({"refs": [CAROL], "reassign_to": DAVE}, 4, [3]),
    ],
)
def test_users_and_heir_are_locked_in_order(url, database, users, held, locked):
    """While one user is held, those with lower ids are locked and those with higher ids are not."""
    remove = partial(user.remove, now=NOW, **users)
    assert locked_while_waiting(url, database, "users", held, remove) == locked


def test_an_import_locks_tasks_in_order(url, database):
    """While the middle one of three tasks that an import updates is held, only the lowest is locked."""
    records = [{"external_id": f"x{id}", "title": "Other"} for id in (5, 3, 1)]
    with batch_of(records, owned=True) as batch:
        bring = partial(import_tasks, batch=batch, owner=ANN, existing=Existing.UPDATE, now=NOW)
        assert locked_while_waiting(url, database, "tasks", 3, bring) == [1]


def test_an_import_locks_owners_in_order(url, database):
    """While one owner of imported tasks is held, those with lower ids are locked and those above are not."""
    with batch_of([{"user": email, "title": "New"} for email in (CAROL, BOB, ANN)], owned=False) as batch:
        bring = partial(import_tasks, batch=batch, owner=None, existing=Existing.UPDATE, now=NOW)
        assert locked_while_waiting(url, database, "users", 2, bring) == [1]


def test_heir_is_locked_before_any_task(url, database):
    """While the heir is held, no task of the user who goes is locked."""
    remove = partial(user.remove, refs=[ANN], now=NOW, reassign_to=DAVE)
    with ThreadPoolExecutor(1) as other, connect(url) as holder:
        with holder.transaction():
            holder.execute("SELECT FROM users WHERE id = 4 FOR UPDATE")
            waiting = other.submit(database.write, remove)
            until_waiting(url)
            with connect(url) as observer:
                free = observer.execute("SELECT id FROM tasks FOR UPDATE SKIP LOCKED").fetchall()
        waiting.result()
    assert len(free) == 6


def test_a_user_is_changed_under_a_lock(url, database):
    """A change that waits for another one counts that one's version up."""
    change = partial(user.change, ref=ANN, given=UserUpdate(name="Anna"), now=NOW)
    with ThreadPoolExecutor(1) as other, connect(url) as holder:
        with holder.transaction():
            holder.execute("UPDATE users SET name = 'Annie', version = 5 WHERE id = 1")
            waiting = other.submit(database.write, change)
            until_waiting(url)
        assert waiting.result().version == 6


def test_an_import_waits_for_a_new_user(url, database):
    """An import of users finds the user whom another transaction is about to make."""
    with ThreadPoolExecutor(1) as other, connect(url) as holder:
        with holder.transaction():
            holder.execute(
                "INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
                " VALUES ('eve@example.com', 'Eve', true, 1, now(), now())"
            )
            waiting = other.submit(bring_in_users, database, [{"email": "eve@example.com", "name": "Eve"}])
            until_waiting(url)
        assert waiting.result().unchanged == 1
