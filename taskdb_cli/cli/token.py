"""taskdb token: access tokens of the HTTP API."""

import sys
from functools import partial
from typing import Annotated

import typer

from taskdb_cli import services
from taskdb_cli.cli.answers import answer, is_told
from taskdb_cli.cli.commands import Commands, HelpfulGroup
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import Wide, optional, optional_user
from taskdb_cli.cli.output import Output, show_record, show_records
from taskdb_cli.errors import Incomplete, Interrupted, StorageFailed, TaskdbError
from taskdb_cli.models.vocabulary import TokenScope
from taskdb_cli.output.formats import NEW_TOKEN, TOKENS, Format, timestamp
from taskdb_cli.times import parse_expiry

app = Commands(
    help="Create, list and revoke access tokens of the HTTP API.",
    epilog="taskdb token create --name dashboard --expires 90d\ntaskdb token revoke dashboard",
    cls=HelpfulGroup,
)


@app.command(
    epilog=(
        "taskdb token create --name dashboard --expires 90d\n"
        "taskdb token create --name phone --user ann@example.com --scope write"
    )
)
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="The name of the token; unique, and not a number.")],
    user: Annotated[str | None, optional_user("Limit it to this user and their tasks.")] = None,
    scope: Annotated[
        TokenScope, typer.Option(help="What the token allows.", case_sensitive=False)
    ] = TokenScope.READ,
    expires: Annotated[
        str | None,
        optional(
            "When it ends: 90d, 2w, 12h, 2027-12-01, 2027-12-01T17:00:00Z (UTC unless it names a zone).",
            metavar="WHEN",
        ),
    ] = None,
    output: Output,
) -> None:
    """Create an access token, and print it once.

    taskdb stores only its hash.
    """
    from taskdb_cli.models.token import TokenCreate

    run = invocation(ctx)
    expires_at = None if expires is None else parse_expiry(expires, now=run.now)
    given = TokenCreate.checked({"name": name, "scope": scope, "expires_at": expires_at})
    secret = services.token.generate()
    create_token = partial(services.token.create, given=given, secret=secret, now=run.now, owner=user)
    made = run.database.write(create_token)
    bare = output.format in (None, Format.TABLE)
    try:
        if bare:
            sys.stdout.write(f"{secret}\n")
        else:
            show_record({**made, "token": secret}, NEW_TOKEN, output)
        sys.stdout.flush()
    except (OSError, TaskdbError, KeyboardInterrupt) as exc:
        # Even a reader that went away has not seen the token.
        raise _revoke_unprinted(run, made["id"], exc) from exc
    if bare:
        whose = f"the rows of {made['user']}" if made["user"] else "everything"
        until = f" until {timestamp(expires_at)}" if expires_at else ""
        may = f"may {scope} {whose}{until}; the token is not shown again"
        if is_told(output):
            answer(run, f"created token {made['id']}", made["name"], f", which {may}")
        else:
            run.say(f"{made['name']} {may}")


@app.command("list", epilog="taskdb token list\ntaskdb token list -o json")
def list_(ctx: typer.Context, *, wide: Wide = False, output: Output) -> None:
    """List access tokens by name, without the tokens themselves."""
    run = invocation(ctx)
    tokens = run.database.read(services.token.find)
    run.rows = len(tokens)
    shown = show_records(tokens, TOKENS, output, wide=wide)
    if shown is Format.TABLE and not tokens:
        run.say("there are no tokens; 'taskdb token create' makes one")


@app.command(epilog="taskdb token revoke dashboard\ntaskdb token revoke 1")
def revoke(
    ctx: typer.Context,
    token: Annotated[
        str,
        typer.Argument(
            metavar="NAME|ID", help="A name or an id; digits are always an id.", show_default=False
        ),
    ],
) -> None:
    """Revoke an access token.

    New requests with the token are refused.
    """
    run = invocation(ctx)
    revoked = run.database.write(lambda session: services.token.revoke(session, token))
    if sys.stdout.isatty():
        answer(run, f"revoked token {revoked['id']}", revoked["name"])
    else:
        run.say(f"revoked {revoked['name']}, token {revoked['id']}")


def _revoke_unprinted(run: Invocation, id: int, cause: BaseException) -> TaskdbError:
    """Revoke a token that nobody has seen, and return the error of the command."""
    reason = cause.strerror if isinstance(cause, OSError) else str(cause) or "interrupted"
    lost = f"the token could not be written to stdout ({reason})"
    try:
        run.database.write(lambda session: services.token.revoke(session, str(id)))
    except TaskdbError as failure:
        return Incomplete(
            f"{lost}, and token {id} could not be revoked: {failure.message}",
            f"revoke it with 'taskdb token revoke {id}'",
        )
    kind = Interrupted if isinstance(cause, KeyboardInterrupt) else StorageFailed
    return kind(f"{lost}, so it was revoked", "create it again once stdout can be written")
