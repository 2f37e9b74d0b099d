"""taskdb user: people who own tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import (
    DryRun,
    HelpfulGroup,
    IfNotExists,
    IfVersion,
    UserArgument,
    UserArguments,
    Yes,
    with_option_groups,
)
from taskdb_cli.cli.output import FormatOption, Output, show_count, show_json, show_record
from taskdb_cli.cli.paging import After, Count, Fields, Limit, Listing, choose_fields
from taskdb_cli.cli.transfer import (
    CountsOutput,
    ExportOutput,
    FileArgument,
    FromUserFile,
    IfExisting,
    UserFileFormat,
    import_file,
    parse_time,
    print_export,
)
from taskdb_cli.models.vocabulary import Existing
from taskdb_cli.output.formats import USERS, USERS_WITH_COUNTS

if TYPE_CHECKING:
    from taskdb_cli.services.user import Deletion

app = typer.Typer(help="Create, list, change and delete users.", cls=HelpfulGroup)


@app.command(epilog="Example: taskdb user create --email ann@example.com --name Ann")
@with_option_groups
def create(
    ctx: typer.Context,
    *,
    email: Annotated[str, typer.Option(help="The address, unique; case is not kept.")],
    name: Annotated[str, typer.Option(help="What the user is called.")],
    inactive: Annotated[bool, typer.Option("--inactive", help="Mark the user as inactive.")] = False,
    if_not_exists: IfNotExists = False,
    output: Output,
) -> None:
    """Create a user, and the embedded database if there is none yet."""
    from taskdb_cli.models.user import UserCreate, user_record
    from taskdb_cli.services import user as service
    from taskdb_cli.services.validation import validate

    run = invocation(ctx)
    given = validate(UserCreate, {"email": email, "name": name, "is_active": not inactive})
    make = service.create_unless_exists if if_not_exists else service.create
    user = run.database_made_if_missing().write(lambda session: make(session, given, now=run.now))
    if user.created_at == run.now:
        run.did(f"created user {user.id}", look=f"taskdb user show {user.id}")
    show_record(user_record(user), USERS, output)


@app.command("list", epilog="Example: taskdb user list --active --sort name --with-counts")
@with_option_groups
def list_(
    ctx: typer.Context,
    *,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Only these.", show_default=False)
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Address or name holds it; at most 200 characters.", show_default=False
        ),
    ] = "",
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEYS",
            help="id, email, name, created, updated; comma-separated, '-' in front for descending.",
        ),
    ] = "id",
    limit: Limit = 50,
    after: After = None,
    fields: Fields = None,
    count: Count = False,
    with_counts: Annotated[bool, typer.Option("--with-counts", help="Show how many tasks each has.")] = False,
    output: Output,
) -> None:
    """List users, filtered and sorted."""
    from taskdb_cli.services import user as service
    from taskdb_cli.services.listing.filters import USER_SORT_KEYS, UserFilter
    from taskdb_cli.services.listing.sorting import Order

    run = invocation(ctx)
    order = Order.parse(sort, USER_SORT_KEYS)
    view = choose_fields(USERS_WITH_COUNTS if with_counts else USERS, fields)
    listing = Listing.begin(run, after, {"sort": sort, "active": active, "search": search}, order)
    wanted, position = UserFilter(active, search), listing.after
    if count:
        show_count(run.database.read(lambda session: service.count(session, wanted)), output)
        return
    listing.show(
        run,
        view,
        output,
        limit,
        page=lambda session: service.find(
            session, wanted, order, limit=limit, after=position, with_counts=with_counts
        ),
        stream=lambda session: service.stream(
            session, wanted, order, after=position, with_counts=with_counts
        ),
    )


@app.command(epilog="Example: taskdb user show ann@example.com -o json")
@with_option_groups
def show(ctx: typer.Context, user: UserArgument, *, output: Output) -> None:
    """Show one user."""
    from taskdb_cli.models.user import user_record
    from taskdb_cli.services import user as service

    found = invocation(ctx).database.read(lambda session: service.get(session, user))
    show_record(user_record(found), USERS, output)


@app.command(epilog="Example: taskdb user update ann@example.com --name 'Ann Lee' --inactive")
@with_option_groups
def update(
    ctx: typer.Context,
    user: UserArgument,
    *,
    email: Annotated[str | None, typer.Option(help="A new address.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="A new name.", show_default=False)] = None,
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether the user is active.", show_default=False),
    ] = None,
    if_version: IfVersion = None,
    output: Output,
) -> None:
    """Change a user; what is not named stays."""
    from taskdb_cli.models.user import UserUpdate, user_record
    from taskdb_cli.services import user as service
    from taskdb_cli.services.validation import validate

    run = invocation(ctx)
    values = {"email": email, "name": name, "is_active": active}
    given = validate(UserUpdate, {field: value for field, value in values.items() if value is not None})
    changed = run.database.write(
        lambda session: service.change(session, user, given, now=run.now, if_version=if_version)
    )
    if changed.updated_at == run.now:
        run.did(f"updated user {changed.id}", look=f"taskdb user show {changed.id}")
    show_record(user_record(changed), USERS, output)


@app.command(epilog="Example: taskdb user delete ann@example.com --reassign-to bob@example.com --yes")
def delete(
    ctx: typer.Context,
    users: UserArguments,
    *,
    reassign_to: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Give the tasks to this user instead of deleting them.",
            autocompletion=complete_users,
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: FormatOption = None,
) -> None:
    """Delete users and their tasks, all or nothing."""
    from taskdb_cli.services import user as service

    run = invocation(ctx)
    if not dry_run:
        _confirm_deletion(run, users, reassign_to, yes=yes)
    done = run.database.write(
        lambda session: service.remove(session, users, now=run.now, reassign_to=reassign_to), dry_run=dry_run
    )
    run.say(f"{'would delete' if dry_run else 'deleted'} {_describe(done)}")
    if not dry_run:
        run.did(f"deleted {_describe(done)}", look="taskdb user list")
    _print_deletion(done, output, dry_run=dry_run)


@app.command("import", epilog="Example: taskdb user import users.csv --existing skip")
def import_(
    ctx: typer.Context,
    file: FileArgument,
    *,
    source: FromUserFile = UserFileFormat.AUTO,
    existing: IfExisting = Existing.UPDATE,
    dry_run: DryRun = False,
    output: CountsOutput = None,
) -> None:
    """Import users from CSV, JSON or NDJSON, all or nothing; the e-mail address tells who is who."""
    from taskdb_cli.transfer.users import import_users, read_users

    run = invocation(ctx)
    import_file(
        run,
        file,
        source,
        read=lambda source, report, progress: read_users(
            source, parse_time=parse_time, report=report, progress=progress
        ),
        bring_in=lambda session, batch: import_users(session, batch, existing=existing, now=run.now),
        dry_run=dry_run,
        output=output,
        look="taskdb user list",
    )


@app.command(epilog="Example: taskdb user export -o csv > users.csv")
@with_option_groups
def export(ctx: typer.Context, *, output: ExportOutput) -> None:
    """Print all users, in a format that import reads."""
    from taskdb_cli.services import user as service
    from taskdb_cli.services.listing.filters import USER_SORT_KEYS, UserFilter
    from taskdb_cli.services.listing.sorting import Order

    order = Order.parse("id", USER_SORT_KEYS)
    run = invocation(ctx)
    with run.database.stream(lambda session: service.stream(session, UserFilter(), order)) as records:
        print_export(run.counting(records), USERS, output)


def _confirm_deletion(run: Invocation, refs: list[str], reassign_to: str | None, *, yes: bool) -> None:
    from taskdb_cli.services import user as service

    if not yes:
        found = run.database.read(
            lambda session: service.preview_deletion(session, refs, reassign_to=reassign_to)
        )
        run.confirm(f"delete {_describe(found)}", yes=yes)


def _describe(deletion: Deletion) -> str:
    who = ", ".join(user.email for user in deletion.users)
    tasks = f"{deletion.tasks} task{'' if deletion.tasks == 1 else 's'}"
    if deletion.reassigned_to is not None:
        return f"{who}, giving {tasks} to {deletion.reassigned_to.email}"
    return f"{who} and {tasks}"


def _print_deletion(deletion: Deletion, output: str | None, *, dry_run: bool) -> None:
    if output == "json":
        show_json(deletion.report(dry_run=dry_run))
