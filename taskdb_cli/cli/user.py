"""taskdb user: people who own tasks."""

import sys
from functools import partial
from itertools import chain
from typing import Annotated, Any

import typer

from taskdb_cli import services
from taskdb_cli.cli import options, transfer
from taskdb_cli.cli.answers import answer, is_told, wants_record
from taskdb_cli.cli.commands import Commands, HelpfulGroup
from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import invocation
from taskdb_cli.cli.erase import erase
from taskdb_cli.cli.history import show_life
from taskdb_cli.cli.lists import require_pages, show_list
from taskdb_cli.cli.options import choose_fields, optional, optional_user, read_request
from taskdb_cli.cli.output import FormatOption, Output, show_json, show_record
from taskdb_cli.cli.prompts import ask_for_missing, require
from taskdb_cli.errors import InvalidInput
from taskdb_cli.models.vocabulary import Existing
from taskdb_cli.output.formats import USERS, USERS_WITH_COUNTS, Format
from taskdb_cli.services.listing.query import USER_QUERY
from taskdb_cli.text.escaping import brief

app = Commands(
    help="Create, list, change and delete users.",
    epilog="taskdb user create --email ann@example.com --name Ann\ntaskdb user list --with-counts",
    cls=HelpfulGroup,
)


@app.command(
    epilog=(
        "taskdb user create --email ann@example.com --name Ann\n"
        "taskdb user create --email bob@example.com --name 'Bob Lee' --inactive"
    )
)
def create(
    ctx: typer.Context,
    *,
    email: Annotated[str | None, optional("The address, unique; case is not kept.")] = None,
    name: Annotated[str | None, optional("What the user is called.")] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Mark the user as inactive.")] = False,
    if_not_exists: options.IfNotExists = False,
    output: Output,
) -> None:
    """Create a user, and the embedded database if there is none yet.

    On a terminal it asks for missing values.
    """
    run = invocation(ctx)
    if not run.may_ask:
        require(ctx, email=email, name=name)
    from taskdb_cli.models.user import UserCreate, UserUpdate, user_record

    values = ask_for_missing({"email": email, "name": name}, UserUpdate)
    given = UserCreate.checked({**values, "is_active": not inactive})
    allowed = run.database.options.allow_special_domains
    # No database is made for an address that is refused.
    services.user.require_domain(given.email, special_domains=allowed or not run.is_database_missing())
    make = services.user.create_unless_exists if if_not_exists else services.user.create
    work = partial(make, given=given, now=run.now, special_domains=allowed)
    user = run.database_made_if_missing().write(work)
    made = user.created_at == run.now
    if made:
        run.did(f"created user {user.id}", look=f"taskdb user show {user.id}")
    if is_told(output):
        who = f"user {user.id} {user.email}"
        answer(run, f"created {who}" if made else f"{who} exists already")
    if wants_record(run, output):
        show_record(user_record(user), USERS, output)


@app.command(
    "list",
    epilog="taskdb user list --active --sort name\ntaskdb user list --search example.com --with-counts",
)
def list_(
    ctx: typer.Context,
    *,
    given: Annotated[dict[str, Any], USER_QUERY],
    page: options.Page = None,
    fields: Annotated[str | None, options.only_fields(USERS)] = None,
    wide: options.Wide = False,
    count: options.Count = False,
    replica: options.Replica = False,
    output: Output,
) -> None:
    """List users, filtered and sorted."""
    run = invocation(ctx)
    request, with_counts = read_request(run, USER_QUERY, given), given["with_counts"]
    require_pages(request, page, count=count)
    view = choose_fields(USERS_WITH_COUNTS if with_counts else USERS, fields)
    show_list(
        run,
        request,
        view,
        output,
        services.user,
        page=page,
        wide=wide,
        count=count,
        with_counts=with_counts,
    )


@app.command(epilog=("taskdb user show ann@example.com\ntaskdb user show 1 -o json"))
def show(ctx: typer.Context, user: options.UserArgument, *, output: Output) -> None:
    """Show one user."""
    from taskdb_cli.models.user import user_record

    found = invocation(ctx).database.read(lambda session: services.user.get(session, user))
    show_record(user_record(found), USERS, output)


@app.command(epilog="taskdb user history ann@example.com\ntaskdb user history 1 -o ndjson")
def history(ctx: typer.Context, user: options.UserArgument, *, output: Output) -> None:
    """Show every change of a user, also of a deleted one, oldest first.

    If no user has the address now, the last user with this address is shown.
    """
    from taskdb_cli.services.history.operations import find_user

    show_life(invocation(ctx), "users", lambda session: find_user(session, user), output)


@app.command(
    epilog=(
        "taskdb user update ann@example.com --name 'Ann Lee'\n"
        "taskdb user update 1 --email ann.lee@example.com --inactive"
    )
)
def update(
    ctx: typer.Context,
    user: options.UserArgument,
    *,
    email: Annotated[str | None, optional("A new address.")] = None,
    name: Annotated[str | None, optional("A new name.")] = None,
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether the user is active.", show_default=False),
    ] = None,
    if_version: options.IfVersion = None,
    output: Output,
) -> None:
    """Change the named fields of a user."""
    from taskdb_cli.models.user import UserUpdate, user_record

    run = invocation(ctx)
    values = {"email": email, "name": name, "is_active": active}
    named = {field: value for field, value in values.items() if value is not None}
    given = UserUpdate.checked(named)
    change = partial(services.user.change, ref=user, given=given, now=run.now, if_version=if_version)
    allowed = run.database.options.allow_special_domains
    changed = run.database.write(partial(change, special_domains=allowed))
    written = changed.updated_at == run.now
    what, state = "updated", "up to date"
    if [*named] == ["is_active"]:
        what, state = ("activated", "active") if active else ("deactivated", "inactive")
    if written:
        run.did(f"{what} user {changed.id}", look=f"taskdb user show {changed.id}")
    if is_told(output):
        who = f"user {changed.id} {changed.email}"
        answer(run, f"{what} {who}" if written else f"{who} was {state} already")
    if wants_record(run, output):
        show_record(user_record(changed), USERS, output)


@app.command(
    epilog=(
        "taskdb user delete ann@example.com --dry-run\n"
        "taskdb user delete ann@example.com --reassign-to bob@example.com"
    )
)
def delete(
    ctx: typer.Context,
    users: options.UserArguments,
    *,
    reassign_to: Annotated[
        str | None, optional_user("Give the tasks to this user instead of deleting them.")
    ] = None,
    yes: options.Yes = False,
    confirm: options.Confirm = None,
    dry_run: options.DryRun = False,
    output: FormatOption = None,
) -> None:
    """Delete users and their tasks, all or nothing."""
    run, refs = invocation(ctx), [*chain.from_iterable(users)]
    if not (dry_run or run.agreed(yes=yes)):
        preview = partial(services.user.preview_deletion, refs=refs, reassign_to=reassign_to)
        found = run.database.read(preview, bulk=True)
        run.confirm(f"delete {found.describe()}", yes=yes)
        # A range may hold other users by now.
        refs = [str(user.id) for user in found.users]
    remove = partial(services.user.remove, refs=refs, now=run.now, reassign_to=reassign_to)
    done = run.database.write(remove, dry_run=dry_run, bulk=True)
    answer(run, f"{'would delete' if dry_run else 'deleted'} {done.describe()}")
    if not dry_run:
        run.did(f"deleted {done.describe()}", look="taskdb user list")
    if output is Format.JSON:
        show_json(done.report(dry_run=dry_run))


app.command(
    epilog="taskdb user erase ann@example.com --dry-run\ntaskdb user erase 7 --dir s3://bucket/taskdb"
)(erase)


@app.command(
    "import",
    epilog=(
        "taskdb user import users.csv --dry-run\n"
        "taskdb user import - --from ndjson --existing skip < users.ndjson"
    ),
)
def import_(
    ctx: typer.Context,
    file: transfer.FileArgument,
    *,
    source: transfer.FromUserFile = "auto",
    reading: transfer.ImportOptions,
    existing: transfer.IfExisting = Existing.UPDATE,
    dry_run: options.DryRun = False,
    output: transfer.CountsOutput = None,
) -> None:
    """Import users from CSV, JSON or NDJSON, all or nothing.

    Users are matched by their e-mail addresses.
    """
    from taskdb_cli.transfer.batch import Batch
    from taskdb_cli.transfer.users import import_users, read_users

    run, look = invocation(ctx), "taskdb user list"

    allowed = run.database.options.allow_special_domains

    def read(batch: Batch) -> None:
        # No database is made for an address that is refused.
        read_users(batch, special_domains=allowed or not run.is_database_missing())

    bring_in = partial(import_users, existing=existing, now=run.now, dry_run=dry_run, special_domains=allowed)
    transfer.import_file(
        run,
        file,
        source,
        reading,
        read=read,
        bring_in=bring_in,
        dry_run=dry_run,
        output=output,
        look=look,
    )


@app.command(
    epilog=(
        "taskdb user export -o csv > users.csv\ntaskdb user export ann@example.com --everything > ann.json"
    )
)
def export(
    ctx: typer.Context,
    user: Annotated[
        str | None,
        typer.Argument(
            metavar="USER",
            help="The user for --everything; may be deleted already.",
            autocompletion=complete_users,
            show_default=False,
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--everything", help="Print all data of one user as one JSON object.")
    ] = False,
    replica: options.Replica = False,
    output: transfer.ExportOutput,
) -> None:
    """Print all users for an import, or all data of one user."""
    run = invocation(ctx)
    if user is not None or everything:
        _export_everything(ctx, user, everything=everything)
        return
    all_users = read_request(run, USER_QUERY, {"sort": "id"})
    stream = partial(services.user.stream, filter=all_users.filter, order=all_users.order)
    with run.database.stream(stream, bulk=True) as records:
        transfer.print_export(run.counting(records), USERS, output)


def _export_everything(ctx: typer.Context, user: str | None, *, everything: bool) -> None:
    """Print one JSON object with all that is kept of a user; raise InvalidInput for half of the options."""
    if not everything:
        hint = "add --everything, or leave the user out"
        raise InvalidInput(f"one user is exported with --everything only: {brief(user)}", hint)
    if user is None:
        raise InvalidInput("--everything needs one user", "name the user by id or address")
    source = ctx.get_parameter_source("format")
    if ctx.params["format"] != "json" and source is not None and source.name == "COMMANDLINE":
        raise InvalidInput("--everything is one JSON object", "leave -o out")
    from taskdb_cli.output.documents import write_document
    from taskdb_cli.services.history import personal

    run = invocation(ctx)
    with run.database.stream(partial(personal.everything, ref=user, now=run.now), bulk=True) as parts:
        write_document(parts, sys.stdout)
