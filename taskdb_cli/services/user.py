"""Users: make, find, change and delete them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, false, func, insert, or_
from sqlmodel import Session, col, select

from taskdb_cli import errors
from taskdb_cli.database import recording
from taskdb_cli.models.fields import EMAIL_LENGTH, domain_fault, normalize_email
from taskdb_cli.models.task import TASKS, Task
from taskdb_cli.models.token import TOKENS
from taskdb_cli.models.types import MAX_ID
from taskdb_cli.models.user import USERS, User, UserCreate, UserUpdate
from taskdb_cli.models.vocabulary import USER_FIELDS
from taskdb_cli.services import explained
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import user_count_query, user_query
from taskdb_cli.services.listing.pages import Order, Page, Position, Record
from taskdb_cli.services.listing.query import UserFilter
from taskdb_cli.text.amounts import in_words

_users = USERS.c

_RECORD = [_users[field] for field in USER_FIELDS]

Refs = Sequence[str | range]
"""Ids and e-mail addresses of users. A range means those of its ids that exist, and at least one."""


@dataclass(frozen=True)
class Deletion:
    """The users who are deleted, and how many tasks are deleted or reassigned with them."""

    users: list[User]
    tasks: int
    reassigned_to: User | None = None

    def describe(self) -> str:
        """Say who is deleted, with how many tasks."""
        who, tasks = ", ".join(user.email for user in self.users), in_words({"tasks": self.tasks})
        heir = self.reassigned_to
        return f"{who} and {tasks}" if heir is None else f"{who}, giving {tasks} to {heir.email}"

    def report(self, *, dry_run: bool) -> dict[str, object]:
        """Return what happened, or would happen, as programs read it."""
        moved = self.reassigned_to is not None
        return {
            "users": [user.id for user in self.users],
            "tasks_deleted": 0 if moved else self.tasks,
            "tasks_reassigned": self.tasks if moved else 0,
            "dry_run": dry_run,
        }


def require_domain(email: str, *, special_domains: bool) -> None:
    """Raise InvalidInput for a new address in a special-use domain, unless these are allowed."""
    if not special_domains and (fault := domain_fault(email)):
        raise errors.InvalidInput(f"email {fault}")


def create(session: Session, given: UserCreate, *, now: datetime, special_domains: bool = False) -> User:
    """Make a user; raise EmailTaken when another user has the address, and as `require_domain` does."""
    require_domain(given.email, special_domains=special_domains)
    times = {"created_at": given.created_at or now, "updated_at": given.updated_at or now}
    statement = insert(USERS).values(**given.model_dump() | times, version=1)
    with explained(users_email_key=errors.EmailTaken(given.email)):
        [row] = recording.insert(session, statement, _RECORD)
    return _user(row)


def create_unless_exists(
    session: Session, given: UserCreate, *, now: datetime, special_domains: bool = False
) -> User:
    """Make a user, or return the one that has the address already, as it is; raise as `require_domain`."""
    if not special_domains and domain_fault(given.email):
        with suppress(errors.UserNotFound):
            return get(session, given.email)
    try:
        with session.begin_nested():
            return create(session, given, now=now, special_domains=special_domains)
    except errors.EmailTaken as taken:
        try:
            return get(session, given.email)
        except errors.UserNotFound as exc:
            leaving = f"{taken.message}, who is being deleted"
            raise errors.TransactionConflict(leaving, "try again later") from exc


def get(session: Session, ref: str, *, lock: bool = False) -> User:
    """Return the user with that id or e-mail address; raise UserNotFound.

    With `lock` no other transaction can change or delete the user, or give them a task, until this
    one ends, and the user is as the last transaction left them, even if the session read them before.
    """
    query = select(User).where(is_user(ref))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    user = session.exec(query).one_or_none()
    if user is None:
        raise errors.UserNotFound(ref)
    return user


def to_id(ref: str) -> int | None:
    """Return the id that a reference of digits names, 0 if no row can have that id, or else None."""
    if not (ref.isascii() and ref.isdecimal()):
        return None
    # int() itself refuses some thousands of digits.
    id = int(ref.lstrip("0")[: len(str(MAX_ID)) + 1] or 0)
    return id if id <= MAX_ID else 0


def begins_with(id: ColumnElement[int], digits: str) -> ColumnElement[bool]:
    """Return the condition that an id begins with these digits."""
    widths = [10**zeros for zeros in range(len(str(MAX_ID)) + 1 - len(digits))]
    spans = [(int(digits) * width, int(digits) * width + width - 1) for width in widths]
    return or_(false(), *[id.between(low, min(high, MAX_ID)) for low, high in spans if 0 < low <= MAX_ID])


def is_user(ref: str) -> ColumnElement[bool]:
    """Return the condition that a user has that id or e-mail address; raise UserNotFound if it is neither."""
    id = to_id(ref)
    try:
        return _users.email == normalize_email(ref) if id is None else _users.id == id
    except ValueError:
        raise errors.UserNotFound(ref) from None


def get_id(session: Session, ref: str) -> int:
    """Return the id of the user with that id or e-mail address; raise UserNotFound."""
    id = session.exec(select(User.id).where(is_user(ref))).one_or_none()
    if id is None:
        raise errors.UserNotFound(ref)
    return id


def find(
    session: Session,
    filter: UserFilter,
    order: Order,
    *,
    limit: int,
    after: Position | None = None,
    skip: int = 0,
    with_counts: bool = False,
    fits: Callable[[Record], bool] | None = None,
) -> Page:
    """Return one page of matching records, with each user's number of tasks if asked.

    The first `skip` records are passed over. The page ends early where a record does not fit.
    """
    query = user_query(filter, with_counts=with_counts)
    return pages.page(session, query, order, limit=limit, after=after, skip=skip, fits=fits)


def stream(
    session: Session,
    filter: UserFilter,
    order: Order,
    *,
    after: Position | None = None,
    with_counts: bool = False,
) -> Generator[Record, None, None]:
    """Yield every matching record at constant memory, with each user's number of tasks if asked."""
    return pages.stream(session, user_query(filter, with_counts=with_counts), order, after=after)


def count(session: Session, filter: UserFilter, *, most: int | None = None) -> int:
    """Return how many users match, or `most` if there are more."""
    return int(session.execute(user_count_query(filter, most)).scalar_one())


def find_by_prefix(session: Session, prefix: str, *, limit: int) -> list[User]:
    """Return the first users, by address, whose e-mail address begins with the prefix."""
    if len(prefix) > EMAIL_LENGTH:
        return []
    query = select(User).where(col(User.email).startswith(prefix.lower(), autoescape=True))
    return list(session.exec(query.order_by(col(User.email)).limit(limit)))


def change(
    session: Session,
    ref: str,
    given: UserUpdate,
    *,
    now: datetime,
    if_version: int | None = None,
    special_domains: bool = False,
) -> User:
    """Change the fields that are given; without a difference nothing is written.

    Raises UserNotFound, EmailTaken, StaleVersion when the user is not at `if_version`, and what
    `require_domain` raises for another address.
    """
    user = get(session, ref, lock=True)
    if if_version is not None and user.version != if_version:
        raise errors.StaleVersion("user", user.id, expected=if_version, current=user.version)
    if given.email not in (None, user.email):
        require_domain(given.email, special_domains=special_domains)
    values = given.model_dump(exclude_unset=True)
    if all(getattr(user, field) == value for field, value in values.items()):
        return user
    values |= {"version": _users.version + 1, "updated_at": now}
    with explained(users_email_key=errors.EmailTaken(values.get("email", user.email))):
        [row] = recording.update(session, USERS, values, _users.id == user.id, returning=_RECORD)
    return _user(row)


def preview_deletion(session: Session, refs: Refs, *, reassign_to: str | None = None) -> Deletion:
    """Return what `remove` would do, and change nothing; raise as it does."""
    users, heir = involved(session, refs, reassign_to)
    owned = col(Task.user_id).in_([user.id for user in users])
    count = session.exec(select(func.count()).select_from(Task).where(owned)).one()
    return Deletion(users, count, heir)


def involved(
    session: Session, refs: Refs, reassign_to: str | None, *, lock: bool = False
) -> tuple[list[User], User | None]:
    """Return the users whom `remove` would delete and the new owner of their tasks, locked if asked.

    Raises UserNotFound, and InvalidInput when the new owner goes too.
    """
    heir = get(session, reassign_to) if reassign_to is not None else None
    users = {user.id: user for ref in refs for user in _named(session, ref)}
    if heir is not None and heir.id in users:
        raise errors.InvalidInput(f"user {reassign_to} is deleted too, and cannot take over the tasks")
    if lock:
        # In the order of ids, as every writer of several rows, so that two of them cannot deadlock.
        for id in sorted([*users, heir.id] if heir else users):
            get(session, str(id), lock=True)
    return list(users.values()), heir


def _named(session: Session, ref: str | range) -> Sequence[User]:
    if isinstance(ref, str):
        return [get(session, ref)]
    within = col(User.id).between(min(ref[0], MAX_ID), min(ref[-1], MAX_ID))
    found = session.exec(select(User).where(within).order_by(col(User.id))).all()
    if not found:
        raise errors.UserNotFound(f"{ref[0]}-{ref[-1]}")
    return found


def remove(session: Session, refs: Refs, *, now: datetime, reassign_to: str | None = None) -> Deletion:
    """Delete users with their tasks, or give the tasks to another user first; all or nothing.

    The users are locked first, so that no task can be given to them meanwhile.
    Raises UserNotFound, InvalidInput when the new owner goes too, and ExternalIdTaken when they have a
    task of the same external id.
    """
    users, heir = involved(session, refs, reassign_to, lock=True)
    ids = [user.id for user in users]
    tasks = select(Task.id).where(col(Task.user_id).in_(ids)).order_by(col(Task.id)).with_for_update()
    concerned = TASKS.c.id.in_(tasks)
    if heir is None:
        # ON DELETE CASCADE would delete them too, but nobody would know which.
        number = recording.delete_many(session, TASKS, concerned)
    else:
        changes = {"user_id": heir.id, "version": TASKS.c.version + 1, "updated_at": now}
        with explained(tasks_user_id_external_id_key=errors.ExternalIdTaken(None, heir.email)):
            number = recording.update_many(session, TASKS, changes, concerned)
    recording.delete_many(session, TOKENS, TOKENS.c.user_id.in_(ids))
    recording.delete_many(session, USERS, _users.id.in_(ids))
    return Deletion(users, number, heir)


def _user(row: tuple[Any, ...]) -> User:
    return User(**dict(zip(USER_FIELDS, row, strict=True)))
