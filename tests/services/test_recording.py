"""The history that writing leaves, whoever writes."""

import json
import pwd
import signal
from functools import partial

import pytest

from taskdb_cli.database.options import Options, Origin
from taskdb_cli.errors import DatabaseUnavailable, ExternalIdTaken, TransactionConflict
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.token import TokenCreate
from taskdb_cli.models.user import UserCreate, UserUpdate
from taskdb_cli.services import task, token, user
from tests.conftest import NOW, SERVERS, connect, open_database
from tests.interruption import Places
from tests.operations import assert_explained, changes, operations
from tests.samples import add_task, add_user, task_records, titles
from tests.sessions import settle
from tests.transfer.test_imports import bring_in_tasks, bring_in_users

ANN, BOB = "ann@example.com", "bob@example.com"
ON_SERVERS = pytest.mark.parametrize("engine", SERVERS, indirect=True)
BOTH_KINDS = pytest.mark.parametrize("engine", ["sqlite", SERVERS[-1]], indirect=True)
DONE = TaskUpdate(status="done")


@pytest.mark.parametrize(
    ("name", "actor"),
    [
        ("ann", "ann"),
        ("CORP\\ann lee", "CORP\\ann lee"),
        ("a\nb\x00\u202e\x1b", "a\\nb\\x00\\u202e\\x1b"),
        ("\udcff", "\\udcff"),
        ("n" * 300, "n" * 199 + "…"),
        ("", "4711"),
        (" \u200b", "4711"),
        (None, "4711"),
    ],
)
def test_any_user_of_the_system(database, monkeypatch, name, actor):
    """Whatever the system calls its user, the history has a name for them."""

    class Account:
        pw_name = name

    def look_up(_):
        if name is None:
            raise KeyError
        return Account

    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr(pwd, "getpwuid", look_up)
    add_user(database)
    assert [each.actor for each in operations(database)] == [actor]


@pytest.fixture
def rows(database):
    """Ann with the tasks 1 and 2."""
    add_user(database)
    add_task(database, external_id="a")
    add_task(database, title="Read")


CHANGES = {
    "create a user": partial(user.create, given=UserCreate(email=BOB, name="Bob"), now=NOW),
    "change a user": partial(user.change, ref="1", given=UserUpdate(name="Ann Lee"), now=NOW),
    "create a task": partial(task.create, owner=ANN, given=TaskCreate(title="Sing"), now=NOW),
    "change a task": partial(task.change, ids=[1], given=DONE, now=NOW),
    "change two tasks": partial(task.change, ids=[1, 2], given=DONE, now=NOW),
    "delete a task": partial(task.remove, ids=[1]),
    "make a token": partial(token.create, given=TokenCreate(name="cron"), secret="x", now=NOW),
}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", CHANGES)
def test_what_one_change_costs(database, statements, name):
    """To record a change is a part of its statement on PostgreSQL, and two statements on SQLite."""

    def count(**how):
        statements.clear()
        database.write(CHANGES[name], **how)
        return len([sql for sql in statements if not sql.startswith("COMMIT")])

    unrecorded = count(dry_run=True)
    assert count() - unrecorded == (2 if database.backend.dialect == "sqlite" else 0)
    assert_explained(database)


@pytest.mark.usefixtures("rows")
@BOTH_KINDS
def test_what_many_rows_cost(database, statements):
    """An import of many rows needs no more statements than one of few, and neither does a deletion."""

    def recording(act):
        statements.clear()
        act()
        return [sql for sql in statements if "taskdb_" in sql.replace("taskdb_import", "")]

    def import_both(number):
        users = [{"email": f"u{at}@example.com", "name": f"U{number}"} for at in range(number)]
        tasks = [{"external_id": f"x{at}", "title": f"T{number}"} for at in range(number)]
        return [
            *recording(lambda: bring_in_users(database, users)),
            *recording(lambda: bring_in_tasks(database, tasks)),
        ]

    # Of all but the first some rows are new, and some are changed.
    _, few, many = (import_both(number) for number in (5, 10, 5_000))
    assert len(few) == len(many)
    assert [each.rows_changed for each in operations(database)[-2:]] == [5_000, 5_000]
    remove = partial(user.remove, refs=["1"], now=NOW)
    assert len(recording(lambda: database.write(remove))) <= 10
    assert operations(database)[-1].rows_changed == 5_003
    assert_explained(database)


@pytest.mark.usefixtures("rows")
def test_work_that_is_run_again(database):
    """Work that failed on a passing fault after it had changed rows is one operation."""
    runs = []

    def work(session):
        runs.append(task.change(session, [1, 2], DONE, now=NOW))
        if len(runs) == 1:
            raise TransactionConflict("another transaction was in the way")

    before = len(operations(database))
    database.write(work, origin=Origin("ann", "test"))
    assert len(runs) == 2
    [operation] = operations(database)[before:]
    assert (operation.actor, operation.command, operation.rows_changed) == ("ann", "test", 2)
    assert_explained(database)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("first", [True, False])
def test_a_savepoint_that_is_rolled_back(database, first):
    """What a savepoint takes back is not in the history, and what the work does besides is."""

    def attempt(session):
        with session.begin_nested():
            task.create(session, ANN, TaskCreate(title="New"), now=NOW)
            task.remove(session, [2])
            user.change(session, ANN, UserUpdate(name="Ann Lee"), now=NOW)
            task.create(session, ANN, TaskCreate(title="Newer", external_id="a"), now=NOW)

    def work(session):
        if first:
            task.change(session, [2], TaskUpdate(title="Read it"), now=NOW)
        with pytest.raises(ExternalIdTaken):
            attempt(session)
        with session.begin_nested():
            task.change(session, [1], DONE, now=NOW)
        user.create(session, UserCreate(email=BOB, name="Bob"), now=NOW)

    before = len(operations(database))
    database.write(work)
    [operation] = operations(database)[before:]
    tables = [each["table_name"] for each in changes(database, operation.id)]
    assert tables == ["tasks"] * first + ["tasks", "users"]
    assert_explained(database)


@pytest.mark.usefixtures("rows")
def test_a_savepoint_takes_everything_back(database):
    """If nothing is left of what the work did, there is no operation."""
    before = operations(database)

    def work(session):
        savepoint = session.begin_nested()
        task.remove(session, [1])
        savepoint.rollback()

    database.write(work)
    assert operations(database) == before
    assert_explained(database)


@ON_SERVERS
@pytest.mark.usefixtures("rows")
def test_a_lock_that_is_not_given(database, url):
    """Work that waits for a lock in vain leaves nothing of what it has recorded before."""
    before, tasks = operations(database), task_records(database)

    def work(session):
        task.change(session, [1], DONE, now=NOW)
        task.change(session, [2], DONE, now=NOW)

    with connect(url) as holder, holder.transaction():
        holder.execute("SELECT FROM tasks WHERE id = 2 FOR UPDATE")
        with pytest.raises(DatabaseUnavailable):
            open_database(url, Options(lock_timeout=1, retry_budget=1)).write(work)
    assert (operations(database), task_records(database)) == (before, tasks)
    database.write(work)
    assert_explained(database)


@pytest.mark.usefixtures("rows")
@BOTH_KINDS
def test_a_process_that_is_killed(taskdb, database, url, tmp_path):
    """Wherever a command is killed, its rows and what the history says of them are there, or neither is."""
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps([{"title": f"T{number}"} for number in range(20)]))
    places = Places(tmp_path, "task", "import", file, "--user", ANN)
    assert places.run().code == 0
    outcomes = {len(titles(database))}
    for place in range(places.count - 80, places.count, 20):
        assert places.stop(place).code == -signal.SIGKILL
        settle(url)
        assert_explained(database)
        outcomes.add(len(titles(database)))
    assert all(number % 20 == 2 for number in outcomes)
