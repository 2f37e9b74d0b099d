"""Erase a person: the user, their tasks and tokens, and every trace of them in the history."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from taskdb_cli.database import Database
from taskdb_cli.database.recording import Recorder
from taskdb_cli.database.retry import persist
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.fields import normalize_email
from taskdb_cli.models.history import CHANGES, ERASURE, OPERATIONS
from taskdb_cli.models.task import TASKS
from taskdb_cli.models.token import TOKENS
from taskdb_cli.models.user import USERS
from taskdb_cli.services import user as users
from taskdb_cli.services.history import operations
from taskdb_cli.text.amounts import in_words
from taskdb_cli.text.escaping import brief

ERASED_ACTOR = "erased user"
"""What stands in the history in place of the addresses of a user who was erased."""

_changes, _operations = CHANGES.c, OPERATIONS.c


@dataclass(frozen=True)
class Person:
    """A user who exists, or who was deleted and is known from the history."""

    id: int
    email: str | None
    """The address, or the last one of a user who is deleted, if the history has it."""
    addresses: frozenset[str]
    """All addresses that are known."""
    since: datetime | None
    """When the user was created or first changed; None if that is unknown."""

    def describe(self) -> str:
        """Return the id and the address."""
        return f"user {self.id}" + (f", {self.email}" if self.email else "")


@dataclass(frozen=True)
class Erasure:
    """Who was erased, and with how many rows."""

    person: Person
    tasks: int
    tokens: int
    changes: int
    operations: int
    """How many operations were deleted, because they were about nobody else."""
    renamed: int
    """How many other operations no longer name the actor."""

    def describe(self) -> str:
        """Say who is erased, with how many rows."""
        numbers = {"tasks": self.tasks, "tokens": self.tokens, "changes": self.changes}
        tasks, tokens, changes = (
            in_words({name: number}) if number else f"no {name}" for name, number in numbers.items()
        )
        return f"{self.person.describe()}, with {tasks}, {tokens} and {changes} in the history"

    def report(self) -> dict[str, Any]:
        """Return what happened, or would happen, as programs read it."""
        return {
            "user": self.person.id,
            "tasks": self.tasks,
            "tokens": self.tokens,
            "changes": self.changes,
            "operations": self.operations,
            "actors": self.renamed,
        }


def find(session: Session, ref: str) -> Person:
    """Return the user with that id or address; one who is deleted has the id or address of the history.

    Raises UserNotFound, and InvalidInput for an address that several users have or had, or that a user had
    who has another one now.
    """
    by_id = users.to_id(ref) is not None
    ids = [operations.find_user(session, ref)] if by_id else _holders(session, ref)
    if len(ids) > 1:
        several = " and ".join(f"user {id}" for id in ids)
        raise InvalidInput(f"{brief(ref)} is or was the address of {several}", "name one of them by id")
    [id] = ids
    found = session.execute(sa.select(USERS.c.email, USERS.c.created_at).where(USERS.c.id == id)).first()
    about = (_changes.table_name == "users", _changes.row_id == id)
    told = sa.select(_changes.old_email, _changes.new_email).where(*about).order_by(_changes.id)
    known = [email for row in session.execute(told) for email in row if email]
    if found and not by_id and found.email != normalize_email(ref):
        raise InvalidInput(f"{brief(ref)} is a former address of user {id}", f"name the user by id: {id}")
    first = sa.select(sa.func.min(_changes.old_created_at), sa.func.min(_operations.at))
    times = session.execute(first.select_from(CHANGES.join(OPERATIONS)).where(*about)).one()
    since = min((time for time in (*times, found and found.created_at) if time), default=None)
    if found:
        known.append(found.email)
    return Person(id, known[-1] if known else None, frozenset(known), since)


def _holders(session: Session, address: str) -> list[int]:
    """Return everybody who has or had an address; raise UserNotFound if nobody did."""
    present = operations.owners(session, [address])
    had = (_changes.table_name == "users", _changes.old_email == normalize_email(address))
    return sorted({*present, *session.scalars(sa.select(_changes.row_id).where(*had).distinct())})


def erase(session: Session, ref: str) -> Erasure:
    """Delete a user, their tasks and tokens, and what the history has of them; raise as `find` does.

    This deletes every change of the user, and of tasks and tokens that ever belonged to the user. It also
    deletes operations that have no other changes. In operations that the user made, ERASED_ACTOR replaces the
    address or the name of the token. One new operation says that somebody was erased, and by whom.
    """
    person = find(session, ref)
    id = person.id
    # Nobody can give them a task from here on, or change one that they have.
    locked = sa.select(USERS.c.id).where(USERS.c.id == id).with_for_update()
    present = session.scalar(locked) is not None
    mine = sa.select(TASKS.c.id).where(TASKS.c.user_id == id)
    owned = mine.order_by(TASKS.c.id).with_for_update().subquery()
    tasks = session.scalar(sa.select(sa.func.count()).select_from(owned)) or 0
    actors = made_by(session, person)
    gone, changes = _forget(session, id)
    connection = session.connection()
    connection.execute(sa.delete(TASKS).where(TASKS.c.user_id == id))
    tokens = connection.execute(sa.delete(TOKENS).where(TOKENS.c.user_id == id)).rowcount
    connection.execute(sa.delete(USERS).where(USERS.c.id == id))
    _note(session, rows=present + tasks + tokens)
    renamed = connection.execute(sa.update(OPERATIONS).where(actors).values(actor=ERASED_ACTOR)).rowcount
    return Erasure(person, tasks, tokens, changes, gone, renamed)


def made_by(session: Session, person: Person) -> sa.ColumnElement[bool]:
    """Return the condition that an operation was made by the person.

    An address that another user has now stands for that user, not for the person.
    """
    others = sa.select(USERS.c.email).where(USERS.c.email.in_(person.addresses), USERS.c.id != person.id)
    addresses = person.addresses.difference(session.scalars(others))
    names = sa.select(TOKENS.c.name).where(TOKENS.c.user_id == person.id)
    former = sa.select(_changes.old_name).where(
        _changes.table_name == "access_tokens", _changes.owner_id == person.id, _changes.old_name.is_not(None)
    )
    called = {*session.scalars(names), *session.scalars(former)}
    # An operation of the API has a route as its command, and the name of a token as its actor.
    by_token = sa.and_(_operations.actor.in_(called), _operations.command.contains(" /"))
    return sa.or_(sa.func.lower(_operations.actor).in_(addresses), by_token)


def wipe(database: Database) -> None:
    """Remove deleted rows from the files of the database for good, as far as its engine can do that.

    Raises DatabaseUnavailable while others use the file, and StorageFailed without room for a copy of it.
    """

    def attempt() -> None:
        with database.connect(bulk=True) as connection:
            database.backend.wipe(connection)

    persist(attempt, budget=database.options.retry_budget)


def _forget(session: Session, id: int) -> tuple[int, int]:
    """Delete the changes of a user and of rows that ever belonged to the user; return the numbers."""
    theirs = sa.or_(_changes.owner_id == id, _changes.new_user_id == id)
    ever = sa.select(_changes.row_id).where(_changes.table_name == "tasks", theirs)
    now = sa.select(TASKS.c.id).where(TASKS.c.user_id == id)
    # An index finds the rows of each part.
    traces = sa.union_all(
        *(
            sa.select(_changes.id, _changes.operation_id).where(*which)
            for which in (
                (_changes.table_name == "users", _changes.row_id == id),
                (_changes.table_name == "tasks", _changes.row_id.in_(ever.union(now))),
                (_changes.table_name == "access_tokens", _changes.owner_id == id),
            )
        )
    ).subquery()
    number = sa.func.count().label("number")
    lost = sa.select(traces.c.operation_id, number).group_by(traces.c.operation_id).subquery()
    connection = session.connection()
    connection.execute(
        sa.update(OPERATIONS)
        .where(_operations.id == lost.c.operation_id)
        .values(rows_changed=_operations.rows_changed - lost.c.number)
    )
    changes = connection.execute(sa.delete(CHANGES).where(_changes.id.in_(sa.select(traces.c.id)))).rowcount
    # Erasures and whole restores never have changes, so they stay.
    empty = (
        _operations.rows_changed == 0,
        _operations.command != ERASURE,
        _operations.restored_from.is_(None),
    )
    return connection.execute(sa.delete(OPERATIONS).where(*empty)).rowcount, changes


def _note(session: Session, *, rows: int) -> None:
    """Add the operation, unless this is a dry run."""
    if recorder := session.info.get(Recorder):
        row = {**recorder.row(sa.literal(rows)), "command": sa.literal(ERASURE, _operations.command.type)}
        values = sa.select(*[value.label(name) for name, value in row.items()])
        begun = sa.insert(OPERATIONS).from_select([*row], values).returning(_operations.id)
        recorder.add(rows, id=session.execute(begun).scalar_one())
