"""Numbers about tasks: how many stand where, and how fast they come and go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import case, func, select
from sqlmodel import Session, col

from taskdb_cli.models.task import Task
from taskdb_cli.models.vocabulary import OPEN_STATUSES, TaskPriority, TaskStatus
from taskdb_cli.services import task as tasks
from taskdb_cli.services import user as users
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
from taskdb_cli.services.listing.pages import Order, Record
from taskdb_cli.services.listing.query import TaskFilter


@dataclass(frozen=True)
class Week:
    """How many tasks were created and completed in the week that begins at `start`."""

    start: datetime
    created: int
    completed: int


@dataclass(frozen=True)
class Stats:
    """The numbers of all tasks, or of one user's."""

    by_status: dict[TaskStatus, int]
    by_priority: dict[TaskPriority, int]
    overdue: int
    weeks: list[Week]
    oldest_open: Record | None

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return sum(self.by_status.values())

    def report(self) -> dict[str, Any]:
        """Return the numbers for programs."""
        return {
            "total": self.total,
            "by_status": {status.value: number for status, number in self.by_status.items()},
            "by_priority": {priority.word: number for priority, number in self.by_priority.items()},
            "overdue": self.overdue,
            "weeks": [
                {"start": f"{week.start:%Y-%m-%d}", "created": week.created, "completed": week.completed}
                for week in self.weeks
            ],
            "oldest_open": self.oldest_open,
        }


def collect(session: Session, owner: str | None, *, now: datetime, boundaries: Sequence[datetime]) -> Stats:
    """Return the numbers; each week reaches from one of the `boundaries` to the next.

    Raises UserNotFound.
    """
    whose = [col(Task.user_id) == users.get(session, owner).id] if owner is not None else []
    names = (owner,) if owner is not None else ()
    by_creation = Order.parse("created", TASK_SORT_KEYS)
    oldest = tasks.find(session, TaskFilter(users=names, statuses=OPEN_STATUSES), by_creation, limit=1)
    by_status, by_priority = dict.fromkeys(TaskStatus, 0), dict.fromkeys(TaskPriority, 0)
    keys = (col(Task.status), col(Task.priority))
    numbers = select(*keys, func.count()).where(*whose).group_by(*keys)
    for status, priority, number in session.execute(numbers):
        by_status[status] += number
        by_priority[priority] += number

    weeks = list(pairwise(boundaries))

    def count_weeks(moment: Any) -> list[int]:
        counts = [func.count(case(((moment >= start) & (moment < end), 1))) for start, end in weeks]
        within = (moment >= boundaries[0], moment < boundaries[-1])
        return list(session.execute(select(*counts).where(*whose, *within)).one())

    created, completed = count_weeks(Task.created_at), count_weeks(Task.completed_at)
    return Stats(
        by_status,
        by_priority,
        overdue=tasks.count(session, TaskFilter(users=names, overdue_at=now)),
        weeks=[Week(*week) for week in zip(boundaries[:-1], created, completed, strict=True)],
        oldest_open=oldest.records[0] if oldest.records else None,
    )
