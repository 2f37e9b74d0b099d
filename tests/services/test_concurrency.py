"""Many writers at once: nothing is lost, nothing is orphaned, nobody is told what is not so.

TASKDB_SOAK=1 makes them work for minutes (`.ci/soak`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
from sqlalchemy import event

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import Conflict, StaleVersion
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.user import UserCreate
from taskdb_cli.services import task, user
from tests.conftest import NOW, SERVERS, connect
from tests.forked import context, run_forked
from tests.operations import assert_explained
from tests.samples import add_task, add_user, task_records, user_records
from tests.sessions import until_waiting
from tests.workload import HOT, USERS, Tally, Writer, address, total, work_in_process

SOAK = os.environ.get("TASKDB_SOAK") == "1"
THREADS = 16
PROCESSES = 8 if SOAK else 4
OPERATIONS = 200 if SOAK else 12
ROUNDS = 20 if SOAK else 2

POSTGRESQL_ONLY = pytest.mark.parametrize("engine", SERVERS, indirect=True)


@pytest.fixture
def shared(url, database):
    """A database in which several people have a few tasks, without the limits of a test."""
    for number in range(USERS):
        add_user(database, address(number))
    for number in range(HOT):
        add_task(database, address(number % USERS), "First")
    database = Database(database.url, Options(pool=Pool(timeout=60)))
    yield database
    database.engine.dispose()


@pytest.fixture
def operations(engine):
    """How many each writer does: more on a server, where they do not have to take turns."""
    return OPERATIONS if engine == "sqlite" or not SOAK else 3 * OPERATIONS


def together(*acts):
    """Do things in threads that begin at the same moment; return what came of each, errors included."""
    barrier = Barrier(len(acts))

    def begin(act):
        barrier.wait()
        try:
            return act()
        except Conflict as error:
            return error

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(begin, acts))


def assert_as_told(database, done: Tally) -> None:
    """Hold what is stored against what the writers were told, and against the history."""
    assert_explained(database)
    users, tasks = user_records(database), task_records(database)
    assert len(users) == USERS + done.users
    assert len(tasks) == HOT + len(done.created) - len(done.removed) - done.removed_with_users
    assert {record["user_id"] for record in tasks} <= {record["id"] for record in users}
    gone = {record["id"] for record in done.removed}
    assert len(gone) == len(done.removed)
    assert not gone & {record["id"] for record in tasks}
    _assert_versions(tasks, done)
    _assert_sound(database)


def _assert_versions(tasks, done: Tally) -> None:
    told = defaultdict(dict)
    for record in done.created + done.changed:
        assert record["version"] not in told[record["id"]], "two writers were told the same version"
        told[record["id"]][record["version"]] = record
    untold = 0
    for record in tasks + done.removed:
        versions = told[record["id"]]
        assert record == versions.get(record["version"], record)
        steps = range(2, record["version"] + 1)
        assert max(versions, default=1) <= record["version"]
        untold += len(steps) - len(versions.keys() - {1})
    # Whoever deletes a user is told how many tasks were given away, and other tasks went with users.
    assert untold <= done.reassigned
    assert untold == done.reassigned or done.removed_with_users


def _assert_sound(database) -> None:
    if database.backend.dialect != "sqlite":
        return
    with database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


@pytest.mark.soak
def test_threads(shared, operations):
    """Sixteen threads that share a pool leave behind exactly what they were told."""
    with ThreadPoolExecutor(THREADS) as threads:
        tallies = list(threads.map(lambda number: Writer(shared, number).work(operations), range(THREADS)))
    done = total(tallies)
    assert done.created
    assert done.changed
    assert_as_told(shared, done)


@pytest.mark.soak
def test_processes(shared, operations):
    """Several processes leave behind exactly what they were told, and none finds the database locked."""
    url = shared.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(PROCESSES, mp_context=context()) as processes:
        jobs = [processes.submit(work_in_process, url, number, operations) for number in range(PROCESSES)]
        done = total(job.result() for job in jobs)
    assert done.created
    assert done.changed
    assert_as_told(shared, done)


def get(database, id):
    """Return the record of one task."""
    return database.read(lambda session: task.get(session, id))


def change(database, id, *, if_version=None, owner=None, **changes):
    """Change one task at once."""
    given = TaskUpdate.model_validate(changes)
    [record] = database.write(
        lambda session: task.change(session, [id], given, now=NOW, owner=owner, if_version=if_version)
    )
    return record


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
def test_changes_of_different_fields(shared, round):
    """Two changes of one task at the same time both survive."""
    done = together(lambda: change(shared, 1, title="Other"), lambda: change(shared, 1, description="Longer"))
    assert sorted(record["version"] for record in done) == [2, 3]
    record = get(shared, 1)
    assert (record["title"], record["description"], record["version"]) == ("Other", "Longer", 3)


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
def test_changes_of_the_same_field(shared, round):
    """Of two changes of one field the later one stands, and each is told its own version."""
    done = together(*(partial(change, shared, 1, title=title) for title in "AB"))
    first, last = sorted(done, key=lambda record: record["version"])
    assert (first["version"], last["version"]) == (2, 3)
    assert get(shared, 1) == last


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
def test_changes_of_one_version(shared, round):
    """Of two changes of the same version one is made, and the other is told the current version."""
    done = together(*(partial(change, shared, 1, title=title, if_version=1) for title in "AB"))
    [error] = [result for result in done if isinstance(result, StaleVersion)]
    [made] = [result for result in done if result is not error]
    assert error.message == "task 1 is at version 2, not 1"
    assert get(shared, 1) == made


def test_commands_of_one_version(taskdb, database):
    """Of two commands with the same --if-version one succeeds and the other ends with 4."""
    add_user(database)
    id = add_task(database)
    done = together(
        *(partial(run_forked, "task", "update", id, "--title", title, "--if-version", 1) for title in "AB")
    )
    won, lost = sorted(done, key=lambda process: process.returncode)
    assert (won.returncode, lost.returncode) == (0, 4), won.stderr + lost.stderr
    assert lost.stderr.startswith(f"error: task {id} is at version 2, not 1 (")


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
def test_the_same_status_from_many(shared, round):
    """A task that many complete at once is completed once."""
    done = together(*[partial(change, shared, 1, status="done")] * 4)
    assert [(record["version"], record["completed_at"]) for record in done] == [(2, NOW)] * 4


@POSTGRESQL_ONLY
@pytest.mark.parametrize("act", [lambda db: change(db, 1, title="Other"), lambda db: remove(db, 1)])
def test_task_that_moves_meanwhile(url, database, act):
    """A task that another transaction is giving to somebody else is still found, with its new owner."""
    add_user(database)
    add_task(database)
    with ThreadPoolExecutor(1) as other:

        def move(session):
            user.create(session, UserCreate(email="bob@example.com", name="Bob"), now=NOW)
            task.change(session, [1], TaskUpdate(), now=NOW, owner="bob@example.com")
            session.flush()
            waiting = other.submit(act, database)
            until_waiting(url)
            return waiting

        found = database.write(move).result()
    assert found["user"] == "bob@example.com"
    assert found["version"] in (2, 3)


def remove(database, id):
    """Delete one task at once."""
    [record] = database.write(lambda session: task.remove(session, [id]))
    return record


@POSTGRESQL_ONLY
def test_existing_task_that_goes_meanwhile(url, database):
    """A task that is deleted while its external id is being refused is made after all."""
    add_user(database)
    add_task(database, title="Old", external_id="x")

    @event.listens_for(database.engine, "rollback_savepoint")
    def delete(*_):
        with connect(url) as other:
            other.execute("DELETE FROM tasks")

    given = TaskCreate(title="New", external_id="x")
    made = database.write(
        lambda session: task.create_unless_exists(session, "ann@example.com", given, now=NOW)
    )
    assert made["title"] == "New"
    assert [record["title"] for record in task_records(database)] == ["New"]


@POSTGRESQL_ONLY
def test_existing_user_who_goes_meanwhile(url, database):
    """A user who is deleted while the address is being refused is made after all."""
    add_user(database, name="Old")

    @event.listens_for(database.engine, "rollback_savepoint")
    def delete(*_):
        with connect(url) as other:
            other.execute("DELETE FROM users")

    given = UserCreate(email="ann@example.com", name="New")
    made = database.write(lambda session: user.create_unless_exists(session, given, now=NOW))
    assert made.name == "New"
    assert [record["name"] for record in user_records(database)] == ["New"]
