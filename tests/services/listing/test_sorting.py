"""Orders and their pages, on every engine, against sorting in memory."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import col, delete

from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.task import Task
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, task_query
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.listings import add_tasks, everything, fill, in_order, pages, random_rows

ROWS = 70
SORTS = st.lists(
    st.tuples(st.sampled_from(["", "-"]), st.sampled_from(list(TASK_SORT_KEYS))),
    min_size=1,
    max_size=4,
    unique_by=lambda key: key[1],
).map(lambda keys: ",".join(sign + name for sign, name in keys))
FILTERS = st.sampled_from(
    [
        TaskFilter(),
        TaskFilter(users=("1",)),
        TaskFilter(users=("1", "2")),
        TaskFilter(statuses=frozenset({TaskStatus.DONE})),
        TaskFilter(users=("2",), priorities=frozenset({TaskPriority.HIGH})),
        TaskFilter(no_due=True),
    ]
)
MANY = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def fill_few(database):
    fill(database, ROWS)


def test_pages_are_the_sorted_list(engine, shared):
    """For every sort, filter and page size the pages together are the list sorted in memory."""
    database = shared(engine, fill_few)

    @MANY
    @given(sort=SORTS, filter=FILTERS, limit=st.integers(3, ROWS + 1))
    def check(sort, filter, limit):
        def work(session):
            order = Order.parse(sort, TASK_SORT_KEYS)
            streamed = [dict(record) for record in service.stream(session, filter, order)]
            assert [record["id"] for record in streamed] == [r["id"] for r in in_order(streamed, sort)]
            assert len(streamed) == service.count(session, filter)
            found = list(pages(session, filter, sort, limit))
            assert [record for page in found for record in page] == streamed
            assert all(len(page) == limit for page in found[:-1])
            assert len(found[-1]) > 0 or not streamed

        database.read(work)

    check()


@pytest.mark.parametrize("sort", ["-due", "completed,-due", "-due,completed", "-completed,-due", "id,due"])
def test_a_stream_goes_on_after_any_row(engine, shared, sort):
    """After each row in turn come exactly the rows behind it, across the border to absent values too."""
    order = Order.parse(sort, TASK_SORT_KEYS)

    def work(session):
        expected = in_order(everything(session), sort)
        for index, record in enumerate(expected):
            rest = service.find(session, TaskFilter(), order, limit=3, after=order.position(record))
            assert list(map(dict, rest.records)) == expected[index + 1 : index + 4]
            assert (rest.next is None) == (index + 4 >= len(expected))

    shared(engine, fill_few).read(work)


@pytest.mark.parametrize(
    "sort", ["-created", "due", "-due", "priority,-due,completed", "-completed,due", "title,-user", "user"]
)
def test_rows_come_and_go_between_pages(database, sort):
    """While rows are inserted and deleted between pages, each row that stays is seen exactly once."""
    chance = random.Random(sort)
    fill(database, ROWS)
    kept = {record["id"] for record in database.read(everything)}
    seen = []

    def disturb(session):
        nonlocal kept
        gone = chance.sample(sorted(kept), 3)
        session.exec(delete(Task).where(col(Task.id).in_(gone)))
        kept -= set(gone)
        add_tasks(session, random_rows(chance, 3))

    order, position = Order.parse(sort, TASK_SORT_KEYS), None
    while True:
        page = database.read(
            lambda session: service.find(session, TaskFilter(), order, limit=7, after=position)  # noqa: B023
        )
        seen += [record["id"] for record in page.records]
        position = page.next
        if position is None:
            break
        database.write(disturb)
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)


def test_equal_keys_need_no_sorting():
    """No row is sorted by a key by which all are equal; ids go the way of the last key."""
    order = replace(Order.parse("-user,-status", TASK_SORT_KEYS), equal=frozenset({"user", "status"}))
    [query] = order.parts(task_query(TaskFilter(), []), ("ann@example.com", "todo", 7))
    text = str(query.compile(compile_kwargs={"literal_binds": True}))
    assert text.endswith("(tasks.id) < (7) ORDER BY tasks.id DESC")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour", "cannot sort by colour"),
        ("", "cannot sort by nothing"),
        ("due,", "cannot sort by nothing"),
        ("--due", "cannot sort by -due"),
        ("due,-due", "due is given twice"),
    ],
)
def test_unusable_sorts_are_refused(text, message):
    """A sort key that is unknown, missing or repeated is refused."""
    with pytest.raises(InvalidInput, match=message):
        Order.parse(text, TASK_SORT_KEYS)
