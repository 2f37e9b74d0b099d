"""Operations of the history, at the service."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest

from taskdb_cli.database.options import Origin
from taskdb_cli.errors import NotFound, OperationNotFound, TaskNotFound, UserNotFound
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.models.vocabulary import CHANGE_FIELDS, LIFE_FIELDS, OPERATION_FIELDS, TaskStatus
from taskdb_cli.services import task, token, user
from taskdb_cli.services.history import operations as service
from taskdb_cli.services.listing.query import OperationFilter
from tests.conftest import NOW
from tests.operations import prune
from tests.samples import add_task, add_token, add_user
from tests.schemas import execute


def do(database, work, actor="kim", command="task update"):
    return database.write(work, origin=Origin(actor, command))


def update_task(database, id, actor="kim", owner=None, **values):
    given = TaskUpdate.model_validate(values)
    do(database, lambda session: task.change(session, [id], given, now=NOW, owner=owner), actor)


def delete_task(database, id):
    do(database, lambda session: task.remove(session, [id]), command="task delete")


def delete_user(database, ref):
    do(database, lambda session: user.remove(session, [ref], now=NOW), command="user delete")


def found(database, **filters):
    """Return the ids of the operations that a filter finds."""
    filter = OperationFilter(**filters)
    page = database.read(lambda session: service.find(session, filter, limit=1000))
    ids = [record["id"] for record in page.records]
    assert database.read(lambda session: service.count(session, filter)) == len(ids)
    assert [each["id"] for each in database.read(lambda s: [*service.stream(s, filter)])] == ids
    return ids


def changes(database, id, **more):
    return database.read(lambda session: [*service.stream_changes(session, id, **more)])


def life(database, table, id):
    return database.read(lambda session: [*service.stream_life(session, table, id)])


def get(database, id):
    return database.read(lambda session: service.get(session, id))


@pytest.fixture
def told(database):
    """A history: two users, two tasks, a change, a move, two deletions."""
    add_user(database)  # 1
    add_user(database, "bob@example.com")  # 2
    add_task(database, title="Buy milk", description="two\nlitres")  # 3
    add_task(database, "bob@example.com", "Call")  # 4
    update_task(database, 1, "lee", status="in_progress")  # 5
    update_task(database, 1, owner="bob@example.com")  # 6
    delete_task(database, 2)  # 7
    delete_user(database, "bob@example.com")  # 8
    return database


def test_operations_are_listed_newest_first(told):
    """Each has the fields of its record."""
    assert found(told) == [8, 7, 6, 5, 4, 3, 2, 1]
    record = get(told, 8)
    assert tuple(record) == OPERATION_FIELDS
    assert (record["actor"], record["command"], record["rows"]) == ("kim", "user delete", 2)
    assert (record["undoes"], record["restored_from"]) == (None, None)


def test_filter_by_user(told):
    """Whose rows changed is known by id and address, before and after a task moved, also of who is gone."""
    assert found(told, users=["ann@example.com"]) == [6, 5, 3, 1]
    assert found(told, users=["1"]) == [6, 5, 3, 1]
    assert found(told, users=["BOB@example.com"]) == [8, 7, 6, 4, 2]
    assert found(told, users=["2"]) == [8, 7, 6, 4, 2]
    assert found(told, users=["1", "2"]) == [8, 7, 6, 5, 4, 3, 2, 1]


def test_filter_by_address_that_changed(told):
    """A former address means who had it, until somebody else has it."""
    given = UserUpdate(email="ann.lee@example.com")
    do(told, lambda session: user.change(session, "1", given, now=NOW))
    assert found(told, users=["ann@example.com"]) == [9, 6, 5, 3, 1]
    add_user(told, "ann@example.com")
    assert found(told, users=["ann@example.com"]) == [10]
    delete_user(told, "3")
    assert found(told, users=["ann@example.com"]) == [11, 10, 9, 6, 5, 3, 1]
    assert told.read(lambda session: service.find_user(session, "ann@example.com")) == 3


def test_filter_by_task(told):
    """A deleted task is known by its id."""
    assert found(told, tasks=[2]) == [7, 4]
    assert found(told, tasks=[1, 2]) == [8, 7, 6, 5, 4, 3]
    assert found(told, tasks=[1], users=["1"]) == [6, 5, 3]


def test_filter_by_actor_and_command(told):
    """An actor is named in full, a command by a part of it in any case."""
    assert found(told, actor="lee") == [5]
    assert found(told, actor="le") == []
    assert found(told, command="DELETE") == [8, 7]
    assert found(told, command="%") == []


def test_filter_by_time(told, url):
    """The beginning of a span belongs to it, and its end does not."""
    at = "'2026-11-20T12:00:00.000000Z'"
    execute(url, f"UPDATE taskdb_operations SET at = {at} WHERE id <= 3")
    moment = get(told, 1)["at"]
    assert found(told, until=moment) == []
    assert found(told, until=moment + timedelta(microseconds=1)) == [3, 2, 1]
    assert found(told, since=moment, until=moment + timedelta(days=1)) == [3, 2, 1]
    assert found(told, since=moment + timedelta(microseconds=1)) == [8, 7, 6, 5, 4]


@pytest.mark.parametrize("id", [-1, 0, 3, MAX_ID, MAX_ID + 1, 10**30])
def test_unknown_rows(database, id):
    """Whoever is neither in the tables nor in the history is not found."""
    add_user(database)
    for filters in ({"users": [str(id)]}, {"tasks": [id]}):
        with pytest.raises((UserNotFound, TaskNotFound), match="not found"):
            found(database, **filters)
    for table in ("users", "tasks"):
        with pytest.raises((UserNotFound, TaskNotFound)):
            life(database, table, id)
    with pytest.raises(OperationNotFound):
        get(database, id)
    assert changes(database, id) == []


@pytest.mark.parametrize("ref", ["carl@example.com", "-", "", "a" * 500])
def test_unknown_addresses(told, ref):
    """An address that nobody had is not found."""
    with pytest.raises(UserNotFound):
        found(told, users=[ref])


def test_empty_history(database, url):
    """A row from before the history is known, and nothing is told of it."""
    add_user(database)
    prune(url, 2)
    assert found(database, users=["1"]) == []
    assert life(database, "users", 1) == []
    with pytest.raises(NotFound) as caught:
        get(database, 1)
    assert "the history is empty" in caught.value.hint


def test_pruned_history(told, url):
    """Whoever asks for what is no longer known is told where the history begins."""
    prune(url, 8)
    for ask in (lambda: get(told, 3), lambda: life(told, "tasks", 2), lambda: found(told, users=["7"])):
        with pytest.raises(NotFound) as caught:
            ask()
        assert re.search(r"the history begins at 20\S+Z, with operation 8; 'taskdb ", caught.value.hint)
    assert [each["action"] for each in life(told, "tasks", 1)] == ["deleted"]


def test_pages(told):
    """Pages follow one another without a gap, and no record comes twice."""

    def read(session):
        after, ids = None, []
        while True:
            page = service.find(session, OperationFilter(), limit=3, after=after)
            ids.append([record["id"] for record in page.records])
            if page.next is None:
                return ids
            after = page.next

    assert told.read(read) == [[8, 7, 6], [5, 4, 3], [2, 1]]


def test_changes(told):
    """A creation has no values, an update those that differ, a deletion the whole row."""
    [created] = changes(told, 3)
    assert tuple(created) == CHANGE_FIELDS
    assert (created["table"], created["id"], created["owner_id"]) == ("task", 1, 1)
    assert (created["action"], created["version_before"], created["version_after"]) == ("created", None, 1)
    assert created["fields"] == {}
    [updated] = changes(told, 5)
    assert (updated["action"], updated["version_before"], updated["version_after"]) == ("updated", 1, 2)
    assert updated["fields"] == {"status": {"old": TaskStatus.TODO, "new": TaskStatus.IN_PROGRESS}}
    [moved] = changes(told, 6)
    assert moved["fields"] == {"user_id": {"old": 1, "new": 2}}
    deleted, gone = changes(told, 8)
    assert (deleted["table"], deleted["version_before"], deleted["version_after"]) == ("task", 3, None)
    assert deleted["fields"]["description"] == {"old": "two\nlitres", "new": None}
    assert deleted["fields"]["external_id"] == {"old": None, "new": None}
    assert deleted["fields"]["created_at"] == {"old": NOW, "new": None}
    assert (gone["table"], gone["id"], gone["fields"]["email"]["old"]) == ("user", 2, "bob@example.com")


def test_changes_are_named(told):
    """A row has the name that it has now, or had last."""
    add_token(told, "phone")
    assert [changes(told, id, named=True)[0]["title"] for id in (1, 2, 3, 5, 7, 9)] == [
        "ann@example.com",
        "bob@example.com",
        "Buy milk",
        "Buy milk",
        "Call",
        "phone",
    ]
    do(told, lambda session: token.revoke(session, "phone"))
    assert [changes(told, id, named=True)[0]["title"] for id in (9, 10)] == ["phone", "phone"]


def test_pages_of_changes(database):
    """Pages of changes follow one another, and each says where it ends."""
    add_user(database)
    ids = [add_task(database, title=str(number)) for number in range(7)]
    do(database, lambda session: task.remove(session, ids))

    def read(session):
        pages, after = [], None
        while not pages or after is not None:
            page = service.changes(session, 9, limit=3, after=after)
            pages.append([record["id"] for record in page.records])
            after = page.next
        return pages

    assert database.read(read) == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_page_of_changes_ends_where_a_record_does_not_fit(told):
    """What does not fit begins the next page."""
    seen = []
    page = told.read(
        lambda session: service.changes(
            session, 8, limit=50, fits=lambda record: seen.append(record["table"]) or len(seen) == 1
        )
    )
    assert (len(page.records), seen, page.next is None) == (1, ["task", "user"], False)


def test_life_of_a_deleted_task(told):
    """A life is told from its beginning to its end, each change with its operation."""
    told_life = life(told, "tasks", 1)
    assert {tuple(record) for record in told_life} == {LIFE_FIELDS}
    assert [(each["operation"], each["action"], each["actor"]) for each in told_life] == [
        (3, "created", get(told, 3)["actor"]),
        (5, "updated", "lee"),
        (6, "updated", "kim"),
        (8, "deleted", "kim"),
    ]
    assert all(a["at"] <= b["at"] for a, b in pairwise(told_life))
    page = told.read(lambda session: service.life(session, "tasks", 1, limit=3))
    assert page.records == told_life[:3]
    rest = told.read(lambda session: service.life(session, "tasks", 1, limit=3, after=page.next))
    assert (rest.records, rest.next) == (told_life[3:], None)


def test_life_of_a_user_is_their_own(told):
    """The tasks of a user have lives of their own."""
    assert [each["operation"] for each in life(told, "users", 2)] == [2, 8]


def test_find_by_prefix(told):
    """Ids are offered by their first digits, the newest first."""
    for _ in range(3):
        add_task(told)
    ids = told.read(lambda session: [each["id"] for each in service.find_by_prefix(session, "1", limit=5)])
    assert ids == [11, 10, 1]
    assert told.read(lambda session: service.find_by_prefix(session, "9" * 30, limit=5)) == []
