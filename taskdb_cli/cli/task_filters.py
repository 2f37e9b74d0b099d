"""The options that say which tasks are meant, shared by list and export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.completion import complete_priorities, complete_statuses, complete_users
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import CLOSED_STATUSES, OPEN_STATUSES, TaskPriority, TaskStatus

if TYPE_CHECKING:
    from taskdb_cli.services.query import TaskFilter

UserFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--user", metavar="USER", help="Only theirs; repeat for several.", autocompletion=complete_users
    ),
]
StatusFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="todo, in_progress, done, cancelled, open or closed; repeat for several.",
        autocompletion=complete_statuses,
    ),
]
PriorityFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--priority",
        metavar="PRIORITY",
        help="low, medium, high or urgent; repeat for several.",
        autocompletion=complete_priorities,
    ),
]
Sort = Annotated[
    str,
    typer.Option(
        metavar="KEYS",
        help="id, title, status, priority, due, created, updated, completed, user; "
        "comma-separated, '-' in front for descending.",
    ),
]


def read_filter(
    users: list[str] | None, statuses: list[str] | None, priorities: list[str] | None
) -> TaskFilter:
    """Return the filter that the options describe; raise InvalidInput naming the valid words."""
    from taskdb_cli.services.query import TaskFilter

    return TaskFilter(
        users=tuple(users or ()),
        statuses=frozenset[TaskStatus]().union(*map(_statuses, statuses or ())),
        priorities=frozenset(map(_priority, priorities or ())),
    )


def _statuses(word: str) -> frozenset[TaskStatus]:
    groups = {"open": OPEN_STATUSES, "closed": CLOSED_STATUSES}
    groups |= {status.value: frozenset({status}) for status in TaskStatus}
    try:
        return groups[word]
    except KeyError:
        raise InvalidInput(
            f"there is no status {word!r}", f"statuses are {', '.join(TaskStatus)}, open and closed"
        ) from None


def _priority(word: str) -> TaskPriority:
    try:
        return TaskPriority.from_word(word)
    except ValueError as exc:
        raise InvalidInput(f"there is no priority {word!r}", f"it {exc}") from None
