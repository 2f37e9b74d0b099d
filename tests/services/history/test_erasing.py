"""A person is erased, at the service."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest
import sqlalchemy as sa

from taskdb_cli.database.options import Origin
from taskdb_cli.errors import InvalidInput, UserNotFound
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.user import UserUpdate
from taskdb_cli.services import task, user
from taskdb_cli.services.history import erasing
from tests.conftest import NOW
from tests.operations import changes, operations
from tests.samples import add_task, add_token, add_user, emails, titles

BY_ANN = Origin("Ann@example.com", "task update")


def erase(database, ref, *, dry_run=False):
    return database.write(lambda session: erasing.erase(session, ref), dry_run=dry_run)


def change_tasks(database, *ids, origin=None, owner=None, **values):
    given = TaskUpdate.model_validate(values)
    work = partial(task.change, ids=ids, given=given, now=NOW, owner=owner)
    database.write(work, origin=origin)


@pytest.fixture
def two(database):
    """Ann and Bob with a task and a token each, and a task that was first Ann's and then Bob's."""
    for name in ("ann", "bob"):
        add_user(database, f"{name}@example.com")
        add_task(database, f"{name}@example.com", f"of {name}")
        add_token(database, f"{name}-token", f"{name}@example.com")
    moved = add_task(database, "ann@example.com", "moved")
    change_tasks(database, moved, owner="bob@example.com")
    change_tasks(database, moved, title="moved to Bob")
    return database


def everything(database):
    """All words that the history has."""
    told = [str(each.model_dump()) for each in operations(database)]
    return "\n".join([*told, *(str(changes(database, each.id)) for each in operations(database))])


def test_erase(two):
    """The user goes with what is theirs and every change of it; others keep theirs."""
    done = erase(two, "ann@example.com")
    assert (done.person.id, done.tasks, done.tokens) == (1, 1, 1)
    assert (emails(two), titles(two)) == (["bob@example.com"], ["of bob", "moved to Bob"])
    *left, last = operations(two)
    assert [each.rows_changed for each in left] == [1, 1, 1]
    assert [changes(two, each.id)[0]["owner_id"] for each in left] == [2, 2, 2]
    assert (last.command, changes(two, last.id)) == ("user erase", [])
    assert "ann" not in everything(two).lower()
    assert "moved" not in everything(two)


def test_a_deleted_user_is_erased_from_the_history(two):
    """Who is deleted already is found by the id and by each address that the history knows."""
    two.write(lambda session: user.change(session, "1", UserUpdate(email="ann.lee@example.com"), now=NOW))
    two.write(lambda session: user.remove(session, ["1"], now=NOW))
    for ref in ("1", "ann@example.com", "Ann.Lee@example.com"):
        done = erase(two, ref, dry_run=True)
        assert (done.person.id, done.person.email, done.tasks) == (1, "ann.lee@example.com", 0)
    assert done.person.since == NOW
    assert "of ann" in everything(two)
    erase(two, "ann@example.com")
    assert "ann" not in everything(two).lower()
    for ref in ("1", "ann@example.com"):
        with pytest.raises(UserNotFound):
            erase(two, ref)


def test_a_dry_run_changes_nothing(two):
    """A dry run says the same and writes nothing, not even that it was."""
    before = everything(two)
    assert erase(two, "1", dry_run=True) == erase(two, "1", dry_run=True)
    assert everything(two) == before
    assert len(emails(two)) == 2


def test_operations_of_several_users_keep_the_rest(two):
    """An operation that is about others too stays, with as many rows as are left."""
    change_tasks(two, 1, origin=BY_ANN, status="done")
    change_tasks(two, 1, 2, priority="high")
    erase(two, "1")
    *_, one, _erasure = operations(two)
    assert one.rows_changed == len(changes(two, one.id)) == 1


def test_actors(two):
    """What the user did to the rows of others names nobody any more; the names of others stay."""
    two.write(lambda session: user.change(session, "1", UserUpdate(email="ann.lee@example.com"), now=NOW))
    actors = [
        BY_ANN,
        Origin("ann.lee@example.com", "task update"),
        Origin("ann-token", "PATCH /tasks/{id}"),
        Origin("ann-token", "task update"),
        Origin("joann@example.com", "task update"),
    ]
    for number, origin in enumerate(actors):
        change_tasks(two, 2, origin=origin, title=f"title {number}")
    assert erase(two, "1").renamed == 3
    told = [each.actor for each in operations(two)[-6:-1]]
    assert told == ["erased user"] * 3 + ["ann-token", "joann@example.com"]


def test_the_actor_of_a_living_user(two):
    """Operations by an address that another user has now stay theirs when an earlier holder is erased."""
    two.write(lambda session: user.change(session, "1", UserUpdate(email="ann.lee@example.com"), now=NOW))
    add_user(two)
    for address in ("ann@example.com", "ann.lee@example.com"):
        change_tasks(two, 2, origin=Origin(address, "task update"), title=f"by {address}")
    assert erase(two, "1").renamed == 1
    told = [each.actor for each in operations(two)[-3:-1]]
    assert told == ["ann@example.com", "erased user"]


def test_the_erased_user_is_not_the_one_who_erased(two):
    """Users who erase themselves are not named by the operation that is left."""
    two.write(lambda session: erasing.erase(session, "1"), origin=BY_ANN)
    assert operations(two)[-1].actor == "erased user"


def test_an_address_of_several_is_refused(database):
    """An address that others had too, or that a user had before, erases nobody."""
    for _ in range(2):
        add_user(database)
        database.write(lambda session: user.remove(session, ["ann@example.com"], now=NOW))
    with pytest.raises(InvalidInput, match="user 1 and user 2"):
        erase(database, "ann@example.com")
    add_user(database, "bob@example.com")
    database.write(lambda session: user.change(session, "3", UserUpdate(email="rob@example.com"), now=NOW))
    with pytest.raises(InvalidInput, match="user 3"):
        erase(database, "bob@example.com")
    add_user(database)
    with pytest.raises(InvalidInput, match="user 1 and user 2 and user 4"):
        erase(database, "ann@example.com")
    for id in (1, 2):
        assert erase(database, str(id)).person.id == id
    assert erase(database, "ann@example.com").person.id == 4


def test_nobody(database):
    """Who is neither there nor in the history is not found."""
    for ref in ("1", "0", "ann@example.com", "nonsense", str(2**80)):
        with pytest.raises(UserNotFound):
            erase(database, ref)
    assert operations(database) == []


def test_wipe(database):
    """Afterwards the file of SQLite has nothing of what was there, on whatever page, whoever deleted it."""
    path = database.backend.file()
    add_user(database, name="Secretname")
    if path:
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA secure_delete = OFF")
            other.execute("DELETE FROM users")
            other.commit()
        assert b"Secretname" in content(path)
    erase(database, "1")
    erasing.wipe(database)
    if path:
        assert b"Secretname" not in content(path)
        assert b"ann@example.com" not in content(path)
        assert database.read(lambda session: session.scalar(sa.text("PRAGMA journal_mode"))) == "wal"


def content(path):
    """All bytes of a database file and of those beside it."""
    return b"".join(each.read_bytes() for each in path.parent.iterdir() if each.name.startswith(path.name))
