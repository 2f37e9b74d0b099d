"""Whether the queries that people wait for every day still find their rows by an index."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Select, select
from sqlmodel import col

from taskdb_cli.database.health import NotMeasured
from taskdb_cli.health.report import Check, Status
from taskdb_cli.health.subject import Look
from taskdb_cli.models.task import Task
from taskdb_cli.services.listing import pages
from taskdb_cli.services.listing.filters import TASK_SORT_KEYS, task_query
from taskdb_cli.services.listing.query import TaskFilter
from taskdb_cli.services.listing.sorting import Order

FEWEST_ROWS = 10_000
"""A planner is right to read a smaller table from end to end."""

PAGE = 50
_ORDERS_OF_ONE = ("-created", "due", "-updated", "-priority")


def plans(look: Look) -> Check:
    """Ask for the plans of the usual forms of `task list`; nothing is run."""
    rows = look.probe.rows("tasks")
    if rows < FEWEST_ROWS:
        raise NotMeasured(f"{rows:,} tasks are too few for a plan to matter")
    table = Task.metadata.tables["tasks"]
    slow = [form for form, query in _forms(look) if look.probe.reads_everything(query, table)]
    return look.none_of(
        slow,
        "the usual lists are read from an index",
        "these read every task",
        remedy="ANALYZE tasks; then look at 'taskdb task list --explain' and at the check indexes",
        status=Status.WARNING,
    )


def _forms(look: Look) -> Iterator[tuple[str, Select[object]]]:
    # Of the newest task's owner, who has at least one.
    newest = select(col(Task.user_id)).order_by(col(Task.id).desc()).limit(1)
    owner = look.subject.connection.execute(newest).scalar_one()
    everyone = TaskFilter()
    overdue = TaskFilter(overdue_at=look.subject.now)
    forms: list[tuple[TaskFilter, list[int], str]] = [(everyone, [], "-created"), (overdue, [], "due")]
    forms += [(TaskFilter(users=(str(owner),)), [owner], name) for name in _ORDERS_OF_ONE]
    for filter, owners, sort in forms:
        order = Order.parse(sort, TASK_SORT_KEYS)
        options = f"{'--user ' if owners else ''}{'--overdue ' if filter.overdue_at else ''}--sort {sort}"
        for query in pages.queries(task_query(filter, owners), order, limit=PAGE):
            yield options, query
