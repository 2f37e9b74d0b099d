"""Users, at the service."""

import threading
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text

from taskdb_cli.errors import (
    EmailTaken,
    ExternalIdTaken,
    InvalidInput,
    StaleVersion,
    TaskdbError,
    UserNotFound,
)
from taskdb_cli.models.task import TaskCreate
from taskdb_cli.models.user import User, UserCreate, UserUpdate, user_record
from taskdb_cli.services import task as tasks
from taskdb_cli.services import user as service
from tests.conftest import NOW, open_database
from tests.samples import add_task, add_user, emails, titles, user_records
from tests.waiting import PATIENCE

LATER = NOW + timedelta(days=1)


def get(database, ref):
    return database.read(lambda session: service.get(session, ref))


def change(database, ref, *, if_version=None, **changes):
    given = UserUpdate.model_validate(changes)
    return database.write(
        lambda session: service.change(session, ref, given, now=LATER, if_version=if_version)
    )


def remove(database, *refs, **options):
    return database.write(lambda session: service.remove(session, refs, now=LATER, **options))


def test_create(database):
    """A new user is active, at version 1, and made now."""
    assert user_record(add_user(database, "Ann@Example.com", name="Ann Lee")) == {
        "id": 1,
        "email": "ann@example.com",
        "name": "Ann Lee",
        "is_active": True,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }


def test_create_keeps_given_times(database):
    """A user that comes from elsewhere keeps the times it had there."""
    user = add_user(database, created_at=LATER, updated_at=LATER)
    assert (user.created_at, user.updated_at) == (LATER, LATER)


def test_create_taken(database):
    """An address belongs to one user, however it is written."""
    add_user(database)
    with pytest.raises(EmailTaken, match=r"ann@example\.com"):
        add_user(database, "ANN@EXAMPLE.COM")
    assert emails(database) == ["ann@example.com"]


def test_create_unless_exists(database):
    """The existing user of an address is returned as they are; a new one is made."""
    add_user(database)
    given = UserCreate(email="ann@example.com", name="Other", is_active=False)
    found = database.write(lambda session: service.create_unless_exists(session, given, now=LATER))
    assert (found.id, found.name, found.is_active, found.version) == (1, "Ann", True, 1)
    bob = UserCreate(email="bob@example.com", name="Bob")
    made = database.write(lambda session: service.create_unless_exists(session, bob, now=LATER))
    assert (made.email, made.created_at) == ("bob@example.com", LATER)


@pytest.mark.parametrize("ref", ["1", "001", "ann@example.com", "ANN@Example.COM"])
def test_get(database, ref):
    """A user is found by id or by address, in any case."""
    user = add_user(database)
    assert get(database, ref) == user


def test_get_unknown(database):
    """What is neither the id nor the address of a user is not found."""
    add_user(database)
    for ref in (
        "2",
        "0",
        "-1",
        "",
        " ",
        "9" * 25,
        "9" * 5000,
        "bob@example.com",
        "ann",
        "a\x00b",
        "\udcff",
        "\u0661",
    ):
        with pytest.raises(UserNotFound):
            get(database, ref)


def test_find(database):
    """Users come in the order of their ids, all or by whether they are active."""
    add_user(database, "c@example.com")
    add_user(database, "a@example.com", is_active=False)
    add_user(database, "b@example.com")

    def found(**filters):
        return [record["id"] for record in user_records(database, **filters)]

    assert found() == [1, 2, 3]
    assert found(active=True) == [1, 3]
    assert found(active=False) == [2]


def test_find_by_prefix(database):
    """A prefix is taken literally, and the first addresses come in order."""
    for email in ("bo@example.com", "b_x@example.com", "ann@example.com", "b%y@example.com"):
        add_user(database, email)

    def found(prefix, limit=10):
        return database.read(
            lambda session: [user.email for user in service.find_by_prefix(session, prefix, limit=limit)]
        )

    assert found("B") == ["b%y@example.com", "b_x@example.com", "bo@example.com"]
    assert found("b_") == ["b_x@example.com"]
    assert found("b%") == ["b%y@example.com"]
    assert found("", limit=2) == ["ann@example.com", "b%y@example.com"]
    assert found("\\") == []


def test_change(database):
    """A change is kept, counts the version up and moves updated_at alone."""
    add_user(database)
    changed = change(
        database, "ann@example.com", email="Ann@New.example.com", name="Ann Lee", is_active=False
    )
    assert changed == get(database, "1")
    assert user_record(changed) == {
        "id": 1,
        "email": "ann@new.example.com",
        "name": "Ann Lee",
        "is_active": False,
        "version": 2,
        "created_at": NOW,
        "updated_at": LATER,
    }


@pytest.mark.parametrize("changes", [{}, {"name": "Ann"}, {"email": "ANN@example.com"}, {"is_active": True}])
def test_change_to_the_same(database, changes):
    """Without a difference nothing is written."""
    user = add_user(database)
    assert change(database, "1", **changes) == user
    assert get(database, "1") == user


def test_change_refused(database):
    """A change that cannot be made says why and changes nothing."""
    ann = add_user(database)
    add_user(database, "bob@example.com")
    with pytest.raises(EmailTaken, match=r"bob@example\.com"):
        change(database, "1", email="Bob@example.com", name="Other")
    with pytest.raises(UserNotFound, match="user 7 not found"):
        change(database, "7", name="Other")
    with pytest.raises(StaleVersion, match="user 1 is at version 1, not 2"):
        change(database, "1", name="Other", if_version=2)
    assert get(database, "1") == ann


def test_change_at_version(database):
    """A change of the version that was seen goes through, once."""
    add_user(database)
    assert change(database, "1", name="B", if_version=1).version == 2
    with pytest.raises(StaleVersion):
        change(database, "1", name="C", if_version=1)
    assert get(database, "1").name == "B"


@pytest.mark.parametrize("version", [5, 2**31, 2**63])
@pytest.mark.parametrize("name", ["Ann", "Other"])
def test_a_version_that_is_not_the_current_one(database, version, name):
    """Any other version is refused, also one that no user can have or that needs no change."""
    add_user(database)
    with pytest.raises(StaleVersion):
        change(database, "1", name=name, if_version=version)


def test_remove(database):
    """A user goes with all their tasks, which are counted; other users' stay."""
    add_user(database)
    add_user(database, "bob@example.com")
    for title in ("A", "B"):
        add_task(database, "ann@example.com", title)
    add_task(database, "bob@example.com", "C")
    gone = remove(database, "1", "ann@example.com")
    assert ([user.email for user in gone.users], gone.tasks) == (["ann@example.com"], 2)
    assert (emails(database), titles(database)) == (["bob@example.com"], ["C"])


def test_remove_is_all_or_nothing(database):
    """A user who does not exist keeps the others from being deleted."""
    add_user(database)
    add_task(database)
    with pytest.raises(UserNotFound, match="user 7 not found"):
        remove(database, "1", "7")
    assert (emails(database), titles(database)) == (["ann@example.com"], ["Write"])


def test_remove_and_reassign(database):
    """Tasks that another user takes over keep all but owner, version and updated_at."""
    for email in ("ann@example.com", "bob@example.com", "cid@example.com"):
        add_user(database, email)
    id = add_task(database, "ann@example.com", "A", external_id="x", status="done", due_at=NOW)
    add_task(database, "bob@example.com", "B")
    add_task(database, "cid@example.com", "C")
    before = database.read(lambda session: tasks.get(session, id))
    gone = remove(database, "ann@example.com", "2", reassign_to="cid@example.com")
    assert (gone.tasks, gone.reassigned_to.email) == (2, "cid@example.com")
    assert (emails(database), titles(database)) == (["cid@example.com"], ["A", "B", "C"])
    assert database.read(lambda session: tasks.get(session, id)) == {
        **before,
        "user_id": 3,
        "user": "cid@example.com",
        "version": 2,
        "updated_at": LATER,
    }


def test_reassign_conflict(database):
    """External ids that would clash, with the heir's or between two givers, keep all as it was."""
    for email in ("ann@example.com", "bob@example.com", "cid@example.com"):
        add_user(database, email)
        add_task(database, email, email, external_id="x")
    for refs, heir in ((["1"], "2"), (["1", "2"], "3")):
        with pytest.raises(ExternalIdTaken):
            remove(database, *refs, reassign_to=heir)
    everyone = ["ann@example.com", "bob@example.com", "cid@example.com"]
    assert (emails(database), titles(database)) == (everyone, everyone)


@pytest.mark.parametrize(
    ("heir", "error"), [("1", InvalidInput), ("ANN@example.com", InvalidInput), ("9", UserNotFound)]
)
def test_reassign_refused(database, heir, error):
    """Tasks cannot go to a user who goes too, or who does not exist."""
    add_user(database)
    add_task(database)
    for act in (remove, preview):
        with pytest.raises(error):
            act(database, "1", reassign_to=heir)
    assert (emails(database), titles(database)) == (["ann@example.com"], ["Write"])


def preview(database, *refs, **options):
    return database.read(lambda session: service.preview_deletion(session, refs, **options))


def test_preview_deletion(database):
    """What a deletion would do is told without doing it."""
    add_user(database)
    add_user(database, "bob@example.com")
    add_task(database)
    found = preview(database, "ann@example.com", "1")
    assert ([user.id for user in found.users], found.tasks, found.reassigned_to) == ([1], 1, None)
    assert preview(database, "1", reassign_to="2").reassigned_to.id == 2
    assert (emails(database), titles(database)) == (["ann@example.com", "bob@example.com"], ["Write"])
    with pytest.raises(UserNotFound):
        preview(database, "7")


@pytest.mark.parametrize("reassign_to", [None, "bob@example.com"])
@pytest.mark.parametrize("first", ["delete", "create"])
def test_no_orphan_from_concurrent_transactions(database, first, reassign_to):
    """A task made while its user is being deleted has an owner in the end, or was not made."""
    add_user(database)
    add_user(database, "bob@example.com")

    def delete(session):
        service.remove(session, ["ann@example.com"], now=NOW, reassign_to=reassign_to)

    def create(session):
        tasks.create(session, "ann@example.com", TaskCreate(title="Late"), now=NOW)

    works = [delete, create] if first == "delete" else [create, delete]
    outcomes = run_overlapping(database, *works)
    with database.engine.connect() as connection:
        orphans = connection.execute(
            text("SELECT count(*) FROM tasks LEFT JOIN users ON users.id = user_id WHERE users.id IS NULL")
        ).scalar()
    assert orphans == 0
    assert outcomes[first] is None
    assert all(error is None or isinstance(error, UserNotFound) for error in outcomes.values())
    made = outcomes["create"] is None
    assert emails(database) == ["bob@example.com"] or not made
    assert titles(database) == (["Late"] if made and reassign_to else [])


def run_overlapping(database, first, second):
    """Run the second transaction while the first has done its work and not committed yet."""
    worked, other = threading.Event(), threading.Event()
    outcomes = {}

    def run(work):
        try:
            # A connection pool and a session of its own, as another process has.
            open_database(database.url).write(work)
            outcomes[work.__name__] = None
        except TaskdbError as exc:
            outcomes[work.__name__] = exc

    def held(session):
        first(session)
        worked.set()
        assert other.wait(PATIENCE)

    held.__name__ = first.__name__

    def racing(session):
        other.set()
        second(session)

    racing.__name__ = second.__name__
    holder = threading.Thread(target=run, args=(held,))
    holder.start()
    assert worked.wait(PATIENCE)
    racer = threading.Thread(target=run, args=(racing,))
    racer.start()
    # A writer on SQLite begins only when no other one is at work.
    if database.backend.dialect == "sqlite":
        other.set()
    holder.join(PATIENCE)
    racer.join(PATIENCE)
    return outcomes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"email": "", "name": "A"}, "email is not an e-mail address"),
        ({"email": "ann", "name": "A"}, "email is not an e-mail address"),
        ({"email": "a@b@c.example", "name": "A"}, "email is not an e-mail address"),
        ({"email": "a\x00@example.com", "name": "A"}, "email contains the control character U+0000"),
        ({"email": "a\u034f@example.com", "name": "A"}, "email contains the invisible character U+034F"),
        ({"email": "a\u3164@example.com", "name": "A"}, "email contains the invisible character U+3164"),
        ({"email": "a@ex\ufe0fample.com", "name": "A"}, "email contains the invisible character U+FE0F"),
        ({"email": "a\u2800@example.com", "name": "A"}, "email contains the invisible character U+2800"),
        ({"email": "a\u200b@example.com", "name": "A"}, "email is not an e-mail address"),
        ({"email": "-a@example.com", "name": "A"}, "email begins with '-'"),
        ({"email": "a@example.com", "name": "\xa0\u3164"}, "name has only blanks and invisible"),
        (
            {"email": "a" * 255 + "@example.com", "name": "A"},
            "email has 267 characters; at most 254 are allowed",
        ),
        ({"email": "a@example.com", "name": " "}, "name is empty"),
        ({"email": "a@example.com", "name": "n" * 201}, "name has 201 characters; at most 200 are allowed"),
        ({"email": "a@example.com", "name": "a\tb"}, "name contains the control character U+0009"),
        ({"email": "a@example.com", "name": "\udcff"}, "name is not valid UTF-8"),
        ({"email": "a@example.com"}, "name is missing"),
        ({"email": "a@example.com", "name": "A", "age": 3}, "age is not a known field"),
    ],
)
def test_invalid_user(values, message):
    """Every field that breaks a rule is named with the reason."""
    with pytest.raises(InvalidInput) as refusal:
        UserCreate.checked(values)
    assert refusal.value.message.startswith(message)


def test_every_fault_is_named():
    """All faults of one input are told at once."""
    with pytest.raises(InvalidInput, match=r"email is not .*; name is empty"):
        UserCreate.checked({"email": "x", "name": ""})


ADDRESSES = [
    "a.b+c@example.com",
    "\u00e9l\u00e8ve@example.com",
    "x@b\u00fccher.example",
    "a@localhost.test",
    "a" * 64 + "@example.com",
]


def test_valid_addresses(database):
    """An address that is stored is found again as it was typed."""
    for email in ADDRESSES:
        assert add_user(database, email) == get(database, email)


@pytest.mark.parametrize(
    "email", ["ann@corp.local", "ann@home.arpa", "x@a.onion", "a@b.invalid", "root@localhost"]
)
def test_special_domains(database, email):
    """A special-use domain needs the setting in a new address only: what is stored is found and changed."""
    given = UserCreate.checked({"email": email, "name": "Ann"})
    for make in (service.create, service.create_unless_exists):
        with pytest.raises(InvalidInput, match=r"special-use.*TASKDB_ALLOW_SPECIAL_DOMAINS=1"):
            database.write(partial(make, given=given, now=NOW))
    made = database.write(partial(service.create, given=given, now=NOW, special_domains=True))
    assert get(database, email.upper()) == made
    assert database.write(partial(service.create_unless_exists, given=given, now=NOW)) == made
    assert change(database, email, email=email, name="Anna").name == "Anna"
    with pytest.raises(InvalidInput, match="special-use"):
        change(database, email, email=f"other.{email}")


@pytest.mark.parametrize("email", ["-a@example.com", "a\u034f@example.com", "a\u3164@example.com"])
def test_an_address_from_before(database, email):
    """An address that no new user may have is still found, because it may be stored."""
    made = User(email=email, name="Ann", is_active=True, created_at=NOW, updated_at=NOW)
    database.write(lambda session: session.add(made))
    assert change(database, email, name="Anna").email == email
