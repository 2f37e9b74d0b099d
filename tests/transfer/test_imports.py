"""Batches of records brought into a database, on every engine."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial

import pytest
from sqlalchemy import event, text

from taskdb_cli.database.sqlite import engine as engine_of_sqlite
from taskdb_cli.errors import InvalidRecords, TaskdbError, UserNotFound, Violation
from taskdb_cli.models.user import UserCreate
from taskdb_cli.models.vocabulary import Existing
from taskdb_cli.services import task, user
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.times import parse_written
from taskdb_cli.transfer.batch import Batch
from taskdb_cli.transfer.files import Source
from taskdb_cli.transfer.problems import Problems
from taskdb_cli.transfer.tasks import import_tasks, read_tasks
from taskdb_cli.transfer.users import import_users, read_users
from tests.conftest import NOW, SERVERS, open_database
from tests.schemas import execute
from tests.waiting import PATIENCE

ANN = "ann@example.com"


@contextmanager
def batch_of(records, read=read_tasks, **options):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    source = Source.open(io.BytesIO(lines.encode()), "file.ndjson", None)
    with Batch(source, parse_time=parse_time, problems=Problems(), progress=lambda _: None) as batch:
        read(batch, **options)
        yield batch


def parse_time(text, end_of_day):
    return parse_written(text, end_of_day=end_of_day)


def bring_in_tasks(database, records, *, existing=Existing.UPDATE, owner=ANN, dry_run=False):
    how = {"owner": owner, "existing": existing, "now": NOW, "dry_run": dry_run}
    with batch_of(records, owned=owner is not None) as batch:
        return database.write(lambda session: import_tasks(session, batch, **how), dry_run=dry_run)


def bring_in_users(database, records, *, existing=Existing.UPDATE, dry_run=False):
    how = {"existing": existing, "now": NOW, "dry_run": dry_run}
    with batch_of(records, read_users) as batch:
        return database.write(lambda session: import_users(session, batch, **how), dry_run=dry_run)


def titles(database):
    everything = (TaskFilter(), Order.parse("id", TASK_SORT_KEYS))
    with database.stream(lambda session: task.stream(session, *everything)) as records:
        return [record["title"] for record in records]


def numbered(count, title="task"):
    return [{"external_id": str(number), "title": f"{title} {number}"} for number in range(count)]


@pytest.fixture
def ann(database):
    """The database, with a user to own tasks."""
    given = UserCreate(email=ANN, name="Ann")
    database.write(lambda session: user.create(session, given, now=NOW))
    return database


def test_order_of_the_file(ann):
    """New tasks get their ids in the order of the file, over several batches of rows."""
    outcome = bring_in_tasks(ann, numbered(2500))
    assert astuple(outcome) == (2500, 0, 0, 0)
    assert titles(ann) == [record["title"] for record in numbered(2500)]


@pytest.mark.parametrize("existing", Existing)
def test_a_dry_run_says_what_would_be_done(ann, existing):
    """It tells the counts of the real run, changes nothing, and uses up no id of tasks or of users."""
    bring_in_tasks(ann, numbered(4))
    records = [*numbered(2), *numbered(7, "changed")[2:], {"title": "unnamed"}]
    before = titles(ann)
    dry = bring_in_tasks(ann, records, existing=existing, dry_run=True)
    assert titles(ann) == before
    assert dry == bring_in_tasks(ann, records, existing=existing)
    assert dry.created == 4
    bob = {"email": "bob@example.com", "name": "Bob"}
    assert bring_in_users(ann, [bob], existing=existing, dry_run=True).created == 1
    bring_in_users(ann, [bob], existing=existing)
    last = "SELECT (SELECT max(id) FROM tasks), (SELECT max(id) FROM users)"
    assert [*ann.read(lambda session: session.execute(text(last)).one())] == [8, 2]


def test_special_domains_of_new_users(database):
    """Without the setting an import changes who is stored in a special-use domain, and refuses who is new."""
    how = {"existing": Existing.UPDATE, "now": NOW}
    stored, new = {"email": "root@localhost", "name": "Root"}, {"email": "a@corp.local", "name": "A"}

    def bring_in(*records, allowed=False):
        with batch_of(records, read_users, special_domains=True) as batch:
            given = partial(import_users, batch=batch, special_domains=allowed, **how)
            try:
                return database.write(given)
            except InvalidRecords as exc:
                return exc.message, [each.reason.split()[0:3] for each in batch.problems.most_frequent(9)[0]]

    assert bring_in(stored, allowed=True).created == 1
    assert bring_in(stored | {"name": "Other"}).updated == 1
    message, kinds = bring_in(stored, new, {"email": "b@corp.org", "name": "B"}, new)
    assert message.startswith("2 records are invalid")
    assert sorted(kinds) == [["email", "ends", "in"], ["email", "is", "that"]]


@pytest.mark.parametrize("engine", SERVERS[-1:], indirect=True)
def test_a_dry_run_asks_for_the_rights_of_the_real_run(ann, url):
    """A role that may not insert is told so by a dry run."""
    role = f"taskdb_{url.database}"
    rights = f'GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO "{role}"'
    execute(url, f'CREATE ROLE "{role}" LOGIN', rights)
    try:
        reader = open_database(url.set(username=role))
        with pytest.raises(TaskdbError, match="permission denied for table tasks"):
            bring_in_tasks(reader, numbered(1), dry_run=True)
    finally:
        execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_indexes_are_built_anew_behind_many_rows(ann, url, monkeypatch):
    """All indexes are as they were after an import that is large beside the table, also if it failed."""
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    before, version = execute(url, schema), execute(url, "PRAGMA schema_version")
    monkeypatch.setattr(engine_of_sqlite, "MANY", 10)
    bring_in_tasks(ann, numbered(9))
    assert execute(url, "PRAGMA schema_version") == version
    bring_in_tasks(ann, numbered(60, "some"))
    assert execute(url, "PRAGMA schema_version") > version
    assert execute(url, schema) == before
    assert execute(url, "PRAGMA integrity_check") == [("ok",)]
    execute(url, "CREATE TRIGGER refuse AFTER INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Violation):
        bring_in_tasks(ann, numbered(300, "many"))
    execute(url, "DROP TRIGGER refuse")
    assert execute(url, schema) == before


def test_statements_do_not_grow_with_the_file(ann):
    """An import runs as many statements for a thousand records as for one."""

    def statements(records):
        seen = []
        event.listen(ann.engine, "before_cursor_execute", lambda *hook: seen.append(hook[2]))
        bring_in_tasks(ann, records)
        return len(seen)

    bring_in_tasks(ann, numbered(1000))
    few = statements(numbered(1, "changed"))
    assert few < 15
    assert statements(numbered(1000, "changed again")) == few


def test_nothing_stays_behind(ann):
    """The temporary table is gone after an import, so that one session can do several."""
    with batch_of(numbered(1), owned=True) as batch:

        def twice(session):
            return [
                import_tasks(session, batch, owner=ANN, existing=Existing.UPDATE, now=NOW) for _ in range(2)
            ]

        assert [outcome.created for outcome in ann.write(twice)] == [1, 0]


def test_a_transaction_that_failed_can_start_over(ann):
    """The same batch can be brought in again after its transaction was lost."""
    with batch_of(numbered(3), owned=True) as batch:

        def bring_in(session):
            return import_tasks(session, batch, owner=ANN, existing=Existing.UPDATE, now=NOW)

        def fail(session):
            bring_in(session)
            raise ConnectionError

        with pytest.raises(ConnectionError):
            ann.write(fail)
        assert titles(ann) == []
        assert ann.write(bring_in).created == 3


def test_an_unknown_owner(ann):
    """An owner who does not exist fails the whole import."""
    with pytest.raises(UserNotFound):
        bring_in_tasks(ann, numbered(1), owner="bob@example.com")


def test_an_invalid_record_stops_the_valid_ones(ann):
    """No task is made when any record was invalid, however good the rest."""
    with pytest.raises(InvalidRecords, match=r"^1 record is invalid; nothing was imported$"):
        bring_in_tasks(ann, [*numbered(2), {"title": ""}])
    assert titles(ann) == []


def test_problems_are_reported_once(ann):
    """A record of an unknown user is one problem, even if its external id is repeated too."""
    records = [{**record, "user": "bob@example.com"} for record in numbered(1) * 2]
    with (
        batch_of(records, owned=False) as batch,
        pytest.raises(InvalidRecords, match=r"^2 records are invalid"),
    ):
        ann.write(lambda s: import_tasks(s, batch, owner=None, existing=Existing.UPDATE, now=NOW))
    [only], _ = batch.problems.most_frequent(10)
    assert (only.records, only.first, only.last) == (2, "line 1", "line 2")


@pytest.mark.parametrize("field", ["title", "description", "status", "priority", "due_at", "completed_at"])
def test_each_difference_is_an_update(ann, field):
    """A difference in any one field updates the task, and its version goes up by one."""
    base = {
        "external_id": "x", "title": "a", "description": "b", "status": "done", "priority": "low",
        "due_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-02T00:00:00Z",
    }  # fmt: skip
    other = {
        "title": "A", "description": None, "status": "todo", "priority": "urgent", "due_at": None,
        "completed_at": "2026-01-02T00:00:00.000001Z",
    }  # fmt: skip
    bring_in_tasks(ann, [base])
    assert astuple(bring_in_tasks(ann, [base])) == (0, 0, 1, 0)
    changed = base | {field: other[field]}
    if field == "status":
        del changed["completed_at"]
    assert astuple(bring_in_tasks(ann, [changed])) == (0, 1, 0, 0)
    assert astuple(bring_in_tasks(ann, [changed])) == (0, 0, 1, 0)
    record = ann.read(lambda session: task.get(session, 1))
    assert record["version"] == 2
    assert record["updated_at"] == NOW


def test_tasks_of_others_are_left_alone(ann):
    """An update touches the task of that user, not another's of the same external id."""
    bring_in_users(ann, [{"email": "bob@example.com", "name": "Bob"}])
    bring_in_tasks(ann, numbered(1, "ann"))
    bring_in_tasks(ann, numbered(1, "bob"), owner="bob@example.com")
    bring_in_tasks(ann, numbered(1, "bobby"), owner="bob@example.com")
    assert titles(ann) == ["ann 0", "bobby 0"]


@pytest.mark.parametrize("kind", ["tasks", "users"])
def test_concurrent_imports_of_one_file(ann, url, kind):
    """Two imports of the same file at once make each record once: one of them finds the other's."""
    users = [{"email": f"user{number}@example.com", "name": "X"} for number in range(300)]
    start = threading.Barrier(2)

    def bring_in():
        database = open_database(url)
        start.wait()
        if kind == "tasks":
            return bring_in_tasks(database, numbered(300))
        return bring_in_users(database, users)

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(bring_in) for _ in range(2)]]
    assert sorted(astuple(outcome) for outcome in outcomes) == [(0, 0, 300, 0), (300, 0, 0, 0)]
    table = ann.read(lambda session: session.execute(text(f"SELECT count(*) FROM {kind}")).scalar_one())
    assert table == (300 if kind == "tasks" else 301)


def test_a_second_import_waits_for_the_first(ann, url):
    """An import that begins while another one is not committed yet sees what that one made."""
    inside = threading.Event()

    def slow(session):
        with batch_of(numbered(5), owned=True) as batch:
            outcome = import_tasks(session, batch, owner=ANN, existing=Existing.UPDATE, now=NOW)
        inside.set()
        # The other one is under way by now, or comes later: it must not matter which.
        return outcome

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: open_database(url).write(slow))
        inside.wait(PATIENCE)
        second = pool.submit(bring_in_tasks, open_database(url), numbered(5, "other"))
        assert astuple(first.result()) == (5, 0, 0, 0)
        assert astuple(second.result()) == (0, 5, 0, 0)


def test_user_flag_that_is_left_out_stays(database):
    """A user who is inactive stays so when a record says nothing about it."""
    bring_in_users(database, [{"email": ANN, "name": "Ann", "is_active": False}])
    assert astuple(bring_in_users(database, [{"email": ANN, "name": "Ann"}])) == (0, 0, 1, 0)
    assert astuple(bring_in_users(database, [{"email": ANN, "name": "Anna"}])) == (0, 1, 0, 0)
    found = database.read(lambda session: user.get(session, ANN))
    assert (found.name, found.is_active, found.version, found.updated_at) == ("Anna", False, 2, NOW)
