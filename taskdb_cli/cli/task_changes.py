"""taskdb task: the commands that change tasks, by ids or by filters, and the options for their fields."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from taskdb_cli.cli import changes, options
from taskdb_cli.cli.answers import due_in_words, is_told
from taskdb_cli.cli.changes import Way, change_tasks, delete_tasks, named
from taskdb_cli.cli.completion import complete_words
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import optional, optional_user
from taskdb_cli.cli.output import FormatOption, Output
from taskdb_cli.models.vocabulary import TaskPriority, TaskStatus
from taskdb_cli.services.listing.query import TASKS_TO_CHANGE
from taskdb_cli.times import parse_when

WHERE = replace(TASKS_TO_CHANGE, prefix="where_")


@dataclass(frozen=True)
class TaskFields:
    """The options for fields of a task."""

    description: Annotated[str | None, optional("A longer text; '' removes it.", metavar="TEXT")] = None
    status: Annotated[TaskStatus | None, optional("The status.", case_sensitive=False)] = None
    priority: Annotated[
        str | None,
        optional(
            "low, medium (a new task's default), high or urgent.",
            metavar="PRIORITY",
            autocompletion=complete_words([each.word for each in TaskPriority]),
        ),
    ] = None
    due: Annotated[
        str | None,
        optional("2026-12-01, '+3d', 'friday', 'tomorrow 17:00', or 'none'.", metavar="WHEN"),
    ] = None

    def given(self, run: Invocation, output: Output, **more: object) -> dict[str, object]:
        """Return the fields that were given, with `more`. The due date 'none' removes it.

        How the due date was understood is said here, unless the answer says it.
        """
        values = {**more, **asdict(self)}
        due = values.pop("due")
        given = {name: value for name, value in values.items() if value is not None}
        if due is not None:
            none = due.strip().lower() == "none"
            given["due_at"] = None if none else parse_when(due, now=run.now, end_of_day=True)
            if not is_told(output):
                run.say_time("due", given["due_at"], deadline=True)
        return given


def update(
    ctx: typer.Context,
    ids: options.TaskArguments = None,
    *,
    title: Annotated[str | None, optional("A new title.")] = None,
    fields: TaskFields,
    user: Annotated[str | None, optional_user("A new owner.")] = None,
    if_version: options.IfVersion = None,
    where: Annotated[dict[str, Any], WHERE],
    way: Way,
    output: Output,
) -> None:
    """Change the named fields of tasks, all or nothing.

    With filters such as --where-status instead of ids, it changes all matching tasks. It asks first.
    """
    run = invocation(ctx)
    tasks, values = named(run, ids, WHERE, where), fields.given(run, output, title=title)
    change_tasks(
        run,
        changes.UPDATE,
        tasks,
        values,
        owner=user,
        if_version=if_version,
        output=output,
        way=way,
        after=due_in_words(run, values.get("due_at")),
    )


def edit(ctx: typer.Context, id: options.TaskArgument, *, output: Output) -> None:
    """Change a task in your text editor.

    The editor is that of VISUAL or EDITOR, or one that is installed.
    """
    from taskdb_cli.cli.edit import edit_task

    edit_task(invocation(ctx), id, output)


def _status_command(verb: changes.Verb, does: str) -> Callable[..., None]:
    """Return the command that gives tasks the status of a verb."""

    def command(
        ctx: typer.Context,
        ids: options.TaskArguments = None,
        *,
        where: Annotated[dict[str, Any], TASKS_TO_CHANGE],
        way: Way,
        output: Output,
    ) -> None:
        run = invocation(ctx)
        tasks = named(run, ids, TASKS_TO_CHANGE, where)
        change_tasks(run, verb, tasks, {"status": verb.status}, output=output, way=way)

    command.__doc__ = (
        f"{does}With filters such as --status instead of ids, it changes all matching tasks. It asks first."
    )
    return command


start = _status_command(changes.START, "Mark tasks as in progress, all or nothing.\n\n")
done = _status_command(
    changes.DONE, "Mark tasks as done, all or nothing.\n\nA task that is done already keeps its time. "
)
reopen = _status_command(changes.REOPEN, "Mark tasks as to do again, all or nothing.\n\n")
cancel = _status_command(changes.CANCEL, "Mark tasks as cancelled, all or nothing.\n\n")


def delete(
    ctx: typer.Context,
    ids: options.TaskArguments = None,
    *,
    where: Annotated[dict[str, Any], TASKS_TO_CHANGE],
    yes: options.Yes = False,
    confirm: options.Confirm = None,
    dry_run: options.DryRun = False,
    output: FormatOption = None,
) -> None:
    """Delete tasks, all or nothing.

    With filters such as --status instead of ids, it deletes all matching tasks. It asks first.
    """
    run = invocation(ctx)
    delete_tasks(run, named(run, ids, TASKS_TO_CHANGE, where), Output(output), Way(yes, dry_run))
