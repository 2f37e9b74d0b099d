"""taskdb user export --everything: all that is kept of one person."""

from __future__ import annotations

import sys
from functools import partial

import typer

from taskdb_cli.cli.context import invocation
from taskdb_cli.errors import InvalidInput
from taskdb_cli.text.escaping import brief


def export_everything(ctx: typer.Context, user: str | None, *, everything: bool) -> None:
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
