"""Undo, held to a model in memory: random commands of every kind, and undos between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from taskdb_cli.errors import NotUndone
from taskdb_cli.models.history import Operation
from taskdb_cli.models.task import TaskUpdate
from taskdb_cli.models.vocabulary import Existing, TaskPriority, TaskStatus
from taskdb_cli.services import bulk
from taskdb_cli.services.history import undo
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.transfer.tasks import import_tasks
from tests.conftest import ENDS
from tests.operations import assert_explained
from tests.services.test_stateful import (
    ADDRESSES,
    CHANGES,
    EXAMPLES,
    STATUSES,
    Services,
    kept,  # noqa: F401 (a fixture)
)
from tests.transfer.test_imports import batch_of


@dataclass(frozen=True)
class Made:
    """An operation: each row as it was and as it became, with the names of these two states.

    A name stands for the values of a row at a moment. A row that is deleted keeps its name, and an undo
    gives an old name back.
    """

    id: int
    rows: dict[tuple[str, int], tuple[dict | None, int, dict | None, int]]


class Undoable(Services):
    """The services, and undo."""

    @invariant()
    def remembers(self):
        """Note what the last step has done, if it was an operation."""
        if not hasattr(self, "users"):
            return
        newest, state = self.newest(), self.state()
        if not hasattr(self, "made"):
            self.names, self.fresh, self.versions, self.made = {}, count(1), {}, []
            self.names |= {key: next(self.fresh) for key in state}
        elif newest != self.seen:
            assert newest > self.seen
            rows = {}
            for key in self.before.keys() | state.keys():
                old, new = self.before.get(key), state.get(key)
                if old != new:
                    name = self.names.get(key, 0)
                    if new:
                        self.names[key] = next(self.fresh)
                    rows[key] = old, name, new, self.names[key]
            self.note(newest, rows)
        else:
            assert state == self.before
        self.look()

    def look(self):
        """Remember the rows as they are, to compare with them after the next step."""
        self.seen, self.before = self.newest(), self.state()
        self.versions |= {key: record["version"] for key, record in self.before.items()}

    def newest(self):
        return self.database.read(lambda session: session.scalar(select(func.max(Operation.id))))

    def note(self, id, rows):
        found = self.database.read(lambda session: session.get(Operation, id))
        assert found.rows_changed == len(rows)
        self.made.append(Made(id, rows))

    def state(self):
        """Return all rows without the address of a task's owner, which is no value of the task."""
        tasks = {("task", id): {**record, "user": None} for id, record in self.tasks.items()}
        return {("user", record["id"]): dict(record) for record in self.users.values()} | tasks

    def changed_since(self, made):
        """Return the rows that are not as the operation left them."""
        now = self.state()
        return {
            key
            for key, (_, _, after, name) in made.rows.items()
            if (key in now) != (after is not None) or self.names[key] != name
        }

    def without(self, made, left):
        """Return the rows once all but some of an operation is undone, or None if they cannot."""
        state, now = self.state(), self.now
        for key in made.rows.keys() - left:
            old, _, new, _ = made.rows[key]
            if old is None:
                del state[key]
            elif new is None:
                state[key] = old | {"version": self.versions[key] + 1}
            else:
                state[key] = old | {"version": state[key]["version"] + 1, "updated_at": now}
        users = [record for (kind, _), record in state.items() if kind == "user"]
        tasks = [record for (kind, _), record in state.items() if kind == "task"]
        named = [(each["user_id"], each["external_id"]) for each in tasks if each["external_id"] is not None]
        ids = {each["id"] for each in users}
        sound = len({each["email"] for each in users}) == len(users) and len({*named}) == len(named)
        return state if sound and all(each["user_id"] in ids for each in tasks) else None

    def undo(self, made, *, skip_changed=False):
        """Undo an operation, and return whether it was possible; hold the outcome to the model."""
        left = set()

        def take(parts):
            left.clear()
            left.update((row["kind"], row["id"]) for rows in parts for row in rows)

        changed = self.changed_since(made)
        act = partial(undo.undo, id=made.id, skip_changed=skip_changed, note=take)
        try:
            done = self.write(lambda session, now: act(session, now=now))
        except NotUndone:
            assert left
            assert changed <= left
            assert changed or self.without(made, changed) is None
            assert not skip_changed or left == made.rows.keys()
            assert self.newest() == self.seen
            return False
        assert changed <= left
        assert skip_changed or not left
        for key in left - changed:
            assert self.without(made, left - {key}) is None
        assert done.undone_by == self.newest() > self.seen
        self.become(self.without(made, left))
        now, rows = self.state(), {}
        for key in made.rows.keys() - left:
            _, old, _, name = made.rows[key]
            if key in now:
                self.names[key] = old
            rows[key] = self.before.get(key), name, now.get(key), self.names[key]
        self.note(done.undone_by, rows)
        self.look()
        return True

    def become(self, state):
        assert state is not None
        users = [record for (kind, _), record in state.items() if kind == "user"]
        self.users = {record["email"]: record for record in users}
        emails = {record["id"]: record["email"] for record in users}
        tasks = [record for (kind, _), record in state.items() if kind == "task"]
        self.tasks = {each["id"]: each | {"user": emails[each["user_id"]]} for each in tasks}

    @rule(number=st.integers(1, 6))
    def undo_the_newest(self, number):
        """Undoing operations from the newest on always works, and gives all values back."""
        for made in self.made[: -number - 1 : -1]:
            assert self.undo(made)

    @rule(back=st.integers(1, 15), skip_changed=st.booleans())
    def undo_any(self, back, skip_changed):
        if self.made:
            self.undo(self.made[-min(back, len(self.made))], skip_changed=skip_changed)

    @rule(address=ADDRESSES, changes=CHANGES)
    def change_all(self, address, changes):
        filter = TaskFilter(users=[address])
        if address in self.users and changes:
            given = TaskUpdate.model_validate(changes)
            self.write(lambda session, now: [*bulk.change(session, filter, given, now=now)])
            for record in self.owned(address):
                self.bump(record, **changes)

    @rule(status=STATUSES)
    def delete_all(self, status):
        filter = TaskFilter(statuses=frozenset([status]))
        self.write(lambda session, _: [*bulk.remove(session, filter)])
        self.tasks = {id: record for id, record in self.tasks.items() if record["status"] is not status}

    @rule(address=ADDRESSES, title=st.sampled_from(["Write", "Import"]))
    def bring_in(self, address, title):
        """Import a task that the user may have, and one that nobody has."""
        if address not in self.users:
            return
        records = [{"title": title, "external_id": "x"}, {"title": title}]
        highest = max(self.tasks, default=0)
        with batch_of(records, owned=True) as batch:
            self.write(
                lambda session, now: import_tasks(
                    session, batch, owner=address, existing=Existing.UPDATE, now=now
                )
            )
        for record in self.owned(address):
            if record["external_id"] == "x":
                self.bump(record, title=title)
        query = select(undo.TASKS.c.id).where(undo.TASKS.c.created_at == self.now)
        ids = self.database.read(lambda session: session.scalars(query.order_by(undo.TASKS.c.id)).all())
        assert all(id > highest for id in ids)
        missing = [each for each in ("x", None) if not self.has(address, each)]
        for id, external_id in zip(ids, missing, strict=True):
            self.tasks[id] = {
                "id": id,
                **self.owner(address),
                "external_id": external_id,
                "title": title,
                "description": None,
                "status": TaskStatus.TODO,
                "priority": TaskPriority.MEDIUM,
                "due_at": None,
                "completed_at": None,
                "version": 1,
                "created_at": self.now,
                "updated_at": self.now,
            }


@pytest.mark.soak
@ENDS
def test_undo(kept):  # noqa: F811 (the fixture)
    """Whatever is undone in whatever order, the database holds what the model does, and the history why."""

    class Here(Undoable):
        database = kept

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES // 2,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert_explained(kept)
