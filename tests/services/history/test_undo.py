"""Undo at the service: what comes back, with which versions, and what stands in the way."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import insert, select, text, update

from taskdb_cli.errors import NotFound, NotUndone, OperationNotFound
from taskdb_cli.exit_codes import ExitCode
from taskdb_cli.models.history import CHANGES, Operation
from taskdb_cli.models.task import TASKS, TaskUpdate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services import bulk, task, token, user
from taskdb_cli.services.history import undo as service
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import NOW
from tests.samples import add_task, add_token, add_user, task_records, user_records

LATER = NOW + timedelta(days=1)

ANN, BOB = "ann@example.com", "bob@example.com"


def newest(database):
    query = select(Operation.id).order_by(Operation.id.desc()).limit(1)
    return database.read(lambda session: session.scalar(query))


def undo(database, id=None, **more):
    """Undo an operation, by default the newest one."""
    id = newest(database) if id is None else id
    return database.write(partial(service.undo, id=id, now=LATER, **more))


def refused(database, id=None, **more):
    """Return the message of an undo that changes nothing, and the rows that it names."""
    before, rows = state(database), []
    operations = newest(database)

    def note(parts):
        rows[:] = [row for some in parts for row in some]

    with pytest.raises(NotUndone) as caught:
        undo(database, id, note=note, **more)
    assert (state(database), newest(database)) == (before, operations)
    assert caught.value.exit_code == ExitCode.CONFLICT
    return caught.value.message, [(row["kind"], row["id"], row["reason"]) for row in rows]


def state(database, *, without=()):
    every = [*user_records(database), *task_records(database)]
    return [{name: record[name] for name in record if name not in without} for record in every]


def contents(database):
    """Return everything that a person wrote."""
    return state(database, without=("version", "updated_at"))


def versions(database):
    return [record["version"] for record in state(database)]


def do(database, act, *arguments, **more):
    """Run a service as an operation of its own, and return its number."""
    database.write(lambda session: act(session, *arguments, **more))
    return newest(database)


@pytest.fixture
def people(database):
    """Two users; the first one has two tasks, of which one has an external id."""
    add_user(database, ANN)
    add_user(database, BOB)
    add_task(database, ANN, "One", external_id="x", description="Long", status="done", due_at=NOW)
    add_task(database, ANN, "Two")
    return contents(database)


CHANGED = TaskUpdate(title="New", status=TaskStatus.TODO, due_at=None, description=None)

ACTS = {
    "create user": (user.create, user.UserCreate(email="carl@example.com", name="C"), {"now": NOW}),
    "create task": (task.create, BOB, task.TaskCreate(title="Three"), {"now": NOW}),
    "change user": (user.change, ANN, UserUpdate(name="Ann Lee", is_active=False), {"now": NOW}),
    "change task": (task.change, [1, 2], CHANGED, {"now": NOW}),
    "move tasks": (task.change, [1, 2], TaskUpdate(), {"now": NOW, "owner": BOB}),
    "delete task": (task.remove, [1], {}),
    "delete user": (user.remove, ["1"], {"now": NOW}),
    "delete users": (user.remove, ["1", "2"], {"now": NOW}),
    "reassign": (user.remove, ["1"], {"now": NOW, "reassign_to": BOB}),
}


@pytest.mark.parametrize("what", ACTS)
def test_back_and_forth(database, people, what):
    """An undone operation leaves everything as before, a redone one as after, as often as one likes."""
    act, *arguments, more = ACTS[what]
    before = state(database)
    first = do(database, act, *arguments, **more)
    after = contents(database)
    for _ in range(2):
        done = undo(database)
        assert contents(database) == people
        assert done.undone_by == newest(database)
        undo(database)
        assert contents(database) == after
    undo(database)
    # The rows have the values that it left, so it can still be named.
    undo(database)
    undo(database, first)
    assert contents(database) == people
    assert all(new["version"] >= old["version"] for old, new in zip(before, state(database), strict=True))


def test_a_deleted_row_comes_back_whole(database, people):
    """Ids, owners, external ids and both stamps are as before; the version is the next one."""
    before = state(database)
    do(database, user.remove, ["1"], now=NOW)
    undo(database)
    assert state(database) == [
        {**record, "version": record["version"] + (ANN in (record.get("email"), record.get("user")))}
        for record in before
    ]


def test_ids_are_never_given_out_again(database, people):
    """A row that comes back does not set the counter of ids back, nor a row that is deleted again."""
    add_task(database, BOB, "Three")
    do(database, task.remove, [3])
    undo(database)
    assert add_task(database, BOB, "Four") == 4
    undo(database)
    do(database, user.remove, ["2"], now=NOW)
    undo(database)
    assert add_user(database, "carl@example.com").id == 3
    assert add_task(database, BOB, "Five") == 5


def test_ids_after_the_counter_was_set_back(database, people):
    """A row that comes back with an id that the counter has not reached takes the counter with it."""
    add_task(database, BOB, "Three")
    do(database, task.remove, [3])
    reset = "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'tasks'"
    if database.backend.dialect == "postgresql":
        reset = "ALTER TABLE tasks ALTER COLUMN id RESTART WITH 3"
    database.write(lambda session: session.execute(text(reset)))
    undo(database)
    assert add_task(database, BOB, "Four") == 4


def test_versions_rise(database, people):
    """Every undo gives a version that the row has never had."""
    do(database, task.change, [1], TaskUpdate(title="New"), now=NOW)
    undo(database)
    undo(database)
    assert task_records(database)[0]["version"] == 4
    do(database, task.remove, [1])
    undo(database)
    assert task_records(database)[0]["version"] == 5
    assert task_records(database)[0]["updated_at"] == LATER


def test_the_versions_of_other_rows(database, people):
    """A row that came back and was deleted again is compared with its own versions only."""
    do(database, task.change, [2], TaskUpdate(title="A"), now=NOW)
    do(database, task.change, [2], TaskUpdate(title="B"), now=NOW)
    id = do(database, task.remove, [1])
    undo(database)
    do(database, task.remove, [1])
    undo(database, id)
    assert [record["version"] for record in task_records(database)] == [3, 3]


def test_older_operations_in_turn(database):
    """Operations are undone from the newest to the oldest although versions rise meanwhile."""
    ids = [do(database, user.create, user.UserCreate(email=ANN, name="A"), now=NOW)]
    states = [[]]

    def step(act, *arguments, **more):
        states.append(contents(database))
        ids.append(do(database, act, *arguments, **more))

    step(task.create, ANN, task.TaskCreate(title="One", external_id="x"), now=NOW)
    step(task.change, [1], CHANGED, now=NOW)
    step(user.change, ANN, UserUpdate(email=BOB), now=NOW)
    step(task.remove, [1])
    step(user.remove, [BOB], now=NOW)
    for id, before in zip(reversed(ids), reversed(states), strict=True):
        undo(database, id)
        assert contents(database) == before


def test_undone_by_values(database, people):
    """What was undone and done again in the middle does not keep an older operation from being undone."""
    older = do(database, task.change, [1], TaskUpdate(title="A"), now=NOW)
    do(database, task.change, [1], TaskUpdate(title="B"), now=NOW)
    undo(database)
    undo(database)
    undo(database)
    undo(database, older)
    assert contents(database) == people


def test_bulk_and_import(database, people):
    """A change by filter is undone as a whole, and leaves alone what it left alone."""
    change = bulk.change
    database.write(lambda session: [*change(session, TaskFilter(), CHANGED, now=NOW)])
    found = undo(database)
    assert found.tasks == {"deleted": 0, "restored": 0, "changed": 2}
    assert contents(database) == people


def test_a_preview_changes_nothing(database, people):
    """A preview says what would be done to which rows, and leaves nothing behind."""
    id, before = do(database, user.remove, ["1"], now=NOW), state(database)
    look = partial(service.preview, id=id)
    found = database.write(look, dry_run=True)
    assert found.operation.id == id
    assert found.first == [
        {"kind": "user", "id": 1, "effect": "comes back", "name": ANN},
        {"kind": "task", "id": 1, "effect": "comes back", "name": "One"},
        {"kind": "task", "id": 2, "effect": "comes back", "name": "Two"},
    ]
    assert (state(database), newest(database)) == (before, id)


def test_recorded(database, people):
    """An undo is an operation that names the undone one, and each row the version that it is the same as."""
    id = do(database, task.change, [1, 2], TaskUpdate(title="New"), now=NOW)
    made = undo(database, id).undone_by
    found = database.read(lambda session: session.get(Operation, made))
    assert (found.undoes, found.rows_changed) == (id, 2)
    columns = CHANGES.c.version_before, CHANGES.c.version_after, CHANGES.c.same_as, CHANGES.c.new_title
    query = select(*columns).where(CHANGES.c.operation_id == made).order_by(CHANGES.c.row_id)
    assert [*database.read(lambda session: session.execute(query).all())] == [
        (2, 3, 1, "One"),
        (2, 3, 1, "Two"),
    ]


class TestObstacles:
    """Rows that keep an operation from being undone."""

    def test_another_version(self, database, people):
        """A row that was changed again is named with its version; the others can be undone alone."""
        id = do(database, task.change, [1, 2], TaskUpdate(title="New"), now=NOW)
        do(database, task.change, [2], TaskUpdate(title="Newer"), now=NOW)
        message, rows = refused(database, id)
        assert "task 2" in message
        assert rows == [("task", 2, "is at version 3, not 2")]
        found = undo(database, id, skip_changed=True)
        assert (found.left, found.tasks["changed"]) == (1, 1)
        assert [record["title"] for record in task_records(database)] == ["One", "Newer"]

    def test_other_values(self, database, people):
        """A value that plain SQL wrote without a new version is not lost."""
        id = do(database, task.change, [1, 2], TaskUpdate(title="New"), now=NOW)
        plain = update(TASKS).where(TASKS.c.id == 1).values(title="Plain")
        database.write(lambda session: session.execute(plain))
        assert refused(database, id)[1] == [("task", 1, "has other values than at version 2")]
        undo(database, id, skip_changed=True)
        assert [record["title"] for record in task_records(database)] == ["Plain", "Two"]

    def test_gone(self, database, people):
        """A row that was created or changed and is gone is named."""
        id = do(database, task.change, [1], TaskUpdate(title="New"), now=NOW)
        made = newest(database) - 1
        do(database, task.remove, [1, 2])
        for each in (id, made):
            [(_, gone, reason)] = refused(database, each)[1]
            assert reason == "is gone"
            assert f"task history {gone}'" in caught_hint(database, each)

    def test_there_already(self, database, people):
        """A row that has come back already is not brought back again."""
        id = do(database, task.remove, [1])
        undo(database)
        assert refused(database, id)[1] == [("task", 1, "exists already")]

    def test_deleted_again(self, database, people):
        """A row that came back, was changed and deleted does not lose that change."""
        id = do(database, task.remove, [1])
        undo(database)
        do(database, task.change, [1], TaskUpdate(title="New"), now=NOW)
        do(database, task.remove, [1])
        [(_, _, reason)] = refused(database, id)[1]
        assert "deleted again" in reason
        undo(database)
        assert task_records(database)[0]["title"] == "New"

    def test_address_taken(self, database, people):
        """A deleted user whose address a new one has is named, and so are the tasks without an owner."""
        id = do(database, user.remove, ["1"], now=NOW)
        add_user(database, ANN)
        message, rows = refused(database, id)
        assert ANN in message
        assert [(kind, each) for kind, each, _ in rows] == [("user", 1), ("task", 1), ("task", 2)]
        assert "user 3" in rows[0][2]
        refused(database, id, skip_changed=True)

    def test_changed_address_taken(self, database, people):
        """So is a user who had an address that another one has now."""
        id = do(database, user.change, ANN, UserUpdate(email="carl@example.com"), now=NOW)
        add_user(database, ANN)
        [(kind, each, reason)] = refused(database, id)[1]
        assert (kind, each) == ("user", 1)
        assert ANN in reason

    def test_one_of_two_addresses_taken(self, database, people):
        """With one of two users the other one comes back, with the tasks."""
        id = do(database, user.remove, ["1", "2"], now=NOW)
        add_user(database, BOB)
        found = undo(database, id, skip_changed=True)
        assert (found.users["restored"], found.tasks["restored"], found.left) == (1, 2, 1)
        assert [record["id"] for record in user_records(database)] == [1, 3]

    @pytest.mark.parametrize("moved", [False, True], ids=["deleted", "moved"])
    def test_owner_gone(self, database, people, moved):
        """A task whose owner is gone does not come back, nor to that owner."""
        act = partial(task.change, given=TaskUpdate(), now=NOW, owner=BOB) if moved else task.remove
        id = do(database, act, ids=[1])
        do(database, user.remove, ["1"], now=NOW)
        assert refused(database, id)[1] == [("task", 1, "belonged to user 1, who does not exist")]

    def test_reassigned_tasks_of_a_user_who_is_left(self, database, people):
        """Tasks that were given away stay where they are if the user cannot come back."""
        id = do(database, user.remove, ["1"], now=NOW, reassign_to=BOB)
        add_user(database, ANN)
        kinds = [row[:2] for row in refused(database, id)[1]]
        assert kinds == [("user", 1), ("task", 1), ("task", 2)]

    @pytest.mark.parametrize("way", ["deleted", "moved"])
    def test_external_id_taken(self, database, people, way):
        """A task does not come back beside another one of the same external id."""
        if way == "deleted":
            id = do(database, task.remove, [1])
        else:
            id = do(database, task.change, [1], TaskUpdate(), now=NOW, owner=BOB)
        new = add_task(database, ANN, "Other", external_id="x")
        assert refused(database, id)[1] == [("task", 1, f"had the external id x, which task {new} has now")]

    def test_external_id_taken_beside_it(self, database, people):
        """A task of the same operation that keeps its owner and external id is in the way like any other."""
        other = add_task(database, BOB, "Three", external_id="q")
        urgent = TaskUpdate(priority=TaskPriority.URGENT)
        id = do(database, task.change, [1, other], urgent, now=NOW, owner=BOB)
        there = {"user_id": 1, "external_id": "x"}
        database.write(
            lambda session: session.connection().execute(
                update(TASKS).where(TASKS.c.id == other).values(there)
            )
        )
        named = [("task", 1, f"had the external id x, which task {other} has now")]
        assert refused(database, id)[1] == named
        assert undo(database, id, skip_changed=True).left == 1

    def test_a_created_user_who_has_tasks(self, database):
        """A user who has tasks from elsewhere is not deleted, nor one who has an access token."""
        made = add_user(database)
        id = newest(database)
        add_task(database)
        assert [row[:2] for row in refused(database, id)[1]] == [("user", made.id)]
        undo(database)
        add_token(database, "robot", ANN)
        assert [row[:2] for row in refused(database, id)[1]] == [("user", made.id)]
        assert f"task list --user {made.id}'" in caught_hint(database, id)
        database.write(lambda session: token.revoke(session, "robot"))
        undo(database, id)
        assert state(database) == []

    def test_a_created_task_that_is_left_keeps_its_user(self, database, people):
        """If a task of users who came back has changed since, the user stays with it, and the others go."""
        do(database, user.remove, ["1", "2"], now=NOW)
        id = undo(database).undone_by
        do(database, task.change, [2], TaskUpdate(title="New"), now=NOW)
        kinds = [row[:2] for row in refused(database, id)[1]]
        assert kinds == [("user", 1), ("task", 2)]
        found = undo(database, id, skip_changed=True)
        assert (found.users["deleted"], found.tasks["deleted"], found.left) == (1, 1, 2)
        assert [record.get("title", record["id"]) for record in state(database)] == [1, "New"]

    def test_changed_twice(self, database, people):
        """A row that a program changed twice in one transaction is left."""

        def twice(session):
            task.change(session, [1], TaskUpdate(title="A"), now=NOW)
            task.change(session, [1, 2], TaskUpdate(title="B"), now=NOW)

        id = do(database, twice)
        kinds = {row[:2] for row in refused(database, id)[1]}
        assert kinds == {("task", 1)}
        undo(database, id, skip_changed=True)
        assert [record["title"] for record in task_records(database)] == ["B", "Two"]

    def test_many(self, database, people):
        """An error names ten rows and counts the others."""
        for number in range(12):
            add_task(database, BOB, f"{number}")
        ids = [*range(3, 15)]
        id = do(database, task.change, ids, TaskUpdate(title="New"), now=NOW)
        do(database, task.change, ids, TaskUpdate(title="Newer"), now=NOW)
        message, rows = refused(database, id)
        assert len(rows) == 12
        assert message.count("; ") == 10
        assert "2 more" in message

    def test_undone_already(self, database, people):
        """What was undone already names the operation that did it, as long as nothing has undone that."""
        id = do(database, task.change, [1, 2], TaskUpdate(title="New"), now=NOW)
        by = undo(database, id).undone_by
        again = f"by operation {by}"
        assert again in refused(database, id)[0]
        assert f"undo {by}'" in caught_hint(database, id)
        redone = undo(database, by).undone_by
        do(database, task.change, [1, 2], TaskUpdate(title="Newer"), now=NOW)
        assert again not in refused(database, id)[0]
        assert "task history 1" in caught_hint(database, id)
        undo(database)
        undo(database, redone)
        assert again in refused(database, id)[0]
        undo(database, by)
        assert [record["title"] for record in task_records(database)] == ["New", "New"]


def caught_hint(database, id):
    with pytest.raises(NotUndone) as caught:
        undo(database, id)
    return caught.value.hint


class TestOperations:
    """Operations that cannot be undone at all."""

    def test_unknown(self, database, people):
        """A number that the history does not have is not found, nor one of any size."""
        for id in (99, 0, -1, 2**63, 10**30):
            with pytest.raises(OperationNotFound):
                undo(database, id)

    def test_tokens(self, database, people):
        """An operation on tokens alone is refused with the next step; with others it leaves them."""
        add_token(database, "robot", ANN)
        assert "token" in refused(database)[0]
        assert "token create" in caught_hint(database, newest(database))
        do(database, user.remove, ["1"], now=NOW)
        assert undo(database).tokens == 1
        assert contents(database) == people
        assert database.read(token.find) == []

    def test_older_than_a_restore(self, database, people):
        """Nothing that is older than a restore of everything is undone, nor the restore."""
        barrier = insert(Operation).values(
            at=NOW, actor="ann", command="restore", program_version="1", rows_changed=0, restored_from="a.zip"
        )
        older = newest(database)
        database.write(lambda session: session.execute(barrier))
        for id in (older, newest(database)):
            message, _ = refused(database, id)
            assert "a.zip" in message
        add_task(database)
        undo(database)
        assert contents(database) == people

    def test_erased(self, database, people):
        """Rows that the history no longer has are counted; without any, nothing can be undone."""
        id = do(database, task.change, [1, 2], TaskUpdate(title="New"), now=NOW)

        def forget(*which):
            statement = CHANGES.delete().where(CHANGES.c.operation_id == id, *which)
            database.write(lambda session: session.execute(statement))

        forget(CHANGES.c.row_id == 1)
        assert "1 row" in refused(database, id)[0]
        assert undo(database, id, skip_changed=True).left == 1
        forget()
        refused(database, id, skip_changed=True)

    def test_last(self, database, people):
        """The last operation is that of the actor, and an actor without any is told."""
        actor = database.options.origin.actor
        assert database.read(partial(service.last, actor=actor)) == newest(database)
        with pytest.raises(NotFound):
            database.read(partial(service.last, actor="nobody else"))
