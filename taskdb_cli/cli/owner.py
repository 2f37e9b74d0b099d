"""Find the user if a command names none: TASKDB_USER, or the only active user."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from taskdb_cli import services
from taskdb_cli.cli.context import Invocation
from taskdb_cli.cli.options import read_request
from taskdb_cli.cli.output import Output
from taskdb_cli.cli.prompts import ask
from taskdb_cli.errors import InvalidInput, NotFound, UserNotFound
from taskdb_cli.output.formats import Format
from taskdb_cli.services.listing.query import USER_QUERY

SETTING = "TASKDB_USER"

NAMED = 5
"""How many active users are named when one must be chosen."""

AllUsers = Annotated[
    bool, typer.Option("--all-users", help=f"Include all users, even if {SETTING} names one.")
]


def users_to_show(
    run: Invocation, given: Sequence[str] | None, *, all_users: bool, output: Output
) -> list[str]:
    """Return the users whose tasks a list or a report is about; none means everybody.

    If none is given, the user of TASKDB_USER is meant where a person sees the list and the note about it.
    Raises InvalidInput, and UserNotFound that names the setting.
    """
    if given and all_users:
        raise InvalidInput("--all-users and --user contradict each other", "leave one of them out")
    seen = sys.stdout.isatty() and sys.stderr.isatty()
    for_people = seen and output.format in (None, Format.TABLE)
    ref = default_user(run) if for_people and not (given or all_users) else None
    if ref is None:
        return list(given or ())
    with blamed_on_setting(run, ref):
        user = run.database.read(partial(services.user.get, ref=ref))
    run.say(f"only tasks of {user.email} ({_setting(run)}); --all-users shows everybody's")
    return [user.email]


def default_user(run: Invocation) -> str | None:
    """Return the user of TASKDB_USER, or None, without the libraries that a usage error must not wait for."""
    text, _ = run.layers.values().get(SETTING, (None, None))
    return text


def _setting(run: Invocation) -> str:
    """Return the setting of the default user by the name that it has in its place."""
    _, layer = run.layers.values()[SETTING]
    if layer.kind == "environment":
        return SETTING
    # The path of a file is too long for a note.
    place, _, _ = layer.origin.partition(" /")
    return (
        f"user of {place.removesuffix(' in')}" if layer.kind.endswith("profile") else f"{SETTING} in {place}"
    )


@contextmanager
def blamed_on_setting(run: Invocation, ref: str | None) -> Iterator[None]:
    """Name the setting in the error if it is the user of TASKDB_USER who is not found."""
    try:
        yield
    except UserNotFound as exc:
        if ref is None:
            raise
        raise UserNotFound(ref, setting=_setting(run)) from exc


def choose_active_user(run: Invocation) -> str:
    """Return the address of the only active user, and say so; ask for one of several.

    Raises NotFound if nobody is active, and InvalidInput that names several if nobody can be asked.
    """
    request = read_request(run, USER_QUERY, {"active": True, "sort": "email"})
    find = partial(services.user.find, filter=request.filter, order=request.order, limit=NAMED)
    page = run.database.read(find)
    addresses = [record["email"] for record in page.records]
    if not addresses:
        hint = "'taskdb user create' makes one, and 'taskdb user activate' activates one"
        raise NotFound("there is no active user", hint)
    if len(addresses) == 1:
        run.say(f"for {addresses[0]}, the only active user")
        return str(addresses[0])
    several = f"several users are active: {', '.join(addresses)}{' and more' if page.next else ''}"
    if not run.may_ask:
        raise InvalidInput(several, f"name one with --user or {SETTING}")
    run.say(several)
    return ask("User", lambda answer: run.database.read(partial(services.user.get, ref=answer)).email)
