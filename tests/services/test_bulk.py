"""Changes and deletions of all tasks that match a filter, at the service."""

from datetime import timedelta

import pytest

from taskdb_cli.errors import ExternalIdTaken, MatchesChanged
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import bulk as service
from taskdb_cli.services import task
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW
from tests.samples import add_task, add_user, task_records, titles

LATER = NOW + timedelta(days=1)
DONE = TaskUpdate(status=TaskStatus.DONE)


@pytest.fixture
def owners(database, monkeypatch):
    """Two users who have the same seven tasks, one done; two tasks are changed at a time."""
    monkeypatch.setattr(task, "IDS_AT_ONCE", 2)
    for owner in ("ann@example.com", "bob@example.com"):
        add_user(database, owner)
        for number in range(7):
            status = "done" if number == 3 else "todo"
            add_task(database, owner, f"{number}", status=status, external_id=f"x{number}")


def write(database, work, *arguments, **more):
    return database.write(lambda session: [*work(session, *arguments, **more)])


def theirs(database, owner):
    left_out = ("id", "user_id", "user")
    every = [record for record in task_records(database) if record["user"] == owner]
    return [{name: record[name] for name in record if name not in left_out} for record in every]


@pytest.mark.parametrize(
    "given",
    [DONE, TaskUpdate(status=TaskStatus.TODO, title="New"), TaskUpdate(due_at=LATER), TaskUpdate()],
    ids=["done", "reopened", "due", "nothing"],
)
def test_as_single_changes(database, owners, given):
    """Tasks of a filter end as those do that are named: fields, versions, times and what is left alone."""
    changed = write(database, service.change, TaskFilter(users=["1"]), given, now=LATER)
    database.write(lambda session: task.change(session, range(8, 15), given, now=LATER))
    assert theirs(database, "ann@example.com") == theirs(database, "bob@example.com")
    ids = [record["id"] for records in changed for record in records]
    assert ids == [record["id"] for record in task_records(database)[:7] if record["version"] == 2]
    assert all(len(records) <= 2 for records in changed)


def test_a_range_takes_what_exists(database, owners):
    """A range of ids means those that exist, in the order in which everything was named."""
    database.write(lambda session: task.remove(session, [2, range(4, 6)]))
    found = database.read(lambda session: task.get_all(session, [7, range(1, 9), 14, 1]))
    assert [record["id"] for record in found] == [7, 1, 3, 6, 8, 14]


def test_more_ids_than_a_statement_takes(database, owners, monkeypatch):
    """However many ids are named, each task is changed once."""
    monkeypatch.setattr(task, "IDS_AT_ONCE", 3)
    changed = database.write(lambda session: task.change(session, [range(1, 40)], DONE, now=LATER))
    assert [record["version"] for record in changed] == [2, 2, 2, 1, 2, 2, 2] * 2
    assert len(database.write(lambda session: task.remove(session, [range(1, 40)]))) == 14


def test_what_was_shown_is_changed(database, owners):
    """A task that came after the preview is left alone; nothing is changed if one that was shown has been."""
    filter = TaskFilter(statuses=frozenset([TaskStatus.TODO]))
    shown = database.read(lambda session: service.preview_change(session, filter, DONE))
    assert (shown.count, shown.last, [record["id"] for record in shown.first[:4]]) == (12, 14, [1, 2, 3, 5])
    database.write(lambda session: task.change(session, [9], TaskUpdate(title="Edited"), now=NOW))
    for work in (service.change, service.remove):
        more = {"given": DONE, "now": LATER} if work is service.change else {}
        with pytest.raises(MatchesChanged):
            write(database, work, filter, shown=shown, **more)
    assert [record["version"] for record in task_records(database)] == [1] * 8 + [2] + [1] * 5
    shown = database.read(lambda session: service.preview_change(session, filter, DONE))
    new = add_task(database, title="New")
    write(database, service.change, filter, DONE, now=LATER, shown=shown)
    assert [record["id"] for record in task_records(database) if record["status"] == "todo"] == [new]


def test_a_task_that_no_longer_matches(database, owners):
    """Nothing is deleted if one of the tasks that were shown matches no more."""
    filter = TaskFilter(search="5")
    shown = database.read(lambda session: service.preview_removal(session, filter))
    database.write(lambda session: task.remove(session, [6]))
    with pytest.raises(MatchesChanged):
        write(database, service.remove, filter, shown=shown)
    assert len(titles(database)) == 13


def test_a_fault_undoes_everything(database, owners):
    """A conflict in the last rows takes back the first ones."""
    database.write(lambda session: task.remove(session, [range(8, 14)]))
    before = task_records(database)
    with pytest.raises(ExternalIdTaken):
        write(
            database, service.change, TaskFilter(users=["1"]), TaskUpdate(title="New"), owner="2", now=LATER
        )
    assert task_records(database) == before


def test_remove(database, owners):
    """All matching tasks are deleted, and no other."""
    gone = write(database, service.remove, TaskFilter(users=["1"]))
    assert [record["id"] for records in gone for record in records] == [1, 2, 3, 4, 5, 6, 7]
    assert {record["user"] for record in task_records(database)} == {"bob@example.com"}
