"""How the engines find the rows of a listing, on a table large enough for a planner to care."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import ENGINES, NOW
from tests.listings import add_tasks, add_users, make_row

TASKS = 30_000
DEEP = 600
OWNERS = 30
DONE = TaskFilter(users=("1",), statuses=frozenset({TaskStatus.DONE}))
URGENT = TaskFilter(users=("1",), priorities=frozenset({TaskPriority.URGENT}))
THEIRS = TaskFilter(users=("1",))
FEW = TaskFilter(users=("2",))
FEW_DONE = TaskFilter(users=("2",), statuses=frozenset({TaskStatus.DONE}))
PINNED = [
    *((filter, sign + name) for name in ("created", "due", "updated", "priority") for sign in ("", "-")
      for filter in (THEIRS, DONE, URGENT)),
    (TaskFilter(), "-created"),
    (TaskFilter(overdue_at=NOW), "due"),
]  # fmt: skip
BOUNDED = [
    (FEW, "title"),
    (FEW, "-completed"),
    (FEW, "-user"),
    (FEW, "status"),
    (FEW, "-priority,due"),
    (FEW_DONE, "-priority,created"),
    (TaskFilter(users=("2",), statuses=OPEN_STATUSES), "due"),
    (TaskFilter(users=("2",), statuses=OPEN_STATUSES), "-priority,due"),
    (TaskFilter(users=("2",), overdue_at=NOW), "due"),
    (TaskFilter(users=("2",), search="task 77"), "-created"),
    (TaskFilter(users=("2", "3")), "-created"),
]


def _rows():
    chance = random.Random(11)
    for number in range(TASKS):
        created = NOW - timedelta(minutes=TASKS - number)
        yield make_row(
            1 if number % 2 == 0 else chance.randrange(2, OWNERS + 1),
            f"Task {number}",
            status=chance.choices(["todo", "in_progress", "done", "cancelled"], [30, 10, 54, 6])[0],
            priority=chance.choices([1, 2, 3, 4], [20, 50, 20, 10])[0],
            due=NOW + timedelta(minutes=chance.randrange(-9_000, 90_000)) if chance.random() < 0.7 else None,
            created=created,
            updated=created + timedelta(minutes=chance.randrange(1, 9_000)),
        )


def fill_unanalysed(database):
    database.write(lambda session: add_users(session, [f"user{n}@example.com" for n in range(OWNERS)]))
    database.write(lambda session: add_tasks(session, _rows()))


def fill_analysed(database):
    fill_unanalysed(database)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE" if database.backend.dialect == "sqlite" else "VACUUM ANALYZE"))


@pytest.fixture(params=[*ENGINES, "sqlite without ANALYZE"])
def large(request, shared):
    """A database of 30,000 tasks, half of which belong to one user."""
    engine, _, unanalysed = request.param.partition(" ")
    return shared(engine, fill_unanalysed if unanalysed else fill_analysed)


def plans_of(session, filter, sort):
    """Return the plans of the first page and of a deep one: every query that they may take."""
    order = Order.parse(sort, TASK_SORT_KEYS)
    rows = service.find(session, filter, order, limit=DEEP).records
    deep = order.position(rows[-1] if len(rows) == DEEP else rows[len(rows) // 2])
    return [
        plan
        for after in (None, deep)
        for plan in service.explain(session, filter, order, limit=50, after=after)
    ]


def how(plan, table):
    """Return how a plan reached a table, without the index of a bitmap."""
    return [how for name, _, how in (reached.partition(": ") for reached in plan.reached) if name == table]


def test_pinned_forms_sort_nothing(large):
    """The forms that people use all day are read from an index in order, on the first page and deep."""
    for filter, sort in PINNED:
        wanted = "index tasks_user_" if filter.users and sort.endswith("due") else "index tasks_"
        for plan in large.read(lambda session: plans_of(session, filter, sort)):  # noqa: B023
            assert plan.sorted_rows is None, (plan.sql, plan.lines)
            assert [reached.startswith(wanted) for reached in how(plan, "tasks")] == [True], plan


def test_other_forms_reach_the_rows_of_the_user_by_an_index(large):
    """Any other listing of a user sorts that user's rows at most, and reads no others."""
    for filter, sort in BOUNDED:
        for plan in large.read(lambda session: plans_of(session, filter, sort)):  # noqa: B023
            assert "every row" not in how(plan, "tasks"), (plan.sql, plan.lines)
            assert any("index tasks_" in reached for reached in plan.reached), (plan.sql, plan.lines)
            assert plan.sorted_rows is None or plan.sorted_rows <= 0.1 * TASKS, plan
