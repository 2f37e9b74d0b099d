"""Undo beside other writers, and undo that is killed: never half, and no change of anybody is lost.

TASKDB_SOAK=1 makes it larger (`.ci/soak`).
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from random import Random

import pytest
from sqlalchemy import func, make_url, select

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options
from taskdb_cli.errors import Conflict, NotFound, NotUndone
from taskdb_cli.models.history import Operation
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.services import bulk, task, user
from taskdb_cli.services.history import undo
from taskdb_cli.services.listing.query import TaskFilter
from tests.conftest import ENDS, NOW, SERVERS
from tests.forked import context
from tests.interruption import Places
from tests.operations import assert_explained
from tests.samples import add_task, add_user, task_records, user_records
from tests.schemas import execute
from tests.services.test_concurrency import together
from tests.sessions import settle
from tests.workload import HOT, USERS, Writer, address

SOAK = os.environ.get("TASKDB_SOAK") == "1"
ROUNDS = 20 if SOAK else 2
PROCESSES = 8
STEPS = 150 if SOAK else 8
ROWS = 100_000 if SOAK else 1_000
KILLS = 25 if SOAK else 3
LATE = 500
"""So many places before its end the command begins to write, at the latest."""

MANY = 20


@pytest.fixture
def patient(database):
    """The database without the limits of a test."""
    return Database(database.url, Options())


def newest(database):
    return database.read(lambda session: session.scalar(select(func.max(Operation.id))))


def undone(database, id):
    return database.write(partial(undo.undo, id=id, now=NOW))


OPERATIONS = {
    "create": lambda session: task.create(session, "1", task.TaskCreate(title="New"), now=NOW),
    "change": lambda session: task.change(session, [1, 2], TaskUpdate(title="New"), now=NOW),
    "delete": lambda session: user.remove(session, ["1"], now=NOW),
}


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize("what", OPERATIONS)
def test_two_undos_of_one_operation(patient, what, round):
    """One of them wins, and the other one is told what it found."""
    add_user(patient)
    add_task(patient, title="One")
    add_task(patient, title="Two")
    before = [record.get("title", record["id"]) for record in everything(patient)]
    patient.write(OPERATIONS[what])
    done = together(*[partial(undone, patient, newest(patient))] * 2)
    assert sorted(isinstance(each, NotUndone) for each in done) == [False, True]
    assert [record.get("title", record["id"]) for record in everything(patient)] == before
    assert_explained(patient)


def everything(database):
    return [*user_records(database), *task_records(database)]


@pytest.mark.soak
@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize("owner", [None, "2"], ids=["changed", "moved"])
def test_an_undo_beside_a_writer(patient, owner, round):
    """Whoever comes first, the writer's change stays, and the others are all undone or all not."""
    for name in ("ann@example.com", "bob@example.com"):
        add_user(patient, name)
    for number in range(MANY):
        add_task(patient, title=f"Old {number}")
    given, filter = TaskUpdate(priority="urgent"), TaskFilter()
    patient.write(lambda session: [*bulk.change(session, filter, given, now=NOW, owner=owner)])
    id, last = newest(patient), TaskUpdate(title="Written")
    [outcome, _] = together(
        partial(undone, patient, id),
        lambda: patient.write(lambda session: task.change(session, [MANY // 2], last, now=NOW)),
    )
    found = {record["id"]: record for record in task_records(patient)}
    assert found.pop(MANY // 2)["title"] == "Written"
    states = {(record["priority"].word, record["user_id"], record["version"]) for record in found.values()}
    moved = 1 if owner is None else 2
    assert states == ({("urgent", moved, 2)} if isinstance(outcome, NotUndone) else {("medium", 1, 3)})
    assert_explained(patient)


@pytest.mark.parametrize("engine", SERVERS, indirect=True)
def test_an_owner_gets_tasks_while_others_come_back(database):
    """Whoever creates a task does not wait for an undo that brings back other tasks of the same user."""
    add_user(database)
    add_task(database, title="One")
    database.write(partial(task.remove, ids=[1]))

    def work(session):
        undo.undo(session, newest(database), now=NOW)
        add_task(Database(database.url, database.options), title="Two")

    database.write(work)
    assert [each["title"] for each in task_records(database)] == ["One", "Two"]


@pytest.mark.parametrize("round", range(ROUNDS))
def test_a_user_who_gets_a_task_while_the_creation_is_undone(patient, round):
    """Either the user goes, and the task finds no owner, or the user stays with the task."""
    add_user(patient)
    id = newest(patient)

    def give():
        try:
            return add_task(patient)
        except NotFound as error:
            return error

    outcome, given = together(partial(undone, patient, id), give)
    if isinstance(outcome, NotUndone):
        assert len(everything(patient)) == 2
    else:
        assert isinstance(given, NotFound)
        assert everything(patient) == []


def write_and_undo(url: str, number: int, steps: int) -> dict[str, int]:
    """Work on the shared users and tasks, and undo an operation of anybody after each change."""
    database, chance = Database(make_url(url), Options()), Random(number)
    writer, outcomes = Writer(database, number), {"undone": 0, "refused": 0}
    for _ in range(steps):
        writer.work(1)
        id = newest(database) - chance.choice([0, 0, 1, 2, 5])
        skip = chance.random() < 0.3
        try:
            database.write(partial(undo.undo, id=id, now=NOW, skip_changed=skip))
            outcomes["undone"] += 1
        except (Conflict, NotFound):
            outcomes["refused"] += 1
    return outcomes


@pytest.mark.soak
@ENDS
def test_processes(patient):
    """Eight processes that write and undo at once leave a history that explains every row."""
    for number in range(USERS):
        add_user(patient, address(number))
    for number in range(HOT):
        add_task(patient, address(number % USERS), "First")
    url = patient.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(PROCESSES, mp_context=context()) as processes:
        jobs = [processes.submit(write_and_undo, url, number, STEPS) for number in range(PROCESSES)]
        done = [job.result() for job in jobs]
    assert sum(each["undone"] for each in done)
    assert_explained(patient)


def add_many(url, rows):
    """Make one user with many tasks, past the history."""
    stamp = "'2026-11-22T12:30:15.123456Z'"
    execute(
        url,
        f"INSERT INTO users (email, name, is_active, version, created_at, updated_at)"
        f" VALUES ('ann@example.com', 'Ann', {'1' if url.drivername == 'sqlite' else 'true'},"
        f" 1, {stamp}, {stamp})",
        "INSERT INTO tasks (user_id, title, status, priority, version, created_at, updated_at)"
        f" WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"
        f" SELECT 1, 'Task ' || n, 'todo', 2, 1, {stamp}, {stamp} FROM numbers",
    )


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
def test_a_killed_undo(url, use, patient, tmp_path):
    """Wherever an undo of many rows is killed, all of them are back, or none."""
    use(url)
    add_many(url, ROWS)
    patient.write(partial(user.remove, refs=["1"], now=NOW))
    places = Places(tmp_path, "undo", "--yes")
    assert places.run().code == 0
    assert count(url) == ROWS
    seen = set()
    step = LATE // KILLS
    for place in range(places.count - LATE, places.count, step):
        if count(url):
            # The user is deleted again.
            undone(patient, newest(patient))
        stopped = places.stop(place)
        settle(url)
        assert stopped.code in (-signal.SIGKILL, 0), stopped
        found = count(url)
        assert found in (0, ROWS), place
        seen.add(found)
    assert 0 in seen
    if not count(url):
        undone(patient, newest(patient))
    assert count(url) == ROWS


def count(url):
    [(number,)] = execute(url, "SELECT count(*) FROM tasks")
    return number
