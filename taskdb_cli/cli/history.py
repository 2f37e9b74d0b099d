"""taskdb history: which operations changed rows, and how; and the life of one row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskdb_cli.cli import options
from taskdb_cli.cli.commands import Commands, Group
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.history_prune import prune
from taskdb_cli.cli.lists import require_pages, show_list
from taskdb_cli.cli.options import (
    OperationArgument,
    choose_fields,
    read_request,
    refuse_options_before,
    with_option_groups,
)
from taskdb_cli.cli.output import Output, show_records
from taskdb_cli.output.formats import CHANGES, LIFE, OPERATIONS, Format, Record
from taskdb_cli.services.listing.query import OPERATION_QUERY

if TYPE_CHECKING:
    from sqlmodel import Session

app = Commands(
    cls=Group,
    help="List commands and requests that changed rows, or show one.",
    invoke_without_command=True,
)


@app.callback(
    epilog=(
        "taskdb history --user ann@example.com --since monday\n"
        "taskdb history --command 'task delete' --actor kim"
    )
)
@with_option_groups
def main(
    ctx: typer.Context,
    *,
    given: Annotated[dict[str, Any], OPERATION_QUERY],
    page: options.Page = None,
    fields: Annotated[str | None, options.only_fields(OPERATIONS)] = None,
    wide: options.Wide = False,
    count: options.Count = False,
    replica: options.Replica = False,
    output: Output,
) -> None:
    """List the operations that changed rows, newest first.

    A command or a request that changed rows is one operation.
    """
    from taskdb_cli.services.history import operations as service

    if ctx.invoked_subcommand is not None:
        refuse_options_before(ctx)
        return
    run = invocation(ctx)
    request = read_request(run, OPERATION_QUERY, given)
    require_pages(request, page, count=count)
    view = choose_fields(OPERATIONS, fields)
    since = request.filter.since
    if since is not None:
        begins = run.database.read(service.beginning)
        if begins is not None and since < begins.at:
            run.say(f"{begins}")
    # A cursor may be at the end.
    everything = request.filter == OPERATION_QUERY.filter() and request.after is None
    nothing = "the history is empty" if everything else "nothing matches"
    show_list(run, request, view, output, service, page=page, wide=wide, count=count, nothing=nothing)


@app.command(epilog="taskdb history show 120\ntaskdb history show 120 -o json")
def show(ctx: typer.Context, operation: OperationArgument, *, output: Output) -> None:
    """Show an operation, and each row that it changed."""
    from taskdb_cli.output import history as written
    from taskdb_cli.services.history import operations as service

    run = invocation(ctx)
    format = output.effective_format

    def read(session: Session) -> Generator[Record, None, None]:
        yield service.get(session, operation)
        yield from service.stream_changes(session, operation, named=format is Format.TABLE)

    with run.database.stream(read) as rows:
        record = next(rows)
        changes = run.counting(rows)
        if format is Format.TABLE:
            from taskdb_cli.output.pager import paged

            with paged(sys.stdout) as stream:
                written.print_operation(record, changes, stream)
        elif format is Format.JSON:
            written.write_operation(record, changes, sys.stdout)
        elif format is Format.NDJSON:
            show_records(written.change_records(changes), CHANGES, output)
        else:
            show_records(written.field_records(changes), written.CHANGED_FIELDS, output)


def show_life(run: Invocation, table: str, find: Callable[[Session], int], output: Output) -> None:
    """Print the life of the row of a table that `find` finds, which may be deleted.

    Raises UserNotFound or TaskNotFound if nothing is known of it.
    """
    from taskdb_cli.output import history as written
    from taskdb_cli.services.history import operations as service

    format = output.effective_format

    def read(session: Session) -> Generator[Any, None, None]:
        id = find(session)
        yield service.beginning(session), f"{service.NOUNS[table]} {id}"
        yield from service.stream_life(session, table, id, named=format is Format.TABLE)

    with run.database.stream(read) as rows:
        begins, who = next(rows)
        first = next(rows, None)
        changes = run.counting(chain([first] if first else [], rows))
        if first is None:
            run.say(f"nothing is recorded of {who}: {begins or 'the history is empty'}")
        elif first["version_after"] != 1:
            run.say(f"{begins}; what {who} was before is not known")
        if format is Format.TABLE:
            from taskdb_cli.output.pager import paged

            with paged(sys.stdout) as stream:
                written.print_life(changes, stream)
        elif format in (Format.JSON, Format.NDJSON):
            show_records(written.change_records(changes), LIFE, output)
        else:
            show_records(written.field_records(changes), written.LIVED_FIELDS, output)


app.command(epilog="taskdb history prune --keep 30d --dry-run\ntaskdb history prune --keep 1y --yes")(prune)
