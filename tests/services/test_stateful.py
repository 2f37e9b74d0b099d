"""The services, held to a model in memory over random sequences of what people do."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from taskdb_cli.database import Database
from taskdb_cli.database.options import Options, Pool
from taskdb_cli.errors import (
    EmailTaken,
    ExternalIdTaken,
    InvalidInput,
    StaleVersion,
    TaskNotFound,
    UserNotFound,
)
from taskdb_cli.models.task import TaskCreate, TaskUpdate
from taskdb_cli.models.user import UserCreate, UserUpdate
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services import task, user
from tests.conftest import ENDS, NOW
from tests.operations import assert_explained
from tests.samples import task_records, user_records

ADDRESSES = st.sampled_from([f"{name}@example.com" for name in ("ann", "bob", "carl")])
EXTERNAL_IDS = st.sampled_from([None, "x", "y"])
STATUSES = st.sampled_from(TaskStatus)
PLACES = st.integers(0, 5)
"""Which of the tasks there are; beyond the last one, a task that does not exist."""

EXAMPLES = 100 if os.environ.get("TASKDB_SOAK") == "1" else 12

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["Write", "Read"]),
        "description": st.sampled_from([None, "Long"]),
        "priority": st.sampled_from(TaskPriority),
        "status": STATUSES,
        "due_at": st.sampled_from([None, NOW]),
    },
)


class Services(RuleBasedStateMachine):
    """Users by their address and tasks by their id, as records, beside the database."""

    database = None

    @initialize()
    def empty(self):
        self.now = NOW
        self.users = {}
        self.tasks = {}
        for record in user_records(self.database):
            self.database.write(lambda session, ref=str(record["id"]): user.remove(session, [ref], now=NOW))
        for address in ("ann@example.com", "bob@example.com"):
            self.create_user(address)

    def write(self, act):
        """Run one unit of work at a time of its own."""
        self.now += timedelta(seconds=1)
        return self.database.write(lambda session: act(session, self.now))

    def refused(self, error, act):
        with pytest.raises(error):
            self.write(act)

    def id_at(self, place):
        return [*self.tasks, *[10**9] * 6][place]

    def owned(self, address):
        return [record for record in self.tasks.values() if record["user"] == address]

    def has(self, address, external_id):
        return external_id is not None and any(
            record["external_id"] == external_id for record in self.owned(address)
        )

    def owner(self, address):
        return {"user": address, "user_id": self.users[address]["id"]}

    def bump(self, record, **changes):
        if any(record[field] != value for field, value in changes.items()):
            if "status" in changes and changes["status"] != record["status"]:
                changes["completed_at"] = self.now if changes["status"] is TaskStatus.DONE else None
            record.update(changes, version=record["version"] + 1, updated_at=self.now)

    @rule(address=ADDRESSES)
    def create_user(self, address):
        def act(session, now):
            return user.create(session, UserCreate(email=address, name="N"), now=now)

        if address in self.users:
            self.refused(EmailTaken, act)
        else:
            self.users[address] = {
                "id": self.write(act).id,
                "email": address,
                "name": "N",
                "is_active": True,
                "version": 1,
                "created_at": self.now,
                "updated_at": self.now,
            }

    @rule(address=ADDRESSES, new=ADDRESSES, is_active=st.booleans())
    def change_user(self, address, new, is_active):
        def act(session, now):
            return user.change(session, address, UserUpdate(email=new, is_active=is_active), now=now)

        if address not in self.users:
            self.refused(UserNotFound, act)
        elif new != address and new in self.users:
            self.refused(EmailTaken, act)
        else:
            self.write(act)
            record = self.users.pop(address)
            self.users[new] = record
            self.bump(record, email=new, is_active=is_active)
            for owned in self.owned(address):
                owned["user"] = new

    @rule(address=ADDRESSES, external_id=EXTERNAL_IDS, status=STATUSES, anew=st.booleans())
    def create_task(self, address, external_id, status, anew):
        given = TaskCreate(title="Write", external_id=external_id, status=status)
        make = task.create if anew else task.create_unless_exists

        def act(session, now):
            return make(session, address, given, now=now)

        if address not in self.users:
            self.refused(UserNotFound, act)
        elif not self.has(address, external_id):
            made = self.write(act)
            self.tasks[made["id"]] = {
                "id": made["id"],
                **self.owner(address),
                "external_id": external_id,
                "title": "Write",
                "description": None,
                "status": status,
                "priority": TaskPriority.MEDIUM,
                "due_at": None,
                "completed_at": self.now if status is TaskStatus.DONE else None,
                "version": 1,
                "created_at": self.now,
                "updated_at": self.now,
            }
        elif anew:
            self.refused(ExternalIdTaken, act)
        else:
            made = self.write(act)
            assert made == self.tasks[made["id"]]

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), changes=CHANGES)
    def change_tasks(self, places, changes):
        ids = [self.id_at(place) for place in places]

        def act(session, now):
            return task.change(session, ids, TaskUpdate.model_validate(changes), now=now)

        if not set(ids) <= self.tasks.keys():
            self.refused(TaskNotFound, act)
            return
        told = self.write(act)
        for id in set(ids):
            self.bump(self.tasks[id], **changes)
        assert told == [self.tasks[id] for id in dict.fromkeys(ids)]

    @rule(place=PLACES, version=st.integers(1, 3), status=STATUSES)
    def change_version(self, place, version, status):
        id = self.id_at(place)

        def act(session, now):
            return task.change(session, [id], TaskUpdate(status=status), now=now, if_version=version)

        if id not in self.tasks:
            self.refused(TaskNotFound, act)
        elif self.tasks[id]["version"] != version:
            self.refused(StaleVersion, act)
        else:
            self.write(act)
            self.bump(self.tasks[id], status=status)

    @rule(place=PLACES, address=ADDRESSES)
    def move_task(self, place, address):
        id = self.id_at(place)

        def act(session, now):
            return task.change(session, [id], TaskUpdate(), now=now, owner=address)

        if address not in self.users:
            self.refused(UserNotFound, act)
        elif id not in self.tasks:
            self.refused(TaskNotFound, act)
        elif self.tasks[id]["user"] != address and self.has(address, self.tasks[id]["external_id"]):
            self.refused(ExternalIdTaken, act)
        else:
            self.write(act)
            self.bump(self.tasks[id], **self.owner(address))

    @rule(places=st.lists(PLACES, min_size=1, max_size=2))
    def delete_tasks(self, places):
        ids = [self.id_at(place) for place in places]

        def act(session, now):
            return task.remove(session, ids)

        if set(ids) <= self.tasks.keys():
            assert self.write(act) == [self.tasks.pop(id) for id in dict.fromkeys(ids)]
        else:
            self.refused(TaskNotFound, act)

    @rule(address=ADDRESSES)
    def delete_user(self, address):
        def act(session, now):
            return user.remove(session, [address], now=now)

        if address not in self.users:
            self.refused(UserNotFound, act)
            return
        gone = self.owned(address)
        assert self.write(act).tasks == len(gone)
        del self.users[address]
        for record in gone:
            del self.tasks[record["id"]]

    @rule(address=ADDRESSES, heir=ADDRESSES)
    def reassign(self, address, heir):
        def act(session, now):
            return user.remove(session, [address], now=now, reassign_to=heir)

        moved = self.owned(address)
        if not {address, heir} <= self.users.keys():
            self.refused(UserNotFound, act)
        elif address == heir:
            self.refused(InvalidInput, act)
        elif any(self.has(heir, record["external_id"]) for record in moved):
            self.refused(ExternalIdTaken, act)
        else:
            assert self.write(act).tasks == len(moved)
            for record in moved:
                self.bump(record, **self.owner(heir))
            del self.users[address]

    @invariant()
    def agrees(self):
        if not hasattr(self, "users"):
            return
        by_id = sorted(self.users.values(), key=lambda record: record["id"])
        assert user_records(self.database) == by_id
        assert task_records(self.database) == [self.tasks[id] for id in sorted(self.tasks)]


@pytest.fixture
def kept(database):
    """The database with a connection that is kept: opening one takes longer than all else."""
    kept = Database(database.url, Options(pool=Pool(size=1)))
    yield kept
    kept.engine.dispose()


@pytest.mark.soak
@ENDS
def test_services(kept):
    """Whatever is done in whatever order, the database holds what the model does, and the history why."""

    class Here(Services):
        database = kept

    checks = list(HealthCheck)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
    assert_explained(kept)
