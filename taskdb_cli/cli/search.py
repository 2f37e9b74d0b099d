"""taskdb search: make searches in the titles and descriptions of tasks fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from taskdb_cli.cli.commands import Commands, Group
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.output import Output, show_record
from taskdb_cli.output.formats import SEARCH_INDEX
from taskdb_cli.system import signals

if TYPE_CHECKING:
    from taskdb_cli.database import Database
    from taskdb_cli.database.search_index import SearchIndex

app = Commands(cls=Group, help="Make searches in many tasks fast, by an index.")


@app.command(epilog="taskdb search on\ntaskdb search on && taskdb task list --search invoice --explain")
def on(ctx: typer.Context) -> None:
    """Build the search index; others go on reading and writing."""
    from taskdb_cli.services import search as service

    _change(ctx, service.on)


@app.command(epilog="taskdb search off\ntaskdb search off && taskdb search status")
def off(ctx: typer.Context) -> None:
    """Drop the search index; searches find the same without it."""
    from taskdb_cli.services import search as service

    _change(ctx, service.off)


def _change(ctx: typer.Context, change: Callable[[Database], tuple[SearchIndex, SearchIndex]]) -> None:
    run = invocation(ctx)
    before, after = change(run.maintained)
    already = " already" if before == after else ""
    signals.note_change(made=True)
    size = f" and takes {after.bytes / 1e6:,.1f} MB" if after.bytes else ""
    run.say(f"the search index of {run.maintained.backend.place} is {after.state}{already}{size}")


@app.command(epilog="taskdb search status\ntaskdb search status -o json")
def status(ctx: typer.Context, *, output: Output) -> None:
    """Say whether the search index is on, what it costs, and whether it would pay."""
    from taskdb_cli.services import search as service

    run = invocation(ctx)
    found = run.database.read(service.status, bulk=True)
    index = found.index
    record = {
        "state": index.state,
        "size": index.bytes,
        "problem": index.problem or None,
        "tasks": found.tasks,
        "pays": found.pays,
    }
    show_record(record, SEARCH_INDEX, output)
