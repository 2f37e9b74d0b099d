"""Random work of many writers on the same few users and tasks, and what it must leave behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

from sqlalchemy import make_url

from taskdb_cli.database import Database
from taskdb_cli.errors import Conflict, InvalidInput, NotFound
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.user import UserCreate
from taskdb_cli.models.vocabulary import TaskStatus
from taskdb_cli.services import task, user
from taskdb_cli.services.listing.pages import Record

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)
USERS = 6
HOT = 12
"""How many of the newest tasks are worked on, so that writers meet."""


def address(number: int) -> str:
    """Return the address of one of the users that all writers share."""
    return f"user{number}@example.com"


@dataclass
class Tally:
    """What one writer was told that it did."""

    created: list[Record] = field(default_factory=list)
    changed: list[Record] = field(default_factory=list)
    removed: list[Record] = field(default_factory=list)
    removed_with_users: int = 0
    reassigned: int = 0
    users: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def total(tallies: Iterable[Tally]) -> Tally:
    """Return what all writers did together."""
    whole = Tally()
    for tally in tallies:
        whole.created += tally.created
        whole.changed += tally.changed
        whole.removed += tally.removed
        whole.removed_with_users += tally.removed_with_users
        whole.reassigned += tally.reassigned
        whole.users += tally.users
        whole.refused += tally.refused
    return whole


def work_in_process(url: str, writer: int, operations: int) -> Tally:
    """Work on the database at a URL, in a process that begins with this call."""
    return Writer(Database(make_url(url)), writer).work(operations)


class Writer:
    """One of many who do the same kind of things at the same time.

    What the services refuse is counted; any other failure is one of the test's.
    """

    def __init__(self, database: Database, number: int) -> None:
        self.tally = Tally()
        self._database = database
        self._number = number
        self._chance = Random(number)
        self._newest = HOT

    def work(self, operations: int) -> Tally:
        """Do so many things, each at a time of its own, and return what came of them."""
        acts: dict[Callable[[datetime], None], int] = {
            self._create: 30,
            self._update: 20,
            self._set_status: 15,
            self._move: 10,
            self._delete: 8,
            partial(self._delete_user, reassign=True): 4,
            partial(self._delete_user, reassign=False): 3,
            self._create_user: 10,
        }
        chosen = self._chance.choices(list(acts), list(acts.values()), k=operations)
        for step, act in enumerate(chosen):
            try:
                act(BEGIN + timedelta(hours=self._number, milliseconds=step))
            except (Conflict, InvalidInput, NotFound) as refusal:
                self.tally.refused[type(refusal).__name__] += 1
        return self.tally

    def _user(self) -> str:
        return address(self._chance.randrange(USERS))

    def _tasks(self) -> list[int]:
        ids = range(max(1, self._newest - HOT), self._newest + 1)
        return self._chance.sample(ids, self._chance.choice([1, 1, 1, 2]))

    def _create(self, now: datetime) -> None:
        external_id = f"x{self._chance.randrange(HOT)}" if self._chance.random() < 0.5 else None
        given, owner = TaskCreate(title="New", external_id=external_id), self._user()
        made = self._database.write(lambda session: task.create_unless_exists(session, owner, given, now=now))
        self._newest = max(self._newest, made["id"])
        if made["created_at"] == now:
            self.tally.created.append(made)

    def _update(self, now: datetime) -> None:
        self._change(self._tasks(), TaskUpdate(title=f"Title {now.isoformat()}"), now)

    def _set_status(self, now: datetime) -> None:
        self._change(self._tasks(), TaskUpdate(status=self._chance.choice(list(TaskStatus))), now)

    def _move(self, now: datetime) -> None:
        self._change(self._tasks(), TaskUpdate(), now, owner=self._user())

    def _change(self, ids: list[int], given: TaskUpdate, now: datetime, owner: str | None = None) -> None:
        records = self._database.write(lambda session: task.change(session, ids, given, now=now, owner=owner))
        self.tally.changed += [record for record in records if record["updated_at"] == now]

    def _delete(self, now: datetime) -> None:
        ids = self._tasks()
        self.tally.removed += self._database.write(lambda session: task.remove(session, ids))

    def _delete_user(self, now: datetime, *, reassign: bool) -> None:
        ref, heir = self._user(), self._user() if reassign else None
        done = self._database.write(lambda session: user.remove(session, [ref], now=now, reassign_to=heir))
        self.tally.users -= 1
        if reassign:
            self.tally.reassigned += done.tasks
        else:
            self.tally.removed_with_users += done.tasks

    def _create_user(self, now: datetime) -> None:
        given = UserCreate(email=self._user(), name="User")
        made = self._database.write(lambda session: user.create_unless_exists(session, given, now=now))
        self.tally.users += made.created_at == now
