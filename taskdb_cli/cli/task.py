"""taskdb task: what users have to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from taskdb_cli.cli.completion import complete_priorities, complete_users
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import (
    DryRun,
    HelpfulGroup,
    IfNotExists,
    IfVersion,
    TaskArguments,
    Yes,
    with_option_groups,
)
from taskdb_cli.cli.output import (
    FormatOption,
    Output,
    show_count,
    show_json,
    show_plans,
    show_record,
    show_records,
)
from taskdb_cli.cli.paging import After, Count, Explain, Fields, Limit, Listing, choose_fields
from taskdb_cli.cli.task_filters import TaskFilterOptions
from taskdb_cli.cli.transfer import (
    CountsOutput,
    ExportOutput,
    FileArgument,
    FromTaskFile,
    IfExisting,
    TaskFileFormat,
    import_file,
    parse_time,
    print_export,
)
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import Existing, TaskStatus
from taskdb_cli.output.formats import TASKS, TASKS_OF_ONE, Format, Record
from taskdb_cli.times import parse_when

app = typer.Typer(help="Create, list, change and delete tasks.", cls=HelpfulGroup)

Description = Annotated[str | None, typer.Option(help="More text; '' removes it.", show_default=False)]
Status = Annotated[
    TaskStatus | None,
    typer.Option(case_sensitive=False, help="Where the task stands.", show_default=False),
]
Priority = Annotated[
    str | None,
    typer.Option(
        metavar="PRIORITY",
        help="low, medium (a new task's default), high or urgent.",
        autocompletion=complete_priorities,
        show_default=False,
    ),
]
Due = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN",
        help="2026-12-01, '+3d', 'friday', 'tomorrow 17:00', or 'none'.",
        show_default=False,
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


@app.command(epilog="Example: taskdb task create --user ann@example.com 'Write the report' --due friday")
@with_option_groups
def create(
    ctx: typer.Context,
    title: Annotated[str, typer.Argument(help="What is to be done, on one line.")],
    *,
    user: Annotated[
        str, typer.Option(metavar="USER", help="The owner: an id or e-mail.", autocompletion=complete_users)
    ],
    description: Description = None,
    status: Status = None,
    priority: Priority = None,
    due: Due = None,
    external_id: Annotated[
        str | None, typer.Option(help="The task's id elsewhere, unique per user.", show_default=False)
    ] = None,
    if_not_exists: IfNotExists = False,
    output: Output,
) -> None:
    """Create a task."""
    from taskdb_cli.models.task import TaskCreate
    from taskdb_cli.services import task as service
    from taskdb_cli.services.validation import validate

    if if_not_exists and not external_id:
        raise InvalidInput("--if-not-exists knows a task by its external id", "add --external-id")
    run = invocation(ctx)
    values = {"title": title, "external_id": external_id, **_given(run, description, status, priority, due)}
    given = validate(TaskCreate, values)
    make = service.create_unless_exists if if_not_exists else service.create
    record = run.database.write(lambda session: make(session, user, given, now=run.now))
    if record["created_at"] == run.now:
        run.did(f"created task {record['id']}", look=f"taskdb task show {record['id']}")
    show_record(record, TASKS, output)


@app.command(
    "list", epilog="Example: taskdb task list --user ann@example.com --status open --sort -priority,due"
)
@with_option_groups
def list_(
    ctx: typer.Context,
    *,
    filter: TaskFilterOptions,
    sort: Sort = "-created",
    limit: Limit = 50,
    after: After = None,
    fields: Fields = None,
    count: Count = False,
    explain: Explain = False,
    output: Output,
) -> None:
    """List tasks, filtered and sorted."""
    from taskdb_cli.services import task as service
    from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
    from taskdb_cli.services.listing.sorting import Order

    run = invocation(ctx)
    order = Order.parse(sort, TASK_SORT_KEYS)
    # The tasks of one user need no column that says so in every row.
    view = choose_fields(TASKS_OF_ONE if len(filter.user or ()) == 1 else TASKS, fields)
    listing = Listing.begin(run, after, {"sort": sort, **filter.typed()}, order)
    wanted, position = filter.read(listing.now), listing.after
    if explain:
        show_plans(
            run.database.read(
                lambda session: service.explain(
                    session, wanted, order, limit=limit, after=position, count=count
                )
            ),
            output,
        )
    elif count:
        show_count(run.database.read(lambda session: service.count(session, wanted)), output)
    else:
        listing.show(
            run,
            view,
            output,
            limit,
            page=lambda session: service.find(session, wanted, order, limit=limit, after=position),
            stream=lambda session: service.stream(session, wanted, order, after=position),
        )


@app.command(epilog="Example: taskdb task show 7 -o json")
@with_option_groups
def show(
    ctx: typer.Context,
    id: Annotated[int, typer.Argument(help="The id of a task.")],
    *,
    output: Output,
) -> None:
    """Show one task."""
    from taskdb_cli.services import task as service

    show_record(
        invocation(ctx).database.read(lambda session: service.get(session, id)),
        TASKS,
        output,
    )


@app.command(epilog="Example: taskdb task update 7 8 --priority high --due none")
@with_option_groups
def update(
    ctx: typer.Context,
    ids: TaskArguments,
    *,
    title: Annotated[str | None, typer.Option(help="A new title.", show_default=False)] = None,
    description: Description = None,
    status: Status = None,
    priority: Priority = None,
    due: Due = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="A new owner.", autocompletion=complete_users, show_default=False),
    ] = None,
    if_version: IfVersion = None,
    output: Output,
) -> None:
    """Change tasks, all or nothing; what is not named stays."""
    from taskdb_cli.models.task import TaskUpdate
    from taskdb_cli.services import task as service
    from taskdb_cli.services.validation import validate

    run = invocation(ctx)
    values = _given(run, description, status, priority, due)
    given = validate(TaskUpdate, values | ({"title": title} if title is not None else {}))
    changed = run.database.write(
        lambda session: service.change(session, ids, given, now=run.now, owner=user, if_version=if_version)
    )
    _show_changed(run, changed, output)


@app.command(epilog="Example: taskdb task start 7")
@with_option_groups
def start(ctx: typer.Context, ids: TaskArguments, *, output: Output) -> None:
    """Mark tasks as in progress, all or nothing."""
    _set_status(ctx, ids, TaskStatus.IN_PROGRESS, output)


@app.command(epilog="Example: taskdb task done 7 8 9")
@with_option_groups
def done(ctx: typer.Context, ids: TaskArguments, *, output: Output) -> None:
    """Mark tasks as done, all or nothing; one that is done already keeps its time."""
    _set_status(ctx, ids, TaskStatus.DONE, output)


@app.command(epilog="Example: taskdb task reopen 7")
@with_option_groups
def reopen(ctx: typer.Context, ids: TaskArguments, *, output: Output) -> None:
    """Mark tasks as to do again, all or nothing."""
    _set_status(ctx, ids, TaskStatus.TODO, output)


@app.command(epilog="Example: taskdb task cancel 7")
@with_option_groups
def cancel(ctx: typer.Context, ids: TaskArguments, *, output: Output) -> None:
    """Mark tasks as cancelled, all or nothing."""
    _set_status(ctx, ids, TaskStatus.CANCELLED, output)


@app.command(epilog="Example: taskdb task delete 7 8 --yes")
def delete(
    ctx: typer.Context,
    ids: TaskArguments,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: FormatOption = None,
) -> None:
    """Delete tasks, all or nothing."""
    from taskdb_cli.services import task as service

    run = invocation(ctx)
    if not (yes or dry_run):
        records = run.database.read(lambda session: service.get_all(session, ids))
        run.confirm(f"delete {_describe(records)}", yes=yes)
    gone = run.database.write(lambda session: service.remove(session, ids), dry_run=dry_run)
    run.log.rows = len(gone)
    run.say(f"{'would delete' if dry_run else 'deleted'} {_describe(gone)}")
    if not dry_run:
        run.did(f"deleted {_describe(gone)}", look="taskdb task list")
    if output is Format.JSON:
        show_json({"tasks_deleted": [record["id"] for record in gone], "dry_run": dry_run})


@app.command("import", epilog="Example: taskdb task import tasks.csv --user ann@example.com --dry-run")
def import_(
    ctx: typer.Context,
    file: FileArgument,
    *,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Give all tasks to this user, whatever the file says.",
            autocompletion=complete_users,
            show_default=False,
        ),
    ] = None,
    source: FromTaskFile = TaskFileFormat.AUTO,
    existing: IfExisting = Existing.UPDATE,
    dry_run: DryRun = False,
    output: CountsOutput = None,
) -> None:
    """Import tasks from CSV, JSON, NDJSON or Taskwarrior's export, all or nothing.

    A task whose user has one of the same external id is updated if it differs.
    """
    from taskdb_cli.transfer.tasks import import_tasks, read_tasks

    run = invocation(ctx)
    import_file(
        run,
        file,
        source,
        read=lambda source, report, progress: read_tasks(
            source, parse_time=parse_time, owned=user is not None, report=report, progress=progress
        ),
        bring_in=lambda session, batch: import_tasks(
            session, batch, owner=user, existing=existing, now=run.now
        ),
        dry_run=dry_run,
        output=output,
        look="taskdb task list",
    )


@app.command(epilog="Example: taskdb task export --user ann@example.com -o csv > tasks.csv")
@with_option_groups
def export(
    ctx: typer.Context,
    *,
    filter: TaskFilterOptions,
    sort: Sort = "id",
    output: ExportOutput,
) -> None:
    """Print all matching tasks, in a format that import reads."""
    from taskdb_cli.services import task as service
    from taskdb_cli.services.listing.filters import TASK_SORT_KEYS
    from taskdb_cli.services.listing.sorting import Order

    run = invocation(ctx)
    order, wanted = Order.parse(sort, TASK_SORT_KEYS), filter.read(run.now)
    with run.database.stream(lambda session: service.stream(session, wanted, order)) as records:
        print_export(run.counting(records), TASKS, output)


def _set_status(ctx: typer.Context, ids: list[int], status: TaskStatus, output: Output) -> None:
    from taskdb_cli.services import task as service

    run = invocation(ctx)
    changed = run.database.write(lambda session: service.set_status(session, ids, status, now=run.now))
    _show_changed(run, changed, output)


def _show_changed(run: Invocation, records: Sequence[Record], output: Output) -> None:
    if updated := [record for record in records if record["updated_at"] == run.now]:
        one = f"show {updated[0]['id']}" if len(updated) == 1 else "list"
        run.did(f"updated {_describe(updated)}", look=f"taskdb task {one}")
    if len(records) == 1:
        show_record(records[0], TASKS, output)
    else:
        show_records(records, TASKS, output)


def _describe(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return f"task {records[0]['id']}, {records[0]['title']!r}"
    return f"{len(records)} tasks ({', '.join(str(record['id']) for record in records)})"


def _given(
    run: Invocation, description: str | None, status: str | None, priority: str | None, due: str | None
) -> dict[str, object]:
    values: dict[str, object] = {"description": description, "status": status, "priority": priority}
    values = {field: value for field, value in values.items() if value is not None}
    if due is not None:
        values["due_at"] = None if due == "none" else parse_when(due, now=run.now, end_of_day=True)
    return values
