"""taskdb search: make searches in the titles and descriptions of tasks fast."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from taskdb_cli.cli.commands import Commands, Group
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.output import Output, show_record
from taskdb_cli.output.formats import SEARCH_INDEX
from taskdb_cli.text.amounts import in_one_size

if TYPE_CHECKING:
    from taskdb_cli.database.search_index import SearchIndex

app = Commands(cls=Group, help="Make 'task list --search' fast with an index.")


@app.command(epilog="taskdb search on\ntaskdb search on && taskdb task list --search invoice --explain")
def on(ctx: typer.Context) -> None:
    """Build the search index.

    Other sessions can read meanwhile. On PostgreSQL they can also write.
    """
    from taskdb_cli.services import search as service

    run = invocation(ctx)
    starting = partial(run.say, f"building the search index of {run.maintained.backend.place}")
    _report(run, *service.on(run.maintained, starting=starting))


@app.command(epilog="taskdb search off\ntaskdb search off && taskdb search status")
def off(ctx: typer.Context) -> None:
    """Drop the search index.

    Searches find the same tasks without it, but take longer.
    """
    from taskdb_cli.services import search as service

    run = invocation(ctx)
    _report(run, *service.off(run.maintained))


def _report(run: Invocation, before: SearchIndex, after: SearchIndex) -> None:
    already = " already" if before == after else ""
    size = f", and takes {in_one_size(after.bytes)}" if after.bytes else ""
    run.say(f"the search index of {run.maintained.backend.place} is {after.state}{already}{size}")


@app.command(epilog="taskdb search status\ntaskdb search status -o json")
def status(ctx: typer.Context, *, output: Output) -> None:
    """Show whether the search index is on, its size, and whether it helps."""
    from taskdb_cli.services import search as service

    run = invocation(ctx)
    found = run.database.read(service.status, bulk=True)
    record = {
        "state": found.index.state,
        "size": found.index.bytes,
        "tasks": found.tasks,
        "tasks_size": found.index.tasks_bytes,
        "write_factor": found.write_factor,
        "pays": found.pays,
        "problem": found.index.problem or None,
    }
    show_record(record, SEARCH_INDEX, output)
    run.say(found.advice())
