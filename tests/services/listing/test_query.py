"""Filters and sorts, the same on every engine."""

from datetime import timedelta

import pytest

from taskdb_cli.errors import InvalidInput, UserNotFound
from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW
from tests.samples import add_task, add_user


@pytest.fixture
def tasks(database):
    """Five tasks of two users, which differ in every sort key and tie in most."""
    add_user(database, "bob@example.com")
    add_user(database, "ann@example.com")
    day = timedelta(days=1)
    rows = [
        ("bob@example.com", {"title": "beta", "priority": "low", "due_at": NOW + day, "created_at": NOW}),
        (
            "ann@example.com",
            {"title": "Alpha", "priority": "urgent", "status": "done", "created_at": NOW - day},
        ),
        ("ann@example.com", {"title": "BETA", "due_at": NOW - day, "updated_at": NOW + day}),
        ("bob@example.com", {"title": "\u00e9t\u00e9", "status": "in_progress", "updated_at": NOW - day}),
        (
            "ann@example.com",
            {"title": "Zoo", "status": "cancelled", "due_at": NOW + day, "created_at": NOW + day},
        ),
    ]
    for owner, fields in rows:
        add_task(database, owner, **fields)


def ids(database, sort="id", **filters):
    given = TaskFilter(**filters), Order.parse(sort, TASK_SORT_KEYS)
    page = database.read(lambda session: service.find(session, *given, limit=100))
    return [record["id"] for record in page.records]


ORDERS = {
    "id": [1, 2, 3, 4, 5],
    "-id": [5, 4, 3, 2, 1],
    "title": [2, 1, 3, 5, 4],
    "-title": [4, 5, 3, 1, 2],
    "status": [5, 2, 4, 1, 3],
    "-status": [3, 1, 4, 2, 5],
    "priority": [1, 3, 4, 5, 2],
    "-priority": [2, 5, 4, 3, 1],
    "due": [3, 1, 5, 2, 4],
    "-due": [5, 1, 3, 4, 2],
    "created": [2, 1, 3, 4, 5],
    "-created": [5, 4, 3, 1, 2],
    "updated": [4, 1, 2, 5, 3],
    "-updated": [3, 5, 2, 1, 4],
    "completed": [2, 1, 3, 4, 5],
    "-completed": [2, 5, 4, 3, 1],
    "user": [2, 3, 5, 1, 4],
    "-user": [4, 1, 5, 3, 2],
    "user,-due": [5, 3, 2, 1, 4],
    " -priority , due ,-id": [2, 3, 5, 4, 1],
}


def test_sorts(database, tasks):
    """Every key sorts both ways; what is absent comes last, and the id breaks ties."""
    assert {order: ids(database, order) for order in ORDERS} == ORDERS


def test_pages_join_up(database, tasks):
    """Pages of one row, each taken after the one before, are the whole list, whatever sorts it."""
    for sort in [*ORDERS, "id,due", "-id,completed", "due,id,-completed", "priority,-due,title"]:
        order = Order.parse(sort, TASK_SORT_KEYS)
        found, position = [], None
        while not found or position is not None:
            page = database.read(
                lambda session, order=order, after=position: service.find(
                    session, TaskFilter(), order, limit=1, after=after
                )
            )
            found += [record["id"] for record in page.records]
            position = page.next
        assert found == ids(database, sort), sort


def test_titles_sort_by_code_point(database):
    """Titles are ordered by their code points, the case of A to Z apart, whatever the server's locale."""
    add_user(database)
    titles = [
        "!",
        "0",
        "a",
        "A",
        "a b",
        "a-b",
        "ab",
        "Z",
        "z",
        "[",
        "_",
        "~",
        "\u00c9",
        "\u00e9",
        "\U0001f600",
    ]
    folded = sorted(titles, key=lambda title: title.lower() if title.isascii() else title)
    for title in titles:
        add_task(database, title=title)
    page = database.read(
        lambda session: service.find(session, TaskFilter(), Order.parse("title", TASK_SORT_KEYS), limit=100)
    )
    assert [record["title"] for record in page.records] == folded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot sort by nothing"),
        ("title,", "cannot sort by nothing"),
        ("-", "cannot sort by nothing"),
        ("name", "cannot sort by name"),
        ("--id", "cannot sort by -id"),
        ("Title", "cannot sort by Title"),
        ("id;drop", "cannot sort by id;drop"),
        ("due,-due", "due is given twice as a sort key"),
    ],
)
def test_bad_sort(text, message):
    """A sort that makes no sense is refused, and the keys are named."""
    with pytest.raises(InvalidInput) as refusal:
        Order.parse(text, TASK_SORT_KEYS)
    assert refusal.value.message == message
    assert refusal.value.hint


def test_filters(database, tasks):
    """Filters restrict together; the values of one are alternatives."""
    assert ids(database) == [1, 2, 3, 4, 5]
    assert ids(database, users=("ann@example.com",)) == [2, 3, 5]
    assert ids(database, users=("2",)) == [2, 3, 5]
    assert ids(database, users=("1", "ANN@example.com", "2")) == [1, 2, 3, 4, 5]
    assert ids(database, statuses=frozenset({TaskStatus.DONE})) == [2]
    assert ids(database, statuses=OPEN_STATUSES) == [1, 3, 4]
    assert ids(database, priorities=frozenset({TaskPriority.LOW, TaskPriority.URGENT})) == [1, 2]
    assert ids(
        database, users=("1",), statuses=OPEN_STATUSES, priorities=frozenset({TaskPriority.MEDIUM})
    ) == [4]
    assert ids(database, users=("1",), statuses=frozenset({TaskStatus.DONE})) == []


def test_filter_by_unknown_user(database, tasks):
    """A user who does not exist is an error, not an empty list."""
    with pytest.raises(UserNotFound, match=r"user cid@example\.com not found"):
        ids(database, users=("ann@example.com", "cid@example.com"))
