"""How the engines find the rows of a listing, on a table large enough for a planner to care."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.ordering import Order
from taskdb_cli.services.query import TASK_SORT_KEYS, TaskFilter, constant_keys
from tests.conftest import ENGINES, NOW
from tests.listings import add_tasks, add_users, make_row

TASKS = 30_000
OWNERS = 30
DONE = TaskFilter(users=("1",), statuses=frozenset({TaskStatus.DONE}))
URGENT = TaskFilter(users=("1",), priorities=frozenset({TaskPriority.URGENT}))
THEIRS = TaskFilter(users=("1",))
PINNED = [
    *((filter, sign + name) for name in ("created", "due", "updated", "priority") for sign in ("", "-")
      for filter in (THEIRS, DONE, URGENT)),
    (TaskFilter(), "-created"),
    (TaskFilter(overdue_at=NOW), "due"),
]  # fmt: skip
BOUNDED = [
    (THEIRS, "title"),
    (THEIRS, "-completed"),
    (THEIRS, "-user"),
    (THEIRS, "status"),
    (THEIRS, "-priority,due"),
    (DONE, "-priority,created"),
    (TaskFilter(users=("1",), statuses=OPEN_STATUSES), "due"),
    (TaskFilter(users=("1",), statuses=OPEN_STATUSES), "-priority,due"),
    (TaskFilter(users=("1",), overdue_at=NOW), "due"),
    (TaskFilter(users=("1",), search="task 77"), "-created"),
    (TaskFilter(users=("1", "2")), "-created"),
]


def _rows():
    chance = random.Random(11)
    for number in range(TASKS):
        created = NOW - timedelta(minutes=TASKS - number)
        yield make_row(
            1 if number % 2 else chance.randrange(2, OWNERS + 1),
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
    """A database of 30 000 tasks, half of which belong to one user."""
    engine, _, unanalysed = request.param.partition(" ")
    return shared(engine, fill_unanalysed if unanalysed else fill_analysed)


def plans_of(session, filter, sort):
    """Return the plans of the first page, of one in the middle and of one near the end, all segments."""
    order = Order.parse(sort, TASK_SORT_KEYS)
    reduced = order.without(constant_keys(filter))
    rows = list(service.stream(session, filter, order))
    places = [None, *(reduced.position(rows[index]) for index in (len(rows) // 2, len(rows) - 20))]
    return [
        plan for after in places for plan in service.explain(session, filter, order, limit=50, after=after)
    ]


def every_row_read(plan):
    return "tasks: every row" in plan.reached


@pytest.mark.parametrize("form", range(len(PINNED)), ids=str)
def test_pinned_forms_sort_nothing(large, form):
    """The forms that people use all day are read from an index in order, on any page."""
    filter, sort = PINNED[form]
    for plan in large.read(lambda session: plans_of(session, filter, sort)):
        assert any("index tasks_" in reached for reached in plan.reached), plan
        assert not every_row_read(plan), plan
        assert plan.sorted_rows is None, (plan.sql, plan.lines)


@pytest.mark.parametrize("form", range(len(BOUNDED)), ids=str)
def test_other_forms_reach_the_rows_of_the_user_by_an_index(large, form):
    """Any other listing of a user sorts that user's rows at most, and reads no others."""
    filter, sort = BOUNDED[form]
    for plan in large.read(lambda session: plans_of(session, filter, sort)):
        assert not every_row_read(plan), (plan.sql, plan.lines)
        assert plan.sorted_rows is None or plan.sorted_rows <= 0.6 * TASKS, plan
