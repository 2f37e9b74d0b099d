"""taskdb token: who may use the HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from taskdb_cli.cli.completion import complete_users
from taskdb_cli.cli.context import Invocation, invocation
from taskdb_cli.cli.options import HelpfulGroup, with_option_groups
from taskdb_cli.cli.output import Output, show_record, show_records
from taskdb_cli.errors import Incomplete, Interrupted, StorageFailed, TaskdbError
from taskdb_cli.models.vocabulary import TokenScope
from taskdb_cli.output.formats import NEW_TOKEN, TOKENS, Format, Record, timestamp
from taskdb_cli.times import parse_expiry

app = typer.Typer(help="Create, list and revoke access tokens of the HTTP API.", cls=HelpfulGroup)


@app.command(epilog="Example: taskdb token create --name dashboard --scope read --expires 90d")
@with_option_groups
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="What the token is called, unique; not a number.")],
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Limit it to this user and their tasks.",
            autocompletion=complete_users,
            show_default=False,
        ),
    ] = None,
    scope: Annotated[TokenScope, typer.Option(help="What it allows.")] = TokenScope.READ,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When it ends: 90d, 2w, 12h, 2027-12-01, 2027-12-01T17:00:00Z (UTC unless it names a zone).",
            show_default=False,
        ),
    ] = None,
    output: Output,
) -> None:
    """Create an access token and print it, this one time: only its hash is kept."""
    from taskdb_cli.models.token import TokenCreate
    from taskdb_cli.services import token as service
    from taskdb_cli.services.validation import validate

    run = invocation(ctx)
    expires_at = None if expires is None else parse_expiry(expires, now=run.now)
    given = validate(TokenCreate, {"name": name, "scope": scope, "expires_at": expires_at})
    secret = service.generate()
    made = run.database.write(lambda session: service.create(session, given, secret, now=run.now, owner=user))
    with _revoked_unless_printed(run, made):
        if output.format in (None, Format.TABLE):
            sys.stdout.write(f"{secret}\n")
        else:
            show_record({**made, "token": secret}, NEW_TOKEN, output)
        sys.stdout.flush()
    if output.format in (None, Format.TABLE):
        whose = f"what is {made['user']}'s" if made["user"] else "everything"
        until = f" until {timestamp(expires_at)}" if expires_at else ""
        run.say(f"{made['name']} may {scope} {whose}{until}; the token is not shown again")


@app.command("list", epilog="Example: taskdb token list")
@with_option_groups
def list_(ctx: typer.Context, *, output: Output) -> None:
    """List access tokens by name, without the tokens themselves."""
    from taskdb_cli.services import token as service

    run = invocation(ctx)
    show_records(run.counting(run.database.read(service.find)), TOKENS, output)


@app.command(epilog="Example: taskdb token revoke dashboard")
def revoke(
    ctx: typer.Context,
    token: Annotated[
        str,
        typer.Argument(metavar="NAME|ID", help="Digits are always an id.", show_default=False),
    ],
) -> None:
    """Revoke an access token: requests that come from now on are refused."""
    from taskdb_cli.services import token as service

    run = invocation(ctx)
    revoked = run.database.write(lambda session: service.revoke(session, token))
    run.say(f"revoked {revoked['name']}, token {revoked['id']}")


@contextmanager
def _revoked_unless_printed(run: Invocation, made: Record) -> Iterator[None]:
    """Revoke a token that nobody has seen, whatever kept it from being printed: a closed pipe as well."""
    from taskdb_cli.services import token as service

    try:
        yield
    except (OSError, TaskdbError, KeyboardInterrupt) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc) or "interrupted"
        lost = f"the token could not be written to stdout ({reason})"
        try:
            run.database.write(lambda session: service.revoke(session, str(made["id"])))
        except TaskdbError as failure:
            raise Incomplete(
                f"{lost}, and token {made['id']} could not be revoked: {failure.message}",
                f"revoke it with 'taskdb token revoke {made['id']}'",
            ) from exc
        kind = Interrupted if isinstance(exc, KeyboardInterrupt) else StorageFailed
        raise kind(f"{lost}, so it was revoked", "create it again once stdout can be written") from exc
