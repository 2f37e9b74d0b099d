"""The options that say which tasks are meant, declared once for every command that takes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli.completion import complete_priorities, complete_statuses, complete_users
from taskdb_cli.times import parse_when

if TYPE_CHECKING:
    from taskdb_cli.services.listing.filters import TaskFilter


def _time(help: str) -> Any:
    return typer.Option(metavar="WHEN", help=help, show_default=False)


@dataclass(frozen=True)
class TaskFilterOptions:
    """The filter as it was typed."""

    user: Annotated[
        list[str] | None,
        typer.Option(metavar="USER", help="Only theirs; repeat for several.", autocompletion=complete_users),
    ] = None
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="todo, in_progress, done, cancelled, open or closed; repeat for several.",
            autocompletion=complete_statuses,
        ),
    ] = None
    priority: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRIORITY",
            help="low, medium, high or urgent; repeat for several.",
            autocompletion=complete_priorities,
        ),
    ] = None
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Title or description holds it; at most 200 characters.", show_default=False
        ),
    ] = ""
    overdue: Annotated[bool, typer.Option("--overdue", help="Open, and due before now.")] = False
    no_due: Annotated[bool, typer.Option("--no-due", help="Without a due date.")] = False
    due_before: Annotated[str | None, _time("Due before then.")] = None
    due_after: Annotated[str | None, _time("Due then or later.")] = None
    created_before: Annotated[str | None, _time("Created before then.")] = None
    created_after: Annotated[str | None, _time("Created then or later.")] = None
    updated_before: Annotated[str | None, _time("Last changed before then.")] = None
    updated_after: Annotated[str | None, _time("Last changed then or later.")] = None
    completed_before: Annotated[str | None, _time("Completed before then.")] = None
    completed_after: Annotated[str | None, _time("Completed then or later.")] = None

    def typed(self) -> dict[str, Any]:
        """Return what was typed, which a cursor is bound to."""
        return {name: value for name, value in asdict(self).items() if value}

    def read(self, now: datetime) -> TaskFilter:
        """Return the filter that is meant at that time; raise InvalidInput for a word that is not known."""
        from taskdb_cli.services.listing.filters import TaskFilter

        return TaskFilter.from_words(
            asdict(self), now=now, parse_time=lambda text: parse_when(text, now=now, end_of_day=False)
        )
