"""taskdb task: what users have to do."""

import sys
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Annotated, Any

import typer

from taskdb_cli import services
from taskdb_cli.cli import changes, options, task_changes, transfer
from taskdb_cli.cli.answers import answer, due_in_words, is_told, wants_record
from taskdb_cli.cli.commands import Commands, HelpfulGroup, TitledCommand
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.history import show_life
from taskdb_cli.cli.lists import require_pages, show_list
from taskdb_cli.cli.options import choose_fields, optional, optional_user, read_request
from taskdb_cli.cli.output import Output, show_plans, show_record
from taskdb_cli.cli.owner import AllUsers, blamed_on_setting, choose_active_user, default_user, users_to_show
from taskdb_cli.cli.prompts import ask_for_missing, require
from taskdb_cli.cli.task_changes import TaskFields
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import Existing, FileFormat
from taskdb_cli.output.formats import TASKS, Format, Record
from taskdb_cli.services.listing.query import TASK_QUERY

app = Commands(
    help="Create, list, change and delete tasks.",
    epilog="taskdb task create Buy milk --due tomorrow\ntaskdb task list --status open --sort due",
    cls=HelpfulGroup,
)

EXPORT = replace(TASK_QUERY, sort="id", more=())


@app.command(
    cls=TitledCommand,
    epilog=(
        "taskdb task create Buy milk --due tomorrow\n"
        "taskdb task create 'Write the report' -u ann@example.com -p high -d 'friday 17:00'"
    ),
)
def create(
    ctx: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="TITLE…", help="The title, one line.")] = None,
    *,
    user: Annotated[str | None, optional_user("The owner; by default the default user.")] = None,
    fields: TaskFields,
    external_id: Annotated[
        str | None, optional("The id of the task in another program; unique per user.")
    ] = None,
    if_not_exists: options.IfNotExists = False,
    output: Output,
) -> None:
    """Create a task.

    On a terminal it asks for missing values. If there is one active user, the task is theirs.
    """
    if if_not_exists and not external_id:
        raise InvalidInput("--if-not-exists needs an external id to find the task", "add --external-id")
    run = invocation(ctx)
    title = " ".join(words) if words else None
    default = default_user(run) if user is None else None
    owner = default if user is None else user
    if not run.on_terminal or (run.no_input and title is None):
        require(ctx, words=title, user=owner)
    values = fields.given(run, output, external_id=external_id)
    owner = choose_active_user(run) if owner is None else owner
    with blamed_on_setting(run, default):
        record = _create(run, owner, title, values, if_not_exists=if_not_exists)
    id, made = record["id"], record["created_at"] == run.now
    if made:
        run.did(f"created task {id}", look=f"taskdb task show {id}")
    if is_told(output):
        due = due_in_words(run, record["due_at"])
        after = (due and f", {due}") if made else " exists already"
        answer(run, f"{'created ' if made else ''}task {id}", record["title"], after)
    if wants_record(run, output):
        show_record(record, TASKS, output)


def _create(
    run: Invocation, owner: str, title: str | None, values: dict[str, object], *, if_not_exists: bool
) -> Record:
    """Create a task, and ask for its title first if there is none."""
    from taskdb_cli.models.task import TaskCreate, TaskUpdate

    if title is None:
        # Check everything else first, so that no title is typed for nothing.
        TaskCreate.checked({**values, "title": "-"})
        run.database.read(partial(services.user.get, ref=owner))
    given = TaskCreate.checked({**values, **ask_for_missing({"title": title}, TaskUpdate)})
    make = services.task.create_unless_exists if if_not_exists else services.task.create
    record: Record = run.database.write(lambda session: make(session, owner, given, now=run.now))
    return record


@app.command(
    "list",
    epilog=(
        "taskdb task list --status open --sort -priority,due\n"
        "taskdb task list -u ann@example.com --due-before friday\n"
        "taskdb task list --status done --completed-after monday --count"
    ),
)
def list_(
    ctx: typer.Context,
    *,
    given: Annotated[dict[str, Any], TASK_QUERY],
    page: options.Page = None,
    fields: Annotated[str | None, options.only_fields(TASKS)] = None,
    all_users: AllUsers = False,
    wide: options.Wide = False,
    count: options.Count = False,
    explain: options.Explain = False,
    replica: options.Replica = False,
    output: Output,
) -> None:
    """List tasks, filtered and sorted."""
    run = invocation(ctx)
    given["user"] = users_to_show(run, given["user"], all_users=all_users, output=output)
    request = read_request(run, TASK_QUERY, given)
    require_pages(request, page, count=count, explain=explain)
    view = choose_fields(TASKS, fields)
    if explain:
        explained = partial(
            services.task.explain,
            filter=request.filter,
            order=request.order,
            limit=request.limit,
            after=request.after,
            count=count,
        )
        show_plans(run.database.read(explained), output)
    else:
        show_list(run, request, view, output, services.task, page=page, wide=wide, count=count)


@app.command(epilog="taskdb task show 7\ntaskdb task show 7-9 12")
def show(ctx: typer.Context, ids: options.TaskArguments, *, output: Output) -> None:
    """Show tasks with every field."""
    wanted = [*chain.from_iterable(ids or [])]
    records = invocation(ctx).database.read(lambda session: services.task.get_all(session, wanted))
    if output.effective_format is Format.TABLE:
        for number, record in enumerate(records):
            sys.stdout.write("\n" if number else "")
            show_record(record, TASKS, output)
    else:
        changes.show_named(records, wanted, output)


@app.command(epilog="taskdb task history 7\ntaskdb task history 7 -o ndjson")
def history(ctx: typer.Context, id: options.TaskArgument, *, output: Output) -> None:
    """Show every change of a task, also of a deleted one, oldest first."""
    show_life(invocation(ctx), "tasks", lambda _: id, output)


app.command(
    epilog=(
        "taskdb task update 7 --due 'next monday'\n"
        "taskdb task update --where-user ann@example.com --where-status open --user bob@example.com"
    )
)(task_changes.update)
app.command(epilog="taskdb task edit 7\ntaskdb task edit 7 -o json")(task_changes.edit)
app.command("start", epilog="taskdb task start 7\ntaskdb task start 7,8 12-15")(task_changes.start)
app.command(
    "done", epilog="taskdb task done 7 8 9\ntaskdb task done --user ann@example.com --status in_progress"
)(task_changes.done)
app.command(
    "reopen", epilog="taskdb task reopen 7\ntaskdb task reopen --status cancelled --user ann@example.com"
)(task_changes.reopen)
app.command(
    "cancel", epilog="taskdb task cancel 7\ntaskdb task cancel --overdue --due-before -90d --dry-run"
)(task_changes.cancel)
app.command(
    epilog="taskdb task delete 7\ntaskdb task delete --status cancelled --updated-before -1y --dry-run"
)(task_changes.delete)


@app.command(
    "import",
    epilog=(
        "taskdb task import tasks.csv --user ann@example.com --dry-run\n"
        "taskdb task import - --from taskwarrior --user ann@example.com < tasks.json"
    ),
)
def import_(
    ctx: typer.Context,
    file: transfer.FileArgument,
    *,
    user: Annotated[
        str | None, optional_user("Give all tasks to this user, also those of other users in the file.")
    ] = None,
    source: transfer.FromTaskFile = FileFormat.AUTO,
    reading: transfer.ImportOptions,
    existing: transfer.IfExisting = Existing.UPDATE,
    dry_run: options.DryRun = False,
    output: transfer.CountsOutput = None,
) -> None:
    """Import tasks from CSV, JSON, NDJSON or another program's export, all or nothing.

    If the user has a task with the same external id, the import updates that task.
    """
    from taskdb_cli.transfer.tasks import import_tasks, read_tasks

    run, look = invocation(ctx), "taskdb task list"
    read = partial(read_tasks, owned=user is not None, now=run.now)
    bring_in = partial(import_tasks, owner=user, existing=existing, now=run.now, dry_run=dry_run)
    transfer.import_file(
        run, file, source, reading, read=read, bring_in=bring_in, dry_run=dry_run, output=output, look=look
    )


@app.command(
    epilog=(
        "taskdb task export -o csv > tasks.csv\n"
        "taskdb task export --user ann@example.com --status open > open.ndjson"
    )
)
def export(
    ctx: typer.Context,
    *,
    given: Annotated[dict[str, Any], EXPORT],
    replica: options.Replica = False,
    output: transfer.ExportOutput,
) -> None:
    """Print all matching tasks for an import."""
    run = invocation(ctx)
    request = read_request(run, EXPORT, given)
    everything = partial(services.task.stream, filter=request.filter, order=request.order)
    with run.database.stream(everything, bulk=True) as records:
        transfer.print_export(run.counting(records), TASKS, output)
