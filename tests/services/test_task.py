"""Tasks, at the service."""

from datetime import timedelta

import pytest

from taskdb_cli.errors import ExternalIdTaken, InvalidInput, StaleVersion, TaskNotFound, UserNotFound
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.vocabulary import TASK_FIELDS, TaskPriority, TaskStatus
from taskdb_cli.services import task as service
from taskdb_cli.services.listing import pages as listing
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW
from tests.samples import add_task, add_user, emails, titles

LATER = NOW + timedelta(days=1)
LATEST = NOW + timedelta(days=2)


@pytest.fixture
def ann(database):
    return add_user(database)


@pytest.fixture
def bob(database, ann):
    return add_user(database, "bob@example.com")


def get(database, id):
    return database.read(lambda session: service.get(session, id))


def change(database, *ids, now=LATER, owner=None, if_version=None, **changes):
    given = TaskUpdate.model_validate(changes)
    return database.write(
        lambda session: service.change(session, ids, given, now=now, owner=owner, if_version=if_version)
    )


def set_status(database, status, *ids, now=LATER):
    return change(database, *ids, now=now, status=status)


def test_create(database, ann):
    """A new task is to do, of medium priority, at version 1, and made now."""
    record = get(database, add_task(database, "ANN@example.com", "Write"))
    assert record == dict.fromkeys(TASK_FIELDS) | {
        "id": 1,
        "user_id": 1,
        "user": "ann@example.com",
        "external_id": None,
        "title": "Write",
        "description": None,
        "status": TaskStatus.TODO,
        "priority": TaskPriority.MEDIUM,
        "due_at": None,
        "completed_at": None,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }


def test_create_with_everything(database, ann):
    """Every field that is given is kept, and an empty one is absent."""
    given = {
        "external_id": "x-1",
        "description": "Two\nlines",
        "status": "done",
        "priority": "urgent",
        "due_at": LATER,
        "completed_at": LATEST,
        "created_at": LATER,
        "updated_at": LATEST,
    }
    record = get(database, add_task(database, "1", **given))
    assert {field: record[field] for field in given} == given | {"priority": TaskPriority.URGENT}
    bare = get(database, add_task(database, "1", external_id="", description=""))
    assert (bare["external_id"], bare["description"]) == (None, None)


def test_create_done(database, ann):
    """A task that is made as done is completed now."""
    assert get(database, add_task(database, status="done"))["completed_at"] == NOW


def test_create_refused(database, ann, bob):
    """A task needs an owner who exists, and an external id that this owner does not have yet."""
    add_task(database, external_id="x")
    add_task(database, "bob@example.com", external_id="x")
    with pytest.raises(ExternalIdTaken, match=r"user ann@example\.com has a task with external id x already"):
        add_task(database, external_id="x")
    with pytest.raises(UserNotFound, match="user 7 not found"):
        add_task(database, "7")
    assert titles(database) == ["Write", "Write"]


def test_create_unless_exists(database, ann, bob):
    """The owner's task of that external id is returned as it is; otherwise one is made."""
    add_task(database, title="Old", external_id="x")
    given = TaskCreate(title="New", external_id="x")

    def make(owner):
        return database.write(lambda session: service.create_unless_exists(session, owner, given, now=LATER))

    assert [make("1")["title"], make("2")["title"], make("2")["title"]] == ["Old", "New", "New"]
    assert titles(database) == ["Old", "New"]


def test_create_once(database, ann):
    """What was made before is found again by the external id, unless it is not as given."""

    def make(**fields):
        given = TaskCreate.model_validate({"external_id": "x", **fields})
        return database.write(lambda session: service.create_once(session, "1", given, now=LATER))

    first, made = make(title="Write", priority="high")
    assert made
    set_status(database, TaskStatus.IN_PROGRESS, first["id"])
    again, made = make(title="Write", priority="high")
    assert (again["id"], again["status"], made) == (first["id"], TaskStatus.IN_PROGRESS, False)
    for fields in (
        {"title": "Read"},
        {"title": "Write", "priority": "low"},
        {"title": "Write", "due_at": NOW},
    ):
        with pytest.raises(ExternalIdTaken, match="x"):
            make(**fields)
    assert titles(database) == ["Write"]


def test_get_all(database, ann):
    """Tasks come in the order that was asked for, each once."""
    for title in "ABC":
        add_task(database, title=title)
    found = database.read(lambda session: service.get_all(session, [3, 1, 3]))
    assert [record["title"] for record in found] == ["C", "A"]


def test_missing_tasks_are_all_named(database, ann):
    """Every id that no task has is named, and no task is touched."""
    add_task(database)
    acts = [
        lambda session: service.get_all(session, [9, 1, 2**70, 8, 0, -(2**70)]),
        lambda session: service.remove(session, [9, 1, 2**70, 8, 0, -(2**70)]),
        lambda session: service.change(
            session, [9, 1, 2**70, 8, 0, -(2**70)], TaskUpdate(status="done"), now=NOW
        ),
    ]
    for act in acts:
        with pytest.raises(TaskNotFound, match=f"tasks 9, {2**70}, 8, 0, -{2**70} not found"):
            database.write(act)
    assert get(database, 1)["version"] == 1
    with pytest.raises(TaskNotFound, match="task 9 not found"):
        get(database, 9)


def test_change(database, ann):
    """A change keeps what it does not name, counts the version up and moves updated_at."""
    id = add_task(database, external_id="x", description="Long")
    before = get(database, id)
    [after] = change(database, id, title="New", priority="high", due_at=LATER)
    assert after == get(database, id)
    assert after == {
        **before,
        "title": "New",
        "priority": TaskPriority.HIGH,
        "due_at": LATER,
        "version": 2,
        "updated_at": LATER,
    }


def test_change_to_nothing(database, ann):
    """A due time and a description can be taken away."""
    id = add_task(database, description="Long", due_at=NOW)
    [after] = change(database, id, description="", due_at=None)
    assert (after["description"], after["due_at"], after["version"]) == (None, None, 2)


@pytest.mark.parametrize(
    "changes",
    [{}, {"title": "Write"}, {"status": "todo", "priority": "medium", "due_at": None}, {"owner": "1"}],
)
def test_change_to_the_same(database, ann, changes):
    """Without a difference nothing is written."""
    id = add_task(database)
    before = get(database, id)
    assert change(database, id, **changes) == [before]
    assert get(database, id) == before


def test_change_counts_only_differing_tasks(database, ann):
    """Of several tasks only those that differ get a new version."""
    add_task(database, title="A", priority="high")
    add_task(database, title="B")
    assert [record["version"] for record in change(database, 1, 2, priority="high")] == [1, 2]


def test_change_several_is_all_or_nothing(database, ann):
    """One stale task keeps the others as they were."""
    for title in "ABC":
        add_task(database, title=title)
    change(database, 2, title="B2")
    with pytest.raises(StaleVersion, match="task 2 is at version 2, not 1"):
        change(database, 1, 2, 3, title="X", if_version=1)
    assert titles(database) == ["A", "B2", "C"]


@pytest.mark.parametrize("ids", [(1,), (1, 2)])
@pytest.mark.parametrize("version", [1, 3, 2**31, 2**63])
@pytest.mark.parametrize("title", ["A2", "Other"])
def test_a_version_that_is_not_the_current_one(database, ann, ids, version, title):
    """Any other version is refused, also one that no task can have or that needs no change."""
    for number in (1, 2):
        add_task(database, title="A")
        change(database, number, title="A2")
    with pytest.raises(StaleVersion, match=f"task 1 is at version 2, not {version}"):
        change(database, *ids, title=title, if_version=version)
    assert titles(database) == ["A2", "A2"]


@pytest.mark.parametrize("status", ["todo", "in_progress", "cancelled"])
def test_completed_at_follows_the_status(database, ann, status):
    """A task is completed when it becomes done, and no longer when it becomes anything else."""
    id = add_task(database, status=status)
    assert set_status(database, TaskStatus.DONE, id)[0]["completed_at"] == LATER
    again = set_status(database, TaskStatus.DONE, id, now=LATEST)[0]
    assert (again["completed_at"], again["version"], again["updated_at"]) == (LATER, 2, LATER)
    back = set_status(database, TaskStatus(status), id, now=LATEST)[0]
    assert (back["completed_at"], back["version"], back["updated_at"]) == (None, 3, LATEST)
    assert back == get(database, id)


def test_change_of_a_done_task_keeps_its_time(database, ann):
    """A done task stays completed when it was, whatever else changes."""
    id = add_task(database, status="done")
    [after] = change(database, id, title="New", status="done")
    assert (after["completed_at"], after["version"]) == (NOW, 2)


def test_move_to_another_user(database, ann, bob):
    """Tasks can be given to another user together with other changes."""
    add_task(database, title="A", external_id="x")
    add_task(database, title="B")
    moved = change(database, 2, 1, owner="bob@example.com", priority="low")
    assert [(record["id"], record["user_id"], record["user"], record["version"]) for record in moved] == [
        (2, 2, "bob@example.com", 2),
        (1, 2, "bob@example.com", 2),
    ]
    assert get(database, 1) == moved[1]


def test_move_refused(database, ann, bob):
    """A move onto a taken external id, or to nobody, moves none of the tasks."""
    add_task(database, title="A")
    add_task(database, title="B", external_id="x")
    add_task(database, "2", title="C", external_id="x")
    with pytest.raises(ExternalIdTaken, match="user 2 has a task with one of these external ids"):
        change(database, 1, 2, owner="2", title="Moved")
    with pytest.raises(UserNotFound, match="user 7 not found"):
        change(database, 1, 2, owner="7", title="Moved")
    assert titles(database) == ["A", "B", "C"]
    assert [get(database, id)["user_id"] for id in (1, 2, 3)] == [1, 1, 2]


def test_remove(database, ann):
    """Deleted tasks are returned as they were, in the order asked for."""
    for title in "ABC":
        add_task(database, title=title)
    gone = database.write(lambda session: service.remove(session, [3, 1, 3]))
    assert [record["title"] for record in gone] == ["C", "A"]
    assert titles(database) == ["B"]
    assert emails(database) == [ann.email]


def test_find_and_stream(database, ann):
    """A page says whether more follows, and a stream gives all."""
    for title in "ABC":
        add_task(database, title=title)
    everything = TaskFilter(), Order.parse("-id", TASK_SORT_KEYS)

    def find(limit):
        page = database.read(lambda session: service.find(session, *everything, limit=limit))
        return [record["title"] for record in page.records], page.next is not None

    assert find(2) == (["C", "B"], True)
    assert find(3) == (["C", "B", "A"], False)
    with database.stream(lambda session: service.stream(session, *everything)) as records:
        assert list(records) == database.read(
            lambda session: service.find(session, *everything, limit=9).records
        )


def test_stream_of_more_than_a_fetch(database, ann, monkeypatch):
    """A stream goes on after what it fetches at a time."""
    monkeypatch.setattr(listing, "STREAM_ROWS", 2)
    for title in "ABCDE":
        add_task(database, title=title)
    with database.stream(
        lambda session: service.stream(session, TaskFilter(), Order.parse("id", TASK_SORT_KEYS))
    ) as records:
        assert "".join(record["title"] for record in records) == "ABCDE"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"title": ""}, "title is empty"),
        ({"title": "  "}, "title is empty"),
        ({"title": "\xa0\u200b\u2800\ufe0f\U000e0041"}, "title has only blanks and invisible characters"),
        ({"title": "a", "external_id": "\u3000\ufeff"}, "external_id has only blanks and invisible"),
        ({"title": "t" * 501}, "title has 501 characters; at most 500 are allowed"),
        ({"title": "a\x00b"}, "title contains the control character U+0000"),
        ({"title": "a\nb"}, "title contains the control character U+000A"),
        ({"title": "\udcff"}, "title is not valid UTF-8"),
        ({"title": "a", "external_id": " "}, "external_id is empty"),
        ({"title": "a", "external_id": "e" * 201}, "external_id has 201 characters; at most 200 are allowed"),
        (
            {"title": "a", "description": "d" * 20_001},
            "description has 20001 characters; at most 20000 are allowed",
        ),
        ({"title": "a", "description": "a\x0bb"}, "description contains the control character U+000B"),
        (
            {"title": "a", "status": "open"},
            "status must be one of todo, in_progress, done, cancelled, not 'open'",
        ),
        ({"title": "a", "priority": "top"}, "priority must be one of low, medium, high, urgent"),
        ({"title": "a", "priority": 2}, "priority must be one of low"),
        ({"title": "a", "due_at": "soon"}, "due_at must be a time"),
        ({"title": "a", "due_at": "2026-01-01T00:00:00"}, "due_at must be a time with a zone"),
        ({"title": "a", "due_at": "0001-01-01T00:00:00+01:00"}, "due_at is outside the years 1 to 9999"),
        ({"title": "a", "completed_at": NOW}, "completed_at is set, but the status is todo, not done"),
        ({"title": "a", "owner": 3}, "owner is not a known field"),
        ({}, "title is missing"),
    ],
)
def test_invalid_task(values, message):
    """Every field that breaks a rule is named with the reason."""
    with pytest.raises(InvalidInput) as refusal:
        TaskCreate.checked(values)
    assert refusal.value.message.startswith(message)


@pytest.mark.parametrize(
    "title",
    [
        "\u2764\ufe0f",
        "\U0001f469\u200d\U0001f680",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u3164a",
        "\ue000",
    ],
)
def test_a_title_with_something_to_see(title):
    """Joiners, selectors and blanks may stand beside what is visible."""
    assert TaskCreate.checked({"title": title, "external_id": title}).title == title


@pytest.mark.parametrize("field", ["title", "status", "priority"])
def test_update_cannot_take_away(field):
    """What a task must have cannot be set to nothing."""
    with pytest.raises(InvalidInput, match=field):
        TaskUpdate.checked({field: None})


@pytest.mark.parametrize("moment", [5, 5.5, "5", "1700000000", True, b"2026-12-01", ""])
def test_a_number_is_no_time(moment):
    """Seconds since some year are never taken for a time."""
    with pytest.raises(InvalidInput, match=r"^due_at must be a time such as 2026-12-01T17:00:00Z, not "):
        TaskCreate.checked({"title": "a", "due_at": moment})
